"""Studies of what is taken out: patterns like any other, each with the methods that are for it."""

import pytest
import torch

import calprune
from calprune.base.values import ConfigError, UserError
from calprune.layers.saved import Statistics
from calprune.models.load import load
from calprune.removal.sums import add_units, held_experts, held_states
from calprune.studies.axes import fits
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from tests.removal_families import tiny
from tests.test_evaluate import word_tokenizer
from tests.test_removal import data, deep_model, job, own_cache  # noqa: F401
from tests.test_study import material, run, study_text  # noqa: F401  a fixture among them
from tests.tiny import save


def test_each_pattern_is_tried_with_the_methods_that_are_for_it(material, tmp_path):  # noqa: F811
    text = study_text(material, methods="[magnitude, wanda, flap, block_influence, angular]",
                    patterns='["50%", "neurons:25%", "blocks:1"]', draws="1")  # fmt: skip
    pairs = {(t.setting["method"], t.setting["pattern"]) for t in parse_study(text, "study.yaml").trials()}
    assert pairs == {
        ("magnitude", "50%"), ("wanda", "50%"), ("magnitude", "neurons:25%"), ("wanda", "neurons:25%"),
        ("flap", "neurons:25%"), ("block_influence", "blocks:1"), ("angular", "blocks:1")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "patterns", "said"),
    [
        ("[wanda, flap]", '["50%"]', "flap is for none of the patterns"),
        ("[wanda]", '["50%", "blocks:1"]', "none of the methods wanda is for blocks:1"),
    ],
)
def test_what_goes_with_nothing_is_named(material, methods, patterns, said):  # noqa: F811
    with pytest.raises(ConfigError, match=said):
        parse_study(study_text(material, methods=methods, patterns=patterns), "study.yaml")


def test_a_study_is_refused_before_its_work_where_the_model_has_no_such_units(material, tmp_path):  # noqa: F811
    text = study_text(material, methods="[random]", patterns='["experts:1"]')
    with pytest.raises(UserError, match="says nothing of experts"):
        run(text, tmp_path / "runs")


def test_trials_judge_the_smaller_model(material, tmp_path):  # noqa: F811
    text = study_text(material, methods="[wanda, block_influence]", patterns='["neurons:25%", "blocks:1"]')
    run(text, tmp_path / "runs")
    rows = read(tmp_path / "runs").rows
    assert len(rows) == 2 * 2 * 2 * 2  # methods with their pattern, calibrations, draws, evaluations
    model = load(material["model"])
    made = calprune.build(material["text"], model=model, num_samples=4, max_seq_length=16, seed=0)
    for method, pattern in (("wanda", "neurons:25%"), ("block_influence", "blocks:1")):
        one = next(
            r for r in rows if (r.method, r.pattern, r.draw, r.metric) == (method, pattern, 0, "perplexity")
            and r.calibration == material["text"]
        )  # fmt: skip
        report = calprune.prune(model, made, method=method, pattern=pattern, propagate="dense", progress=False)
        judged = f"perplexity({material['text']}, tokens=64, length=16)"
        found = calprune.evaluate(report.model, judged, progress=False)["perplexity"]
        assert one.value == pytest.approx(found.value, rel=1e-6)


def test_the_names_of_trials_hold_what_a_pattern_makes_of_a_method(material):  # noqa: F811
    """wanda is one thing for zeros and another for neurons: each has its own version."""
    text = study_text(material, methods="[wanda]", patterns='["50%", "neurons:25%"]', draws="1")
    tags = {type(t.job.method).__name__ for t in parse_study(text, "study.yaml").trials()}
    assert tags == {"Wanda", "WandaOfUnits"}
    assert fits("wanda", "50%") and fits("wanda", "heads:1") and not fits("wanda", "blocks:1")
    assert not fits("sparsegpt", "neurons:25%") and fits("my_module:Mine", "50%")


def test_sums_over_blocks_and_experts_are_saved_added_and_chosen_by(tmp_path):
    save(tiny("mixtral"), word_tokenizer(), tmp_path / "dense")
    model = load(str(tmp_path / "dense"))
    sums = calprune.collect(model, data(), needs="nothing", units=["blocks", "experts"], progress=False)
    sums.save(tmp_path / "sums")
    read_again = Statistics.load(tmp_path / "sums")
    for method, pattern in (("reap", "experts:25%"), ("man", "experts:25%"), ("block_influence", "blocks:1")):
        one, other = (
            calprune.prune(model, given, method=method, pattern=pattern, progress=False)
            for given in (data(), read_again)
        )
        assert [c.stay for c in one.choices] == [c.stay for c in other.choices]
        assert one.choices[0].scores == pytest.approx(other.choices[0].scores, rel=1e-5)
    with pytest.raises(UserError, match="hold no sums over experts: collect them with --units experts"):
        job("reap", "experts:1").run(model.model, Statistics("nothing", {}))


