"""calprune prune and stats with what stands beside the method: --allocation, --refine-on, --resume, --needs."""

import gzip
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calprune.api.arguments import as_method_and_pattern
from calprune.base.patterns import parse_any
from calprune.pruning.default import OF_UNITS, default_method
from calprune.pruning.kept_blocks import DAYS, kept_in_cache
from calprune.removal import methods_for
from tests.families import tiny_model
from tests.test_cli import SHORT, WORDS, run, text, tiny_folder  # noqa: F401  fixtures
from tests.tiny import save, toy_tokenizer

SLOW = "block_reconstruction(start=wanda, epochs=40, batch_size=2)"  # a second a block
REFINING = "block_reconstruction(start=wanda, learning_rate=0.0003, epochs=3, batch_size=2)"


@pytest.fixture
def other_text(tmp_path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("\n\n".join(f"{WORDS[::-1]} {i}" * 3 for i in range(20)))
    return path


def put_c4(root: Path) -> None:
    (root / "c4").mkdir(parents=True)
    rows = [json.dumps({"text": f"{WORDS[i % 7 :]} {i} " * 4}) for i in range(60)]
    with gzip.open(root / "c4" / "train.jsonl.gz", "wt") as file:
        file.write("\n".join(rows))


def weights(folder: str) -> dict[str, torch.Tensor]:
    return {n: w for n, w in load_file(f"{folder}/model.safetensors").items() if "proj" in n}


def told(folder: str) -> dict:
    return json.loads(Path(folder, "calprune.json").read_text())


def test_an_allocation_shares_the_sparsity_out_and_is_said_in_the_report_and_the_card(run, tiny_folder, text):  # noqa: F811
    asked = ("prune", tiny_folder, "--method", "wanda", "--pattern", "60%", "--calibration", text, *SHORT)
    assert run(*asked, "--allocation", "owl(m=2.0, per='linear')", "--out", "a")[0] == 0
    assert run(*asked, "--out", "b")[0] == 0
    a, b = told("a"), told("b")
    assert a["allocation"] == "owl(m=2.0, per='linear')" and b["allocation"] == "uniform"
    assert len({r["pattern"] for r in a["linears"]}) > 1 == len({r["pattern"] for r in b["linears"]})
    assert a["sparsity"]["pruned_linears"] == pytest.approx(0.6, abs=0.001)
    assert "the allocation is `owl(m=2.0, per='linear')`" in Path("a/README.md").read_text()
    assert "the allocation is" not in Path("b/README.md").read_text()


def test_permuted_channels_are_said_in_the_report_and_the_card(run, tiny_folder, text):  # noqa: F811
    asked = ("prune", tiny_folder, "--method", "wanda", "--pattern", "2:4", "--calibration", text, *SHORT)
    status, out, _ = run(*asked, "--permute", "assignment", "--out", "a")
    assert status == 0 and run(*asked, "--out", "b")[0] == 0
    assert told("a")["job"]["permute"] == "assignment"
    said = "input channels were permuted beforehand (assignment) in 4 of 14 linears: 2 o_proj, 2 down_proj"
    assert said in Path("a/README.md").read_text() and said in out
    assert "channels were permuted" not in Path("b/README.md").read_text()
    channels = {r["name"].removeprefix("model.layers."): r["channels"] for r in told("a")["linears"]}
    assert channels["0.mlp.down_proj"] == "permuted" and channels["0.mlp.gate_proj"].startswith("not permuted: no ")
    a, b = weights("a"), weights("b")
    assert not all(torch.equal(a[n], w) for n, w in b.items())
    halved = ["50%" if word == "2:4" else word for word in asked]
    status, _, err = run(*halved, "--permute", "assignment", "--out", "c")
    assert status == 1 and "channels are permuted for a pattern like 2:4, not for 50%" in err


def test_where_no_data_is_named_it_is_c4_and_a_note_says_so(run, tiny_folder, tmp_path):  # noqa: F811
    put_c4(tmp_path / "data")
    asked = ("prune", tiny_folder, "--method", "wanda", "--pattern", "2:4", *SHORT, "--data-root", tmp_path / "data")
    status, _, err = run(*asked, "--out", "a")
    assert status == 0 and "note: the calibration data is c4, the usual text; --calibration names your own" in err
    status, _, err = run(*asked, "--calibration", "c4", "--out", "b")
    assert status == 0 and "the usual text" not in err
    a, b = weights("a"), weights("b")
    assert all(torch.equal(a[name], weight) for name, weight in b.items())
    assert run(*asked, "--method", "magnitude", "--out", "c")[0] == 0
    assert "c4" not in Path("c/calprune.json").read_text()


def test_an_allocation_that_reads_data_takes_c4_too_and_one_that_does_not_fit_says_where(run, tiny_folder):  # noqa: F811
    asked = ("prune", tiny_folder, "--method", "magnitude", "--pattern", "95%", "--out", "out")
    status, _, err = run(*asked, "--allocation", "dlp", "--data-root", ".")
    assert status == 1 and "calprune: no calibration data is named (--calibration), so it is c4: " in err
    status, _, err = run(*asked, "--allocation", "alpha(epsilon=0.9)")
    assert status == 1 and "the budget 95% cannot be met: model.layers." in err and err.count("\n") == 1
    assert not Path("out").exists()


def test_the_mask_is_of_one_text_and_the_training_on_another(run, tiny_folder, text, other_text):  # noqa: F811
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--calibration", text, *SHORT)
    assert run(*asked, "--method", "wanda", "--propagate", "dense", "--out", "start")[0] == 0
    refine = (*asked, "--method", REFINING, "--propagate", "dense")
    assert run(*refine, "--out", "same")[0] == 0
    assert run(*refine, "--refine-on", other_text, "--out", "other")[0] == 0
    start, same, other = weights("start"), weights("same"), weights("other")
    assert all(torch.equal(w != 0, trained[n] != 0) for n, w in start.items() for trained in (same, other))
    assert not all(torch.equal(start[n], w) for n, w in same.items()), "it was trained"
    assert not all(torch.equal(other[n], w) for n, w in same.items()), "on something else"


def test_saved_sums_choose_the_mask_and_cannot_be_trained_on(run, tiny_folder, text):  # noqa: F811
    assert run("stats", tiny_folder, "--calibration", text, *SHORT, "--out", "sums", "--needs", "moments")[0] == 0
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--method", REFINING, "--calibration", "sums")
    status, _, err = run(*asked, "--out", "a")
    assert status == 1 and "trains on sequences: give it a calibration set" in err and err.count("\n") == 1
    status, _, err = run(*asked, "--refine-on", "sums", "--out", "a")
    assert status == 1 and "refine_on (--refine-on): sums holds sums and no sequences to train on" in err
    assert run(*asked, "--refine-on", text, *SHORT, "--out", "a")[0] == 0
    assert told("a")["sparsity"]["pruned_linears"] == 0.5


def test_sizes_are_of_what_is_built_and_refused_where_nothing_is(run, tiny_folder, text):  # noqa: F811
    assert run("calib", "build", text, "--model", tiny_folder, *SHORT, "--out", "set")[0] == 0
    assert run("stats", tiny_folder, "--calibration", "set", "--out", "sums")[0] == 0
    for made, command in (("set", "prune"), ("sums", "prune"), ("set", "stats")):
        pattern = ("--pattern", "50%") if command == "prune" else ()
        status, _, err = run(command, tiny_folder, *pattern, "--calibration", made, *SHORT, "--out", "a")
        assert status == 1 and "num_samples (--num-samples): the " in err and f"{made} is made already" in err
    asked = ("prune", tiny_folder, "--method", REFINING, "--pattern", "50%", "--calibration", "sums")
    assert run(*asked, "--refine-on", text, *SHORT, "--out", "a")[0] == 0  # they are of the text


def test_a_method_that_trains_on_nothing_refuses_a_set_to_train_on(run, tiny_folder, text):  # noqa: F811
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--method", "wanda", "--calibration", text, *SHORT)
    status, _, err = run(*asked, "--refine-on", text, "--out", "a")
    assert status == 1 and "refines no block" in err


def test_done_blocks_are_kept_and_the_same_command_goes_on_with_them(run, tiny_folder, text):  # noqa: F811
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--method", REFINING, "--calibration", text, *SHORT)
    assert run(*asked, "--resume", "kept", "--out", "a")[0] == 0
    assert {p.name for p in Path("kept").iterdir()} >= {"job.json", "model.layers.0", "model.layers.1"}
    before = Path("kept/model.layers.0/block.json").stat().st_mtime_ns
    assert run(*asked, "--resume", "kept", "--out", "b")[0] == 0
    assert Path("kept/model.layers.0/block.json").stat().st_mtime_ns == before, "it is not done again"
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    assert told("a")["linears"] == told("b")["linears"]
    status, _, err = run(*asked, "--seed", 1, "--resume", "kept", "--out", "c")
    assert status == 1 and "kept holds the blocks of another job" in err


@pytest.mark.parametrize(
    ("needs", "serves", "lacks"),
    [("regional", "wanda_plus_plus", "gblm"), ("gradients", "pruner_zero", None), ("gram", "sparsegpt", "gblm")],
)
def test_sums_with_gradients_serve_the_methods_that_score_by_them(run, tiny_folder, text, needs, serves, lacks):  # noqa: F811
    assert run("stats", tiny_folder, "--calibration", text, *SHORT, "--needs", needs, "--out", "sums")[0] == 0
    asked = ("prune", tiny_folder, "--pattern", "2:4")
    assert run(*asked, "--method", serves, "--calibration", "sums", "--out", "a")[0] == 0
    assert run(*asked, "--method", serves, "--calibration", text, *SHORT, "--propagate", "dense", "--out", "b")[0] == 0
    a, b = weights("a"), weights("b")
    assert all(torch.equal(a[n] != 0, w != 0) for n, w in b.items())
    if lacks:
        status, _, err = run(*asked, "--method", lacks, "--calibration", "sums", "--out", "c")
        assert status == 1 and "collect them with --needs gradients" in err and err.count("\n") == 1


def test_tokens_can_count_by_the_attention_they_receive_and_the_sums_and_the_report_say_so(run, tiny_folder, text):  # noqa: F811
    by = ("--token-weights", "attention(least=0.01)")
    assert run("stats", tiny_folder, "--calibration", text, *SHORT, *by, "--out", "sums")[0] == 0
    counted = json.loads(Path("sums/statistics.json").read_text())["about"]["counting"]
    assert counted["token_weights"] == {"type": "AttentionConcentration", "least": 0.01}
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--method", "sparsegpt", "--propagate", "dense")
    assert run(*asked, "--calibration", text, *SHORT, *by, "--out", "a")[0] == 0
    assert run(*asked, "--calibration", "sums", "--out", "b")[0] == 0
    assert run(*asked, "--calibration", text, *SHORT, "--out", "even")[0] == 0
    assert told("a")["job"]["counting"] == counted == told("b")["calibration"]["counting"]
    a, b, even = weights("a"), weights("b"), weights("even")
    assert all(torch.equal(a[n], w) for n, w in b.items()) and not all(torch.equal(a[n], w) for n, w in even.items())
    assert run(*asked, "--calibration", "sums", *by, "--out", "same")[0] == 0, "what they are counted by may be said"
    status, _, err = run(*asked, "--calibration", "sums", "--token-weights", "attention", "--out", "c")
    assert status == 1 and "saved statistics are counted already" in err and err.count("\n") == 1
    status, _, err = run(*asked, "--calibration", text, *SHORT, "--token-weights", "atention", "--out", "c")
    assert status == 1 and "unknown token weights 'atention'; did you mean 'attention'" in err and err.count("\n") == 1


def test_a_level_that_there_is_none_of_is_one_line(run, tiny_folder, text):  # noqa: F811
    status, _, err = run("stats", tiny_folder, "--calibration", text, *SHORT, "--needs", "gradient", "--out", "sums")
    assert status == 1 and "did you mean 'gradients'" in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory) -> Path:
    """A checkpoint of a random Mixtral over the toy tokenizer's ids."""
    model, tokenizer = tiny_model("mixtral"), toy_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))
    folder = tmp_path_factory.mktemp("models") / "experts"
    save(model, tokenizer, folder)
    return folder


