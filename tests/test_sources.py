"""Sources: what the catalogue promises, how records are worded, which split is whose, and what bad input is told."""

import gzip
import json
import os
import socket
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, get_args

import pytest
from typer.testing import CliRunner

from calprune.base.values import ConfigError, UserError
from calprune.text.controls import MAKERS
from calprune.text.document import Given
from calprune.text.find import catalogue, find, find_source, read_yaml
from calprune.text.formats import Format, parse_format
from calprune.text.places import files_hash, local_files
from calprune.text.source import TAGS, FileSource
from calprune.text.wording import letters
from tests.test_formats import CHATML, outside, tokenizer

DATA = Path(os.environ["CALPRUNE_DATA"]).resolve() if os.environ.get("CALPRUNE_DATA") else None
needs_data = pytest.mark.skipif(DATA is None, reason="needs data sets on disk: set CALPRUNE_DATA")
ASKED_FOR = """
    c4 pile pile_cc pile_dm_mathematics pile_europarl pile_github pile_hackernews pile_nih_exporter pile_philpapers
    pile_pubmed_abstracts pile_stackexchange pile_uspto pile_wikipedia redpajama redpajama_cc redpajama_arxiv
    redpajama_book redpajama_github redpajama_stackexchange redpajama_wiki slimpajama oscar wikipedia dclm fineweb_edu
    openwebtext dolma wikitext2 gutenberg gsm8k svamp mawps math esnli anli_r1 anli_r2 anli_r3 rte boolq commonsense_qa
    race winogrande piqa hellaswag lambada arc_easy arc_challenge openbookqa mmlu humaneval mbpp alpaca xquad_ar
    xquad_de xquad_en xquad_es xquad_hi xquad_ru xquad_tr xquad_vi xquad_zh ud_pud_ar ud_pud_de ud_pud_en ud_pud_es
    ud_pud_zh mgsm_de mgsm_en mgsm_zh ellipses random_characters random_tokens pydoc_topics
"""


@pytest.fixture(autouse=True)
def without_data_root(monkeypatch):
    monkeypatch.delenv("CALPRUNE_DATA", raising=False)
    monkeypatch.delenv("CALPRUNE_CATALOGUE", raising=False)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network in this test")

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def put(root: Path, file: str, *records: dict) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(root / file, "wt", encoding="utf-8") as f:
        f.writelines(json.dumps(record) + "\n" for record in records)


def texts(source, format: str, root: Path | None, split: str = "calibration", tokenizer=None) -> list[str]:
    given = Given(tokenizer=tokenizer, data_root=root)
    return [document.text for document in source.documents(parse_format(format), split, given)]


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_source_of_the_literature_in_order():
    assert not set(ASKED_FOR.split()) - set(catalogue())
    assert list(catalogue()) == sorted(catalogue())


@pytest.mark.parametrize("name", catalogue())
def test_every_entry_says_what_it_is_what_it_allows_and_whom_to_cite(name):
    source = catalogue()[name]
    assert source.title and source.about and source.licence != "not stated" and source.citation
    assert source.licence_tags and set(source.licence_tags) <= set(TAGS)
    assert source.default_format in source.formats
    assert not (source.hub and source.hub.tried)  # nobody has read one through its entry yet
    for place in filter(None, (source.local, source.hub)):
        shared = set(place.files("calibration")) & set(place.files("evaluation"))
        assert not shared or isinstance(place.where, dict), "the same file calibrates and evaluates"


def test_stand_ins_are_labelled():
    assert {name for name, source in catalogue().items() if source.stand_in} == {"dclm", "math_solutions", "oscar"}


def test_what_cannot_be_sold_can_be_told():
    nc = {name for name, source in catalogue().items() if "nc" in source.licence_tags}
    assert {"alpaca", "anli_r1", "anli_r2", "anli_r3", "race"} <= nc and "gsm8k" not in nc


# -- wording, on invented records -------------------------------------------------------------------------------------

