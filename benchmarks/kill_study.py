"""Kill a study's runner, its workers and its Ray nodes at random moments, and see whether the folder ends the same.

    python benchmarks/kill_study.py --kills 30
    python benchmarks/kill_study.py --kills 3 --only machine    # as root: a machine is a network namespace of its own

A tiny random model and an invented text; each mode begins in an empty folder, is killed (SIGKILL) and started again
until it has been killed often enough, then left to end. At the end every file's bytes are compared with those of a run
that nobody disturbed, but for times, sizes of memory and claims.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STUDY = """
title: To be killed
models: {model}
calibrations: [{text}, random_tokens]
methods: [magnitude, wanda, sparsegpt]
patterns: [50%, 60%, "2:4"]
num_samples: 8
max_seq_length: 64
draws: 3
evaluations: ["perplexity({text}, tokens=512, length=64)", "kl({text}, tokens=512, length=64)"]
"""
UNSETTLED = ("seconds", "peak_bytes", "digest")  # a digest is of a file, times and all
MACHINES = {"calprune-a": "10.77.0.1", "calprune-b": "10.77.0.2"}  # by their namespaces
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=30, help="in all: four tenths the runner, four workers, two nodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("machine",), help="kill the second of two machines, so often")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = material(folder)
        started = time.perf_counter()
        subprocess.run(command(study, folder / "undisturbed"), env=ENVIRONMENT, check=True, capture_output=True)
        whole = time.perf_counter() - started
        wanted = contents(folder / "undisturbed")
        print(f"undisturbed: {len(wanted)} files in {whole:.0f} s")
        nodes = max(1, given.kills // 5)
        workers = (given.kills - nodes) // 2
        modes = [("runner", given.kills - nodes - workers, kill_runner), ("worker", workers, kill_worker),
                 ("ray node", nodes, kill_node)]  # fmt: skip
        for name, kills, kill in [("machine", given.kills, kill_machine)] if given.only else modes:
            started = time.perf_counter()
            runs = folder / name.replace(" ", "-")
            kill(study, runs, kills, whole, moments)
            found = contents(runs)
            differ = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            told = f"DIFFERENT: {', '.join(differ)}" if differ else "every file the same"
            print(f"{name}: killed {kills} times, {time.perf_counter() - started:.0f} s, {told}", flush=True)
            if differ:
                sys.exit(1)


def material(folder: Path) -> Path:
    """A model, a text and a study of them."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["river", "stone", "lantern", "quiet", "harbour", "seven", "marble", "orchard", "winter", "copper"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<s>", *words])}, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<s>")
    torch.manual_seed(0)
    config = t.LlamaConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
                           vocab_size=len(words) + 1, max_position_embeddings=64)  # fmt: skip
    t.LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    lines = [json.dumps({"text": " ".join(words[(i * 7 + j * j) % 10] for j in range(80))}) for i in range(200)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    study = folder / "study.yaml"
    study.write_text(STUDY.format(model=folder / "model", text=folder / "text.jsonl"))
    return study


def command(study: Path, runs: Path, *more: str) -> list[str]:
    program = "from calprune.cli import main; main()"
    return [sys.executable, "-c", program, "study", "run", str(study), "--runs", str(runs), "--device", "cpu", *more]


def kill_runner(study: Path, runs: Path, kills: int, whole: float, moments: random.Random) -> None:
    """Each run is killed somewhere between its first breath and its end; one that ended too early does not count."""
    done = 0
    while done < kills:
        process = subprocess.Popen(
            command(study, runs), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(moments.uniform(0, whole))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        elif done < kills:  # it ended: there is nothing left to disturb, so some of it is taken away
            spoil(runs, moments)
        process.wait()
    subprocess.run(command(study, runs), env=ENVIRONMENT, check=True, capture_output=True)


def kill_worker(study: Path, runs: Path, kills: int, whole: float, moments: random.Random) -> None:
    """One run with two workers, of which one or the other is killed again and again."""
    done = 0
    while done < kills:
        process = subprocess.Popen(command(study, runs, "--workers", "2"), env=ENVIRONMENT, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        while done < kills and process.poll() is None:
            time.sleep(moments.uniform(0, whole / 2))
            workers = [pid for pid in children(process.pid) if "calprune.studies.runner" in said(pid)]
            if workers:
                os.kill(moments.choice(workers), signal.SIGKILL)
                done += 1
        if process.wait() == 3:
            continue  # a trial whose worker was killed twice is kept as failed: the next run does it
        if done < kills:
            spoil(runs, moments)
    subprocess.run(command(study, runs), env=ENVIRONMENT, check=True, capture_output=True)


def kill_node(study: Path, runs: Path, kills: int, whole: float, moments: random.Random) -> None:
    """A cluster of a head without cores and two nodes of one; a node is killed with its workers, a new one joins."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def kill() -> None:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))

    try:
        run_and_kill(command(study, runs, "--ray", cluster.address), runs, kills, whole, moments, kill)
    finally:
        cluster.shutdown()


def run_and_kill(
    program: list[str], runs: Path, kills: int, whole: float, moments: random.Random, kill: Callable[[], None]
) -> None:
    """Run the study on a cluster again and again, `kill` a part of the cluster at random moments, and let it end."""
    done = 0
    while True:
        process = subprocess.Popen(program, env=ENVIRONMENT, **QUIET)
        while done < kills and process.poll() is None:
            time.sleep(moments.uniform(0, 2 * whole))
            if process.poll() is None:
                kill()
                done += 1
        if process.wait() == 0 and done >= kills:
            return
        if done < kills:
            spoil(runs, moments)


def kill_machine(study: Path, runs: Path, kills: int, whole: float, moments: random.Random) -> None:
    """Two machines, each a network namespace, joined by a cable: Ray's head and the runner on one, of which the other
    is killed with all that runs there, and joins again."""
    address = f"{MACHINES['calprune-a']}:6379"

    def kill() -> None:
        kill_all("calprune-b")
        ray_start("calprune-b", "--address", address)

    try:
        cable()
        ray_start("calprune-a", "--head", "--port", "6379", "--include-dashboard", "false")
        ray_start("calprune-b", "--address", address)
        program = [*inside("calprune-a"), *command(study, runs, "--ray", address)]
        run_and_kill(program, runs, kills, whole, moments, kill)
    finally:
        for machine in MACHINES:
            kill_all(machine)
            subprocess.run(["ip", "netns", "del", machine], check=False, **QUIET)


def cable() -> None:
    """Two namespaces that reach each other and nothing else."""
    ends = dict(zip(MACHINES, ("calprune-e0", "calprune-e1"), strict=True))
    run = lambda text: subprocess.run(text.split(), check=True, capture_output=True)  # noqa: E731
    run("ip link add calprune-e0 type veth peer name calprune-e1")
    for machine, address in MACHINES.items():
        run(f"ip netns add {machine}")
        run(f"ip link set {ends[machine]} netns {machine}")
        for step in (f"ip addr add {address}/24 dev {ends[machine]}", f"ip link set {ends[machine]} up",
                     "ip link set lo up"):  # fmt: skip
            run(f"ip netns exec {machine} {step}")


def inside(machine: str) -> list[str]:
    return ["ip", "netns", "exec", machine]


def ray_start(machine: str, *how: str) -> None:
    """A node of one core on a machine."""
    ray = str(Path(sys.executable).parent / "ray")
    subprocess.run([*inside(machine), ray, "start", *how, "--node-ip-address", MACHINES[machine], "--num-cpus", "1",
                    "--disable-usage-stats"], env=ENVIRONMENT, check=True, **QUIET)  # fmt: skip


def kill_all(machine: str) -> None:
    """SIGKILL for whatever runs on a machine."""
    found = subprocess.run(["ip", "netns", "pids", machine], capture_output=True, text=True).stdout.split()
    for pid in map(int, found):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def spoil(runs: Path, moments: random.Random) -> None:
    """Take half of the results away, so that there is work to be killed at."""
    for path in sorted(runs.rglob("prune.json")):
        if moments.random() < 0.5:
            path.unlink()


def children(pid: int) -> Iterator[int]:
    yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def said(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


def contents(folder: Path) -> dict[str, object]:
    """Every file, JSON without what differs from run to run."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "claim"]
    return {str(path.relative_to(folder)): settled(json.loads(path.read_text())) if path.suffix == ".json"
            else path.read_bytes() for path in files}  # fmt: skip


def settled(value: object) -> object:
    if isinstance(value, dict):
        return {k: settled(v) for k, v in value.items() if k not in UNSETTLED}
    return [settled(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
