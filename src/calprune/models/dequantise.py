"""A block FP8, FP8 or MXFP4 checkpoint as a plain one in bfloat16, made once in calprune's cache.

Each tensor of codes becomes the bfloat16 that they stand for; each other tensor and file is copied byte for byte, but
for the scales, which are used up, and what a config says of quantising. With s the scales and ⌈⌉ the last, cut block:

    FP8     W[i, j] = e4m3(code[i, j]) · s[⌊i / a⌋, ⌊j / b⌋],  blocks of a x b = weight_block_size, usually 128 x 128;
            or one s for each row, or one for the matrix. Products are in float32, rounded once. DeepSeek-V3 technical
            report (2412.19437), section 3.3; modules are alike whether experts lie apart or fused.
    MXFP4   W[k, i] = e2m1(code[i, k]) · 2^(s[i, ⌊k / 32⌋] - 127), two codes a byte, the low one first; OCP Microscaling
            Formats 1.0. gpt-oss keeps its experts transposed in bfloat16: (experts, in, out). Exact in bfloat16.

One tensor is held in memory at a time. Model kinds differ in nothing here: names and shapes say all.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.progress import current, tracking
from calprune.base.store import DamagedError, cache_folder, once, whole_folder
from calprune.base.values import UserError
from calprune.models.checkpoint import INDEX, WEIGHTS, Checkpoint, StoredTensor, open_checkpoint
from calprune.models.digests import known_digest
from calprune.models.quantised import (
    BESIDE,
    SECTIONS,
    Quantisation,
    is_mxfp4,
    of_activations,
    scale_of,
    sections_of,
)

VERSION = 1  # of what is written here: another makes checkpoints anew

SHARD = 5_000_000_000  # bytes of a file, at most, unless one tensor is larger

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)

BLOCK = (128, 128)  # where the config does not say

DTYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class PlainTensor:
    """A tensor of the plain checkpoint, and what it is made from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: StoredTensor  # the codes, or the tensor as it stays
    scale: StoredTensor | None = None  # None: it stays

    @property
    def size(self) -> int:
        """In bytes."""
        return 2 * torch.Size(self.shape).numel() if self.scale else self.stored.size

    def bytes(self, block: tuple[int, int]) -> Any:
        """Its bytes, made anew each time."""
        if self.scale is None:
            return self.stored.bytes()
        made = (from_mxfp4 if self.stored.dtype == "U8" else from_fp8)(
            self.stored.read(), self.scale.read(), *([] if self.stored.dtype == "U8" else [block])
        )
        if not torch.isfinite(made).all():
            raise UserError(f"{self.stored.file}: {self.stored.name} holds codes or scales that stand for no finite "
                            "number; it is damaged, or made in another way")  # fmt: skip
        return made.contiguous().view(torch.uint8).reshape(-1).numpy().data


