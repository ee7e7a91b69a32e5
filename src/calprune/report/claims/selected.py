"""The results that a claim looks at: by side, in settings that all sides have, without those that decide nothing."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from calprune.pages.numbers import listed
from calprune.report.claims.judged import Undecided
from calprune.report.findings import Cell, Findings
from calprune.report.settings import OF_DATA, is_control, sources_of
from calprune.studies import claims as kinds
from calprune.studies.axes import AXES, NO_DATA
from calprune.studies.claims import FIELDS, Where
from calprune.studies.results import LikenessRow, Result
from calprune.uncertainty.estimate import mean_of

Stratum = tuple[str, ...]
ACROSS_SOURCES = (
    kinds.SourcesDiffer,
    kinds.SourcesAlike,
    kinds.SourcesDifferMore,
    kinds.DrawsDifferMore,
    kinds.DrawsDifferLessWithAmount,
    kinds.GoesWith,
)


@dataclass(frozen=True)
class Selected:
    """The cells of each side by stratum: what a cell shares with those of other sides. All sides have all strata."""

    sides: dict[str, dict[Stratum, list[Cell]]]
    names: dict[str, str]  # of the sides, in words
    unit: str
    notes: tuple[str, ...]
    similarity: tuple[LikenessRow, ...]
    stand_ins: dict[str, str]

    @property
    def settings(self) -> int:
        """Over how many it is averaged."""
        return len(next(iter(self.sides.values())))

    @property
    def draws(self) -> int | None:
        """Of the source that has the fewest; None: nothing here reads data."""
        cells = [cell for strata in self.sides.values() for found in strata.values() for cell in found]
        return min((len(cell.rows) for cell in cells if cell.of.calibration != NO_DATA), default=None)


def select(test: kinds.Test, findings: Findings) -> Selected:
    """The results that the test is about. Raises Undecided where there are none that decide it."""
    asked = test.sides()
    across = isinstance(test, ACROSS_SOURCES)
    notes: list[str] = []
    cells = {name: _of(selection, findings, across) for name, selection in asked.items()}
    others = set(test.of) if isinstance(test, kinds.Best) else set()  # of which some may be missing
    for name in [name for name, found in cells.items() if not found]:
        _leave_out(cells, others, name, f"not measured: no result of {asked[name]}", notes)
    differ = {name for name in FIELDS if len({asked[side][name] for side in cells}) > 1}
    for name in list(cells) if "calibration" in differ else []:
        if said := _only_stand_ins(cells[name], findings):
            _leave_out(cells, others, name, said, notes)
    notes += _stood_in(cells, findings)
    cells = _informative(cells, notes)
    unit = _unit(one for found in cells.values() for one in found)
    apart = differ | ({"calibration"} if across else set())
    if any(all(one.of.calibration == NO_DATA for one in found) for found in cells.values()):
        apart |= {"calibration", *OF_DATA}
    if isinstance(test, kinds.DrawsDifferLessWithAmount):
        apart |= {"num_samples"}
    sides = _in_common(cells, [name for name in FIELDS if name not in apart], notes)
    names = {side: _named(asked[side], differ) for side in sides}
    results = findings.results
    return Selected(sides, names, unit, tuple(notes), results.similarity, results.stand_ins)


def _of(selection: Where, findings: Findings, across: bool) -> list[Cell]:
    found = [cell for cell in findings.cells if selection.takes(cell.of.setting)]
    return [one for one in found if not across or not (one.of.calibration == NO_DATA or is_control(one.of))]


def _leave_out(cells: dict[str, list[Cell]], others: set[str], name: str, why: str, notes: list[str]) -> None:
    """One of several others need not be there; where any other is missing, the claim is undecided."""
    if name not in others or len(cells) < 3:
        raise Undecided(why)
    del cells[name]
    notes.append(f"{name} is left out ({why})")


def _only_stand_ins(cells: list[Cell], findings: Findings) -> str:
    """Which stand-ins alone these are of, in words; "" where they are not."""
    names = {name for cell in cells for name in sources_of(cell.of)}
    standing = [f"{name} stands in: {findings.results.stand_ins[name]}" for name in sorted(names)
                if name in findings.results.stand_ins]  # fmt: skip
    return "; ".join(standing) if names and len(standing) == len(names) else ""


def _stood_in(cells: dict[str, list[Cell]], findings: Findings) -> list[str]:
    names = {name for found in cells.values() for cell in found for name in sources_of(cell.of)}
    standing = sorted(names & set(findings.results.stand_ins))
    return [f"{listed(standing)} {'stands' if len(standing) == 1 else 'stand'} in"] if standing else []


def _informative(cells: dict[str, list[Cell]], notes: list[str]) -> dict[str, list[Cell]]:
    """Without tasks that the dense model does no better than chance."""
    left = {name: [one for one in found if not near_chance(one.of)] for name, found in cells.items()}
    gone = sorted({one.of.evaluation for found in cells.values() for one in found if near_chance(one.of)})
    if gone and not all(left.values()):
        raise Undecided(f"the dense model is within noise of chance in {listed(gone)}")
    notes += [f"{listed(gone)} left out: the dense model is within noise of chance"] if gone else []
    return left


def near_chance(row: Result) -> bool:
    """Whether the dense model's answers may be guesses: its interval touches the value of guessing."""
    if row.measures.retention != "above chance":
        return False
    dense = mean_of(row.dense_items)
    return dense is None or dense.low is None or dense.low <= (row.chance or 0.0)


def _unit(cells: Iterable[Cell]) -> str:
    metrics = {cell.of.metric: cell.of.measures for cell in cells}
    if len({one.group for one in metrics.values()}) > 1:
        raise Undecided(f"{listed(sorted(metrics))} have no common mean: let the claim name an evaluation")
    return metrics[min(metrics)].unit


def _in_common(cells: dict[str, list[Cell]], fields: list, notes: list[str]) -> dict[str, dict[Stratum, list[Cell]]]:
    sides: dict[str, dict[Stratum, list[Cell]]] = {name: defaultdict(list) for name in cells}
    for name, found in cells.items():
        for cell in found:
            sides[name][tuple(cell.of.setting[field] for field in fields)].append(cell)
    everywhere = [strata for strata in next(iter(sides.values())) if all(strata in one for one in sides.values())]
    if not everywhere:
        raise Undecided("not measured: there is no setting in which all of them have results")
    if some := {strata for one in sides.values() for strata in one} - set(everywhere):
        notes.append(f"{len(everywhere)} of {len(everywhere) + len(some)} settings have all of them")
    return {name: {strata: one[strata] for strata in everywhere} for name, one in sides.items()}


def _named(selection: Where, differ: set) -> str:
    named = [_in_words(name, listed(list(selection[name]))) for name in FIELDS if name in differ and selection[name]]
    return " ".join(named) or "the rest"


def _in_words(name: str, values: str) -> str:
    """Values of an axis whose numbers or words need a name: "64 sequences", "even token weights"."""
    words = AXES[name].words if name in ("num_samples", "token_weights") else "{}"
    return words.format(values).removeprefix("on ")