RIVER = {"id": "q1", "answerKey": "B"}
RECORDS = {
    "gsm8k": ("gsm8k/train.jsonl.gz", {"question": "Two pens cost 4. One?",
                                       "answer": "4/2 = <<4/2=2>>2.\nSo 2.\n#### 2"}),
    "svamp": ("svamp/train.jsonl.gz", {"Body": "Ann has 3 cups.", "Question": "Two more?",
                                       "Equation": "( 3.0 + 2.0 )"}),
    "mawps": ("mawps/train.jsonl.gz", {"original_text": "Three and two ?", "equation": "X=(3.0+2.0)", "ans": 5.0}),
    "esnli": ("esnli/train.jsonl.gz", {"premise": "A dog runs.", "hypothesis": "It sleeps.", "label": 2,
                                       "explanation_1": "Running is not sleeping."}),
    "anli_r1": ("anli_r1/dev_context_disjoint.jsonl.gz", {"premise": "A dog runs.", "hypothesis": "It is old.",
                                                          "label": 1, "reason": "No age is given."}),
    "rte": ("rte/train.jsonl.gz", {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}),
    "boolq": ("boolq/train.jsonl.gz", {"passage": "Tin melts early.", "question": "does tin melt", "answer": True}),
    "race": ("race/train.jsonl.gz", {"article": "Jo has a hen.", "questions": ["Who?", "What?"], "answers": ["A", "B"],
                                     "options": [["Jo", "Al"], ["A cat", "A hen"]], "id": "high1"}),
    "winogrande": ("winogrande/train.jsonl.gz", {"sentence": "The _ is hot.", "option1": "ice", "option2": "tea",
                                                 "answer": "2"}),
    "piqa": ("piqa/train.jsonl.gz", {"goal": "cool tea", "sol1": "wait", "sol2": "boil it", "label": 0}),
    "arc_easy": ("arc_easy/train.jsonl.gz", RIVER | {"question": "Which is a river?",
                                                     "choices": {"text": ["Alps", "Elbe"], "label": ["A", "B"]}}),
    "openbookqa": ("openbookqa/train.jsonl.gz", RIVER | {"question_stem": "Which is a river?",
                                                         "choices": {"text": ["Alps", "Elbe"], "label": ["A", "B"]}}),
    "mbpp": ("mbpp/train.jsonl.gz", {"text": "Add two.", "code": "def f(a, b):\r\n    return a + b",
                                     "test_list": ["assert f(1, 2) == 3"]}),
    "alpaca": ("alpaca/train.jsonl.gz", {"instruction": "Translate.", "input": "Tag", "output": "day"}),
}  # fmt: skip
WORDED = {
    "gsm8k:single": "Question: Two pens cost 4. One?\nAnswer: 2",
    "gsm8k:zero": "Question: Two pens cost 4. One?\nAnswer: ",
    "gsm8k:cot": "Question: Two pens cost 4. One?\nAnswer: 4/2 = <<4/2=2>>2.\nSo 2.. So the answer is 2.",
    "svamp:icl": "Question: Ann has 3 cups. Two more?\nAnswer: ( 3.0 + 2.0 )",
    "mawps:icl": "Question: Three and two ?\nAnswer: (3.0+2.0)",
    "esnli:single": "Premise: A dog runs.\nHypothesis: It sleeps.\nLabel: contradiction",
    "esnli:icl_cot": "Premise: A dog runs.\nHypothesis: It sleeps.\nLabel: Running is not sleeping. "
                     "So the answer is contradiction.",
    "anli_r1:cot": "Premise: A dog runs.\nHypothesis: It is old.\nLabel: No age is given. So the answer is neutral.",
    "rte:icl": "Premise: It rains.\nHypothesis: It is wet.\nLabel: entailment",
    "boolq:icl": "Tin melts early.\nQuestion: does tin melt?\nAnswer: yes",
    "race:icl": "Article: Jo has a hen.\nQuestion: Who?\nOptions:\nA. Jo\nB. Al\n\nAnswer: A",
    "winogrande:icl": "Sentence: The _ is hot.\nOptions:\n1. ice\n2. tea\nAnswer: 2",
    "piqa:icl": "Goal: cool tea\nOptions:\n1. wait\n2. boil it\nAnswer: 1",
    "arc_easy:icl": "Question: Which is a river?\nChoices:\nA. Alps\nB. Elbe\nAnswer: B",
    "openbookqa:icl": "Question: Which is a river?\nChoices:\nA. Alps\nB. Elbe\nAnswer: B",
    "mbpp:single": "Task: Add two.\nTest: assert f(1, 2) == 3\nCode:\ndef f(a, b):\n    return a + b",
    "alpaca:single": "Instruction: Translate.\nInput: Tag\nResponse: day",
}  # fmt: skip


@pytest.mark.parametrize("what", WORDED)
def test_prompts_are_worded_as_the_papers_do(what, tmp_path):
    name, _, format = what.partition(":")
    file, record = RECORDS[name]
    put(tmp_path, file, record)
    assert texts(find_source(name), format, tmp_path)[0] == WORDED[what]


