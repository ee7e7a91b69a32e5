"""Answers are those of transformers' own `generate`, one prompt at a time, however many are written at once."""

import gc
import random
import weakref
from functools import cache

import pytest
import torch

from calprune.base import memory
from calprune.base.progress import showing
from calprune.base.values import UserError
from calprune.writing import generate as engine
from calprune.writing import room
from calprune.writing.answers import Ends, answer
from calprune.writing.generate import generate
from calprune.writing.reading import PromptReader, shared_tokens
from calprune.writing.room import Room, find_room
from calprune.writing.sampling import Sampling
from tests.families import VOCABULARY, tiny_model
from tests.test_generate import Said, streams

FAMILIES = ["gemma2", "gpt2", "llama", "mistral", "opt", "qwen2"]  # tables and rotary, sliding windows, shared heads
MOST = 24  # tokens of an answer
BEGIN = [random.Random(0).randrange(3, VOCABULARY) for _ in range(12)]


class Letters:
    """A tokenizer that writes token i as one character."""

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, tokens) -> str:
        self.decoded += 1
        return "".join(chr(33 + token) for token in tokens)


def prompts_of(lengths, begin=()) -> list[list[int]]:
    return [[*begin, *(random.Random(i).randrange(3, VOCABULARY) for _ in range(n))] for i, n in enumerate(lengths)]


DIFFERENT = prompts_of([30, 1, 7, 2, 19, 40, 3, 11, 5])
ALIKE = prompts_of([1, 22, 4, 2, 9, 28, 3, 6, 13], BEGIN)


@cache
def one_at_a_time(family: str, alike: bool) -> list[tuple[int, ...]]:
    """What transformers writes after each prompt where nothing ends it before MOST tokens or the window of 64."""
    model, found = tiny_model(family), []
    model.generation_config.eos_token_id = None
    for prompt in ALIKE if alike else DIFFERENT:
        ids = torch.tensor([prompt])
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
                              max_new_tokens=min(MOST, 64 - len(prompt)))  # fmt: skip
        found.append(tuple(rows[0, len(prompt) :].tolist()))
    return found


def ended(answers, texts: tuple[str, ...], end: int | None = None) -> list[tuple[int, ...]]:
    """Each answer up to the first of the texts, or before the token `end`."""
    found = []
    for tokens in answers:
        whole = Letters().decode(tokens)
        ends = [whole.index(text) + len(text) for text in texts if text in whole]
        ends += [tokens.index(end)] if end in tokens else []
        found.append(tokens[: min(ends, default=len(tokens))])
    return found


def written(model, prompts, ends: Ends, rows: int | None = 4) -> list[tuple[int, ...]]:
    return [one.tokens[one.prompt :] for one in answer(model, prompts, ends, rows=rows)]


def ends_of(*texts: str, tokens: tuple[int, ...] = ()) -> Ends:
    return Ends(Letters(), tokens, texts, MOST)


def rarest(answers, size: int) -> str:
    """Of the pieces of so many tokens behind the third of an answer, the one that the fewest answers have."""
    texts = [Letters().decode(tokens) for tokens in answers]
    pieces = sorted({text[i : i + size] for text in texts for i in range(3, len(text) - size)})
    return min(pieces, key=lambda piece: sum(piece in text for text in texts))


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_transformers_one_prompt_at_a_time(family, alike):
    plain = one_at_a_time(family, alike)
    end, text = ord(rarest(plain, 1)) - 33, rarest(plain, 2)  # a token that ends some answers, and a text others
    expected = ended(plain, (text, "no such text"), end)
    ends = ends_of(text, "no such text", tokens=(end,))
    assert written(tiny_model(family), ALIKE if alike else DIFFERENT, ends) == expected
    endless = [len(a) == len(b) for a, b in zip(expected, plain, strict=True)]
    assert True in endless and False in endless


