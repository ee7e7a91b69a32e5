"""Compensation: of a full rank it gives the dense outputs back, and of any rank it is best in the Gram norm."""

import json

import pytest
import torch
from torch import nn
from transformers import FalconH1Config

import calprune
from calprune.base.values import UserError
from calprune.pattern import parse_pattern
from calprune.recovery.adapter import check_takes
from calprune.recovery.basil import Basil
from calprune.recovery.compensation import low_rank
from calprune.recovery.decomposition import check_plan
from tests.families import CONFIGS, random_model
from tests.test_cli import run  # noqa: F401
from tests.test_recover import SIZES, place  # noqa: F401
from tests.tiny import save, toy_tokenizer

LONG = {"num_samples": 48, "max_seq_length": 48}


def error(lost, change, gram) -> float:
    left = lost - change
    return float(((left @ gram) * left).sum())


@pytest.fixture
def problem():
    torch.manual_seed(0)
    x = torch.randn(400, 24, dtype=torch.float64) @ torch.diag(torch.logspace(-2, 1, 24, dtype=torch.float64))
    return torch.randn(16, 24, dtype=torch.float64), x.T @ x / len(x)


@pytest.mark.parametrize("rank", [1, 4, 9, 15])
def test_it_is_never_worse_in_the_gram_norm_than_svd_without_it_or_any_other_of_its_rank(problem, rank):
    lost, gram = problem
    B, A = low_rank(lost, gram, rank)
    assert B.shape == (16, rank) and A.shape == (rank, 24)
    U, S, Vt = torch.linalg.svd(lost, full_matrices=False)
    found = error(lost, B @ A, gram)
    assert found < 0.9 * error(lost, U[:, :rank] * S[:rank] @ Vt[:rank], gram)
    values = torch.linalg.svdvals(lost @ torch.linalg.cholesky(gram))
    assert found == pytest.approx(float(values[rank:].square().sum()), rel=1e-8), "Eckart and Young's bound"
    for seed in range(5):
        near = torch.Generator().manual_seed(seed)
        moved = (B + 1e-3 * torch.randn(B.shape, generator=near, dtype=B.dtype)) @ A
        assert error(lost, moved, gram) >= found


def test_a_full_rank_takes_all_of_the_error_and_inputs_that_are_never_there_change_nothing(problem):
    lost, gram = problem
    assert error(lost, torch.matmul(*low_rank(lost, gram, 16)), gram) < 1e-18 * error(lost, 0 * lost, gram)
    gram[3], gram[:, 3] = 0, 0
    B, A = low_rank(lost, gram, 16)
    assert float(A[:, 3].abs().max()) < 1e-8 and bool(A.isfinite().all())
    assert error(lost, B @ A, gram) < 1e-12 * error(lost, 0 * lost, gram)


def adapted(base, folder):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    return peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_full_rank_gives_the_dense_model_on_what_it_was_calibrated_on(family, place, tmp_path):  # noqa: F811
    config = CONFIGS[family]()
    config.vocab_size = len(toy_tokenizer())
    torch.manual_seed(1)
    save(random_model(config), toy_tokenizer(), tmp_path / "dense")
    calprune.prune(tmp_path / "dense", method="magnitude", pattern="2:4").save(tmp_path / "pruned")
    data = calprune.build(place / "text.txt", model=tmp_path / "dense", **LONG)
    report = calprune.compensate(tmp_path / "pruned", data, dense=tmp_path / "dense", rank=64,
                                 watch=str(place / "other.txt"), watch_tokens=96)  # fmt: skip
    report.save(tmp_path / "adapter")
    assert all(one.after < 1e-6 * one.before for one in report.done.linears)
    tokens = data.tokens[:4]
    model = adapted(tmp_path / "pruned", tmp_path / "adapter")
    expected = calprune.load(tmp_path / "dense").model(tokens).logits.detach()
    assert torch.allclose(model(tokens).logits, expected, atol=1e-3)
    pruned = calprune.load(tmp_path / "pruned").model(tokens).logits.detach()
    assert float((pruned - expected).abs().max()) > 0.05


