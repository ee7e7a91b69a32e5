"""Whether the walk gives what the model's own forward gives: measured for each model before it is first walked.

One short ragged batch goes through the model's own forward with its mask, and block by block through the walk, which
gives no mask and carries the hidden states by hand. Every block is given the input that it has in the own forward, so
that rounding does not add up and a block that is off is named itself. So are refused: attention that is not causal,
blocks that run more than once, in another order or not at all, models that act between blocks, carry more from block
to block than the hidden states, or change their weights while they run.

A token is off where ‖walk - own‖ > √ε ‖what the block adds‖ + 2 ε ‖what it gives‖, ε being the step of the block's
dtype. In half precision rounding may send a token to other experts, which is no fault of the walk: where a block has a
router, more than a third of a sequence's tokens must be off.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from calprune.base import __version__
from calprune.base.memory import is_out_of_memory, leave_to_file
from calprune.base.store import cache_folder, write_whole
from calprune.base.values import UserError
from calprune.layers.arguments import by_token, first_argument, handing_on, hidden_of
from calprune.layers.linears import ModelError
from calprune.layers.products import faster_products
from calprune.layers.routers import routers

TOKENS = 10  # of the longer of two sequences; the other one has 6
VERSION = 1  # of what is measured: higher where a model that agreed may no longer do so

_agreed: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()  # in this process
_identities: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def remember(model: nn.Module, identity: str) -> None:
    """From now on the model's agreement is kept on the disk under its identity: other processes need not measure it."""
    _identities[model] = identity


def check_agreement(model: nn.Module, name: str, blocks: nn.ModuleList) -> None:
    """Raise ModelError where the walk through `blocks` (called `name`) would not give what the model's forward gives.

    Measured once for each model object and dtype. The model is in evaluation mode. Neither it nor the state of the
    random numbers is changed.
    """
    dtype = next(blocks.parameters()).dtype
    if _agreed.get(model) == dtype:
        return
    file = _file(model, dtype)
    if file is None or not file.exists():
        measure(model, name, blocks)
        leave_to_file(model.parameters())  # all of it was read
        if file is not None:
            with suppress(UserError):  # a cache that cannot be written costs time, nothing else
                write_whole(file, "")
    _agreed[model] = dtype


def _file(model: nn.Module, dtype: torch.dtype) -> Path | None:
    if model not in _identities:
        return None
    versions = [str(VERSION), __version__, torch.__version__]
    with suppress(importlib.metadata.PackageNotFoundError):
        versions.append(importlib.metadata.version("transformers"))
    key = hashlib.sha256("/".join([_identities[model], str(dtype), *versions]).encode()).hexdigest()[:16]
    return cache_folder() / "agreement" / key


@dataclass
class Ragged:
    """A short batch of valid tokens, padded on the right."""

    tokens: Int[Tensor, "b T"]
    lengths: list[int]

    def real(self) -> Bool[Tensor, "b T"]:
        return torch.arange(self.tokens.shape[1]) < torch.tensor(self.lengths)[:, None]


@dataclass
class _Run:
    """What a block read and gave in the model's own forward."""

    block: int
    hidden: Tensor
    given: Tensor
    more: tuple = ()  # what it gave besides, where it gives a tuple


