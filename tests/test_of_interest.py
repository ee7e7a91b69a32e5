"""The smallest difference of interest: what it is by default, how a study, `report` and `choose` are given another."""

from pathlib import Path

import pytest

from calprune.base.values import ConfigError
from calprune.cli.choose import _nats_of
from calprune.evaluation.metric import ACCURACY, EXACT_MATCH, KL, PERPLEXITY, Interest, Metric, read_interest
from calprune.studies.reading import parse_study
from calprune.studies.results import of_text
from tests.command import calprune
from tests.small_choice import small_question

STUDY = "title: a\nmodels: demo\ncalibrations: c4\nmethods: wanda\npatterns: 50%\nevaluations: kl(c4)\n"


def test_it_is_002_nats_or_a_point_where_nobody_says_otherwise():
    assert [Interest().of(one) for one in (KL, PERPLEXITY, ACCURACY, EXACT_MATCH)] == [0.02, 0.02, 0.01, 0.01]
    own = Metric("mistakes", lower_is_better=True), Metric("mine", log=True, of_interest=0.1)
    assert [Interest().of(one) for one in own] == [None, 0.1]
    with pytest.raises(ConfigError, match=r"metric mine: of_interest: expected a number above 0; got -1.0"):
        Metric("mine", of_interest=-1.0)


def test_in_words_it_is_what_it_means_for_the_metric():
    assert PERPLEXITY.difference(0.02) == "0.02 nats a token (2 % of perplexity)"
    assert KL.difference(0.02) == "0.02 nats a token"
    assert [ACCURACY.difference(one) for one in (0.01, 0.025)] == ["1 point", "2.5 points"]


@pytest.mark.parametrize("given", [{"nats": 0.05, "points": 2, "kl": 0.1}, ["nats=0.05", "points=2", "kl=0.1"]])
def test_nats_points_and_a_metrics_own_name_are_read(given):
    found = read_interest(given, "x")
    assert [found.of(one) for one in (PERPLEXITY, ACCURACY, KL)] == [0.05, 0.02, 0.1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nat": 0.05}, "x: no metric is called 'nat'; did you mean 'nats'"),
        ({"nats": 0}, "x: nats: expected a number above 0; got 0"),
        ({"nats": True}, "x: nats: expected a number above 0; got True"),
        ({"nats": "much"}, "x: nats: expected a number above 0; got 'much'"),
        (["0.05"], "x: cannot read '0.05'; write nats=0.02"),
        (["nats=1", "nats=2"], "x: nats is there twice"),
        (0.05, "x: cannot read 0.05; write nats=0.02"),
    ],
)
def test_a_mistake_is_one_line(given, said):
    with pytest.raises(ConfigError) as refused:
        read_interest(given, "x")
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)


def test_a_studys_file_names_it_and_its_folder_keeps_it(tmp_path):
    text = STUDY + "of_interest: {nats: 0.05}\n"
    assert parse_study(text, "s.yaml").interest.of(KL) == 0.05 and parse_study(STUDY, "s.yaml").interest.of(KL) == 0.02
    assert of_text(text, "study.yaml")[1].of(KL) == 0.05
    with pytest.raises(ConfigError, match=r"s\.yaml: of_interest: no metric is called 'nets'"):
        parse_study(STUDY + "of_interest: {nets: 0.05}\n", "s.yaml")


def test_choose_and_report_refuse_a_mistake_in_one_line():
    for line in (("choose", "demo", "--out", "x"), ("study", "report", "tests/run_of_format_1", "--markdown", "x.md")):
        ended = calprune(*line, "--of-interest", "nat=1")
        assert ended.returncode == 1 and "--of-interest: no metric is called 'nat'" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_a_question_with_the_usual_difference_keeps_its_name():
    usual, other = small_question(Path("x")), small_question(Path("x"), of_interest=0.1)
    assert "of_interest" not in usual.written() and other.written()["of_interest"] == 0.1
    with pytest.raises(ConfigError, match="--of-interest: expected nats a token above 0"):
        small_question(Path("x"), of_interest=-1.0)


def test_what_the_command_names_is_put_into_what_the_study_names():
    both = Interest({"points": 5.0, "nats": 0.02}).but(Interest({"nats": 0.05}))
    assert both.least == {"points": 5.0, "nats": 0.05}


def test_choose_judges_in_nats_and_takes_no_other():
    assert _nats_of(["nats=0.05"]) == 0.05 and _nats_of([]) == 0.02
    with pytest.raises(ConfigError, match="judges by divergence, in nats a token; got points"):
        _nats_of(["points=2"])
