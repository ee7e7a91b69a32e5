"""docs/explanation/findings.md: ten findings whose figures are looked up in the results."""

import json
import re
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

import pytest

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

import findings_page  # noqa: E402

from calprune.report import read_results  # noqa: E402

NAMES = [finding["says"] for finding in findings_page.findings()]


def test_there_are_ten_and_the_page_has_each_with_its_chart_its_certainty_and_its_study():
    page = (DOCS / "explanation" / "findings.md").read_text(encoding="utf-8")
    parts = re.split(r"\n## \d+\. ", page)[1:]
    assert len(parts) == len(NAMES) == 10
    for part, name in zip(parts, NAMES, strict=True):
        assert part.startswith(f"{name}\n") and "*How sure*: " in part and "*From*: [" in " ".join(part.split())
        (picture,) = re.findall(r"\]\(\.\./(pictures/finding-\d+\.svg)\)", part)
        assert (DOCS / picture).is_file()
        assert "{" not in part


def test_a_figure_is_that_of_the_result_and_moves_with_it(tmp_path, monkeypatch):
    shutil.copytree(DOCS / "results", tmp_path / "results")
    monkeypatch.setattr(findings_page, "RESULTS", tmp_path / "results")
    before = findings_page.page()
    assert (DOCS / "explanation" / "findings.md").read_text(encoding="utf-8").endswith(before)
    kept = tmp_path / "results" / "methods.claims.json"
    judged = json.loads(kept.read_text())
    (claim,) = [one for one in judged["claims"] if one["says"] == "ADMM is better than SparseGPT at 2:4"]
    claim["measured"] |= {"value": 0.77, "low": 0.7, "high": 0.84}
    kept.write_text(json.dumps(judged))
    now = " ".join(findings_page.page().split())
    assert "0.77 [0.70, 0.84]" in now and "0.77 [0.70, 0.84]" not in " ".join(before.split())
    (drawn,) = [finding for finding in findings_page.findings() if finding["says"].startswith("The method matters")]
    assert "0.77 [0.70, 0.84]" in findings_page.chart(drawn)


def test_what_the_pages_say_in_short_of_the_larger_model_is_what_its_studies_found():
    def verdicts(study: str, words: str = "") -> list[str]:
        kept = json.loads((DOCS / "results" / f"{study}.claims.json").read_text())
        return [claim["verdict"] for claim in kept["claims"] if words in claim["says"]]

    def means(study: str, evaluation: str = "kl(wikitext2") -> dict[tuple[str, ...], float]:
        cells = defaultdict(list)
        for row in read_results(DOCS / "results" / f"{study}.parquet").rows:
            of = (row.axes["model"], row.axes["allocation"])
            if row.evaluation.startswith(evaluation) and of == ("qwen2.5-coder-0.5b", "uniform"):
                cells[row.calibration, row.axes["method"], row.axes["pattern"]].append(row.value)
        return {cell: fmean(values) for cell, values in cells.items()}

    loss = {cell[1:]: mean for cell, mean in means("default_method").items()}  # "Wanda at 50 %, ADMM at 2:4", README
    assert loss["wanda", "50%"] < loss["admm", "50%"] < loss["sparsegpt", "50%"]
    assert loss["admm", "2:4"] < loss["sparsegpt", "2:4"] < loss["wanda", "2:4"]
    neurons = means("structured_half_billion")["c4", "flap", "neurons:25%"]
    assert loss["wanda", "50%"] < neurons < loss["sparsegpt", "50%"]
    overlaps = {(row["method"], row["width"]): row["overlap"]
                for row in json.loads((DOCS.parent / "benchmarks" / "halves.json").read_text())["rows"]}  # fmt: skip
    assert all(of[-1] - of[-2] > 0 and sorted(of) == of for (method, _), of in overlaps.items() if method == "wanda")
    assert overlaps["sparsegpt", 4864].index(min(overlaps["sparsegpt", 4864])) == 2  # "falls first": 4,096 tokens
    assert verdicts("williams2024_half_billion", "more than a quantised one") == ["held"] * 2  # "shown"
    assert verdicts("own_text_after_begin").count("held") == 3  # "better than C4 is shown for three"
    languages = [one for name in ("German", "Spanish", "Arabic", "Chinese")
                 for one in verdicts("languages_half_billion", f"{name} is kept better by text in {name}")]  # fmt: skip
    assert len(languages) == 4 and languages.count("held") == 3  # "shown for three of four"
    assert set(verdicts("selection_half_billion")) == {"not held"}  # "gains less than 0.02 nats"
    public = verdicts("mixtures_half_billion", "public mixture")
    assert len(public) == 6 and "held" not in public  # "not shown to be better for anything"
    finalists, methods = means("finalists_half_billion"), means("methods_half_billion")
    web = [finalists["c4", method, pattern] for pattern in ("50%", "2:4") for method in ("wanda", "sparsegpt")]
    assert web[0] < web[1] and web[2] > web[3]  # "SparseGPT comes before Wanda at 2:4 alone"
    assert verdicts("finalists_half_billion", "The source matters more") == [
        "held",
        "held",
    ]  # "that it is more is shown"
    spans = [max(of) - min(of) for method in ("sparsegpt", "wanda") for pattern in ("50%", "2:4")
             for of in [[finalists[source, method, pattern] for source in ("c4", "pile", "gsm8k:icl")]]]  # fmt: skip
    assert [round(span, 2) for span in spans] == [0.24, 0.42, 0.08, 0.04]
    assert methods["c4", "wanda", "60%"] < methods["c4", "sparsegpt", "60%"]
    assert verdicts("methods_half_billion", "is better than Wanda at 2:4").count("held") == 1  # DSnoT
    assert "held" not in verdicts("methods_half_billion", "at 60 %")
    first = {row.axes["method"] + row.axes["allocation"]: row.value
             for row in read_results(DOCS / "results" / "methods_half_billion.parquet").rows
             if row.draw == 0 and row.axes["pattern"] == "60%" and row.measures.name == "kl"}  # fmt: skip
    assert min(first, key=first.__getitem__) == "admmuniform"  # "ADMM at 60 % (one draw)"
    mended = [means("shin2024_half_billion", f"kl({text}") for text in ("c4", "wikitext2", "gsm8k")]
    gains = [of["c4", "sparsegpt", "60%"] - of["c4", "block_reconstruction(start=sparsegpt, epochs=1)", "60%"]
             for of in mended]  # fmt: skip
    assert [round(gain, 2) for gain in gains] == [0.14, 0.15, 0.08]
    assert verdicts("shin2024_half_billion", "may do harm elsewhere") == ["not held"]  # "no harm there: shown"
    assert verdicts("shin2024_half_billion").count("held") == 2  # "0.14 and 0.15, which is shown"
    blocks = means("structured_half_billion", "kl(gsm8k")
    assert blocks["gsm8k", "block_influence", "blocks:3"] > 2 * blocks["c4", "block_influence", "blocks:3"]  # "do harm"
    rows = read_results(DOCS / "results" / "own_text_after_begin.parquet").rows
    for task in ("gsm8k", "svamp", "mawps", "esnli", "race", "winogrande"):  # "each served best by its own text"
        losses = defaultdict(list)
        for row in rows:
            if row.evaluation.startswith(f"kl({task},"):
                losses[row.calibration].append(row.value)
        assert len(losses) == 7 and min(losses, key=lambda source: fmean(losses[source])) == task


