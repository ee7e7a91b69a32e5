"""What `calprune start` will do, settled before it is done: sets, sizes, texts to judge on, minutes and gigabytes."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from calprune.base.calls import quoted
from calprune.base.memory import free_memory
from calprune.base.progress import duration
from calprune.base.values import ConfigError, UserError, did_you_mean, identity
from calprune.calibration.part import check_there
from calprune.choosing.question import TEXTS
from calprune.deployment.machine import cores
from calprune.evaluation.evaluation import OnText
from calprune.methods import METHODS, parse_method
from calprune.methods.contract import Method
from calprune.models.load import find_device
from calprune.pattern import parse_pattern
from calprune.pruning.default import CALIBRATION
from calprune.refine import Refinement
from calprune.starting.look import PROGRAM, Look, gigabytes
from calprune.starting.own_data import LONG, MOST_TOKENS, OwnFile, open_own, stem_of
from calprune.studies.bench import Knobs
from calprune.studies.time_left import seconds_of
from calprune.text.document import Given

SIZES = (
    (128, 2048),
    (128, 1024),
    (64, 1024),
    (64, 512),
    (32, 512),
    (16, 512),
    (16, 256),
)  # sequences x tokens of a set
SMALLER = ((16, 128), (8, 128), (4, 128))  # where a file of the user is short
HURRIED = ((16, 256), (16, 128))  # where the minutes are short: judged on LEAST_TOKENS of each text
LEAST_TOKENS, LEAST_LENGTH = 2048, 256  # eight windows, so that an interval can be made
DRAWS = 3  # of each set: from 3 on an interval holds (benchmarks/intervals.md)
GENERAL, BROUGHT = CALIBRATION, "pydoc_topics"  # what is compared with, and where that is not to be had
BROUGHT_WITH = "the help texts that Python brings"
OF_CAPABILITY = {
    "code": "redpajama_github",
    "mathematics": "gsm8k:icl_cot",
}  # what is mixed in where there is no --data
CHAT = "chat"  # a capability that is judged on the user's own conversations
OWN = "your data"  # the label of the set, and of the text that is judged on
PASSES = 1.75  # forward passes of a set that a job with pruned propagation takes (LOG.md, 2026-11-22)
SOLVING = 1.3  # what the method itself takes beside them, at most (benchmarks/methods.md)
LOADING = 15.0  # seconds, until the first block of the smallest model


@dataclass(frozen=True)
class Wanted:
    """What a person gave."""

    model: str
    out: Path
    data: tuple[Path, ...] = ()
    capabilities: tuple[str, ...] = ("general",)
    method: str = "wanda"
    pattern: str = "50%"
    minutes: float = 15.0  # that it may take
    knobs: Knobs = field(default_factory=Knobs)

    def __post_init__(self) -> None:
        known = [*TEXTS, CHAT]
        for name in self.capabilities:
            if name not in known:
                raise ConfigError(f"--for: nobody knows the capability {name!r} (what is yours is judged on --data, "
                                  f"whatever it is called){did_you_mean(name, known)}")  # fmt: skip
        parse_pattern(self.pattern)
        method = parse_method(self.method)
        if method.needs == "nothing" or not getattr(method, "prunes", True) or isinstance(method, Refinement):
            raise ConfigError(f"--method {self.method}: start compares sets of text, so it takes a method that reads "
                              "data and trains nothing, such as wanda or sparsegpt")  # fmt: skip
        there = [path for path in self.data if path.is_file()]  # what is not there has a line of its own
        if twice := [path for i, path in enumerate(there) if stem_of(path) in [stem_of(p) for p in there[:i]]]:
            raise ConfigError(f"--data: two files are called {stem_of(twice[0])}; give one of them another name")
        if not 0 < self.minutes < math.inf:
            raise ConfigError(f"--minutes: expected a number above 0; got {self.minutes:g}")


@dataclass(frozen=True)
class Proposal:
    """What will be done; its id names it, so that the same command goes on with it."""

    id: str
    wanted: Wanted
    look: Look
    own: tuple[OwnFile, ...]
    sets: dict[str, str]  # label -> recipe, the usual one first
    texts: dict[str, OnText]  # what is judged -> perplexity on its text; KL is of the same pass
    notes: tuple[str, ...]
    num_samples: int = 0
    max_seq_length: int = 0
    judged: int = MOST_TOKENS  # of a text, at most
    seconds: float = 0.0
    memory: float = 0.0  # bytes
    free: int | None = None

    @property
    def size(self) -> int:
        """Tokens of a set."""
        return self.num_samples * self.max_seq_length

    @property
    def trials(self) -> int:
        return DRAWS * len(self.sets)

    @property
    def is_too_long(self) -> bool:
        return self.seconds > 60 * self.wanted.minutes

    @property
    def data_folder(self) -> Path:
        return self.wanted.out / "data"

    def lines(self) -> list[str]:
        """What a person says yes to."""
        method, pattern, on = self.wanted.method, self.wanted.pattern, ", ".join(
            f"{name} ({Path(one.of).name})" if name != OWN else name for name, one in self.texts.items())  # fmt: skip
        files = f" ({'; '.join(one.summary for one in self.own)})" if self.own else ""
        free = f" of the {gigabytes(self.free)} that are free" if self.free else ""
        most = max(one.tokens for one in self.texts.values())
        minutes = self.wanted.minutes
        short = f", more than --minutes {minutes:g} (no smaller comparison is made)" if self.is_too_long else ""
        kept, draws = ("the better one", f"{DRAWS} draws of each") if len(self.sets) > 1 else ("one", f"{DRAWS} draws")
        device = find_device(self.wanted.knobs.device)
        where = f"{cores()} cores" if device.type == "cpu" else str(device)
        return [
            f"model  {self.look.summary}",
            f"sets   {' and '.join(self.sets)}{files}: {draws}, {self.num_samples} sequences of "
            f"{self.max_seq_length:,} tokens",
            f"prune  {method} to {pattern}: {self.trials} times to compare, then {kept} to keep",
            f"judge  perplexity and KL to the dense model on {on}, up to {most:,} tokens of each",
            f"cost   about {duration(self.seconds)} here ({where}){short}, {gigabytes(self.memory)} of memory{free}, "
            f"{gigabytes(self.look.stored)} on disk",
        ]  # fmt: skip

    def study(self) -> str:
        """The study that it is, as YAML."""
        name, sets = self.look.model.name, " or ".join(self.sets)
        made: dict[str, Any] = {
            "title": f"{name}: {sets}?",
            "question": f"What is left of {name} when it is pruned with {sets}?",
            "models": name,
            "calibrations": [{"spec": spec, "label": label} for label, spec in self.sets.items()],
            "methods": [METHODS.write(parse_method(self.wanted.method))],
            "patterns": [self.wanted.pattern],
            "propagate": ["pruned"],
            "num_samples": self.num_samples,
            "max_seq_length": self.max_seq_length,
            "draws": DRAWS,
            "evaluations": [str(one) for metric in ("kl", "perplexity") for one in self.evaluations(metric).values()],
        }
        return yaml.safe_dump(made, sort_keys=False, allow_unicode=True)

    def evaluations(self, metric: Any) -> dict[str, OnText]:
        """By what is judged."""
        return {name: OnText(metric, one.of, one.tokens, one.length) for name, one in self.texts.items()}


def propose(wanted: Wanted, look: Look) -> Proposal:
    """Look for the texts. The sizes come later: `sized`. Raises UserError where a text that is needed is not there."""
    tokenizer, root = look.model.tokenizer, wanted.knobs.data_root
    own = tuple(open_own(path, tokenizer) for path in wanted.data)
    if CHAT in wanted.capabilities and not any(one.is_chat for one in own):
        raise UserError("--for chat is judged on conversations of yours: give them with --data chat.jsonl")
    notes: list[str] = []
    sets, texts = _general(tokenizer, root, notes)
    texts |= {name: _text(name, tokenizer, root) for name in wanted.capabilities if name not in (CHAT, "general")}
    if "general" not in wanted.capabilities and len(texts) > 1:
        texts.pop("general")
    folder = wanted.out / "data"
    if own:
        sets[OWN] = " + ".join(quoted(str(one.parts(folder)[0])) for one in own)
        names = [OWN if len(own) == 1 else f"{OWN}, {one.path.name}" for one in own]
        judged = {name: OnText("perplexity", str(one.parts(folder)[1]), one.tokens, one.length)
                  for name, one in zip(names, own, strict=True)}  # fmt: skip
        texts = judged | texts  # first what the person came for
    elif mixed := [OF_CAPABILITY[name] for name in wanted.capabilities if name in OF_CAPABILITY]:
        first = next(iter(sets))
        sets[f"{first} with {', '.join(name for name in wanted.capabilities if name in OF_CAPABILITY)}"] = " + ".join(
            [sets[first], *mixed])  # fmt: skip
    files = [[one.path.name, one.digest] for one in own]
    named = identity([look.model.id, files, sorted(wanted.capabilities), wanted.method, wanted.pattern, sorted(sets)])
    return Proposal(named, wanted, look, own, sets, texts, tuple(notes))


def _general(tokenizer: Any, root: Path | None, notes: list[str]) -> tuple[dict[str, str], dict[str, OnText]]:
    """The usual set and the text that is judged on; where they are not to be had, what Python brings."""
    text = TEXTS["general"]
    lacking = _lacking(GENERAL, "calibration", tokenizer, root) or _lacking(text, "evaluation", tokenizer, root)
    if lacking:
        notes.append(f"{GENERAL} is not to be had here ({lacking}), so {BROUGHT_WITH} take its place; --data-root DIR "
                     "names a folder of data sets")  # fmt: skip
    of = BROUGHT if lacking else text
    name = BROUGHT if lacking else GENERAL
    return {name: name}, {"general": OnText("perplexity", of, MOST_TOKENS, LONG)}


def _text(capability: str, tokenizer: Any, root: Path | None) -> OnText:
    if lacking := _lacking(TEXTS[capability], "evaluation", tokenizer, root):
        raise UserError(f"--for {capability} is judged on {TEXTS[capability]}, which is not to be had here "
                        f"({lacking}); give --data-root DIR, or a text of yours with --data")  # fmt: skip
    return OnText("perplexity", TEXTS[capability], MOST_TOKENS, LONG)


def _lacking(spec: str, purpose: Any, tokenizer: Any, root: Path | None) -> str:
    """Why a text cannot be read here; "" where it can."""
    try:
        check_there(spec, Given(tokenizer=tokenizer, data_root=root), purpose)
    except UserError as e:
        return str(e).partition(";")[0]
    return ""


def sized(made: Proposal, given: tuple[int, int, int] | None = None) -> Proposal:
    """The proposal with the largest set that fits into the memory and the minutes; with the smallest, if none fits into
    the minutes. `given`: sequences, their tokens and the tokens judged of a run that goes on. Raises UserError where
    none fits into the memory."""
    second = seconds_of(1.0, made.look.dtype, made.wanted.knobs.device)
    if given:
        return _of_size(made, second, *given)
    sizes = _sizes(made, made.look.positions or 2**31)
    hurried = [size for size in HURRIED if size[0] * size[1] <= sizes[-1][0] * sizes[-1][1]]
    found = [_of_size(made, second, *size, MOST_TOKENS) for size in sizes]
    found += [_of_size(made, second, *size, LEAST_TOKENS) for size in hurried]
    fitting = [one for one in found if one.free is None or one.memory <= one.free]
    if not fitting:
        raise UserError(_does_not_fit(found[-1]))
    return next((one for one in fitting if not one.is_too_long), fitting[-1])


def _of_size(made: Proposal, second: float, num_samples: int, max_seq_length: int, judged: int) -> Proposal:
    """With sets of this size, judged on `judged` tokens of each text at most, in shorter windows where they are few.
    second: that a token takes through a parameter."""
    longest = LONG if judged >= MOST_TOKENS else LEAST_LENGTH
    texts = {name: replace(one, tokens=min(one.tokens, judged), length=min(one.length, longest))
             for name, one in made.texts.items()}  # fmt: skip
    made = replace(made, num_samples=num_samples, max_seq_length=max_seq_length, judged=judged, texts=texts)
    method: Method = parse_method(made.wanted.method)
    memory = made.look.memory(made.size, method.needs != "moments")
    seconds = LOADING + second * _passes(made, made.size)
    return replace(made, seconds=seconds, memory=memory, free=free_memory(find_device(made.wanted.knobs.device)))


def _sizes(made: Proposal, longest: int) -> list[tuple[int, int]]:
    """The sizes of sets that the model reads and that the user's files suffice for, the largest first. Raises UserError
    where they suffice for none."""
    sizes = [size for size in (*SIZES, *SMALLER) if size[1] <= longest] or [(16, longest)]
    found = [(n, length) for n, length in sizes if all(one.holds(n / len(made.own), length) for one in made.own)]
    if not found:
        n, length = sizes[-1]
        raise UserError(f"--data: {' and '.join(one.path.name for one in made.own)}: too short to calibrate on: the "
                        f"smallest set has {n} sequences of {length} tokens; give a larger file")  # fmt: skip
    usual = [size for size in found if size in SIZES]
    return usual or found


def _passes(made: Proposal, tokens: int) -> float:
    """Tokens times the parameters that they go through, roughly: those of the sets go through the blocks, those of the
    texts judged on through the whole model, dense and pruned."""
    judged = sum(one.tokens for one in made.texts.values())
    return (made.trials + 1) * (tokens * PASSES * SOLVING * made.look.of_blocks + judged * made.look.parameters)


def _does_not_fit(smallest: Proposal) -> str:
    """What is lacking, and what would fit."""
    look = smallest.look
    assert smallest.free is not None
    most = look.parameters * smallest.free / smallest.memory / 1e9
    halved = ", or half of it with the weights stored in bfloat16" if look.stored / look.parameters > 3 else ""
    return (f"{look.model.name} does not fit: the smallest set, {smallest.num_samples} sequences of "
            f"{smallest.max_seq_length} tokens, takes about {gigabytes(smallest.memory)} of memory, and "
            f"{gigabytes(smallest.free)} are free; what fits: a machine or a GPU (--device cuda) with that much{halved}"
            f"; a model of up to {most:.2g} billion parameters; or calprune prune, which holds the weights once "
            f"(about {gigabytes(look.stored + PROGRAM)})")  # fmt: skip


def same_run(made: Proposal, there: dict[str, Any]) -> tuple[int, int, int]:
    """The sizes of the run that is in the folder, as `sized` takes them. Raises UserError where it is another one."""
    if there["id"] != made.id:
        raise UserError(f"{made.wanted.out} holds another start (another model, file, method or capability): name "
                        "another folder with --out")  # fmt: skip
    return there["num_samples"], there["max_seq_length"], there.get("judged", MOST_TOKENS)  # 0.1 wrote no `judged`
