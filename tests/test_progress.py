"""Progress: silent in the library, a bar or lines where it is shown, and what is left by the pace of late."""

import io
import subprocess
import sys

import pytest

from calprune.base import progress
from calprune.base.progress import SILENT, ProgressBars, Steps, current, duration, showing, tracking


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: clock[0] seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_library_says_nothing_unless_it_is_shown(capfd):
    assert list(tracking(range(3), 3, "pruning")) == [0, 1, 2]
    current().say("a line")
    assert capfd.readouterr() == ("", "")
    shown = ProgressBars(io.StringIO())
    with showing(shown):
        assert current() is shown
        current().say("a line")
    assert current() is SILENT and shown.stream.getvalue() == "a line\n"


def test_importing_it_imports_neither_rich_nor_torch():
    program = "import sys, calprune.base.progress; print(sorted({'rich', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_without_a_terminal_a_line_is_said_now_and_then_and_none_at_the_end(clock):
    shown = ProgressBars(io.StringIO())
    for _ in shown.track(range(4), 4, "pruning"):
        clock[0] += 20
    assert shown.stream.getvalue() == "pruning: 2 of 4, about 40 s left\n"


def test_on_a_terminal_pieces_of_work_within_each_other_are_drawn_together():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = ProgressBars(Terminal())
    for _ in shown.track(range(2), 2, "outer"):
        with shown.steps("inner", 5, "tokens") as steps:
            steps.count(3)
            steps.advance()
            shown.say("between")
    drawn = shown.stream.getvalue()
    assert all(text in drawn for text in ("outer", "inner", "between", "0/2", "1/2", "0/5"))


def test_what_is_left_is_by_the_pace_of_late_and_never_by_what_was_found(clock):
    steps = Steps("writing", 1000, "tokens")
    for _ in range(100):
        steps.advance(found=True)
    assert steps.left is None
    for _ in range(100):
        clock[0] += 1
        steps.advance()
    assert steps.left == pytest.approx(800)
    for _ in range(300):
        clock[0] += 10  # slower since, ten times the horizon
        steps.advance()
    assert steps.left == pytest.approx(500 * 10, rel=0.01)
    for _ in range(50):
        steps.advance()  # a batch that ends at once does not look like endless speed
    assert 450 * 2 < steps.left < 450 * 10
    steps.count(6200)
    assert steps.pace.startswith("2 tokens/s, about ")


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0, "0 s"), (45.4, "45 s"), (89.0, "89 s"), (90.0, "2 min"), (3600.0, "60 min"), (11_100.0, "3 h 05 min")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text
