"""From a question to the pruned model: the gate, the verdict, what is on the disk, going on where it was stopped."""

import gc
import importlib
import json
import math
import os
import shlex
import shutil
import sys
import weakref
from collections import Counter, defaultdict
from dataclasses import astuple, replace

import pytest
import torch
import transformers
import yaml

from calprune.base.values import ConfigError, UserError
from calprune.calibration.build import make_set
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.choosing import verdict as final
from calprune.choosing.answer import OVERALL, UNIFORM, FinalVerdict, Gate, GateRow, Halving, SetContrast
from calprune.choosing.job import Job, spec_of
from calprune.choosing.page import answer, commands, headline
from calprune.choosing.question import parse_capabilities
from calprune.choosing.trials import Clock
from calprune.pages.numbers import number, with_interval
from calprune.studies.bench import Knobs
from calprune.studies.results import read
from calprune.studies.runner import Session
from calprune.uncertainty.crossed import Weighed
from calprune.uncertainty.difference import holm, paired_by_item, weighed_sum
from calprune.uncertainty.effect import effect_of_groups, range_of
from calprune.uncertainty.estimate import Estimate
from tests.small_choice import answer_of, small_question
from tests.test_study import contents
from tests.tiny import save

choose_module = importlib.import_module("calprune.choosing.choose")
RULE = {"win": lambda d, p: p < 0.05 and d < 0, "loss": lambda d, p: p < 0.05 and d > 0, "tie": lambda d, p: p >= 0.05}


def items(chosen) -> dict[str, dict[str, list[tuple[float, ...]]]]:
    """The KL of every window, a row a draw, by calibration and capability, from the files."""
    found = defaultdict(lambda: defaultdict(dict))
    for row in read(chosen.folder / "runs").rows:
        if row.metric == "kl":
            (name,) = [name for name in chosen.question.weights if f"{name}_held" in row.evaluation]
            found[row.calibration][name][row.draw] = row.items
    return {one: {name: [rows[d] for d in sorted(rows)] for name, rows in by.items()} for one, by in found.items()}


def test_sources_that_differ_pass_the_gate(chosen):
    found = items(chosen)
    for name, told in chosen.gate.effects.items():
        values = {s: [math.fsum(row) / len(row) for row in found[s][name]] for s in chosen.gate.used}
        means = {source: math.fsum(draws) / 3 for source, draws in values.items()}
        assert all(len(draws) == 3 for draws in values.values())
        assert (told.lowest, told.highest) == (min(means, key=means.get), max(means, key=means.get))
        assert told.range == pytest.approx(max(means.values()) - min(means.values()))
        share = effect_of_groups(values).share
        assert told.word == "matters" and astuple(told.share) == pytest.approx(astuple(share), rel=1e-12)
        apart = range_of(values, 1 - 0.05 / 2)  # two capabilities
        assert told.apart == apart and apart.low > told.of_interest == 0.02
        assert told.part_of_cost == pytest.approx(told.range / (math.fsum(means.values()) / 3))
    effects = [effect_of_groups({s: [math.fsum(row) / len(row) for row in found[s][name]] for s in chosen.gate.used}).p
               for name in chosen.gate.effects]  # fmt: skip
    assert [told.adjusted_p for told in chosen.gate.effects.values()] == pytest.approx(holm(effects))
    assert chosen.gate.worth_a_search and chosen.search and chosen.halving and chosen.judgement


