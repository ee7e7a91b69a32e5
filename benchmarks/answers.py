"""Answers a second to questions of GSM8K: batches of 16 that run until all have ended, and as calprune asks them now.

    CALPRUNE_DATA=DATA python benchmarks/answers.py [--prompts 40] [--most 256] [--rounds 3] [--threads 2]

The demo model in float32 answers bandari/gsm8k's prompts (three worked examples and a question), greedily, with at most
`--most` tokens. Three ways take turns in each round, each beginning one place further:

    transformers   its own `generate`, batches of 16 in the questions' order, padded at the left, until all have ended
    rounds         calprune 0.1 before: 16 slots, prompts read anew after 8 and 64 tokens for the answers not yet over
    calprune       rows by memory, the worked examples read once, each answer until it is over

and each is done twice over: with answers that end at a blank line, and endless ones, which nothing ends, as of a model
that was pruned too far. The answers have to be equal, up to their ends. The table is printed; the file
answers.json beside this has it and what ran beside: read the ratios, not the seconds, where the load is not near 0.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import transformers

from calprune.base.values import rng
from calprune.evaluation.items import some
from calprune.evaluation.tasks import find_task
from calprune.evaluation.tasks.bandari import END, LONG, before_blank_line
from calprune.evaluation.tasks.greedy import ends_of
from calprune.models import load as models
from calprune.text.document import Given
from calprune.text.encode import encode_text
from calprune.text.find import find_source
from calprune.writing.answers import Ends, answer
from calprune.writing.generate import generate
from calprune.writing.sampling import Sampling

BATCH = 16
ROUNDS = (8, 64)
Answers = list[str]


def prompts_of(tokenizer, count: int, root: Path) -> list[list[int]]:
    name = "bandari/gsm8k"
    before = "".join(f"{text}\n\n" for text in find_task(name).worked_examples(root))
    questions = list(find_source("gsm8k").examples("evaluation", Given(data_root=root)))
    return [encode_text(tokenizer, before + one.prompt.rstrip()) for one in some(questions, count, 0, name)]


def by_transformers(loaded, prompts: list[list[int]], ends: Ends) -> Answers:
    found = []
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        options = {"do_sample": False, "max_new_tokens": ends.most, "pad_token_id": 0}
        options["eos_token_id"] = list(ends.tokens) or None
        rows = loaded.model.generate(ids, attention_mask=mask, **options)
        for row in rows[:, width:].tolist():
            stop = next((i for i, token in enumerate(row) if token in ends.tokens), len(row))
            found.append(loaded.tokenizer.decode(row[:stop]))
    return found


def by_rounds(loaded, prompts: list[list[int]], ends: Ends) -> Answers:
    rows, texts = [list(row) for row in prompts], [""] * len(prompts)
    waiting, written = list(range(len(prompts))), 0
    for end in [*(n for n in ROUNDS if n < ends.most), ends.most]:
        sampling = Sampling(temperature=0.0, top_k=None, top_p=1.0, repetition_penalty=1.0,
                            max_new_tokens=end - written, stop=ends.tokens)  # fmt: skip
        streams = [rng(0, "greedy")] * len(waiting)
        found = generate(loaded.model, [rows[i] for i in waiting], streams, sampling, batch_size=BATCH)
        for i, continued in zip(waiting, found, strict=True):
            rows[i] = list(continued.tokens)
            texts[i] = loaded.tokenizer.decode(rows[i][len(prompts[i]) :])
        over = [w.stop is not None or any(text in texts[i] for text in ends.texts)
                for i, w in zip(waiting, found, strict=True)]  # fmt: skip
        waiting, written = [i for i, is_over in zip(waiting, over, strict=True) if not is_over], end
    return texts


def by_calprune(loaded, prompts: list[list[int]], ends: Ends) -> Answers:
    return [loaded.tokenizer.decode(list(w.tokens[w.prompt :])) for w in answer(loaded.model, prompts, ends)]


WAYS: dict[str, Callable[..., Answers]] = {
    "transformers": by_transformers, "rounds": by_rounds, "calprune": by_calprune,
}  # fmt: skip


def measured(loaded, prompts: list[list[int]], ends: Ends, rounds: int) -> dict:
    """Seconds of each way in each round, and which answers are those of transformers."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    first: Answers = []
    equal = dict.fromkeys(WAYS, len(prompts))
    for turn in range(rounds):
        order = list(WAYS)[turn % len(WAYS) :] + list(WAYS)[: turn % len(WAYS)]
        for way in order:
            began = time.perf_counter()
            texts = WAYS[way](loaded, prompts, ends)
            seconds[way].append(time.perf_counter() - began)
            judged = [before_blank_line(text) if ends.texts else text for text in texts]
            first = first or judged
            equal[way] = min(equal[way], sum(a == b for a, b in zip(judged, first, strict=True)))
            print(
                f"round {turn + 1}: {way}: {seconds[way][-1]:.1f} s, {equal[way]} of {len(prompts)} equal", flush=True
            )
    return {"seconds": seconds, "equal": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("prompts", 40), ("most", LONG), ("rounds", 3), ("threads", 2)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--only", choices=("ending", "endless"), help="one of the two kinds of answers")
    parser.add_argument("--beside", default="", help="what else ran on the machine, for the file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = models.load("demo", dtype="float32")
    loaded.model.generation_config.eos_token_id = None
    prompts = prompts_of(loaded.tokenizer, given.prompts, Path(os.environ["CALPRUNE_DATA"]))
    kinds = {
        "ending": Ends(loaded.tokenizer, ends_of(loaded), (END,), given.most),
        "endless": Ends(loaded.tokenizer, (), (), given.most),
    }
    about = {
        "date": str(date.today()), "machine": platform.machine(), "threads": given.threads,
        "torch": torch.__version__, "transformers": transformers.__version__, "prompts": len(prompts),
        "tokens of a prompt": [min(map(len, prompts)), max(map(len, prompts))], "most": given.most,
        "beside": given.beside, "load": [round(os.getloadavg()[0], 1)],
    }  # fmt: skip
    found: dict[str, dict] = {}
    for kind, ends in kinds.items():
        if given.only in (None, kind):
            found[kind] = measured(loaded, prompts, ends, given.rounds)
            about["load"].append(round(os.getloadavg()[0], 1))
            text = json.dumps({"about": about, "measured": found}, indent=1)
            Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(table(found, len(prompts)))


def table(found: dict[str, dict], count: int) -> str:
    lines = [f"\n{'answers':<10}{'way':<15}{'median s':>9}{'answers/s':>11}{'of calprune':>13}{'equal':>8}"]
    for kind, of_kind in found.items():
        middle = {way: statistics.median(each) for way, each in of_kind["seconds"].items()}
        lines += [f"{kind:<10}{way:<15}{each:>9.1f}{count / each:>11.2f}{each / middle['calprune']:>13.2f}"
                  f"{of_kind['equal'][way]:>8}" for way, each in middle.items()]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