def test_more_rank_is_nearer_and_the_page_says_what_peft_gives(place, tmp_path):  # noqa: F811
    text, other = place / "text.txt", str(place / "other.txt")
    reports = [calprune.compensate(place / "pruned", text, dense=place / "dense", rank=rank, watch=other,
                                   watch_tokens=96, **SIZES) for rank in (1, 8)]  # fmt: skip
    for small, large in zip(*(report.done.linears for report in reports), strict=True):
        assert large.after < small.after < small.before
    (before, after), out = reports[1].kl[other], tmp_path / "adapter"
    reports[1].save(out)
    assert json.loads((out / "calprune.json").read_text())["compensation"]["kl"][other]["compensated"] == after < before
    merged = adapted(place / "pruned", out).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    toy_tokenizer().save_pretrained(tmp_path / "merged")
    judged = calprune.evaluate(tmp_path / "merged", f"kl('{other}', tokens=96, length=24)", dense=place / "dense")
    assert judged.texts[0].kl.value == pytest.approx(after, rel=1e-3)


def test_the_pruned_model_stays_as_it_was(place):  # noqa: F811
    loaded = calprune.load(place / "pruned")
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    calprune.compensate(loaded, place / "text.txt", dense=place / "dense", rank=4, watch=str(place / "other.txt"),
                        watch_tokens=96, **SIZES)  # fmt: skip
    assert all(torch.equal(p, before[name]) for name, p in loaded.model.named_parameters())


def test_the_command_says_what_is_left_and_two_equal_models_are_refused(place, tmp_path, run):  # noqa: F811
    given = ("--dense", str(place / "dense"), "--calibration", str(place / "text.txt"), "--num-samples", "16",
             "--max-seq-length", "24", "--watch", str(place / "other.txt"), "--watch-tokens", "96",
             "--rank", "4")  # fmt: skip
    status, out, err = run("compensate", str(place / "pruned"), *given, "--out", str(tmp_path / "adapter"))
    assert status == 0 and "of what pruning left" in out, err
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    status, out, err = run("compensate", str(place / "dense"), *given, "--out", str(tmp_path / "none"))
    assert status == 1 and "nothing was pruned" in err and not (tmp_path / "none").exists()


def test_without_peft_it_says_how_to_get_it(place, monkeypatch):  # noqa: F811
    from calprune.recovery import adapter

    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'calprune\[recover\]'"):
        calprune.compensate(place / "pruned", place / "text.txt", dense=place / "dense")


def test_a_linear_is_refused_before_the_work_where_peft_refuses_its_adapter():
    peft = pytest.importorskip("peft")
    config = FalconH1Config(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, head_dim=16,
                            num_attention_heads=2, num_key_value_heads=1, mamba_d_ssm=32, mamba_n_heads=2,
                            mamba_d_head=16, mamba_d_state=8, mamba_chunk_size=8)  # fmt: skip
    model = random_model(config)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and "layers" in name]
    refused = []
    for name in names:
        try:
            peft.get_peft_model(random_model(config), peft.LoraConfig(target_modules=[name], task_type="CAUSAL_LM"))
        except ValueError:
            refused.append(name)
            with pytest.raises(UserError, match="PEFT loads no adapter of this linear of falcon_h1"):
                check_takes(model, [name], "")
        else:
            check_takes(model, [name], "")
    assert refused == ["model.layers.0.mamba.out_proj"] and len(names) > 5
    job = calprune.Pruning(Basil(), parse_pattern("50%"))
    with pytest.raises(UserError, match="leave it out with ignore"):
        check_plan(model, job)
    assert check_plan(model, calprune.Pruning(Basil(), parse_pattern("50%"), ("*.out_proj",)))