def of_experts(folder: str) -> list[dict]:
    found = [r for r in told(folder)["linears"] if ".experts." in r["name"]]
    assert len(found) == 2 * 4 * 3
    return found


def test_an_expert_that_sees_too_few_tokens_is_pruned_by_all_and_named(run, experts_folder, text):  # noqa: F811
    asked = ("prune", experts_folder, "--method", "wanda", "--pattern", "50%", "--propagate", "dense",
             "--calibration", text, *SHORT)  # fmt: skip
    assert run(*asked, "--min-expert-tokens", 10_000, "--out", "all")[0] == 0
    sent = {r["name"]: r["routed"] for r in of_experts("all")}  # of 4 * 64 tokens, each to two of four experts
    assert sum(sent.values()) == 2 * 3 * 2 * 4 * 64 and len(set(sent.values())) > 2
    for fewest in (1, int(sorted(sent.values())[12]), 10_000):
        status, out, _ = run(*asked, "--min-expert-tokens", fewest, "--out", f"at{fewest}")
        few = [name for name, tokens in sent.items() if tokens < fewest]
        found = {r["name"]: (r["tokens"], r["routed"]) for r in of_experts(f"at{fewest}")}
        assert found == {n: (4 * 64, sent[n]) if n in few else (sent[n], None) for n in sent}
        named = f"{len(few)} linears of experts that saw too few tokens, pruned by all tokens: {next(iter(few), '')}"
        assert status == 0 and (named in out) == bool(few)
    status, _, err = run(*asked, "--min-expert-tokens", 0, "--out", "none")
    assert status == 1 and "min_expert_tokens must be at least 1, got 0" in err and err.count("\n") == 1


