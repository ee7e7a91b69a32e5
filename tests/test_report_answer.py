"""Every sentence of the answer box says what the rows say, worked out anew from the rows alone.

The computation here knows nothing of `report.findings`: it reads the numbers out of a sentence and makes each of them
from the rows with numpy and scipy.
"""

import itertools
import math
import re
import tarfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import yaml

from calprune.pages.names import shorten
from calprune.pages.numbers import number
from calprune.report.answer import answer, plain, warnings
from calprune.report.claims import judge
from calprune.report.findings import Findings
from calprune.report.page import page
from calprune.report.settings import is_control, own_text
from calprune.studies.claims import read_claims
from calprune.studies.results import OVERLAPPING, Results, read
from calprune.uncertainty.difference import holm, paired_by_draw, paired_by_item
from tests.made_up_study import SOURCES, made_up

HERE = Path(__file__).parent
KINDS = {"win": "win", "wins": "win", "tie": "tie", "ties": "tie", "loss": "loss", "losses": "loss"}


def of(results: Results, keep) -> Results:
    return replace(results, rows=tuple(row for row in results.rows if keep(row)))


def crossing() -> Results:
    """As williams2024: c4 has the best mean place by many small leads, and loses surely to wikitext2."""
    made = made_up(sources=SOURCES[:3], methods=("wanda", "sparsegpt", "ria"), patterns=("60%",), apart=0.0)
    rows = []
    for row in made.rows:
        if row.metric == "kl" and row.calibration != "none":
            lead = {"c4": 0.0, "wikitext2": 0.002, "gsm8k:icl": 0.004}.get(row.calibration, 0.5)
            if row.method == "ria" and row.calibration == "wikitext2":
                lead = -0.3
            items = tuple(1 + lead + 0.0005 * math.cos(3 * i) + 0.001 * row.draw for i in range(40))
            rows += [replace(row, items=items, value=math.fsum(items) / 40, evaluation=f"kl({text})")
                     for text in ("pile", "oscar")]  # fmt: skip
    return replace(made, rows=tuple(rows))


def by_luck() -> Results:
    """The last source is the last by two draws of three, and another is surely worse than the best."""
    made = made_up(sources=SOURCES[:3], methods=("wanda",), patterns=("60%",), apart=0.0)
    rows = []
    for row in made.rows:
        if row.metric == "kl" and row.calibration != "none":
            lead = {"c4": 0.0, "wikitext2": 0.5, "gsm8k:icl": (0.4, 1.1, 0.9)[row.draw % 3]}.get(row.calibration, 0.2)
            items = tuple(3 + lead + 0.0005 * math.cos(3 * i) + 0.001 * row.draw for i in range(40))
            rows.append(replace(row, items=items, value=math.fsum(items) / 40, evaluation="kl(pile)"))
    return replace(made, rows=tuple(rows))


