"""The page about checkpoints: its table of quantised kinds is the one that detection uses."""

import json
from pathlib import Path

from calprune.models.quantised import KINDS, SECTIONS, QuantisedKind

RESULTS = Path(__file__).parent.parent / "benchmarks"

GIVEN = (
    ("a folder with `config.json` and `*.safetensors`, or a hub name", "pruned as it is"),
    ("a `.gguf` file, or a folder without other weights that holds one",
     "made float32 safetensors in `CALPRUNE_CACHE/gguf`, once a file, by its digest (needs `pip install gguf "
     "accelerate`); what comes out is safetensors"),
    ("a checkpoint in block FP8, FP8 or MXFP4, with `--dequantize`",
     "made bfloat16 in `CALPRUNE_CACHE/dequantised`, once; all other tensors and files are copied byte for byte"),
    ("the same without `--dequantize`, or quantised in any other way", "refused in one line"),
    ("weights as a pickle (`.bin`, `.pt`), an adapter, code of its own (`auto_map`)",
     "refused in one line; no code of a checkpoint is run, and nobody is asked"),
)  # fmt: skip

HEAD = """\
# Checkpoints

What `calprune prune` takes as a model, and what it makes of it. What comes out is the folder that went in with exactly
the pruned tensors changed; so what is not a plain checkpoint is made one first, once, in the cache.

@GIVEN@

Where weights come from something else, the report, `calprune.json` and the model card say so.

## Quantised checkpoints

Which kind a model is of is shown by any command that loads it:

```
$ calprune prune MODEL --method magnitude --sparsity 0.1 --out pruned
calprune: model MODEL: it is quantised (block FP8: config.json says fp8, model.layers.0.mlp.down_proj.weight is
F8_E4M3); write --dequantize (Python: dequantize=True) to prune it as bfloat16; studies take the folder that this names
```
"""

FOUND = f"""\
Found by what a config says at any depth ({", ".join(f"`{one}`" for one in SECTIONS)}, also in a file beside
`config.json`), by names of tensors, and by integers or 8-bit floats in the place of weights, with or without a
`quant_method`. What is in no row of the table is quantised all the same where a weight holds such codes. Buffers of
integers (position ids, token types, masks, tables of indices) are no quantising."""

TAIL = """\
What `--dequantize` does: an FP8 weight is its code times its scale, that of its block (128 x 128, or
`weight_block_size`; the last blocks may be cut), row or matrix, multiplied in float32 and rounded once to bfloat16. An
MXFP4 weight is its e2m1 code times its group's power of two, which bfloat16 holds exactly, in gpt-oss's layout:
`gate_up_proj` (experts, hidden, 2 · inner), `down_proj` (experts, inner, hidden). Whole blocks of FP8, and MXFP4, are
what transformers itself dequantises to, to the bit; cut blocks, and scales a row or a matrix, are held to the formula
(`tests/test_quantised.py`). Scales of activations and of the cache of keys and values are left out: nothing of a
bfloat16 model reads them. `dequantize=True` is the same in `calprune.load`, `prune`, `collect` and `evaluate`.
`calprune study` and `choose` take the folder that `--dequantize` names.
"""


DIFFERS = """\
## What differs afterwards

`calprune diff MODEL pruned` says which tensors differ, to the bit, how many of their numbers, and their zeros. Every
row below is a model that was pruned and compared by `python benchmarks/checkpoints.py --out DIR --demo`: the tensors
that differ are the pruned ones, under their stored names, and the zeros in them on the disk are those of the report.
Beside the weights, only `README.md` (the card) and `calprune.json` are new; a card that was there is kept as
`README.base.md`.
"""

DEPLOYED = """\
## It loads where its input did

`python benchmarks/deploy.py --old PYTHON --out DIR`: models that transformers @OLD@ wrote, pruned here with
transformers @NEW@, read by both. "Apart" is the largest difference of logits between the two versions, as a share of
the largest logit: the pruned model is as near as the dense one was.
"""

LLAMA_CPP = """\
llama.cpp (xllamacpp @VERSION@, on a CPU) reads the pruned demo model through its own converter, and writes @SAME@
@TOKENS@ tokens greedily as transformers. vLLM was not tried: its packages need a GPU.
"""


def page() -> str:
    """The whole page."""
    given = "\n".join(["| given | done |", "|---|---|", *(f"| {what} | {done} |" for what, done in GIVEN)])
    rows = ["| kind | what | found by | done |", "|---|---|---|---|", *map(_row, KINDS)]
    return "\n".join([HEAD.replace("@GIVEN@", given), FOUND, "", *rows, "", TAIL, *_differs(), "", *_deployed(), ""])


def _differs() -> list[str]:
    heads = ["| checkpoint | tensors | differ | which | zeros in them | in the report | carried |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    rows = [
        f"| {one['kind']}: {one['what']} | {one['tensors']} | {one['changed']} | {_codes(_short(one['names']))} "
        f"| {one['zeros_on_disk']:,} | {one['zeros_in_report']:,} | {'; '.join(map(_carried, one['carried'])) or '–'} |"
        for one in json.loads((RESULTS / "checkpoints.json").read_text())
    ]
    return [DIFFERS, *heads, *rows]


def _short(names: list[str]) -> tuple[str, ...]:
    """Names without what is the same in all of them, and without "weight"."""
    first = names[0].partition(".*.")[0]
    return tuple(name.removeprefix(f"{first}.*.").removesuffix(".weight") for name in names)


def _carried(note: str) -> str:
    return _codes((note.rpartition(": ")[2],))


def _deployed() -> list[str]:
    result = json.loads((RESULTS / "deploy.json").read_text())
    found, llama = result["transformers"], result["llama.cpp"]
    old, new = found[0]["versions"]
    rows = [
        f"| {one['model']} | {one['apart']['dense']:.1g} | {one['apart']['pruned']:.1g} "
        f"| {len(one['missing']['pruned'])} |"
        for one in found
    ]
    heads = ["| family | dense, apart | pruned, apart | tensors missing |", "|---|---|---|---|"]
    said = LLAMA_CPP.replace("@VERSION@", llama["xllamacpp"]).replace("@TOKENS@", str(llama["tokens"]))
    said = said.replace("@SAME@", "the same" if llama["same_text"] else "other")
    return [DEPLOYED.replace("@OLD@", old).replace("@NEW@", new), *heads, *rows, "", said]


def _row(kind: QuantisedKind) -> str:
    found = [
        *([f"says {_codes(kind.methods)}"] if kind.methods else []),
        *([f"has {_codes(kind.keys)}"] if kind.keys else []),
        *([f"tensors {_codes(kind.tensors)}"] if kind.tensors else []),
    ]
    done = "`--dequantize`" if kind.dequantised else "refused: prune the model it was made from"
    return f"| {kind.name} | {kind.made_by} | {'; '.join(found)} | {done} |"


def _codes(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)
