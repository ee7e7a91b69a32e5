"""Units taken out: the smaller model is an ordinary one, and gives what the dense one gives without them."""

import json

import pytest
import torch
import transformers as t

import calprune
from calprune.base.patterns import PatternError, Removal, parse_any
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.models.load import load
from calprune.removal import REMOVALS, methods_for, parse_removal_method
from calprune.removal.job import Removing
from calprune.removal.masked import prove
from calprune.removal.methods.contract import highest
from calprune.removal.smaller import Cut, Outline
from tests.families import CONFIGS, VOCABULARY, WRAPPERS
from tests.removal_families import DENSE, EVERY, tiny
from tests.test_evaluate import word_tokenizer
from tests.tiny import save

FEED_FORWARD = [*CONFIGS.keys() - {"bloom"}, *DENSE, *WRAPPERS]  # Bloom's width is no field of its config


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


def data(seed: int = 0, rows: int = 6, length: int = 24) -> CalibrationSet:
    tokens = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    return CalibrationSet.from_tokens(tokens, torch.tensor([length, length - 7, *[length] * (rows - 2)]))


def job(method: str, pattern: str, **options) -> Removing:
    removal = parse_any(pattern)
    assert isinstance(removal, Removal)
    return Removing(parse_removal_method(method, removal), removal, **options)


@torch.no_grad()
def logits(model) -> torch.Tensor:
    tokens = torch.randint(3, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(9))
    return model(input_ids=tokens, use_cache=False).logits


