"""Perplexity and divergence are what transformers' own loss and plain sums say, however the work is cut up."""

import json
import math
import shlex

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import calprune.cli.evaluate
import calprune.cli.prune  # noqa: F401 (a program of one command takes no command's name)
from calprune.base.values import ConfigError, UserError
from calprune.calibration.part import open_source
from calprune.calibration.set import CalibrationSet
from calprune.cli.app import main
from calprune.evaluation.contract import as_outcomes
from calprune.evaluation.divergence import DenseReference, as_text
from calprune.evaluation.evaluation import OnText, parse_evaluation
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.windows import PROTOCOL, windows_of
from calprune.models.head import HEAD_NUMBERS, Head
from calprune.models.load import Model
from calprune.text.document import Document, Given
from tests.families import CONFIGS, VOCABULARY, tiny_model
from tests.tiny import save

WORDS = [f"w{i}" for i in range(VOCABULARY - 4)]


def word_tokenizer(begin: bool = False) -> PreTrainedTokenizerFast:
    """One token a word; a blank line is one token too. With `begin`, texts begin with <s>."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "\n\n", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    if begin:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def text_of(*words: int) -> Document:
    return Document(" ".join(f"w{i - 4}" for i in words), "a text")


def some_windows(n: int = 5, length: int = 12) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (n, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", CONFIGS)
def test_nats_are_the_loss_that_transformers_gives_a_window(family):
    model, windows = tiny_model(family), some_windows()
    with torch.no_grad():
        losses = [model(input_ids=w[None], labels=w[None]).loss.item() for w in windows]
    found = perplexity(model, windows)
    assert found.nats.tolist() == pytest.approx(losses, rel=1e-5)
    assert found.estimate().value == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary():
    model = tiny_model("llama")
    model.lm_head.weight.data.zero_()
    found = perplexity(model, some_windows()).estimate()
    assert (found.value, found.low, found.high) == pytest.approx((VOCABULARY,) * 3)


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # gemma2 bounds its logits after the output embeddings
@pytest.mark.parametrize("embeddings", ["its own", "the dense model's"])
def test_divergence_is_the_sum_over_the_vocabulary(family, embeddings):
    dense, pruned, windows = tiny_model(family), tiny_model(family, seed=1), some_windows()
    if embeddings != "its own":
        pruned.get_output_embeddings().weight.data.copy_(dense.get_output_embeddings().weight)
    with torch.no_grad():
        log_p, log_q = (m(input_ids=windows).logits[:, :-1].double().log_softmax(-1) for m in (dense, pruned))
    expected = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1).mean(1)
    found = DenseReference(dense, windows, batch_size=2).divergence(pruned)
    assert found.nats.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert found.estimate().value == pytest.approx(expected.mean().item(), rel=1e-5)


def test_what_a_token_lost_is_the_mean_divergence_where_it_is_to_be_predicted():
    dense, pruned = tiny_model("llama"), tiny_model("llama", seed=1)
    windows = torch.randint(4, 20, (6, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        log_p, log_q = (m(input_ids=windows).logits[:, :-1].double().log_softmax(-1) for m in (dense, pruned))
    each = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)
    found = DenseReference(dense, windows, batch_size=4).divergence(pruned).by_token()
    counts = windows[:, 1:].flatten().bincount().tolist()
    wanted = {token: n for token, n in enumerate(counts) if n >= 5}
    assert {token: times for token, (times, _) in found.items()} == wanted and 0 < len(wanted) < 16
    assert list(wanted.values()) != sorted(wanted.values(), reverse=True) == [times for times, _ in found.values()]
    for token, (_, nats) in found.items():
        assert nats == pytest.approx(each[windows[:, 1:] == token].mean().item(), rel=1e-5)


def test_tokens_of_one_text_lose_together():
    words = Tokenizer(models.WordLevel({"▁the": 0, "the": 1, "sun": 2}, unk_token="sun"))
    words.decoder = decoders.Metaspace()  # which trims the space before a word
    model = Model(tiny_model("llama"), PreTrainedTokenizerFast(tokenizer_object=words), "m", "m")
    found = as_text({0: (30, 1.0), 2: (20, 0.5), 1: (10, 3.0)}, model)
    assert found == {"the": (40, 1.5), "sun": (20, 0.5)}


def test_what_no_evaluation_can_be_or_give_is_one_line():
    with pytest.raises(ConfigError, match="expected skip >= 0; got skip=-1"):
        OnText("kl", "c4", skip=-1)
    with pytest.raises(ConfigError, match="mine gave NaN or infinity for some items"):
        as_outcomes(OnText("kl", "c4"), "mine", [1.0, math.inf])


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_model_diverges_from_itself_by_nothing(family):
    model = tiny_model(family)
    assert DenseReference(model, some_windows()).divergence(model).nats.abs().max() == 0


def test_a_model_in_bfloat16_is_compared_by_its_own_rounded_logits():
    dense, pruned, windows = tiny_model("llama").bfloat16(), tiny_model("llama", seed=1).bfloat16(), some_windows()
    with torch.no_grad():
        log_p, log_q = (m(input_ids=windows).logits[:, :-1].double().log_softmax(-1) for m in (dense, pruned))
    expected = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1).mean(1)
    assert DenseReference(dense, windows, batch_size=2).divergence(pruned).nats.tolist() == pytest.approx(
        expected.tolist(), rel=1e-4
    )


def test_a_model_pruned_in_place_is_compared_with_what_it_was():
    model, windows = tiny_model("llama"), some_windows()
    reference = DenseReference(model, windows)
    model.model.layers[0].mlp.down_proj.weight.data.zero_()
    expected = DenseReference(tiny_model("llama"), windows).divergence(model).nats
    assert expected.min() > 0.001
    assert torch.equal(reference.divergence(model).nats, expected)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
def test_batches_change_nothing(batch_size):
    dense, pruned, windows = tiny_model("llama"), tiny_model("llama", seed=1), some_windows()
    assert perplexity(dense, windows, batch_size=batch_size).nats == pytest.approx(perplexity(dense, windows).nats)
    found = DenseReference(dense, windows, batch_size=batch_size).divergence(pruned).nats
    assert found == pytest.approx(DenseReference(dense, windows).divergence(pruned).nats, rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_few_logits_at_a_time_change_nothing(family, monkeypatch):
    dense, pruned, windows = tiny_model(family), tiny_model(family, seed=1), some_windows()
    whole = perplexity(dense, windows).nats, DenseReference(dense, windows).divergence(pruned).nats
    monkeypatch.setattr("calprune.models.head.HEAD_NUMBERS", 7 * VOCABULARY)
    assert list(Head(dense).pieces(15)) == [slice(0, 7), slice(7, 14), slice(14, 15)]
    assert perplexity(dense, windows).nats == pytest.approx(whole[0], rel=1e-5)
    assert DenseReference(dense, windows).divergence(pruned).nats == pytest.approx(whole[1], rel=1e-5)


def test_a_vocabulary_larger_than_the_bound_is_taken_one_position_at_a_time():
    head = Head(tiny_model("llama"))
    head.vocabulary = HEAD_NUMBERS + 1
    assert list(head.pieces(2)) == [slice(0, 1), slice(1, 2)]


def test_windows_join_documents_by_a_blank_line_and_leave_out_the_rest():
    documents = [text_of(5, 6, 7), text_of(8, 9), Document("", "made as tokens", tokens=(10, 11, 12, 13))]
    windows = windows_of(documents, word_tokenizer(), length=5)
    assert windows.tolist() == [[5, 6, 7, 3, 8], [9, 3, 10, 11, 12]]


def test_every_window_begins_as_the_tokenizer_begins_a_text():
    windows = windows_of([text_of(5, 6, 7), text_of(8, 9)], word_tokenizer(begin=True), length=4)
    assert windows.tolist() == [[1, 5, 6, 7], [1, 3, 8, 9]]


def test_every_window_begins_with_what_is_asked_for_after_the_begin_of_text():
    documents = [text_of(5, 6, 7), text_of(8, 9)]
    assert windows_of(documents, word_tokenizer(), length=4, begin_with="w5").tolist() == [[9, 5, 6, 7], [9, 3, 8, 9]]
    marked = windows_of(documents, word_tokenizer(begin=True), length=4, begin_with="w5")
    assert marked.tolist() == [[1, 9, 5, 6], [1, 9, 7, 3], [1, 9, 8, 9]]
    second = windows_of(documents, word_tokenizer(), length=4, skip_tokens=4, begin_with="w5")
    assert second.tolist() == [[9, 8, 9, 3]]
    with pytest.raises(UserError, match=r"begin: expected one token .*'w5 w6' has 2"):
        windows_of(documents, word_tokenizer(), length=4, begin_with="w5 w6")


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("first", ["", "w5"])
@pytest.mark.parametrize("second", ["", "w5"])
@pytest.mark.parametrize("tokens", [5, 40, 43])
def test_two_parts_of_a_text_share_no_token_whatever_either_is_judged_after(marked, first, second, tokens):
    documents, tokenizer = [Document("", "made as tokens", tokens=tuple(range(100, 200)))], word_tokenizer(marked)
    judged = windows_of(documents, tokenizer, 5, tokens, begin_with=first)
    other = windows_of(documents, tokenizer, 5, skip_tokens=tokens, begin_with=second)
    text, rest = (set(one[one >= 100].tolist()) for one in (judged, other))
    assert text and rest and not text & rest and max(text) < min(rest)
    as_it_is = windows_of(documents, tokenizer, 5, skip_tokens=tokens)
    assert min(rest) == as_it_is[as_it_is >= 100].min(), "begin= does not move where the other part begins"


def test_what_a_text_is_judged_after_is_part_of_its_name_and_of_its_figures(run_eval):
    on = "perplexity(notes.txt, length=32, tokens=320, begin='a')"
    assert str(parse_evaluation(on)) == "perplexity(notes.txt, tokens=320, length=32, begin=a)"
    status, out, _ = run_eval("pruned", "--on", on, "--on", on.replace(", begin='a'", ""), "--json")
    first, second = json.loads(out)["texts"]
    assert status == 0 and first["name"] == "notes.txt, begin=a" and second["name"] == "notes.txt"
    assert first["perplexity"] != second["perplexity"]


def test_the_limit_is_kept_and_no_more_is_read():
    def endless():
        for i in range(100):
            assert i < 8, "read on although the limit was reached"
            yield text_of(5, 6, 7)

    assert windows_of(endless(), word_tokenizer(), length=8, limit_tokens=31).shape == (3, 8)
    assert windows_of(endless(), word_tokenizer(begin=True), length=8, limit_tokens=31).shape == (3, 8)


@pytest.mark.parametrize(
    "length, limit, words", [(1, None, "predict nothing"), (8, 7, "do not fill"), (40, None, "too short")]
)
def test_windows_that_cannot_be_made_are_refused(length, limit, words):
    with pytest.raises(UserError, match=words):
        windows_of([text_of(5, 6, 7)], word_tokenizer(), length=length, limit_tokens=limit)


def test_documents_are_tokenised_by_themselves_and_empty_ones_dropped_as_the_protocol_says():
    """A tokenizer that merges two letters across documents' ends is given none of them at once."""
    seen = []

    class Tokenizer(PreTrainedTokenizerFast):
        def __call__(self, text, **options):
            seen.append(text)
            return super().__call__(text, **options)

    tokenizer = Tokenizer(tokenizer_object=word_tokenizer().backend_tokenizer, bos_token="<s>", eos_token="</s>")
    texts = [Document("w1 w2", "1"), Document(" \n", "2"), Document("w3", "3")]
    assert windows_of(texts, tokenizer, length=5).tolist() == [[5, 6, 3, 7, 3]]
    assert [text for text in seen if text.startswith("w")] == ["w1 w2\n\n", "w3\n\n"]
    assert "hold text" in PROTOCOL and "tokenised by itself with a blank line after it" in PROTOCOL


