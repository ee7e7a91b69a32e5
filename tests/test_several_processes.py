"""torchrun: processes that share the sequences make the same model as one."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calprune.base.values import UserError
from calprune.layers.together.processes import DataShare, Processes
from calprune.pruning.job import Pruning
from calprune.pruning.shared import check_shared, share_of
from calprune.removal.job import removing
from tests.several_processes import CASES, results
from tests.test_blocks import LENGTHS, calibration
from tests.test_cli import SHORT, run, text, tiny_folder  # noqa: F401  fixtures

HOME = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(HOME / "src"), str(HOME)]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone() -> dict:
    return results(None)


@pytest.mark.parametrize("size", [2, 3])
def test_the_same_masks_as_one_process_and_sums_equal_to_rounding(alone, size, tmp_path, programs):
    """Five sequences of 2 to 24 tokens, so that shares are uneven; each token of its own weight; experts that some
    processes send no token to."""
    started = [programs.start("-m", "tests.several_processes", i, size, tmp_path, folder=HOME) for i in range(size)]
    assert [process.wait() for process in started] == [0] * size, [process.communicate()[1] for process in started]
    first, *others = (torch.load(tmp_path / f"{i}.pt") for i in range(size))
    for case in (*CASES, "sums"):
        assert first[case].keys() == alone[case].keys()
        for name, tensor in alone[case].items():
            scale = tensor.abs().max().item()
            torch.testing.assert_close(first[case][name], tensor, rtol=1e-3, atol=2e-5 * scale, msg=f"{case} {name}")
            assert torch.equal(first[case][name] == 0, tensor == 0), f"{case} {name}"
            assert all(torch.equal(first[case][name], other[case][name]) for other in others), f"{case} {name}"


def test_each_sequence_is_in_one_share_long_ones_and_short_ones_in_turn():
    shares = [DataShare.of(calibration(), Processes(i, 3, torch.device("cpu"))) for i in range(3)]
    assert sorted(int(n) for one in shares for n in one.lengths) == sorted(LENGTHS.tolist())
    assert [one.lengths.tolist() for one in shares] == [[24, 7], [24, 2], [13]]


def test_more_processes_than_sequences_is_one_line():
    with pytest.raises(UserError, match=r"^6 processes share 5 sequences, .*--nproc-per-node 5"):
        DataShare.of(calibration(), Processes(0, 6, torch.device("cpu")))


def test_what_cannot_be_shared_is_one_line():
    from calprune.base.patterns import parse_removal
    from calprune.layers.collect import Counting
    from calprune.layers.saved import Statistics
    from calprune.methods import parse_method
    from calprune.pattern import parse_pattern

    two = Processes(0, 2, torch.device("cpu"))
    neurons = removing("wanda", parse_removal("neurons:25%"), propagate="pruned", counting=Counting())
    half, wanda = parse_pattern("50%"), parse_method("wanda")
    for job, resume, line in (
        (neurons, None, "takes whole neurons out"),
        (Pruning(parse_method("block_reconstruction(start=wanda)"), half), None, "trains blocks"),
        (Pruning(parse_method("magnitude"), half), None, "nothing for 2 processes"),
        (Pruning(wanda, half), "kept", "leave it out"),
    ):
        with pytest.raises(UserError, match=line):
            check_shared(job, two, resume)
    check_shared(Pruning(wanda, half), two, None)
    with pytest.raises(UserError, match="nothing for 2 processes"):
        share_of(Statistics("gram", {}), two)


def torchrun(*words: object, size: int = 2) -> list[str]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    launched = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(size),
        "--master-port",
        str(port),
    ]
    return [*launched, "-m", "calprune", *map(str, words)]


def test_torchrun_prunes_as_one_process_does_and_one_of_them_prints(run, tiny_folder, text, monkeypatch):  # noqa: F811
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--calibration", text, *SHORT, "--propagate", "sequential")
    assert run(*asked, "--out", "one")[0] == 0
    done = subprocess.run(
        torchrun(*asked, "--out", "two"), env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sparsity of the whole model") == 1
    one, two = (load_file(f"{folder}/model.safetensors") for folder in ("one", "two"))
    for name, tensor in one.items():
        assert torch.equal(tensor == 0, two[name] == 0), name
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():  # as torchrun sets them
        monkeypatch.setenv(name, value)
    status, _, err = run("stats", tiny_folder, "--calibration", text, "--out", "sums")
    assert status == 1 and "calprune stats is of one process: start it without torchrun" in err
    assert not Path("sums").exists()


def test_torchrun_recovers_as_one_process_does(run, tiny_folder, text, monkeypatch):  # noqa: F811
    assert run("prune", tiny_folder, "--method", "magnitude", "--pattern", "2:4", "--out", "pruned")[0] == 0
    Path("other.txt").write_text("\n\n".join(f"{i} and {i} make {2 * i}" * 4 for i in range(40)))
    asked = ("recover", "pruned", "--dense", tiny_folder, "--calibration", text, *SHORT, "--watch", "other.txt",
             "--watch-tokens", "64", "--batch", "3", "--epochs", "4", "--learning-rate", "0.001", "--json")  # fmt: skip
    status, alone, err = run(*asked, "--out", "one")
    assert status == 0, err
    done = subprocess.run(
        torchrun(*asked, "--out", "two"), env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    one, two = (json.loads(printed)["recovery"] for printed in (alone, done.stdout))
    assert one["tokens"] == two["tokens"] and one["steps"] == two["steps"]
    for name, after in one["kl_after"].items():
        assert after < 0.99 * one["kl_before"][name] and two["kl_after"][name] == pytest.approx(after, rel=2e-3)
    first, second = (load_file(f"{folder}/model.safetensors") for folder in ("one", "two"))
    assert all(torch.equal(tensor == 0, second[name] == 0) for name, tensor in first.items())
    few = ["1" if word == "3" else word for word in asked]
    done = subprocess.run(torchrun(*few, "--out", "four"), env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert "--batch 1: 2 processes share the sequences of a step; give 2 or more" in done.stderr
    assert done.returncode != 0 and not Path("four").exists()
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():  # as torchrun sets them
        monkeypatch.setenv(name, value)
    status, _, err = run(*asked, "--resume", "state", "--out", "three")
    assert status == 1 and "--resume keeps the state of one process" in err and not Path("three").exists()


def test_a_process_that_dies_ends_the_others_with_one_line_and_nothing_half_written(
    tiny_folder,  # noqa: F811
    text,  # noqa: F811
    tmp_path,
    programs,
):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    asked = ["prune", tiny_folder, "--pattern", "2:4", "--calibration", text, *SHORT, "--out", tmp_path / "pruned"]
    where = ENVIRONMENT | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # the second stops, and is killed, where it has met the first and its blocks begin
    dying = (
        "import os, signal; import calprune.layers.blocks as b; "
        "b.Block.collect = lambda *a: os.kill(os.getpid(), signal.SIGKILL); from calprune.cli import main; main()"
    )
    first = programs.start("-m", "calprune", *asked, env=where | {"RANK": "0"})
    second = programs.start("-c", dying, *asked, env=where | {"RANK": "1"})
    assert second.wait() == -signal.SIGKILL
    _, err = first.communicate()
    assert first.returncode == 1
    lines = [line for line in err.splitlines() if line.startswith("calprune:")]
    assert len(lines) == 1 and "process 0 of 2 cannot go on: another one has ended" in lines[0]
    assert not (tmp_path / "pruned").exists() and not [p for p in tmp_path.iterdir() if "pruned" in p.name]
