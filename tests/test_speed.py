"""Models are timed in turns, each doing the work that its times are of; what is shown is medians with intervals."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
import scipy.stats
import torch

import calprune
from calprune.base.values import UserError
from calprune.deployment import rounds
from calprune.deployment.machine import Others, processor, resident
from calprune.deployment.rounds import Timed, take_turns
from calprune.deployment.speed import WORKS, SpeedReport
from calprune.deployment.worker import Loaded, Runner, Work
from calprune.uncertainty.median import median_of
from tests.families import CONFIGS, random_model
from tests.test_cli import run  # noqa: F401  a fixture
from tests.tiny import save, toy_tokenizer

SMALL = (Work(1, 8), Work(2, 4, 3))
HERE = {"dtype": None, "device": "cpu", "dequantize": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Tiny models: of rotary positions, of a table of 64, and one that always writes the token which ends a text."""
    home, tokenizer, found = tmp_path_factory.mktemp("speed"), toy_tokenizer(), {}
    for family in ("llama", "gpt2"):
        config = CONFIGS[family]()
        config.vocab_size = len(tokenizer)
        save(random_model(config), tokenizer, home / family)
        found[family] = str(home / family)
    config = CONFIGS["llama"]()
    config.vocab_size, config.eos_token_id = len(tokenizer), 0
    ends = random_model(config)
    torch.nn.init.zeros_(ends.get_output_embeddings().weight)
    save(ends, tokenizer, home / "ends")
    return found | {"ends": str(home / "ends")}


def report(*seconds: list[float], work: Work = WORKS[0]) -> SpeedReport:
    """Of models with these times."""
    about = Loaded("id", 1000, 10, "float32", "cpu", 1, None)
    models = tuple(Timed(f"m{i}", about, {work: times}, 10**6) for i, times in enumerate(seconds))
    return SpeedReport(models, len(seconds[0]), {"device": "here"}, 0.0)


# --- intervals


def test_a_median_of_seven_lies_between_the_least_and_the_greatest_and_of_five_nothing_is_sure():
    found = median_of([5.0, 1.0, 2.0, 9.0, 3.0, 4.0, 100.0])
    assert (found.value, found.low, found.high, found.n) == (4.0, 1.0, 100.0, 7)
    five = median_of([5.0, 1.0, 2.0, 9.0, 3.0])
    assert five.value == 3.0 and five.low is None and five.high is None
    assert median_of([]) is None and median_of([1.0, 2.0]).value == 1.5


@pytest.mark.parametrize("n", [6, 9, 20])
def test_95_of_100_intervals_and_more_hold_the_median_of_values_with_a_long_tail(n):
    stream, truth = random.Random(n), scipy.stats.lognorm(1.5).median()
    found = [median_of([stream.lognormvariate(0, 1.5) for _ in range(n)]) for _ in range(2000)]
    held = sum(one.low <= truth <= one.high for one in found) / len(found)
    assert held > 0.95 - 3 * (0.95 * 0.05 / 2000) ** 0.5
    # the next narrower pair of values would hold it too seldom
    k = next(k for k in range(1, n) if 2 * scipy.stats.binom.cdf(k - 1, n, 0.5) > 0.05)
    ordered = sorted(stream.lognormvariate(0, 1.5) for _ in range(n))
    assert median_of(ordered).low == ordered[k - 2] and median_of(ordered).high == ordered[n - k + 1]


# --- what is timed


def test_reading_reads_the_whole_prompt_once_and_writing_writes_so_many_tokens_after_the_first(folders):
    runner = Runner(folders["ends"], **HERE)
    seen: list[tuple[int, ...]] = []
    runner.model.model.get_input_embeddings().register_forward_hook(lambda m, a, out: seen.append(tuple(out.shape[:2])))
    assert runner.seconds(Work(1, 8)) > 0 and seen == [(1, 8)]
    seen.clear()
    assert runner.seconds(Work(2, 4, 3)) > 0
    assert seen == [(2, 4)] + [(2, 1)] * 3, "also where the first token that it writes would end the text"


def test_a_prompt_is_the_same_for_all_models_with_a_tokenizer_and_has_no_token_with_a_meaning_of_its_own(folders):
    one, other = (Runner(folders[name], **HERE) for name in ("llama", "ends"))
    ids = one._prompt(Work(3, 50))
    assert torch.equal(ids, other._prompt(Work(3, 50))) and len(set(ids.flatten().tolist())) > 10
    assert not set(ids.flatten().tolist()) & set(one.model.tokenizer.added_tokens_decoder)


def test_a_work_is_of_as_many_tokens_as_are_read_or_written():
    assert Work(1, 512).tokens == 512 and Work(8, 128, 32).tokens == 256
    assert Work(8, 128, 32).longest == 161 and Work(1, 512).longest == 512


