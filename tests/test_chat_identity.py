"""A set that went through a chat template is named by the template, and by no day on which it was made."""

import datetime
import json
import locale
import random

import pytest
import yaml

from calprune.base.values import UserError
from calprune.calibration.build import build, identify
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.evaluation import evaluation_id, parse_evaluation
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.text.chat import DAY, chat_hash, rendered
from calprune.text.document import Given
from calprune.text.encode import tokenizer_hash
from calprune.text.find import find
from tests.test_synthesise import network, prompts_file, toy
from tests.tiny import CHAT_TEMPLATE, toy_tokenizer

DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHAT_TEMPLATE
TALK = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is 4."}]
FORMATS = ("chat", "chat(responses)", "chat(responses, prompt_weight=0.5)")


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": TALK}) + "\n" for _ in range(4)))
    return path


def tokenizer(text: str = CHAT_TEMPLATE):
    made = toy_tokenizer()
    made.chat_template = text
    return made


def recipe(spec):
    return parse_spec(str(spec), num_samples=2, max_seq_length=128)


def another_day(monkeypatch):
    """The clock of whoever renders templates is of another year."""
    from transformers.utils import chat_template_utils

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)


@pytest.mark.parametrize("format", FORMATS)
def test_an_edited_template_gives_another_name(chats, format):
    plain, edited = (
        build(recipe(f"{chats}:{format}"), tokenizer(text)) for text in (CHAT_TEMPLATE, "> " + CHAT_TEMPLATE)
    )
    assert plain.tokens.tolist() != edited.tokens.tolist()
    assert plain.id != edited.id
    assert plain.id == build(recipe(f"{chats}:{format}"), tokenizer()).id


@pytest.mark.parametrize("format", FORMATS)
def test_a_set_has_the_name_that_is_known_before_it_is_built(chats, format):
    given = tokenizer(DATED)
    named = identify(recipe(f"{chats}:{format}"), tokenizer_hash(given), Given(tokenizer=given))
    assert named == build(recipe(f"{chats}:{format}"), given).id


def test_special_tokens_that_a_template_writes_are_in_the_name():
    one, other = tokenizer("{{ pad_token }}" + CHAT_TEMPLATE), tokenizer("{{ pad_token }}" + CHAT_TEMPLATE)
    one.pad_token, other.pad_token = "<|endoftext|>", "<s>"
    assert rendered(TALK, one) != rendered(TALK, other)
    assert chat_hash(one) != chat_hash(other)


def saved(folder, text):
    network().save_pretrained(folder)
    tokenizer(text).save_pretrained(folder)
    return str(folder)


def test_a_study_judged_on_conversations_names_them_by_the_template_of_its_models(chats, tmp_path):
    """An edited template in the same folder is another evaluation, so no result of before is taken for it."""
    text, model = f"perplexity({chats}:chat, tokens=64, length=16)", tmp_path / "model"
    plain, other, edited = (
        evaluation_id(parse_evaluation(given), None, [saved(model, template)])
        for given, template in (
            (text, CHAT_TEMPLATE),
            (text.replace(":chat", ":plain"), CHAT_TEMPLATE),
            (text, "> " + CHAT_TEMPLATE),
        )
    )
    assert len({plain, other, edited}) == 3
    assert other == evaluation_id(parse_evaluation(text.replace(":chat", ":plain")), None, [str(model)])


def test_each_model_of_a_study_judged_on_conversations_must_have_a_template(chats, tmp_path):
    models = [saved(tmp_path / "one", CHAT_TEMPLATE), saved(tmp_path / "two", None)]
    text = yaml.safe_dump({
        "title": "t", "models": models, "calibrations": "random_tokens", "methods": "wanda", "patterns": "50%",
        "num_samples": 2, "max_seq_length": 16, "evaluations": f"perplexity({chats}:chat, tokens=64, length=16)",
    })  # fmt: skip
    with pytest.raises(UserError, match="has no chat template"):
        plan(parse_study(text, "study.yaml"), None)