def test_a_passage_with_several_questions_gives_a_document_each_with_ids_of_their_own(tmp_path):
    put(tmp_path, *RECORDS["race"])
    documents = list(find_source("race").documents(parse_format("icl"), given=Given(data_root=tmp_path)))
    assert [d.id for d in documents] == ["race/train.jsonl.gz:1.1", "race/train.jsonl.gz:1.2"]
    assert documents[1].text.endswith("Question: What?\nOptions:\nA. A cat\nB. A hen\n\nAnswer: B")


def test_rationales_are_joined_by_id_and_records_without_one_are_counted(tmp_path):
    choices = [{"label": "A", "text": "Alps"}, {"label": "B", "text": "Elbe"}]
    asked = {"answerKey": "B", "question": {"stem": "A river?", "choices": choices}}
    put(tmp_path, "commonsense_qa/train.jsonl.gz", asked | {"id": "1"}, asked | {"id": "2"})
    put(tmp_path, "ecqa/train.jsonl.gz", {"id": "2", "explanation": "Alps are hills."})
    put(tmp_path, "cos_e/train.jsonl.gz", {"id": "1", "explanation": {"open-ended": "water flows"}})
    documents = find_source("commonsense_qa").documents(parse_format("cot"), given=Given(data_root=tmp_path))
    assert [d.text for d in documents] == [
        "Question: A river?\nChoices:\nA. Alps\nB. Elbe\nAnswer: Alps are hills. So the answer is B."
    ]
    assert documents.skipped == {"no rationale": 1}
    assert "water flows So the answer is B." in texts(find_source("commonsense_qa_cos_e"), "cot", tmp_path)[0]


def test_rationales_that_are_not_there_are_asked_for(tmp_path):
    put(tmp_path, "commonsense_qa/train.jsonl.gz", {"answerKey": "B", "question": {"stem": "A river?", "choices": []}})
    with pytest.raises(UserError, match=r"rationales of commonsense_qa \(ecqa/train.jsonl.gz\) are not in"):
        find_source("commonsense_qa").documents(parse_format("cot"), given=Given(data_root=tmp_path))


def test_rationales_keep_the_spaces_around_them_only_as_published(tmp_path):
    record = {"premise": "A.", "hypothesis": "B.", "label": 1, "reason": "Not said. "}
    put(tmp_path, "anli_r1/dev_context_disjoint.jsonl.gz", record)
    [plain], [published] = (texts(find_source("anli_r1"), f, tmp_path) for f in ("cot", "cot(keep_spaces=True)"))
    assert plain.endswith("Label: Not said. So the answer is neutral.")
    assert published.endswith("Label: Not said.  So the answer is neutral.")
    with pytest.raises(ConfigError, match="format icl: unknown option 'keep_spaces'"):
        parse_format("icl(keep_spaces=True)")


def test_steps_choose_rationales_and_count_the_others(tmp_path):
    put(tmp_path, "gsm8k/train.jsonl.gz", *({"question": str(n), "answer": "a\n" * n + "#### 1"} for n in (1, 2, 2, 3)))
    documents = find_source("gsm8k").documents(parse_format("cot(steps=2)"), given=Given(data_root=tmp_path))
    assert [d.id.rpartition(":")[2] for d in documents] == ["2", "3"]
    assert documents.skipped == {"another number of reasoning steps": 2}


def test_a_question_is_a_turn_and_its_answer_the_response(tmp_path):
    put(tmp_path, *RECORDS["gsm8k"])
    source = find_source("gsm8k")
    [d] = source.documents(
        parse_format("chat(responses)"), given=Given(tokenizer=tokenizer(CHATML), data_root=tmp_path)
    )
    assert outside(d.text, d.spans) == ["2"] and "user\nTwo pens cost 4. One?<|im_end|>" in d.text


def test_a_component_of_the_pile_is_that_component_alone(tmp_path):
    put(tmp_path, "pile/test.jsonl.gz", {"text": "x = 1", "meta": {"pile_set_name": "Github"}},
        {"text": "Ein Saal", "meta": {"pile_set_name": "EuroParl"}})  # fmt: skip
    assert texts(find_source("pile_github"), "plain", tmp_path) == ["x = 1"]
    [first, _] = find_source("pile").documents(parse_format("plain"), given=Given(data_root=tmp_path))
    assert first.fields == (("component", "Github"),)


