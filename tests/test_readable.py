"""Which sequences a model can read: past a table of positions none, past rotary ones with a note, and only tokens that
it has embeddings for. What cannot be read is one line before the work."""

import json
import re

import pytest
import torch
import transformers as t
from transformers import AutoModelForCausalLM

from calprune.api.arguments import Sizes, open_set
from calprune.base.progress import showing
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.perplexity import perplexity
from calprune.layers.blocks import walk
from calprune.layers.readable import Positions, check_length, positions_of
from calprune.models.likelihood import token_nats
from calprune.models.load import load
from calprune.text.document import Given
from calprune.text.source import FileSource
from calprune.writing.generate import generate
from calprune.writing.strategies import RandomToken
from tests.families import CONFIGS, FUSED_EXPERTS, VOCABULARY, random_model, tiny_model
from tests.test_cli import run  # noqa: F401 (a fixture)
from tests.test_generate import GREEDY, Said, streams
from tests.tiny import save, toy_tokenizer

COUNT = 64
_SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
MORE = {
    "biogpt": lambda: t.BioGptConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
                                     max_position_embeddings=COUNT, **_SIZES),
    "codegen": lambda: t.CodeGenConfig(n_embd=32, n_layer=1, n_head=4, n_positions=COUNT, rotary_dim=4, **_SIZES),
    "ctrl": lambda: t.CTRLConfig(n_embd=32, n_layer=1, n_head=4, dff=64, n_positions=COUNT, **_SIZES),
    "falcon": lambda: t.FalconConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, alibi=True,
                                     max_position_embeddings=COUNT, **_SIZES),
    "gpt_bigcode": lambda: t.GPTBigCodeConfig(n_embd=32, n_layer=1, n_head=4, n_positions=COUNT, **_SIZES),
    "gpt_neo": lambda: t.GPTNeoConfig(hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]],
                                      max_position_embeddings=COUNT, **_SIZES),
    "gptj": lambda: t.GPTJConfig(n_embd=32, n_layer=1, n_head=4, n_positions=COUNT, rotary_dim=4, **_SIZES),
    "xglm": lambda: t.XGLMConfig(d_model=32, num_layers=1, attention_heads=4, ffn_dim=64,
                                 max_position_embeddings=COUNT, **_SIZES),
}  # fmt: skip
ALL = CONFIGS | FUSED_EXPERTS | MORE
TABLES = {"biogpt", "codegen", "ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "opt"}


@pytest.fixture
def said():
    """The lines that a person would read."""
    lines = Said()
    with showing(lines):
        yield lines


@pytest.mark.parametrize("family", ALL)
def test_a_table_of_positions_is_told_from_rotary_ones_as_the_model_itself_tells(family):
    """A position past the table is an error of the model's own forward pass; past others it goes on."""
    model = random_model(ALL[family]())
    found = positions_of(model)
    assert found == (None if family == "bloom" else Positions(COUNT, family in TABLES))
    long = torch.randint(3, VOCABULARY, (1, COUNT + 1))
    with torch.no_grad():
        model(input_ids=long[:, :COUNT], use_cache=False)
        if family in TABLES:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=long, use_cache=False)
        else:
            model(input_ids=long, use_cache=False)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_an_outline_without_weights_tells_the_same(family):
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(ALL[family]())
    assert positions_of(outline) == Positions(COUNT, family in TABLES)


def test_what_fits_is_silent_and_what_goes_past_rotary_positions_is_noted_once(said):
    check_length(tiny_model("llama"), COUNT)
    check_length(tiny_model("gpt2"), COUNT)
    assert not said
    for _ in range(3):
        check_length(tiny_model("llama"), COUNT + 1)
    assert len(said) == 1
    assert said[0].startswith("note: sequences of 65 tokens go past the 64 positions that the model was made for: what")


def test_what_a_model_without_positions_reads_has_no_end(said):
    check_length(tiny_model("bloom"), 10**6)
    assert not said


