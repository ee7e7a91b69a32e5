"""Quantise a model, a pruned one under its mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from calprune.api.arguments import DataLike, ModelLike, Sizes, as_data_root, note_unread, open_data, open_model
from calprune.api.progress import ProgressLike, shown
from calprune.api.pruned.pairs import description_of
from calprune.base.checks import AtLeast, Count, checked
from calprune.base.values import UserError
from calprune.methods.gptq import GPTQ
from calprune.methods.round_to_nearest import RoundToNearest
from calprune.models.load import find_device
from calprune.quantisation.coded import check_coded
from calprune.quantisation.job import Quantiser, linears_to_quantise, quantise
from calprune.quantisation.packed import check_dtype, check_loadable, check_packing, check_stored
from calprune.quantisation.report import QuantisedReport


@checked
def quantize(
    model: ModelLike,
    data: DataLike | None = None,
    *,
    bits: Count = 4,
    group: Annotated[int, AtLeast(0)] = 128,
    method: Literal["gptq", "rtn"] = "gptq",
    damping: float = 0.01,
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    ignore: Sequence[str] = (),
    data_root: str | Path | None = None,
    device: str | None = "auto",
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> QuantisedReport:
    """Quantise a model's linears; one that is loaded is changed in place, to what its codes mean. Zeros stay zeros.

        report = calprune.quantize("pruned", "c4", bits=4, group=64, num_samples=16, max_seq_length=512)
        report.save("quantised")        # transformers.AutoModelForCausalLM.from_pretrained("quantised")

    bits: of a code, 2 to 8; zero is the middle code. group: inputs of a row that share a scale; 0: the whole row.
    method: "gptq", from the inputs that the data give, the largest first (better, by `studies/gptq.yaml`); "rtn", round
        to nearest, which reads none. damping: of gptq.
    data, num_samples, max_seq_length, seed, ignore, data_root, device, batch_size, progress: as for `prune`.

    Raises UserError where a group does not divide a linear's inputs, its codes cannot be packed, transformers could not
    load them, or the model computes in another dtype than it is stored in.
    """
    check_packing()
    quantiser = quantiser_of(method, bits, group, damping)
    if data is None and quantiser.needs != "nothing":
        raise UserError('data: gptq reads calibration data; give a source ("c4"), a file, a set or saved sums')
    target, root = find_device(device), as_data_root(data_root)
    with shown(progress):
        loaded = open_model(model)
        check_dtype(loaded)
        check_loadable(loaded)
        linears = linears_to_quantise(loaded.model, quantiser, tuple(ignore))
        check_stored(loaded, linears)
        check_coded(loaded.model, linears)
        loaded.prove_origin()
        sizes = Sizes(num_samples, max_seq_length, seed)
        if quantiser.needs == "nothing":
            note_unread(method, data, sizes)
        read = data if quantiser.needs != "nothing" else None
        given = open_data(read, loaded, sizes, root) if read is not None else None
        done = quantise(loaded.model, quantiser, given.data if given else None, ignore=tuple(ignore),
                        batch_size=batch_size, device=target)  # fmt: skip
    return QuantisedReport(loaded, done, given.about if given else None, description_of(loaded))


def quantiser_of(method: str, bits: int, group: int, damping: float) -> Quantiser:
    """The method with its options. Raises ConfigError for bits and groups that there cannot be."""
    if method == "rtn":
        return RoundToNearest(bits, group or None, symmetric=True)
    return GPTQ(bits, group or None, symmetric=True, damping=damping, activation_order="static")