def claimed() -> Results:
    says = [f"{{says: so, better: {{first: {{calibration: {a}}}, than: {{calibration: {b}}}, "
            "where: {evaluation: kl(gsm8k)}}}"
            for a, b in (("c4", "slimpajama"), ("slimpajama", "c4"), ("c4", "wikitext2"))]  # fmt: skip
    written = f"[{', '.join(says)}, {{says: so, not_measured: a task}}]"
    return replace(made_up(apart=0.3), claims=read_claims(yaml.safe_load(written), "study.yaml"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> dict[str, Results]:
    """The studies that are on the disk: one of format 1, and those of a study and a choice of version 0.1."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(HERE / "folders_of_0_1" / "folders.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    found = {path.parent for path in folder.rglob("plan.json")}
    return {"format 1": read(HERE / "run_of_format_1")} | {str(path.relative_to(folder)): read(path) for path in found}


MADE = {
    "far apart": made_up(apart=4),
    "near": made_up(apart=0.1, seed=3),
    "alike": made_up(apart=0, seed=1),
    "some": made_up(),
    "one draw": made_up(draws=1),
    "methods": of(made_up(), lambda row: row.calibration in ("c4", "none")),
    "one method": made_up(methods=("wanda",), patterns=("60%",)),
    "one source, one method": of(made_up(methods=("wanda",)), lambda row: row.calibration in ("c4", "none")),
    "crossing": crossing(),
    "by luck": by_luck(),
    "claims": claimed(),
}


def value(row) -> float:
    return math.log(row.value) if row.metric == "perplexity" else row.value


def sign(row) -> int:
    return -1 if row.metric in ("perplexity", "kl") else 1


class Anew:
    """The rows' own statistics: by setting and evaluation, sources (no controls) and what is shown of them."""

    def __init__(self, results: Results):
        self.rows = [row for row in results.rows if math.isfinite(row.value)]
        groups = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            if row.calibration != "none":
                where = tuple(v for k, v in row.axes.items() if k != "calibration")
                groups[(*where, row.evaluation)][row.calibration].append(row)
        self.groups = {}
        for key, by in groups.items():
            texts = {name: rows for name, rows in by.items() if not is_control(rows[0])}
            texts = texts if len(texts) > 1 else by
            if len(texts) > 1:
                self.groups[key] = texts
        self.effect = {key: self._effect(by) for key, by in self.groups.items()}
        told = {key: one for key, one in self.effect.items() if one}
        p_holm = dict(zip(told, holm([one[0] for one in told.values()]), strict=True))
        self.words = {key: self._word(self.groups[key], one, 0.05 / len(told)) for key, one in told.items()}
        self.records = defaultdict(lambda: {"win": 0, "tie": 0, "loss": 0})
        self.worse = defaultdict(set)  # than the best of its setting
        places = defaultdict(list)
        for key, by in self.groups.items():
            fair = [name for name in by if not own_text(by[name][0])]
            good = {name: sign(by[name][0]) * np.mean([value(row) for row in by[name]]) for name in by}
            order = sorted(by, key=good.__getitem__, reverse=True)
            pairs = list(itertools.combinations(order, 2))
            found = [paired_by_item([r.items for r in by[a]], [r.items for r in by[b]]).p for a, b in pairs]
            for (a, b), p in zip(pairs, holm(found), strict=True):
                shown = key in p_holm and p is not None and max(p, p_holm[key]) < 0.05
                lead = np.mean([r.items for r in by[a]]) - np.mean([r.items for r in by[b]])
                if a == order[0] and shown and lead:
                    self.worse[key].add(b)
                if a in fair and b in fair:
                    self.records[a, b]["win" if shown and lead else "tie"] += 1
                    self.records[b, a]["loss" if shown and lead else "tie"] += 1
            ranked = [name for name in order if name in fair]
            for i, name in enumerate(ranked if len(ranked) > 1 else ()):
                places[name].append(i / (len(ranked) - 1))
        self.places = {name: np.mean(at) for name, at in places.items()}

    @staticmethod
    def _effect(by):
        values = [[value(row) for row in rows] for rows in by.values()]
        freedom = sum(map(len, values)) - len(values)
        if not freedom:
            return None
        sd = math.sqrt(sum((len(one) - 1) * np.var(one, ddof=1) for one in values if len(one) > 1) / freedom)
        return (scipy.stats.f_oneway(*values).pvalue if sd else 0.0), sd, freedom

    def _word(self, by, effect, rate):
        _, sd, freedom = effect
        one, wide = (
            scipy.stats.t.ppf(1 - rate / 2, freedom),
            scipy.stats.studentized_range.ppf(1 - rate / 2, len(by), freedom),
        )
        means = [(np.mean([value(r) for r in one]), len(one)) for one in by.values()]
        ends = [(abs(x - y), sd * math.sqrt(1 / n + 1 / m)) for (x, n), (y, m) in itertools.combinations(means, 2)]
        least = 0.01 if sign(next(iter(by.values()))[0]) > 0 else 0.02
        low, high = max(d - wide / 2**0.5 * e for d, e in ends), max(d + one * e for d, e in ends)
        return "matters" if low > least else "immaterial" if high < least else "not shown"


def check_effect(said: str, anew: Anew) -> None:
    """The first sentence: word, counts, the ends, the range, its share of what pruning cost."""
    counts = {word: list(anew.words.values()).count(word) for word in ("matters", "not shown", "immaterial")}
    if "cannot be decided" in said:
        assert not anew.words
        assert ("one source" in said) == (not anew.groups) and ("one draw" in said) == bool(anew.groups)
        return
    word = next(one for one in counts if counts[one])
    lead = {
        "matters": "data matters here",
        "immaterial": "data is immaterial here",
        "not shown": "matters here is not shown",
    }
    assert lead[word] in said.split(":")[0], (said, counts)
    if len(anew.words) > 1:
        n = re.search(r"(?:in|in any of) (?:all )?(\d+)(?: of (\d+))? pairs of setting and evaluation", said)
        assert int(n[1]) == counts[word] and int(n[2] or n[1]) == len(anew.words)
        for n, other in re.findall(r"(\d+) (matters|not shown|immaterial)\b", said.split(":")[0]):
            assert int(n) == counts[other] and other != word
    best, worst = re.search(r"goes from \S+ \((.*?)\) to \S+ \((.*?)\), a range", said).groups()
    size = float(re.search(r"a range of (−?[\d.,]+)", said)[1].replace(",", "").replace("−", "-"))
    evaluation = re.search(r"(\S+\(.*?\)) with ", said)[1]
    near = []
    for key, by in anew.groups.items():
        good = {name: sign(rows[0]) * np.mean([value(row) for row in rows]) for name, rows in by.items()}
        if key[-1] == evaluation and max(good, key=good.get) == best and min(good, key=good.get) == worst:
            dense = sign(by[best][0]) * np.mean(
                [math.log(r.dense) if r.metric == "perplexity" else r.dense for r in by[best]]
            )
            near.append(
                (good[best] - good[worst], (good[best] - good[worst]) / (dense - np.mean(list(good.values()))), key)
            )
    fit = [one for one in near if abs(one[0] - size) <= 0.06 * abs(one[0]) + 0.006 and anew.words[one[2]] == word]
    assert fit, (said, near)
    if cost := re.search(r"([\d.,]+) % of what pruning itself cost", said):
        assert any(abs(float(cost[1].replace(",", "")) - 100 * one[1]) <= 0.51 for one in fit)


def check_best(said: str, anew: Anew) -> None:
    """The second: who has the best mean place, and every score against others."""
    if "cannot be decided" in said or "luck of the draw" in said:
        assert len(anew.places) < 2 or not anew.words
        return
    least = min(anew.places.values())
    named = [name for name in anew.places if math.isclose(anew.places[name], least, abs_tol=1e-12)]
    first = next(name for name in sorted(anew.places, key=len, reverse=True)
                 if re.search(rf"(?:: |source's own is |place is |is ){re.escape(name)}\b", said))  # fmt: skip
    assert first in named, (said, anew.places)
    lost = {other for (one, other), record in anew.records.items() if one == first and record["loss"]}
    if said.startswith(("The best by mean place", "No source can be called best", "The best cannot")):
        assert not lost, (said, lost)  # nobody is called best, or tied, who loses to another
    score = r"((?:\d+ (?:wins?|ties?|loss(?:es)?)(?:, | and )?)+) against "
    named = {"c4": "the usual c4"} if "the usual c4" in said else {}
    for other in [*anew.places, *named]:
        called = rf"the next (?:in its settings )?\({re.escape(other)}\)|{named.get(other, 'nobody')}"
        for scores in re.findall(rf"{score}(?:{called})", said):
            record, found = anew.records[first, other], re.findall(r"(\d+) (\w+)", scores)
            told = {"win": 0, "tie": 0, "loss": 0} | {KINDS[kind]: int(n) for n, kind in found}
            assert told == record, (said, record)
            if said.startswith("The best by mean place") and "the next" in called and f"({other})" in said:
                assert told["win"]
    for n, total, other in re.findall(r"(\d+) of (\d+) comparisons to (.+?)(?:,| and| after)", said):
        record = anew.records[first, other]
        assert (int(n), int(total)) == (record["loss"], sum(record.values()))
    assert lost or "loses" not in said


def check_methods(said: str, anew: Anew) -> None:
    """The third: how many differences of two methods on the same draws are shown, and of whom at each pattern."""
    groups = defaultdict(lambda: defaultdict(dict))
    for row in anew.rows:
        if row.calibration != "none":
            key = (row.pattern, row.axes["model"], row.calibration, row.axes["num_samples"], row.evaluation)
            groups[key][tuple(v for k, v in row.axes.items() if k not in ("calibration", "pattern", "num_samples"))][
                row.draw
            ] = row
    tests, pairs = [], []
    for key, by in groups.items():
        for a, b in itertools.combinations(by, 2):
            draws = sorted(by[a].keys() & by[b].keys())
            if draws:
                x, y = ([value(by[one][d]) for d in draws] for one in (a, b))
                lead = sign(by[a][draws[0]]) * (np.mean(x) - np.mean(y))
                shares = by[a][draws[0]].metric == "accuracy"
                tests.append(paired_by_draw(x, y, 1.0 if shares else math.inf).p)
                pairs.append((key[0], by[a][draws[0]].method, by[b][draws[0]].method, lead))
    adjusted = holm(tests)
    shown = sum(p is not None and p < 0.05 for p in adjusted)
    count = re.search(r"\((?:all (\d+)|(\d+) of (\d+)|none of (\d+)) differences", said).groups()
    n, total = (int(count[0]),) * 2 if count[0] else (0, int(count[3])) if count[3] else (int(count[1]), int(count[2]))
    assert (n, total) == (shown, len(pairs)), said
    for pattern, name, scores, other in re.findall(
        r"at (\S+) (?:none can be called best \()?(\S+) is ahead most often, with (.*?) against the next \((.*?)\)",
        said,
    ):
        record = {"win": 0, "tie": 0, "loss": 0}
        for (where, a, b, lead), p in zip(pairs, adjusted, strict=True):
            if where == pattern and {a, b} == {name, other}:
                ahead = (lead > 0) == (a == name)
                record["tie" if p is None or p >= 0.05 else "win" if ahead else "loss"] += 1
        assert record == {"win": 0, "tie": 0, "loss": 0} | {
            KINDS[k]: int(m) for m, k in re.findall(r"(\d+) (\w+)", scores)
        }


def plain_number(text: str) -> float:
    return float(text.replace(",", ""))


def check_plain(said: str, anew: Anew, names: dict[str, str]) -> None:
    """The one sentence of plain words: whether the choice matters, in how many settings, the best and the last that is
    shown to be worse."""
    counts = {word: list(anew.words.values()).count(word) for word in ("matters", "not shown", "immaterial")}
    begins = {"The choice matters": "matters", "The choice does not matter": "immaterial", "Not shown": "not shown",
              "Perhaps": "not shown"}  # fmt: skip
    lead = next((word for words, word in begins.items() if said.startswith(words)), None)
    if lead is None:
        assert not anew.words and said.startswith(("This study cannot tell", "With the same data", "One draw of")), said
        return
    assert lead == next(word for word in counts if counts[word]), (said, counts)
    if found := re.search(r"in (\d+) of (\d+) settings", said):
        assert (int(found[1]), int(found[2])) == (counts[lead], len(anew.words)) and found[1] != found[2]
    if lead == "matters":
        best, one, on, worst, other, dense = re.search(
            r"pruned with (\S+|“.*?”) the model has an? .*? of (\S+) on (.*), with (\S+|“.*?”) (\S+?)(?:; "
            r"the dense model has (\S+))?\.$", said).groups()  # fmt: skip
        shown = [(best.strip("“”"), one), (worst.strip("“”"), other)]
        fits = []
        for key, by in anew.groups.items():
            means = {name: np.mean([value(row) for row in rows]) for name, rows in by.items()}
            read_as = {
                name: math.exp(mean) if by[name][0].metric == "perplexity" else mean for name, mean in means.items()
            }
            read_as = {shorten(name, names): one for name, one in read_as.items()}
            order = sorted(means, key=lambda name: sign(by[name][0]) * means[name], reverse=True)
            last = next((name for name in reversed(order) if name in anew.worse[key]), order[-1])
            ends = [shorten(name, names) for name in (order[0], last)]
            near = [
                math.isclose(read_as[name], plain_number(text), rel_tol=1e-3) for name, text in shown if name in ends
            ]
            of = by[order[0]][0]
            dense_too = (
                (of.metric == "kl") if dense is None else math.isclose(of.dense, plain_number(dense), rel_tol=1e-3)
            )
            fits.append(anew.words.get(key) == "matters" and on in key[-1] and ends == [name for name, _ in shown]
                        and all(near) and dense_too)  # fmt: skip
        assert any(fits), said


def check(results: Results) -> list[str]:
    anew, said = Anew(results), answer(Findings(results))
    left = list(said)
    if anew.groups or not said[0].startswith("Methods"):
        check_effect(left.pop(0), anew)
        check_best(left.pop(0), anew)
    for sentence in left:
        if sentence.startswith("Methods"):
            check_methods(sentence, anew)
        else:
            verdicts = [one.judgement.verdict for one in judge(Findings(results))]
            assert {v: int(n) for n, v in re.findall(r"(\d+) (held|not held|cannot be told here)", sentence)} == {
                v: verdicts.count(v) for v in set(verdicts)}  # fmt: skip
    first, *full = page(Findings(results)).answer
    names = Findings(results).names
    assert [shorten(one, names) for one in said] == full
    check_plain(first, anew, names)
    return said


@pytest.mark.parametrize("name", MADE)
def test_every_sentence_of_the_answer_is_what_the_rows_say(name):
    check(MADE[name])


def test_every_sentence_is_so_of_the_studies_that_are_on_the_disk(earlier):
    assert len(earlier) >= 3
    for results in earlier.values():
        check(results)


def test_a_study_of_methods_is_answered_about_methods():
    said = check(MADE["methods"])
    assert len(said) == 1 and said[0].startswith("Methods with the same draws of a source")
    assert not any("source, and it takes two" in one for one in said)


def test_of_one_draw_the_ends_are_named_and_nothing_is_called_shown():
    rows = MADE["one draw"].rows
    same = [row for row in rows if row.evaluation == "perplexity(wikitext2)"]
    first = page(Findings(MADE["one draw"])).answer[0]
    lead, best, one, worst, other, dense = re.fullmatch(
        r"(.*): pruned with (.*) the model has a perplexity of (\S+) on wikitext2, with (.*) (\S+); the dense model "
        r"has (\S+)\.", first).groups()  # fmt: skip
    ends = [f"{row.method} {row.pattern} ({row.calibration.replace('none', 'no data')})"
            for row in sorted(same, key=lambda row: row.value)]  # fmt: skip
    assert lead == "One draw of each, which proves no difference" and [best, worst] == [ends[0], ends[-1]]
    assert [plain_number(one), plain_number(other), plain_number(dense)] == pytest.approx(
        [min(row.value for row in same), max(row.value for row in same), same[0].dense], rel=1e-3)  # fmt: skip


def test_a_source_that_loses_to_another_is_not_called_best():
    _, best, *_ = check(crossing())
    assert best.startswith("No source is best throughout: c4 (the usual choice) has the best mean place")
    assert re.search(r"yet c4 loses 2 of 6 comparisons to wikitext2 after Holm's correction", best)


def test_the_claims_of_a_study_are_counted_in_its_answer_as_they_were_judged():
    assert check(claimed())[-1].startswith("Of the 4 claims, after Holm's correction: ")


def test_where_pruning_costs_nothing_the_answer_is_not_that_the_choice_does_not_matter():
    """A light pattern, or a dense model that guesses: no source could have saved anything."""
    made = of(
        made_up(sources=SOURCES[:3], methods=("wanda",), patterns=("60%",), apart=0.0),
        lambda row: row.metric == "perplexity",
    )

    def with_nats(row, nats):
        return replace(row, items=tuple(nats for _ in row.items), value=math.exp(nats))

    rows = [replace(with_nats(row, 10.8 + 0.001 * (row.draw or 0)), dense=math.exp(10.8),
                    dense_items=tuple(10.8 for _ in row.items)) for row in made.rows]  # fmt: skip
    dense = replace(made, rows=tuple(rows))
    said = plain(Findings(dense))
    assert said.startswith("Pruning itself costs less than 0.02 nats a token") and "does not matter" not in said
    assert f"perplexity of {number(math.exp(10.8))}" in said and "Pruning itself" in answer(Findings(dense))[0]
    harder = replace(dense, rows=tuple(with_nats(row, 12.0 + 0.001 * (row.draw or 0)) for row in dense.rows))
    assert plain(Findings(harder)).startswith("The choice does not matter here")


def test_a_control_that_counts_as_a_source_is_called_a_control():
    made = of(made_up(apart=0.0), lambda row: row.calibration in ("c4", "random_tokens"))
    made = replace(made, rows=tuple(row for row in made.rows if row.method == "wanda" and row.metric == "kl"))
    said = plain(Findings(made))
    assert "1 source and 1 control" in said and "2 sources" not in said


def test_what_a_smaller_copy_lacks_and_draws_that_share_documents_are_said_above_the_page():
    made = replace(made_up(), left_out=("methods: ria", "the grid {a: 1}", "2 of 5 draws", "patterns: 2:4"))
    made = replace(made, about=made.about | {OVERLAPPING: ["gsm8k (documents for 2 of 3)"]})
    said = warnings(Findings(made))
    assert any(line.startswith("Left out, and so not measured: methods: ria; the grid {a: 1}; 2 of 5 draws and 1 thing "
                               "more") for line in said)  # fmt: skip
    assert any(line.startswith("Draws of gsm8k (documents for 2 of 3) have documents in common") for line in said)


def _accuracies(shares: dict, axis: str) -> Results:
    """Accuracies of 50 questions: by (source or method) the right answers of each draw."""
    made = made_up(sources=SOURCES[:2], methods=("wanda",), patterns=("60%",))
    kind = next(row for row in made.rows if row.metric == "accuracy" and row.calibration == "c4" and row.draw == 0)
    rows = []
    for name, right in shares.items():
        for draw, count in enumerate(right):
            items = (1.0,) * count + (0.0,) * (50 - count)
            rows.append(replace(kind.but(**{axis: name}), draw=draw, items=items, value=count / 50))
    return replace(made, rows=tuple(rows), failed=(), missing=0)


def test_accuracies_whose_draws_happen_to_tie_do_not_matter():
    findings = Findings(_accuracies({"c4": (35, 35), "gsm8k:icl": (34, 34)}, axis="calibration"))
    assert [one.word for one in findings.comparisons] == ["cannot be told"]
    assert "cannot tell" in plain(findings)
    moved = Findings(_accuracies({"c4": (35, 36, 35), "gsm8k:icl": (20, 19, 20)}, axis="calibration"))
    assert [one.word for one in moved.comparisons] == ["matters"]


def test_a_method_is_shown_to_be_best_where_it_beats_every_other():
    shares = {"wanda": (40, 41, 40), "ria": (20, 19, 20), "sparsegpt": (40, 40, 41)}
    assert "no method is shown to be better than all others" in plain(Findings(_accuracies(shares, axis="method")))
    shares["sparsegpt"] = (30, 29, 30)
    assert "wanda is shown to be best" in plain(Findings(_accuracies(shares, axis="method")))


def test_one_result_of_the_first_model_so_far_is_no_crash():
    one = _accuracies({"wanda": (40,)}, axis="method")
    two = _accuracies({"wanda": (30,), "ria": (20,)}, axis="method")
    rows = (*(row.but(model="a") for row in one.rows), *(row.but(model="b") for row in two.rows))
    assert "One draw of each" in plain(Findings(replace(one, rows=rows)))


def test_a_claim_over_models_whose_texts_have_other_items_cannot_be_told():
    made = _accuracies({"c4": (35, 36, 35), "gsm8k:icl": (20, 19, 20)}, axis="calibration")
    other = tuple(replace(row.but(model="b"), items=row.items[:-1]) for row in made.rows)
    text = "[{says: so, better: {first: {calibration: c4}, than: {calibration: gsm8k:icl}}}]"
    claims = read_claims(yaml.safe_load(text), "claims")
    (judged,) = judge(Findings(replace(made, rows=made.rows + other, claims=claims)))
    assert judged.judgement.verdict == "cannot be told here" and "other items from one model" in judged.judgement.why


SIDES = [(0.0495319, "0.0495"), (0.04999, "0.04999"), (0.05, "0.050"), (0.3, "0.300"), (0.0009, "< 0.001")]


@pytest.mark.parametrize(("p", "written"), SIDES)
def test_a_p_value_is_written_on_its_side_of_5_percent(p, written):
    from calprune.pages.numbers import LEVEL, probability
    from calprune.uncertainty.power import SIGNIFICANCE

    assert LEVEL == SIGNIFICANCE and probability(p) == written
