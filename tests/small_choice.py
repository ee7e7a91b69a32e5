"""A choice small enough for a test: a random Llama that meets letters and figures in different channels, so that the
text which calibrates it matters, three sources, and texts to judge on."""

import gzip
import json
import random
from pathlib import Path

import torch

from calprune.choosing.answer import Choice
from calprune.choosing.choose import choose
from calprune.choosing.question import Question, parse_capabilities
from calprune.methods import parse_method
from calprune.pattern import parse_pattern
from calprune.studies.bench import Knobs
from tests.families import CONFIGS, random_model
from tests.tiny import save, toy_tokenizer

WORDS = {
    "prose": "river stone lantern quiet harbour seven marble orchard winter copper",
    "sums": "12+7=19 304-4=300 9*9=81 (5+6)=11 40/8=5 0.25 77 1001",
    "code": "DEF RETURN {X} [I] <<Y>> #!! ;; &&",
}
FILES = {  # under the folder: what kind of text, how many lines
    "data/c4/train.jsonl.gz": ("prose", 80),
    "data/c4/heldout.jsonl.gz": ("prose", 40),
    "data/wikitext2/test.jsonl.gz": ("prose", 60),
    "sums.jsonl": ("sums", 80),
    "my code.jsonl": ("code", 80),
    "more sums.jsonl": ("sums", 80),
    "prose_held.jsonl": ("prose", 40),
    "sums_held.jsonl": ("sums", 40),
}


def make_material(folder: Path) -> Path:
    """A model, a data root with c4 and wikitext2 in it, and files."""
    tokenizer, config = toy_tokenizer(), CONFIGS["llama"]()
    config.vocab_size = len(tokenizer)
    model = random_model(config)
    with torch.no_grad():
        for piece, i in tokenizer.get_vocab().items():
            if len(piece) == 1:  # letters are loud in one half of the channels, all else in the other
                model.get_input_embeddings().weight[i, 16 * piece.islower() :][:16] *= 6
    save(model, tokenizer, folder / "model")
    save(model, toy_tokenizer(chat=False), folder / "no_chat")
    for i, (name, (kind, lines)) in enumerate(FILES.items()):
        path, stream = folder / name, random.Random(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [" ".join(stream.choices(WORDS[kind].split(), k=8)) for _ in range(lines)]
        texts = [f" = {text} = \n" if "wikitext2" in name and n % 5 == 0 else text for n, text in enumerate(texts)]
        written = "\n".join(json.dumps({"text": text}) for text in texts).encode()
        path.write_bytes(gzip.compress(written) if path.suffix == ".gz" else written)
    return folder


def small_question(folder: Path, **changed) -> Question:
    """Which of c4, sums and code, for prose once and for sums four times?"""
    judged = [f"{name}={folder / name}_held.jsonl" for name in ("prose", "sums")]
    asked = {
        "model": str(folder / "model"),
        "sources": ("c4", str(folder / "sums.jsonl"), str(folder / "my code.jsonl")),
        "capabilities": parse_capabilities("prose=1 sums=4", judged),
        "method": parse_method("wanda"),
        "pattern": parse_pattern("60%"),
        "num_samples": 8,
        "max_seq_length": 16,
        "tokens": 256,
    }
    return Question(**(asked | changed))


def answer_of(folder: Path, out: Path, report=lambda line: None, budget: float | None = None, **changed) -> Choice:
    """Choose, with the folder's data root."""
    knobs = Knobs("cpu", None, folder / "data")
    return choose(small_question(folder, **changed), out, knobs=knobs, budget=budget, report=report)