def loaded_again(folder, dense, pattern: str, method: str):
    """Taken out of a checkpoint, saved, and loaded by transformers alone, with the report."""
    save(dense, word_tokenizer(), folder / "dense")
    report = calprune.prune(folder / "dense", method=method, pattern=pattern, progress=False).save(folder / "smaller")
    auto = t.AutoModelForCausalLM if "Conditional" not in type(dense).__name__ else t.AutoModelForImageTextToText
    model, info = auto.from_pretrained(folder / "smaller", output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return model.eval(), report


def zero_units(model, report) -> None:
    """The columns that read the removed units become zero."""
    name, blocks = find_blocks(model)
    sites = {f"{name}.{i}.{site.name}": site for i, block in enumerate(blocks) for site in linears(block)}
    for one in report.choices:
        weight = sites[one.place].weight
        each = weight.shape[1] // one.units
        for unit in one.gone:
            weight[:, unit * each : (unit + 1) * each] = 0


def skip_blocks(model, gone) -> None:
    """The blocks hand on what they are given."""
    for i in gone:
        block = find_blocks(model)[1][i]
        original = block.forward

        def forward(hidden, *args, original=original, **kwargs):
            out = original(hidden, *args, **kwargs)
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        block.forward = forward


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


@pytest.mark.parametrize("family", sorted(FEED_FORWARD))
def test_a_model_with_fewer_neurons_gives_what_the_dense_one_gives_with_them_zeroed(family, tmp_path):
    dense = tiny(family)
    smaller, report = loaded_again(tmp_path, dense, "neurons:25%", "random")
    before = logits(dense)
    zero_units(dense, report)
    assert sum(p.numel() for p in smaller.parameters()) == report.description["parameters"]["smaller"]
    assert same(logits(smaller), logits(dense)) and not same(logits(smaller), before)


@pytest.mark.parametrize("family", sorted([*CONFIGS, *DENSE, *WRAPPERS]))
def test_a_model_with_fewer_blocks_gives_what_the_dense_one_gives_without_them(family, tmp_path):
    dense = tiny(family)
    smaller, report = loaded_again(tmp_path, dense, "blocks:1", "random(seed=1)")
    before = logits(dense)
    skip_blocks(dense, report.choices[0].gone)
    assert len(find_blocks(smaller)[1]) == 1
    assert same(logits(smaller), logits(dense)) and not same(logits(smaller), before)


HEADS = ["llama", "gemma2", "phi3", "qwen3", "deepseek_v3", "gpt_oss", "starcoder2", "mixtral"]


@pytest.mark.parametrize("family", HEADS)
def test_a_model_with_fewer_heads_gives_what_the_dense_one_gives_with_them_zeroed(family, tmp_path):
    dense = tiny(family)
    smaller, report = loaded_again(tmp_path, dense, "heads:50%", "random")
    before = logits(dense)
    zero_units(dense, report)
    assert same(logits(smaller), logits(dense)) and not same(logits(smaller), before)


@pytest.mark.parametrize("pattern", ["neurons:25%", "heads:50%", "blocks:1"])
def test_the_dense_model_is_as_it_was(pattern):
    model = tiny("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    job("random", pattern).run(model)
    if not pattern.startswith("blocks"):
        job("obs", pattern, propagate="pruned").run(model, data())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_other_neurons_are_another_model():
    """The proof sees a unit that is not the one said to stay."""
    model, removal = tiny("llama"), Removal("neurons", share=0.25)
    outline = Outline.of(model, removal)
    places = outline.places()
    cut = Cut((0, 1), {name: torch.arange(one.stay) for name, one in places.items()})
    smaller = outline.filled(cut)
    wrong = Cut((0, 1), {name: torch.arange(one.units - one.stay, one.units) for name, one in places.items()})
    assert prove(model, smaller, removal, cut, places) < 1e-6
    with pytest.raises(ModelError, match="is not the smaller model of its config"):
        prove(model, smaller, removal, wrong, places)


def inputs_of(model, sets: CalibrationSet, ending: str) -> dict[str, torch.Tensor]:
    """What each linear of this name reads of real tokens, in float64."""
    name, blocks = find_blocks(model)
    found: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for i, block in enumerate(blocks):
        site = next(s for s in linears(block) if s.name.endswith(ending))

        def keep(module, args, key=f"{name}.{i}.{site.name}"):
            found.setdefault(key, []).append(args[0].double()[0])

        hooks.append(site.module.register_forward_pre_hook(keep))
    with torch.no_grad():
        for row, length in zip(sets.tokens, sets.lengths, strict=True):
            model(input_ids=row[None, :length], use_cache=False)
    for hook in hooks:
        hook.remove()
    return {key: torch.cat(rows) for key, rows in found.items()}


def matrix(model, place: str) -> torch.Tensor:
    return model.get_parameter(f"{place}.weight").detach().double()


def in_float64(method: str, W: torch.Tensor, X: torch.Tensor, units: int) -> torch.Tensor:
    """Each unit's score as the paper or the released code has it."""
    each = W.shape[1] // units
    if method == "magnitude":
        of_channels = W.abs().sum(0)
    elif method == "wanda":
        of_channels = W.abs().sum(0) * X.square().mean(0).sqrt()
    else:
        of_channels = W.square().sum(0) * X.var(0, correction=0)
        of_channels = of_channels if each == 1 else of_channels.square()
    return of_channels.reshape(units, each).sum(1)


@pytest.mark.parametrize("method", ["magnitude", "wanda", "flap"])
@pytest.mark.parametrize(("pattern", "ending", "units"), [("neurons:25%", "down_proj", 64), ("heads:50%", "o_proj", 2)])
def test_scores_of_neurons_and_heads_are_those_worked_out_in_float64(method, pattern, ending, units):
    model, sets = tiny("llama"), data()
    done = job(method, pattern).run(model, sets)
    for place, X in inputs_of(model, sets, ending).items():
        expected = in_float64(method, matrix(model, place), X, units)
        choice = next(one for one in done.choices if one.place == place)
        assert torch.allclose(torch.tensor(choice.scores, dtype=torch.double), expected, rtol=1e-4)
        assert list(choice.stay) == highest(expected, len(choice.stay)).tolist()


def removed_one_by_one(W: torch.Tensor, X: torch.Tensor, units: int, gone: int) -> tuple[list[int], torch.Tensor]:
    """OBS with no shortcut: each round, the unit without which the best fit of what is left has the least loss."""
    each = W.shape[1] // units
    H = X.T @ X / len(X)
    H = H + 0.01 * H.diagonal().mean() * torch.eye(len(H), dtype=torch.double)
    left = [*range(units)]

    def fit(stay: list[int]) -> tuple[float, torch.Tensor]:
        at = torch.tensor([u * each + k for u in stay for k in range(each)])
        refitted = torch.linalg.solve(H[at][:, at], (W @ H[:, at]).T).T
        full = torch.zeros_like(W)
        full[:, at] = refitted
        off = W - full
        return float(((off @ H) * off).sum()), refitted

    for _ in range(gone):
        left.remove(min(left, key=lambda u: fit([v for v in left if v != u])[0]))
    return left, fit(left)[1]


@pytest.mark.parametrize(("pattern", "ending", "units"), [("neurons:8", "down_proj", 64), ("heads:50%", "o_proj", 2)])
def test_obs_removes_what_a_search_over_best_fits_removes(pattern, ending, units):
    model, sets = tiny("llama"), data(rows=12)
    done = job("obs(rounds=1000)", pattern).run(model, sets)
    for place, X in inputs_of(model, sets, ending).items():
        choice = next(one for one in done.choices if one.place == place)
        left, fitted = removed_one_by_one(matrix(model, place), X, units, len(choice.gone))
        assert list(choice.stay) == left
        assert torch.allclose(matrix(done.smaller, place), fitted, rtol=1e-3, atol=1e-4 * float(fitted.abs().max()))


@pytest.mark.parametrize("method", ["magnitude(update=true)", "wanda(update=true)", "flap(update=true, bias=false)"])
def test_an_update_is_the_least_squares_fit_of_what_stays(method):
    model, sets = tiny("llama"), data(rows=12)
    done = job(method, "neurons:25%").run(model, sets)
    for place, X in inputs_of(model, sets, "down_proj").items():
        H = X.T @ X / len(X)
        H = H + 0.01 * H.diagonal().mean() * torch.eye(len(H), dtype=torch.double)
        at = torch.tensor(next(one for one in done.choices if one.place == place).stay)
        expected = torch.linalg.solve(H[at][:, at], (matrix(model, place) @ H[:, at]).T).T
        assert torch.allclose(matrix(done.smaller, place), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_flap_gives_the_bias_what_the_removed_neurons_give_on_average(family):
    model, sets = tiny(family), data()
    done = job("flap", "neurons:25%").run(model, sets)
    assert not done.notes
    ending = "down_proj" if family == "llama" else "mlp.c_proj"
    for place, X in inputs_of(model, sets, ending).items():
        block, _, name = place.rpartition(".")
        site = next(s for s in linears(model.get_submodule(block)) if s.name == name)
        after = next(s for s in linears(done.smaller.get_submodule(block)) if s.name == name)
        choice = next(one for one in done.choices if one.place == place)
        lost = site.weight.double()[:, choice.gone] @ X.mean(0)[choice.gone]
        before = 0.0 if site.bias is None else site.bias.double()
        assert after.bias is not None and torch.allclose(after.bias.double(), before + lost, rtol=1e-4, atol=1e-5)


def states(model, sets: CalibrationSet) -> list[list[torch.Tensor]]:
    """Of each sequence, the states before the first block and after each, in float64."""
    found = []
    for row, length in zip(sets.tokens, sets.lengths, strict=True):
        seen: list[torch.Tensor] = []
        first = find_blocks(model)[1][0]

        def keep(of: torch.Tensor | tuple, seen: list[torch.Tensor] = seen) -> None:
            seen.append((of[0] if isinstance(of, tuple) else of).reshape(-1, 32).double())

        hooks = [first.register_forward_pre_hook(lambda m, args, keep=keep: keep(args))]
        hooks += [
            block.register_forward_hook(lambda m, a, out, keep=keep: keep(out)) for block in find_blocks(model)[1]
        ]
        with torch.no_grad():
            model(input_ids=row[None, :length], use_cache=False)
        for hook in hooks:
            hook.remove()
        found.append(seen)
    return found


def deep_model(blocks: int = 5):
    config = EVERY["llama"]()
    config.num_hidden_layers = blocks
    from tests.families import random_model

    return random_model(config)


def test_block_influence_is_one_minus_the_mean_cosine_over_tokens():
    model, sets = deep_model(), data()
    done = job("block_influence", "blocks:2").run(model, sets)
    found = states(model, sets)
    expected = []
    for i in range(5):
        alike = torch.cat([torch.cosine_similarity(s[i], s[i + 1], dim=-1) for s in found])
        expected.append(1 - float(alike.mean()))
    assert done.choices[0].scores == pytest.approx(expected, rel=1e-4)
    assert done.choices[0].gone == sorted(sorted(range(5), key=lambda i: expected[i])[:2])


def test_angular_removes_the_run_that_turns_the_last_token_least():
    model, sets = deep_model(), data()
    done = job("angular", "blocks:2").run(model, sets)
    angles = []
    for first in range(4):
        cosines = [torch.cosine_similarity(s[first][-1], s[first + 2][-1], dim=0) for s in states(model, sets)]
        angles.append(float((torch.stack(cosines).arccos() / torch.pi).mean()))
    first = angles.index(min(angles))
    assert done.choices[0].gone == [first, first + 1]


def test_greedy_removes_the_block_without_which_the_divergence_is_least():
    model, sets = deep_model(4), data(rows=3)
    done = job("kl(sequences=3)", "blocks:1").run(model, sets)
    length = int(sets.lengths.min())
    windows = sets.tokens[:, :length]
    with torch.no_grad():
        p = model(input_ids=windows).logits.double().log_softmax(-1)[:, :-1]
    losses = []
    for i in range(4):
        other = deep_model(4)
        skip_blocks(other, [i])
        with torch.no_grad():
            q = other(input_ids=windows).logits.double().log_softmax(-1)[:, :-1]
        losses.append(float((p.exp() * (p - q)).sum(-1).mean()))
    assert done.choices[0].gone == [losses.index(min(losses))]


def test_a_search_is_never_worse_than_its_first_draw_and_costs_what_greedy_costs():
    calls: list[tuple[int, ...]] = []

    def loss(removed: tuple[int, ...]) -> float:
        calls.append(removed)
        return float(sum(abs(i - 4.5) for i in removed))  # the middle ones are worth least

    method = parse_removal_method("evolve(offspring=4)", Removal("blocks", count=3))
    found = method(loss, 10, 3)
    assert len(calls) == len(set(calls)) == method.passes(10, 3) == 10 + 9 + 8
    assert loss(tuple(found)) == min(map(loss, calls[:-1])) <= loss(calls[0])


def test_sums_that_were_saved_choose_as_the_data_does(tmp_path):
    save(tiny("llama"), word_tokenizer(), tmp_path / "dense")
    model, sets = load(str(tmp_path / "dense")), data()
    sums = calprune.collect(model, sets, needs="gram", progress=False)
    for method in ("wanda", "flap", "obs"):
        one, other = (
            calprune.prune(model, given, method=method, pattern="neurons:25%", propagate="dense", progress=False)
            for given in (sets, sums)
        )
        assert [c.stay for c in one.choices] == [c.stay for c in other.choices]


def test_config_json_keeps_what_other_programs_read(tmp_path):
    """Only the numbers of units change."""
    loaded_again(tmp_path, tiny("gpt2"), "neurons:25%", "random")
    before, after = (json.loads((tmp_path / at / "config.json").read_text()) for at in ("dense", "smaller"))
    assert after["n_inner"] == 96 and before["n_inner"] is None
    assert before | {"n_inner": 96} == after


def test_a_card_says_what_was_removed(tmp_path):
    _, report = loaded_again(tmp_path, tiny("llama"), "neurons:25%", "magnitude")
    text = (tmp_path / "smaller" / "README.md").read_text()
    assert "16 of 64 neurons in each of 2 feed-forward networks" in text and "zeros are stored" not in text
    assert f"{report.description['parameters']['smaller']:,}" in text
    assert json.loads((tmp_path / "smaller" / "calprune.json").read_text())["removed"]["kind"] == "neurons"


def test_two_by_four_follows(tmp_path):
    """A smaller model is pruned like any other."""
    loaded_again(tmp_path, tiny("llama"), "neurons:25%", "random")
    again = calprune.prune(tmp_path / "smaller", method="magnitude", pattern="2:4", progress=False)
    assert again.sparsity == 0.5


REFUSED = [
    ("llama", "experts:25%", "random", "says nothing of experts"),
    ("mixtral", "experts:3", "random", "the router sends each token to 2"),
    ("deepseek_v3", "experts:3", "random", "2 groups that stay equal"),
    ("llama", "heads:25%", "random", "no whole number"),
    ("olmo2", "heads:50%", "random", "a norm over all heads"),
    ("bloom", "neurons:25%", "random", "says nothing of neurons"),
    ("mamba", "neurons:25%", "random", "is not the smaller model"),
    ("llama", "blocks:2", "random", "takes 2 of 2 blocks"),
    ("llama", "blocks:25%", "block_influence", "takes 0 of 2 blocks"),
    ("llama", "neurons:64", "random", "1 that stays"),
]


@pytest.mark.parametrize(("family", "pattern", "method", "said"), REFUSED)
def test_what_cannot_be_removed_is_one_line(family, pattern, method, said):
    with pytest.raises(UserError, match=said) as e:
        job(method, pattern).run(tiny(family), data())
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nurons:25%", "did you mean 'neurons'"),
        ("neurons", 'write how many neurons go: "neurons:25%"'),
        ("neurons:", 'write it like "neurons:25%"'),
        ("neurons:0.25", 'write it like "neurons:25%"'),
        ("blocks:0", "at least 1"),
        ("blocks:100%", "below 1"),
    ],
)
def test_a_pattern_that_cannot_be_read_says_how_to_write_it(text, said):
    with pytest.raises(PatternError, match=said):
        parse_any(text)


def test_a_method_that_cannot_names_those_that_can():
    with pytest.raises(PatternError, match="write --method angular, block_influence, evolve, kl or random"):
        job("flap", "blocks:1")
    with pytest.raises(PatternError, match="sparsegpt zeroes weights"):
        job("sparsegpt", "neurons:25%")
    kinds = ("blocks", "neurons", "heads", "experts")
    assert {name for kind in kinds for name in methods_for(Removal(kind, count=1))} == {*REMOVALS}


def test_what_belongs_to_zeros_is_refused(tmp_path):
    save(tiny("llama"), word_tokenizer(), tmp_path / "dense")
    for option in ({"ignore": ["*.down_proj"]}, {"permute": "heuristic"}, {"allocation": "owl"}):
        with pytest.raises(UserError, match="leave it out"):
            calprune.prune(tmp_path / "dense", method="random", pattern="neurons:25%", progress=False, **option)


def test_a_checkpoint_of_several_files_stays_one_in_its_own_precisions(tmp_path):
    """Names, files and precisions are those of the dense checkpoint."""
    from calprune.models.checkpoint import open_checkpoint
    from calprune.models.load import quiet_transformers

    dense = tiny("mixtral").to(torch.bfloat16)
    for block in find_blocks(dense)[1]:
        block.input_layernorm.float()
    with quiet_transformers():
        dense.save_pretrained(tmp_path / "dense", max_shard_size="20KB")
    word_tokenizer().save_pretrained(tmp_path / "dense")
    calprune.prune(tmp_path / "dense", method="aimer", pattern="experts:2", progress=False).save(tmp_path / "smaller")
    before, after = (open_checkpoint(tmp_path / name) for name in ("dense", "smaller"))
    assert len(before.files) > 1 and {f.name for f in after.files} <= {f.name for f in before.files}
    assert set(after.tensors) < set(before.tensors) and {t.dtype for t in after.tensors.values()} == {"BF16", "F32"}
    for name, tensor in after.tensors.items():
        assert (tensor.dtype, tensor.file.name) == (before.tensors[name].dtype, before.tensors[name].file.name)
    model, info = t.AutoModelForCausalLM.from_pretrained(tmp_path / "smaller", output_loading_info=True)
    assert not info["missing_keys"] and model.config.num_local_experts == 2


def test_a_checkpoint_of_the_bare_decoder_keeps_its_names(tmp_path):
    from calprune.models.checkpoint import open_checkpoint
    from calprune.models.load import quiet_transformers

    dense = tiny("llama")
    dense.lm_head.weight = dense.model.embed_tokens.weight
    dense.config.tie_word_embeddings = True
    with quiet_transformers():
        dense.model.save_pretrained(tmp_path / "dense")
    word_tokenizer().save_pretrained(tmp_path / "dense")
    report = calprune.prune(tmp_path / "dense", data(), method="flap", pattern="neurons:25%", progress=False)
    report.save(tmp_path / "smaller")
    names = set(open_checkpoint(tmp_path / "smaller").tensors)
    assert "layers.0.mlp.down_proj.weight" in names and "layers.0.mlp.down_proj.bias" in names
    model, info = t.AutoModelForCausalLM.from_pretrained(tmp_path / "smaller", output_loading_info=True)
    assert not info["missing_keys"] and same(logits(model.float().eval()), logits(report.model.model))


def test_later_blocks_are_chosen_by_what_the_smaller_model_gives_its_biases_included():
    torch.manual_seed(0)
    dense = tiny("llama")
    with torch.no_grad():
        for one in dense.parameters():
            if one.dim() == 2:
                one.mul_(5)  # else what goes changes little
    given = CalibrationSet.from_tokens(torch.randint(3, VOCABULARY, (16, 32)))
    done = job("flap", "neurons:50%", propagate="pruned").run(dense, given)
    last, read = find_blocks(done.smaller)[1][-1].mlp.down_proj, []
    handle = last.register_forward_pre_hook(lambda module, args: read.append(args[0].flatten(0, 1)))
    assert find_blocks(done.smaller)[1][0].mlp.down_proj.bias.norm() > 0
    with torch.no_grad():
        done.smaller(input_ids=given.tokens)
    handle.remove()
    choice = done.choices[-1]
    scores = last.weight.square().sum(0) * torch.cat(read).var(0, correction=0)  # FLAP's, of the neurons that stay
    torch.testing.assert_close(torch.tensor(choice.scores)[list(choice.stay)].float(), scores, rtol=1e-3, atol=1e-6)