def test_models_take_turns_and_every_other_round_goes_the_other_way():
    a, b = SMALL
    turns = list(rounds._turns(2, SMALL, 2))
    assert turns[:4] == [(1, a, False), (0, a, False), (1, b, False), (0, b, False)]
    assert turns[4:] == [(0, a, True), (1, a, True), (0, b, True), (1, b, True),
                         (1, a, True), (0, a, True), (1, b, True), (0, b, True)]  # fmt: skip


def test_each_model_has_a_time_a_round_its_bytes_on_the_disk_and_its_memory(folders):
    timed, others = take_turns([folders["llama"], folders["llama"]], SMALL, 2, HERE)
    assert [one.name for one in timed] == [folders["llama"], f"{folders['llama']} (2)"]
    stored = sum(t.size for t in calprune.load(folders["llama"]).origin.checkpoint.tensors.values())
    for one in timed:
        assert {work: len(times) for work, times in one.seconds.items()} == dict.fromkeys(SMALL, 2)
        assert all(time > 0 for times in one.seconds.values() for time in times)
        assert one.about.stored == stored and one.about.device == "cpu"
        assert one.memory is None or one.memory >= stored
    assert others is None or 0 <= others <= 1.5


def test_what_goes_past_a_table_of_positions_is_not_measured_and_it_is_said(folders):
    timed, _ = take_turns([folders["gpt2"]], (Work(1, 60), Work(1, 65)), 1, HERE)
    assert [len(times) for times in timed[0].seconds.values()] == [1, 0]
    found = SpeedReport(tuple(timed), 1, {"device": "here"}, None)
    assert found.speed(0, Work(1, 65)) is None and "65 tokens goes past its table of 64 positions" in found.text()


def test_a_model_that_is_not_there_or_whose_process_ends_is_one_line(folders, monkeypatch):
    with pytest.raises(UserError, match="no such folder"):
        calprune.speed(["./nowhere"])
    memory = "it could not be run: there was not enough memory"
    with rounds._process("large") as process, pytest.raises(UserError, match=memory):
        os.kill(process.process.pid, signal.SIGKILL)
        process.answer({"name": folders["llama"]} | HERE)
    with rounds._process("odd") as process, pytest.raises(UserError, match="model odd: unknown dtype 'int3'"):
        process.answer({"name": folders["llama"]} | HERE | {"dtype": "int3"})
    assert process.process.poll() is not None, "no process is left"


# --- what is shown


def test_a_ratio_is_paired_by_round_so_that_a_slow_minute_says_nothing():
    slow = [1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 3.0]
    found = report(slow, [t / 2 for t in slow])
    ratio = found.ratio(1, WORKS[0])
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0) and found.ratio(0, WORKS[0]).value == 1.0
    assert found.speed(0, WORKS[0]).value == 512.0
    assert found.answer()[0].startswith("m1 is shown to be faster than m0 at 1 of 1 kind of work and slower at none")


def test_where_the_interval_holds_one_nothing_is_shown_and_without_an_interval_neither():
    assert "faster than m0 at none" in report([1.0] * 7, [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.1]).answer()[0]
    assert "faster than m0 at none" in report([1.0] * 5, [0.5] * 5).answer()[0]
    assert "slower at 1" in report([1.0] * 6, [1.5] * 6).answer()[0]


def test_a_busy_machine_is_said_and_an_idle_one_not():
    quiet = report([1.0] * 6, [1.0] * 6)
    busy = SpeedReport(quiet.models, 6, quiet.machine, 0.4)
    assert "other programs took 40 %" in busy.text() and "other programs" not in quiet.text()


def test_the_page_begins_with_one_chart_and_one_table_and_json_has_each_time(folders):
    found = report([1.0] * 6, [0.5] * 6)
    first, *rest = found.page().sections
    assert len(first.charts) == len(first.tables) == 1 and [one.id for one in rest] == ["speed", "how"]
    assert "times as fast" in found.html()
    record = json.loads(found.json())
    assert record["models"][1]["works"][0]["seconds"] == [0.5] * 6
    assert record["models"][1]["works"][0]["times_as_fast"]["value"] == 2.0


def test_the_command_prints_a_table_and_writes_a_page(run, folders, monkeypatch):  # noqa: F811
    monkeypatch.setattr("calprune.api.speed.WORKS", SMALL)
    status, out, err = run(
        "speed", folders["llama"], folders["ends"], "--rounds", 1, "--device", "cpu", "--html", "s.html"
    )
    assert status == 0 and "decode, batch 2" in out and "s.html: written" in out, err
    assert "<html" in Path("s.html").read_text()
    assert run("speed", folders["llama"], "--rounds", 0)[0] == 2


def test_the_machine_says_its_processor_its_memory_and_what_others_took():
    assert processor() and (resident() is None or resident() > 10**6)
    share = Others().share(0.0)
    assert share is None or share >= 0
