"""Looking a calibration set up in evaluation sets: which sequences share wording with which examples."""

from dataclasses import dataclass, field
from typing import Any

from calprune.calibration.contamination import Evaluations, Match


@dataclass(frozen=True)
class Found:
    """A match in a calibration set."""

    sequence: int  # from 0
    source: str
    document: str
    match: Match


@dataclass
class Check:
    """What there was to find in a calibration set."""

    evaluations: Evaluations
    sequences: int
    found: list[Found] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Plain data."""
        sets = []
        for evaluation in self.evaluations.sets:
            here = [one for one in self.found if one.match.evaluation == evaluation.name]
            sets.append(vars(evaluation) | {
                "sequences_found": len({one.sequence for one in here}),
                "examples_found": len({one.match.example for one in here}),
            })  # fmt: skip
        matches = [{"sequence": one.sequence, "source": one.source, "document": one.document}
                   | one.match._asdict() for one in self.found]  # fmt: skip
        return {
            "format": 1,
            "sequences": self.sequences,
            "sequences_found": len({one.sequence for one in self.found}),
            "against": sets,
            "matches": matches,
        }


def check_set(given: Any, tokenizer: Any, evaluations: Evaluations) -> Check:
    """Look up each document's part of each sequence of a CalibrationSet, decoded, in the evaluation sets."""
    check = Check(evaluations, len(given.tokens))
    for i, length in enumerate(given.lengths.tolist()):
        pieces = given.pieces[i] if given.pieces else ()
        stretches = [(p.source, p.document, p.first, p.last) for p in pieces] or [("", "", 0, length)]
        for source, document, first, last in stretches:
            text = tokenizer.decode(given.tokens[i, first:last], skip_special_tokens=True,
                                    clean_up_tokenization_spaces=False)  # fmt: skip
            check.found += [Found(i, source, document, match) for match in evaluations.matches(text)]
    return check
