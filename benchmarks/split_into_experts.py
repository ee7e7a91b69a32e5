"""A model with experts made of a real one: each feed-forward of a Llama is cut into experts, and a router chooses some.

    python benchmarks/split_into_experts.py demo OUT [--experts 8] [--chosen 4] [--calibration c4] [--steps 120]

OUT is an ordinary Mixtral checkpoint with the model's own weights. Neurons that are active on the same tokens are put
together (k-means of equal sizes, after MoEfication: Zhang et al., 2022, arXiv 2110.01786, section 3.2); the router is
the linear map that comes nearest to how large each expert's output is (ridge regression; their section 3.3 trains a
small network); what the chosen ones give is scaled so that it is nearest to what all of them gave. Then all weights are
trained towards the model's own predictions on the same text, by KL, for so many steps of two sequences. What it has
become is judged at the end, on text of another source.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import MixtralConfig, MixtralForCausalLM

import calprune

NEAR_EQUAL = 0.1  # of the router's scores: the chosen experts weigh nearly alike, as all of them did
FEATURES = 32  # principal components of a neuron's activity that it is clustered by
ROUNDS = 6  # of k-means
RATE = 4e-4  # the highest learning rate, as `calprune recover` has it
RIDGE = 1e-2  # of the mean variance of an input


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--chosen", type=int, default=4)
    parser.add_argument("--calibration", default="c4 + redpajama_github + math_solutions:icl_cot")
    parser.add_argument("--steps", type=int, default=120)
    given = parser.parse_args()
    torch.manual_seed(0)
    loaded = calprune.load(given.model, dtype="float32")
    data = calprune.build(given.calibration, loaded, num_samples=max(16, 2 * given.steps), max_seq_length=256)
    tokens = data.tokens.long()
    made = split(loaded.model, tokens[torch.randperm(len(tokens))[:16]], given.experts, given.chosen)
    train(made, loaded.model, tokens, given.steps)
    made.to(torch.bfloat16).save_pretrained(given.out)
    loaded.tokenizer.save_pretrained(given.out)
    judged = calprune.evaluate(str(given.out), "kl(wikitext2, tokens=4096, length=256)", dense=given.model)
    print(judged.text())


@torch.no_grad()
def split(model: Any, tokens: Tensor, experts: int, chosen: int) -> MixtralForCausalLM:
    """The Llama `model` with its feed-forwards cut, by what its neurons do on `tokens` (sequences, length)."""
    of = model.config
    if of.intermediate_size % experts:
        raise SystemExit(f"--experts: {of.intermediate_size} neurons are no multiple of {experts}")
    config = MixtralConfig(
        **{name: getattr(of, name) for name in SAME}, intermediate_size=of.intermediate_size // experts,
        num_local_experts=experts, num_experts_per_tok=chosen, sliding_window=None, head_dim=None,
        rope_parameters=dict(of.rope_parameters),
    )  # fmt: skip
    made = MixtralForCausalLM(config).float()
    kept = {name: tensor for name, tensor in model.state_dict().items() if ".mlp." not in name}
    lacking = made.load_state_dict(kept, strict=False)
    assert not lacking.unexpected_keys and all(".mlp." in name for name in lacking.missing_keys), lacking
    inputs = feed_forward_inputs(model, tokens)
    for i, (block, target, x) in enumerate(zip(model.model.layers, made.model.layers, inputs, strict=True)):
        left = cut(block.mlp, target.mlp, x, experts, chosen)
        print(f"block {i}: {100 * left:.0f} % of the output's energy is not given by the chosen experts", flush=True)
    return made


def train(made: Any, model: Any, tokens: Tensor, steps: int) -> None:
    """AdamW, its rate rising over a tenth of the steps and falling by a cosine; each sequence is read once."""
    optimiser = torch.optim.AdamW(made.parameters(), lr=RATE, weight_decay=0.0)
    made.train()
    for step, batch in enumerate(tokens[torch.randperm(len(tokens))].split(2)[:steps]):
        falling = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / (0.1 * steps), falling)
        with torch.no_grad():
            wanted = model(batch).logits.log_softmax(-1)
        loss = F.kl_div(made(batch).logits.log_softmax(-1), wanted, log_target=True, reduction="sum") / batch.numel()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimiser.step()
        if step % 10 == 0:
            print(f"step {step} of {steps}: {loss.item():.2f} nats a token to the model", flush=True)
    made.eval()


SAME = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act",
        "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id",
        "pad_token_id")  # fmt: skip


def feed_forward_inputs(model: Any, tokens: Tensor) -> list[Tensor]:
    """What each block's feed-forward reads: (tokens, hidden)."""
    found: list[list[Tensor]] = [[] for _ in model.model.layers]
    handles = [
        block.mlp.register_forward_pre_hook(lambda _, given, kept=kept: kept.append(given[0].flatten(0, 1)))
        for block, kept in zip(model.model.layers, found, strict=True)
    ]
    for row in tokens:
        model(row[None])
    for handle in handles:
        handle.remove()
    return [torch.cat(kept) for kept in found]


def cut(dense: Any, target: Any, x: Tensor, experts: int, chosen: int) -> float:
    """Fill a block of experts; the part of the dense output's energy that is lost on these inputs."""
    active = dense.act_fn(dense.gate_proj(x)) * dense.up_proj(x)
    groups = clusters((active.abs() * dense.down_proj.weight.norm(dim=0)).T, experts)
    outputs = torch.stack([active[:, group] @ dense.down_proj.weight[:, group].T for group in groups], 1)
    sizes = outputs.norm(dim=-1)  # (tokens, experts)
    wanted = sizes / sizes.mean(1, keepdim=True) - 1
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    target.gate.weight.copy_(NEAR_EQUAL * torch.linalg.solve(gram, x.T @ wanted).T)
    _, weights, index = target.gate(x)
    given = torch.zeros(len(x), experts).scatter_(1, index, weights)
    whole, part = outputs.sum(1), (outputs * given[..., None]).sum(1)
    scale = (whole * part).sum() / part.square().sum()
    for e, group in enumerate(groups):
        target.experts.gate_up_proj[e].copy_(torch.cat([dense.gate_proj.weight[group], dense.up_proj.weight[group]]))
        target.experts.down_proj[e].copy_(scale * dense.down_proj.weight[:, group])
    return float((whole - scale * part).square().sum() / whole.square().sum())


def clusters(rows: Tensor, count: int) -> list[Tensor]:
    """The rows in `count` groups of one size that are near each other."""
    unit = rows - rows.mean(1, keepdim=True)
    unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(1e-9)
    left, size, _ = torch.svd_lowrank(unit, FEATURES)
    points, each = (left * size).numpy(), len(rows) // count
    centres = points[np.random.default_rng(0).choice(len(points), count, replace=False)]
    for _ in range(ROUNDS):
        far = ((points[:, None] - centres[None]) ** 2).sum(-1)
        _, places = linear_sum_assignment(np.repeat(far, each, axis=1))
        labels = places // each
        centres = np.stack([points[labels == e].mean(0) for e in range(count)])
    return [torch.from_numpy(np.flatnonzero(labels == e)) for e in range(count)]


if __name__ == "__main__":
    main()