def test_what_is_called_held_is_what_the_study_judged(tmp_path, monkeypatch):
    shutil.copytree(DOCS / "results", tmp_path / "results")
    monkeypatch.setattr(findings_page, "RESULTS", tmp_path / "results")
    (finding,) = [one for one in findings_page.findings() if "is a finding about padding" in one["says"]]
    assert findings_page.held(finding["rows"]).endswith(": GSM8K, as published; e-SNLI, as published. ")
    kept = tmp_path / "results" / "bandari2024.claims.json"
    judged = json.loads(kept.read_text())
    for claim in judged["claims"]:
        claim["verdict"] = "not held"
    kept.write_text(json.dumps(judged))
    assert findings_page.held(finding["rows"]).endswith(": none of them. ")


def test_a_dense_models_figure_on_an_axis_stands_on_the_page_that_the_finding_names():
    said = {(dense, finding["study"]) for finding in findings_page.findings()
            for dense in re.findall(r"\(dense ([\d.]+);", finding["axis"])}  # fmt: skip
    assert {dense for dense, _ in said} == {"46.5", "38.1", "12.2"}
    for dense, study in said:
        page, *_ = re.findall(r"\.\./results/(\w+\.html)", study)  # those after it are of other models
        text = (DOCS / "results" / page).read_text(encoding="utf-8")
        cells = Counter(re.findall(r'<td data-tsv="([\d.]+)" class="number">', text))
        assert dense in {f"{float(cell):.1f}" for cell, rows in cells.items() if rows >= 10}, "it stands in each row"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"label": "x", "claim": ["padding", "nobody claims this"]}, "0 results are"),
        ({"label": "x", "mean": ["structured", {"source": "c4"}]}, "results are"),
        ({"label": "x", "set": "nowhere"}, "0 results are nowhere"),
        ({"label": "x", "table": ["choosing-calibration-data.md", "Perplexity, means", ["nobody"], 6]}, "0 results"),
        ({"label": "x", "choice": ["sparsegpt", "nobody", "c4"]}, "0 results are"),
        ({"label": "x"}, "x: expected one of claim, mean, set, table, choice"),
    ],
)
def test_a_figure_that_no_result_holds_is_one_line(row, said):
    with pytest.raises(ValueError) as refused:
        findings_page.figure(row)
    assert said in str(refused.value) and "docs/findings.yaml" in str(refused.value) and "\n" not in str(refused.value)


def test_a_negative_figure_is_the_same_with_its_sign_turned():
    row = {"label": "x", "choice": ["sparsegpt", "uniform mixture", "c4"]}
    one, turned = findings_page.figure(row), findings_page.figure(row | {"negative": True})
    assert (turned.value, turned.low, turned.high) == (-one.value, -one.high, -one.low) and turned.low < turned.high


def test_an_interval_is_drawn_from_its_low_to_its_high_end():
    rows = [{"label": name, "choice": ["sparsegpt", name, "c4"]} for name in ("uniform mixture", "weighted mean")]
    equal, mixed = map(findings_page.figure, rows)
    finding = {"says": "s", "axis": "a", "rows": rows}
    drawn = findings_page.chart(finding)
    ends = [
        [float(end) for end in found] for found in re.findall(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', drawn)
    ]
    points = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert [low < x < high for (low, high), x in zip(ends, points, strict=True)] == [True, True]
    (first, second), (value_first, value_second) = ends, points
    per_nat = (value_first - value_second) / (equal.value - mixed.value)
    assert first[1] - first[0] == pytest.approx((equal.high - equal.low) * per_nat, rel=0.02)
    assert second[1] - second[0] == pytest.approx((mixed.high - mixed.low) * per_nat, rel=0.02)
