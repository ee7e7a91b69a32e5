"""Options that several commands share: one name, one help text; and the bar of what is done block by block."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from calprune.base.progress import tracking

T = TypeVar("T")

Model = Annotated[str, typer.Argument(help="`demo`, a folder, or a hub name like owner/name@revision")]
Out = Annotated[Path, typer.Option(help="folder to write; absent or empty")]
_DATA = "a catalogue name, a text file, the folder of a built set or of saved statistics"
Calibration = Annotated[str | None, typer.Option(help=_DATA)]
CalibrationNeeded = Annotated[str, typer.Option("--calibration", help=_DATA)]
NumSamples = Annotated[int, typer.Option(help="sequences of the calibration set")]
MaxSeqLength = Annotated[int, typer.Option(help="tokens of a sequence")]
Seed = Annotated[int, typer.Option(help="of the draw of documents")]
DataRoot = Annotated[Path | None, typer.Option(envvar="CALPRUNE_DATA", help="folder of data sets on disk")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1; blocks are moved there one at a time")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; default: as stored")]
BatchSize = Annotated[int | None, typer.Option(help="sequences at a time; default: by the device")]
MinExpertTokens = Annotated[
    int, typer.Option(help="an expert to which fewer tokens are sent is pruned by all tokens' statistics")
]
AllExperts = Annotated[bool, typer.Option("--all-experts", help="all tokens count in every expert's statistics")]
TokenWeights = Annotated[
    str,
    typer.Option(help='even; attention: a token counts by the attention it receives (RSQ), "attention(least=0.05)"'),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON value")]


def following(blocks: Iterable[T], model: Any, doing: str) -> Iterator[T]:
    """The same blocks, with a bar of how many of the model's are done and how long the rest may take."""
    from calprune.layers.linears import find_blocks

    name, modules = find_blocks(model)
    return tracking(blocks, len(modules), f"{doing} {name}")
