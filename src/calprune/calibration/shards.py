"""Shards of a long piece of work: files that are whole or absent, so that what was killed goes on where it was."""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from calprune.base.values import UserError

Shard = tuple[dict[str, Tensor], Any]  # tensors, and what is to be said of them as plain data


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """[0, size), [size, 2 size), ... up to count."""
    return ((first, min(first + size, count)) for first in range(0, count, size))


def load_or_make(path: Path, make: Callable[[], Shard], say: Callable[[str], None]) -> Shard:
    """The shard at `path`; where it is absent or damaged (which is said) it is made and saved."""
    if path.exists():
        try:
            return _load(path)
        except (SafetensorError, OSError, ValueError, KeyError) as e:
            say(f"{path.name} is damaged ({e}): it is made again")
    tensors, about = make()
    _save(path, tensors, about)
    return tensors, about


def _save(path: Path, tensors: dict[str, Tensor], about: Any) -> None:
    text = json.dumps(about, sort_keys=True)
    head = json.dumps({"format": 1, "about": text, "sha256": _digest(tensors, text)})
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(safetensors.torch.save(tensors, {"calprune": head}))
        os.replace(beside, path)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}; what was written before is kept") from e
    finally:
        beside.unlink(missing_ok=True)


def _load(path: Path) -> Shard:
    with safe_open(path, framework="pt") as stored:
        head = json.loads((stored.metadata() or {})["calprune"])  # one entry: their order is not kept
        if head["format"] != 1:
            raise ValueError(f"format {head['format']}, not 1")
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is not a mapping)
    if _digest(tensors, head["about"]) != head["sha256"]:
        raise ValueError("its contents do not have its hash")
    return tensors, json.loads(head["about"])


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