@pytest.mark.parametrize("rows", [1, 2, 9, None])
def test_how_many_are_written_at_once_changes_no_answer(rows):
    expected = ended(one_at_a_time("llama", True), ("T",))
    assert written(tiny_model("llama"), ALIKE, ends_of("T"), rows) == expected


def tokens_read(model) -> list[tuple[int, int]]:
    """Rows and columns of each pass, as they are run from now on."""
    seen: list[tuple[int, int]] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    return seen


def test_what_all_prompts_begin_with_is_read_once():
    model = tiny_model("llama")
    seen = tokens_read(model)
    written(model, ALIKE, ends_of(), 9)
    assert seen[:2] == [(1, 12), (9, 28)] and set(seen[2:]) == {(9, 1)}
    assert (
        shared_tokens(DIFFERENT) == shared_tokens(ALIKE[:1]) == shared_tokens([[*BEGIN[:4], 1], [*BEGIN[:4], 2]]) == 0
    )
    assert shared_tokens([BEGIN, BEGIN, [*BEGIN, 5]]) == 11  # one is left to each


def test_prompts_are_read_in_passes_of_so_many_tokens(monkeypatch):
    monkeypatch.setitem(room.PROMPT_TOKENS, "cpu", 60)
    model = tiny_model("llama")
    seen = tokens_read(model)
    assert written(model, ALIKE, ends_of(), 9) == one_at_a_time("llama", True)
    begun = [shape for shape in seen[1:] if shape[1] > 1]
    assert sum(rows for rows, _ in begun) == 9 and all(rows * width <= 60 for rows, width in begun)


def test_rows_are_as_many_as_the_memory_holds(monkeypatch):
    model = tiny_model("llama")  # 2 blocks, 2 heads of keys and values of 8 float32 each
    bytes_a_token = 2 * 2 * (8 + 8) * 4
    with torch.inference_mode():
        assert PromptReader(model, DIFFERENT).bytes_a_token == PromptReader(model, ALIKE).bytes_a_token == bytes_a_token
    a_row = 64 * bytes_a_token + room.LOGITS * VOCABULARY
    for free, rows in ((5 * a_row, 3), (a_row / 9, 1), (10**12, room.MOST["cpu"]), (None, room.MOST["cpu"])):
        monkeypatch.setattr(room, "free_memory", lambda device, free=free: free)
        assert find_room(model, 64, bytes_a_token).rows == rows
        assert find_room(model, 64, bytes_a_token, 2).rows == min(rows, 2)
    monkeypatch.setattr(room, "free_memory", lambda device: 5 * a_row)
    seen = tokens_read(model)
    found = written(model, DIFFERENT, ends_of(), None)
    assert max(rows for rows, _ in seen) == 3
    assert found == one_at_a_time("llama", False)


def test_the_cache_is_made_once_and_gone_with_the_last_answer(monkeypatch):
    made = []

    class Watched(engine.SlotCache):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))
            self.buffers = set()

        def advance(self) -> None:
            self.buffers |= {layer.keys.data_ptr() for layer in self.blocks}
            super().advance()
            assert len(self.buffers) == 2  # one a block

    monkeypatch.setattr(engine, "SlotCache", Watched)
    monkeypatch.setattr("calprune.writing.cache._ROOM", 3)
    gc.disable()
    try:
        written(tiny_model("gpt2"), DIFFERENT, ends_of())
        assert [cache() for cache in made] == [None]
    finally:
        gc.enable()


class Limited:
    """A model that runs out of memory: with more rows than `most`, or in one pass of those that are numbered."""

    def __init__(self, family: str, most: int = 99, passes: tuple[int, ...] = ()) -> None:
        self.model, self.most, self.passes, self.count = tiny_model(family), most, passes, 0
        self.model.register_forward_pre_hook(self.run, with_kwargs=True)

    def run(self, module, given, named) -> None:
        self.count += 1
        if len(named["input_ids"]) > self.most or self.count in self.passes:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("most", [1, 3, 4])
