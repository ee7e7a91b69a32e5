"""calprune calib check: does a calibration set share wording with what will judge the model?"""

import json
from typing import Annotated, Any

import typer

from calprune.cli import options as opt
from calprune.cli.calib import Folder, calib, set_tokenizer
from calprune.config import UserError

MATCHES = 5  # shown of each evaluation set, where --show does not say
CHARACTERS = 240  # of the words of a match


@calib.command("check")
def check_command(
    folder: Folder,
    against: Annotated[list[str] | None, typer.Option(help="evaluation sets: names of the catalogue, or files")] = None,
    more: Annotated[list[str] | None, typer.Argument(help="further evaluation sets", show_default=False)] = None,
    ngram: Annotated[int, typer.Option(help="so many words in a row count as shared")] = 13,
    short: Annotated[int, typer.Option(help="the same for evaluation texts of fewer words than that")] = 8,
    show: Annotated[int, typer.Option(min=0, help="print so many matches of each evaluation set")] = MATCHES,
    model: Annotated[str | None, typer.Option(help="the model that the set is for; default: as it says")] = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Look for wording that a calibration set shares with evaluation sets: 13 words in a row, 8 of short texts.

    Example: calprune calib check sets/c4 --against gsm8k arc_easy
    """
    from calprune.calibration.check import check_set
    from calprune.calibration.contamination import Contamination, Evaluations
    from calprune.calibration.set import CalibrationSet

    names = [*(against or []), *(more or [])]
    if not names:
        raise UserError(f"say what to check against: calprune calib check {folder} --against gsm8k arc_easy")
    asked = Contamination(tuple(names), ngram, short)
    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=True)
    told = check_set(given, tokenizer, Evaluations(asked.against, data_root, ngram, short)).told()
    told = {"format": 1, "folder": str(folder), "id": given.id, "ngram": ngram, "short": short} | told
    print(json.dumps(told, indent=1, ensure_ascii=False) if as_json else _told(told, show))


def _told(told: dict[str, Any], show: int) -> str:
    lines = [
        f"{told['folder']}: {told['sequences_found']:,} of {told['sequences']:,} sequences share wording with an "
        f"evaluation set ({told['ngram']} words in a row; {told['short']} of texts that are shorter)"
    ]
    for evaluation in told["against"]:
        name = evaluation["name"]
        lines.append(f"{name}, {evaluation['split']} split: {evaluation['sequences_found']:,} sequences share wording "
                     f"with {evaluation['examples_found']:,} of {evaluation['examples']:,} examples "
                     f"({evaluation['too_short']:,} are too short to look for)")  # fmt: skip
        here = [match for match in told["matches"] if match["evaluation"] == name]
        for match in here[:show]:
            words = match["words"]
            words = words if len(words) <= CHARACTERS else words[:CHARACTERS] + "..."
            where = f"{match['source']} {match['document']}".strip()
            lines.append(f"  sequence {match['sequence'] + 1}{f' ({where})' if where else ''} = {match['example']}: "
                         f'"{words}"')  # fmt: skip
        if len(here) > show:
            lines.append(f"  and {len(here) - show:,} more (--show {len(here)}, or --json)")
    return "\n".join(lines)
