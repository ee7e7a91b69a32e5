"""Options that several commands share: one name, one help text, one panel."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from calprune.base.progress import tracking
from calprune.cli.app import note
from calprune.cli.names import check, check_each, complete

if TYPE_CHECKING:
    from calprune.layers.collect import Counting

T = TypeVar("T")

# an option in one of the panels of a command's help
data_option = partial(typer.Option, rich_help_panel="Data")
method_option = partial(typer.Option, rich_help_panel="Method")
run_option = partial(typer.Option, rich_help_panel="Run")
output_option = partial(typer.Option, rich_help_panel="Output")

_MODEL = "`demo`, a folder, a .gguf file, or a hub name like owner/name@revision"
_DATA = "a catalogue name, a text file, the folder of a built set or of saved statistics"
Model = Annotated[str, typer.Argument(help=_MODEL)]
Out = Annotated[Path, output_option(help="folder to write; absent or empty")]
Calibration = Annotated[str | None, data_option(help=_DATA)]
CalibrationOrUsual = Annotated[
    str | None, data_option("--calibration", help=_DATA, show_default="c4, where the method reads data")
]
CalibrationNeeded = Annotated[str, data_option("--calibration", help=_DATA)]
NumSamples = Annotated[
    int | None, data_option(help="sequences of the calibration set", show_default="as the recipe says, or 128")
]
MaxSeqLength = Annotated[
    int | None, data_option(help="tokens of a sequence", show_default="as the recipe says, or 2048")
]
Seed = Annotated[int | None, data_option(help="seed of the draw of documents", show_default="as the recipe says, or 0")]
DataRoot = Annotated[Path | None, data_option(envvar="CALPRUNE_DATA", help="folder of data sets on disk")]
Filters = Annotated[
    list[str] | None,
    data_option(
        "--filter",
        callback=check_each("filter"),
        autocompletion=complete("filter"),
        help="drop documents: min_words(50), language(en), near_duplicates, ...; repeatable, in this order",
    ),
]


def _method(at_n_m: str) -> Any:
    """A method; where none is named, the pattern's, which at n:m is this one."""
    return method_option(
        callback=check("method"),
        autocompletion=complete("method"),
        help='"wanda", "sparsegpt(damping=0.1)", ...; calprune methods lists them',
        show_default=f"by the pattern: {at_n_m} at n:m, wanda at a share, flap, block_influence or reap for what is "
        "taken out",
    )


Method = Annotated[str | None, _method("admm")]
MethodToCompare = Annotated[str | None, _method("sparsegpt")]
_pattern = method_option(callback=check("pattern"), help='"50%", "50%/row", "50%/matrix", or n kept of m: "2:4"')
Pattern = Annotated[str, _pattern]
_any_pattern = method_option(
    callback=check("any pattern"),
    help='"50%", "50%/row", "50%/matrix", or n kept of m: "2:4"; or what is taken out, so that a smaller model is '
    'left: "neurons:25%", "heads:1", "blocks:4", "experts:25%"',
)
PatternOrRemoval = Annotated[str, _any_pattern]
AnyPatternOrNone = Annotated[str | None, _any_pattern]
Ignore = Annotated[
    list[str] | None,
    method_option(help='leave linears dense: "*.down_proj", "re:.*[qk]_proj"; repeatable'),
]
MinExpertTokens = Annotated[
    int, method_option(help="an expert to which fewer tokens are sent is pruned by all tokens' statistics")
]
AllExperts = Annotated[bool, method_option("--all-experts", help="all tokens count in every expert's statistics")]
TokenWeights = Annotated[
    str,
    method_option(
        callback=check("token weights"),
        help='even; attention: a token counts by the attention it receives (RSQ), "attention(least=0.05)"',
    ),
]
Device = Annotated[str, run_option(help="auto, cpu, cuda, cuda:1; blocks are moved there one at a time")]
Dtype = Annotated[str | None, run_option(help="float32, bfloat16 or float16", show_default="as stored")]
Dequantize = Annotated[
    bool,
    run_option(
        "--dequantize", help="a quantised model (block FP8, FP8, MXFP4) is made bfloat16 first, once, in the cache"
    ),
]
BatchSize = Annotated[int | None, run_option(help="sequences at a time", show_default="by the device")]
OfInterest = Annotated[
    list[str] | None,
    method_option(
        "--of-interest",
        help="the smallest difference that you would act on: nats=0.02, points=1 (of accuracy), METRIC=NUMBER; "
        "repeatable",
        show_default="0.02 nats a token, 1 point",
    ),
]
Json = Annotated[bool, output_option("--json", help="print one JSON value")]
OfSet = Annotated[
    str | None, data_option("--model", help="the model that the set is for", show_default="as the set says")
]


ForModel = Annotated[str, data_option("--model", help=_MODEL)]


def with_more(option: str, given: list[str], more: list[str] | None) -> tuple[str, ...]:
    """The values of a repeated option; `more`: words that followed it without its name, as they could until 0.1."""
    if more:
        wanted = " ".join(f"{option} {value}" for value in [*given, *more])
        note(f"several values are written with the option before each: {wanted}")
    return (*given, *(more or ()))


def spread(option: str, given: Sequence[str]) -> str:
    """The values of a repeated option as one text; one value could hold several, "a=1 b=2", until 0.1."""
    words = [word for value in given for word in value.replace(",", " ").split()]
    if len(words) > len(given):
        note(f"several values are written with the option before each: {' '.join(f'{option} {w}' for w in words)}")
    return " ".join(words)


def read_counting(min_expert_tokens: int, all_experts: bool, token_weights: str) -> "Counting":
    """The options of collecting."""
    from calprune.layers.attention import parse_token_weights
    from calprune.layers.collect import Counting

    return Counting(min_expert_tokens, all_experts, parse_token_weights(token_weights))


def following(blocks: Iterable[T], model: Any, doing: str) -> Iterator[T]:
    """The same blocks, with a bar of how many of the model's are done and how long the rest may take."""
    from calprune.layers.linears import find_blocks

    name, modules = find_blocks(model)
    return tracking(blocks, len(modules), f"{doing} {name}")