def test_with_all_experts_every_token_counts_in_each_and_saved_sums_say_so(run, experts_folder, text):  # noqa: F811
    asked = ("prune", experts_folder, "--method", "wanda", "--pattern", "50%", "--propagate", "dense")
    drawn = ("--calibration", text, *SHORT)
    assert run(*asked, *drawn, "--all-experts", "--out", "all")[0] == 0
    assert told("all")["job"]["counting"]["all_experts"] is True
    assert {(r["tokens"], r["routed"]) for r in of_experts("all")} == {(4 * 64, None)}, "as asked for, not for want"
    assert run(*asked, *drawn, "--min-expert-tokens", 10_000, "--out", "few")[0] == 0
    assert run(*asked, *drawn, "--min-expert-tokens", 1, "--out", "own")[0] == 0
    stored = {name: load_file(f"{name}/model.safetensors") for name in ("all", "few", "own")}
    assert all(torch.equal(weight, stored["few"][name]) for name, weight in stored["all"].items())
    assert not all(torch.equal(weight, stored["own"][name]) for name, weight in stored["all"].items())
    assert run("stats", experts_folder, *drawn, "--all-experts", "--out", "sums")[0] == 0
    assert run(*asked, "--calibration", "sums", "--out", "again")[0] == 0
    again = load_file("again/model.safetensors")
    assert all(torch.equal(weight, again[name]) for name, weight in stored["all"].items())
    assert told("again")["calibration"]["counting"]["all_experts"] is True
    status, _, err = run(*asked, "--calibration", "sums", "--min-expert-tokens", 7, "--out", "other")
    assert status == 1 and "saved statistics are counted already" in err and err.count("\n") == 1