def test_articles_of_wikitext_are_put_together_from_their_lines(tmp_path):
    lines = ["", " = One = \n", "", " text \n", " = = Part = = \n", " more \n", " = Two = \n", " text \n"]
    put(tmp_path, "wikitext2/test.jsonl.gz", *({"text": line} for line in lines))
    found = texts(find_source("wikitext2"), "plain", tmp_path, "evaluation")
    assert [text.split(" = ")[1] for text in found] == ["One", "Two"]
    assert "\n\n".join(found) == "\n\n".join(lines[1:])


# -- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lambada", "humaneval", "mgsm_de"])
def test_calibrating_on_what_evaluates_must_be_allowed(name, tmp_path):
    source = find_source(name)
    with pytest.raises(UserError, match=r"only evaluates.*allow_evaluation_split"):
        source.split_for("calibration", Given(data_root=tmp_path))
    assert source.split_for("calibration", Given(data_root=tmp_path), allow_evaluation_split=True) == "evaluation"


def test_hellaswag_only_evaluates_where_the_hub_is_not(tmp_path, offline):
    put(tmp_path, "hellaswag/validation.jsonl.gz", {"query": "He sat", "choices": ["down.", "up."], "gold": 0})
    source = find_source("hellaswag")
    assert source.split_for("calibration", Given(data_root=tmp_path), allow_evaluation_split=True) == "evaluation"
    assert texts(source, "single", tmp_path, "evaluation") == ["He sat down."]
    with pytest.raises(UserError, match="allow_evaluation_split"):
        source.documents(
            parse_format("icl"),
            source.split_for("calibration", Given(data_root=tmp_path)),
            given=Given(data_root=tmp_path),
        )


def test_a_source_without_an_evaluation_split_says_so(tmp_path):
    with pytest.raises(UserError, match="source pile has no evaluation split, it only calibrates"):
        find_source("pile").documents(parse_format("plain"), "evaluation", given=Given(data_root=tmp_path))


def test_calibration_rows_that_repeat_in_the_evaluation_split_are_left_out(tmp_path):
    asked = [{"question": q, "subject": "s", "choices": ["1", "2"], "answer": 0} for q in ("One?", "one !", "Two?")]
    put(tmp_path, "mmlu/validation.jsonl.gz", *asked[1:])
    put(tmp_path, "mmlu/test.jsonl.gz", asked[0])
    documents = find_source("mmlu").documents(parse_format("zero"), given=Given(data_root=tmp_path))
    assert ["Two?" in d.text for d in documents] == [True]
    assert documents.skipped == {"prompt is also in the evaluation split": 1}
    files = [path.name for path in local_files(find_source("mmlu"), "calibration", tmp_path)]
    assert files == ["validation.jsonl.gz", "test.jsonl.gz"]  # so a change of either renames the set


def test_rows_that_repeat_in_the_evaluation_split_are_left_out_in_a_format_of_ones_own(tmp_path):
    asked = [{"question": q, "subject": "s", "choices": ["1", "2"], "answer": 0} for q in ("One?", "one !", "Two?")]
    put(tmp_path, "mmlu/validation.jsonl.gz", *asked[1:])
    put(tmp_path, "mmlu/test.jsonl.gz", asked[0])
    documents = find_source("mmlu").documents(parse_format(f"{__name__}:Question"), given=Given(data_root=tmp_path))
    assert [document.text for document in documents] == ["Two?"]
    assert documents.skipped == {"prompt is also in the evaluation split": 1}


@dataclass(frozen=True)
class Question:
    """A format of one's own."""

    packing: ClassVar[str] = "text"

    def document(self, record):
        return record["question"]


def test_the_help_texts_of_python_are_split_by_topic():
    source = find_source("pydoc_topics")
    calibration, evaluation = (texts(source, "plain", None, split) for split in ("calibration", "evaluation"))
    assert len(calibration) > 2 * len(evaluation) > 20
    assert not {letters(t) for t in calibration} & {letters(t) for t in evaluation}


# -- controls ---------------------------------------------------------------------------------------------------------


def control(name: str, seed: int, n: int = 3) -> list:
    words = tokenizer(None)
    return list(islice(find_source(name).documents(parse_format("plain"), seed=seed, given=Given(tokenizer=words)), n))


def test_ellipses_are_a_thousand_full_stops_without_end():
    assert {d.text for d in control("ellipses", 0, 1000)} == {"." * 1000}


