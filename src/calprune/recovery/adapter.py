"""A low-rank change of a pruned model as an ordinary PEFT adapter, beside the pruned weights."""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from calprune.base.store import whole_folder
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.models.load import Model


@runtime_checkable
class Adapter(Protocol):
    """A change of linears: to the weight `name` comes scale · B A, of `name.B` (out, rank) and `name.A` (rank, in)."""

    @property
    def rank(self) -> int: ...

    @property
    def scale(self) -> float: ...

    @property
    def transposed(self) -> bool: ...  # the model's linears are stored as (in, out)

    @property
    def leaves(self) -> Mapping[str, Tensor]: ...


def check_peft() -> None:
    """Raise UserError where the library is not installed that adapters are written with."""
    if importlib.util.find_spec("peft") is None:
        raise UserError("an adapter is written by peft, which is not installed: pip install 'calprune[recover]'")


def check_takes(model: nn.Module, linears: Iterable[str], otherwise: str) -> None:
    """Raise UserError where PEFT refuses an adapter of one of these linears, by its own rule: those of Mamba's output,
    which its kernels read past the linear. otherwise: what to do instead. Nothing where PEFT is not installed."""
    if importlib.util.find_spec("peft") is None:
        return
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    rule: Any = getattr(tuners_utils, "_check_lora_target_modules_mamba", None)
    for name in linears if rule else ():
        try:
            rule(LoraConfig(), model, name.rpartition(".")[2])
        except ValueError:
            family = getattr(getattr(model, "config", None), "model_type", "this family")
            raise UserError(f"{name}: PEFT loads no adapter of this linear of {family}; {otherwise}") from None


def base_of(model: Model) -> str:
    """How an adapter names the model that it is for: its folder, or its name on the hub."""
    base = str(model.origin.checkpoint.folder.resolve()) if model.origin else model.name
    return base if os.path.isdir(model.name) or model.name == "demo" else model.name


def save_adapter(adapter: Adapter, base: str, folder: str | Path, files: Mapping[str, str]) -> None:
    """Write adapter_config.json, adapter_model.safetensors and `files`: whole or not at all. base: what it is for."""
    check_peft()
    from peft import LoraConfig

    modules = sorted({key[: -len(".A")] for key in adapter.leaves if key.endswith(".A")})
    config = LoraConfig(
        r=adapter.rank, lora_alpha=round(adapter.rank * adapter.scale), target_modules=modules, task_type="CAUSAL_LM",
        base_model_name_or_path=base, inference_mode=True, fan_in_fan_out=adapter.transposed,
    )  # fmt: skip
    letters = {"A": "lora_A", "B": "lora_B"}
    tensors = {
        f"base_model.model.{key[:-2]}.{letters[key[-1]]}.weight": leaf.detach().cpu().contiguous()
        for key, leaf in adapter.leaves.items()
    }
    with whole_folder(folder) as beside:
        config.save_pretrained(str(beside))
        save_tensors(tensors, beside / "adapter_model.safetensors", {"format": "pt"})
        for name, text in files.items():
            (beside / name).write_text(text, encoding="utf-8")


@contextmanager
def added(adapter: Adapter, model: nn.Module) -> Iterator[None]:
    """Inside the block the adapter's change is in the model's weights; afterwards they are what they were."""
    modules, kept = dict(model.named_modules()), list[tuple[Tensor, Tensor]]()
    try:
        for name in (key[: -len(".A")] for key in adapter.leaves if key.endswith(".A")):
            weight = modules[name].get_parameter("weight").data
            kept.append((weight, weight.clone()))
            change = adapter.scale * (adapter.leaves[f"{name}.B"] @ adapter.leaves[f"{name}.A"]).to(weight.device)
            weight += (change.T if adapter.transposed else change).to(weight.dtype)
        yield
    finally:
        for weight, was in kept:
            weight.copy_(was)
