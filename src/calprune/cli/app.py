"""The program's one entry: commands register on `app`; `main` turns what the user can mend into one line."""

import errno
import math
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

import typer
from typer.core import TyperCommand

from calprune import __version__
from calprune.base.progress import ProgressBars, showing
from calprune.base.signals import end_on_signals
from calprune.base.values import CODE_ALLOWED, UserError

NAME = "calprune"
PANELS = ("Arguments", "Data", "Method", "Run", "Output", "Options")  # of a command's help, in this order
DONE, FAILED, MISUSED, SOME_FAILED, INTERRUPTED, UNREAD = 0, 1, 2, 3, 130, 141  # exit codes
OFFLINE = "HF_HUB_OFFLINE"  # the hub's client reads it when it is imported
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it when it first takes memory: large tensors have fewer page faults
TRACEBACK = "CALPRUNE_TRACEBACK"  # the environment variable that shows all of an error
SHARED = ("prune", "recover")  # commands that several processes, started by torchrun, can share
LONGEST = 300  # characters of an error that is not ours

# what typer raises for a mistake in the words of a command: its own copy of click's exception, or click's
WordsError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")  # type: ignore[assignment]


def is_one_of_several() -> bool:
    """Whether torchrun started this process with others."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1") and "MASTER_ADDR" in os.environ


class Command(TyperCommand):
    """A command whose help has its options by panel, each default, and its examples as they can be pasted.

    Plain text, for rich takes as long to import as all else that help needs.
    """

    running: ClassVar[Any] = None  # the context of the command that runs

    def invoke(self, ctx: Any) -> Any:
        """Refuse numbers that nothing can hold, and a data root that is not there, before anything is done."""
        Command.running = ctx
        if is_one_of_several() and self.name not in SHARED:
            raise UserError(
                f"{ctx.command_path} is of one process: start it without torchrun; several share {' and '.join(SHARED)}"
            )
        if (root := ctx.params.get("data_root")) is not None and not os.path.isdir(root):
            raise UserError(f"the data root {root} is not a folder; give --data-root (or CALPRUNE_DATA) one that is")
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name)
            if isinstance(value, int) and abs(value) >= 2**53:
                raise UserError(f"{param.opts[0]}: expected a whole number below {2**53:,}; got {value:,}")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{param.opts[0]}: expected a number; got {value:g}")
        return super().invoke(ctx)

    @property
    def examples(self) -> list[str]:
        """The example commands: the lines of the epilog."""
        return (self.epilog or "").splitlines()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Leave out what is hidden, as the rest of the help does."""
        shown = [param for param in self.get_params(ctx) if not getattr(param, "hidden", False)]
        return ["[OPTIONS]", *(piece for param in shown for piece in param.get_usage_pieces(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the panels of options."""
        for panel, params in by_panel(self.get_params(ctx)).items():
            with formatter.section(panel):
                rows = [param.get_help_record(ctx) for param in params]
                formatter.write_dl([(name.replace("<list[str]>", "<str>"), text) for name, text in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for example in self.examples:
                    lines = folded(example, formatter.width - 4)
                    formatter.write("".join(f"  {line}\n" for line in lines))


class Commands(typer.Typer):
    """A group of commands of this kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, **options)

    def command(self, name: str | None = None, *, example: str = "", **options: Any) -> Any:  # type: ignore[override]
        """Register a command; `example`: how it is used, one command a line."""
        return super().command(name, cls=Command, epilog=example, **options)


app = Commands(help="Which calibration data should I prune my language model with, how much does it matter, "
                    "and give me the pruned model.")  # fmt: skip


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"{NAME} {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help=f"ask the hub for nothing, as {OFFLINE}=1; of any command")
    ] = False,
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution",
            help=f"run what a model writes for humaneval and mbpp, as {CODE_ALLOWED}=1; of any command",
        ),
    ] = False,
) -> None: ...


def by_panel(params: list[Any]) -> dict[str, list[Any]]:
    """The parameters that are not hidden under the headings of their panels."""
    found: dict[str, list[Any]] = {panel: [] for panel in PANELS}
    for param in params:
        panel = PANELS[0] if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
        if not getattr(param, "hidden", False):
            found[panel or PANELS[-1]].append(param)
    return {panel: those for panel, those in found.items() if those}