@pytest.mark.parametrize("name", ["random_characters", "random_tokens"])
def test_random_controls_are_the_same_for_a_seed_and_differ_between_seeds_and_splits(name):
    assert control(name, 0) == control(name, 0)
    assert control(name, 0)[0] != control(name, 0)[1]
    assert control(name, 0) != control(name, 1)
    if name == "random_characters":
        assert all(len(d.text) == 1000 and d.text.isascii() and d.text.isalnum() for d in control(name, 0))


def test_random_tokens_are_uniform_over_the_vocabulary_without_special_tokens():
    counts = [0] * 11  # three special tokens, then eight words
    for document in control("random_tokens", 0, 20):
        for token in document.tokens:
            counts[token] += 1
    assert sum(counts[:3]) == 0 and sum(counts) == 20 * 2048
    assert all(abs(count - sum(counts) / 8) < 6 * (sum(counts) / 8) ** 0.5 for count in counts[3:])


def test_every_control_has_its_maker():
    assert set(MAKERS) == {source.made for source in catalogue().values() if source.made}


# -- bad input --------------------------------------------------------------------------------------------------------


def test_an_unknown_source_is_told_what_was_meant():
    with pytest.raises(ConfigError, match="unknown source 'gsm9k'; did you mean 'gsm8k'"):
        find_source("gsm9k")


def test_a_source_without_rationales_refuses_cot_and_lists_its_formats(tmp_path):
    put(tmp_path, *RECORDS["svamp"])
    with pytest.raises(ConfigError, match=r"no format 'cot' \(it has no rationales\); it has: zero, single, icl, chat"):
        find_source("svamp").documents(parse_format("cot"), given=Given(data_root=tmp_path))


def test_offline_and_without_data_the_line_says_both_ways(offline):
    with pytest.raises(UserError) as e:
        find_source("c4").documents(parse_format("plain"))
    assert "hub, which cannot be reached" in str(e.value) and "--data-root (or CALPRUNE_DATA)" in str(e.value)
    assert "c4/train.jsonl.gz" in str(e.value) and "\n" not in str(e.value)


def test_a_data_root_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"the data root .*nowhere is not a folder"):
        find_source("c4").documents(parse_format("plain"), given=Given(data_root=tmp_path / "nowhere"))


def test_a_missing_field_is_named_with_its_record_and_the_fields_there_are(tmp_path):
    put(tmp_path, "svamp/train.jsonl.gz", RECORDS["svamp"][1], {"Body": "x", "Frage": "y"})
    with pytest.raises(UserError, match=r"train.jsonl.gz: record 2 has no field 'Question'; its fields: Body, Frage"):
        texts(find_source("svamp"), "icl", tmp_path)
    put(tmp_path, "c4/train.jsonl.gz", {"content": "x"})
    with pytest.raises(UserError, match=r"c4/train.jsonl.gz: record 1 has no field 'text'; its fields: content"):
        texts(find_source("c4"), "plain", tmp_path)


# -- a user's own -----------------------------------------------------------------------------------------------------