def test_sources_of_one_kind_are_not_shown_to_matter_and_are_mixed_evenly_without_a_search(alike):
    for told in alike.gate.effects.values():
        assert told.word in ("not shown", "immaterial") and told.adjusted_p >= 0.05
    assert not alike.gate.worth_a_search
    assert alike.search is alike.halving is alike.judgement is None and alike.winner == UNIFORM
    assert sorted(os.listdir(alike.folder)) == [
        "calibration", "gate.json", "model", "question.json", "result.json", "runs"]  # fmt: skip
    trials = [json.loads(path.read_text()) for path in alike.folder.glob("runs/trials/*/trial.json")]
    assert len(trials) == 6  # three draws of two sources, and none of a mixture
    given = CalibrationSet.load(alike.folder / "calibration")
    tokens = Counter()
    for pieces in given.pieces:
        for piece in pieces:
            tokens[piece.source] += piece.last - piece.first
    assert len(tokens) == 2 and max(tokens.values()) - min(tokens.values()) <= 16  # a sequence
    kept = transformers.AutoModelForCausalLM.from_pretrained(alike.folder / "model")
    assert (kept.model.layers[0].self_attn.q_proj.weight == 0).float().mean().item() == pytest.approx(0.6, abs=0.02)


def test_the_answer_says_whether_the_choice_is_immaterial_or_not_shown_and_what_would_have_been_seen(alike):
    first, second = answer(alike)
    words = {told.word for told in alike.gate.effects.values()}
    assert ("The choice is immaterial here" in first) == (words == {"immaterial"})
    assert ("That the choice matters here is not shown" in first) == ("not shown" in words)
    assert "the default mixture is used" in second and "the smallest difference of interest is 0.02 nats" in first
    for name, told in alike.gate.effects.items():
        assert f"on {name} they range over {with_interval(told.apart)} nats a token, " in first
        assert f"of what pruning cost, minimum detectable difference {number(told.detectable)}" in first
        assert told.detectable > told.range > 0


def row_of(word: str, p: float | None, of_interest: float | None = 0.02) -> GateRow:
    return GateRow(word, None, p, "a", "b", 0.03, 0.01, None, None, of_interest)


@pytest.mark.parametrize(
    ("row", "searched"),
    [
        (row_of("matters", 0.001), True),
        (row_of("not shown", 0.001), True),  # they differ, perhaps by so much as is of interest
        (row_of("not shown", 0.3), False),
        (row_of("immaterial", 0.001), False),  # they differ, by less than anyone would act on
        (row_of("immaterial", 0.3), False),
        (row_of("cannot be told", None), False),
        (row_of("large", 0.001, None), True),  # gates of 0.1 stay as they were decided
        (row_of("small", 0.001, None), True),
        (row_of("immaterial", 0.3, None), False),
    ],
)
def test_a_search_is_made_where_a_choice_may_gain_what_is_of_interest(row, searched):
    gate = Gate({"one": row, "other": row_of("immaterial", 0.9)}, ("a", "b"), {}, {}, 3)
    assert gate.worth_a_search == searched


def test_what_a_gate_of_before_called_immaterial_is_shown_as_not_shown(alike):
    old = {name: replace(told, word="immaterial", apart=None, part_of_cost=None, of_interest=None)
           for name, told in alike.gate.effects.items()}  # fmt: skip
    first, _ = answer(replace(alike, gate=replace(alike.gate, effects=old)))
    assert "That the choice matters here is not shown" in first and "immaterial" not in first


def test_the_candidates_are_each_source_the_uniform_mixture_and_what_the_search_found(chosen):
    mixtures = chosen.search.mixtures
    assert set(mixtures) <= {*chosen.gate.used, UNIFORM, "weighted mean", "minimax regret"}
    assert all(mixtures[source] == {source: 1.0} for source in chosen.gate.used)
    assert mixtures[UNIFORM] == dict.fromkeys(chosen.gate.used, 0.333)
    assert set(chosen.search.proxy) == set(mixtures) and chosen.search.evaluations > len(mixtures)


def test_no_draw_that_the_search_read_is_in_the_verdict(chosen):
    folders = [path.parent for path in chosen.folder.glob("runs/calibration/*/counts.json")]
    ids = [json.loads((one / "counts.json").read_text())["id"] for one in folders]
    recipes = [yaml.safe_load((one / "recipe.yaml").read_text()) for one in folders]
    seeds = {one: recipe["seed"] for one, recipe in zip(ids, recipes, strict=True)}
    judged = {json.loads(path.read_text())["set"] for path in chosen.folder.glob("runs/trials/*/trial.json")}
    assert {seeds[one] for one in judged} == {0, 1, 2}
    assert {seeds[one] for one in seeds.keys() - judged} == {3}


