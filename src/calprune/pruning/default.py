"""The method where none is named, by the pattern, and the data: what studies/default_method.yaml, docs/structured.md
and the first of docs/explanation/findings.md found."""

from typing import Final

from calprune.base.patterns import KeepNofM, Pattern, Removal

CALIBRATION: Final = "c4"  # whole sequences of web text: of thirteen real sources none was shown better on general text
OF_UNITS: Final = {"blocks": "block_influence", "neurons": "flap", "heads": "flap", "experts": "reap"}


def default_method(pattern: Pattern | Removal, often: bool = False) -> str:
    """The method for a pattern.

    At n:m admm loses least and takes some 30 times as long to solve a block as sparsegpt, which is next and taken where
    a model is pruned `often`: to choose, to compare. Of a share wanda loses least on one model, is next to admm on the
    other, and is solved at once.
    """
    if isinstance(pattern, Removal):
        return OF_UNITS[pattern.kind]
    if isinstance(pattern, KeepNofM):
        return "sparsegpt" if often else "admm"
    return "wanda"
