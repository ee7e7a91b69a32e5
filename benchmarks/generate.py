"""Tokens per second of calprune's text generation beside transformers' own `generate`, in one run.

    python benchmarks/generate.py [--prompts 32] [--batch-size 8] [--max-new-tokens 192] [--rounds 3]

The demo model in float32 continues the first 8 tokens of Python's help texts, sampled as `calprune synth` does (top-k
50, top-p 0.95, temperature 0.6, repetition penalty 1.2) until an end of text or the limit, so that lengths are mixed.
Three ways take turns in each round: transformers one prompt at a time (on a few of the prompts), transformers in
batches, calprune with as many slots. Tokens that end a text, and what a batch computes after
it, count for nobody. The table goes to benchmarks/generate.md.
"""

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import transformers

from calprune.models import load as models
from calprune.text.controls import pydoc_topics
from calprune.text.document import Given
from calprune.text.encode import encode_text
from calprune.writing.generate import generate
from calprune.writing.sampling import Sampling
from calprune.writing.strategies import parse_strategy

ONE_BY_ONE = 3  # prompts of the slowest way: enough for a rate


def prompts_of(tokenizer, count: int) -> list[list[int]]:
    texts = [document.text for document in pydoc_topics(0, "calibration", tokenizer)]
    return [encode_text(tokenizer, texts[i % len(texts)][:400])[:8] for i in range(count)]


def by_transformers(model, prompts: list[list[int]], sampling: Sampling, batch_size: int) -> int:
    """Tokens written before each text's end."""
    written = 0
    for first in range(0, len(prompts), batch_size):
        ids = torch.tensor(prompts[first : first + batch_size])  # all of one length: no padding
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=sampling.temperature,
            top_k=sampling.top_k, top_p=sampling.top_p, repetition_penalty=sampling.repetition_penalty,
            max_new_tokens=sampling.max_new_tokens, eos_token_id=list(sampling.stop), pad_token_id=sampling.stop[0],
        )[:, ids.shape[1] :]  # fmt: skip
        for row in found.tolist():
            ends = [i for i, token in enumerate(row) if token in sampling.stop]
            written += ends[0] if ends else len(row)
    return written


def by_calprune(model, prompts: list[list[int]], sampling: Sampling, batch_size: int, seed: int) -> int:
    streams = [random.Random(f"{seed}/{i}") for i in range(len(prompts))]
    return sum(len(w.tokens) - w.prompt for w in generate(model, prompts, streams, sampling, batch_size=batch_size))


def rate(write: Callable[[], int]) -> float:
    began = time.perf_counter()
    return write() / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("prompts", 32), ("batch-size", 8), ("max-new-tokens", 192), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=value)
    asked = parser.parse_args()
    loaded = models.load("demo", dtype="float32")
    model, size = loaded.model, asked.batch_size
    sampling = parse_strategy(f"bos(max_new_tokens={asked.max_new_tokens})").sampling(Given(loaded))
    prompts = prompts_of(loaded.tokenizer, asked.prompts)
    rates: dict[str, list[float]] = {}
    for turn in range(asked.rounds):
        torch.manual_seed(turn)
        ways: dict[str, Callable[[], int]] = {
            "transformers, one prompt at a time": lambda: by_transformers(model, prompts[:ONE_BY_ONE], sampling, 1),
            f"transformers, batches of {size}": lambda: by_transformers(model, prompts, sampling, size),
            f"calprune, {size} slots": lambda turn=turn: by_calprune(model, prompts, sampling, size, turn),
        }
        for name, write in ways.items():
            rates.setdefault(name, []).append(rate(write))
            print(f"round {turn + 1}: {name}: {rates[name][-1]:.1f} tokens/s", flush=True)
        Path(__file__).with_suffix(".md").write_text(table(rates, asked))


def table(rates: dict[str, list[float]], asked: argparse.Namespace) -> str:
    middle = {name: statistics.median(each) for name, each in rates.items()}
    single, batched, ours = middle.values()
    found = next(iter(rates.values()))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    lines = [
        "# Text generation, tokens per second", "",
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load "
        f"average {load}, {versions}; SmolLM2-135M-Instruct, float32, {asked.prompts} prompts of 8 tokens "
        f"({ONE_BY_ONE} one at a time), at most {asked.max_new_tokens} new ones, median of {len(found)} in turn "
        "(lowest, highest).",
        "",
        "| way | tokens/s | of one at a time | of batches |", "|---|---|---|---|",
        *[f"| {name} | {middle[name]:.1f} ({min(each):.1f} to {max(each):.1f}) | {middle[name] / single:.2f} | "
          f"{middle[name] / batched:.2f} |" for name, each in rates.items()], "",
        f"Goals: {ours / single:.2f} of one at a time (at least 4), {ours / batched:.2f} of batches (at least 1.2). "
        "vLLM, a GPU: not measured.", "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
