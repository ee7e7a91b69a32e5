"""Conversations: records of four kinds to turns, and turns through a model's chat template to text with weights.

messages       {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
prompt         {"prompt": ..., "response": ...}
conversations  {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}   (ShareGPT)
instruction    {"instruction": ..., "input": ..., "output": ...}   (Alpaca; input may be empty or missing)

Beside these a record may have `system` (text: a first turn, where there is none), `tools` (a list, or JSON of one:
given to the template) and, in Alpaca, `history` (earlier turns, in pairs); a turn may have `tool_calls`, and one of a
tool its `name` and `tool_call_id`.

What a template writes depends on the conversation and on nothing else: today is always DAY to it, and what it draws at
random it draws from one seed. So a set made on another day is the same set, and `chat_hash` names what made it.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from functools import lru_cache
from typing import Any

from calprune.base.values import UserError, identity
from calprune.text import limits
from calprune.text.formats import Format

SHAPES = {  # each kind is named by the field that tells it
    "messages": "messages (a list of role and content)",
    "conversations": "conversations (ShareGPT: a list of from and value)",
    "instruction": "instruction, input and output (Alpaca)",
    "prompt": "prompt and response",
}

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
         "model": "assistant", "system": "system", "tool": "tool"}  # fmt: skip

_THINKING = re.compile(r"(\s*<think>\s*)?(.*?)(\s*</think>\s*)(.*)", re.DOTALL)

DAY = date(2024, 7, 26)  # what Llama's templates say where they know no date

_TODAY = "strftime_now"  # how a template asks for it

# takes the place of transformers' function of that name, which knows the clock; in the template's own language, because
# transformers lets nothing but plain data in. It ends with a newline that is trimmed: the template begins its own line.
_FIXED = (
    "{%- macro strftime_now(format) -%}{%- set day = namespace(text=format) -%}"
    "{%- for code, text in calprune_day.items() -%}{%- set day.text = day.text | replace(code, text) -%}"
    "{%- endfor -%}{{ day.text }}{%- endmacro %}\n"
)

Messages = list[dict[str, Any]]

_OF_TOOLS = ("tool_calls", "tool_call_id", "name")  # what a turn may have beside its role and its content

Spans = tuple[tuple[int, int, float], ...]


def kind_of(record: Mapping[str, Any]) -> str | None:
    """Which kind of conversation a record is: a name of SHAPES, or None."""
    return next((kind for kind in SHAPES if kind in record), None)


def messages_of(record: Mapping[str, Any], kind: str, where: str) -> Messages:
    """The turns of a record of the given kind. Errors name `where` it is and the fields there are."""
    try:
        turns = _turns(record, kind)
    except (KeyError, TypeError, ValueError) as e:
        what = f"lacks {e}" if isinstance(e, KeyError) else "has turns that are not mappings"
        if kind == "instruction" and not isinstance(e, KeyError):
            what = "has a history that is no list of pairs"
        raise UserError(f"{where}: a {kind!r} record that {what}; its fields: {', '.join(map(str, record))}") from None
    for turn in turns:
        role, content = turn["role"], turn["content"]
        known = isinstance(role, str) and role in ROLES
        if not known or not isinstance(content, str):
            got = f"role {role!r:.60}" if not known else f"content of type {type(content).__name__}"
            raise UserError(f"{where}: a turn has {got}; roles are {', '.join(ROLES)} and contents are text")
    if not turns:
        raise UserError(f"{where}: a conversation without turns; delete it, or give it some")
    return _with_system([turn | {"role": ROLES[turn["role"]]} for turn in turns], record, where)


def _turns(record: Mapping[str, Any], kind: str) -> Messages:
    """As the record has them: roles by its own names, contents of any type."""
    match kind:
        case "messages":
            return [_turn(turn) for turn in record["messages"]]
        case "conversations":
            pairs = [(turn["from"], turn["value"]) for turn in record["conversations"]]
        case "instruction":
            wanted = [record["instruction"], record.get("input") or ""]
            earlier = [
                turn for user, answer in record.get("history") or [] for turn in (("user", user), ("assistant", answer))
            ]
            pairs = [*earlier, ("user", "\n\n".join(part for part in wanted if part)), ("assistant", record["output"])]
        case _:
            pairs = [("user", record["prompt"]), ("assistant", record["response"])]
    return [{"role": role, "content": content} for role, content in pairs]


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise TypeError
    calls = turn.get("tool_calls")
    more = {
        name: turn[name] for name in _OF_TOOLS if turn.get(name) and (name == "tool_calls" or turn["role"] == "tool")
    }
    if calls:
        more["tool_calls"] = [_call(call) for call in calls]
    return {"role": turn["role"], "content": (turn.get("content") or "") if calls else turn["content"], **more}


def _call(call: Any) -> dict[str, Any]:
    """Arguments as a mapping, as templates want them, where they are JSON of one."""
    if not isinstance(call, Mapping):
        raise TypeError
    function = call.get("function")
    if isinstance(function, Mapping) and isinstance(function.get("arguments"), str):
        with suppress(json.JSONDecodeError):
            return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    return dict(call)


def _with_system(turns: Messages, record: Mapping[str, Any], where: str) -> Messages:
    system = record.get("system")
    if not system:
        return turns
    if not isinstance(system, str):
        raise UserError(f"{where}: system is of type {type(system).__name__}; it is the text of the first turn")
    if turns[0]["role"] != "system":
        return [{"role": "system", "content": system}, *turns]
    if turns[0]["content"] != system:
        raise UserError(f"{where}: the record's system and its first turn differ; leave one of them out")
    return turns


def tools_of(record: Mapping[str, Any], where: str) -> list[Any]:
    """The tools that a record gives the model: a list of mappings, or JSON of one; none where it has no such field.
    Raises UserError for anything else."""
    tools = record.get("tools")
    if isinstance(tools, str) and tools.strip():
        with suppress(json.JSONDecodeError):
            tools = json.loads(tools)
    if not tools:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise UserError(f"{where}: tools is {str(tools)[:40]!r}; expected a list of mappings, or JSON of one")
    return tools


def holds_more(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what earlier versions left out: its name tells the two texts apart."""
    turns = record.get("messages")
    turns = turns if isinstance(turns, list) else []
    called = any(isinstance(turn, Mapping) and any(turn.get(name) for name in _OF_TOOLS[:2]) for turn in turns)
    named = any(isinstance(turn, Mapping) and turn.get("role") == "tool" and turn.get("name") for turn in turns)
    return called or named or any(record.get(name) for name in ("system", "tools", "history"))


