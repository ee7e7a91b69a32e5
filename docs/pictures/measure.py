"""Measure the numbers of the five pictures on the demo model and write them to pictures.json (about two minutes).

    python docs/pictures/measure.py

The pictures are drawn from that file, and the one about draws from the table in docs/tutorials/study.md, by draw.py.
"""

import json
from pathlib import Path

import torch

import calprune

HERE = Path(__file__).parent
TEXT = "The kettle is boiling, so I will make a cup of"
TEXTS = ("pydoc_topics", "random_tokens")
LINEAR = "self_attn.q_proj"
BLOCK = "model.layers.4"
WIDTH = 8


def main() -> None:
    model = calprune.load("demo")
    data = {text: calprune.build(text, model, num_samples=8, max_seq_length=128) for text in TEXTS}
    weight = model.model.get_submodule(f"{BLOCK}.{LINEAR}").weight.detach().float()
    norms = {text: norm(model, data[text]) for text in TEXTS}
    kept = {text: two_of_four(weight.abs() * norms[text]) for text in TEXTS}
    both = (kept[TEXTS[0]] & kept[TEXTS[1]]).sum() / kept[TEXTS[0]].sum()
    row = int((kept[TEXTS[0]] != kept[TEXTS[1]])[:, :WIDTH].sum(1).argmax())  # a row in which the texts disagree most
    chosen = {
        "linear": f"{BLOCK}.{LINEAR}",
        "row": row,
        "weights": rounded(weight[row, :WIDTH], 4),
        "norms": {text: rounded(norms[text][:WIDTH], 4) for text in TEXTS},
        "kept in common": round(float(both), 3),
    }
    corner = rounded(weight[:8, :16], 3)
    dense = next_token(model)
    calprune.prune(model, data["pydoc_topics"], method="wanda", pattern="50%", propagate="dense")
    found = {"corner": corner, "calibration": chosen, "kl": divergence(model, dense, next_token(model))}
    (HERE / "pictures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def norm(model: calprune.Model, data: calprune.CalibrationSet) -> torch.Tensor:
    """The root mean square of each input channel (in,) of LINEAR on a set."""
    for name, stats in calprune.Statistics("moments", {}).collecting(model.model, data):
        if name == BLOCK:
            return stats[LINEAR].norm
    raise ValueError(f"the model has no block {BLOCK}")


def two_of_four(score: torch.Tensor) -> torch.Tensor:
    """Which scores (out, in) are the two largest of each four in a row."""
    groups = score.unflatten(1, (-1, 4))
    return torch.zeros_like(groups).scatter(2, groups.topk(2, 2).indices, 1.0).flatten(1).bool()


@torch.inference_mode()
def next_token(model: calprune.Model) -> torch.Tensor:
    """The probability of each token (vocabulary,) after TEXT."""
    ids = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    return model.model(input_ids=ids).logits[0, -1].float().softmax(-1)


def divergence(model: calprune.Model, dense: torch.Tensor, pruned: torch.Tensor) -> dict[str, object]:
    """The five likeliest tokens of the dense model under both, and what each adds to KL, in nats."""
    parts = dense * (dense / pruned).log()
    top = dense.topk(5).indices.tolist()
    tokens = [
        {
            "token": model.tokenizer.decode([i]),
            "dense": round(float(dense[i]), 4),
            "pruned": round(float(pruned[i]), 4),
            "adds": round(float(parts[i]), 4),
        }
        for i in top
    ]
    return {"text": TEXT, "tokens": tokens, "kl": round(float(parts.sum()), 4)}


def rounded(values: torch.Tensor, digits: int) -> list:
    return json.loads(json.dumps(values.tolist()), parse_float=lambda text: round(float(text), digits))


if __name__ == "__main__":
    main()
