"""Contamination: what an evaluation set shares with a text is found, shown, counted and dropped, and only that."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calprune.base.values import ConfigError, UserError, rng
from calprune.calibration.build import build
from calprune.calibration.describe import check_set
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.text.document import Document, Given
from calprune.text.filters import read_filters
from calprune.text.filters.shared_wording import USUAL, Evaluations, contents_of
from tests.tiny import toy_tokenizer

QUESTION = "A ferry with nine cabins leaves the old pier at dawn, and each cabin holds four sleepy gulls. How many?"
SHORT = "Which of the harbour lamps was green then?"  # eight words
SOURCE = """
kind: question
local: {evaluation: eval.jsonl}
prompt: "{{ question }} "
answer: "{{ answer }}"
"""


def words_of(count: int, purpose: str) -> str:
    stream = rng(0, purpose)
    return " ".join(f"{purpose}{stream.randrange(1000)}" for _ in range(count))


def evaluation(folder, questions) -> str:
    """A source of questions with an evaluation split, in files of its own."""
    folder.mkdir(exist_ok=True)
    records = [{"id": i, "question": question, "answer": "36"} for i, question in enumerate(questions)]
    (folder / "eval.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "exam.yaml").write_text(SOURCE)
    return str(folder / "exam.yaml")


def texts_file(folder, texts) -> str:
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_shared_wording_is_found_whatever_its_case_and_punctuation(tmp_path):
    exam = evaluation(tmp_path, [words_of(30, "a"), QUESTION])
    known = Evaluations([exam])
    inside = QUESTION.upper().replace(",", " --")
    (match,) = known.matches(f"{words_of(40, 'b')} {inside} {words_of(40, 'c')}")
    assert match.evaluation == exam and match.example == "eval.jsonl:2"
    assert match.words == ("a ferry with nine cabins leaves the old pier at dawn and each cabin holds four sleepy "
                           "gulls how many")  # fmt: skip


@settings(max_examples=50)
@example(length=12, first=5, at=10)
@example(length=13, first=5, at=10)
@given(length=st.integers(1, 25), first=st.integers(0, 20), at=st.integers(0, 30))
def test_thirteen_words_in_a_row_are_a_match_and_twelve_are_not(tmp_path_factory, length, first, at):
    text = words_of(45, "q")
    exam = evaluation(tmp_path_factory.mktemp("exam"), [text])
    shared = text.split()[first : first + length]
    around = words_of(50, "z").split()
    found = Evaluations([exam]).matches(" ".join([*around[:at], *shared, *around[at:]]))
    assert [match.words for match in found] == ([" ".join(shared)] if length >= 13 else [])


def test_a_short_text_is_looked_for_by_eight_words_and_a_shorter_one_is_counted(tmp_path):
    known = Evaluations([evaluation(tmp_path, [SHORT, "Why seven words and not one more?", QUESTION])])
    assert [m.words for m in known.matches(f"so {SHORT} we ask")] == ["which of the harbour lamps was green then"]
    eight_of_long = " ".join(QUESTION.split()[:8])
    assert known.matches(f"so {eight_of_long} we ask") == []
    assert known.matches("Why seven words and not one more?") == []
    assert (known.sets[0].examples, known.sets[0].too_short) == (3, 1)


def test_short_wording_that_many_examples_have_is_usual(tmp_path):
    few = Evaluations([evaluation(tmp_path / "few", [SHORT] * USUAL)])
    many = Evaluations([evaluation(tmp_path / "many", [SHORT] * (USUAL + 1))])
    assert few.matches(SHORT) and not many.matches(SHORT)


def test_a_run_that_is_broken_off_is_two_and_the_longest_is_shown(tmp_path):
    text = words_of(60, "q").split()
    known = Evaluations([evaluation(tmp_path, [" ".join(text)])])
    (match,) = known.matches(" ".join([*text[:15], "other", *text[16:36], "other", *text[40:]]))
    assert match.words.split() == text[16:36]


def test_the_filter_drops_the_planted_document_counts_it_and_shows_the_words(tmp_path):
    exam = evaluation(tmp_path, [QUESTION])
    clean = [words_of(60, f"k{i}") for i in range(5)]
    path = texts_file(tmp_path, [*clean[:3], f"{words_of(20, 'x')} {QUESTION}", *clean[3:]])
    recipe = parse_spec(path, num_samples=2, max_seq_length=64, filters=[f"contamination('{exam}')"])
    made = build(recipe, toy_tokenizer())
    assert made.counts[f"dropped: shares wording with {exam}"] == 1
    (note,) = [note for note in made.notes if "was dropped" in note]
    assert "own.jsonl:4" in note and "nine cabins leaves the old pier" in note and "eval.jsonl:1" in note
    assert made.drawn[0].pool == 5


def test_a_set_is_named_by_the_contents_of_what_it_was_kept_clear_of(tmp_path):
    path = texts_file(tmp_path, [words_of(60, f"k{i}") for i in range(5)])

    def made(questions):
        exam = evaluation(tmp_path, questions)
        recipe = parse_spec(path, num_samples=2, max_seq_length=64, filters=[f"contamination('{exam}')"])
        return build(recipe, toy_tokenizer()).id

    assert made([QUESTION]) == made([QUESTION]) != made([SHORT])


def test_a_set_is_named_by_how_what_it_was_kept_clear_of_is_read(tmp_path):
    exam = Path(evaluation(tmp_path, [QUESTION, SHORT]))
    before = contents_of(str(exam), Given())
    exam.write_text(SOURCE.replace("local: {", "local: {where: id == 1, "))
    assert contents_of(str(exam), Given()) != before


def test_a_planted_row_is_found_in_a_built_set_with_its_sequence_and_document(tmp_path):
    exam = evaluation(tmp_path, [SHORT, QUESTION])
    path = texts_file(tmp_path, [words_of(60, "k"), f"Yes: {QUESTION}", words_of(60, "l")])
    made = build(parse_spec(path, num_samples=3, max_seq_length=1024, layout="pad"), toy_tokenizer())
    told = check_set(made, toy_tokenizer(), Evaluations([exam])).record()
    (match,) = told["matches"]
    row = next(i for i, pieces in enumerate(made.pieces) if pieces[0].document == "own.jsonl:2")
    assert (match["sequence"], match["document"], match["example"]) == (row, "own.jsonl:2", "eval.jsonl:2")
    assert match["words"].startswith("a ferry with nine cabins")
    assert told["sequences_found"] == 1 and told["against"][0]["examples_found"] == 1
    json.dumps(told)


def test_a_set_of_bare_tokens_is_checked_too(tmp_path):
    tokenizer = toy_tokenizer()
    bare = CalibrationSet.from_tokens([tokenizer("nothing here")["input_ids"], tokenizer(QUESTION)["input_ids"]])
    found = check_set(bare, tokenizer, Evaluations([evaluation(tmp_path, [QUESTION])])).found
    assert [(one.sequence, one.document) for one in found] == [(1, "")]


def test_a_file_is_an_evaluation_set(tmp_path):
    path = texts_file(tmp_path, [QUESTION])
    assert [m.example for m in Evaluations([path]).matches(QUESTION)] == ["own.jsonl:1"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("gsm9k", "did you mean 'gsm8k'"), ("ellipses", "made, not an evaluation set"), ("pile", "no evaluation split")],
)
def test_what_is_no_evaluation_set_is_said(name, told, tmp_path):
    with pytest.raises((ConfigError, UserError), match=told):
        Evaluations([name], Given(data_root=tmp_path))


def test_gsm8ks_own_test_rows_are_found_and_its_training_rows_are_nearly_all_clear(data_root):
    given = Given(data_root=data_root)
    known = Evaluations(["gsm8k"], given)
    assert known.sets[0].examples == 1319
    from calprune.text.find import find_source
    from calprune.text.formats import parse_format

    source = find_source("gsm8k")
    test = [d.text for d in source.documents(parse_format("single"), "evaluation", given)]
    assert all(known.matches(text) for text in test)
    train = [d for d, _ in zip(source.documents(parse_format("cot"), given=given), range(1000), strict=False)]
    (judge,) = (f.open(given) for f in read_filters("contamination(gsm8k)", ""))
    assert sum(bool(reason) for reason in judge(train)) < 10


def test_a_document_is_judged_by_its_text_alone(tmp_path):
    (filter_,) = read_filters(f"contamination('{evaluation(tmp_path, [QUESTION])}')", "")
    judge = filter_.open(Given())
    assert judge([Document("", "1"), Document(QUESTION, "2"), Document("a b", "3")])[::2] == ["", ""]