READ = {
    "a walk": lambda model, rows: next(walk(model, CalibrationSet.from_tokens(rows))),
    "windows": lambda model, rows: perplexity(model, torch.tensor(rows)),
    "likelihoods": token_nats,
    "a prompt": lambda model, rows: generate(model, rows, streams(1), GREEDY),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_wherever_sequences_meet_the_model_past_its_positions_one_rule_holds(read, family, said):
    model, rows = tiny_model(family), [[5] * 65]
    if family == "gpt2":
        with pytest.raises(UserError, match="64"):
            read(model, rows)
    else:
        read(model, rows)
        assert len(said) == 1 and said[0].startswith("note: ") and "past the 64 positions" in said[0]


@pytest.fixture
def toy_folder(tmp_path):
    """Makes a model of a family over the toy tokenizer as a folder; of fewer embeddings than the tokenizer has ids."""

    def made(family: str, vocabulary: int = 259):
        config = ALL[family]()
        config.vocab_size = vocabulary
        save(random_model(config), toy_tokenizer(), tmp_path / family)
        return str(tmp_path / family)

    return made


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_a_token_without_an_embedding_is_named_with_its_text(read, toy_folder):
    model = load(toy_folder("llama", 258))
    last = toy_tokenizer().convert_ids_to_tokens(258)
    read(model.model, [[5] * 8])
    with pytest.raises(UserError, match=rf"holds token 258 \({re.escape(repr(last))}\), .* embeddings for 258"):
        read(model.model, [[5] * 7 + [258]])


def test_no_text_begins_with_a_token_that_has_no_embedding(toy_folder):
    model = load(toy_folder("llama", 4))
    opened = RandomToken(language=None).open(streams(20), Given(model), GREEDY, batch_size=20)
    assert len(opened) == 20 and all(max(prompt.tokens) < 4 for prompt in opened)


# -- before the work: no text is read ------------------------------------------------------------


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    for name, what in (("texts.jsonl", "a number"), ("texts.jsonl.held.jsonl", "another one")):
        (tmp_path / name).write_text("".join(json.dumps({"text": f"{i} is {what}. " * 40}) + "\n" for i in range(9)))
    return str(path)


@pytest.fixture
def unread(monkeypatch):
    """Reading a document fails."""

    def documents(*_):
        raise AssertionError("a document was read")

    monkeypatch.setattr(FileSource, "documents", documents)


LONG = ("--num-samples", "2")  # and 2,048 tokens, the usual
COMMANDS = {
    "prune": lambda model, texts, out: ("prune", model, "--pattern", "50%", "--calibration", texts, *LONG,
                                        "--out", out),
    "stats": lambda model, texts, out: ("stats", model, "--calibration", texts, *LONG, "--out", out),
    "eval": lambda model, texts, out: ("eval", model, "--on", f"perplexity({texts})"),
    "synth": lambda model, texts, out: ("synth", model, "--from-bos", *LONG, "--out", out),
    "choose": lambda model, texts, out: ("choose", model, "--sources", texts, "--sources", "random_tokens",
                                         "--for", "a=1", "--judge", f"a={texts}.held.jsonl", *LONG, "--out", out),
    "compare": lambda model, texts, out: ("calib", "compare", texts, f"{texts}*2", "--model", model, *LONG),
    "similar": lambda model, texts, out: ("calib", "similar", texts, "--to", "c4", "--model", model),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_past_a_table_of_positions_is_one_line_before_any_text_is_read(
    command,
    toy_folder,
    texts,
    unread,
    tmp_path,
    run,  # noqa: F811
):
    asked = COMMANDS[command](toy_folder("gpt2"), texts, str(tmp_path / "out"))
    status, _, err = run(*asked)
    assert status == 1, err
    assert re.fullmatch(r"calprune: (sequences|windows) of [\d,]+ tokens are longer than the model's table of 64 "
                        r"positions; write (--max-seq-length |length=|--window )64\n", err)  # fmt: skip


def test_a_study_past_a_table_is_refused_when_planned(toy_folder, texts, unread, tmp_path, run):  # noqa: F811
    study = tmp_path / "study.yaml"
    study.write_text(f"title: t\nmodels: {toy_folder('gpt2')}\ncalibrations: ['{texts}']\nmethods: wanda\n"
                     f"patterns: 50%\nmax_seq_length: 65\n"
                     f"evaluations: ['perplexity({texts}, length=32)']\n")  # fmt: skip
    status, _, err = run("study", "plan", str(study))
    assert status == 1 and "table of 64 positions; write max_seq_length: 64" in err
    study.write_text(study.read_text().replace("65", "64").replace("length=32", "length=65"))
    status, _, err = run("study", "plan", str(study))
    assert status == 1 and "windows of 65 tokens are longer than the model's table of 64 positions" in err


def test_a_set_that_was_built_for_longer_positions_is_refused(toy_folder):
    model = load(toy_folder("gpt2"))
    with pytest.raises(UserError, match="sequences of 65 tokens are longer"):
        open_set(CalibrationSet.from_tokens([[5] * 65]), model, Sizes(), None)


def test_prune_past_rotary_positions_goes_on_with_one_note(toy_folder, texts, tmp_path, run):  # noqa: F811
    asked = ("prune", toy_folder("llama"), "--pattern", "50%", "--calibration", texts, "--num-samples", "2")
    status, _, err = run(*asked, "--max-seq-length", "80", "--out", str(tmp_path / "out"))
    assert status == 0, err
    assert err.count("note: sequences of 80 tokens go past the 64 positions") == 1