def lines(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_file_of_texts_and_a_file_of_conversations_are_sources(tmp_path):
    source = FileSource(str(lines(tmp_path / "a.jsonl", {"text": "one"}, {"text": "  "}, {"text": "two"})))
    documents = source.documents(parse_format("plain"))
    assert [(d.id, d.text) for d in documents] == [("a.jsonl:1", "one"), ("a.jsonl:3", "two")]
    assert documents.skipped == {"empty text": 1} and source.default_format == "plain"
    (same := tmp_path / "a.txt").write_bytes((tmp_path / "a.jsonl").read_bytes())
    assert (
        FileSource(str(same)).rows_read("calibration", Given()).revision
        == source.rows_read("calibration", Given()).revision
    )
    assert FileSource(str(same)).identity() != source.identity(), "the same bytes, read otherwise"
    chat = FileSource(str(lines(tmp_path / "b.jsonl", {"prompt": "hi", "response": "yo"})))
    [d] = chat.documents(parse_format("chat(responses)"), given=Given(tokenizer=tokenizer(CHATML)))
    assert chat.formats == ("chat",) and outside(d.text, d.spans) == ["yo"]
    assert chat.rows_read("calibration").contents == files_hash([tmp_path / "b.jsonl"])


@pytest.mark.parametrize("second, said", [
    ({"instruction": "a", "output": "b"}, "b.jsonl:2: .*records before it are 'prompt' ones.*: instruction, output"),
    ({"text": "a"}, "b.jsonl:2: .*its fields: text"),
    ({"prompt": "a"}, "b.jsonl:2: a 'prompt' record that lacks 'response'; its fields: prompt"),
])  # fmt: skip
def test_records_of_mixed_kinds_are_refused(second, said, tmp_path):
    source = FileSource(str(lines(tmp_path / "b.jsonl", {"prompt": "hi", "response": "yo"}, second)))
    with pytest.raises(UserError, match=said):
        texts(source, "chat", None, tokenizer=tokenizer(CHATML))


def test_a_file_that_is_neither_says_what_it_could_be(tmp_path):
    with pytest.raises(UserError, match=r"neither a field 'text' nor.*\(ShareGPT.*its fields: body, id"):
        FileSource(str(lines(tmp_path / "c.jsonl", {"body": "x", "id": 1}))).formats  # noqa: B018
    with pytest.raises(UserError, match=r"empty.jsonl has no records"):
        FileSource(str(lines(tmp_path / "empty.jsonl"))).formats  # noqa: B018


OWN = """
kind: question
licence_tags: [permissive]
local: {calibration: quiz.jsonl, evaluation: quiz_test.jsonl}
prompt: "Q: {{ ask }}\\nA: "
answer: "{{ say }}"
"""


def own(folder: Path, text: str = OWN) -> Path:
    (folder / "quiz.yaml").write_text(text)
    lines(folder / "quiz.jsonl", {"ask": "Is tin a metal?", "say": "yes"})
    return folder / "quiz.yaml"


def test_one_yaml_beside_its_file_is_a_source(tmp_path, monkeypatch):
    source = find_source(str(own(tmp_path)))
    assert texts(source, "single", None) == ["Q: Is tin a metal?\nA: yes"]
    monkeypatch.setenv("CALPRUNE_CATALOGUE", str(tmp_path))
    assert texts(find_source("quiz"), "zero", None) == ["Q: Is tin a metal?\nA: "]
    assert "c4" in catalogue()


@pytest.mark.parametrize("old, new, said", [
    ("prompt:", "promt:", "unknown option 'promt'; did you mean 'prompt'"),
    ("calibration:", "calibrate:", "quiz.yaml: local: unknown option 'calibrate'; did you mean 'calibration'"),
    ("[permissive]", "[free]", "unknown tag 'free'; there are: mixed, nc"),
    ("kind: question", "kind: quiz", "quiz.yaml: kind"),
    ('answer: "{{ say }}"', "", "needs the wordings prompt and answer"),
    ("local: {", "lokal: {", "unknown option 'lokal'; did you mean 'local'"),
    ("local: {calibration: quiz.jsonl, evaluation: quiz_test.jsonl}", "", "needs a place: local, hub or made"),
    ("kind: question", "kind: [", "quiz.yaml: while parsing"),
])  # fmt: skip
def test_a_mistake_in_a_yaml_is_named_in_one_line(old, new, said, tmp_path):
    path = own(tmp_path, OWN.replace(old, new))
    with pytest.raises(ConfigError) as e:
        find_source(str(path))
    assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("wording, said", [
    ("{{ ask", "cannot read the wording"),
    ("{{ asked }}", "quiz.jsonl: record 1 has no field 'asked'; its fields: ask, say"),
    ("{{ ask.missing }}", "quiz.jsonl:1: .*missing.*its fields: ask, say"),
    ("{{ ''.__class__ }}", "quiz.jsonl:1: .*unsafe"),
])  # fmt: skip
def test_a_wording_that_cannot_be_written_is_named(wording, said, tmp_path):
    source = find_source(str(own(tmp_path, OWN.replace("{{ ask }}", wording))))
    with pytest.raises(UserError, match=said):
        texts(source, "single", None)


@pytest.mark.parametrize("condition", ["checked", "checked == 1", "row < limit", "not checked"])
def test_a_condition_on_a_field_that_is_not_there_is_named(condition, tmp_path):
    source = find_source(str(own(tmp_path, OWN.replace("local: {", f"local: {{where: {condition}, "))))
    with pytest.raises(UserError, match=r"record 1 has no field '(checked|limit)'; its fields: ask, say"):
        texts(source, "single", None)


@pytest.mark.parametrize(("place", "text", "record", "said"), [
    ("begins: '^='", "{{ text }}", {"words": "a"}, "record 1 has no field 'text'; its fields: words"),
    ("begins: '^='", "{{ text }}", {"text": None}, "field 'text' holds None, not a line of text"),
    ("begins: '(='", "{{ text }}", {"text": "= a"}, "begins: '(=' is no pattern of lines"),
    ("each: {a: as, b: bs}", "{{ a }}", {"as": [1, 2], "bs": [1]}, "expected lists of one length; got as: 2, bs: 1"),
    ("each: {a: as}", "{{ a }}", {"as": None}, "expected lists of one length; got as: no list"),
    ("", "{{ a / b }}", {"a": 1, "b": 0}, "division by zero"),
])  # fmt: skip
def test_a_record_that_does_not_fit_a_yaml_is_one_line_with_its_place(place, text, record, said, tmp_path):
    more = f", {place}" if place else ""
    (tmp_path / "mine.yaml").write_text(f'kind: text\nlocal: {{calibration: mine.jsonl{more}}}\ntext: "{text}"\n')
    lines(tmp_path / "mine.jsonl", record)
    with pytest.raises(UserError) as refused:
        texts(find_source(str(tmp_path / "mine.yaml")), "plain", None)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_documents_of_a_plain_text_begin_where_a_line_says(tmp_path):
    (tmp_path / "mine.yaml").write_text("kind: text\nlocal: {calibration: book.txt, begins: '^# '}\n")
    chapters = ["# One\n\nFirst words.\nMore words.", "# Two\n\n" + "Other words. " * 499 + "End."]
    (tmp_path / "book.txt").write_text("\n".join(chapters))
    assert texts(find_source(str(tmp_path / "mine.yaml")), "plain", None) == chapters


def test_a_text_with_what_it_was_written_for_is_a_text(tmp_path):
    lines(tmp_path / "stories.jsonl", {"prompt": "Write a story.", "text": "Once upon a time."})
    source = find(str(tmp_path / "stories.jsonl"))
    assert source.formats == ("plain",) and texts(source, "plain", None) == ["Once upon a time."]


def test_passages_of_one_long_line_have_ids_of_their_own(tmp_path):
    (tmp_path / "one.txt").write_text("words " * 12_000)
    found = [one.id for one in find(str(tmp_path / "one.txt")).documents(Format("plain"))]
    assert len(set(found)) == len(found) > 3


def test_what_is_not_there_is_no_word_of_a_text(tmp_path):
    (tmp_path / "mine.yaml").write_text('kind: text\nlocal: mine.jsonl\ntext: "T:{{ title }} {{ text }}"\n')
    lines(tmp_path / "mine.jsonl", {"title": None, "text": "hello"})
    assert texts(find_source(str(tmp_path / "mine.yaml")), "plain", None) == ["T: hello"]


def test_a_source_of_conversations_without_any_says_what_they_look_like(tmp_path):
    (tmp_path / "talks.yaml").write_text("kind: chat\nlocal: quiz.jsonl\n")
    own(tmp_path)
    with pytest.raises(UserError, match=r"quiz.jsonl:1: not the conversation .*ShareGPT.*its fields: ask, say"):
        texts(find_source(str(tmp_path / "talks.yaml")), "chat", None, tokenizer=tokenizer(CHATML))


def test_a_name_that_is_taken_is_refused(tmp_path, monkeypatch):
    own(tmp_path).rename(tmp_path / "c4.yaml")
    monkeypatch.setenv("CALPRUNE_CATALOGUE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"c4.yaml: there is a source 'c4' already"):
        catalogue()


def test_a_wording_is_part_of_what_a_source_is_and_its_title_is_not(tmp_path):
    [source] = read_yaml(own(tmp_path), own=True)
    [worded] = read_yaml(own(tmp_path, OWN.replace("Q:", "Question:")), own=True)
    [titled] = read_yaml(own(tmp_path, OWN + "title: Quiz\n"), own=True)
    assert source.identity() == titled.identity() != worded.identity()


def test_the_hub_is_read_with_datasets_and_numbered_as_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # a folder stands for a repository
    (tmp_path / "there").mkdir()
    lines(tmp_path / "there" / "train.jsonl", {"q": "Two?", "n": 2}, {"q": "One?", "n": 1})
    (tmp_path / "quiz.yaml").write_text(
        f"kind: question\nhub: {{path: '{tmp_path}/there', calibration: train, where: n == 1, fields: {{ask: q}}}}\n"
        "prompt: '{{ ask }} '\nanswer: '{{ n }}'\n"
    )
    documents = find_source(str(tmp_path / "quiz.yaml")).documents(parse_format("single"))
    assert [(d.text, d.id) for d in documents] == [("One? 1", f"{tmp_path}/there/train:2")]


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_and_shows():
    from calprune.cli import app

    listed = CliRunner().invoke(app, ["sources", "--json"])
    assert [entry["name"] for entry in json.loads(listed.stdout)] == list(catalogue())
    shown = CliRunner().invoke(app, ["sources", "oscar"]).stdout
    assert "stand-in   the local copy is" in shown and "CC0" in shown and "tried: no" in shown
    assert "on the hub" in CliRunner().invoke(app, ["sources"]).stdout


def test_the_domains_divide_the_catalogue_and_a_language_is_part_of_it():
    from calprune.cli import app
    from calprune.text.source import Domain

    def names(*words: str) -> list[str]:
        found = CliRunner().invoke(app, ["sources", "--json", *words])
        return [entry["name"] for entry in json.loads(found.stdout)]

    by_domain = [name for domain in get_args(Domain) for name in names("--domain", domain)]
    assert sorted(by_domain) == list(catalogue())
    assert {"mgsm_zh", "xquad_zh", "ud_pud_zh"} <= set(names("--language", "zh")) <= set(catalogue()) - {"c4"}
    assert names("--domain", "mathematics", "--language", "en") == [
        name for name in names("--domain", "mathematics") if name in names("--language", "en")]  # fmt: skip
    for words in (["--domain", "codes"], ["--language", "xx"], ["gsm8k", "--domain", "code"],
                  ["--domain", "code", "--language", "zh"]):  # fmt: skip
        assert isinstance(CliRunner().invoke(app, ["sources", *words]).exception, UserError)


def test_what_a_family_says_by_key_is_each_ones_own_and_a_key_without_it_is_named(tmp_path):
    (tmp_path / "faq.yaml").write_text(
        'family: {de: German, fr: French}\nname: faq_$key\nkind: text\nlocal: faq_$key.jsonl\n'
        'domain: {de: code, "*": knowledge}\nlanguage: $key\n'
    )  # fmt: skip
    found = read_yaml(tmp_path / "faq.yaml", own=True)
    assert [(one.domain, one.language) for one in found] == [("code", "de"), ("knowledge", "fr")]
    (tmp_path / "faq.yaml").write_text((tmp_path / "faq.yaml").read_text().replace(', "*": knowledge', ""))
    with pytest.raises(ConfigError, match="domain: it says nothing of fr"):
        read_yaml(tmp_path / "faq.yaml", own=True)


# -- the data sets on disk --------------------------------------------------------------------------------------------

PRESENT = [
    (name, format) for name, source in catalogue().items() for format in source.formats
    if DATA and (source.made or local_files(source, "calibration", DATA) or local_files(source, "evaluation", DATA))
]  # fmt: skip


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name, format", PRESENT)
def test_every_source_on_disk_builds_in_every_format_that_it_has(name, format):
    source, parsed = find_source(name), parse_format(format)
    splits = [s for s in ("calibration", "evaluation") if source.made or local_files(source, s, DATA)]
    for split in splits:
        stream = source.documents(parsed, split, given=Given(tokenizer=tokenizer(CHATML), data_root=DATA))
        documents = list(islice(stream, 5))
        assert documents and len({d.id for d in documents}) == len(documents)
        assert all(d.text.strip() or d.tokens for d in documents)
        assert not any("{{" in d.text and "}}" in d.text for d in documents if source.kind == "question")


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name", [
    name for name, source in catalogue().items()
    if DATA and all(local_files(source, s, DATA) for s in ("calibration", "evaluation"))
    and name not in ("commonsense_qa_cos_e", "math_solutions") and name[:-2] not in ("xquad_", "ud_pud_")
] + ["xquad_de", "ud_pud_en"])  # fmt: skip
def test_what_calibrates_does_not_evaluate(name):
    source = find_source(name)
    format = parse_format("zero" if source.prompt else "plain")
    prompts = [{letters(d.text) for d in islice(source.documents(format, split, given=Given(data_root=DATA)), 2000)}
               for split in ("calibration", "evaluation")]  # fmt: skip
    assert prompts[0] and prompts[1] and not prompts[0] & prompts[1]


@needs_data
@pytest.mark.data
def test_premises_and_articles_are_not_shared_either():
    for name, field in (("anli_r1", "premise"), ("anli_r3", "premise"), ("xquad_en", "context"), ("race", "article")):
        found = [{example.record[field] for example in find_source(name).examples(split, given=Given(data_root=DATA))}
                 for split in ("calibration", "evaluation")]  # fmt: skip
        assert not found[0] & found[1], name