def dequantised_folder(checkpoint: Checkpoint, found: Quantisation, name: str) -> Path:
    """The folder of the plain checkpoint in the cache, made if it is absent.

    Named by the digests of all that it is made from. Raises UserError where a tensor is not as its kind has it, or the
    disk is full.
    """
    tensors, block = plain_tensors(checkpoint, found), block_size(checkpoint)
    beside, _ = checkpoint.other_files()
    parts = [checkpoint.folder / "config.json", *checkpoint.files, *(checkpoint.folder / one for one in beside)]
    digests = [[str(part.relative_to(checkpoint.folder)), known_digest(part)] for part in parts]
    key = hashlib.sha256(json.dumps([VERSION, *digests]).encode()).hexdigest()[:16]
    folder = cache_folder() / "dequantised" / key

    def write(folder: Path, files: list[Path]) -> None:
        with whole_folder(folder) as inside:
            _write(checkpoint, tensors, block, inside)
            for file in files:
                (inside / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(checkpoint.folder / file, inside / file)

    kept = [one for one in beside if one.name not in (*BESIDE, "config.json", INDEX) or len(one.parts) > 1]
    size = sum(one.size for one in tensors) / 1e9
    current().say(f"{name} as bfloat16 is {folder} ({size:.1f} GB, written once)")
    once(folder, lambda: kept, read=lambda folder: _whole(folder, kept), write=write, report=current().say)
    return folder


def plain_tensors(checkpoint: Checkpoint, found: Quantisation) -> list[PlainTensor]:
    """The tensors of the plain checkpoint, in the order of the quantised one. Raises UserError where one is odd."""
    tensors, packed, block = checkpoint.tensors, {one.name for one in found.packed}, block_size(checkpoint)
    made, used = [], set()
    for one in tensors.values():
        if one.name not in packed:
            continue
        if is_mxfp4(one, tensors):
            if one.name.endswith("_blocks"):
                stem, (experts, rows, groups, _) = one.name.removesuffix("_blocks"), one.shape
                scale = tensors[f"{stem}_scales"]
                made.append(PlainTensor(stem, "BF16", (experts, 32 * groups, rows), one, scale))
                used |= {one.name, scale.name}
            continue
        scale_or_none = scale_of(one, tensors)
        assert scale_or_none is not None  # else it would be of no kind that is dequantised
        _check_scale(one, scale_or_none, block)
        made.append(PlainTensor(one.name, "BF16", one.shape, one, scale_or_none))
        used |= {one.name, scale_or_none.name}
    ready = {one.stored.name: one for one in made}
    if twice := {one.name for one in made} & (set(tensors) - used):
        raise UserError(
            f"{checkpoint.folder}: {min(twice)} is there plain and quantised, so it is not known which counts"
        )
    dropped = used | {name for name in tensors if of_activations(name)}
    order = [one for one in tensors.values() if one.name in ready or one.name not in dropped]
    return [ready.get(one.name) or PlainTensor(one.name, one.dtype, one.shape, one) for one in order]


def block_size(checkpoint: Checkpoint) -> tuple[int, int]:
    """Rows and columns that share a scale. Raises UserError where the config says something else."""
    for where, section in sections_of(checkpoint.config, "config.json"):
        for size in _sizes(section):
            if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
                raise UserError(f"{checkpoint.folder}: {where} has blocks of {size}; expected two numbers, [128, 128]")
            return size[0], size[1]
    return BLOCK


def _sizes(section: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in section.items():
        if key in ("weight_block_size", "block_structure") and value is not None:
            yield value
        elif isinstance(value, Mapping) and key != "input_activations":
            yield from _sizes(value)


def _check_scale(codes: StoredTensor, scale: StoredTensor, block: tuple[int, int]) -> None:
    if scale.dtype not in ("F32", "F16", "BF16", "F64", "F8_E8M0"):
        raise UserError(f"{scale.file}: {scale.name} is {scale.dtype}; expected scales in floating point")
    if _layout(codes.shape, scale.shape, block) is None:
        raise UserError(f"{scale.file}: {scale.name} has shape {scale.shape}, which fits neither blocks of {block[0]} "
                        f"x {block[1]} of {codes.name} {codes.shape}, nor its rows, nor the whole")  # fmt: skip


def _layout(codes: tuple[int, ...], scale: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...] | None:
    """The shape in which scales multiply codes, () where they must be spread over blocks; None: they do not fit."""
    if len(codes) < 2:
        return None
    if torch.Size(scale).numel() == 1:
        return (1,) * len(codes)
    if scale in (codes[:-1], codes[:-2]):
        return (*scale, *[1] * (len(codes) - len(scale)))
    if len(scale) != len(codes):
        return None
    if all(n in (1, full) for n, full in zip(scale, codes, strict=True)):
        return scale
    grid = (*codes[:-2], -(-codes[-2] // block[0]), -(-codes[-1] // block[1]))
    return () if scale == grid else None


def from_fp8(codes: Tensor, scale: Tensor, block: tuple[int, int] = BLOCK) -> Float[Tensor, "*more rows columns"]:
    """The bfloat16 that FP8 codes stand for. codes: (..., rows, columns), float8; scale: one number, one a row, or
    (..., ⌈rows / a⌉, ⌈columns / b⌉) for blocks of a x b."""
    layout = _layout(tuple(codes.shape), tuple(scale.shape), block)
    if layout is None:
        raise UserError(f"scales of shape {tuple(scale.shape)} do not fit codes of shape {tuple(codes.shape)}")
    made = torch.empty(codes.shape, dtype=torch.bfloat16)
    rows, columns = codes.shape[-2:]
    scale = scale.float()
    if layout:
        scale = scale.reshape(layout).expand(*codes.shape[:-2], *layout[-2:])
    parts = zip(made.reshape(-1, rows, columns), codes.reshape(-1, rows, columns),
                scale.reshape(-1, *scale.shape[-2:]), strict=True)  # fmt: skip
    for whole, code, one in parts:  # an expert at a time: float32 is four times as large as the codes
        if not layout:
            one = one.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
        whole.copy_(code.float() * one)
    return made


def from_mxfp4(blocks: Tensor, scales: Tensor) -> Float[Tensor, "experts columns rows"]:
    """The bfloat16 that MXFP4 codes stand for, transposed as gpt-oss has it. blocks: (experts, rows, groups, 16), two
    codes a byte; scales: (experts, rows, groups), exponents with a bias of 127 (255 is no number)."""
    experts, rows, groups, _ = blocks.shape
    pairs = torch.tensor([(E2M1[byte & 15], E2M1[byte >> 4]) for byte in range(256)])
    made = torch.empty(experts, 32 * groups, rows, dtype=torch.bfloat16)
    for whole, block, scale in zip(made, blocks, scales, strict=True):
        values = pairs[block.reshape(-1).int()].reshape(rows, groups, 32)
        powers = torch.ldexp(torch.ones(scale.shape), scale.int() - 127).masked_fill(scale == 255, torch.nan)
        whole.copy_((values * powers[..., None]).reshape(rows, -1).T)
    return made


def _write(checkpoint: Checkpoint, tensors: list[PlainTensor], block: tuple[int, int], folder: Path) -> None:
    shards = list(_shards(tensors))
    names = [WEIGHTS] if len(shards) == 1 else [
        f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)
    ]  # fmt: skip
    steps = iter(tracking(tensors, len(tensors), "writing as bfloat16"))
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            file.write(_header(shard))
            for _ in shard:
                file.write(next(steps).bytes(block))
    next(steps, None)  # the bar is full
    if len(shards) > 1:
        places = {one.name: name for name, shard in zip(names, shards, strict=True) for one in shard}
        size = sum(one.size for one in tensors)
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    config = plain_config(checkpoint.config)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _shards(tensors: list[PlainTensor]) -> Iterator[list[PlainTensor]]:
    shard: list[PlainTensor] = []
    for one in tensors:
        if shard and sum(other.size for other in shard) + one.size > SHARD:
            yield shard
            shard = []
        shard.append(one)
    yield shard


def _header(shard: list[PlainTensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for one in shard:
        header[one.name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": [place, place := place + one.size]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def plain_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config without what it says of quantising, at any depth, and with bfloat16 as its dtype."""

    def plain(config: Mapping[str, Any]) -> dict[str, Any]:
        kept = {
            key: value for key, value in config.items() if not (key in SECTIONS and isinstance(value, Mapping | None))
        }
        return {key: "bfloat16" if key in DTYPE_KEYS and isinstance(value, str | None) else
                plain(value) if isinstance(value, Mapping) else value for key, value in kept.items()}  # fmt: skip

    made = plain(config)
    made.pop("transformers_weights", None)  # the files have the names that are usual
    return made if any(key in made for key in DTYPE_KEYS) else made | {"dtype": "bfloat16"}


def _whole(folder: Path, files: list[Path]) -> list[Path]:
    """The files, if nothing of the folder is cut short or missing."""
    try:
        open_checkpoint(folder).tensors  # noqa: B018 (it reads the headers)
    except UserError as e:
        raise DamagedError(str(e)) from None
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise DamagedError(f"{folder / missing[0]} is missing")
    return files
