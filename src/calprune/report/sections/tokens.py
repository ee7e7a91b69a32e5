"""Which tokens of a text lost most by pruning, and with which source. Asked by "Neuron Semantic Attribution" (2025,
arXiv:2503.01542), answered in another way: by the divergence from the dense model where a token is to be predicted."""

import math
from collections import defaultdict

from calprune.pages.numbers import number
from calprune.pages.page import Section
from calprune.pages.table import Column, Table
from calprune.report.findings import Cell, Findings, setting
from calprune.report.sections.columns import EVALUATION, PLACE
from calprune.report.settings import is_control

SHOWN = 10  # tokens of an evaluation in a setting
NOTE = (
    "KL to the dense model at the positions where the token is to be predicted, nats, the mean over draws and sources; "
    "of the tokens that stand in the text five times or more those with the most. Share: of what all of these tokens "
    "lose together. Least and most: the sources with the lowest and the highest mean; their differences are not tested."
)
HEADS = (
    EVALUATION, *PLACE, Column("token"), Column("times", "number"), Column("nats a token", "number"),
    Column("share of the loss", "number", percent=True), Column("least with", show="varying"),
    Column("most with", show="varying"),
)  # fmt: skip


def tokens(findings: Findings) -> Section:
    """The tokens that lost most, by setting and evaluation."""
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in findings.cells:
        if any(row.by_token for row in cell.rows) and not is_control(cell.of):
            groups[(cell.of.evaluation, *setting(cell.of))].append(cell)
    rows = tuple((*place, *row) for place, cells in groups.items() for row in _most(cells))
    table = Table("tokens", "The tokens that lost most", HEADS, rows, (NOTE,))
    return Section("tokens", "Which words lost most?", tables=(table,) if rows else ())


def _most(cells: list[Cell]) -> list[tuple]:
    """The tokens that lose most of one evaluation in one setting."""
    times = {token: n for cell in cells for row in cell.rows for token, (n, _) in row.by_token.items()}
    lost = {token: {cell.of.calibration: _mean(cell, token) for cell in cells} for token in times}
    means = {token: math.fsum(one.values()) / len(one) for token, one in lost.items()}
    whole = math.fsum(means[token] * n for token, n in times.items())

    def row(token: str) -> tuple:
        least, *_, most = (*sorted((nats, source) for source, nats in lost[token].items()),) * 2
        return (f"“{token}”".replace("\n", "↵"), times[token], means[token], means[token] * times[token] / whole,
                *(f"{source}: {number(nats)}" for nats, source in (least, most)))  # fmt: skip

    return [row(token) for token in sorted(means, key=lambda token: -means[token])[:SHOWN] if means[token] > 0]


def _mean(cell: Cell, token: str) -> float:
    """Over the draws of a source."""
    values = [row.by_token[token][1] for row in cell.rows if token in row.by_token]
    return math.fsum(values) / len(values) if values else math.nan
