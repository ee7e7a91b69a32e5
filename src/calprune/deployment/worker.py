"""One model in a process of its own: `python -m calprune.deployment.worker` reads work and writes how long it took.

A line of JSON each way. First comes which model; the answer says what it is. Then works come, each with its seconds as
the answer, until there are no more. A process of its own, so that the memory is the model's alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from calprune.base.values import UserError, rng


@dataclass(frozen=True)
class Work:
    """What is timed: reading a prompt, or writing after one."""

    batch: int
    prompt: int  # tokens of each sequence that are read at once
    steps: int = 0  # tokens of each that are then written, one at a time; 0: the reading is what is timed

    @property
    def name(self) -> str:
        """As a column's head has it."""
        return f"decode, batch {self.batch}" if self.steps else f"prefill, {self.prompt:,} tokens"

    @property
    def tokens(self) -> int:
        """How many tokens the time is of."""
        return self.batch * (self.steps or self.prompt)

    @property
    def longest(self) -> int:
        """Tokens of a sequence at the end."""
        return self.prompt + self.steps + bool(self.steps)


@dataclass(frozen=True)
class Loaded:
    """What a worker says of its model."""

    id: str
    stored: int  # bytes of all tensors on the disk, as the model was given
    parameters: int
    dtype: str
    device: str  # "cpu", or the GPU's name
    threads: int
    longest: int | None  # tokens that its table of positions holds; None: it has none
    notes: Sequence[str] = ()  # where its weights come from something that was not plain


class Runner:
    """A model that is timed."""

    def __init__(self, name: str, dtype: str | None, device: str, dequantize: bool) -> None:
        from calprune.base.progress import SILENT, showing
        from calprune.deployment.machine import resident
        from calprune.models.load import load, outline

        with showing(SILENT):
            if not dequantize:
                outline(name)  # its class is imported before memory is counted
            self.before = resident()
            self.model = load(name, dtype=dtype, device=device, dequantize=dequantize)
        self.cuda = next(self.model.model.parameters()).device.type == "cuda"
        self._reset()

    def about(self) -> Loaded:
        """What it is."""
        import torch

        from calprune.layers.readable import positions_of
        from calprune.models.load import stored_bytes

        module = self.model.model
        positions = positions_of(module)
        first = next(module.parameters())
        named = torch.cuda.get_device_name(first.device) if self.cuda else "cpu"
        count = sum(p.numel() for p in module.parameters())
        return Loaded(self.model.id, stored_bytes(self.model.name), count,
                      str(first.dtype).removeprefix("torch."), named, torch.get_num_threads(),
                      positions.count if positions and positions.is_table else None, self.model.notes)  # fmt: skip

    def seconds(self, work: Work) -> float:
        """How long the work takes."""
        import torch

        ids = self._prompt(work)
        with torch.inference_mode():
            return self._decode(work, ids) if work.steps else self._prefill(ids)

    def _prefill(self, ids: Any) -> float:
        """With the keys and values kept, and the logits of the last token alone, as text generation reads a prompt."""
        import inspect

        module: Any = self.model.model
        known = inspect.signature(module.forward).parameters
        last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        began = self._now()
        module(input_ids=ids, use_cache=True, **last)
        return self._now() - began

    def _decode(self, work: Work, ids: Any) -> float:
        """By transformers' own greedy generation, from its first token to its last."""
        from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

        times: list[float] = []

        class Clock(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                times.append(now())
                return input_ids.new_zeros(len(input_ids), dtype=bool)  # nothing ends here

        now = self._now
        module: Any = self.model.model
        module.generation_config = GenerationConfig(pad_token_id=0)  # no end, no penalties
        how = GenerationConfig(max_new_tokens=work.steps + 1, do_sample=False, pad_token_id=0)
        module.generate(ids, attention_mask=ids.new_ones(ids.shape), generation_config=how,
                        stopping_criteria=StoppingCriteriaList([Clock()]))  # fmt: skip
        return times[-1] - times[0]

    def memory(self) -> int | None:
        """Bytes that it takes at most while it works: its weights, keys and values, and what lies between."""
        import torch

        from calprune.deployment.machine import resident

        if self.cuda:
            return torch.cuda.max_memory_allocated()
        most = resident(peak=True) if self.counts else None
        return None if most is None or self.before is None else most - self.before

    def _reset(self) -> None:
        """Memory is counted from now on: what loading took on the way is left out."""
        import torch

        from calprune.deployment.machine import forget_peak

        self.counts = forget_peak()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def _now(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _prompt(self, work: Work) -> Any:
        """Random ordinary tokens, the same for every model with this tokenizer."""
        import torch

        tokenizer = self.model.tokenizer
        added = set(tokenizer.added_tokens_decoder)
        plain = [i for i in range(min(tokenizer.vocab_size, 50_000)) if i not in added]
        draw = rng(0, "speed")
        ids = [[draw.choice(plain) for _ in range(work.prompt)] for _ in range(work.batch)]
        return torch.tensor(ids, device=next(self.model.model.parameters()).device)


def serve(given: Iterator[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Do what each line wants, and answer each."""
    try:
        runner = Runner(**json.loads(next(given)))
        answer(asdict(runner.about()))
        for line in given:
            before = time.process_time()
            seconds = runner.seconds(Work(**json.loads(line)))
            answer({"seconds": seconds, "own": time.process_time() - before, "memory": runner.memory()})
    except UserError as e:
        answer({"error": str(e)})
    except Exception as e:  # of as many kinds as there are families
        answer({"error": f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"})


def main() -> None:
    """Serve stdin; nothing that a library prints comes among the answers."""
    answers: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    serve(iter(sys.stdin), answer)


if __name__ == "__main__":
    main()
