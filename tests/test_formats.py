"""Formats: what their texts mean, and which characters of a conversation are the responses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from calprune.base.values import ConfigError, UserError
from calprune.text.chat import SHAPES, kind_of, messages_of, through_template
from calprune.text.formats import OPTIONS, Format, parse_format
from calprune.text.records import Place
from calprune.text.source import FileSource, RecordSource
from calprune.text.wording import Writer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
DROPS_THINKING = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ m['content'].split('</think>')[-1].lstrip('\n') }}{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}"
)
SHOUTS = "{% for m in messages %}{{ m['content'] | capitalize }}\n{% endfor %}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{{ m['content'] }}{% endfor %}"
)
RESPONSES = parse_format("chat(responses)")


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    vocabulary = ["[UNK]", "<s>", "</s>", *"abcdefgh"]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="[UNK]")
    made.chat_template = template
    return made


def talk(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def outside(text: str, spans) -> list[str]:
    """The runs of characters that no span covers: those of weight 1."""
    uncovered = [True] * len(text)
    for first, last, _ in spans:
        uncovered[first:last] = [False] * (last - first)
    marked = "".join(c if keep else "\0" for c, keep in zip(text, uncovered, strict=True))
    return [run for run in marked.split("\0") if run]


@pytest.mark.parametrize("text, packing", [
    ("plain", "text"), ("zero", "one"), ("single", "one"), ("cot", "one"), ("chat", "one"),
    ("icl", "fill"), ("icl_cot", "fill"), ("icl(pairs=5)", "fill"), ("cot(steps=3)", "one"), ("chat(responses)", "one"),
    ("icl_cot(pairs=2, steps=4)", "fill"), ("chat(responses, prompt_weight=0.2)", "one"),
    ("cot(steps=3, steps_by_full_stop=True)", "one"),
])  # fmt: skip
def test_a_format_is_written_as_it_is_read(text, packing):
    assert str(parse_format(text)) == text
    assert parse_format(text).packing == packing


def test_spaces_and_the_order_of_options_do_not_matter():
    assert parse_format(" chat( prompt_weight = 0.2 , responses = True) ") == Format(
        "chat", responses=True, prompt_weight=0.2
    )


@pytest.mark.parametrize("text, said", [
    ("ilc", "unknown format 'ilc'; did you mean 'icl'?"),
    ("essay", "there are: chat, cot, icl, icl_cot, plain, single, zero"),
    ("icl(steps=3)", "format icl: unknown option 'steps'; there are: pairs"),
    ("icl(pair=3)", "did you mean 'pairs'?"),
    ("plain(pairs=2)", "there are: none"),
    ("icl(pairs=0)", "pairs must be at least 1; got 0"),
    ("icl(pairs='two')", "format icl: pairs"),
    ("chat(prompt_weight=0.5)", "prompt_weight needs responses"),
    ("chat(responses, prompt_weight=2)", "from 0 to 1; got 2"),
    ("cot(steps_by_full_stop=True)", "needs steps"),
    ("icl(", "cannot read format 'icl(': ) is missing; write it like"),
    ("icl + cot", "cannot read format"),
])  # fmt: skip
def test_a_format_that_cannot_be_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError) as e:
        parse_format(text)
    assert said in str(e.value) and "\n" not in str(e.value)


def test_a_format_made_in_python_takes_no_option_of_another():
    with pytest.raises(ConfigError, match="format zero has no option 'pairs'"):
        Format("zero", pairs=3)
    assert all(Format(name) for name in OPTIONS)


def test_steps_are_lines_as_gsm8k_writes_them():
    rationale = "He has 3 boxes. Each holds 4.\nSo 3 * 4 = <<3*4=12>>12.\n  \nHe eats 2, so 12 - 2 = 10."
    asked = {k: parse_format(f"cot(steps={k})") for k in range(1, 6)}
    assert [k for k, format in asked.items() if format.accepts(rationale, "")] == [3]


def test_the_papers_count_of_steps_is_available_as_a_quirk():
    written = "He has 3 boxes. Each holds 4.\nSo 12.\nHe eats 2. So the answer is 10."
    counts = [k for k in range(1, 5) if parse_format(f"cot(steps={k}, steps_by_full_stop=True)").accepts("", written)]
    assert counts == [2]


@pytest.mark.parametrize("template", [CHATML, TRIMS, DROPS_THINKING])
def test_with_responses_exactly_the_responses_weigh_one(template):
    messages = talk("a", "a assistant user", "user", "  two\nlines \n", "You?", "a")
    text, spans = through_template(messages, RESPONSES, tokenizer(template), "here")
    assert [run.strip() for run in outside(text, spans)] == ["a assistant user", "two\nlines", "a"]
    assert all(weight == 0 for _, _, weight in spans)
    assert text == tokenizer(template).apply_chat_template(messages, tokenize=False)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20), min_size=2, max_size=6))
def test_any_response_is_found_wherever_its_words_occur_else(contents):
    contents = contents[: len(contents) // 2 * 2]
    text, spans = through_template(talk(*contents), RESPONSES, tokenizer(CHATML), "here")
    covered = sum(last - first for first, last, _ in spans)
    assert len(text) - covered == sum(len(content.strip()) for content in contents[1::2])
    responses = "".join(content.strip() for content in contents[1::2])
    assert "".join(outside(text, spans)) == responses.replace("\0", "")


def test_prompts_weigh_what_is_asked():
    text, spans = through_template(talk("hi", "yo"), parse_format("chat(responses, prompt_weight=0.2)"),
                                   tokenizer(CHATML), "here")  # fmt: skip
    assert {weight for _, _, weight in spans} == {0.2} and outside(text, spans) == ["yo"]
    assert through_template(talk("hi", "yo"), parse_format("chat"), tokenizer(CHATML), "here")[1] == ()


def test_thinking_that_a_template_drops_is_no_response_and_what_it_keeps_is_one():
    messages = talk("1+1?", "<think>\none and one\n</think>\n\n2", "2+2?", "<think>\ntwice two\n</think>\n\n4")
    text, spans = through_template(messages, RESPONSES, tokenizer(DROPS_THINKING), "here")
    assert "one and one" not in text
    assert outside(text, spans) == ["2", "twice two", "4"]


def test_a_template_that_rewrites_responses_is_refused_rather_than_guessed_at():
    with pytest.raises(UserError, match=r'f.jsonl:3: the chat template rewrites .* use the format "chat"'):
        through_template(talk("hello", "there"), RESPONSES, tokenizer(SHOUTS), "f.jsonl:3")


def test_a_conversation_that_the_template_does_not_take_is_named():
    messages = [{"role": "system", "content": "Be brief."}, *talk("hi", "yo")]
    with pytest.raises(UserError, match=r"f.jsonl:3: the chat template does not take .*: no system role"):
        through_template(messages, RESPONSES, tokenizer(NO_SYSTEM), "f.jsonl:3")


def test_a_tokenizer_without_a_chat_template_is_one_line():
    with pytest.raises(UserError, match='has no chat template, which the format "chat" needs'):
        through_template(talk("hi", "yo"), RESPONSES, tokenizer(None), "here")
    with pytest.raises(UserError, match="no model was given"):
        through_template(talk("hi", "yo"), RESPONSES, None, "here")


SAME = {
    "messages": {"messages": [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "Elbe"}]},
    "conversations": {"conversations": [{"from": "human", "value": "Name a river."}, {"from": "gpt", "value": "Elbe"}]},
    "instruction": {"instruction": "Name a river.", "input": "", "output": "Elbe"},
    "prompt": {"prompt": "Name a river.", "response": "Elbe"},
}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_four_kinds_of_conversation_say_the_same(kind):
    assert kind_of(SAME[kind]) == kind
    assert messages_of(SAME[kind], kind, "here") == talk("Name a river.", "Elbe")


def test_an_alpaca_input_follows_its_instruction():
    record = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}
    assert messages_of(record, "instruction", "here")[0]["content"] == "Translate.\n\nGuten Tag"


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
CALLS = "{% for c in m.tool_calls %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}"
WITH_TOOLS = "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}" + CHATML.replace(
    "{{ m['content'] }}", "{{ m['content'] }}" + CALLS
)
CALLED = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
          {"role": "tool", "name": "weather", "content": "no"}, {"role": "assistant", "content": "No."}]  # fmt: skip


def written(record, template, format="chat"):
    source = Writer(RecordSource("own", "chat", local=Place("a")), parse_format(format), tokenizer(template), set())
    return source.write(record, "f:2")[0]


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_tools_and_their_calls_are_in_the_text_as_the_template_writes_them(tools):
    text = written({"messages": CALLED, "tools": tools}, WITH_TOOLS)
    assert '"name": "weather"' in text.split("</tools>")[0] and '<call>weather {"city": "Bonn"}</call>' in text


@pytest.mark.parametrize("record", [{"messages": CALLED}, {**SAME["messages"], "tools": TOOLS}])
def test_a_template_that_passes_tools_over_is_refused(record):
    with pytest.raises(UserError, match="f:2: the chat template does not write tool"):
        written(record, CHATML)
    if "tools" not in record:
        with pytest.raises(UserError, match=r'f:2: a response calls tools, .*; use the format "chat"'):
            written(record, WITH_TOOLS, "chat(responses)")


@pytest.mark.parametrize("kind", SHAPES)
def test_the_system_of_a_record_is_its_first_turn(kind):
    wanted = [{"role": "system", "content": "Be brief."}, *talk("Name a river.", "Elbe")]
    assert messages_of(SAME[kind] | {"system": "Be brief."}, kind, "here") == wanted
    assert messages_of({"messages": wanted, "system": "Be brief."}, "messages", "here") == wanted
    with pytest.raises(UserError, match="system and its first turn differ"):
        messages_of({"messages": wanted, "system": "Be long."}, "messages", "here")


def test_the_history_of_an_alpaca_record_is_its_first_turns():
    record = SAME["instruction"] | {"history": [["Hi.", "Hello."], ["You?", "Well."]]}
    assert messages_of(record, "instruction", "f:2") == talk("Hi.", "Hello.", "You?", "Well.", "Name a river.", "Elbe")
    with pytest.raises(UserError, match=r"f:2: .* has a history that is no list of pairs"):
        messages_of(record | {"history": [["Hi."]]}, "instruction", "f:2")


@pytest.mark.parametrize("more", [{"system": "Be brief."}, {"tools": TOOLS}, {"history": [["a", "b"]]}, {}])
def test_a_file_is_named_anew_where_such_fields_occur_and_only_there(tmp_path, more):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (SAME["instruction"], SAME["instruction"] | more)))
    assert (FileSource(str(path)).identity() == "file") == (not more)


@pytest.mark.parametrize("record, said", [
    ({"prompt": "a", "reply": "b"}, "f:2: a 'prompt' record that lacks 'response'; its fields: prompt, reply"),
    ({"messages": [{"role": "user"}]}, "lacks 'content'"),
    ({"messages": ["hello"]}, "turns that are not mappings"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "role 'narrator'; roles are"),
    ({"messages": [{"role": "user", "content": None}]}, "content of type NoneType"),
    ({"messages": []}, "without turns"),
])  # fmt: skip
def test_a_conversation_that_is_none_says_where_and_why(record, said):
    with pytest.raises(UserError) as e:
        messages_of(record, kind_of(record) or "", "f:2")
    assert said in str(e.value)
