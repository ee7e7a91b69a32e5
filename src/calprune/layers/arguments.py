"""What a model gives its blocks besides the hidden states: caught for each block, held once, moved to where it runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.memory import is_out_of_memory
from calprune.base.values import UserError


class Caught(Exception):
    """What was looked for in the blocks is known: the model's head need not run."""


def first_argument(forward: Callable, args: tuple, kwargs: dict) -> Any:
    """The hidden states of a call: the first argument, or the keyword of the first parameter's name."""
    return args[0] if args else kwargs[next(iter(inspect.signature(forward).parameters))]


def hidden_of(output: Any) -> Any:
    """The hidden states in what a block gives: it itself, or the first of a tuple or list."""
    return output[0] if isinstance(output, (tuple, list)) else output


def by_token(given: Float[Tensor, "*_"], shape: tuple[int, int]) -> Float[Tensor, "b T *_"]:
    """Hidden states with sequences and tokens, (b, T) of them, first: Gemma 3n's are (streams, b, T, hidden)."""
    if tuple(given.shape[:2]) != shape and tuple(given.shape[1:3]) == shape:
        return given.movedim(0, 2)
    return given


Returns = dict[type, tuple | None]  # what a class of block returns after the hidden states; None: no tuple


@contextmanager
def handing_on(modules: nn.ModuleList, last: Tensor | None = None, returns: Returns | None = None) -> Iterator[list]:
    """While open, each block appends (its input, other arguments, keywords) to the list and returns its input.

    last: what the last block returns, so that the model's head runs on it; None: it raises Caught instead. returns:
    as an earlier time found it, and what this one finds is put there; of classes that it holds no block is run.
    """
    calls: list[tuple] = []
    returns = {} if returns is None else returns

    def catcher(module: nn.Module, original, is_last: bool):
        first = next(iter(inspect.signature(original).parameters))

        def forward(*args, **kwargs):
            hidden, *args = args or (kwargs.pop(first),)
            calls.append((hidden, tuple(args), kwargs))
            if is_last and last is None:
                raise Caught
            if type(module) not in returns:  # once for each class of block, the real thing
                output = original(hidden, *args, **kwargs)
                returns[type(module)] = tuple(output[1:]) if isinstance(output, (tuple, list)) else None
            rest = returns[type(module)]
            on = last if is_last else hidden
            return on if rest is None else (on, *rest)

        return forward

    with ExitStack() as stack:
        for i, module in enumerate(modules):
            original = module.forward
            module.forward = catcher(module, original, i + 1 == len(modules))  # type: ignore[method-assign]
            stack.callback(module.__dict__.pop, "forward")
        yield calls


def held_once(new: Any, known: Any) -> Any:
    """`new`, each tensor replaced by its counterpart in `known` where they are equal: masks are held once."""
    if isinstance(new, Tensor):
        same = isinstance(known, Tensor) and known.shape == new.shape and known.dtype == new.dtype
        return known if same and torch.equal(new, known) else new
    if isinstance(new, dict):
        return {k: held_once(v, known.get(k) if isinstance(known, dict) else None) for k, v in new.items()}
    if isinstance(new, (list, tuple)):
        others = known if isinstance(known, (list, tuple)) and len(known) == len(new) else [None] * len(new)
        return type(new)(held_once(v, o) for v, o in zip(new, others, strict=True))
    return new


def to_device(value: Any, device: torch.device) -> Any:
    return _each(value, lambda tensor: tensor.to(device))


def to_float32(value: Any) -> Any:
    """Numbers that are not whole, in float32."""
    return _each(value, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A value with each tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {k: _each(v, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_each(v, change) for v in value)
    return value


def masked_of(calibration: Any) -> Int[Tensor, "n"] | None:
    """How many tokens at each sequence's beginning no token attends to; None: all are attended to, as nearly always."""
    return getattr(calibration, "masked", None)


def mask_of(model: Any, calibration: Any, rows: Int[Tensor, "b"], length: int) -> dict[str, Float[Tensor, "b 1 T T"]]:
    """What `model` is called with besides some sequences: nothing, or the mask that is added to attention scores so
    that no token attends to the first `masked` ones of its sequence, which attend to all of it alike.

    As `_prepare_decoder_attention_mask` of transformers 4.28 gave LLaMA for padding on the left, whose rows hold the
    least number throughout: their softmax is even over the whole sequence (released code of Bandari et al., 8cd1b10).
    Raises UserError where the model's attention looks at a window of fewer tokens.
    """
    if (masked := masked_of(calibration)) is None:
        return {}
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    window = getattr(config, "sliding_window", None)
    if window and window < length:
        raise UserError(f"masked padding cannot be given to a model that attends to {window:,} tokens, of {length:,}; "
                        "leave count_padding: masked out")  # fmt: skip
    at, weight = torch.arange(length), model.get_input_embeddings().weight
    seen = (at[:, None] >= at) & (at >= masked[rows, None, None])  # (b, T, T): whether a query sees a key
    mask = torch.zeros(seen.shape, dtype=weight.dtype).masked_fill(~seen, torch.finfo(weight.dtype).min)
    return {"attention_mask": mask[:, None].to(weight.device)}


@contextmanager
def given_to_all(masking: dict[str, Tensor], calls: list[tuple]) -> Iterator[None]:
    """Where there is a mask, raise UserError unless each block called inside is given this very one."""
    if not masking:
        yield
        return
    mask = masking["attention_mask"]
    refused = UserError("the model's blocks do not take an attention mask as it is, so padding that counts cannot be "
                        "masked; leave count_padding: masked out")  # fmt: skip
    try:
        with suppress(Caught):
            yield
    except (IndexError, RuntimeError, TypeError, ValueError) as e:
        if isinstance(e, RuntimeError) and is_out_of_memory(e):
            raise
        raise refused from e
    for _, args, kwargs in calls:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not any(value.shape == mask.shape and torch.equal(value.to(mask.device), mask) for value in given):
            raise refused