def test_a_prune_that_is_stopped_says_how_to_go_on_and_the_same_command_does(
    tiny_folder,  # noqa: F811
    text,  # noqa: F811
    tmp_path,
    programs,
    run,  # noqa: F811
):
    """Done blocks lie in the cache until the job has ended."""
    cache = tmp_path / "cache"
    words = ["prune", "--offline", tiny_folder, "--method", SLOW, "--pattern", "50%", "--calibration", text, *SHORT]
    words += ["--out", "out"]
    how = {"folder": tmp_path, "env": os.environ | {"CALPRUNE_CACHE": str(cache)}}
    running = programs.start("-m", "calprune", *words, **how)
    while running.poll() is None and not list(cache.glob("blocks/*/model.layers.0")):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    (kept,) = cache.glob("blocks/*")
    assert running.returncode == 130, err
    assert f"done blocks are kept in {kept}; to go on: calprune prune --offline " in err
    assert err.strip().endswith("--out out") and not (tmp_path / "out").exists()
    again = programs.run("-m", "calprune", *words, **how)
    assert again.returncode == 0 and "done blocks are kept in" in again.stderr, "the other block"
    assert run(*words[:-1], "whole")[0] == 0
    assert weights(tmp_path / "out").keys() == weights(tmp_path / "whole").keys()
    assert all(torch.equal(weights(tmp_path / "whole")[n], w) for n, w in weights(tmp_path / "out").items())
    assert not list(cache.glob("blocks/*")), "what was kept is removed when the job has ended"


