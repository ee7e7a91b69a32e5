"""What a trial is, axis by axis: the one table by which studies are read, trials named, and results grouped and worded.

To add an axis: a line in AXES, and what reads its value (`Trial.job`). No torch is imported until a value is parsed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from calprune.base.values import ConfigError, UserError, choice

NO_DATA = "none"  # the calibration of a trial that reads no data

FIRST_WORDS = ("model", "calibration", "method", "allocation", "pattern")  # "sparsegpt owl 2:4"; then the other axes


class Setting(dict[str, str]):
    """The value on each axis as the study writes it: what all draws of one combination have in common."""

    def value(self, axis: str) -> Any:
        """What the text means: the method, the pattern, the number of sequences, ..."""
        return _method_of(self) if axis == "method" else AXES[axis].parse(self[axis])

    @property
    def reads_data(self) -> bool:
        return self["calibration"] != NO_DATA

    def settled(self, reads_data: bool) -> "Setting":
        """The same, with the idle value on each axis that has no effect here."""
        return Setting({
            name: self[name] if (reads_data or not axis.of_data) and axis.has_effect(self) else axis.idle_value
            for name, axis in AXES.items()
        })  # fmt: skip

    def words(self, axes: Iterable[str]) -> str:
        """In the words of these axes: "wanda 60%", "sparsegpt owl 2:4 on 128 sequences"."""
        wanted = set(axes)
        named = [AXES[name] for name in dict.fromkeys([*FIRST_WORDS, *AXES]) if name in wanted]
        return " ".join(axis.words.format(_grouped(self[axis.name])) for axis in named
                        if (self.reads_data or not axis.of_data)
                        and not (axis.silent and self[axis.name] == axis.usual))  # fmt: skip

    def label(self, draw: int | None) -> str:
        """A trial's name for people: "c4 wanda 60% pruned draw 0"; usual values need no word."""
        parts = [self["calibration"] if self.reads_data else "no data", self["method"], self["pattern"]]
        parts += [axis.short.format(self[name]) for name, axis in AXES.items()
                  if axis.short and self[name] != axis.usual]  # fmt: skip
        return " ".join([*parts, f"draw {draw}"] if draw is not None else parts)


@dataclass(frozen=True)
class Axis:
    """One thing in which trials differ."""

    name: str  # in a trial's record, a result and a claim
    key: str  # in a study's YAML
    parse: Callable[[str], Any]  # what a value means; raises ConfigError for what means nothing
    usual: str = ""  # the value where a study names none; "": it has to
    of_data: bool = False  # has no effect on a trial that reads no data
    has_effect: Callable[[Setting], bool] = lambda setting: True
    idle: str | None = None  # the value where it has no effect; None: the usual one
    words: str = "{}"  # in tables and charts
    silent: bool = False  # the usual value is never worded
    short: str = ""  # in a trial's label, where the value is not usual; "": not there, or always there

    @property
    def idle_value(self) -> str:
        return self.usual if self.idle is None else self.idle


def varying_axes(settings: Iterable[Setting]) -> tuple[str, ...]:
    """The axes on which these differ, the calibration apart: the others need no place in a name."""
    found: dict[str, set[str]] = {name: set() for name in AXES if name != "calibration"}
    for setting in settings:
        for name, values in found.items():
            if setting.reads_data or not AXES[name].of_data:
                values.add(setting[name])
    return tuple(name for name, values in found.items() if len(values) > 1)


def read_values(axis: Axis, written: Any, where: str) -> tuple[str, ...]:
    """The values of an axis that a study writes, one or a list, each parsed once. Raises ConfigError with its place."""
    if not isinstance(written, (list, tuple)):
        written = [written]
    if not written:
        raise ConfigError(f"{where}: {axis.key}: expected one at least")
    for i, one in enumerate(written):
        at = f"{where}: {axis.key}.{i}"
        if isinstance(one, bool) or not isinstance(one, (str, int, float)) or not str(one).strip():
            raise ConfigError(f"{at}: expected text; got {one!r}")
        try:
            axis.parse(str(one))
        except UserError as e:
            raise ConfigError(f"{at}: {e}") from None
    return tuple(map(str, written))


def reads_data(setting: Mapping[str, str]) -> bool:
    """Whether the method or the allocation reads calibration data."""
    return any(one.needs != "nothing" for one in (_method_of(setting), AXES["allocation"].parse(setting["allocation"])))


def _grouped(text: str) -> str:
    return f"{int(text):,}" if text.isdecimal() else text