@torch.no_grad()
def measure(model: nn.Module, name: str, blocks: nn.ModuleList) -> float:
    """The largest difference of a token, relative to what a block gives there; ModelError as `check_agreement`."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[d.index for d in devices]):
        batch = short_batch(model)
        changed = {n: p._version for n, p in model.named_parameters() if not p.is_inference()}
        runs, logits = _own(model, name, blocks, batch)
        if found := [n for n, p in model.named_parameters() if changed.get(n, p._version) != p._version]:
            raise ModelError(f"{_class(model)} changes its weights while it runs ({found[0]}), so what would be saved "
                             "is not what was pruned; expected a model whose weights stay as they are")  # fmt: skip
        _check_order(model, name, blocks, runs, batch)
        return _follow(model, name, blocks, batch, runs, logits)


def _class(model: nn.Module) -> str:
    return type(model).__name__


def short_batch(model: nn.Module) -> Ragged:
    """Two short sequences of ordinary tokens."""
    embeddings = _embeddings(model)
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else config
    known = (getattr(text, key, None) for key in ("max_position_embeddings", "n_positions", "n_ctx"))
    longest = min([TOKENS, *(p for p in known if isinstance(p, int) and p > 0)])
    special = set(_special_tokens(config))
    usual = [i for i in range(len(embeddings)) if i not in special] or [0]
    tokens = torch.tensor([usual[(i * 7919 + 11) % len(usual)] for i in range(2 * longest)]).reshape(2, longest)
    lengths = [longest, max(1, longest * 6 // 10)]
    return Ragged(tokens.to(embeddings.device), lengths)


def _embeddings(model: Any) -> Float[Tensor, "vocabulary hidden"]:
    try:
        return model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        raise ModelError(f"{_class(model)} has no table of input embeddings (get_input_embeddings), so tokens cannot "
                         "be given to it; expected a model of text") from None  # fmt: skip


def _special_tokens(config: Any) -> Iterator[int]:
    """Ids that a config names: padding, the marks of a text, images, sounds."""
    for key, value in vars(config).items() if hasattr(config, "__dict__") else ():
        if hasattr(value, "to_dict"):
            yield from _special_tokens(value)
        elif key.endswith(("token_id", "token_index", "_token")):
            yield from (v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, int))


def _own(model: Any, name: str, blocks: nn.ModuleList, batch: Ragged) -> tuple[list[_Run], Tensor | None]:
    """What every block reads and gives in the model's own forward, in the order of the calls, and the logits."""
    runs: list[_Run] = []
    entered: list[Any] = []

    def enter(module: nn.Module, args: tuple, kwargs: dict) -> None:
        hidden = first_argument(module.forward, args, kwargs)
        if not isinstance(hidden, Tensor):
            raise ModelError(f"{name}.{_index(blocks, module)}: its hidden states are a {type(hidden).__name__}, which "
                             "is not walked; expected a tensor")  # fmt: skip
        if runs and _handed_on(runs[-1].more, (*args, *kwargs.values()), batch):
            raise ModelError(f"{name}.{runs[-1].block} hands on more of each token than its hidden states, which the "
                             "walk would leave out; expected hidden states alone")  # fmt: skip
        entered.append(hidden.clone())

    def leave(module: nn.Module, args: tuple, output: Any) -> None:
        given = hidden_of(output)
        shape = tuple(batch.tokens.shape)
        if tuple(by_token(given, (shape[0], shape[1])).shape[:2]) != shape:
            raise ModelError(f"{name}.{_index(blocks, module)} gives hidden states {tuple(given.shape)} for {shape} "
                             "tokens; expected those of each token")  # fmt: skip
        more = tuple(output[1:]) if isinstance(output, (tuple, list)) else ()
        runs.append(_Run(_index(blocks, module), entered.pop(), given.clone(), more))

    hooks = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    try:
        mask = batch.real().long().to(batch.tokens.device)
        output = _called(model, batch.tokens, attention_mask=mask)
    finally:
        for hook in hooks:
            hook.remove()
    return runs, getattr(output, "logits", None)


def _handed_on(more: tuple, given: tuple, batch: Ragged) -> bool:
    """Whether a block is given something of each token that the block before gave beside its hidden states."""
    b, length = batch.tokens.shape
    floats = [t for t in more if isinstance(t, Tensor) and t.is_floating_point() and t.dim() > 1]
    of_tokens = [t for t in floats if tuple(t.shape[:2]) == (b, length) or t.shape[0] == b * length]
    return any(t is other for t in of_tokens for other in given)


def _index(blocks: nn.ModuleList, module: nn.Module) -> int:
    return next(i for i, block in enumerate(blocks) if block is module)


def _called(model: nn.Module, tokens: Tensor, **more: Any) -> Any:
    try:
        return model(input_ids=tokens, use_cache=False, **more)
    except UserError:
        raise
    except Exception as e:
        if isinstance(e, RuntimeError) and is_out_of_memory(e):
            raise
        line = (str(e).strip().splitlines() or [""])[0]
        how = "with an attention mask" if more else "without an attention mask"
        raise ModelError(f"{_class(model)} cannot be run on a short batch of text {how}: {type(e).__name__}: {line}; "
                         "expected a decoder of text") from e  # fmt: skip


