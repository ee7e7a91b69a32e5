"""An OpenLM checkpoint (DCLM-7B's layout) opens as any model: the walk, pruning, measuring, writing text."""

import json
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from calprune.base.values import UserError
from calprune.evaluation.perplexity import perplexity
from calprune.layers.blocks import walk
from calprune.layers.linears import linears
from calprune.layers.products import torch_products
from calprune.methods.sparsegpt import SparseGPT
from calprune.models import load as models
from calprune.models.editor import edit
from calprune.models.openlm import OpenLMConfig, OpenLMForCausalLM
from calprune.pattern import KeepNofM
from calprune.pruning.job import Pruning
from calprune.writing.generate import generate
from calprune.writing.sampling import Sampling
from tests.families import VOCABULARY
from tests.test_blocks import LENGTHS, calibration, largest_difference
from tests.test_evaluate import word_tokenizer
from tests.tiny import save

WIDTH, HEADS, BLOCKS, INNER = 32, 4, 2, 256
PARAMS = {  # as OpenLM's training arguments are kept in config.json, with the sizes
    "model": "training/configs/tiny.json",
    "hidden_dim": WIDTH,
    "n_layers": BLOCKS,
    "n_heads": HEADS,
    "seq_len": 64,
    "vocab_size": VOCABULARY,
    "post_embed_norm": False,
    "weight_tying": False,
    "model_norm": "gain_only_lp_layer_norm",
    "qk_norm": True,
    "ffn_type": "swiglu_torch",
    "attn_name": "auto",
    "lr": 2e-3,
}


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """By the names under which OpenLM saves them; rotary frequencies are among them."""
    numbers = torch.Generator().manual_seed(seed)
    shapes = {"tok_embeddings": (VOCABULARY, WIDTH), "output": (VOCABULARY, WIDTH), "norm": (WIDTH,)}
    for i in range(BLOCKS):
        shapes |= {
            f"layers.{i}.attention.in_proj": (3 * WIDTH, WIDTH),
            f"layers.{i}.attention.out_proj": (WIDTH, WIDTH),
            f"layers.{i}.attention.q_norm": (WIDTH,),
            f"layers.{i}.attention.k_norm": (WIDTH,),
            f"layers.{i}.feed_forward.w12": (2 * INNER, WIDTH),
            f"layers.{i}.feed_forward.w3": (WIDTH, INNER),
            f"layers.{i}.attention_norm": (WIDTH,),
            f"layers.{i}.ffn_norm": (WIDTH,),
        }
    weights = {
        f"model.{name}.weight": torch.randn(shape, generator=numbers) * (0.1 if len(shape) == 1 else 0.2)
        + (1.0 if len(shape) == 1 else 0.0)
        for name, shape in shapes.items()
    }
    for i in range(BLOCKS):
        weights[f"model.layers.{i}.attention.pos_embed.inv_freq"] = torch.rand(WIDTH // HEADS // 2, generator=numbers)
    return weights


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "openlm"
    folder.mkdir()
    save_file(random_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    write_config(folder, PARAMS)
    word_tokenizer().save_pretrained(folder)
    return folder


def write_config(folder: Path, params: dict) -> None:
    config = {"model_type": "openlm", "architectures": ["OpenLMforCausalLM"], "params": None}
    config |= {"params_args_dict": params, "torch_dtype": "float32", "transformers_version": "4.40.2"}
    (folder / "config.json").write_text(json.dumps(config))


def plain_logits(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """The architecture by its formulas, one sequence, one head and one pair of numbers at a time, in float64."""
    w = {name.removeprefix("model.").removesuffix(".weight"): value.double() for name, value in weights.items()}
    head, length = WIDTH // HEADS, len(tokens)

    def normed(x: Tensor, gain: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain

    def rotated(x: Tensor) -> Tensor:  # (length, head)
        turned = x.clone()
        for t in range(length):
            for i in range(head // 2):
                angle = torch.tensor(t * 10000.0 ** (-2 * i / head), dtype=torch.float64)
                a, b = x[t, i], x[t, i + head // 2]
                turned[t, i] = a * angle.cos() - b * angle.sin()
                turned[t, i + head // 2] = b * angle.cos() + a * angle.sin()
        return turned

    x = w["tok_embeddings"][tokens]
    later = torch.ones(length, length).triu(1).bool()
    for i in range(BLOCKS):
        at = f"layers.{i}."
        q, k, v = (normed(x, w[at + "attention_norm"]) @ w[at + "attention.in_proj"].T).split(WIDTH, -1)
        q, k = normed(q, w[at + "attention.q_norm"]), normed(k, w[at + "attention.k_norm"])
        seen = []
        for h in range(HEADS):
            here = slice(h * head, (h + 1) * head)
            scores = rotated(q[:, here]) @ rotated(k[:, here]).T / head**0.5
            seen.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ v[:, here])
        x = x + torch.cat(seen, -1) @ w[at + "attention.out_proj"].T
        gate, up = (normed(x, w[at + "ffn_norm"]) @ w[at + "feed_forward.w12"].T).split(INNER, -1)
        x = x + (gate * torch.sigmoid(gate) * up) @ w[at + "feed_forward.w3"].T
    return normed(x, w["norm"]) @ w["output"].T


def test_a_checkpoint_in_openlms_layout_gives_what_its_formulas_give_and_loading_it_prints_nothing(folder, capfd):
    model = models.load(str(folder)).model
    assert capfd.readouterr() == ("", "")
    tokens = calibration().tokens[:2]
    with torch.no_grad():
        logits = model(tokens).logits
    for row, found in zip(tokens, logits, strict=True):
        expected = plain_logits(random_weights(), row)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_walk_gives_its_own_forward_to_the_bit(folder):
    with torch_products():
        assert largest_difference(models.load(str(folder)).model, calibration(), batch_size=2) == 0.0


def test_fused_matrices_are_linears_that_share_no_input_and_hold_nearly_all_of_a_block(folder):
    names = ["attention.in_proj", "attention.out_proj", "feed_forward.w12", "feed_forward.w3"]
    for block in walk(models.load(str(folder)).model, calibration()):
        sites, sums = linears(block.module), block.collect("moments")
        assert sorted(site.name for site in sites) == sorted(sums) == names
        held = sum(site.weight.numel() for site in sites)
        assert 0.99 < held / sum(p.numel() for p in block.module.parameters()) < 1
        assert len({id(s.sum_x) for s in sums.values()}) == 4
        assert {s.tokens for s in sums.values()} == {float(LENGTHS.sum())}


def test_the_statistics_of_the_first_fused_matrix_are_of_the_normalised_embeddings(folder):
    data, first = calibration(), random_weights()
    found = next(walk(models.load(str(folder)).model, data)).collect("gram")["attention.in_proj"]
    tokens = torch.cat([row[:length] for row, length in zip(data.tokens, data.lengths, strict=True)])
    x = first["model.tok_embeddings.weight"].double()[tokens]
    x = F.layer_norm(x, (WIDTH,), first["model.layers.0.attention_norm.weight"].double(), eps=1e-5)
    torch.testing.assert_close(found.gram.double(), x.T @ x, rtol=1e-4, atol=1e-3)


def test_pruned_and_saved_it_has_the_same_layout_and_loads_again(folder, tmp_path):
    loaded, out = models.load(str(folder)), tmp_path / "pruned"
    loaded.prove_origin()
    reports = Pruning(SparseGPT(), KeepNofM(2, 4)).run(loaded.model, calibration()).reports
    assert len(reports) == 4 * BLOCKS and {r.sparsity for r in reports} == {0.5}
    out.mkdir()
    edit(loaded.origin, out, {})
    stored, first = load_file(tmp_path / "pruned" / "model.safetensors"), random_weights()
    assert set(stored) == set(first)  # the tables of angles too, which no part of the model reads
    pruned = {f"{report.name}.weight" for report in reports}
    assert pruned <= set(stored)
    for name, w in stored.items():
        assert w.shape == first[name].shape
        if name in pruned:
            assert ((w.reshape(-1, 4) != 0).sum(1) == 2).all()
        else:
            assert torch.equal(w, first[name])
    config = json.loads((tmp_path / "pruned" / "config.json").read_text())
    assert config["model_type"] == "openlm" and config["params_args_dict"] == PARAMS
    again = models.load(str(tmp_path / "pruned")).model
    with torch.no_grad():
        tokens = calibration().tokens
        assert torch.equal(again(tokens).logits, loaded.model(tokens).logits)


def test_perplexity_is_that_of_its_formulas(folder):
    windows = calibration().tokens[:2]
    expected = [F.cross_entropy(plain_logits(random_weights(), row)[:-1], row[1:]).item() for row in windows]
    found = perplexity(models.load(str(folder)).model, windows)
    assert found.nats.tolist() == pytest.approx(expected, rel=1e-4)


def test_text_written_with_kept_keys_and_values_is_what_reading_all_again_at_every_token_gives(folder):
    model = models.load(str(folder)).model
    prompts = [[5, 9, 30], [7], [40, 3, 8, 21, 60]]
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=12)
    streams = [random.Random(i) for i in range(len(prompts))]
    written = generate(model, prompts, streams, greedy, batch_size=2)  # the third waits for a slot
    for prompt, ours in zip(prompts, written, strict=True):
        tokens = list(prompt)
        for _ in range(12):
            tokens.append(int(plain_logits(random_weights(), torch.tensor(tokens))[-1].argmax()))
        assert list(ours.tokens) == tokens
        theirs = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=0)
        assert theirs[0].tolist() == tokens


@pytest.mark.parametrize("how", [{"weight_tying": True}, {"post_embed_norm": True}, {"model_norm": "lp_layer_norm"}])
def test_what_else_openlm_knows_is_saved_under_its_names(tmp_path, how, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    model = OpenLMForCausalLM(OpenLMConfig(params_args_dict=PARAMS | how)).eval()
    save(model, word_tokenizer(), tmp_path / "model")
    stored = set(load_file(tmp_path / "model" / "model.safetensors"))
    assert ("model.post_embed_norm.weight" in stored) == ("post_embed_norm" in how)
    assert ("model.layers.0.attention.q_norm.bias" in stored) == ("model_norm" in how)
    assert len(stored & {"model.output.weight", "model.tok_embeddings.weight"}) == (1 if "weight_tying" in how else 2)
    again = models.load(str(tmp_path / "model")).model
    with torch.no_grad():
        tokens = calibration().tokens
        assert torch.equal(again(tokens).logits, model(tokens).logits)


def test_sizes_that_a_checkpoint_names_give_the_parameters_that_its_makers_counted():
    named = {"model": "training/open_lm_configs/open_lm_7b_swiglutorch.json", "model_norm": "gain_only_lp_layer_norm"}
    with torch.device("meta"):
        model = OpenLMForCausalLM(OpenLMConfig(params_args_dict=named))
    assert sum(p.numel() for p in model.parameters()) == 6_889_410_560  # DCLM's configs/7b_2x_fast_..., without qk-norm


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ffn_type": "gemma_geglu"}, "ffn_type 'gemma_geglu'"),
        ({"model_norm": "gain_only_layer_nor"}, "did you mean"),
        ({"positional_embedding_type": "head_rotary"}, "expected rotary"),
        ({"attn_name": "custom_attn"}, "attn_name 'custom_attn'"),
        ({"moe_freq": 2}, "moe_freq 0"),
        ({"hidden_dim": None}, "write hidden_dim"),
    ],
)
def test_another_architecture_is_refused_in_one_line(folder, change, said):
    write_config(folder, {k: v for k, v in (PARAMS | change).items() if v is not None})
    with pytest.raises(UserError, match=said) as raised:
        models.load(str(folder))
    assert "\n" not in str(raised.value)