def test_a_text_is_a_file_or_a_built_set_whose_padding_is_left_out(tmp_path):
    (tmp_path / "notes.txt").write_text("w1 w2 w3\n\nw4")
    found = open_source(str(tmp_path / "notes.txt"), Given(tokenizer=word_tokenizer()), "evaluation")
    assert found.held == "file"
    assert windows_of(found.documents(), word_tokenizer(), length=4)[0].tolist()[:3] == [5, 6, 7]
    CalibrationSet.from_tokens([[5, 6, 7], [8, 9], [10]]).save(tmp_path / "set")
    left = torch.tensor([[0, 0, 5], [6, 7, 8]])  # padding that counts is left out too, where it is masked
    CalibrationSet(left, torch.tensor([3, 3]), masked=torch.tensor([2, 0])).save(tmp_path / "masked")
    masked = open_source(str(tmp_path / "masked"), Given(tokenizer=word_tokenizer()), "evaluation")
    assert windows_of(masked.documents(), word_tokenizer(), length=4).tolist() == [[5, 6, 7, 8]]
    found = open_source(str(tmp_path / "set"), Given(tokenizer=word_tokenizer()), "evaluation")
    assert found.held == "calibration text"
    assert windows_of(found.documents(), word_tokenizer(), length=3).tolist() == [[5, 6, 7], [8, 9, 10]]