def test_the_verdict_is_paired_by_window_and_corrected_over_all_of_it(chosen):
    found, judged = items(chosen), chosen.judgement
    wanted = []
    assert UNIFORM not in chosen.halving.finalists and "c4" not in chosen.halving.finalists
    for one in (*chosen.halving.finalists, UNIFORM):
        for other in ("c4", UNIFORM):
            if one != other:
                rows = {
                    name: less(chosen, one, other, found[one][name], found[other][name]) for name in ("prose", "sums")
                }
                wanted += [(one, other, name, rows[name]) for name in rows] + [(one, other, OVERALL, None)]
    assert [(c.candidate, c.against, c.capability) for c in judged.contrasts] == [w[:3] for w in wanted]
    for contrast, (*_, difference) in zip(judged.contrasts, wanted, strict=True):
        if difference is not None:
            assert contrast.difference == difference.estimate
    p = [_p_of(chosen, found, contrast) for contrast in judged.contrasts]
    assert [contrast.adjusted_p for contrast in judged.contrasts] == pytest.approx(holm(p))
    assert all(RULE[c.verdict](c.difference.value, c.adjusted_p) for c in judged.contrasts)


def less(chosen, one, other, a, b):
    """Sets with a source in common hold documents of the same draw of it: luck moves both."""
    shares = [chosen.search.mixtures[name] for name in (one, other)]
    if set(shares[0]) & set(shares[1]):
        return weighed_sum([Weighed(1.0, "draw", "window", a), Weighed(-1.0, "draw", "window", b)])
    return paired_by_item(a, b)


def _p_of(chosen, found, contrast) -> float:
    weights, one, other = chosen.question.weights, found[contrast.candidate], found[contrast.against]
    names = contrast.candidate, contrast.against
    if contrast.capability != OVERALL:
        return less(chosen, *names, one[contrast.capability], other[contrast.capability]).p
    added = [[[sum(weights[n] * rows[n][d][i] for n in weights) for i in range(16)] for d in range(3)]
             for rows in (one, other)]  # fmt: skip
    return less(chosen, *names, *added).p


def test_the_weighted_row_is_the_weighted_mean_of_the_rows(chosen):
    by = {(c.candidate, c.against, c.capability): c.difference.value for c in chosen.judgement.contrasts}
    weights = {"prose": 1 / 5, "sums": 4 / 5}
    for (one, other, capability), value in by.items():
        if capability == OVERALL:
            assert value == pytest.approx(sum(w * by[one, other, name] for name, w in weights.items()))
    assert sum(capability == OVERALL for *_, capability in by) >= 2