def _check_order(model: nn.Module, name: str, blocks: nn.ModuleList, runs: list[_Run], batch: Ragged) -> None:
    """Every block once, one after the other, each with what the one before gave."""
    order = [run.block for run in runs]
    for i in range(len(blocks)):
        if (times := order.count(i)) != 1:
            often = f"runs {times} times" if times else "does not run"
            raise ModelError(f"{name}.{i} {often} in the forward of {_class(model)} on a batch of text; expected each "
                             "block once")  # fmt: skip
    if odd := [i for i, block in enumerate(order) if i != block]:
        raise ModelError(f"{name}.{order[odd[0]]} runs where {name}.{odd[0]} is expected: {_class(model)} does not run "
                         "its blocks one after the other")  # fmt: skip
    for before, run in pairwise(runs):
        if before.given.shape != run.hidden.shape or _off(run.hidden, before.given, batch):
            raise ModelError(f"{name}.{run.block} does not read what {name}.{before.block} gives: {_class(model)} acts "
                             "between blocks, which the walk would leave out")  # fmt: skip


def _off(found: Tensor, own: Tensor, batch: Ragged) -> bool:
    """Whether hidden states differ from others by more than a rounding at a token that is no padding."""
    real = batch.real().to(own.device)
    shape = (real.shape[0], real.shape[1])
    found, own = (by_token(t, shape)[real].nan_to_num() for t in (found, own))
    eps = max(torch.finfo(t.dtype).eps for t in (found, own))
    return bool((found.float() - own.float()).abs().max() > 2 * eps * own.float().abs().max())


def _follow(
    model: nn.Module, name: str, blocks: nn.ModuleList, batch: Ragged, runs: list[_Run], logits: Tensor | None
) -> float:
    """The walk with what each block had in the own forward, held against what it gave there."""
    with handing_on(blocks, last=runs[-1].given) as calls:
        output = _called(model, batch.tokens)
    entry, worst = calls[0][0], 0.0
    if entry.shape != runs[0].hidden.shape or _off(entry, runs[0].hidden, batch):
        raise ModelError(f"{name}.0 reads other hidden states with a mask than without: {_class(model)} does not leave "
                         "padding alone; expected embeddings that look at one token")  # fmt: skip
    for run, (_, args, kwargs) in zip(runs, calls, strict=True):
        block = blocks[run.block]
        with faster_products(block):
            found = block(run.hidden, *args, **kwargs)
        found = hidden_of(found)
        worst = max(worst, _held(f"{name}.{run.block}", block, batch, run, found))
    after = getattr(output, "logits", None)
    if isinstance(logits, Tensor) and isinstance(after, Tensor):
        last = _Run(len(blocks), torch.zeros_like(logits), logits)
        worst = max(worst, _held(f"what follows {name}.{len(blocks) - 1} (the logits)", None, batch, last, after))
    return worst


def _held(name: str, block: nn.Module | None, batch: Ragged, run: _Run, found: Tensor) -> float:
    """The largest relative difference of a real token; ModelError where too many are off."""
    real = batch.real().to(found.device)
    shape = (real.shape[0], real.shape[1])
    found, own, read = (by_token(t, shape).flatten(2).float() for t in (found, run.given, run.hidden))
    weights = next((p.dtype for p in block.parameters() if p.is_floating_point()), found.dtype) if block else None
    eps = max(torch.finfo(t).eps for t in (weights or run.given.dtype, run.given.dtype))
    adds = own - read if own.shape == read.shape else own
    difference, size = (found - own).norm(dim=-1), own.norm(dim=-1)
    off = ~(difference <= eps**0.5 * adds.norm(dim=-1) + 2 * eps * size) & real
    off &= ~(~found.isfinite().all(-1) & ~own.isfinite().all(-1))  # where both are broken, the sums' own check says so
    allowed = 1 / 3 if eps > 1e-5 and block is not None and routers(block) else 0.0
    relative = float((difference / size.clamp_min(1e-30))[real].nan_to_num().max())
    if bool((off.sum(1) > allowed * real.sum(1)).any()):
        raise ModelError(f"{name} gives other numbers in the walk than in the model's own forward, up to "
                         f"{relative:.0%} off: it looks at tokens on the right or at padding, or blocks hand on more "
                         "than hidden states; expected a causal decoder")  # fmt: skip
    return relative
