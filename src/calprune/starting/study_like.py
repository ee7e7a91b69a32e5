"""A paper's study for a model of one's own, cut to the time there is: calprune study new.

What goes first: evaluations at which a pilot is at chance, then cells (whole grids from the last on, then values from
the end of each axis), then evaluations; draws go last, and never below three or what the pilot says is needed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from calprune.base.progress import duration
from calprune.base.values import UserError, did_you_mean
from calprune.base.yamls import parse_yaml
from calprune.evaluation.evaluation import EVALUATIONS, OnText
from calprune.report.findings import Findings
from calprune.report.sections.power import AT_CHANCE, power_table
from calprune.studies.axes import AXES, Setting, fits
from calprune.studies.claims import FIELDS, check_claims, matches, read_claims
from calprune.studies.folder import study_text
from calprune.studies.grid import Study
from calprune.studies.plan import Plan, plan
from calprune.studies.reading import parse_study
from calprune.studies.results import Results
from calprune.studies.time_left import passes_of, seconds_of

PAPERS = Path(__file__).parent.parent / "studies" / "papers"  # the studies of papers, which come with calprune
FEWEST = 3  # draws: an interval over fewer says nothing
# axes and lists of a grid; the last is cut first, calibrations last
LISTS = ("calibrations", "formats", "variants", "allocations", "num_samples", "methods", "patterns", "propagate",
         "token_weights", "permute")  # fmt: skip
OF_SETTINGS = ("claims", "labels")  # what speaks of settings that must be there
Written = dict[str, Any]  # a study as its YAML has it


@dataclass(frozen=True)
class Shorter:
    """A study that is left, and what went, in words."""

    written: Written
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyLike:
    """A study for another model, with what it takes."""

    text: str  # its YAML, which names what was left out
    trials: int
    seconds: float  # an estimate, by this machine's speed now
    gone: tuple[str, ...]


def study_like(like: str, model: str, budget: float, data_root: Path | None, pilot: Results | None = None) -> StudyLike:
    """The study `like` (a file, or the name of a paper's) on a model, cut to `budget` seconds on this machine.

    pilot: results of a small run on this model; its evaluations at chance go, and draws are as many as it says. Raises
    UserError where no study so small can tell anything in that time.
    """
    path = _found(like)
    parse_study(study_text(path), str(path))  # its mistakes are named before any is made of it
    written = _of_model(parse_yaml(study_text(path), str(path)), model)
    whole, fewest = Shorter(written | {"title": f"Like {path.stem}, on {model}"}), FEWEST
    if pilot is not None:
        rows = power_table(Findings(pilot)).records()
        fewest = max(FEWEST, _draws_needed(rows))
        whole = _with_pilot(whole, rows, fewest)
    made = plan(_of_settings(whole.written, str(path)), data_root)
    second = seconds_of(1.0, made.dtype)
    for cut in _cuts(whole, fewest):
        seconds = second * _passes(cut.written, made, str(path))
        if seconds <= budget:
            break
    else:
        raise UserError(
            f"in {duration(budget)} nothing can be told on {model}: the smallest useful study like {like} "
            f"takes about {duration(seconds)} here; give --budget {math.ceil(seconds / 50)}m"
        )
    chosen = _with_claims(cut, str(path))
    trials = sum(1 for _ in _of_settings(chosen.written, str(path)).trials())
    return StudyLike(_whole_text(chosen, path, seconds), trials, seconds, chosen.gone)


def _of_model(written: Written, model: str) -> Written:
    """With one model in place of all that are named, by grids too; grids that are then alike are one."""
    grids = [{key: value for key, value in grid.items() if key != "models"} for grid in written.get("grids", [])]
    alone = [grid for i, grid in enumerate(grids) if grid not in grids[:i]]
    return {**written, "models": model, **({"grids": alone} if alone else {})}


def _found(like: str) -> Path:
    if Path(like).is_file():
        return Path(like)
    known = sorted(path.stem for path in PAPERS.glob("*.yaml"))
    if like not in known:
        raise UserError(f"--like: expected a study's file or a study's name; got {like!r}{did_you_mean(like, known)}")
    return PAPERS / f"{like}.yaml"


def _with_pilot(cut: Shorter, rows: Sequence[Mapping[str, Any]], draws: int) -> Shorter:
    """Without the evaluations that are at chance in all rows of the pilot, and with `draws` at least."""
    told = {_judged_on(one["evaluation"]) for one in rows if one["can it tell"] != AT_CHANCE}
    chance = {_judged_on(one["evaluation"]) for one in rows} - told
    evaluations = _several(cut.written["evaluations"])
    kept = [one for one in evaluations if _judged_on(one) not in chance]
    if not kept:
        raise UserError("every evaluation of the study is at chance in the pilot: no number of draws tells anything; "
                        "name others under evaluations")  # fmt: skip
    gone = [f"{one}: at chance in the pilot" for one in evaluations if _judged_on(one) in chance]
    written = cut.written | {"evaluations": kept, "draws": max(cut.written.get("draws", FEWEST), draws)}
    if "grids" in written:
        written["grids"] = [one | {"draws": max(one["draws"], draws)} if "draws" in one else one
                            for one in written["grids"]]  # fmt: skip
    return Shorter(written, (*cut.gone, *gone))


def _judged_on(evaluation: Any) -> tuple[str, ...]:
    """An evaluation without its sizes: a pilot has few items."""
    made = EVALUATIONS.read(evaluation, "evaluations")
    return (made.metric, made.of) if isinstance(made, OnText) else (EVALUATIONS.write(made).partition("(")[0],)


def _draws_needed(rows: Sequence[Mapping[str, Any]]) -> int:
    """The fewest draws with which one row of the pilot can tell the smallest difference of interest."""
    needed = [one["draws needed"] for one in rows if one["draws needed"] is not None]
    if not needed:
        raise UserError("every evaluation of the study is at chance in the pilot, or it has no two sources: nothing "
                        "can be told; calprune study power shows why")  # fmt: skip
    return min(needed)


def _cuts(cut: Shorter, fewest: int) -> Iterator[Shorter]:
    """The study, and every smaller one, each with one thing less than the one before."""
    yield cut
    grids = list(cut.written.get("grids", [{}]))
    while len(grids) > 1:
        last = grids.pop()
        cut = Shorter(cut.written | {"grids": list(grids)}, (*cut.gone, f"the grid {_inline(last)}"))
        yield cut
    cut = Shorter({key: value for key, value in (cut.written | grids[0]).items() if key != "grids"}, cut.gone)
    for axis in reversed(LISTS):
        values = _several(cut.written.get(axis, []))
        while len(values) > (2 if axis == "calibrations" else 1):
            last = values.pop()
            cut = Shorter(cut.written | {axis: list(values)}, (*cut.gone, f"{axis}: {_inline(last)}"))
            cut = _fitting(cut) if axis in ("methods", "patterns") else cut
            yield cut
            values = _several(cut.written[axis])
    evaluations = _several(cut.written["evaluations"])
    while len(evaluations) > 1:
        last = evaluations.pop()
        cut = Shorter(cut.written | {"evaluations": list(evaluations)}, (*cut.gone, f"the evaluation {last}"))
        yield cut
    if (draws := cut.written.get("draws", 1)) > fewest:
        yield Shorter(cut.written | {"draws": fewest}, (*cut.gone, f"{draws - fewest} of {draws} draws"))


def _fitting(cut: Shorter) -> Shorter:
    """Without the methods, patterns and orders of channels that lost what they were for with the value that went."""
    methods, patterns = ([str(one) for one in _several(cut.written.get(key, []))] for key in ("methods", "patterns"))
    kept = {"patterns": [one for one in patterns if any(fits(method, one) for method in methods)]}
    kept["methods"] = [one for one in methods if any(fits(one, pattern) for pattern in kept["patterns"])]
    permute = AXES["permute"]
    ordered = any(permute.has_effect(Setting(pattern=one)) for one in kept["patterns"])
    kept["permute"] = [str(one) for one in _several(cut.written.get("permute", [])) if ordered or one == permute.usual]
    written, gone = dict(cut.written), list(cut.gone)
    for key, left in kept.items():
        lost = [one for one in _several(written.get(key, [])) if str(one) not in left]
        gone += [f"{key}: {_inline(one)}, which is for nothing that is left" for one in lost]
        if lost:
            written[key] = [one for one in _several(written[key]) if one not in lost]
    return Shorter({key: value for key, value in written.items() if key != "permute" or value}, tuple(gone))


def _passes(written: Written, made: Plan, where: str) -> float:
    """What a part of a planned study takes, in parameters times tokens."""
    left = _of_settings(written, where)
    keys = {(*trial.setting.values(), trial.draw) for trial in left.trials()}
    trials = [trial for trial in made.trials if (*trial.setting.values(), trial.draw) in keys]
    return passes_of(trials, left.evaluations, made.sizes)


def _with_claims(cut: Shorter, where: str) -> Shorter:
    """With the claims about what is left, and its labels."""
    settings = _of_settings(cut.written, where).settings()
    kept, gone = [], []
    for one in cut.written.get("claims", []):
        narrow = _narrowed(one, settings)
        try:
            check_claims(read_claims([narrow], where), settings, where)
            kept.append(narrow)
        except UserError:
            gone.append(f"the claim: {one['says']}")
    values = {value for setting in settings for value in setting.values()}
    labels = {name: label for name, label in cut.written.get("labels", {}).items() if str(name) in values}
    written = {key: value for key, value in cut.written.items() if key not in OF_SETTINGS}
    kept_too = ({"labels": labels} if labels else {}) | ({"claims": kept} if kept else {})
    return Shorter(written | kept_too, (*cut.gone, *gone))


def _of_settings(written: Written, where: str) -> Study:
    return parse_study(_yaml({key: value for key, value in written.items() if key not in OF_SETTINGS}), where)


def _narrowed(claim: Any, settings: Sequence[Mapping[str, str]]) -> Any:
    """A claim about several values of a field, with those that are left; as it was where none is."""
    if not isinstance(claim, dict):
        return [_narrowed(one, settings) for one in claim] if isinstance(claim, list) else claim
    narrow = {}
    for name, value in claim.items():
        left = value
        if name in FIELDS and isinstance(value, list):
            left = [one for one in value if any(matches(name, setting[name], str(one)) for setting in settings)]
        narrow[name] = _narrowed(left or value, settings)
    return narrow


def _whole_text(cut: Shorter, path: Path, seconds: float) -> str:
    head = [f"# Like {path.name}; about {duration(seconds)} by the speed of the machine that made this file."]
    gone = [*cut.written.get("left_out", ()), *(" ".join(one.split()) for one in cut.gone)]
    left_out = {"left_out": gone} if gone else {}
    return "\n".join([*head, _yaml(cut.written | left_out)])


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()


def _yaml(written: Written) -> str:
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)
