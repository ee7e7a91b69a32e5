"""The sums of one model on one calibration set: collected once, saved, added, and used for any method and pattern.

statistics/                 a folder: whole or absent
    model.layers.0.safetensors   one file a block: "<input>/tokens", "/sum_x", "/sum_xx", "/gram"; of each linear, where
                                 collected, "<linear>/output/squares", "/sizes", "/sequences", and the same of "loss";
                                 of an expert that all tokens stand in for, "<linear>/routed": those sent to it
    units.safetensors            where they were wanted, the sums that whole blocks and experts are chosen by
    statistics.json              which linears read which input, what was collected, the digests of the files; last
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from calprune.base.checks import Count, checked
from calprune.base.store import DamagedError, check_files, file_digests, read_json, whole_folder, write_json
from calprune.base.tensors import save_tensors
from calprune.layers.blocks import Sequences
from calprune.layers.collect import Counting
from calprune.layers.gradients import walk_sums
from calprune.layers.inputs import LADDER, RUNG, GradientSums, InputStats, Needs, Of, StatsError

HEAD = "statistics.json"  # what the sums are of, and in which files
UNITS = "units.safetensors"

BlockStats = dict[str, InputStats]  # linear -> its input's sums; linears that share an input share the sums


@dataclass(repr=False)
class Statistics:
    """The sums at every linear's input, block by block: in memory, or in a folder and read when asked for.

    A linear that no token reached has none: it stays dense where pruning is by these sums.
    """

    needs: Needs
    about: dict[str, Any]  # model, calibration, versions: what the sums are of
    blocks: dict[str, BlockStats] = field(default_factory=dict)
    folder: Path | None = None
    inputs: dict[str, dict[str, list[str]]] = field(
        default_factory=dict
    )  # block -> input -> linears, where in a folder
    files: dict[str, str] = field(default_factory=dict)  # digests of the folder's files, until they were checked
    units: dict[str, Tensor] = field(default_factory=dict)  # sums that units are chosen by (`removal.sums`), by names

    def __repr__(self) -> str:
        return f"<Statistics: {self.needs} of {len(self.names())} blocks>"

    @classmethod
    @checked
    def collect(
        cls,
        model: nn.Module,
        calibration: Sequences,
        needs: Needs = "gram",
        *,
        batch_size: Count | None = None,
        device: torch.device | str | None = None,
        counting: Counting = Counting(),
    ) -> "Statistics":
        """One dense pass over the data; batch_size, device and counting as for `walk`. needs "nothing": none."""
        about = {"calibration": getattr(calibration, "id", None), "tokens": int(calibration.lengths.sum())}
        made = cls(needs, about | counting.summary())
        if needs == "nothing":
            return made
        for name, stats in made.collecting(model, calibration, batch_size=batch_size, device=device, counting=counting):
            made.blocks[name] = stats
        return made

    def collecting(
        self,
        model: nn.Module,
        calibration: Sequences,
        *,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        counting: Counting = Counting(),
    ) -> Iterator[tuple[str, BlockStats]]:
        """Each block's sums as they are known, so that they can be written one block at a time."""
        for block, stats in walk_sums(model, calibration, self.needs, propagate="dense", batch_size=batch_size,
                                      device=device, counting=counting):  # fmt: skip
            yield block.name, stats

    def names(self) -> list[str]:
        return list(self.inputs or self.blocks)

    def of_block(self, name: str, device: torch.device | str = "cpu") -> BlockStats:
        """The sums at the inputs of block `name`'s linears."""
        if not self.names():
            raise StatsError("the statistics hold no sums at the inputs of linears: collect them with --needs moments "
                             "or gram")  # fmt: skip
        if name not in self.names():
            raise StatsError(
                f"the statistics hold no block {name}; they hold {len(self.names())} blocks, {self.names()[0]} first"
            )
        if name in self.blocks:
            return self.blocks[name]
        assert self.folder is not None, "names() gave the names of the folder's files"
        try:
            self.check(f"{name}.safetensors")
        except DamagedError as e:
            raise StatsError(f"{e}; collect the statistics again") from None
        return _read_block(self.folder / f"{name}.safetensors", self.inputs[name], device)

    def check(self, *files: str) -> None:
        """Raise DamagedError where these files of the folder (all, where none is named) are not as they were written.

        A file is looked at once. A folder that calprune 0.1 wrote holds no digests.
        """
        assert self.folder is not None
        left = {name: self.files[name] for name in files or tuple(self.files) if name in self.files}
        check_files(self.folder, left)
        for name in left:
            del self.files[name]

    @property
    def model(self) -> dict[str, Any]:
        """Which model they were collected from, by name and id; {}: not known."""
        return self.about.get("model") or {}

    def __add__(self, other: "Statistics") -> "Statistics":
        if self.names() != other.names():
            raise StatsError("cannot add the statistics of two different models: their blocks differ")
        of, and_of = self.model, other.model
        if of and and_of and of.get("id") != and_of.get("id"):
            raise StatsError(f"cannot add the statistics of two different models: {of.get('name')} ({of.get('id')}), "
                             f"{and_of.get('name')} ({and_of.get('id')})")  # fmt: skip
        few = _few({"sum of": [self.about, other.about]})
        sums = {}
        for b in self.names():
            ours, theirs = self.of_block(b), other.of_block(b)
            _check_experts(b, ours, theirs, few)
            sums[b] = _combined(ours, theirs)
        units = {name: _sum_of(name, tensor, other.units[name]) for name, tensor in self.units.items()
                 if name in other.units}  # fmt: skip
        needs = min(self.needs, other.needs, key=LADDER.index)
        return Statistics(needs, {"sum of": [self.about, other.about]} | _of(of or and_of), sums, units=units)

    def __rmul__(self, share: float) -> "Statistics":
        scaled = {b: _scaled(self.of_block(b), lambda s: share) for b in self.names()}
        units = {name: tensor if is_largest(name) else share * tensor for name, tensor in self.units.items()}
        return Statistics(self.needs, {"times": share, "of": self.about} | _of(self.model), scaled, units=units)

    def per_token(self) -> "Statistics":
        """As of one average token, so that `0.3 * a.per_token() + 0.7 * b.per_token()` mixes by shares of tokens.

        All sums are divided by one number, the set's tokens (padding left out): an expert to which one set sends more
        has more of that set in its mixture. Raises StatsError where `about` does not say how many there were.
        """
        if (tokens := _tokens(self.about)) <= 0:
            raise StatsError('these statistics do not say of how many tokens they are ("tokens" in their `about`): '
                             "collect them again, or scale them by a number")  # fmt: skip
        averaged = (1 / tokens) * self
        averaged.about = {"per token of": self.about} | _of(self.model)
        return averaged

    @checked
    def save(self, folder: str | Path) -> None:
        """Write a folder, whole or not at all. Raises UserError where it holds something already."""
        blocks = ((b, self.of_block(b)) for b in self.names())
        save_statistics(folder, self.needs, self.about, blocks, lambda: self.units)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> "Statistics":
        """Open a folder; the sums are read block by block, when asked for."""
        about = read_json(Path(folder) / HEAD, "saved statistics (calprune stats writes them)")
        files = about.get("files", {})
        made = cls(about["needs"], about["about"], folder=Path(folder), inputs=about["inputs"], files=files)
        if UNITS in files:
            made.check(UNITS)
            made.units = load_file(Path(folder) / UNITS)
        return made


