"""Progress: silent in the library, a bar or lines where it is shown, and what is left by the pace of late."""

import io
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calprune.base import progress
from calprune.base.pace import Parts, TimeLeft
from calprune.base.progress import SILENT, ProgressBars, Steps, current, duration, showing, tracking, whole


class Terminal(io.StringIO):
    def isatty(self):
        return True


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


def test_a_wait_of_over_five_seconds_has_a_line_though_no_step_is_done(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    shown = ProgressBars(io.StringIO())
    with shown.waiting("loading demo"):
        time.sleep(0.2)
    monkeypatch.setattr(progress, "FIRST_LINE", 5.0)
    with shown.waiting("what is quick"):
        pass
    assert shown.stream.getvalue() == "loading demo\n"


def test_who_waits_before_anything_is_reported_reads_a_line(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.05)

    def said(work, stream=io.StringIO):
        shown = ProgressBars(stream())
        with shown.until_first("loading"):
            work(shown)
        time.sleep(0.2)
        return shown.stream.getvalue()

    assert said(lambda shown: time.sleep(0.2), Terminal) == "loading\n"
    assert said(lambda shown: time.sleep(0.2)) == "", "nobody waits before a file"
    assert said(lambda shown: None, Terminal) == ""
    assert said(lambda shown: (shown.say("a"), time.sleep(0.2)), Terminal) == "a\n"
    assert "loading" not in said(lambda shown: (list(shown.track([1], 1, "quick")), time.sleep(0.2)), Terminal)


def test_on_a_terminal_pieces_of_work_within_each_other_are_drawn_together():
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
    assert 450 * 2 < steps.left <= 500 * 10
    steps.count(6200)
    assert steps.pace.startswith("2 tokens/s, about ")


@pytest.mark.parametrize("phases", [[5], [3, 4], [1, 1, 1, 1]])
@pytest.mark.parametrize("rate", [0.25, 1.0, 60.0])
def test_at_a_constant_pace_the_time_left_is_right_from_the_second_step_on(clock, phases, rate):
    names = [str(i) for i in range(len(phases))]
    left = sum((10**i) * rate for i in range(len(phases)))  # each phase ten times as long as the one before
    with whole(TimeLeft({name: 10.0**i for i, name in enumerate(names)})):
        for i, (name, count) in enumerate(zip(names, phases, strict=True)):
            steps = Steps(name, count)
            for _ in range(count):
                clock[0] += 10**i * rate / count
                left -= 10**i * rate / count
                steps.advance()
                if (shown := steps.left) is not None or (i, steps.done) > (0, 1):
                    assert shown == pytest.approx(left, abs=1e-6 * rate)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 10), st.integers(1, 5)), min_size=1, max_size=6))
def test_what_is_announced_lies_between_all_at_the_fastest_pace_seen_and_at_the_slowest(phases):
    """phases: (cost, seconds a cost, steps)."""
    now, announced = [0.0], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.time, "monotonic", lambda: now[0])
        total = sum(cost for cost, _, _ in phases)
        with whole(TimeLeft({str(i): cost for i, (cost, _, _) in enumerate(phases)})):
            for i, (cost, pace, count) in enumerate(phases):
                steps, paces = Steps(str(i), count), [pace for _, pace, _ in phases[: i + 1]]
                for _ in range(count):
                    now[0] += cost * pace / count
                    steps.advance()
                    if steps.left is None:  # after the first of several steps
                        continue
                    announced.append(now[0] + steps.left)
                    assert steps.left >= 0
                    assert total * min(paces) * 0.999 <= announced[-1] <= total * max(paces) * 1.001
    assert announced[-1] == pytest.approx(now[0])  # nothing is left at the end


def test_a_step_of_tenfold_length_does_not_move_what_is_announced_tenfold(clock):
    steps, announced = Steps("trials", 100), []
    steps.advance()
    for i in range(1, 100):
        clock[0] += 600 if i == 50 else 60
        steps.advance()
        announced.append(clock[0] + steps.left)
    assert max(announced) < 1.6 * min(announced)


def test_a_slow_first_step_is_not_taken_for_the_pace_of_the_rest(clock):
    steps = Steps("pruning", 30)
    for i in range(30):
        clock[0] += 50 if i == 0 else 12
        steps.advance()
        assert (steps.left is None) == (i == 0)
        assert i == 0 or steps.left == pytest.approx(12 * (29 - i))


def test_time_that_belongs_to_no_phase_of_the_whole_is_not_taken_for_its_pace(clock):
    with whole(TimeLeft({"pruning": 10.0})):
        loading, pruning = Steps("loading", 1), Steps("pruning", 10)
        clock[0] += 500
        loading.advance()
        assert loading.left is None
        pruning = Steps("pruning", 10)
        for _ in range(5):
            clock[0] += 2
            pruning.advance()
    assert pruning.left == pytest.approx(10)


def test_parts_are_as_measured_where_one_of_the_kind_was_done_and_else_as_far_out_as_all_were():
    parts = Parts()
    assert parts.of([("solve", "alps"), "solve"], 7.0) == 7.0
    parts.add([("solve", "alps"), "solve"], 30.0, 10.0)
    assert parts.of([("solve", "alps"), "solve"], 1.0) == 30.0
    assert parts.of([("solve", "wanda"), "solve"], 1.0) == 30.0
    assert parts.of(["judge"], 4.0) == pytest.approx(12.0)


def test_a_part_during_which_the_machine_slept_says_nothing_of_the_next():
    parts = Parts()
    for seconds in (20.0, 1200.0, 22.0, 21.0, 19.0):
        parts.add([("prune", "wanda")], seconds, 10.0)
    assert 19.0 <= parts.of([("prune", "wanda")], 10.0) <= 22.0


def test_a_machine_that_became_slow_is_believed_after_a_few_parts():
    parts = Parts()
    for seconds in [20.0] * 50 + [60.0] * 5:
        parts.add([("prune", "wanda")], seconds, 10.0)
    assert parts.of([("prune", "wanda")], 10.0) == 60.0


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0, "0 s"), (45.4, "45 s"), (59.6, "1 min"), (120.0, "2 min"), (3599.0, "1 h 00 min"), (3900.0, "1 h 05 min"),
     (61_020.0, "16 h 57 min")],
)  # fmt: skip
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_a_duration_never_counts_60_of_anything_and_rounded_up_is_enough(seconds):
    for text, slack in ((duration(seconds), 30.5), (duration(seconds, up=True), 0.0)):
        numbers = [int(word) for word in text.split() if word.isdigit()]
        units = [word for word in text.split() if not word.isdigit()]
        assert units in (["s"], ["min"], ["h", "min"]) and numbers[-1] < 60
        worth = {"s": 1, "min": 60, "h": 3600}
        assert sum(n * worth[u] for n, u in zip(numbers, units, strict=True)) >= seconds - slack
