"""What a model writes as a source: what documents begin with, what is kept of them, and that a kill changes nothing."""

import contextlib
import functools
import importlib.util
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from typer.testing import CliRunner

from calprune.base.progress import Progress, Steps, showing
from calprune.base.values import ConfigError, UserError
from calprune.calibration.build import make_set
from calprune.cli import app
from calprune.models.likelihood import token_nats
from calprune.models.load import Model
from calprune.text.document import Given
from calprune.text.encode import encode_text
from calprune.text.filters.quality import repetition
from calprune.text.find import find
from calprune.text.formats import Format
from calprune.writing.generate import Written, generate
from calprune.writing.sampling import Sampling
from calprune.writing.screen import Screen, Text
from calprune.writing.source import SelfSource
from calprune.writing.strategies import parse_strategy
from calprune.writing.vllm import as_written, sampling_options
from tests.tiny import toy_tokenizer

PLAIN = Format("plain")
BEGIN, SEPARATOR, END = 0, 1, 2  # of the toy tokenizer


@functools.cache
def network():
    """A random Llama over the toy tokenizer's 259 ids, whose texts end now and then."""
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=260, max_position_embeddings=128, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * 0.2 if p.dim() > 1 else torch.ones_like(p))
    return model


def toy(**options) -> Model:
    return Model(network(), toy_tokenizer(**options), "toy", "0123456789abcdef")


def written(tmp_path, strategy, model=None, seed=0, split="calibration", **options):
    source = SelfSource(parse_strategy(strategy), batch_size=4, shard=8, work=tmp_path, **options)
    documents = source.documents(PLAIN, split, Given(model or toy()), seed)
    return list(documents), documents.skipped


def texts_file(tmp_path, texts):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def prompts_file(tmp_path, *records):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# -- shards --------------------------------------------------------------------------------------


class Killed(Progress):
    """Kills its process after so many tokens."""

    def __init__(self, at):
        self.at = at

    @contextlib.contextmanager
    def steps(self, doing, total, counted=""):
        yield Steps(doing, total, counted, self.look)

    def look(self, steps):
        if steps.count_so_far >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Said(Progress, list):
    say = list.append


def in_a_child_that_is_killed(work, strategy, at, while_saving):
    if (child := os.fork()) == 0:
        try:
            progress = Killed(at)
            if while_saving:
                progress, os.replace = None, lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            written(work, strategy, progress=progress)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def bytes_of(work):
    return {path.name: path.read_bytes() for path in work.rglob("*.safetensors")}


def test_a_run_killed_at_ten_random_points_goes_on_to_the_same_bytes(tmp_path):
    strategy = "bos(documents=30, max_new_tokens=30, temperature=1.5, top_p=1.0)"
    whole, _ = written(tmp_path / "whole", strategy)
    stream, exits = random.Random(0), []
    for i in range(10):
        at, saving = stream.randrange(20, 300), i % 4 == 3
        exits.append(in_a_child_that_is_killed(tmp_path / "killed", strategy, at, saving))
    found, _ = written(tmp_path / "killed", strategy)
    assert exits.count(-signal.SIGKILL) >= 5  # it was killed, again and again
    assert found == whole
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole") != {}


def test_a_damaged_shard_is_written_again_and_said_to_be(tmp_path):
    strategy = "bos(documents=10, max_new_tokens=6)"
    before, _ = written(tmp_path, strategy)
    first, second = sorted(tmp_path.rglob("*.safetensors"))
    whole = bytes_of(tmp_path)
    first.write_bytes(first.read_bytes()[:-3] + b"xyz")  # other tokens under the old hash
    second.write_bytes(b"")
    said = Said()
    assert written(tmp_path, strategy, progress=said)[0] == before
    assert bytes_of(tmp_path) == whole
    assert [sum(path.name in line and "is damaged" in line for line in said) for path in (first, second)] == [1, 1]