def test_a_set_of_other_formats_does_not_care_for_the_template(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": "words and words " * 20}) + "\n" for _ in range(9)))
    assert build(recipe(path), tokenizer()).id == build(recipe(path), tokenizer(DATED)).id


def test_a_template_that_asks_for_today_gives_the_same_set_on_every_day(chats, monkeypatch):
    first = build(recipe(chats), tokenizer(DATED))
    another_day(monkeypatch)
    assert build(recipe(chats), tokenizer(DATED)).tokens.equal(first.tokens)
    text = tokenizer().decode(first.tokens[0][: first.lengths[0]])
    assert text.startswith("Today is 26 Jul 2024.\n[user] What is 2 + 2?")


def test_the_template_and_its_day_are_in_the_provenance_and_on_the_card(chats, tmp_path):
    given = tokenizer(DATED)
    build(recipe(chats), given).save(tmp_path / "set")
    [part] = CalibrationSet.load(tmp_path / "set").drawn
    assert (part.chat, part.day) == (chat_hash(given), "2024-07-26")
    assert (
        f"through chat template {part.chat}, to which today is 2024-07-26" in (tmp_path / "set/README.md").read_text()
    )


@pytest.mark.parametrize("code", [*"aAbBdHIjmMpSUwWyY", "-d", "-m", "-H", "-I", "-M", "-j", "-y", "%"])
def test_a_code_of_the_day_means_what_strftime_means(code):
    assert locale.setlocale(locale.LC_TIME) == "C"
    written = rendered(TALK, tokenizer(f"{{{{ strftime_now('on %{code}!') }}}}"))
    assert written == DAY.strftime(f"on %{code}!")


@pytest.mark.parametrize("text", ["\n  {% if true %}\n x\n  {% endif %}{#- #}", "  {{ 1 }}", "  {%- set a = 1 %}\n a"])
def test_the_day_changes_nothing_else_of_what_a_template_writes(text):
    said = "{% set today = strftime_now('%Y') %}"
    assert rendered(TALK, tokenizer(text + said)) == tokenizer().apply_chat_template(
        TALK, chat_template=text + said, tokenize=False
    )


@pytest.mark.parametrize("text", ["{{ range(1000) | random }}", "{{ lipsum(n=1, html=false) }}"])
def test_what_a_template_draws_at_random_is_always_the_same(text):
    def after(seed, given):
        """What it writes, and the next number of the caller's own stream."""
        random.seed(seed)
        return rendered(TALK, given), random.random()

    draws, none = tokenizer(text), tokenizer()
    assert after(1, draws)[0] == after(2, draws)[0]
    assert after(1, draws)[1] == after(1, none)[1]


def test_a_template_that_asks_for_the_clock_otherwise_is_refused(chats):
    with pytest.raises(UserError, match=r"the chat template does not take this conversation: 'now' is undefined"):
        build(recipe(chats), tokenizer("{{ now() }}" + CHAT_TEMPLATE))


def test_a_template_that_is_missing_is_named_before_anything_is_built(chats):
    with pytest.raises(UserError, match="has no chat template"):
        identify(recipe(chats), "0", Given(tokenizer=toy_tokenizer(chat=False)))


def test_responses_to_prompts_are_named_by_the_template_and_by_no_day(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    path = prompts_file(tmp_path, {"prompt": "one"}, {"prompt": "two"})
    asked = parse_spec(f"self:respond({path}, max_new_tokens=4, keep_truncated=True)", num_samples=2, max_seq_length=96)

    def named(text: str) -> str:
        model = toy()
        model.tokenizer.chat_template = text
        found = identify(asked, tokenizer_hash(model.tokenizer), Given(model))
        made = build(asked, model.tokenizer, model=model)
        assert made.id == found
        assert made.drawn[0].chat == chat_hash(model.tokenizer)
        return found

    before = named(DATED)
    assert before != named("> " + DATED)
    another_day(monkeypatch)
    assert before == named(DATED)
    assert network().config.vocab_size == 260  # the model is the same one throughout


def test_an_evaluation_on_what_a_model_writes_is_named_by_what_the_text_begins_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judged = parse_evaluation("perplexity('self:prefixes(of=seed.jsonl)')")
    names = []
    for text in ("one text", "another text", "one text"):
        (tmp_path / "seed.jsonl").write_text(json.dumps({"text": text}) + "\n")
        names.append(evaluation_id(judged, None))
    assert names[0] == names[2] != names[1]


def test_a_text_that_begins_in_a_language_is_named_by_what_tells_languages(monkeypatch):
    model = toy()
    given = Given(model)
    before = find("self:random_token(language=en)").identity(given)
    other = find("self:random_token(language=None)").identity(given)
    monkeypatch.setattr("calprune.writing.source.identifier_version", lambda: "another")
    assert find("self:random_token(language=en)").identity(given) != before
    assert find("self:random_token(language=None)").identity(given) == other


def test_a_window_of_conversations_begins_once_and_its_begin_of_text_is_not_predicted():
    from calprune.evaluation.windows import begins_itself, windows_of
    from calprune.text.document import Document
    from calprune.text.encode import find_marks

    given = tokenizer("{{ bos_token }}" + CHAT_TEMPLATE)
    begin = find_marks(given).begin
    assert begin is not None and rendered(TALK, given).startswith("<s>")
    documents = [Document(rendered(TALK, given), str(i)) for i in range(4)]
    windows = windows_of(documents, given, 16)
    assert (windows[:, 0] == begin).all() and not (windows[:, 1:] == begin).any()
    bare = [Document(rendered(TALK, tokenizer()), str(i)) for i in range(4)]
    assert windows.tolist() == windows_of(bare, given, 16).tolist()
    assert begins_itself(given) and not begins_itself(tokenizer())


def test_always_a_begin_of_text_is_answered_by_a_note_where_a_template_writes_the_beginning(chats):
    made = build(parse_spec(str(chats), num_samples=2, max_seq_length=128, begin_of_text="always"), tokenizer())
    assert any("begin_of_text: always puts nothing before a conversation" in note for note in made.notes)
