"""From a parameter in memory to the tensors of the checkpoint that it was loaded from, and back.

transformers renames, splits, merges and transposes stored tensors as it loads them (fused experts, fused q, k and v,
other projects' names), and keeps with the model what it did. Here that is undone for any parameters that are asked for.
It is proved before any work, on the dense weights: what is undone must be what the file holds, to the bit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
import transformers
from torch import Tensor

from calprune.base.memory import leave_to_file
from calprune.layers.linears import ModelError, find_blocks
from calprune.models.checkpoint import Checkpoint

# what older checkpoints store of a block, and transformers computes: copied without a note
COMPUTED = re.compile(r"(rotary_emb\.inv_freq|pos_embed\.inv_freq|\.masked_bias|attn(ention)?\.bias|position_ids)$")


REST = ""  # what is in no block


class Origin:
    """A loaded model with the checkpoint that it was loaded from."""

    def __init__(self, model: transformers.PreTrainedModel, checkpoint: Checkpoint):
        self.model, self.checkpoint = model, checkpoint
        self._proved: frozenset[str] | None = None

    @cached_property
    def blocks(self) -> list[str]:
        """The names of the model's blocks."""
        name, modules = find_blocks(self.model)
        return [f"{name}.{i}" for i in range(len(modules))]

    def of(self, block: str, device: str | None = None) -> dict[str, Tensor]:
        """Stored name -> a tensor of the stored shape, in the model's dtype: what the block's parameters now are, on
        `device`, or where they are. Of REST: of the parameters that are in no block."""
        inside = tuple(f"{name}." for name in ([block] if block else self.blocks))
        held = {
            name: p.detach().to(device or p.device)
            for name, p in self.model.named_parameters(remove_duplicate=False)
            if name.startswith(inside) == bool(block)
        }
        return {name: tensor for name, tensor in self._undone(held).items() if name in self.checkpoint.tensors}

    def _undone(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.stored_name(name): tensor for name, tensor in self.undone(parameters, self.model).items()}

    def undone(self, parameters: Mapping[str, Tensor], model: transformers.PreTrainedModel) -> dict[str, Tensor]:
        """What transformers did to the tensors as it loaded them is undone; of a smaller `model` of the same kind."""
        from transformers.core_model_loading import revert_weight_conversion  # it comes with all classes of models

        return revert_weight_conversion(model, dict(parameters))

    def stored_name(self, name: str) -> str:
        """As the checkpoint has it: one of the bare decoder lacks the model's prefix, or has one that it lacks."""
        return next((one for one in self.names_of(name) if one in self.checkpoint.tensors), name)

    @cached_property
    def places(self) -> dict[str, str]:
        """Parameter -> the stored tensor that it is, where transformers did no more to it than rename it."""
        held, found = self._without_contents
        stored = {id(tensor): name for name, tensor in found.items() if name in self.checkpoint.tensors}
        return {name: stored[id(tensor)] for name, tensor in held.items() if id(tensor) in stored}

    @property
    def converted(self) -> str | None:
        """What of the parameters transformers makes of other stored weights as it loads them, the first pattern."""
        from transformers.core_model_loading import WeightConverter

        for done in getattr(self.model, "_weight_conversions", None) or ():
            if isinstance(done, WeightConverter):
                sources = done._original_source_patterns
                if all(source.endswith(".weight") for source in sources):
                    return str(done._original_target_patterns[0])
        return None

    def names_of(self, name: str) -> tuple[str, str, str]:
        """What a checkpoint may call it: with the model's prefix, or without."""
        prefix = f"{self.model.base_model_prefix}."
        return name, name.removeprefix(prefix), prefix + name

    @cached_property
    def _without_contents(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tensors without contents for all that the model loads, by its own names and by the stored ones."""
        empty: dict[int, Tensor] = {}  # tied parameters are one object, and stay one
        held = {
            name: empty.setdefault(id(tensor), torch.empty_like(tensor, device="meta"))
            for name, tensor in self.model.state_dict(keep_vars=True).items()
        }
        return held, self._undone(held)

    @cached_property
    def claimed(self) -> dict[str, Tensor]:
        """Stored name -> a tensor without contents, for all that the model loads.

        Raises ModelError where what belongs to a block is not found in the checkpoint, or has another shape there: it
        could not be written back.
        """
        (_, found), stored = self._without_contents, self.checkpoint.tensors
        there = {id(tensor) for name, tensor in found.items() if name in stored}
        for name, tensor in found.items():
            if name not in stored:
                if id(tensor) not in there and name.startswith(tuple(f"{block}." for block in self.blocks)):
                    raise ModelError(f"{name} is not in {self.checkpoint.folder}, so it could not be written back")
            elif stored[name].shape != tensor.shape:
                raise ModelError(f"{name} is stored as {stored[name].shape}, and would be written back as "
                                 f"{tuple(tensor.shape)}: a checkpoint like this cannot be edited")  # fmt: skip
        return {name: tensor for name, tensor in found.items() if name in stored}

    def prove(self) -> frozenset[str]:
        """The stored names whose tensors can be compared with the model's and, of blocks, written back. To be called
        before the model is changed; what was proved once is not proved again.

        Raises ModelError unless each parameter of the blocks is, undone, what the checkpoint holds, to the bit, and
        each stored tensor of a block is the model's.
        """
        if self._proved is None:
            self.carried()
            self.checkpoint.other_files()  # that they can be copied
            equal = {name for block in (*self.blocks, REST) for name in self._equal(block)}
            self._proved = frozenset(equal)
        return self._proved

    def _equal(self, block: str) -> Iterator[str]:
        for name, tensor in self.of(block).items():
            if self.checkpoint.tensors[name].holds(tensor):
                leave_to_file([tensor])
                yield name
            elif block:
                raise ModelError(f"{name}: the model's weights are not those of {self.checkpoint.folder}, so they "
                                 "cannot be written back there; load the model anew")  # fmt: skip

    def carried(self) -> tuple[str, ...]:
        """A note on what is stored and not loaded: heads that the model has not, extra layers. It is copied.

        Raises ModelError where it is a part of a block, or a block more than the config describes.
        """
        count, rest = len(self.blocks), []
        block = re.compile(rf"{re.escape(self.stored_prefix())}(\d+)\.")
        for name in self.checkpoint.tensors:
            if name in self.claimed or self._is_known(name):
                continue
            index, where = block.match(name), f"{self.checkpoint.folder} stores {name}"
            if index and int(index[1]) < count:
                raise ModelError(f"{where}, which {type(self.model).__name__} ignores: what would be pruned is not the "
                                 "model that is stored")  # fmt: skip
            if index and int(index[1]) >= count + self._predicting_blocks():
                raise ModelError(f"{where}, but its config describes {count} blocks; mend num_hidden_layers in "
                                 "config.json, or take out what is not the model's")  # fmt: skip
            rest.append(name)
        groups = Counter(".".join(name.split(".")[:2]) for name in rest)
        named = ", ".join(f"{group} ({n} tensors)" if n > 1 else group for group, n in groups.items())
        return (f"carried along as stored, for the model does not load it: {named}",) if rest else ()

    def _is_known(self, name: str) -> bool:
        rules = getattr(self.model, "_keys_to_ignore_on_load_unexpected", None) or ()
        return bool(COMPUTED.search(name)) or any(re.search(rule, name) for rule in rules)

    def stored_prefix(self) -> str:
        """What comes before the number of a block in the checkpoint: "model.layers."."""
        first = next(iter(self.of(self.blocks[0], "meta")), None)
        if first is None:
            raise ModelError(
                f"{self.checkpoint.folder} stores nothing of {self.blocks[0]}, so it cannot be written back"
            )
        return re.split(r"\b0\.", first)[0]

    def _predicting_blocks(self) -> int:
        """Extra blocks, after the others, that predict further tokens (DeepSeek-V3): stored, and not loaded."""
        return int(getattr(self.model.config.get_text_config(), "num_nextn_predict_layers", None) or 0)