def _of(model: dict[str, Any]) -> dict[str, Any]:
    return {"model": model} if model else {}


def _tokens(about: dict[str, Any]) -> float:
    """The tokens of what sums are of; 0: it is not known."""
    if "per token of" in about:
        return 1.0
    if "times" in about:
        return about["times"] * _tokens(about["of"])
    if "sum of" in about:
        parts = [_tokens(one) for one in about["sum of"]]
        return sum(parts) if all(parts) else 0.0
    known = about.get("tokens")
    if known is None and isinstance(given := about.get("calibration"), dict):  # as `calprune stats` 0.1 wrote it
        known = given.get("counts", {}).get("tokens")
    return float(known or 0)


def _few(about: dict[str, Any]) -> int | None:
    """The tokens under which an expert has too few, by what sums are of; None: scaled sums count no tokens."""
    if "per token of" in about or "times" in about:
        return None
    if "sum of" in about:
        parts = [_few(one) for one in about["sum of"]]
        known = [few for few in parts if few is not None]
        return max(known) if len(known) == len(parts) else None
    return about.get("counting", {}).get("min_expert_tokens", Counting().min_expert_tokens)


def is_saved(folder: str | Path) -> bool:
    """Whether a folder is that of saved sums."""
    return os.path.isfile(Path(folder) / HEAD)


def is_largest(name: str) -> bool:
    """Whether a tensor among `Statistics.units` holds largest values, which do not add."""
    return name.endswith("/largest")


def _sum_of(name: str, ours: Tensor, theirs: Tensor) -> Tensor:
    return torch.maximum(ours, theirs) if is_largest(name) else ours + theirs


def save_statistics(
    folder: str | Path,
    needs: Needs,
    about: dict,
    blocks: Iterator[tuple[str, BlockStats]],
    units: Callable[[], dict[str, Tensor]] = dict,
) -> None:
    """Write a folder of sums, a block at a time: it is whole or absent. units: called when the blocks are written."""
    with whole_folder(folder) as making:
        inputs = {}
        for name, stats in blocks:
            inputs[name] = shared = _by_input(stats)
            tensors = {}
            for first, members in shared.items():
                sums = stats[members[0]]
                tensors[f"{first}/tokens"] = torch.tensor(sums.tokens, dtype=torch.float64)
                tensors |= {f"{first}/sum_x": sums.sum_x.contiguous(), f"{first}/sum_xx": sums.sum_xx.contiguous()}
                if sums.gram is not None:
                    tensors[f"{first}/gram"] = sums.gram.contiguous()
            for linear, sums in stats.items():
                if sums.routed is not None:
                    tensors[f"{linear}/routed"] = torch.tensor(sums.routed, dtype=torch.float64)
                for of, g in sums.gradients.items():
                    tensors[f"{linear}/{of}/sequences"] = torch.tensor(g.sequences, dtype=torch.float64)
                    tensors |= {f"{linear}/{of}/squares": g.squares, f"{linear}/{of}/sizes": g.sizes}
            save_tensors(tensors, making / f"{name}.safetensors")
        if found := units():
            save_tensors({name: tensor.contiguous() for name, tensor in found.items()}, making / UNITS)
        head = {"format": 1, "needs": needs, "about": about, "inputs": inputs, "files": file_digests(making)}
        write_json(making / HEAD, head)