def test_a_mixture_and_an_unknown_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="one source at a time"):
        open_source("c4+gsm8k", Given(tokenizer=word_tokenizer()), "evaluation")
    with pytest.raises(UserError, match="did you mean 'wikipedia'"):
        open_source("wikipdia", Given(tokenizer=word_tokenizer()), "evaluation")


def test_what_cannot_be_measured_is_refused():
    model, windows = tiny_model("llama"), some_windows()
    with pytest.raises(UserError, match="table of 64 positions"):
        perplexity(tiny_model("gpt2"), some_windows(1, 65))
    with pytest.raises(UserError, match="96 tokens, the other one 95"):
        smaller = tiny_model("llama")
        smaller.resize_token_embeddings(95)
        DenseReference(model, windows).divergence(smaller)
    with pytest.raises(UserError, match=r"model\.eval"):
        perplexity(tiny_model("llama").train(), windows)
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = math.nan
    with pytest.raises(UserError, match="NaN"):
        perplexity(model, windows)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A dense model and one whose first block does nothing, as folders, with a text."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = tiny_model("llama")
    save(model, word_tokenizer(), folder / "dense")
    model.model.layers[0].mlp.down_proj.weight.data.zero_()
    save(model, word_tokenizer(), folder / "pruned")
    numbers = torch.randint(0, len(WORDS), (400,), generator=torch.Generator().manual_seed(1))
    (folder / "notes.txt").write_text(" ".join(WORDS[i] for i in numbers))
    return folder


