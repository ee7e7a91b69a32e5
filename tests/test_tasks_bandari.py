"""bandari/*: prompts, greedy answers and exact match, on rows whose right answers are what a random model writes."""

from pathlib import Path

import pytest
import torch

from calprune.base.values import UserError
from calprune.evaluation.tasks import TASKS, find_task
from calprune.evaluation.tasks.bandari import END, after_reasoning, as_number, before_blank_line, same
from calprune.evaluation.tasks.greedy import write
from tests.test_tasks import toy_model, write_rows

SHOWN = {"question": "Two and three?", "answer": "2+3=5\n#### 5"}
EXAMPLE = "Question: Two and three?\nAnswer: 5\n\n"
REASONED = "Question: Two and three?\nAnswer: 2+3=5. So the answer is 5.\n\n"


@pytest.fixture(scope="module")
def model():
    return toy_model()


def greedy(model, prompt: str, limit: int) -> str:
    """What transformers writes after the prompt."""
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    out = model.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=limit,
                               pad_token_id=0, eos_token_id=[1, 2])  # fmt: skip
    return model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def gsm8k(folder: Path, answers: list[str], shown: list[dict]) -> Path:
    rows = [{"question": f"What is {n}?", "answer": f"so\n#### {answer}"} for n, answer in enumerate(answers)]
    write_rows(folder / "gsm8k/test.jsonl.gz", rows)
    write_rows(folder / "gsm8k/train.jsonl.gz", shown)
    return folder


def test_a_question_counts_when_the_model_writes_its_answer(model, tmp_path):
    choices = [{"label": "A", "text": "ash"}, {"label": "B", "text": "glue"}]
    listed = "Choices:\nA. ash\nB. glue\nAnswer:"

    def row(stem: str, answer: str) -> dict:
        return {"id": stem, "question": {"stem": stem, "choices": choices}, "answerKey": answer}

    stems = [f"What is {n}?" for n in range(4)]
    prompts = [f"Question: What sticks?\n{listed} B\n\nQuestion: {stem}\n{listed}" for stem in stems]
    written = [before_blank_line(greedy(model, prompt, 20)) for prompt in prompts]
    assert all(written) and len(set(written)) > 1
    answers = [written[0], "B", written[2], written[3] + "!"]
    rows = [row(stem, answer) for stem, answer in zip(stems, answers, strict=True)]
    write_rows(tmp_path / "commonsense_qa/validation.jsonl.gz", rows)
    write_rows(tmp_path / "commonsense_qa/train.jsonl.gz", [row("What sticks?", "B")])
    # the file of rationales is part of the source, though nothing here reads it
    write_rows(tmp_path / "ecqa/train.jsonl.gz", [{"id": "What sticks?", "explanation": "Glue does."}])
    write_rows(tmp_path / "ecqa/cqa_validation_part.jsonl.gz", [{"id": "What is 0?", "explanation": "It is."}])
    found = find_task("bandari/commonsense_qa(shots=1)").run(model, tmp_path)
    assert found.items == (1.0, 0.0, 1.0, 0.0) and found.value == 0.5
    assert found.ids == tuple(f"commonsense_qa/validation.jsonl.gz:{n}" for n in range(1, 5))
    assert (found.metric, found.chance, found.capability, found.cut) == ("exact_match", 0.2, "commonsense", 0)
    two = find_task("bandari/commonsense_qa(shots=1, examples=2)").run(model, tmp_path)
    assert list(two.items) == [found.items[found.ids.index(at)] for at in two.ids]


@pytest.mark.parametrize("limit", [5, 70])
def test_what_is_written_is_what_transformers_writes_up_to_a_blank_line(model, limit):
    prompts = ["Question: one\nAnswer:", "Q" * 90, "Label:"]
    found, cut = write(model, prompts, limit, (END,), 2)
    expected = [greedy(model, prompt, limit) for prompt in prompts]
    assert [before_blank_line(text) for text in found] == [before_blank_line(text) for text in expected]
    assert cut == 0


def test_a_blank_line_ends_an_answer():
    writes_line_ends = toy_model("gpt2")
    with torch.no_grad():
        body, line_end = writes_line_ends.model.transformer, writes_line_ends.tokenizer("\n")["input_ids"][-1]
        body.ln_f.weight.zero_()
        body.ln_f.bias.copy_(10 * body.wte.weight[line_end])
    found, _ = write(writes_line_ends, ["Answer:", "Label:", "So"], 256, (END,))
    assert found == ["\n\n"] * 3  # two tokens, and not 256


