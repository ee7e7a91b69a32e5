"""The program's one entry: commands register on `app`; `main` turns what the user can mend into one line."""

import sys
from typing import NoReturn

import click
import typer

from calprune.config import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Which calibration data should I prune my language model with, how much does it matter, "
                       "and give me the pruned model.")  # fmt: skip


def main() -> NoReturn:
    """Run a command. Exit 0 done, 1 what the user can mend (one line), 130 interrupted; a traceback is our own bug."""
    try:
        status = app(standalone_mode=False)
    except click.exceptions.Abort:
        status = _say("interrupted; nothing half-written was left", 130)
    except KeyboardInterrupt:
        status = _say("interrupted; nothing half-written was left", 130)
    except click.ClickException as e:
        status = _say(e.format_message(), 1)
    except UserError as e:
        status = _say("; ".join([str(e), *getattr(e, "__notes__", [])]), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _say(message: str, status: int) -> int:
    print("calprune:", " ".join(message.split()), file=sys.stderr)
    return status