def test_sums_of_two_sets_are_those_of_both_together():
    model = tiny("mixtral")
    parts, both = [], Statistics("nothing", {})
    sets = [data(seed=1, rows=4), data(seed=2, rows=4)]
    for one in sets:
        parts.append(Statistics("nothing", {}))
        for kind in ("blocks", "experts"):
            add_units(parts[-1], model, one, kind)
    from calprune.calibration.set import CalibrationSet

    joined = CalibrationSet.from_tokens(
        torch.cat([one.tokens for one in sets]), torch.cat([one.lengths for one in sets])
    )
    for kind in ("blocks", "experts"):
        add_units(both, model, joined, kind)
    total = parts[0] + parts[1]
    assert torch.allclose(held_states(total).influence, held_states(both).influence, rtol=1e-5)
    for name in [n for n in both.units if n.endswith("/0/together")]:
        halves = [sum(s.units[name.replace("/0/", f"/{h}/")] for h in (0, 1)) for s in (total, both)]
        assert torch.allclose(*halves)
    twice = 2.0 * total
    name = next(n for n in total.units if n.endswith("/0/largest"))
    assert torch.equal(twice.units[name], total.units[name])


def test_sums_of_blocks_choose_every_number_of_them():
    """Collected once, decided for any count."""
    model, sets = deep_model(), data()
    sums = Statistics("nothing", {})
    add_units(sums, model, sets, "blocks")
    for count in (1, 2, 3):
        for method in ("block_influence", "angular"):
            one, other = (job(method, f"blocks:{count}").run(model, given) for given in (sets, sums))
            assert one.choices[0].gone == other.choices[0].gone
    assert held_experts(sums, {}) == {}


@pytest.mark.parametrize(
    ("method", "pattern"), [("wanda", "neurons:25%"), ("block_influence", "blocks:1"), ("reap", "experts:1")]
)
def test_two_sets_are_compared_by_the_units_that_they_keep(method, pattern):
    from calprune.likeness.sets import SetComparison
    from calprune.likeness.verdict import summarise

    model = tiny("mixtral")
    asked = job(method, pattern)
    sets = {"a": data(seed=1, rows=8), "b": data(seed=2, rows=8)}
    comparison = SetComparison(asked, sets)
    found = list(comparison.blocks(model))
    both = either = 0
    for one, other in zip(*(asked.run(model, given).choices for given in sets.values()), strict=True):
        both += len(set(one.stay) & set(other.stay))
        either += len(set(one.stay) | set(other.stay))
    summary = summarise(comparison, found)
    assert summary.kept_iou == pytest.approx(both / either)
    assert f"of the {pattern.partition(':')[0]}" in summary.verdict and summary.sets[0].halves
    same_set = SetComparison(asked, {"a": sets["a"], "again": sets["a"]}, halves=False)
    assert summarise(same_set, list(same_set.blocks(model))).kept_iou == 1.0


def test_choosing_blocks_by_running_the_model_is_too_much_for_a_comparison():
    from calprune.likeness.sets import SetComparison

    with pytest.raises(UserError, match="name block_influence or angular"):
        SetComparison(job("kl", "blocks:1"), {"a": data(), "b": data(seed=1)})


def test_a_report_has_patterns_of_removal_in_order_and_says_what_they_give(material, tmp_path):  # noqa: F811
    from calprune.report.findings import Findings
    from calprune.report.page import page
    from calprune.report.settings import in_order

    text = study_text(
        material,
        methods="[wanda, magnitude, block_influence]",
        patterns='["50%", "neurons:25%", "neurons:8", "blocks:1"]',
        evaluations=f'["perplexity({material["text"]}, tokens=64, length=16)"]',
    )
    run(text, tmp_path / "runs")
    results = read(tmp_path / "runs")
    found = page(Findings(results)).text()
    assert "neurons:25%" in found and "blocks:1" in found and "any runtime that reads it" in " ".join(found.split())
    assert in_order(["blocks:1", "neurons:8", "2:4", "neurons:25%", "50%", "blocks:25%"]) == [
        "50%", "2:4", "blocks:25%", "blocks:1", "neurons:25%", "neurons:8"
    ]  # fmt: skip


def test_a_name_of_both_kinds_is_what_the_pattern_makes_of_it_however_it_is_written(material):  # noqa: F811
    """`wanda()` is `wanda`: at 50% it zeroes weights, at neurons:25% it takes neurons out."""
    text = study_text(material, methods="[wanda, wanda(), magnitude()]", patterns='["50%", "neurons:25%"]', draws="1")
    trials = list(parse_study(text, "study.yaml").trials())
    kinds = sorted({(t.setting["pattern"], type(t.job.method).__name__) for t in trials})
    assert kinds == [
        ("50%", "Magnitude"), ("50%", "Wanda"), ("neurons:25%", "MagnitudeOfUnits"), ("neurons:25%", "WandaOfUnits")
    ]  # fmt: skip
    alone = study_text(material, methods="[wanda, magnitude]", patterns='["50%", "neurons:25%"]', draws="1")
    assert {t.draft_id for t in trials} == {t.draft_id for t in parse_study(alone, "study.yaml").trials()}
    assert len({t.draft_id for t in trials}) == len(trials)


def test_an_option_that_a_method_has_for_units_alone_is_refused_where_weights_are_zeroed(material):  # noqa: F811
    with pytest.raises(ConfigError, match=r"wanda\(update=true\) is for none of the patterns 50%"):
        parse_study(study_text(material, methods="[wanda, wanda(update=true)]", patterns='["50%"]'), "study.yaml")
    with pytest.raises(ConfigError, match="unknown option 'updat'"):
        parse_study(study_text(material, methods="[wanda(updat=true)]", patterns='["neurons:25%"]'), "study.yaml")
    taken = study_text(material, methods="[magnitude(update=true)]", patterns='["neurons:25%"]', draws="1")
    assert all(t.recipe and t.job.method.update for t in parse_study(taken, "study.yaml").trials())