def _method(text: str) -> Any:
    """Of zeros, or of what is taken out, by its name; of a name that both have, the first that has its options."""
    if _in_both(text):
        return _made_of(text, zeros=True) or _made_of(text, zeros=False) or _made_method(text)
    return _made_method(text) if ":" in text else _known_method(text)


def _method_of(setting: Mapping[str, str]) -> Any:
    """The method of a setting: of a name that both registries have the pattern says which, where one is named."""
    text = setting["method"]
    made = _made_of(text, of_zeros(setting)) if "pattern" in setting and _in_both(text) else None
    return made or _method(text)


@lru_cache(maxsize=1024)
def _known_method(text: str) -> Any:
    """A study means the same method thousands of times; what a user wrote is looked at each time."""
    return _made_method(text)


def _made_method(text: str) -> Any:
    from calprune.methods import parse_method
    from calprune.removal import REMOVALS

    return REMOVALS.make(text) if _name(text) in REMOVALS else parse_method(text)


@lru_cache(maxsize=1024)
def _made_of(text: str, zeros: bool) -> Any:
    """What a name that both registries have means in one of them; None where that one lacks an option."""
    from calprune.methods import METHODS
    from calprune.removal import REMOVALS

    try:
        return (METHODS if zeros else REMOVALS).make(text)
    except ConfigError:
        return None


def _in_both(text: str) -> bool:
    from calprune.methods import METHODS
    from calprune.removal import REMOVALS

    return _name(text) in METHODS and _name(text) in REMOVALS


def _name(method: str) -> str:
    return method.partition("(")[0].strip()


def _allocation(text: str) -> Any:
    """What is in a file, or a user wrote, is looked at each time."""
    return _made_allocation(text) if ":" in text or "from_file" in text else _known_allocation(text)


@lru_cache(maxsize=1024)
def _known_allocation(text: str) -> Any:
    return _made_allocation(text)


def _made_allocation(text: str) -> Any:
    from calprune.allocation import parse_allocation

    return parse_allocation(text)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Any:
    from calprune.base.patterns import parse_any

    return parse_any(text)


def _propagate(text: str) -> str:
    return choice(text, ("dense", "pruned", "sequential"), "propagate")


def _token_weights(text: str) -> Any:
    from calprune.layers.attention import parse_token_weights

    return parse_token_weights(text)


def _permute(text: str) -> Any:
    from calprune.pruning.permutation import parse_permute

    return parse_permute(text)


def _has_order(setting: Setting) -> bool:
    """Whether the order of channels matters: of patterns like 2:4."""
    from calprune.pattern import KeepNofM

    return isinstance(setting.value("pattern"), KeepNofM)


def of_zeros(setting: Mapping[str, str]) -> bool:
    """Whether weights become zero, and nothing is taken out."""
    from calprune.base.patterns import parse_removal

    return parse_removal(setting["pattern"]) is None


def _of_inputs(setting: Setting) -> bool:
    """Whether what is pruned is chosen at the inputs of linears, block by block."""
    return of_zeros(setting) or setting.value("pattern").kind in ("neurons", "heads")


def fits(method: str, pattern: str) -> bool:
    """Whether the method is one for the pattern: of zeros, or of what is taken out, with the options that it has."""
    from calprune.base.patterns import parse_removal
    from calprune.methods import METHODS
    from calprune.removal import REMOVALS, methods_for

    name, removal = _name(method), parse_removal(pattern)
    if _in_both(method) and _made_of(method, zeros=removal is None) is None:
        return False
    if removal:
        return name in methods_for(removal) or (name not in METHODS and name not in REMOVALS)
    return name in METHODS or name not in REMOVALS


def _num_samples(text: str) -> int | None:
    if text == "":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"expected a whole number of sequences, 1 or more; got {text!r}")
    return int(text)


_TABLE: Sequence[Axis] = (
    Axis("model", "models", str),
    Axis("calibration", "calibrations", str, of_data=True, idle=NO_DATA),
    Axis("method", "methods", _method),
    Axis("pattern", "patterns", _pattern),
    Axis("allocation", "allocations", _allocation, "uniform", has_effect=of_zeros, short="{}"),
    Axis("propagate", "propagate", _propagate, "dense", of_data=True, has_effect=_of_inputs, words="{} propagation",
         short="{}"),
    Axis("token_weights", "token_weights", _token_weights, "even", of_data=True, words="{} token weights", short="{}"),
    Axis("permute", "permute", _permute, "none", has_effect=_has_order, words="permuted by {}", silent=True,
         short="permuted by {}"),
    Axis("num_samples", "num_samples", _num_samples, "128", of_data=True, idle="", words="on {} sequences"),
)  # fmt: skip

AXES: dict[str, Axis] = {axis.name: axis for axis in _TABLE}
