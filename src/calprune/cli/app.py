"""The program's one entry: commands register on `app`; `main` turns what the user can mend into one line."""

import sys
from typing import NoReturn

import typer

from calprune.base.progress import Bars, showing
from calprune.base.values import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Which calibration data should I prune my language model with, how much does it matter, "
                       "and give me the pruned model.")  # fmt: skip

# what typer raises for a mistake in the words of a command: its own copy of click's exception, or click's
WordsError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")  # type: ignore[assignment]
INTERRUPTED = 130


def main() -> NoReturn:
    """Run a command. Exit 0 done, 1 what the user can mend (one line), 130 interrupted; a traceback is our own bug."""
    try:
        with showing(Bars()):
            status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except SystemExit as e:  # how typer itself ends at Ctrl-C
        status = e.code
    except WordsError as e:
        message = e.format_message()  # type: ignore[attr-defined]
        if message.startswith("Usage:"):  # a group named without a command: its help
            print(message)
        status = 0 if message.startswith("Usage:") else _say(message, 1)
    except UserError as e:
        status = _say("; ".join([str(e), *getattr(e, "__notes__", [])]), 1)
    if status == INTERRUPTED:
        _say("interrupted; nothing half-written was left", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _say(message: str, status: int) -> int:
    print("calprune:", " ".join(message.split()), file=sys.stderr)
    return status
