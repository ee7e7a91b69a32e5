"""Writing with vLLM (the extra `calprune[vllm]`) in place of `generate`: token ids in, token ids out.

Not measured: no machine with vLLM was at hand. Its speed is not known, and only the translation of options and of
results was tested; both follow vLLM's own documents of SamplingParams and RequestOutput.

What may be drawn is the same (penalty over prompt and text, temperature, top-k, top-p, in that order), the random
numbers are not: each document has a seed of its own in vLLM's generator, and whether a seed gives the same tokens twice
is vLLM's to promise. So the engine and its version are in the identity of what is written. The model is in memory
twice: openings of random_token and perplexities keep to transformers.
"""

import random
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from calprune.base.progress import Steps
from calprune.base.values import ConfigError, UserError
from calprune.models.load import find_folder
from calprune.writing.generate import Written, check_prompts, window
from calprune.writing.sampling import Sampling

_COLDEST, _HOTTEST = 0.01, 2.0  # what vLLM takes, beside 0


def version() -> str:
    """What the text depends on. Raises UserError where vLLM is not installed."""
    try:
        return f"vllm {metadata.version('vllm')}"
    except metadata.PackageNotFoundError:
        raise UserError("engine vllm needs vLLM, which is not installed: pip install 'calprune[vllm]'; or leave "
                        "engine out") from None  # fmt: skip


def refuse_unequal(sampling: Sampling) -> None:
    """Raise ConfigError for options that have no equal in vLLM."""
    if sampling.final_temperature is not None:
        raise ConfigError("engine vllm has one temperature for all tokens of a text: give one, such as 1.0, or leave "
                          "engine out")  # fmt: skip
    if sampling.temperature and not _COLDEST <= sampling.temperature <= _HOTTEST:
        raise ConfigError(f"engine vllm takes a temperature from {_COLDEST} to {_HOTTEST}, or 0 (greedy); "
                          f"got {sampling.temperature}")  # fmt: skip


def sampling_options(sampling: Sampling, seed: int, prompt: int, room: int) -> dict[str, Any]:
    """The arguments of vllm.SamplingParams for a prompt of so many tokens where a text may have `room`, prompt
    included. Only tokens of `sampling.stop` end a text: what else vLLM takes for an end is ignored."""
    refuse_unequal(sampling)
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or -1,  # all tokens
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": min(sampling.max_new_tokens, room - prompt),
        "stop_token_ids": list(sampling.stop),
        "ignore_eos": True,
        "seed": seed,
        "detokenize": False,
    }


def as_written(prompt: Sequence[int], new: Sequence[int], stop: Sequence[int]) -> Written:
    """A prompt and vLLM's tokens after it; where the last of them is one that ends a text, it is told apart."""
    end = new[-1] if new and new[-1] in stop else None
    return Written((*prompt, *(new[:-1] if end is not None else new)), len(prompt), end)


class VllmEngine:
    """vLLM with the weights of `model` (a `models.Model`), for texts of up to `longest` tokens, prompt included."""

    def __init__(self, model: Any, longest: int) -> None:
        version()
        import vllm

        widest = window(model.model)
        self.room = longest if widest is None else min(longest, widest)
        self.params = vllm.SamplingParams
        try:
            self.llm = vllm.LLM(model=str(find_folder(model.name)), dtype=str(model.model.dtype).split(".")[-1],
                                max_model_len=self.room, skip_tokenizer_init=True)  # fmt: skip
        except (ValueError, RuntimeError) as e:
            raise UserError(f"vLLM cannot load {model.name}: {' '.join(str(e).split())}") from e

    def generate(
        self, prompts: Sequence[Sequence[int]], streams: Sequence[random.Random], sampling: Sampling, steps: Steps
    ) -> list[Written]:
        """What the model writes after each prompt, in the prompts' order. Raises as `generate.generate` does."""
        check_prompts(prompts, self.room)
        params = [self.params(**sampling_options(sampling, stream.getrandbits(31), len(prompt), self.room))
                  for prompt, stream in zip(prompts, streams, strict=True)]  # fmt: skip
        asked: Any = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        written = []
        for prompt, done in zip(prompts, self.llm.generate(asked, params, use_tqdm=False), strict=True):
            written.append(as_written(prompt, list(done.outputs[0].token_ids), sampling.stop))
            steps.count(len(done.outputs[0].token_ids))
            steps.advance()
        return written
