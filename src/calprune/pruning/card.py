"""The model card of a pruned checkpoint, by huggingface_hub: its metadata, what was done, figures, lines of use."""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from calprune.base.values import UserError
from calprune.base.yamls import parse_yaml
from calprune.pages.table import Column, Table
from calprune.pruning.permutation import PERMUTED

REPORT = "calprune.json"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
KNOWN = {"demo": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # models by names of calprune's own
USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
tokens = tokenizer("The capital of France is", return_tensors="pt")
print(tokenizer.decode(model.generate(**tokens, max_new_tokens=20)[0]))
```"""

ZEROS = "The zeros are stored as zeros: the file is as large as before, and an ordinary runtime is no faster with it."
QUANTISED = "The zeros are codes like any other: quantising alone makes the file smaller. It needs compressed-tensors."
PACKED = "It needs compressed-tensors; its config is smaller, which any runtime that reads that format takes."
SMALLER = "It is an ordinary model with a smaller config: no code of calprune is needed to load it, in any runtime."


def carried_on(base: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What of a pruned model's report is true of what is made of it: all but the figures, which are of the pruned
    one."""
    return {key: value for key, value in (base or {}).items() if key != "evaluations"}


def card(description: Mapping[str, Any], base: Path | None = None) -> str:
    """The model card: what this is, how it was made, what it scores, how it is used, what sparsity does and does not
    give. base: the folder of the dense model, whose card says its licence."""
    calibration = description.get("calibration")
    data = (
        "none: the method reads no calibration data"
        if calibration is None
        else f"`{one_line(calibration['asked'])}` (identity `{calibration['id']}`)"
    )
    licences = ", ".join((calibration or {}).get("licences", [])) or "not stated"
    name = one_line(description["model"]["name"])
    how = f"without {description['pattern']}, chosen by" if "removed" in description else "pruned with"
    to = "" if "removed" in description else f" to {description['pattern']}"
    text = f"""# {name}, {how} {description["method"]}{to}

- base model: {name}, identity `{description["model"]["id"]}`
- calibration data: {data}; licences of its texts: {licences}
{_done(description)}- made by calprune {description["environment"]["calprune"]}; all that was done: `{REPORT}`

## Evaluation

{_figures(description)}

## Use

It loads as any other checkpoint of transformers:

{USE}

{_size(description)}
"""
    from huggingface_hub import ModelCard  # its import takes as long as torch's, and no walk needs it

    return str(ModelCard(f"---\n{_metadata(description, base).to_yaml()}\n---\n{text}", ignore_metadata_errors=False))


def _metadata(description: Mapping[str, Any], base: Path | None) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    name = one_line(description["model"]["name"])
    on_hub = KNOWN.get(name, name.partition("@")[0])
    datasets = sorted((description.get("calibration") or {}).get("datasets", []))
    method = description["method"].partition("(")[0]
    results = [
        EvalResult("text-generation", one["evaluation"], one["evaluation"], metric, one[key], metric_name=metric)
        for one in description.get("evaluations", ())
        for metric, key in (("perplexity", "pruned"), ("kl_to_dense", "kl"))
        if one.get(key) is not None
    ]
    return ModelCardData(
        base_model=on_hub if HUB_NAME.fullmatch(on_hub) and not Path(name).exists() else None,
        datasets=datasets or None, library_name="transformers", pipeline_tag="text-generation",
        tags=["calprune", "pruned", *([] if "removed" in description else ["sparse"]),
              *([method] if re.fullmatch(r"\w+", method) else [])],
        model_name=f"{name}, pruned" if results else None, eval_results=results or None, **_licence(base),
    )  # fmt: skip


def _licence(base: Path | None) -> dict[str, Any]:
    """What the dense model's card says of its licence and language; nothing where it has none that can be read."""
    found: dict[str, Any] = {}
    with suppress(OSError, UserError, UnicodeDecodeError):
        text = (base / "README.md").read_text(encoding="utf-8") if base else ""
        front = text.split("---\n", 2)
        said = parse_yaml(front[1], "the card") if len(front) == 3 else {}
        for key in ("license", "license_name", "license_link"):
            if isinstance(said, dict) and isinstance(value := said.get(key), str) and one_line(value) == value:
                found[key] = value
    return found


def _figures(description: Mapping[str, Any]) -> str:
    found = description.get("evaluations", ())
    rows = tuple((one["evaluation"], one.get("dense"), one.get("pruned"), one.get("kl")) for one in found)
    if not rows:
        return 'Not evaluated here: `calprune eval THIS_FOLDER --dense BASE --on "perplexity(wikitext2)"` measures it.'
    heads = (Column("held-out text"), Column("dense perplexity", "number"), Column("pruned", "number"),
             Column("KL to the dense model, nats a token", "number"))  # fmt: skip
    return Table("evaluation", "", heads, rows).markdown()


def _done(description: Mapping[str, Any]) -> str:
    """What was done, a line each."""
    notes = "".join(f"- {note}\n" for note in description["model"].get("notes", ()))
    if "removed" in description:
        before, after = (description["parameters"][when] for when in ("dense", "smaller"))
        removed = f"- removed: {description['removed']['what']}; {before:,} parameters became {after:,}\n"
        return f"{removed}{_afterwards(description)}{notes}"
    sparsity = description["sparsity"]
    return (f"- sparsity of the pruned linears: {sparsity['pruned_linears']:.4%}; of the whole model: "
            f"{sparsity['whole_model']:.4%}\n{_more(description)}{notes}")  # fmt: skip


def _more(description: Mapping[str, Any]) -> str:
    allocation = description["allocation"]
    shared = "" if allocation == "uniform" else f"- linears are not equally sparse: the allocation is `{allocation}`\n"
    if channels := permuted(description):
        shared += f"- {channels}; the dense model stays the same\n"
    return shared + _afterwards(description)


def _afterwards(description: Mapping[str, Any]) -> str:
    """What was done to the pruned model."""
    made = ""
    if recovery := description.get("recovery"):
        what, of = recovery["how"].get("what", "weights"), one_line(recovery["calibration"]["asked"])
        stayed = "" if "removed" in description else "; the zeros stayed"
        made += f"- trained afterwards ({what}) towards {one_line(recovery['dense'])} on `{of}`{stayed}\n"
    if quantised := description.get("quantisation"):
        made += f"- quantised afterwards: `{quantised['method']}`, {quantised['bits_a_weight']:.3g} bits a weight\n"
    return made


def _size(description: Mapping[str, Any]) -> str:
    """What the file's size says of what was pruned."""
    if "quantisation" in description:
        return PACKED if "removed" in description else QUANTISED
    return SMALLER if "removed" in description else ZEROS


def one_line(name: str) -> str:
    """A name as it can stand in a text: what would begin a line of its own is a space."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def permuted(description: Mapping[str, Any]) -> str:
    """Which linears' input channels were permuted beforehand, in a line; empty where it was not requested."""
    if not (how := description["job"].get("permute")):
        return ""
    linears = description["linears"]
    kinds = Counter(r["name"].rpartition(".")[2] for r in linears if r["channels"] == PERMUTED)
    named = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none"
    return (f"input channels were permuted beforehand ({how}) in {kinds.total()} of {len(linears)} linears: {named}; "
            f"{REPORT} names them, and says why the others were not")  # fmt: skip
