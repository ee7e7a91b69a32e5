"""Recovery: zeros stay zeros, a resumed run is an uninterrupted one, and the loss is the divergence that it says."""

import itertools
import json
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import calprune
from calprune.base.values import UserError
from calprune.models.checkpoint import open_checkpoint
from calprune.models.difference import compare
from calprune.models.head import Head
from calprune.recovery import training
from calprune.recovery.targets import Dense, Targets, divergence, shortened
from calprune.recovery.trained import LowRank, trained_of
from calprune.recovery.training import Recovering, Trainer
from tests.families import CONFIGS, random_model
from tests.test_cli import run  # noqa: F401
from tests.tiny import save, toy_tokenizer

TEXT = "\n\n".join(f"In chapter {i} the lantern shows stone {i * 7} beside the quiet harbour." for i in range(40))
OTHER = "\n\n".join(f"{i} + {i} = {2 * i}; {i} * 3 = {3 * i}. (sums)" for i in range(80))
SIZES = {"num_samples": 16, "max_seq_length": 24}
FAST = {"what": "weights", "epochs": 4.0, "learning_rate": 3e-3, "batch": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A dense model that knows the text a little, the same pruned to 2:4, and two texts."""
    folder = tmp_path_factory.mktemp("recover")
    (folder / "text.txt").write_text(TEXT)
    (folder / "other.txt").write_text(OTHER)
    config = CONFIGS["llama"]()
    config.vocab_size = len(toy_tokenizer())
    torch.manual_seed(0)
    save(random_model(config), toy_tokenizer(), folder / "dense")
    prune(folder / "dense", folder / "pruned")
    return folder


def prune(dense: Path, out: Path, **options) -> None:
    calprune.prune(dense, method="magnitude", pattern="2:4", **options).save(out)


def recovered(place: Path, **options):
    asked = {"dense": place / "dense", "watch": str(place / "other.txt"), "watch_tokens": 96, **SIZES, **FAST}
    return calprune.recover(place / "pruned", place / "text.txt", **asked | options)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("what", ["weights", "lora", "norms"])
def test_divergence_falls_and_only_what_is_trained_changes(place, what, tmp_path):
    report = recovered(place, what=what)
    assert all(after < report.before[name] for name, after in report.after.items()), "both texts"
    report.save(tmp_path / "out")
    before, after = stored(place / "pruned"), stored(tmp_path / "out")
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    norms = {name for name in before if name.endswith("norm.weight") and ".layers." in name}
    matrices = {name for name in before if "_proj" in name}
    assert changed == {"weights": norms | matrices, "lora": matrices, "norms": norms}[what]
    for name in matrices:
        assert torch.equal(before[name] == 0, after[name] == 0), name


def test_what_is_saved_is_the_best_and_evaluate_finds_what_the_report_says(place, tmp_path):
    report = recovered(place).save(tmp_path / "out")
    judged = calprune.evaluate(tmp_path / "out", f"kl('{place / 'other.txt'}', tokens=96, length=24)",
                               dense=place / "dense")  # fmt: skip
    assert judged.texts[0].kl.value == pytest.approx(report.after[str(place / "other.txt")], rel=1e-5)
    about = json.loads((tmp_path / "out" / "calprune.json").read_text())
    assert about["pattern"] == "2:4" and about["recovery"]["kl_after"] == report.after
    page = (tmp_path / "out" / "recovery.html").read_text()
    above = page.partition("Divergence while training")[0]
    assert "other.txt" in above and str(place) not in above, "local paths are read as file names"
    assert "trained afterwards (weights) towards" in (tmp_path / "out" / "README.md").read_text()
    difference = compare(*(open_checkpoint(folder) for folder in (place / "pruned", tmp_path / "out")))
    assert all(one.zeros[0] == one.zeros[1] for one in difference.tensors if one.zeros and "proj" in one.name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("what", ["weights", "lora"])
def test_zeros_stay_zeros_to_the_bit_under_weight_decay_and_wild_gradients(place, dtype, what):
    model = calprune.load(place / "pruned", dtype=dtype).model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = trained_of(model, what, 2, False)
    optimiser = torch.optim.AdamW(trained.leaves.values(), lr=0.1, weight_decay=0.5, fused=True)
    torch.manual_seed(0)
    for step in range(4):
        for p in trained.parameters:
            p.grad = torch.randn_like(p) * 10**step
        trained.gather()
        optimiser.step()
        trained.write()
    after = dict(model.named_parameters())
    bits = {"bfloat16": torch.int16, "float32": torch.int32}[dtype]
    for name, was in before.items():
        pruned = was == 0
        assert torch.equal(after[name].data.view(bits)[pruned], was.view(bits)[pruned]), name
        if "_proj" in name:
            assert (after[name][~pruned] != was[~pruned]).float().mean() > 0.9, f"{name} is trained"


def test_a_gradient_that_is_no_number_leaves_a_zero(place):
    model = calprune.load(place / "pruned").model
    trained = trained_of(model, "weights", 2, False)
    for p in trained.parameters:
        p.grad = torch.full_like(p, math.inf)
    trained.gather()
    weight = model.model.layers[0].mlp.down_proj.weight
    leaf = trained.leaves["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(leaf.grad == 0, weight == 0)


def test_the_dense_model_itself_has_nothing_to_get_back(place):
    report = calprune.recover(place / "dense", place / "text.txt", dense=place / "dense",
                              watch=str(place / "other.txt"), watch_tokens=96, **SIZES, **FAST)  # fmt: skip
    assert all(abs(value) < 1e-6 for value in report.before.values())
    losses = [one.loss for one in report.done.run.looks if one.loss is not None]
    assert abs(losses[0]) < 1e-4


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return 3 * torch.randn(5, 40, dtype=torch.float64), 3 * torch.randn(5, 40, dtype=torch.float64)


def test_shortened_divergence_is_that_of_the_joined_outcomes_and_whole_with_all_tokens(logits):
    dense, pruned = logits
    p, q = dense.softmax(-1), pruned.softmax(-1)
    whole = (p * (p / q).log()).sum(-1)
    assert torch.allclose(divergence(pruned, shortened(dense, None)), whole)
    assert torch.allclose(divergence(pruned, shortened(dense, 39)), whole), "one token is left, which is the rest"
    before = torch.zeros(5, dtype=torch.float64)
    for k in (1, 4, 16, 39):
        found = divergence(pruned, shortened(dense, k))
        kept = dense.topk(k).indices
        P, Q = (torch.cat([x.gather(1, kept), 1 - x.gather(1, kept).sum(1, True)], 1) for x in (p, q))
        assert torch.allclose(found, (P * (P / Q).log()).sum(-1))
        assert bool((found >= before - 1e-12).all()) and bool((found <= whole + 1e-12).all()), "it grows with k"
        before = found


@pytest.mark.parametrize("k", [None, 1, 8, 39])
def test_its_gradient_is_what_small_steps_show(logits, k):
    dense, pruned = logits
    targets = shortened(dense, k)
    assert torch.autograd.gradcheck(lambda z: divergence(z, targets), pruned.clone().requires_grad_())
    assert torch.allclose(divergence(dense, targets), torch.zeros(5, dtype=torch.float64), atol=1e-12)


def test_a_token_that_nearly_all_of_p_is_on_is_no_trouble():
    dense = torch.zeros(2, 50)
    dense[:, 7] = 200.0  # the mass of the others underflows
    pruned = torch.zeros(2, 50, requires_grad=True)
    loss = divergence(pruned, shortened(dense, 4))
    loss.sum().backward()
    assert torch.allclose(loss, torch.full((2,), math.log(50)))
    assert bool(pruned.grad.isfinite().all())


def trainer_of(place: Path, data, **options) -> Trainer:
    model = calprune.load(place / "pruned").model
    made = Trainer(Recovering(**{**FAST, **options}), model, data, list(range(len(data.tokens))))
    made.trained = trained_of(model, "weights", 2, False)
    made.dense = Dense(Head(calprune.load(place / "dense").model), data, None)
    made.narrow = made.dense.narrow = False
    return made


def gradients(made: Trainer) -> dict[str, torch.Tensor]:
    with training._trainable(made.model, made.trained.parameters):
        parts = list(made._parts(0))
        whole = sum(float(weight.sum()) for _, weight in parts)
        made.loss = sum(made._backward(sequences, weight / whole) for sequences, weight in parts)
    return {name: leaf.grad.clone() for name, leaf in made.trained.leaves.items()}


@pytest.mark.parametrize(("length", "sequences"), [(256, 2), (2048, 1), (64, 8)])
def test_a_step_has_some_tokens_whatever_the_length_of_a_sequence(length, sequences):
    data = calprune.CalibrationSet.from_tokens([[7] * length] * 12)
    assert Recovering().settled(data, torch.device("cpu")).batch == sequences
    assert Recovering(batch=3).settled(data, torch.device("cpu")).batch == 3


def test_padding_and_weights_count_as_they_say(place):
    """The loss of padded, weighted sequences is the weighted mean over what each token's own sequence gives."""
    rows = [[5, 9, 30, 41, 50, 61], [7, 8, 9], [20, 21, 22, 23]]
    weights = torch.tensor([[1, 1, 0, 2, 1, 1], [1, 3, 1, 9, 9, 9], [0, 0, 1, 0.5, 9, 9]])
    data = calprune.CalibrationSet.from_tokens(rows, weights=weights)
    made = trainer_of(place, data, batch=3)
    gradients(made)
    dense, pruned = (calprune.load(place / name).model for name in ("dense", "pruned"))
    total = counted = 0.0
    for row, weight in zip(rows, weights.tolist(), strict=True):
        with torch.no_grad():
            p, q = (m(torch.tensor([row])).logits[0].double().log_softmax(-1) for m in (dense, pruned))
        for t in range(len(row) - 1):
            total += weight[t + 1] * float((p[t].exp() * (p[t] - q[t])).sum())
            counted += weight[t + 1]
    assert made.loss == pytest.approx(total / counted, rel=1e-5)


def test_a_step_in_parts_is_a_step_at_once(place, monkeypatch):
    data = calprune.build(place / "text.txt", model=place / "dense", **SIZES)
    at_once = gradients(trainer_of(place, data, batch=8))
    monkeypatch.setitem(training.TOKENS, "cpu", 1)  # one sequence at a time
    for name, grad in gradients(trainer_of(place, data, batch=8)).items():
        assert torch.allclose(grad, at_once[name], rtol=1e-3, atol=1e-6), name


class Stopped(BaseException):
    pass


def test_a_stopped_run_goes_on_to_the_same_bits(place, tmp_path, monkeypatch):
    whole = recovered(place, resume=tmp_path / "whole")
    monkeypatch.setattr(training, "KEEP", 0.0)
    step = Trainer._step
    left = iter([True] * 7)

    def stopping(self, share):
        if not next(left, False):
            raise Stopped
        return step(self, share)

    with monkeypatch.context() as patched:
        patched.setattr(training.time, "monotonic", lambda: 0.0)  # the state is kept after each step
        patched.setattr(Trainer, "_step", stopping)
        with pytest.raises(Stopped):
            recovered(place, resume=tmp_path / "state")
    again = recovered(place, resume=tmp_path / "state")
    assert again.done.run.step == whole.done.run.step > 7
    for (name, a), (_, b) in zip(
        whole.model.model.named_parameters(), again.model.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert [one.kl for one in again.done.run.looks] == [one.kl for one in whole.done.run.looks]


def test_a_run_that_is_killed_goes_on_by_the_same_command_to_the_same_bits(place, tmp_path, programs):
    often = "import calprune.recovery.training as t; t.KEEP = 0.0; import calprune.cli as c; c.main()"
    given = {"--dense": place / "dense", "--calibration": place / "text.txt", "--num-samples": 16, "--batch": 4,
             "--max-seq-length": 24, "--watch": place / "other.txt", "--watch-tokens": 96, "--learning-rate": 3e-3,
             "--resume": tmp_path / "state", "--epochs": 30, "--out": tmp_path / "out"}  # fmt: skip
    command = ["-c", often, "recover", place / "pruned", *(word for pair in given.items() for word in pair)]
    going = programs.start(*command)
    while going.poll() is None and not (tmp_path / "state" / "state.safetensors").exists():
        time.sleep(0.01)
    going.send_signal(signal.SIGKILL)
    assert going.wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and (tmp_path / "state" / "state.safetensors").exists()
    done = programs.run(*command)
    assert done.returncode == 0, done.stderr
    recovered(place, epochs=30.0).save(tmp_path / "whole")
    for name, tensor in stored(tmp_path / "whole").items():
        assert torch.equal(tensor, stored(tmp_path / "out")[name]), name


def test_the_state_of_another_run_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP", 0.0)
    recovered(place, epochs=1.0, resume=tmp_path / "state")
    with pytest.raises(UserError, match="holds the state of another run"):
        recovered(place, epochs=2.0, resume=tmp_path / "state")


def test_a_run_that_watched_another_text_is_another_run(place, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP", 0.0)
    watched = tmp_path / "watched.txt"
    watched.write_text((place / "other.txt").read_text())
    recovered(place, epochs=1.0, watch=str(watched), resume=tmp_path / "state")
    watched.write_text(watched.read_text()[::-1])
    with pytest.raises(UserError, match="holds the state of another run"):
        recovered(place, epochs=1.0, watch=str(watched), resume=tmp_path / "state")


def test_a_damaged_state_is_begun_again(place, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP", 0.0)
    whole = recovered(place, resume=tmp_path / "state")
    path = tmp_path / "state" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-5] + b"x" * 5)
    again = recovered(place, resume=tmp_path / "state")
    assert again.after == whole.after


def test_a_rate_that_diverges_leaves_the_best_so_far(place):
    report = recovered(place, learning_rate=1e4, epochs=20.0)
    assert report.done.run.ended and report.done.run.step < report.done.run.looks[-1].step + 20
    assert report.after["held-out sequences of the set"] <= report.before["held-out sequences of the set"]
    assert any("ended early" in line for line in report.page().warnings)


@pytest.fixture
def too_high(monkeypatch):
    """The learning rate that is taken where none is given."""
    monkeypatch.setitem(training.RATES, "weights", 16 * 3e-2)


def test_a_rate_that_nobody_gave_is_lowered_until_the_watched_texts_get_better(place, too_high):
    report = recovered(place, learning_rate=None, epochs=12.0)
    made = report.done.run
    assert 1 <= made.lowered <= 4 and made.best > made.lowered and not made.ended.startswith("the loss")
    assert made.highest(report.done.how) == 16 * 3e-2 / 4**made.lowered
    assert all(after < report.before[name] for name, after in report.after.items())
    assert any("it was lowered to" in line for line in report.page().warnings)
    assert report.record()["recovery"]["learning_rate"] == made.highest(report.done.how)
    start, worse = made.looks[0].mean, [look.mean for look in made.looks[1 : made.lowered + 1]]
    assert all(mean >= start for mean in worse), "each look before a lower rate was worse than the pruned model"


def test_a_run_whose_loss_was_no_number_once_begins_again_and_can_be_saved(place, tmp_path, monkeypatch):
    step, losses = training.Trainer._step, iter([math.nan])
    monkeypatch.setattr(training.Trainer, "_step", lambda self, share: next(losses, None) or step(self, share))
    report = recovered(place, learning_rate=None, epochs=12.0)
    assert report.done.run.lowered >= 1
    report.save(tmp_path / "out")
    assert all(look.loss is None or math.isfinite(look.loss) for look in report.done.run.looks)


def test_gradients_that_are_no_numbers_make_no_step(place, monkeypatch):
    backward, wild = training.Trainer._backward, iter([math.inf])

    def once(self, sequences, weight):
        loss = backward(self, sequences, weight)
        if next(wild, None):
            next(iter(self.trained.leaves.values())).grad[:] = math.inf
        return loss

    monkeypatch.setattr(training.Trainer, "_backward", once)
    made = recovered(place, learning_rate=None, epochs=2.0).done.run  # a look after every step
    assert made.lowered >= 1 and not made.ended


@pytest.mark.parametrize("what", ["weights", "lora"])
def test_a_matrix_that_two_blocks_share_is_trained_in_half_precision_too(place, what):
    model = calprune.load(place / "pruned", dtype="bfloat16").model
    first, second = (block.mlp for block in model.model.layers[:2])
    second.down_proj = first.down_proj
    before, trained = first.down_proj.weight.clone(), trained_of(model, what, 2, False)
    optimiser = torch.optim.AdamW(trained.leaves.values(), lr=0.1, fused=True)
    for _ in range(2):
        for p in trained.parameters:
            p.grad = torch.ones_like(p)
        trained.gather()
        optimiser.step()
        trained.write()
    assert (first.down_proj.weight != before)[before != 0].float().mean() > 0.9
    assert sum("down_proj" in name for name in trained.leaves) == (1 if what == "weights" else 2)


def test_a_rate_that_was_given_is_kept_and_a_lower_one_is_named(place):
    report = recovered(place, learning_rate=256 * 3e-2, epochs=12.0)  # 16 times helped in the end on one processor
    made = report.done.run
    assert made.lowered == 0 and made.best == 0 and made.ended.endswith("looks: try a lower learning rate")
    assert report.after == report.before


def test_a_run_that_was_stopped_after_its_rate_was_lowered_goes_on_to_the_same_bits(
    place, tmp_path, monkeypatch, too_high
):
    whole = recovered(place, learning_rate=None, epochs=12.0)
    ticks = itertools.count()  # a state is kept every few steps, however fast the machine is
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(training, "KEEP", 0.0)
    write = training.KeptTraining.write

    def stopped(self, leaves, optimiser, best, about):
        write(self, leaves, optimiser, best, about)
        if about["lowered"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as inside, pytest.raises(KeyboardInterrupt):
        inside.setattr(training.KeptTraining, "write", stopped)
        recovered(place, learning_rate=None, epochs=12.0, resume=tmp_path / "state")
    again = recovered(place, learning_rate=None, epochs=12.0, resume=tmp_path / "state")
    assert again.after == whole.after and again.done.run.lowered == whole.done.run.lowered > 0


def test_a_run_that_goes_on_counts_its_steps_where_its_leaves_are(tmp_path):
    leaf = torch.ones(2, requires_grad=True)
    leaf.grad = torch.ones(2)
    optimiser = torch.optim.AdamW([leaf], fused=True)
    optimiser.step()
    kept = training.KeptTraining(tmp_path, "run")
    kept.write({"w": leaf}, optimiser, {"w": leaf.detach().clone()}, {})
    elsewhere = torch.ones(2, device="meta", requires_grad=True)  # as a GPU is: a device that is not the CPU
    again = torch.optim.AdamW([elsewhere])
    assert kept.read({"w": elsewhere}, again) is not None
    assert {one.device for one in again.state[elsewhere].values()} == {elsewhere.device}


def test_a_run_of_few_steps_trains_at_the_rate_that_nobody_gave(place, monkeypatch):
    monkeypatch.setitem(training.RATES, "weights", 3e-3)
    run_of_six = recovered(place, learning_rate=None, epochs=1.75).done.run
    assert run_of_six.step == 6 and run_of_six.lowered == 0 and run_of_six.best > 0


def test_at_the_end_of_a_run_no_rate_is_announced_that_nothing_is_trained_at(place, too_high):
    few = recovered(place, learning_rate=None, epochs=0.6).done.run  # two steps, and a look at each
    assert few.step == 2 and few.lowered == 0 and few.looks[-1].step == few.step


def test_the_rate_rises_and_falls_and_rises_again_where_training_begins_again():
    how = Recovering(learning_rate=1.0, warmup=0.1)
    assert [how.rate(share) for share in (0.0, 0.05, 0.1, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.0])
    assert how.rate(0.3, begun=0.3) == 0.0 and how.rate(0.35, begun=0.3) == pytest.approx(how.rate(0.35) / 2)
    assert how.rate(0.4, begun=0.3) == how.rate(0.4) and Recovering(learning_rate=1.0, warmup=0.0).rate(0.0) == 1.0


def test_minutes_end_a_run(place):
    report = recovered(place, epochs=1e6, minutes=0.02)
    assert report.done.run.seconds < 30 and report.done.run.step < 1e5


def test_an_adapter_beside_the_pruned_weights_gives_the_trained_model(place, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    report = recovered(place, what="lora", rank=3, keep_adapter=True).save(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(place / "pruned")
    tokens = torch.arange(3, 40)[None]
    plain = base(tokens).logits
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert isinstance(report.done.adapter, LowRank)
    report.done.adapter.write()
    expected = report.model.model(tokens).logits
    assert torch.allclose(loaded(tokens).logits, expected, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-3)
    report.done.adapter.without()
    assert torch.equal(report.model.model(tokens).logits, calprune.load(place / "pruned").model(tokens).logits)


@pytest.mark.parametrize(("pattern", "method"), [("blocks:1", "block_influence"), ("neurons:25%", "flap")])
def test_a_model_that_parts_were_taken_out_of_is_recovered_as_one_with_zeros_is(place, tmp_path, pattern, method):
    text = place / "text.txt"
    calprune.prune(place / "dense", text, method=method, pattern=pattern, **SIZES).save(tmp_path / "smaller")
    report = calprune.recover(tmp_path / "smaller", text, dense=place / "dense", watch=str(place / "other.txt"),
                              watch_tokens=96, **SIZES, **FAST | {"learning_rate": 5e-4})  # fmt: skip
    assert all(after < report.before[name] for name, after in report.after.items()), (report.before, report.after)
    report.save(tmp_path / "out")
    before, after = stored(tmp_path / "smaller"), stored(tmp_path / "out")
    assert {name: tensor.shape for name, tensor in before.items()} == {name: t.shape for name, t in after.items()}
    judged = calprune.evaluate(tmp_path / "out", f"kl('{place / 'other.txt'}', tokens=96, length=24)",
                               dense=place / "dense")  # fmt: skip
    assert judged.texts[0].kl.value == pytest.approx(report.after[str(place / "other.txt")], rel=1e-5)
    with pytest.raises(UserError, match=r"different shapes: .* wants the model that was pruned"):
        calprune.compensate(tmp_path / "smaller", text, dense=place / "dense", **SIZES)
    with pytest.raises(UserError, match=r"has more parameters than .* wants the model that was pruned"):
        calprune.recover(place / "dense", text, dense=tmp_path / "smaller", **SIZES)


def test_what_does_not_fit_is_one_line(place, tmp_path):
    config = CONFIGS["llama"]()
    config.vocab_size, config.hidden_size = len(toy_tokenizer()), 2 * config.hidden_size
    save(random_model(config), toy_tokenizer(), tmp_path / "wide")
    save(calprune.load(place / "dense").model, toy_tokenizer(adds_begin=False), tmp_path / "words")
    with pytest.raises(UserError, match=r"different shapes: .* wants the model that was pruned"):
        recovered(place, dense=tmp_path / "wide")
    with pytest.raises(UserError, match=r"tokenizer of .* is another"):
        recovered(place, dense=tmp_path / "words")
    alien = calprune.build(place / "text.txt", model=tmp_path / "words", **SIZES)
    with pytest.raises(UserError, match="built with another tokenizer"):
        calprune.recover(place / "pruned", alien, dense=place / "dense")
    few = calprune.CalibrationSet.from_tokens([[3, 4, 5]] * 3)
    with pytest.raises(UserError, match="needs 4 sequences"):
        calprune.recover(place / "pruned", few, dense=place / "dense")
    with pytest.raises(UserError, match="learning_rate: expected a number above 0"):
        recovered(place, learning_rate=0.0)
    with pytest.raises(UserError, match="keep_adapter goes with what 'lora'"):
        recovered(place, keep_adapter=True)


def test_too_little_memory_is_said_before_the_work(place, monkeypatch):
    from calprune.recovery import job

    monkeypatch.setattr(job, "free_memory", lambda device: 1000)
    with pytest.raises(UserError, match=r"training takes about .* GB beside the two models"):
        recovered(place)


def test_the_command_writes_what_transformers_loads_and_says_what_came_back(place, tmp_path, run):  # noqa: F811
    from transformers import AutoModelForCausalLM

    status, out, err = run(
        "recover", str(place / "pruned"), "--dense", str(place / "dense"), "--calibration", str(place / "text.txt"),
        "--num-samples", "16", "--max-seq-length", "24", "--watch", str(place / "other.txt"), "--watch-tokens", "96",
        "--learning-rate", "3e-3", "--batch", "4", "--out", str(tmp_path / "out"))  # fmt: skip
    assert status == 0, err
    assert "came back" in out and "unchanged" in out
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(
        loaded.model.layers[0].mlp.up_proj.weight, stored(tmp_path / "out")["model.layers.0.mlp.up_proj.weight"]
    )


def test_targets_are_shortened_by_position():
    whole = Targets(torch.zeros(6, 3), torch.zeros(6, 3, dtype=torch.long), torch.zeros(6))
    part = whole.part(slice(2, 5))
    assert (len(part.log_p), len(part.tokens), len(part.rest)) == (3, 3, 3)


def test_the_numbers_of_the_answer_have_like_digits(place):
    report = recovered(place)
    sizes = report.done.run.looks
    sizes[0] = replace(sizes[0], kl=dict(zip(sizes[0].kl, (1.245, 0.65561), strict=True)))
    best = report.done.run.best
    sizes[best] = replace(sizes[best], kl=dict(zip(sizes[best].kl, (0.66789, 0.63421), strict=True)))
    (said,) = report.page().answer
    assert "from 1.245 to 0.668 nats a token" in said and "from 0.656 to 0.634 nats a token" in said