def test_worked_examples_are_training_rows_chosen_by_seed(tmp_path):
    rows = [{"question": f"{n} and {n}?", "answer": f"twice\n#### {2 * n}"} for n in range(30)]
    root = gsm8k(tmp_path, ["1"], rows)
    first, again = (find_task("bandari/gsm8k(seed=1)").worked_examples(root) for _ in range(2))
    assert first == again != find_task("bandari/gsm8k(seed=2)").worked_examples(root)
    assert len(first) == 3 and set(first) <= {f"Question: {n} and {n}?\nAnswer: {2 * n}" for n in range(30)}
    assert find_task("bandari/gsm8k(shots=0)").worked_examples(root) == []
    with pytest.raises(UserError, match="31 worked examples are wanted and there are 30"):
        find_task("bandari/gsm8k(shots=31)").worked_examples(root)


def test_with_rationales_the_examples_reason_and_the_answer_is_what_follows(tmp_path):
    root = gsm8k(tmp_path, ["1"], [SHOWN])
    task = find_task("bandari/gsm8k(shots=1, rationales=True)")
    assert task.worked_examples(root) == [REASONED.strip()]
    assert task.extract(" 2+2=4\nSo it is. So the answer is 4.\n\nQuestion: So the answer is 9.") == "4"
    assert find_task("bandari/gsm8k").extract(" 4\n\nQuestion: 9") == "4"


def test_the_answers_of_svamp_and_mawps_are_numbers(tmp_path):
    svamp = {"Body": "Ann had 3 eggs.", "Question": "How many are 2 more?", "Equation": "( 3.0 + 2.0 )", "Answer": 5.0}
    mawps = {"id": 1, "original_text": "Half of 5 ?", "equation": "x=5/2", "ans": "2.50"}
    for name, row in (("svamp", svamp), ("mawps", mawps)):
        write_rows(tmp_path / f"{name}/train.jsonl.gz", [row])
    (shown,) = find_task("bandari/svamp(shots=1)").worked_examples(tmp_path)
    assert shown == "Question: Ann had 3 eggs. How many are 2 more?\nAnswer: 5"
    (shown,) = find_task("bandari/mawps(shots=1)").worked_examples(tmp_path)
    assert shown == "Question: Half of 5 ?\nAnswer: 2.5"


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_is_counted():
    small = toy_model(positions=64)
    whole, cut = write(small, ["x" * 100 + "Label:", "Label:"], 20, (END,), 2)
    end, _ = write(small, [("x" * 100 + "Label:")[-43:]], 20, (END,), 2)  # 64 less 20 to write and one begin-of-text
    assert cut == 1 and whole[0] == end[0]
    with pytest.raises(UserError, match="its window of 64 tokens has no room for an answer of 256"):
        write(small, ["x"], 256, (END,), 2)


@pytest.mark.parametrize(
    ("written", "answer"),
    [(" 72\n\nQuestion: 1", "72"), (" a\nb ", "a\nb"), ("\n\n72", ""), ("", ""), (" neutral", "neutral")],
)
def test_the_answer_stands_before_the_first_blank_line(written, answer):
    assert before_blank_line(written) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2+3=5. So the answer is 5.", "5"),
        ("So the answer is 4. No: 5. So the answer is 5", "5"),
        ("a man. So the answer is neutral.", "neutral"),
        ("So the answer is 3.5.", "3.5"),
        ("It is 5.", ""),
    ],
)
def test_after_reasoning_stands_what_the_answer_is_said_to_be(text, answer):
    assert after_reasoning(text) == answer


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("72", "72", True),
        ("72.0", "72", True),
        ("$1,200.", "1200", True),
        ("-$3", "-3", True),
        ("0.333333333", "0.333333333333", True),
        ("72 clips", "72", False),
        ("7", "72", False),
        ("1,20", "120", False),
        ("", "0", False),
        ("neutral", "neutral", True),
        ("Neutral", "neutral", False),
        ("B", "A", False),
        ("1000000", "1000001", False),
        ("2,400,000", "2400000.0", True),
    ],
)
def test_an_answer_is_right_as_the_same_text_or_the_same_number(answer, expected, right):
    assert same(answer, expected) is right


def test_only_a_number_alone_is_a_number():
    assert [as_number(text) for text in ("12", "-.5", "1e9", "nan", "twelve", "3 4")] == [12, -0.5, *[None] * 4]


def test_labels_have_a_chance_and_numbers_none():
    from calprune.evaluation.tasks.bandari import ASKED

    assert {name: asked.choices for name, asked in ASKED.items()} == {
        "bandari/anli_r1": 3, "bandari/anli_r3": 3, "bandari/commonsense_qa": 5, "bandari/esnli": 3,
        "bandari/gsm8k": None, "bandari/mawps": None, "bandari/race": 4, "bandari/svamp": None, "bandari/winogrande": 2,
    }  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("bandari/")])
def test_the_rows_on_disk_make_worked_examples(name, data_root):
    task = find_task(name)
    assert all(path.is_file() for path in task.files(data_root))
    texts = task.worked_examples(data_root)
    assert len(texts) == task.shots and not any("\n\n" in text.strip() for text in texts if "race" not in name)