def test_where_memory_runs_out_half_as_many_go_on(most):
    said, limited = Said(), Limited("qwen2", most)
    with showing(said):
        found = written(limited.model, ALIKE, ends_of("T"), 8)
    assert found == ended(one_at_a_time("qwen2", True), ("T",))
    assert said[0] == "note: the memory of cpu does not hold 8 texts at once: 4 go on"
    assert len(said) == {1: 3, 3: 2, 4: 1}[most]


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_what_was_written_before_memory_ran_out_is_kept(family):
    prompts = prompts_of([30, 1, 7, 2, 19])
    limited = Limited(family, passes=(9, 20))
    sampling = Sampling(temperature=1.0, max_new_tokens=MOST, stop=(2,))
    said = Said()
    with showing(said):
        found = generate(limited.model, prompts, streams(5), sampling, batch_size=4)
    assert found == generate(tiny_model(family), prompts, streams(5), sampling, batch_size=4)
    assert len(said) == 2 and said[1].endswith("does not hold 2 texts at once: 1 go on")


def test_a_number_that_was_drawn_in_vain_is_not_drawn_again(monkeypatch):
    model, sampling = tiny_model("llama"), Sampling(temperature=1.0, max_new_tokens=MOST)
    expected = generate(model, DIFFERENT, streams(9), sampling, batch_size=4)
    draw, count = engine.next_tokens, iter(range(10**6))

    def failing(*given):
        if next(count) == 5:
            torch.empty(2**60, dtype=torch.uint8)  # as torch says it on a CPU
        return draw(*given)

    monkeypatch.setattr(engine, "next_tokens", failing)
    assert generate(model, DIFFERENT, streams(9), sampling, batch_size=4) == expected


def test_one_text_that_does_not_fit_is_refused_and_other_errors_are_not_hidden(monkeypatch):
    limited = Limited("llama", passes=tuple(range(2, 99)))
    with pytest.raises(UserError, match=r"the memory of cpu does not hold one text of \d+ tokens .* \(--device\)"):
        written(limited.model, DIFFERENT, ends_of())
    monkeypatch.setattr(engine, "next_tokens", lambda *given: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        written(tiny_model("llama"), DIFFERENT, ends_of())


def test_half_of_a_room_is_half_of_its_rows_and_of_what_is_read_at_once():
    assert Room(64, 2048, 300).halved(9) == Room(4, 1024, 300)
    assert Room(1, None).halved(1) == Room(1, None)


def test_few_answers_are_decoded_to_see_whether_they_are_over():
    ends = ends_of("ab", "c\ufffd")
    text = [ord(letter) - 33 for letter in "xyzxyzxyzxab"]
    assert [ends.over(text[:n]) for n in range(1, 13)] == [False] * 11 + [True]
    assert ends.tokenizer.decoded == 5 + 1  # each letter once, and one text: that which ends with b


def test_a_text_may_end_with_a_part_of_a_character_or_with_a_space_that_a_token_begins_with():
    class Pieces(Letters):
        pieces = (b"a", b"\xe3\x80", b"\x82", b":", b" so")

        def decode(self, tokens) -> str:  # without a space at the beginning, as tokenizers of SentencePiece do
            return b"".join(self.pieces[token] for token in tokens).decode(errors="replace").removeprefix(" ")

    for text, tokens in (("\u3002", [0, 1, 2]), (": ", [0, 3, 4])):
        ends = Ends(Pieces(), (), (text,), MOST)
        assert [ends.over(tokens[:n]) for n in (1, 2, 3)] == [False, False, True]


def test_free_memory_is_the_least_of_the_machines_and_the_containers(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.free_memory(cpu) is None
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:  7 kB\n")
    assert memory.free_memory(cpu) == 7 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, free in (("max", 7 * 1024), ("5000", 4000)):
        (tmp_path / "memory.max").write_text(limit)
        assert memory.free_memory(cpu) == free