def test_what_was_written_is_not_written_again_and_more_is_added_to_it(tmp_path):
    few, _ = written(tmp_path, "bos(documents=8, max_new_tokens=6)")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    more, _ = written(tmp_path, "bos(documents=12, max_new_tokens=6)")
    assert more[:8] == few and len(more) == 12
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_seeds_and_splits_give_other_texts(tmp_path):
    strategy = "bos(documents=4, max_new_tokens=20, temperature=1.5)"
    given = [written(tmp_path, strategy, seed=0), written(tmp_path, strategy, seed=1)]
    given.append(written(tmp_path, strategy, split="evaluation"))
    assert len({documents[0].tokens for documents, _ in given}) == 3


def test_a_set_of_the_models_own_texts_has_the_same_bytes_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    model = toy()
    spec, size = "self:bos(documents=12, max_new_tokens=20)", {"num_samples": 2, "max_seq_length": 32}
    for name in ("a", "b"):
        make_set(spec, model.tokenizer, model=model, **size).save(tmp_path / name)
    assert (tmp_path / "a/tokens.safetensors").read_bytes() == (tmp_path / "b/tokens.safetensors").read_bytes()


def test_every_seed_has_texts_of_its_own_and_no_set_says_that_they_are_shared(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    model = toy()
    spec, size = "self:bos(documents=12, max_new_tokens=20)", {"num_samples": 9, "max_seq_length": 16}
    sets = [make_set(spec, model.tokenizer, model=model, **size, seed=seed) for seed in (0, 1)]
    first, second = ({tuple(row.tolist()) for row in made.tokens} for made in sets)
    assert not first & second
    assert all(2 * part.read > part.pool for made in sets for part in made.drawn)  # of one pool they would share some
    assert not any("share documents" in note for made in sets for note in made.notes)


# -- strategies ----------------------------------------------------------------------------------


def test_prefixes_are_the_first_tokens_of_real_documents_which_the_model_continues(tmp_path):
    texts = ["the first text here", "another one there", "tiny"]
    path = texts_file(tmp_path, texts)
    documents, skipped = written(
        tmp_path, f"prefixes({path}, tokens=6, documents=6, max_new_tokens=10, drop_perplexity=0.0)"
    )
    begins = {tuple(encode_text(toy_tokenizer(), text)[:6]) for text in texts[:2]}  # the third is too short
    assert {document.tokens[:6] for document in documents} == begins
    assert all(6 < len(document.tokens) <= 16 for document in documents)
    assert all("after texts.jsonl:" in document.id for document in documents) and not skipped
    assert len({document.tokens for document in documents}) > 2  # a prefix that comes again is continued otherwise


def test_documents_hold_neither_the_start_token_nor_the_token_that_ended_them(tmp_path):
    documents, _ = written(tmp_path, "bos(documents=8, max_new_tokens=60, temperature=2.0)")
    ended = [document for document in documents if len(document.tokens) < 60]
    assert ended and not {BEGIN, SEPARATOR, END} & {token for document in documents for token in document.tokens}


def test_the_start_is_the_separator_of_documents_where_begin_of_text_is_a_turns_mark():
    bos = parse_strategy("bos").strategy
    tokenizer = toy_tokenizer()
    assert bos.token(tokenizer) == BEGIN
    tokenizer.chat_template = "<s>" + tokenizer.chat_template
    assert bos.token(tokenizer) == SEPARATOR
    assert parse_strategy("bos(start='<|end|>')").strategy.token(tokenizer) == END


def test_a_response_weighs_one_and_its_prompt_what_is_asked(tmp_path):
    path = prompts_file(tmp_path, {"prompt": "hello"}, {"messages": [{"role": "user", "content": "hi"}]})
    strategy = f"respond({path}, prompt_weight=0.25, responses=2, max_new_tokens=60, keep_truncated=True)"
    documents, _ = written(tmp_path, strategy)
    prompt = encode_text(toy_tokenizer(), "[user] hello<|end|>\n")
    asked = [document for document in documents if document.tokens[: len(prompt)] == tuple(prompt)]
    assert len(documents) == 4 and len(asked) == 2 and asked[0].tokens != asked[1].tokens
    for document in asked:
        assert document.token_weights == (0.25,) * len(prompt) + (1.0,) * (len(document.tokens) - len(prompt))


def test_draws_of_fewer_responses_than_prompts_ask_different_prompts(tmp_path):
    path = prompts_file(tmp_path, *({"prompt": f"p{i}"} for i in range(40)))
    plan = parse_strategy(f"respond({path})").strategy
    given = Given(model=toy(), tokenizer=toy_tokenizer())
    orders = [[prompt.after for prompt in plan.prompts(given, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] and sorted(orders[0]) == sorted(orders[2])
    assert len({*orders[0][:8], *orders[2][:8]}) > 8


def test_decode_only_counts_what_is_fed_back_and_nothing_else(tmp_path):
    path = prompts_file(tmp_path, *({"prompt": f"p{i}"} for i in range(6)))
    documents, skipped = written(tmp_path, f"respond({path}, decode_only=True, temperature=2.0, max_new_tokens=90)")
    assert skipped["truncated"] == 6 - len(documents)
    for document in documents:
        prompt = len(encode_text(toy_tokenizer(), "[user] p0<|end|>\n"))
        fed = len(document.tokens) - prompt - 1
        assert document.tokens[-1] in (SEPARATOR, END)
        assert document.token_weights == (0.0,) * prompt + (1.0,) * fed + (0.0,)


def test_a_random_token_is_followed_by_greedy_ones(tmp_path):
    strategy = "random_token(language=None, opening=4, documents=6, max_new_tokens=8, temperature=3.0)"
    documents, _ = written(tmp_path, strategy)
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=4, stop=(SEPARATOR, END))
    for document in documents:
        stream = [random.Random(0)]
        [expected] = generate(network(), [(BEGIN, document.tokens[0])], stream, greedy)
        assert (BEGIN, *document.tokens)[: len(expected.tokens)] == expected.tokens
    assert len({document.tokens[0] for document in documents}) > 3


def test_openings_in_another_language_are_counted_and_not_written_on(tmp_path):
    pytest.importorskip("py3langid", reason="needs calprune[language]")
    strategy = "random_token(language='ka', tries=2, documents=6, max_new_tokens=8)"  # bytes are seldom Georgian
    with pytest.raises(UserError, match=r"none of 6 documents is left \(6 no opening in ka within 2 tries\)"):
        written(tmp_path, strategy)


# -- the screen ----------------------------------------------------------------------------------


def test_the_least_likely_fifth_goes_and_the_band_before_it():
    dropped = Counter()
    assert Screen(drop_perplexity=0.2).likely([5.0, 1.0, 4.0, 2.0, 3.0], dropped) == [False, True, True, True, True]
    assert dropped == {"perplexity in the top 20%": 1}  # NumPy's 80th percentile of 1 to 5 is 4.2
    screen, dropped = Screen(drop_perplexity=0.5, perplexity_band=(2.0, 9.0)), Counter()
    assert screen.likely([1.0, 2.0, 3.0, 4.0, 90.0, float("nan")], dropped) == [False, True, False, False, False, False]
    assert dropped == {"too short for a perplexity": 1, "perplexity outside 2 to 9": 2, "perplexity in the top 50%": 2}


def test_repetition_is_the_fraction_of_n_grams_that_came_before():
    assert repetition([1, 2, 1, 2, 1], 2) == 0.5  # 12 21 12 21
    assert repetition([1, 2, 3], 4) == 0.0


def test_a_document_is_dropped_for_the_first_reason_that_holds():
    screen = Screen(max_repetition=0.4, ngram=2, keep_truncated=False)
    assert screen.first_reason(Text((1, 2, 1, 2, 1), 0, True)) == "more than 40% repeated 2-grams"
    assert screen.first_reason(Text((1, 2, 1, 2, 1), 4, True)) == ""  # what the model wrote is one token
    assert screen.first_reason(Text((1, 2, 1, 2, 1), 0, False)) == "truncated"
    assert screen.first_reason(Text((1, 2), 2, True)) == "nothing written"
    assert screen.first_reason(Text((), 0, False, "refused")) == "refused"


def test_nats_are_those_of_each_sequence_alone():
    sequences = [[5, 6, 7, 8], [9], [10, 11], list(range(20, 60))]
    for sequence, nats in zip(sequences, token_nats(network(), sequences), strict=True):
        expected = []
        for i in range(1, len(sequence)):
            with torch.inference_mode():
                logits = network()(input_ids=torch.tensor([sequence[:i]])).logits[0, -1]
            expected.append(-float(logits.log_softmax(-1)[sequence[i]]))
        assert nats.tolist() == pytest.approx(expected, abs=1e-4)


def test_perplexity_counts_the_prefix_or_leaves_it_out(tmp_path):
    path = texts_file(tmp_path, ["abcdefgh"])
    begin = f"prefixes({path}, tokens=8, documents=1, max_new_tokens=10, drop_perplexity=0.0"
    [document], _ = written(tmp_path, begin + ")")
    [nats] = token_nats(network(), [(BEGIN, *document.tokens)])
    for of, expected in (("all", nats), ("written", nats[8:])):
        middle = float(expected.mean().exp())
        band = f", perplexity_of={of}, perplexity_band=({middle * 0.999}, {middle * 1.001}))"
        assert len(written(tmp_path, begin + band)[0]) == 1


def test_a_recipes_filters_look_at_what_the_screen_left_and_count_what_they_drop(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    model, same = toy(), "self:bos(temperature=0, documents=6, max_new_tokens=20)"  # greedy: six times one text

    def counts(**options):
        return make_set(same, model.tokenizer, model=model, num_samples=1, max_seq_length=16, **options).counts

    assert not any("duplicate" in reason for reason in counts())
    for name in ("near_duplicates", "exact_duplicates"):
        found = counts(filters=[name])
        assert [n for reason, n in found.items() if name.removesuffix("s").replace("_", " ") in reason] == [5]


def test_one_way_to_write_is_one_source_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="same source in one format"):
        make_set("self + self:bos", toy().tokenizer, model=toy(), num_samples=2, max_seq_length=16)


def test_a_model_that_writes_without_chance_is_not_judged_on_what_it_calibrates_on(tmp_path):
    for greedy in ("temperature=0", "top_k=1"):
        with pytest.raises(UserError, match="a model would write the same texts"):
            SelfSource(parse_strategy(f"bos({greedy})"), work=tmp_path).split_for("evaluation")


def test_more_documents_than_prompts_are_told(tmp_path):
    prompts, heard = prompts_file(tmp_path, {"prompt": "ab"}, {"prompt": "cd"}), Heard()
    with showing(heard):
        find(f"self:respond({prompts}, documents=5, max_new_tokens=4)").documents(Format("chat"), given=Given(toy()))
    assert heard.said == ["note: respond: there are 2 prompts, so as many documents are written, not 5"]
    with pytest.raises(UserError, match="ellipses never ends"):
        find("self:respond(ellipses)").documents(Format("chat"), given=Given(toy()))


class Heard(Progress):
    """What is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def test_a_recipes_filters_find_the_language_of_what_the_model_wrote(tmp_path, monkeypatch):
    pytest.importorskip("py3langid", reason="needs calprune[language]")
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="dropped: 6 not in ka"):  # bytes are seldom Georgian
        make_set("self:bos(documents=6, max_new_tokens=20)", toy().tokenizer, model=toy(), num_samples=1,
                 max_seq_length=16, filters=["language(ka)"])  # fmt: skip


# -- vLLM: it is not here, so what is given to it and what comes back ----------------------------


def test_the_options_of_a_draw_are_given_to_vllm_under_its_names():
    sampling = Sampling(temperature=0.7, top_k=20, top_p=0.9, repetition_penalty=1.1, max_new_tokens=50, stop=(1, 2))
    assert sampling_options(sampling, seed=7, prompt=8, room=100) == {
        "temperature": 0.7, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.1, "max_tokens": 50,
        "stop_token_ids": [1, 2], "ignore_eos": True, "seed": 7, "detokenize": False,
    }  # fmt: skip
    assert sampling_options(Sampling(top_k=None), 0, 8, 100)["top_k"] == -1  # all tokens
    assert sampling_options(Sampling(max_new_tokens=99), 0, 8, 100)["max_tokens"] == 92  # up to the window
    assert sampling_options(Sampling(temperature=0.0), 0, 8, 100)["temperature"] == 0  # greedy


def test_the_token_that_ended_a_text_is_told_apart_in_what_vllm_gives():
    assert as_written([5, 6], [7, 8, END], (SEPARATOR, END)) == Written((5, 6, 7, 8), 2, END)
    assert as_written([5, 6], [7, 8, 9], (SEPARATOR, END)) == Written((5, 6, 7, 8, 9), 2, None)  # cut
    assert as_written([5, END], [], (SEPARATOR, END)) == Written((5, END), 2, None)


class StandIn:
    """vllm.LLM as its documents have it, over our own generation: prompts and params in, tokens with the end out."""

    def __init__(self, model, dtype, max_model_len, skip_tokenizer_init):
        assert (Path(model).is_dir(), dtype, skip_tokenizer_init) == (True, "float32", True)
        self.longest = max_model_len

    def generate(self, prompts, params, use_tqdm):
        return [self.one(prompt["prompt_token_ids"], p) for prompt, p in zip(prompts, params, strict=True)]

    def one(self, prompt, p):
        sampling = Sampling(p.temperature, top_k=None, repetition_penalty=p.repetition_penalty,
                            max_new_tokens=p.max_tokens, stop=tuple(p.stop_token_ids))  # fmt: skip
        [done] = generate(network(), [prompt], [random.Random(p.seed)], sampling)
        new = [*done.tokens[done.prompt :], *([] if done.stop is None else [done.stop])]
        assert len(prompt) + len(new) <= self.longest
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=new)])


@pytest.mark.parametrize("strategy", ["bos(top_k=None, ", "random_token(language=None, "])
def test_vllm_is_asked_for_each_document_and_its_greedy_texts_are_the_same(tmp_path, monkeypatch, strategy):
    module = SimpleNamespace(LLM=StandIn, SamplingParams=lambda **options: SimpleNamespace(**options))
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr("calprune.writing.vllm.metadata.version", lambda _: "0")
    model = Model(network(), toy_tokenizer(), str(tmp_path), "0123456789abcdef")
    options = "documents=10, temperature=0, repetition_penalty=1.3, max_new_tokens=40"
    ours, _ = written(tmp_path, f"{strategy}{options})", model)
    theirs, _ = written(tmp_path, f"{strategy}{options}, engine=vllm)", model)
    assert theirs == ours and len(ours) == 10


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("bos(engine=vllm, temperature=2.0:1.0)", "one temperature for all tokens"),
        ("bos(engine=vllm, temperature=0.001)", "from 0.01 to 2.0, or 0"),
        ("bos(engine=vllm, temperature=2.5)", "from 0.01 to 2.0, or 0"),
        ("bos(engine=vlm)", "did you mean 'vllm'"),
        ("bos(engine=own)", "unknown value 'own'; there are: calprune, vllm"),
    ],
)
def test_what_has_no_equal_in_vllm_is_refused_when_it_is_read(strategy, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_strategy(strategy)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_where_vllm_is_not_installed_the_extra_is_named_before_the_model_is_loaded(tmp_path):
    with pytest.raises(UserError, match=r"pip install 'calprune\[vllm\]'"):
        written(tmp_path, "bos(engine=vllm)")
    asked = ["synth", str(tmp_path / "no model"), "--from-bos", "--engine", "vllm", "--out", str(tmp_path / "set")]
    result = CliRunner().invoke(app, asked)
    assert isinstance(result.exception, UserError) and "calprune[vllm]" in str(result.exception)


def test_the_engine_is_in_the_name_of_what_is_written(monkeypatch):
    monkeypatch.setattr("calprune.writing.source.version", lambda: "vllm 1")
    ours, also_ours, with_vllm = (
        find(name).identity(Given(toy())) for name in ("self:bos", "self:bos(engine=calprune)", "self:bos(engine=vllm)")
    )
    assert with_vllm != ours == also_ours
    monkeypatch.setattr("calprune.writing.source.version", lambda: "vllm 2")
    assert find("self:bos(engine=vllm)").identity(Given(toy())) != with_vllm


# -- what is asked, and bad input ----------------------------------------------------------------


def test_a_strategy_is_read_with_its_sampling_and_its_screen():
    asked = parse_strategy("prefixes(of=wikipedia, tokens=4, temperature=2.0:1.0:64, documents=9)")
    assert (asked.strategy.of, asked.strategy.tokens, asked.documents) == ("wikipedia", 4, 9)
    assert asked.options == {"temperature": 2.0, "final_temperature": 1.0, "cooling_tokens": 64}
    assert asked.screen.drop_perplexity == 0.2  # Ji et al.'s
    assert parse_strategy("respond(my prompts.jsonl, responses=2)").strategy.of == "my prompts.jsonl"
    assert parse_strategy(None) == parse_strategy("bos")
    assert parse_strategy("bos(temperature='0.8')").options == {"temperature": 0.8}


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("bso", "unknown strategy 'bso'; did you mean 'bos'"),
        ("bos(temprature=2.0)", "unknown option 'temprature'; did you mean 'temperature'"),
        ("bos(temperature=hot)", "write 0.6, or 2.0:1.0"),
        ("bos(temperature=-1.0)", "temperature is 0"),
        ("bos(documents=0)", "1 or more; got 0"),
        ("bos(top_k)", "top_k has no value; write top_k="),
        ("prefixes", "of is missing"),
        ("prefixes(c4, tokens=0)", "1 or more; got 0"),
        ("bos(drop_perplexity=2.0)", "drop_perplexity is a fraction"),
        ("bos(perplexity_band=(5, 2))", "perplexity_band"),
        ("respond(x.jsonl, decode_only=True, prompt_weight=0.5)", "not both"),
        ("respond(x.jsonl, prompt_weight=3.0)", "from 0 to 1"),
        ("respond(x.jsonl, responses=0)", "1 or more"),
        ("random_token(tries=0)", "1 or more"),
        ("bos((", "cannot read"),
    ],
)
def test_what_is_asked_wrongly_is_one_line_that_says_so(strategy, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_strategy(strategy)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_do_a_strategy_say_why(tmp_path):
    nothing = toy()
    nothing.tokenizer.bos_token = None
    with pytest.raises(UserError, match=r"no begin-of-text token; give start='<\|endoftext\|>'"):
        written(tmp_path, "bos", nothing)
    path = prompts_file(tmp_path, {"prompt": "hello"})
    with pytest.raises(UserError, match="no chat template"):
        written(tmp_path, f"respond({path})", toy(chat=False))
    with pytest.raises(UserError, match="no token 'nowhere'"):
        written(tmp_path, "bos(start=nowhere)")
    with pytest.raises(UserError, match="say which"):
        find("self:bos").documents(PLAIN)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"question": "x"}, "no prompt; expected prompt, .* its fields: question"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "without a turn of the user"),
    ],
)
def test_a_prompt_that_does_not_serve_is_named(tmp_path, record, says):
    with pytest.raises(UserError, match=says):
        written(tmp_path, f"respond({prompts_file(tmp_path, record)})")


def test_a_prompt_longer_than_a_table_of_positions_is_named(tmp_path):
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 260, "n_positions": 128}
    config = transformers.GPT2Config(**sizes, bos_token_id=BEGIN, eos_token_id=END)
    model = Model(transformers.GPT2LMHeadModel(config).eval(), toy_tokenizer(), "toy", "0123456789abcdef")
    path = prompts_file(tmp_path, {"prompt": "x" * 200})
    with pytest.raises(UserError, match=r"prompts.jsonl:1: the prompt has 2\d\d tokens and the model's window is 128"):
        written(tmp_path, f"respond({path})", model)


def test_a_screen_that_leaves_nothing_says_which_filter_took_how_many(tmp_path):
    with pytest.raises(UserError, match=r"none of 4 documents is left \(4 perplexity outside 1 to 1.1\)"):
        written(tmp_path, "bos(documents=4, max_new_tokens=6, perplexity_band=(1, 1.1))")


def test_too_few_documents_after_the_screen_are_counted_by_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    model, spec = toy(), "self:bos(documents=5, max_new_tokens=10, drop_perplexity=0.4)"
    with pytest.raises(UserError, match=r"self: too few documents: .* 2 perplexity in the top 40%"):
        make_set(spec, model.tokenizer, model=model, num_samples=50, max_seq_length=32)


def test_the_command_builds_a_set_and_refuses_two_ways_at_once(tmp_path, monkeypatch):
    from tests.tiny import save

    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    save(network(), toy_tokenizer(), tmp_path / "model")
    asked = ["synth", str(tmp_path / "model"), "--from-bos", "--temperature", "2.0:1.0", "--documents", "12"]
    size = ["--max-new-tokens", "30", "--num-samples", "2", "--max-seq-length", "32", "--out", str(tmp_path / "set")]
    result = CliRunner().invoke(app, [*asked, *size, "--json"], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert (told["sequences"], told["tokens"]) == (2, 64)
    assert Path(told["out"], "tokens.safetensors").exists()
    filtered = [*asked, *size[:-1], str(tmp_path / "clean"), "--json", "--filter", "max_words(0)"]
    with pytest.raises(UserError, match="more than 0 words"):
        CliRunner().invoke(app, filtered, catch_exceptions=False)
    for wrong in (["--from-random-token"], ["--prefix-tokens", "3"], ["--responses", "2"], ["--engine", "vlm"]):
        result = CliRunner().invoke(app, [*asked, *wrong, *size])
        assert isinstance(result.exception, UserError)


def test_what_the_model_writes_is_mixed_with_a_file_by_the_command_that_builds_sets(tmp_path, monkeypatch):
    from tests.tiny import save

    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))
    save(network(), toy_tokenizer(), tmp_path / "model")
    own = texts_file(tmp_path, ["a real text that is long enough to be cut into pieces " * 3] * 20)
    mixed = f"{own} + self:prefixes(of={own}, tokens=4, documents=8, max_new_tokens=30, drop_perplexity=0)"
    size = ["--num-samples", "4", "--max-seq-length", "32", "--out", str(tmp_path / "set"), "--json"]
    asked = ["calib", "build", mixed, "--model", str(tmp_path / "model"), *size]
    told = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    assert {source["name"] for source in told["sources"]} == {str(own), "self"}


def test_beginnings_are_read_once_for_all_draws_and_anew_when_the_file_changed(tmp_path, monkeypatch):
    own = texts_file(tmp_path, ["a first text that is long", "a second text that is long"])
    strategy, given = parse_strategy(f"prefixes({own}, tokens=6)").strategy, Given(toy())
    real, reads = type(strategy)._read, []
    monkeypatch.setattr(type(strategy), "_read", lambda self, *rest: reads.append(1) or real(self, *rest))
    drawn = [{prompt.tokens for prompt in strategy.prompts(given, seed)} for seed in range(3)]
    assert drawn[0] == drawn[1] == drawn[2] and len(reads) == 1
    texts_file(tmp_path, ["another text that is long", "and yet another that is long"])
    assert {prompt.tokens for prompt in strategy.prompts(given, 0)}.isdisjoint(drawn[0]) and len(reads) == 2