def through_template(
    messages: Messages, format: Format, tokenizer: Any, where: str, tools: Sequence[Any] = ()
) -> tuple[str, Spans]:
    """The conversation as the model's chat template writes it, and the spans (in characters) of weight other than 1.

    With `format.responses` everything but the text of the responses weighs `format.prompt_weight`; a turn's opening
    and closing tags belong to the template, not to the response. What a template drops (the thinking of earlier
    turns) is in neither. The text holds the template's own begin-of-text: tokenise it without adding another.
    """
    text = _apply(messages, tokenizer, where, tools)
    _check_written(messages, tokenizer, where, tools, text)
    if not format.responses or format.prompt_weight == 1:
        return text, ()
    mark = next(chr(c) for c in range(0xE000, 0xF8FF) if all(chr(c) not in m["content"] for m in messages))
    if any("tool_calls" in message for message in messages):
        raise UserError(f"{where}: a response calls tools, and how the template writes a call cannot be told from the "
                        "rest; use the format \"chat\"")  # fmt: skip
    marked = _apply([_marked(message, mark) for message in messages], tokenizer, where, tools)
    parts = marked.split(mark)  # outside, response, outside, response, ..., outside
    if "".join(parts) != text or len(parts) % 2 == 0:
        raise UserError(f"{where}: the chat template rewrites this conversation's responses, so their tokens "
                        "cannot be told from the rest; use the format \"chat\"")  # fmt: skip
    spans, first = [], 0
    for i, part in enumerate(parts):
        if part and i % 2 == 0:
            spans.append((first, first + len(part), format.prompt_weight))
        first += len(part)
    return text, tuple(spans)


