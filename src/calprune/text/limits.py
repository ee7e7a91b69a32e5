"""Templates of anybody's: a small language that can run for ever, held to steps, memory and output."""

import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from calprune.base.values import UserError

T = TypeVar("T")
STEPS = 200_000  # lines of the template that are run, loops counted
OUTPUT = 16 * 2**20  # characters
MEMORY = 2**30  # bytes beside what the process holds
SECONDS = 10.0  # where one step goes on for ever
DIGITS = 1000  # of a number
PRODUCTS = frozenset({"*", "**"})
TEMPLATE = "<template>"  # the name of the code that Jinja makes
BOUNDED = {  # nodes of a template's tree
    "Template", "Output", "TemplateData", "Name", "Const", "List", "Getattr", "Getitem", "If", "CondExpr", "Test",
    "Compare", "Operand", "And", "Or", "Not", "Add", "Concat",
}  # fmt: skip
BOUNDED_FILTERS = {"boxed", "default", "join", "letter", "lower", "trim", "upper"}


class TooMuch(UserError):
    """A template that goes beyond its limits."""


def held(call: Callable[[], T]) -> T:
    """What `call`, which compiles or renders a Jinja template, gives. Raises TooMuch, and whatever it raises itself."""
    with _LineCount(), _MemoryLimit(), _TimeLimit():
        try:
            found = call()
        except (MemoryError, OverflowError):
            raise TooMuch(f"it takes more than {MEMORY // 2**30} GiB of memory") from None
        except RecursionError:
            raise TooMuch("it calls itself without end") from None
        if isinstance(found, str) and len(found) > OUTPUT:
            raise TooMuch(f"it writes more than {OUTPUT // 2**20} Mi characters")
        return found


def is_bounded(environment: Any, template: str) -> bool:
    """Whether what a template writes is by its form what its record holds, a fixed number of times at most: fields,
    conditions, and loops over a field. Such a one needs no holding, which costs as much as rendering it."""
    from jinja2 import nodes

    known = {getattr(nodes, name) for name in BOUNDED}

    def within(node: Any, item: str = "") -> bool:
        """item: in a loop, the name of what it goes over; there a field of the record would be written many times."""
        match node:
            case nodes.For(iter=nodes.Name() | nodes.Getattr(node=nodes.Name()), target=nodes.Name(name=name)):
                plain = not (item or node.recursive or node.test or node.else_)
                return plain and all(within(child, name) for child in node.body)
            case nodes.Getitem(arg=nodes.Getattr(node=nodes.Name(name="loop"), attr="index0")) if item:
                return isinstance(node.node, nodes.Name | nodes.Getattr)
            case nodes.Name(name=name) if item:
                return name in (item, "loop")
            case nodes.Filter(name=name) if name in BOUNDED_FILTERS:
                pass
            case nodes.Call(node=nodes.Getattr(attr="split" | "strip")):
                pass
            case nodes.Call(node=nodes.Getattr(attr="replace"), args=[nodes.Const(value=old), nodes.Const(value=new)]):
                if not (isinstance(old, str) and isinstance(new, str) and len(new) <= len(old)):
                    return False
            case _ if type(node) not in known:
                return False
        return all(within(child, item) for child in node.iter_child_nodes())

    return within(environment.parse(template))


@contextmanager
def numbers_held() -> Iterator[None]:
    """What sandboxed Jinja environments compile inside the block asks its environment for each product (`hold`)."""
    from jinja2.defaults import DEFAULT_FILTERS
    from jinja2.sandbox import SandboxedEnvironment

    before, rounds = SandboxedEnvironment.intercepted_binops, DEFAULT_FILTERS["round"]
    SandboxedEnvironment.intercepted_binops = PRODUCTS
    DEFAULT_FILTERS["round"] = _rounded
    try:
        yield
    finally:
        SandboxedEnvironment.intercepted_binops = before
        DEFAULT_FILTERS["round"] = rounds


def hold(environment: Any) -> None:
    """Have a sandboxed Jinja environment refuse whole numbers without end: no signal ends a product of them."""
    environment.intercepted_binops = PRODUCTS
    environment.binop_table = environment.binop_table | {"*": _product, "**": _power}
    environment.filters["round"] = _rounded


def _rounded(value: Any, precision: int = 0, method: Any = "common") -> Any:
    from jinja2.filters import do_round

    return do_round(value, max(-DIGITS, min(DIGITS, precision)), method)


def _product(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        _check_bits(a.bit_length() + b.bit_length())
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        _check_bits(abs(b) * a.bit_length())
    return a**b


def _check_bits(bits: int) -> None:
    if bits > 10 * DIGITS:
        raise TooMuch(f"it makes numbers of more than {DIGITS:,} digits")


class _LineCount:
    """Counts the lines of templates that this thread runs."""

    def __enter__(self) -> None:
        self.left, self.before = STEPS, sys.gettrace()
        sys.settrace(self._called)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self.before)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename == TEMPLATE else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise TooMuch(f"it takes more than {STEPS:,} steps")
        return self._line


class _MemoryLimit:
    """Lets the process take so much more memory and no more, where the system can (Linux)."""

    def __enter__(self) -> None:
        self.before = None
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            most = pages * resource.getpagesize() + MEMORY
            if soft == resource.RLIM_INFINITY or most < soft:
                resource.setrlimit(resource.RLIMIT_AS, (most, hard))
                self.before = (soft, hard)
        except (OSError, ValueError):
            pass

    def __exit__(self, *error: object) -> None:
        if self.before:
            resource.setrlimit(resource.RLIMIT_AS, self.before)


class _TimeLimit:
    """Ends a step that goes on for ever, where this is the main thread."""

    def __enter__(self) -> None:
        self.mine = (
            threading.current_thread() is threading.main_thread() and not signal.getitimer(signal.ITIMER_REAL)[0]
        )
        if self.mine:
            self.before = signal.signal(signal.SIGALRM, self._late)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)

    def __exit__(self, *error: object) -> None:
        if self.mine:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)

    @staticmethod
    def _late(number: int, frame: FrameType | None) -> None:
        raise TooMuch(f"it takes more than {SECONDS:.0f} s")
