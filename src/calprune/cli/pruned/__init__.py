"""Commands for a model that is pruned, and the options that they share."""

from typing import Annotated

import typer

from calprune.cli import options as opt

Pruned = Annotated[str, typer.Argument(help="the folder of a pruned model")]
Dense = Annotated[str, opt.method_option("--dense", help="the model that was pruned: `demo`, a folder or a hub name")]
Watch = Annotated[
    str | None,
    opt.data_option(
        help="a text of another source that it is judged on", show_default="wikitext2, or c4 beside wikitext2"
    ),
]
WatchTokens = Annotated[int, opt.data_option(help="of that text")]