def _check_written(messages: Messages, tokenizer: Any, where: str, tools: Sequence[Any], text: str) -> None:
    """Raise UserError where the template passes tools or their calls over: the text would be another conversation."""
    if tools and _apply(messages, tokenizer, where) == text:
        raise UserError(f"{where}: the chat template does not write tools; take a model whose template does, or leave "
                        "tools out of the record")  # fmt: skip
    bare = [{name: value for name, value in turn.items() if name != "tool_calls"} for turn in messages]
    if bare != messages and _apply(bare, tokenizer, where, tools) == text:
        raise UserError(f"{where}: the chat template does not write tool_calls; take a model whose template does, or "
                        "leave the record out")  # fmt: skip


def _marked(message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The message with its response between marks. Inside the spaces, which templates trim; thinking has its own two,
    because templates may drop it."""
    content = message["content"]
    if message["role"] != "assistant":
        return dict(message)
    if thinking := _THINKING.fullmatch(content):
        before, thought, end, answer = (part or "" for part in thinking.groups())
        return {"role": "assistant", "content": before + _between(thought, mark) + end + _between(answer, mark)}
    return {"role": "assistant", "content": _between(content, mark)}


def _between(text: str, mark: str) -> str:
    core = text.strip()
    return text.replace(core, f"{mark}{core}{mark}", 1) if core else text


def rendered(
    messages: Sequence[Mapping[str, Any]], tokenizer: Any, *, answer: bool = False, tools: Sequence[Any] = ()
) -> str:
    """What the tokenizer's chat template makes of the turns; `answer`: with the beginning of the response to come;
    `tools`: that the model may call.

    Raises whatever the template raises, for a role or an order of turns that it does not know."""
    text, more = tokenizer.get_chat_template(), dict[str, Any]()
    if tools:
        text, more = tokenizer.get_chat_template(tools=list(tools)), {"tools": list(tools)}
    if _TODAY in text:
        more |= {"chat_template": _FIXED + text, "calprune_day": _codes()}

    def render() -> str:
        _hold(more.get("chat_template", text))
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer, **more)

    with _one_seed():
        return limits.held(render)


@lru_cache(maxsize=64)
def _hold(template: str) -> None:
    """Have transformers compile a template, which it keeps, with numbers that are held to a size."""
    with suppress(ImportError, AttributeError):  # of a transformers that keeps it elsewhere
        from transformers.utils.chat_template_utils import _compile_jinja_template

        with limits.numbers_held():
            limits.hold(_compile_jinja_template(template).environment)


def chat_hash(tokenizer: Any) -> str:
    """The 16-character hash of what turns a conversation into text: the chat template, the special tokens that it may
    write, and the day where it asks for one. Raises UserError where there is none."""
    _check_chat(tokenizer)
    text = tokenizer.get_chat_template()
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return identity([text, tokens, *([DAY.isoformat()] if _TODAY in text else [])])


def _apply(messages: Sequence[Mapping[str, Any]], tokenizer: Any, where: str, tools: Sequence[Any] = ()) -> str:
    _check_chat(tokenizer)
    try:
        return rendered(messages, tokenizer, tools=tools)
    except limits.TooMuch as e:
        raise UserError(f"{where}: the chat template is refused: {e}") from None
    except Exception as e:  # templates raise what they like
        raise UserError(f"{where}: the chat template does not take this conversation: {e}") from None


def _check_chat(tokenizer: Any) -> None:
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        name = getattr(tokenizer, "name_or_path", "") or "the model"
        what = f"the tokenizer of {name} has no chat template" if tokenizer else "no model was given"
        raise UserError(f'{what}, which the format "chat" needs; give a chat model (--model), or take another format')


def _codes() -> dict[str, str]:
    """The codes of strftime with what they mean on DAY; "%-d" is "%d" without its zero."""
    codes = {f"%{letter}": DAY.strftime(f"%{letter}") for letter in "aAbBcCdDeFGgHhIjMmpRSTuUVwWxXyYZzf"}
    return codes | {f"%-{letter}": codes[f"%{letter}"].lstrip("0") or "0" for letter in "dHIjMmSUWy"} | {"%%": "%"}


@contextmanager
def _one_seed() -> Iterator[None]:
    """Jinja's `random` and `lipsum` draw from Python's own stream: inside from its beginning, afterwards as before."""
    before = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)