def _by_input(stats: BlockStats) -> dict[str, list[str]]:
    """The linears that share an input, under the first one's name."""
    groups: dict[int, list[str]] = {}
    for name, sums in stats.items():
        groups.setdefault(id(sums.sum_x), []).append(name)  # views for different linears hold the same tensor
    return {members[0]: members for members in groups.values()}


def _scaled(stats: BlockStats, share_of: Callable[[InputStats], float]) -> BlockStats:
    """Every sum multiplied once; linears that shared theirs still do."""
    scaled: BlockStats = {}
    for first, members in _by_input(stats).items():
        share = share_of(stats[first])
        total = share * stats[first]
        for m in members:
            gradients = {of: share * g for of, g in stats[m].gradients.items()}
            routed = stats[m].routed
            scaled[m] = total.of_linear(gradients, None if routed is None else share * routed)
    return scaled


def _check_experts(block: str, a: BlockStats, b: BlockStats, few: int | None) -> None:
    """Raise StatsError where all tokens' sums stand in for an expert's own in a or b, and would not for both together.

    few: tokens under which they do; None: scaled sums, of which only those that stand in on one side are refused.
    """
    for linear in (name for name in a if name in b):
        ours, theirs = a[linear], b[linear]
        lost = [s.routed for s in (ours, theirs) if s.routed]  # of an expert without any token nothing is lost
        own = [s for s in (ours, theirs) if s.routed is None]
        together = sum(s.tokens if s.routed is None else s.routed for s in (ours, theirs))
        if lost and (own or (few is not None and together >= few)):
            raise StatsError(f"{block}.{linear}: too few tokens were sent to this expert in one part, so it holds "
                             "all tokens' sums in place of its own, and they do not add: collect each part with "
                             "Counting(min_expert_tokens=1), or the union of the sets")  # fmt: skip


def _combined(a: BlockStats, b: BlockStats) -> BlockStats:
    """The sums of one block over two sets together, each linear of both: what all tokens stand in for is added as it
    stands. Linears that share their sums in both share their total.

    A linear that tokens reached in one of the two alone keeps that one's sums, and so does an expert.
    """
    added: BlockStats = {}
    totals: dict[tuple[int, int], InputStats] = {}
    for linear in [*a, *(name for name in b if name not in a)]:
        if linear not in a or linear not in b:
            added[linear] = a.get(linear) or b[linear]
            continue
        ours, theirs = a[linear], b[linear]
        if {ours.routed, theirs.routed} == {None, 0.0}:  # all tokens would stand in for none
            added[linear] = ours if ours.routed is None else theirs
            continue
        shared = (id(ours.sum_x), id(theirs.sum_x))
        if shared not in totals:
            totals[shared] = ours + theirs
        gradients = {of: g + theirs.gradients[of] for of, g in ours.gradients.items() if of in theirs.gradients}
        really = [s.tokens if s.routed is None else s.routed for s in (ours, theirs)]
        routed = None if ours.routed is None and theirs.routed is None else sum(really)
        added[linear] = totals[shared].of_linear(gradients, routed)
    return added


def _read_block(path: Path, inputs: dict[str, list[str]], device) -> BlockStats:
    stats: BlockStats = {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = set(file.keys())
            for first, members in inputs.items():
                sums = InputStats(0, "moments")
                sums.tokens = file.get_tensor(f"{first}/tokens").item()
                sums.sum_x, sums.sum_xx = file.get_tensor(f"{first}/sum_x"), file.get_tensor(f"{first}/sum_xx")
                sums.gram = file.get_tensor(f"{first}/gram") if f"{first}/gram" in names else None
                for m in members:
                    routed = file.get_tensor(f"{m}/routed").item() if f"{m}/routed" in names else None
                    stats[m] = sums.of_linear(_read_gradients(file, m), routed)
    except (OSError, SafetensorError, json.JSONDecodeError) as e:
        raise StatsError(f"cannot read {path}: {e}; collect the statistics again") from None
    return stats


def _read_gradients(file, linear: str) -> dict[Of, GradientSums]:
    names = set(file.keys())
    found: dict[Of, GradientSums] = {}
    for of in RUNG:
        if f"{linear}/{of}/sequences" in names:
            sequences, squares, sizes = (
                file.get_tensor(f"{linear}/{of}/{part}") for part in ("sequences", "squares", "sizes")
            )
            found[of] = GradientSums(sequences.item(), squares, sizes)
    return found