def test_the_saved_model_is_the_winners_set_pruned_as_asked(chosen, choice_folder):
    kept = transformers.AutoModelForCausalLM.from_pretrained(chosen.folder / "model")
    linears = [m for m in kept.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    for linear in linears:
        zeros = (linear.weight == 0).sum(1)
        assert int(zeros.min()) == int(zeros.max()) == round(0.6 * linear.weight.shape[1])
    given = CalibrationSet.load(chosen.folder / "calibration")
    tokenizer = transformers.AutoTokenizer.from_pretrained(chosen.folder / "model")
    by_hand = make_set(
        chosen.result.spec, tokenizer, num_samples=8, max_seq_length=16, data_root=choice_folder / "data"
    )
    assert torch.equal(given.tokens, by_hand.tokens) and given.id == by_hand.id
    shares = chosen.search.mixtures[chosen.winner]
    assert all(f"{source}*{share:g}" in chosen.result.spec for source, share in shares.items()) or len(shares) == 1


def test_the_pages_commands_make_the_same_weights_to_the_bit(chosen, choice_folder, tmp_path, monkeypatch):
    from calprune.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALPRUNE_DATA", raising=False)
    for command in commands(chosen, choice_folder / "data")[1:]:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    assert CalibrationSet.load(tmp_path / "calibration").id == CalibrationSet.load(chosen.folder / "calibration").id
    ours, theirs = (transformers.AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
                    for folder in (chosen.folder, tmp_path))  # fmt: skip
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_the_saved_models_figures_are_of_the_second_half_of_each_text(chosen, choice_folder):
    dense, pruned = (transformers.AutoModelForCausalLM.from_pretrained(folder)
                     for folder in (choice_folder / "model", chosen.folder / "model"))  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(choice_folder / "model")
    for name in ("prose", "sums"):
        lines = [json.loads(line)["text"] for line in (choice_folder / f"{name}_held.jsonl").read_text().splitlines()]
        tokens = [t for line in lines for t in tokenizer(line + "\n\n", add_special_tokens=False)["input_ids"]]
        rows = torch.tensor([[0, *tokens[15 * i : 15 * (i + 1)]] for i in range(16, 32)])
        with torch.no_grad():
            p, q = (model(rows).logits[:, :-1].double().log_softmax(-1) for model in (dense, pruned))
        assert chosen.result.divergence[name].value == pytest.approx(
            (p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-4
        )
        follow = [one.gather(-1, rows[:, 1:, None]).mean().item() for one in (p, q)]
        assert chosen.result.perplexity[name] == pytest.approx([math.exp(-value) for value in follow], rel=1e-4)


def test_the_answer_names_the_shares_the_gain_and_every_verdict(chosen):
    first, second = answer(chosen)
    assert chosen.winner in first and all(other in first for other in {"c4", UNIFORM} - {chosen.winner})
    mine = [c for c in chosen.judgement.contrasts if c.candidate == chosen.winner]
    for verb, kind in (("wins on", "win"), ("ties on", "tie"), ("loses on", "loss")):
        assert (verb in second) == any(c.verdict == kind for c in mine)
    assert headline(chosen)[-1].startswith(str(chosen.folder))


def test_asked_again_it_answers_from_its_files(chosen, choice_folder, monkeypatch):
    before = contents(chosen.folder)
    monkeypatch.setattr(final, "save_pruned", lambda *a: pytest.fail("it pruned again"))
    again = answer_of(choice_folder, chosen.folder, lambda line: pytest.fail(f"it began anew: {line}"))
    assert again == chosen and contents(chosen.folder) == before


def test_stopped_at_every_stage_and_started_again_it_ends_the_same(chosen, choice_folder, tmp_path, monkeypatch):
    """In the gate's trials, before and in the search, in the halving, in the verdict's trials, while it is saved."""

    class Stopped(Exception):
        pass

    def stop_at(words: str, nth: int = 1):
        seen = []

        def said(line):
            seen.extend([line] if words in line else [])
            if len(seen) == nth:
                raise Stopped

        return said

    out = tmp_path / "chosen"
    for words, nth in (("trials", 2), ("matters", 2), ("from sums", 2), ("256 tokens", 3), ("trials", 2)):
        with pytest.raises(Stopped):
            answer_of(choice_folder, out, stop_at(words, nth))
    save = final.save_pruned

    def saves_half(model, told, folder):
        save(model, told, folder)
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(final, "save_pruned", saves_half)
        answer_of(choice_folder, out)
    assert not (out / "result.json").exists() and (out / "model").exists()
    again = answer_of(choice_folder, out)
    assert again.winner == chosen.winner and again.judgement == chosen.judgement
    ours, theirs = contents(chosen.folder), contents(out)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name] and not name.endswith("README.md")] == []