def folded(command: str, width: int) -> list[str]:
    """A command as lines that a shell reads as one: cut before options, each cut with a backslash."""
    lines = [""]
    for word in command.replace(" --", "\n--").split("\n"):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def as_typed() -> str:
    """The running command as it was typed, to be copied: nothing from the environment, no default."""
    if (context := Command.running) is None:
        return ""
    parts = [NAME, *context.command_path.split()[1:]]
    for one in context.command.params:
        source = context.get_parameter_source(one.name) if one.name else None
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[one.name]
        if one.param_type_name == "argument":
            parts += map(str, value if isinstance(value, (list, tuple)) else [value])
        elif getattr(one, "is_flag", False):
            parts.append(one.opts[0] if value else one.secondary_opts[0])
        else:
            option = max(one.opts, key=len)
            parts += [word for each in (value if isinstance(value, (list, tuple)) else [value])
                      for word in (option, str(each))]  # fmt: skip
    return shlex.join(parts)


def note(message: str) -> None:
    """One line on stderr beside a command's result."""
    print("note:", message, file=sys.stderr, flush=True)


_kept: dict[Path, str] = {}  # what the running command keeps, by its folder, so that the same command goes on
_typed: list[str] = []  # the words of the command, as they were given


def goes_on(what: str, folder: Path) -> None:
    """From now on who stops the command reads that the same one goes on, if `folder` is there by then."""
    _kept[folder] = what


def main() -> NoReturn:
    """Run a command.

    Exit 0 done, 1 what the user can mend (one line), 2 words that are no command, 3 some trials of a study failed,
    130 interrupted (Ctrl-C, SIGTERM, SIGHUP), 141 nobody reads what is printed. Whatever else is raised is one line,
    too; CALPRUNE_TRACEBACK=1 shows all of it.
    """
    end_on_signals()
    _kept.clear()
    _typed[:] = sys.argv[1:]
    os.environ.setdefault(LARGE_PAGES, "1")
    for option, variable in (("--offline", OFFLINE), ("--allow-code-execution", CODE_ALLOWED)):
        if option in sys.argv[1:]:
            sys.argv.remove(option)
            os.environ[variable] = "1"
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's letters cannot write is written in escapes
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        bars = ProgressBars()
        with showing(bars), bars.until_first("loading torch, transformers and what the command names ..."):
            status = app(prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        status = _close_stdout(UNREAD)
    except SystemExit as e:  # how typer itself ends at Ctrl-C
        status = e.code
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # how it ends where nobody reads what is printed
            status = _close_stdout(UNREAD)
    except WordsError as e:
        status = _misused(e)
    except UserError as e:
        status = _say("; ".join([str(e), *getattr(e, "__notes__", [])]), FAILED)
        _show(e)
    except Exception as e:
        status = _unexpected(e)
    if status == INTERRUPTED:
        _say(f"interrupted; {_how_to_go_on()}", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else DONE)


def _how_to_go_on() -> str:
    there = [f"{what} in {folder}" for folder, what in _kept.items() if folder.is_dir()]
    if not there:
        return "nothing half-written was left"
    return f"{', '.join(there)}; to go on: {NAME} {shlex.join(_typed)}"


def _unexpected(error: Exception) -> int:
    """One line on what no room below made one of: the file that the system names, the kind of error and its text, and
    where it came from."""
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO):
        return _close_stdout(_say(f"cannot write to stdout: {error.strerror}", FAILED))
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename is not None else ""
        status = _say(f"{named}{error.strerror}", FAILED)
    elif isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        status = _say(f"it does not fit into memory: {error or 'none is left'}", FAILED)
    else:
        lines = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in lines if _is_ours(frame.filename)] or lines
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        text = " ".join("; ".join([str(error), *getattr(error, "__notes__", [])]).split())
        shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        status = _say(f"unexpected {type(error).__name__}: {shown} (at {at}); {TRACEBACK}=1 shows all", FAILED)
    _show(error)
    return status


def _is_ours(file: str) -> bool:
    """Whether a file is calprune's or the user's own: of no library, nor of Python."""
    return "calprune" in file or not file.startswith(("<", sys.prefix, sys.base_prefix))


def _show(error: Exception) -> None:
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)


def _close_stdout(status: int) -> int:
    """Nothing more can be written there, not at the end of the process either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status


def _misused(error: Any) -> int:
    """Report what is wrong with the command line and where the right words are; for a group alone, print its help."""
    message = error.format_message()
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return MISUSED
    ctx = getattr(error, "ctx", None)
    return _say(message + (f" (see {ctx.command_path} --help)" if ctx else ""), MISUSED)


def _say(message: str, status: int) -> int:
    print(f"{NAME}:", " ".join(message.split()), file=sys.stderr)
    return status