@pytest.fixture
def run_eval(checkpoints, monkeypatch, capsys):
    """The program as a user runs it, in the checkpoints' folder: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.chdir(checkpoints)
        monkeypatch.setattr("sys.argv", ["calprune", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_the_command_prints_one_object_with_every_text(run_eval):
    on = ("--on", "perplexity(notes.txt, tokens=320, length=32)", "--on", "kl(notes.txt, tokens=320, length=32)")
    status, out, err = run_eval("pruned", *on, "--dense", "dense", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["format"] == 1 and told["window"] == 32 and told["predictions_per_window"] == 31
    assert "do not overlap" in told["protocol"]
    (text,) = told["texts"]
    assert text["name"] == "notes.txt" and text["windows"] == 10
    assert told["perplexity"] == text["perplexity"] == pytest.approx(math.exp(text["nats_per_token"]))
    assert text["perplexity_low"] < text["perplexity"] < text["perplexity_high"]
    assert told["kl"] == text["kl"] > 0 and told["kl_to"]["name"] == "dense"
    assert told["model"]["id"] != told["kl_to"]["id"]


def test_the_command_says_in_one_line_what_was_wrong(run_eval):
    status, out, err = run_eval("pruned", "--on", "perplexity(notes.txt)")
    assert (status, out) == (1, "")
    beyond, wrong = err.splitlines()
    assert beyond.startswith("note: windows of 512 tokens go past the 64 positions that the model was made for")
    assert wrong == "calprune: the text is too short: 401 tokens do not fill one window of 512 tokens"


def test_the_command_prints_intervals_the_protocol_and_what_the_text_is(run_eval, checkpoints):
    rows = torch.randint(4, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(2))
    CalibrationSet.from_tokens(rows).save(checkpoints / "set")
    both = [f"{metric}({text}, length=32)" for text in ("set", "notes.txt") for metric in ("perplexity", "kl")]
    status, out, err = run_eval("pruned", *(word for one in both for word in ("--on", one)), "--dense", "dense")
    assert status == 0, err
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()]
    rows = {line[0]: line for line in lines if line}
    assert rows["evaluation"] == ["evaluation", "dense", "pruned", "KL, nats a token", "left", "items", "of"]
    assert rows["perplexity(set)"][5:] == ["4", "windows of 32 tokens of calibration text: NOT held out"]
    assert rows["perplexity(notes.txt)"][5:] == ["12", "windows of 32 tokens of file"] and "not measured" not in out
    assert "95 % intervals" in out and "do not overlap" in out


def test_what_is_left_is_dense_over_pruned_with_a_sentence_that_says_so(run_eval):
    on = ("--on", "perplexity(notes.txt, tokens=320, length=32)")
    found = json.loads(run_eval("pruned", *on, "--dense", "dense", "--json")[1])
    (row,) = found["compared"]
    assert row["left"] == pytest.approx(row["dense"] / row["pruned"]) and row["kl"] > 0
    assert row["left_low"] < row["left"] < row["left_high"] and row["pruned"] == found["perplexity"]
    words, how = found["means"]
    assert f"of what dense can do, {100 * row['left']:.0f} % is left on perplexity(notes.txt)" in words
    assert "dense ÷ pruned" in how and words in run_eval("pruned", *on, "--dense", "dense")[1]
    (same,) = json.loads(run_eval("dense", *on, "--dense", "dense", "--json")[1])["compared"]
    assert same["left"] == pytest.approx(1) and same["kl"] == pytest.approx(0, abs=1e-6)
    assert json.loads(run_eval("pruned", *on, "--json")[1])["compared"] == []


def test_only_what_is_wanted_is_measured_and_each_text_in_its_own_windows(run_eval):
    on = ("--on", "perplexity(notes.txt, length=32)", "--on", "kl(notes.txt, length=64, tokens=128)")
    status, out, err = run_eval("pruned", *on, "--dense", "dense", "--json")
    assert (status, err) == (0, "")
    first, second = json.loads(out)["texts"]
    assert (first["window"], second["window"], second["windows"]) == (32, 64, 2)
    assert first["kl"] is None and second["perplexity"] is None and first["perplexity"] > 1 and second["kl"] > 0
    alone = json.loads(run_eval("pruned", *on[:2], "--json")[1])
    assert alone["kl_to"] is None and alone["texts"][0]["perplexity"] == pytest.approx(first["perplexity"])


def test_the_options_of_0_1_are_understood_with_a_note_that_says_how_to_write_them(run_eval):
    old = ("--perplexity", "notes.txt", "--kl-to", "dense", "--window", 32, "--tokens", 320)
    status, out, err = run_eval("pruned", *old, "--json")
    assert status == 0 and err.startswith("note: ") and err.count("\n") == 1
    words = shlex.split(err.partition("is written ")[2].removesuffix(" now\n"))
    status, again, err = run_eval("pruned", *words, "--json")
    assert (status, err) == (0, "")
    first, second = json.loads(out), json.loads(again)
    assert {k: v for k, v in first.items() if k != "seconds"} == {k: v for k, v in second.items() if k != "seconds"}