def judged(**verdicts: str) -> FinalVerdict:
    """Of "a_c4" and the like: what the finalist is against the default or the uniform mixture, all together; the
    first capability says otherwise."""
    names = {"c4": "c4", "uniform": UNIFORM, "a": "a", "b": "b"}
    zero, other = Estimate(0.0, -1.0, 1.0, 3), {"win": "loss", "loss": "win", "tie": "tie"}
    contrasts = [SetContrast(*(names[one] for one in name.split("_")), capability, zero, 0.5, said)
                 for name, verdict in verdicts.items() for capability, said in
                 (("prose", other[verdict]), (OVERALL, verdict))]  # fmt: skip
    default = [] if set(verdicts) == {"a_uniform", "b_uniform"} else ["c4"]
    return FinalVerdict(tuple(contrasts), (), None, (*default, UNIFORM))


@pytest.mark.parametrize(
    ("finalists", "verdict", "winner"),
    [
        (("c4", UNIFORM), "tie", "c4"),
        ((UNIFORM, "c4"), "tie", "c4"),
        (("c4", UNIFORM), "win", UNIFORM),
        ((UNIFORM, "c4"), "loss", "c4"),
        (("c4",), "tie", "c4"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_where_the_default_and_the_uniform_mixture_are_finalists_either_can_win(
    finalists, verdict, winner, turned, chosen
):
    """`verdict` is that of the uniform mixture against the default, in whichever way it is written down."""
    rows = judged(uniform_c4=verdict)
    rows = replace(rows, contrasts=tuple(one.turned() for one in rows.contrasts)) if turned else rows
    halved = Halving((), (), {}, finalists)
    assert final.decided(halved, rows) == winner
    said = answer(replace(chosen, halving=halved, judgement=rows, result=replace(chosen.result, winner=winner)))[0]
    assert said.startswith(f"Prune with {'the ' if winner == UNIFORM else ''}{winner}")
    assert ("nothing that was searched for" in said) == (winner != finalists[0] and verdict == "tie")


def test_nothing_that_is_better_is_said_so_and_the_best_of_it_is_named(chosen):
    rows = judged(a_c4="tie", a_uniform="tie", b_c4="tie", b_uniform="tie", uniform_c4="tie")
    search = replace(chosen.search, mixtures=chosen.search.mixtures | {"a": {"c4": 0.75, "sums": 0.25}})
    done = replace(chosen.result, winner="c4")
    halved = Halving((), (), {}, ("a", "b"))
    said, scores = answer(replace(chosen, search=search, halving=halved, judgement=rows, result=done))
    assert said.startswith(
        "Prune with c4: nothing that was searched for is shown to be better. With the best of it, a (75"
    )
    assert scores.startswith("After Holm's correction, against c4 it ties on")


@pytest.mark.parametrize(
    ("verdicts", "winner"),
    [
        ({"a_c4": "win", "a_uniform": "tie", "b_c4": "win", "b_uniform": "win"}, "a"),
        ({"a_c4": "win", "a_uniform": "loss", "b_c4": "tie", "b_uniform": "win"}, "b"),
        ({"a_c4": "tie", "a_uniform": "tie", "b_c4": "tie", "b_uniform": "loss"}, "c4"),
        ({"a_uniform": "tie", "b_uniform": "tie"}, UNIFORM),  # no default could be had
        ({"a_c4": "tie", "a_uniform": "tie", "b_c4": "tie", "b_uniform": "tie", "uniform_c4": "win"}, UNIFORM),
        ({"a_c4": "win", "a_uniform": "loss", "b_c4": "tie", "b_uniform": "tie", "uniform_c4": "win"}, UNIFORM),
        ({"a_c4": "tie", "a_uniform": "tie", "b_c4": "tie", "b_uniform": "tie", "uniform_c4": "tie"}, "c4"),
        ({"a_c4": "tie", "a_uniform": "loss", "b_c4": "tie", "b_uniform": "tie", "uniform_c4": "loss"}, "c4"),
    ],
)
def test_what_is_not_shown_to_be_better_is_not_taken(verdicts, winner):
    assert final.decided(Halving((), (), {}, ("a", "b")), judged(**verdicts)) == winner


def test_what_time_cut_short_is_made_again_until_there_is_an_answer(choice_folder, tmp_path):
    job = Job(small_question(choice_folder), tmp_path, Knobs("cpu", None, choice_folder / "data"), Clock(), print)
    cut, whole = FinalVerdict((), (), 1), FinalVerdict((), (), 2)

    def made_in_haste():
        job.left_out.append("the rest: no time")
        return cut

    assert job.stage(FinalVerdict, made_in_haste) == cut
    again = Job(job.question, tmp_path, job.knobs, Clock(), print)
    assert again.stage(FinalVerdict, lambda: whole) == whole and again.left_out == []
    (tmp_path / "judgement.json").unlink()
    assert again.stage(FinalVerdict, made_in_haste) == cut
    (tmp_path / "result.json").write_text("{}")  # the answer is there, and what it says stands
    assert Job(job.question, tmp_path, job.knobs, Clock(), print).stage(FinalVerdict, lambda: whole) == cut


def test_the_question_of_a_model_or_of_sources_that_have_changed_since_is_another(choice_folder, tmp_path):
    shutil.copytree(choice_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("chosen"))
    knobs = Knobs("cpu", None, tmp_path / "copy" / "data")

    def asked():
        return Job(small_question(tmp_path / "copy"), tmp_path / "out", knobs, Clock(), print)

    first = asked()
    was = first.identity()
    assert asked().identity() == was
    with torch.no_grad():
        first.model.model.get_input_embeddings().weight[5, 5] += 1
    shutil.rmtree(tmp_path / "copy" / "model")
    save(first.model.model, first.model.tokenizer, tmp_path / "copy" / "model")
    retrained = asked().identity()
    with (tmp_path / "copy" / "sums.jsonl").open("a") as file:
        file.write('{"text": "1+1=2"}\n')
    assert len({was, retrained, asked().identity()}) == 3


def test_the_question_of_a_source_that_is_worded_otherwise_is_another(choice_folder, tmp_path):
    own = tmp_path / "own.yaml"

    def asked(wording, source):
        own.write_text(f'kind: text\nlocal: sums.jsonl\ntext: "{wording}"\n')
        question = small_question(choice_folder, sources=(str(choice_folder / "my code.jsonl"), source))
        return Job(question, tmp_path / "out", Knobs("cpu", None, choice_folder / "data"), Clock(), print).identity()

    shutil.copy(choice_folder / "sums.jsonl", tmp_path)
    assert asked("{{ text }}", str(own)) == asked("{{ text }}", str(own)) != asked("Q: {{ text }}", str(own))


def test_a_mixture_names_a_file_whatever_signs_are_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("c++.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}\n')
    parts = parse_spec(spec_of({"c++.jsonl": 0.25, "b.jsonl": 0.75})).parts
    assert {part.source: part.share for part in parts} == {"c++.jsonl": 0.25, "b.jsonl": 0.75}


def test_what_the_model_responds_to_is_no_text_to_judge_on(choice_folder, tmp_path):
    judged = choice_folder / "sums_held.jsonl"
    with pytest.raises(UserError, match="is a source and also what sums is judged on"):
        answer_of(choice_folder, tmp_path / "out", sources=("c4", f"self:respond({judged})"))


def test_a_folder_of_another_question_or_of_something_else_is_refused(chosen, choice_folder, tmp_path):
    with pytest.raises(UserError, match="holds the answer to another question"):
        answer_of(choice_folder, chosen.folder, draws=4)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"it holds something else \(notes.txt\); name a folder"):
        answer_of(choice_folder, tmp_path)
    with pytest.raises(UserError, match=r"it holds something else|is no folder"):
        answer_of(choice_folder, tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_budget_too_small_for_the_gate_says_what_it_takes_and_loses_nothing(choice_folder, tmp_path):
    said: list[str] = []
    with pytest.raises(
        UserError,
        match=r"too small: comparing the sources, .* takes about .* here \(9 trials\); give --budget .* or more",
    ):
        answer_of(choice_folder, tmp_path / "out", said.append, budget=1e-9)
    assert said == [] and os.listdir(tmp_path / "out") == ["question.json"]
    with pytest.raises(UserError, match=r"too small: .* \(6 trials\)"):  # as it advises: fewer sources, in that folder
        answer_of(choice_folder, tmp_path / "out", sources=("c4", str(choice_folder / "sums.jsonl")), budget=1e-9)


def test_a_budget_that_ends_in_the_trials_keeps_what_was_done(chosen, choice_folder, tmp_path):
    job = Job(small_question(choice_folder), tmp_path, Knobs("cpu", None, choice_folder / "data"), Clock(1e-9), print)
    made, text = job.trials.plan({"c4": "c4"})
    with pytest.raises(UserError, match="the budget ended after 1 of 3 trials; what was done is kept"):
        job.trials.run(made, text, job.clock, job.report, 0)
    assert len(job.trials.missing(made)) == 2


def test_a_trial_that_fails_has_been_tried(choice_folder, tmp_path, monkeypatch):
    """A budget that ends with the last trial ends nothing, also where a trial failed; and its source is named."""
    said, code = [], str(choice_folder / "my code.jsonl")
    clock = Clock()
    monkeypatch.setattr(clock, "left", lambda: 0.0 if len(said) == 6 else 1.0)
    job = Job(small_question(choice_folder), tmp_path, Knobs("cpu", None, choice_folder / "data"), clock, said.append)
    build = Session._build
    monkeypatch.setattr(Session, "_build", lambda self, name, recipe, model: _fails(recipe, code) or
                        build(self, name, recipe, model))  # fmt: skip
    made, text = job.trials.plan({"c4": "c4", code: code})
    assert job.run(made, text, 0) == {code: "the disk of the code is away"}
    assert [line.split(":")[0] for line in said] == [f"{i} of 6 trials" for i in range(1, 7)]
    assert [" failed" in line for line in said] == [code in line for line in said]


def _fails(recipe, source: str) -> None:
    if recipe.parts[0].source == source:
        raise UserError("the disk of the code is away")


def test_where_an_equal_share_cannot_be_built_the_default_is_used(chosen, choice_folder, tmp_path):
    """Two sequences hold no third of each of three sources."""
    sources = ("c4", *(str(choice_folder / name) for name in ("sums.jsonl", "more sums.jsonl")))
    said: list[str] = []
    job = Job(small_question(choice_folder, sources=sources, num_samples=2), tmp_path,
              Knobs("cpu", None, choice_folder / "data"), Clock(), said.append)  # fmt: skip
    gate = replace(chosen.gate, used=sources)
    assert choose_module._without_search(job, gate) == ("c4", {"c4": 1.0})
    assert choose_module._without_search(job, replace(gate, used=sources[1:])) == (
        UNIFORM,
        dict.fromkeys(sources[1:], 0.5),
    )
    assert [line.startswith(f"going on without the {UNIFORM}: ") for line in said] == [True]
    told = answer(replace(chosen, gate=gate, judgement=None, result=replace(chosen.result, winner="c4")))[1]
    assert told == "So c4 is used: an equal share of each source cannot be built of so few sequences."


def test_a_verdict_goes_without_a_uniform_mixture_that_cannot_be_built(chosen, choice_folder, tmp_path):
    job = Job(chosen.question, tmp_path, Knobs("cpu", None, choice_folder / "data"), Clock(), print)
    mixtures = {name: shares for name, shares in chosen.search.mixtures.items() if name != UNIFORM}
    asked: list[list[str]] = []
    plan = job.trials.plan
    job.trials.plan = lambda calibrations: asked.append(list(calibrations)) or plan(calibrations)
    job.run = lambda *_: pytest.fail("as far as its trials")
    with pytest.raises(pytest.fail.Exception):
        final.judgement(job, chosen.gate, replace(chosen.search, mixtures=mixtures), chosen.halving)
    assert set(asked[-1]) == {*chosen.gate.used, *chosen.halving.finalists}


def test_how_much_is_enough_is_told_of_the_winners_set(chosen, choice_folder, monkeypatch):
    job = Job(chosen.question, chosen.folder, Knobs("cpu", None, choice_folder / "data"), Clock(), print)
    halved: list[str] = []
    monkeypatch.setattr(final, "decided", lambda halving, judged: "c4")
    monkeypatch.setattr(
        final, "agreement", lambda pruning, model, given, size: halved.append(given.id) or ((4,), (1.0,))
    )
    assert chosen.halving.finalists[0] != "c4"
    final.judgement(job, chosen.gate, chosen.search, chosen.halving)
    assert halved == [job.set_of("c4", seed=0).id]


def test_no_copy_of_the_model_waits_while_trials_hold_theirs(choice_folder, tmp_path):
    job = Job(small_question(choice_folder), tmp_path, Knobs("cpu", None, choice_folder / "data"), Clock(), print)
    held = weakref.ref(job.model.model)
    job.report = lambda line: (gc.collect(), copies.append(held()))
    copies: list = []
    job.run(*job.trials.plan({"c4": "c4"}), 0)
    assert copies == [None] * 3 and job.model.model is not None


def test_what_a_trial_takes_is_known_after_a_stop(chosen, choice_folder, tmp_path, monkeypatch):
    """So that time is kept for the verdict."""
    out = tmp_path / "chosen"
    shutil.copytree(chosen.folder, out)
    for stage in ("halving", "judgement", "result"):
        (out / f"{stage}.json").unlink()
    kept = []
    monkeypatch.setattr(choose_module, "halving", lambda job, gate, search: kept.append(job.reserved()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer_of(choice_folder, out)
    assert kept == [pytest.approx(chosen.gate.seconds * (3 * (2 + 1) + 3))] and kept[0] > 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sources": ("c4", "gsm8k*2")}, "is a mixture, and the shares are what choose finds"),
        ({"sources": ("c4", "gsm8k + c4")}, "is a mixture, and the shares are what choose finds"),
        ({"sources": ("c4", "c4")}, "c4 is there twice"),
        ({"draws": 2}, "--draws: expected 3 or more, fewer give no interval; got 2"),
        ({"tokens": 63}, "--tokens: expected four windows of 16 tokens or more; got 63"),
    ],
)
def test_a_question_that_means_nothing_is_refused_at_once(changed, said, choice_folder):
    with pytest.raises(ConfigError, match=said.replace("*", r"\*")):
        small_question(choice_folder, **changed)


def test_one_text_under_two_names_is_refused(choice_folder, tmp_path):
    with pytest.raises(ConfigError, match="c4 and c4:plain are the same text: leave one out"):
        answer_of(choice_folder, tmp_path / "out", sources=("c4", "c4:plain"))


def test_a_text_too_short_to_search_and_to_judge_on_is_refused(choice_folder, tmp_path):
    from calprune.choosing.question import parse_capabilities

    (tmp_path / "short.jsonl").write_text('{"text": "river stone lantern quiet harbour seven marble orchard winter"}\n')
    capabilities = parse_capabilities("x", [f"x={tmp_path / 'short.jsonl'}"])
    with pytest.raises(UserError, match="windows of 16 tokens, too few to search and to judge on: 8 or more"):
        answer_of(choice_folder, tmp_path / "out", capabilities=capabilities)


def test_a_text_to_judge_on_that_nothing_is_kept_by_is_named():
    with pytest.raises(ConfigError, match="name it by --for chat too"):
        parse_capabilities("general=1", ["chat=held.jsonl"])
    with pytest.raises(ConfigError, match=r"chat is there twice, as a\.txt and b\.txt"):
        parse_capabilities("chat=1", ["chat=a.txt", "chat=b.txt"])
