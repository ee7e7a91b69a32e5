"""Checkpoints in few bytes."""

from pathlib import Path

from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import checked
from calprune.base.output import new_folder
from calprune.deployment import archive
from calprune.deployment.archive import PackReport
from calprune.models.load import find_folder


@checked
def pack(folder: str | Path, out: str | Path, *, progress: ProgressLike | None = None) -> PackReport:
    """Write a checkpoint in few bytes, for a download or to be kept: a bit for each number, and those not zero.

        report = calprune.pack("pruned", "pruned.packed")
        report.sizes.packed / report.sizes.dense
        calprune.unpack("pruned.packed", "pruned")

    folder: of a model with *.safetensors; every file of it is in the archive, and comes back with the same bytes, which
        is tried out before the archive takes its name. out: a folder that is absent or empty. progress: as for `prune`.

    Raises UserError where the folder has no such weights or is packed already.
    """
    with shown(progress), new_folder(out):
        return archive.pack(find_folder(str(folder)), Path(out))


@checked
def unpack(packed: str | Path, out: str | Path, *, progress: ProgressLike | None = None) -> list[Path]:
    """Give back the folder that `pack` packed, byte for byte; the paths of its files in it.

        calprune.unpack("pruned.packed", "pruned")

    packed: what `pack` wrote. out: a folder that is absent or empty. progress: as for `prune`.

    Raises UserError where it is no archive, and where a file does not come out with the digest that it had; then there
    is no folder.
    """
    with shown(progress), new_folder(out):
        return archive.unpack(Path(packed), Path(out))