def test_what_is_kept_goes_after_a_week_and_is_nobody_elses(monkeypatch, tmp_path):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), kept_in_cache("one", 0) as folder:
        (folder / "block").mkdir(parents=True)
        with kept_in_cache("one", 0) as other:
            assert other is None, "the same job runs already"
        raise KeyboardInterrupt
    assert (tmp_path / "blocks" / "one" / "block").is_dir()
    old = time.time() - DAYS * 24 * 3600
    for age, there in ((60, True), (-60, False)):
        os.utime(tmp_path / "blocks" / "one", (old + age, old + age))
        with kept_in_cache("two", 0) as folder:
            assert folder is not None
        assert (tmp_path / "blocks" / "one").is_dir() == there
    with kept_in_cache("three", 10**18) as folder:
        assert folder is None, "there is no room"


@pytest.mark.parametrize(
    ("pattern", "method"),
    [("2:4", "admm"), ("50%", "wanda"), ("neurons:25%", "flap"), ("heads:1", "flap"), ("blocks:1", "block_influence")],
)
def test_where_no_method_is_named_the_patterns_is_taken_and_said(run, tiny_folder, text, pattern, method):  # noqa: F811
    asked = ("prune", tiny_folder, "--pattern", pattern, "--calibration", text, *SHORT)
    status, _, err = run(*asked, "--out", "a")
    assert status == 0 and f"note: the method is {method}, by the pattern; --method names another" in err, err
    assert run(*asked, "--method", method, "--out", "b")[0] == 0
    assert told("a")["method"] == told("b")["method"] == method
    a, b = (load_file(f"{folder}/model.safetensors") for folder in ("a", "b"))
    assert a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_what_prunes_often_takes_a_method_that_is_solved_fast():
    assert as_method_and_pattern(None, "2:4") == as_method_and_pattern("sparsegpt", "2:4")
    assert default_method(parse_any("2:4")) == "admm"
    assert all(default_method(parse_any(f"{kind}:1")) in methods_for(parse_any(f"{kind}:1")) for kind in OF_UNITS)


def test_what_is_given_of_data_to_a_method_that_reads_none_is_named(run, tiny_folder):  # noqa: F811
    asked = ("prune", tiny_folder, "--method", "magnitude", "--pattern", "2:4")
    status, _, err = run(*asked, "--calibration", "c4", "--seed", 1, "--token-weights", "attention", "--out", "a")
    named = "data (--calibration), token_weights (--token-weights) and seed (--seed) are not read"
    assert status == 0 and f"note: magnitude reads no data: {named}" in err
    status, _, err = run(*asked, "--out", "b")
    assert status == 0 and "reads no data" not in err
    assert all(torch.equal(weights("a")[name], w) for name, w in weights("b").items())
