"""Tasks of the harness: its own requests and its own numbers on rows from the data root, and no network."""

import gzip
import json
import socket
import sys
from pathlib import Path

import pytest
import torch
import transformers

from calprune.base.progress import showing
from calprune.base.values import UserError, rng
from calprune.evaluation.capabilities import CAPABILITIES, capability_of
from calprune.evaluation.tasks import TASKS, find_task
from calprune.evaluation.tasks.stock import STOCK
from calprune.models.load import Model
from tests.test_generate import Said
from tests.tiny import toy_tokenizer

pytest.importorskip("lm_eval", reason="needs calprune[tasks]")

PASSAGE = "The kettle in the blue house sings at noon. Nobody minds."
WHEEL = {"text": ["a wheel", "a song", "a stone", "rain"], "label": ["A", "B", "C", "D"]}
THREE = {"text": ["ash", "iron", "glue"], "label": ["1", "2", "3"]}


def quiz(n: int) -> dict:
    return {"id": f"q{n}", "question": f"What rolls {n} times?", "choices": WHEEL if n % 2 else THREE,
            "answerKey": "A" if n % 2 else "3"}  # fmt: skip


def open_book(n: int) -> dict:
    return {"id": f"o{n}", "question_stem": f"Number {n} rolls, so it is", "choices": WHEEL, "answerKey": "ABCD"[n % 4]}


def exam(n: int, subject: str) -> dict:
    return {"question": f" Which {subject} is {n}? ", "subject": subject, "choices": ["w", "x", "y", "z"],
            "answer": n % 4}  # fmt: skip


def gap(n: int) -> dict:
    return {"sentence": f"Ann called Bea {n} times because _ was late.", "option1": "Ann", "option2": "Bea",
            "answer": str(1 + n % 2)}  # fmt: skip


def goal(n: int) -> dict:
    return {"goal": f"dry {n} socks", "sol1": "hang them up", "sol2": "drown them", "label": n % 2}


def lesson(n: int, level: str = "high") -> dict:
    return {"id": f"{level}{n}.txt", "article": f"Tom's {n} dogs sleep.\nThey dream.", "answers": ["B", "D"],
            "questions": ["The dogs  _  .", "Who sleeps?"],
            "options": [["run", "sleep", "eat", "bark"], ["Ann", "Bea", "Cid", "the dogs"]]}  # fmt: skip


def ending(n: int) -> dict:
    """What the harness makes of the hub's row below."""
    return {"ind": n, "query": f"Frying: A man fries {n} eggs. Then he", "choices": ["eats it. ", "sings.", "x", "y z"],
            "gold": n % 4}  # fmt: skip


def hub_ending(n: int) -> dict:
    return {"ind": n, "activity_label": "Frying", "ctx_a": f" A man fries [note] {n} eggs.".strip(), "ctx_b": "then he",
            "endings": ["eats it [title]", "sings.", "x", "y  z"], "label": str(n % 4)}  # fmt: skip


def told(n: int, label: str) -> dict:
    return {"premise": f"{n} ducks swim.", "hypothesis": "Ducks move.", "label": label, "idx": n}


LABELS = ["entailment", "not_entailment"]
FILES = {  # the files of the data root: invented rows in the columns that these files have
    "arc_challenge/test": [quiz(n) for n in range(4)],
    "arc_challenge/train": [quiz(n) for n in range(20, 26)],
    "arc_easy/test": [quiz(n) for n in range(4, 8)],
    "arc_easy/train": [quiz(n) for n in range(30, 36)],
    "boolq/train": [{"question": f"is {n}", "answer": n % 3 == 0, "passage": PASSAGE, "title": "x"} for n in range(6)],
    "boolq/validation": [
        {"question": f"is {n} odd", "answer": bool(n % 2), "passage": PASSAGE * n} for n in range(1, 13)
    ],
    "hellaswag/validation": [ending(n) for n in range(5)],
    "lambada/test": [{"text": f"Bea has {n} cats, and every cat likes Bea"} for n in range(4)],
    "mmlu/dev": [exam(n, subject) for subject in ("anatomy", "virology") for n in range(5)],
    "mmlu/test": [exam(n, "virology" if n % 3 else "anatomy") for n in range(10, 18)],
    "openbookqa/test": [open_book(n) for n in range(4)],
    "openbookqa/train": [open_book(n) for n in range(20, 26)],
    "piqa/train": [goal(n) for n in range(20, 26)],
    "piqa/validation": [goal(n) for n in range(4)],
    "race/test": [lesson(1), lesson(2, "middle"), lesson(3)],
    "rte/train": [told(n, LABELS[n % 2]) for n in range(20, 26)],
    "rte/validation": [told(n, LABELS[n % 3 == 0]) for n in range(4)],
    "winogrande/train": [gap(n) for n in range(20, 26)],
    "winogrande/validation": [gap(n) for n in range(4)],
}


def glue(rows: list[dict]) -> list[dict]:
    return [{"sentence1": r["premise"], "sentence2": r["hypothesis"], "label": LABELS.index(r["label"])} for r in rows]


def super_glue(rows: list[dict]) -> list[dict]:
    return [{"question": r["question"], "passage": r["passage"], "idx": 0, "label": int(r["answer"])} for r in rows]


def problems(row: dict) -> dict:
    listed = [
        {"question": row["questions"][i], "answer": row["answers"][i], "options": row["options"][i]} for i in (0, 1)
    ]
    return {"article": row["article"], "problems": repr(listed)}


def arc(name: str) -> dict:
    return {"train": FILES[f"{name}/train"], "validation": [quiz(99)], "test": FILES[f"{name}/test"]}


# task: its folder and name in the harness, the repository that the harness loads, and what that would hold
HUB = {
    "arc_challenge": ("arc", "arc_challenge", "allenai/ai2_arc", arc("arc_challenge")),
    "arc_easy": ("arc", "arc_easy", "allenai/ai2_arc", arc("arc_easy")),
    "boolq": ("super_glue/boolq", "boolq", "aps/super_glue",
              {"train": super_glue(FILES["boolq/train"]), "validation": super_glue(FILES["boolq/validation"])}),
    "hellaswag": ("hellaswag", "hellaswag", "Rowan/hellaswag",
                  {"train": [hub_ending(99)], "validation": [hub_ending(n) for n in range(5)]}),
    "lambada": ("lambada", "lambada_openai", "EleutherAI/lambada_openai", {"test": FILES["lambada/test"]}),
    "openbookqa": ("openbookqa", "openbookqa", "allenai/openbookqa",
                   {"train": FILES["openbookqa/train"], "validation": [open_book(99)],
                    "test": FILES["openbookqa/test"]}),
    "piqa": ("piqa", "piqa", "baber/piqa", {"train": FILES["piqa/train"], "validation": FILES["piqa/validation"]}),
    "race": ("race", "race", "EleutherAI/race", {"test": [problems(lesson(1)), problems(lesson(3))]}),
    "rte": ("glue/rte", "rte", "nyu-mll/glue",
            {"train": glue(FILES["rte/train"]), "validation": glue(FILES["rte/validation"])}),
    "winogrande": ("winogrande", "winogrande", "allenai/winogrande",
                   {"train": FILES["winogrande/train"], "validation": FILES["winogrande/validation"]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data root of invented rows."""
    folder = tmp_path_factory.mktemp("data")
    for name, rows in FILES.items():
        write_rows(folder / f"{name}.jsonl.gz", rows)
    return folder


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def toy_model(family: str = "llama", positions: int = 2048, seed: int = 0) -> Model:
    """A random model that reads bytes."""
    tokenizer = toy_tokenizer()
    sizes = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 2}
    if family == "llama":
        sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = transformers.LlamaConfig(**sizes, max_position_embeddings=positions)
    else:
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=positions, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if p.dim() == 1 else 0.0))
    return Model(model, tokenizer, family, "toy")


@pytest.fixture(scope="module")
def model() -> Model:
    return toy_model()


def ours(text: str, root: Path) -> list:
    """The requests of our task, item by item."""
    from calprune.evaluation.tasks.harness_engine import build_items

    task = find_task(text)
    shown = task.rows(STOCK[task.name].shown, root) if task.shots else []
    return [
        [r.args for r in item.requests]
        for item in build_items(task.name, task.rows("evaluation", root), shown, shots=task.shots, seed=task.seed)
    ]


def stock_task(folder: str, name: str, shots: int = 0, seed: int = 0):
    """The harness's task as it makes it by itself, with its requests."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    at = Path(lm_eval.__file__).parent / "tasks" / folder
    task = TaskManager(include_path=[at], include_defaults=False).load([name])["tasks"][name]
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(seed)
    task.build_all_requests()
    return task


def requests_of(task) -> list:
    items: dict[int, list] = {}
    for request in task.instances:
        items.setdefault(request.doc_id, []).append(request.args)
    return [items[i] for i in sorted(items)]


@pytest.fixture
def hub(monkeypatch):
    """The hub, holding invented rows in its own columns."""
    import datasets

    held = {}

    def load_dataset(path, name=None, **options):
        rows = held[path, name] if (path, name) in held else held[path]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(found) for split, found in rows.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return held


@pytest.mark.parametrize("name", HUB)
def test_the_requests_are_those_of_the_stock_task(name, root, hub):
    folder, stock, repository, rows = HUB[name]
    hub[repository] = rows
    expected = requests_of(stock_task(folder, stock))
    assert len(expected) > 1
    assert ours(name, root) == expected


@pytest.mark.parametrize("name", [n for n in HUB if n not in ("hellaswag", "lambada", "race")])
def test_the_examples_in_the_prompt_are_those_of_the_stock_task(name, root, hub):
    folder, stock, repository, rows = HUB[name]
    hub[repository] = rows
    expected = requests_of(stock_task(folder, stock, shots=3, seed=7))
    assert ours(f"{name}(shots=3, seed=7)", root) == expected != ours(f"{name}(shots=3, seed=8)", root)


def test_mmlu_shows_the_five_development_rows_of_the_subject(root, hub):
    expected = {}
    for subject in ("anatomy", "virology"):
        hub["cais/mmlu", subject] = {
            split: [row for row in FILES[f"mmlu/{split}"] if row["subject"] == subject] for split in ("dev", "test")
        }
        expected[subject] = iter(requests_of(stock_task("mmlu/default", f"mmlu_{subject}", shots=5)))
    in_order = [next(expected[row["subject"]]) for row in FILES["mmlu/test"]]
    assert ours("mmlu", root) == in_order
    assert all(request[0].count("Answer:") == 6 for item in in_order for request in item)


@pytest.mark.parametrize(("family", "positions"), [("llama", 2048), ("gpt2", 1024), ("llama", 96)])
def test_likelihoods_are_the_harnesss_own(family, positions, root):
    from lm_eval.models.huggingface import HFLM

    from calprune.evaluation.tasks.harness_engine import Scorer, build_items

    task, toy = find_task("mmlu(shots=1)"), toy_model(family, positions)
    items = build_items(
        task.name, task.rows("evaluation", root), task.rows("dev", root), shots=task.shots, seed=task.seed
    )
    for other in (find_task("boolq"), find_task("arc_easy")):
        items += build_items(other.name, other.rows("evaluation", root), [], shots=0, seed=0)
    requests = [request for item in items for request in item.requests]
    theirs = HFLM(pretrained=toy.model, tokenizer=toy_tokenizer(), batch_size=3).loglikelihood(
        requests, disable_tqdm=True
    )
    scorer = Scorer(toy, 5, iter)
    found = scorer.loglikelihood(requests, disable_tqdm=True)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in theirs]
    assert torch.allclose(torch.tensor([p for p, _ in found]), torch.tensor([p for p, _ in theirs]), atol=1e-4)
    assert any(scorer.cut) == (positions < 200)
    assert toy.tokenizer.pad_token is None  # the harness gives a padding token to its own copy


@pytest.mark.parametrize("tokens", [1, 700, 2048])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_likelihoods_are_those_of_one_request_at_a_time(family, tokens, monkeypatch):
    from calprune.evaluation.tasks import harness_engine as engine

    monkeypatch.setitem(engine.TOKENS, "cpu", tokens)
    monkeypatch.setattr(engine, "HEAD_NUMBERS", 20 * 300)  # so that a batch's logits are made in parts
    toy, dice, requests = toy_model(family), rng(0, "requests"), []
    toy.model.generation_config.eos_token_id = None  # so that any token may be the likeliest
    for n in range(40):
        context = [dice.randrange(3, 259) for _ in range(1 + dice.randrange(8) ** 2)]
        ids, count = torch.tensor([context]), 1 + n % 9
        likeliest = toy.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
                                       pad_token_id=0)[0, len(context) :].tolist()  # fmt: skip
        other = [*likeliest[:-1], (likeliest[-1] + 1) % 259]  # read in one pass with the likeliest
        requests += [(("", ""), context, likeliest), (("", ""), context, other)]
    alone = [engine.Scorer(toy, 1, iter)._loglikelihood_tokens([request])[0] for request in requests]
    seen: list[torch.Size] = []
    toy.model.get_input_embeddings().register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    found = engine.Scorer(toy, None, iter)._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in alone] == [True, False] * 40
    assert torch.allclose(*(torch.tensor([p for p, _ in each]) for each in (found, alone)), rtol=1e-5, atol=1e-5)
    widths = [shape[1] for shape in seen if shape[1] > 1]  # the head's probe reads one token
    assert widths == sorted(widths, reverse=True)
    assert all(shape.numel() <= tokens for shape in seen if shape[0] > 1)
    assert (max(shape[0] for shape in seen) > 1) == (tokens > 1)


@pytest.mark.parametrize("most", [1, 3])
def test_where_memory_runs_out_fewer_prompts_are_read_at_once(most):
    from calprune.evaluation.tasks import harness_engine as engine

    def run(module, given) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    toy, said = toy_model("llama"), Said()
    requests = [(("", ""), list(range(3, 4 + 2 * n)), [9, 3 + n]) for n in range(8)]
    expected = engine.Scorer(toy, 8, iter)._loglikelihood_tokens(requests)
    with showing(said), toy.model.get_input_embeddings().register_forward_pre_hook(run):
        found = engine.Scorer(toy, 8, iter)._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert torch.allclose(*(torch.tensor([p for p, _ in each]) for each in (found, expected)), rtol=1e-5, atol=1e-5)
    assert said[0] == "note: the memory of cpu does not hold 8 prompts at once: 4 go on"


@pytest.mark.parametrize("name", ["boolq", "lambada", "openbookqa", "winogrande"])
def test_outcomes_are_those_of_the_harnesss_evaluation(name, root, hub, model):
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    folder, stock, repository, rows = HUB[name]
    hub[repository] = rows
    lm = HFLM(pretrained=model.model, tokenizer=toy_tokenizer(), batch_size=4)
    theirs = evaluate(lm, {"tasks": {stock: stock_task(folder, stock)}}, bootstrap_iters=0)
    found = find_task(name).run(model, root)
    assert list(found.items) == [sample["acc"] for sample in theirs["samples"][stock]]
    assert found.value == pytest.approx(theirs["results"][stock]["acc,none"])
    if name == "openbookqa":
        assert list(found.other["acc_norm"]) == [sample["acc_norm"] for sample in theirs["samples"][stock]]


def test_nothing_is_asked_of_a_network(root, model, monkeypatch):
    def refuse(*anything, **options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = find_task("mmlu(examples=3)").run(model, root)
    assert len(found.items) == 3 and set(found.items) <= {0.0, 1.0}


def test_chance_is_the_mean_of_guessing_among_each_items_choices(root, model):
    assert find_task("arc_easy").run(model, root).chance == pytest.approx((1 / 3 + 1 / 4 + 1 / 3 + 1 / 4) / 4)
    assert find_task("winogrande").run(model, root).chance == 0.5
    assert find_task("lambada").run(model, root).chance == 0


def test_examples_are_a_random_subset_the_same_for_every_model(root, model):
    some, more = (find_task(f"boolq(examples={n}, seed=3)").run(model, root) for n in (4, 6))
    assert some.ids != tuple(f"boolq/validation.jsonl.gz:{n}" for n in range(1, 5))
    assert set(some.ids) < set(more.ids) and list(more.ids) == sorted(more.ids, key=lambda at: int(at.split(":")[1]))
    assert some.ids != find_task("boolq(examples=4, seed=4)").run(model, root).ids
    again = find_task("boolq(examples=4, seed=3)").run(toy_model(seed=1), root)
    assert (again.ids, again.requests) == (some.ids, some.requests)
    whole = find_task("boolq").run(model, root)
    assert [whole.items[whole.ids.index(at)] for at in some.ids] == list(some.items)


def test_the_requests_name_what_was_asked(root, model, tmp_path):
    asked = find_task("piqa").run(model, root).requests
    write_rows(tmp_path / "piqa/validation.jsonl.gz", [*FILES["piqa/validation"][:3], goal(4)])
    assert find_task("piqa").run(model, tmp_path).requests != asked


def test_a_prompt_that_does_not_fit_is_cut_and_counted(root):
    boolq = find_task("boolq").run(toy_model(positions=400), root)
    fits = sum(len(PASSAGE * n) + len(f"\nQuestion: is {n} odd?\nAnswer:") + 2 <= 400 for n in range(1, 13))
    assert 0 < boolq.cut < 12 and boolq.cut == 12 - fits


def test_data_that_is_missing_is_named_with_where_it_was_sought(root, model, tmp_path, monkeypatch):
    monkeypatch.delenv("CALPRUNE_DATA", raising=False)
    with pytest.raises(UserError, match=r"task piqa: its data \(piqa/validation.jsonl.gz\) is not in .*--data-root"):
        find_task("piqa").run(model, tmp_path)
    with pytest.raises(UserError, match="no data root is given"):
        find_task("piqa").run(model)
    write_rows(tmp_path / "boolq/validation.jsonl.gz", FILES["boolq/validation"])
    with pytest.raises(UserError, match=r"task boolq: its data \(boolq/train.jsonl.gz\)"):
        find_task("boolq(shots=1)").files(tmp_path)
    assert find_task("boolq").files(tmp_path) == [tmp_path / "boolq/validation.jsonl.gz"]


def test_a_row_of_another_kind_is_named(model, tmp_path):
    write_rows(tmp_path / "rte/validation.jsonl.gz", [told(1, "entailment"), told(2, "maybe")])
    with pytest.raises(UserError, match=r"rte/validation.jsonl.gz:2 is not a row of rte .*its fields: premise"):
        find_task("rte").run(model, tmp_path)
    write_rows(tmp_path / "mmlu/test.jsonl.gz", [exam(1, "anatomi")])
    with pytest.raises(UserError, match="has no 'mmlu_anatomi'; did you mean 'mmlu_anatomy'"):
        find_task("mmlu(shots=0)").run(model, tmp_path)


def test_without_the_harness_the_extra_is_named(root, model, monkeypatch):
    import calprune.evaluation.tasks

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "calprune.evaluation.tasks.harness_engine", raising=False)
    monkeypatch.delattr(calprune.evaluation.tasks, "harness_engine", raising=False)
    with pytest.raises(UserError, match=r"task rte needs lm-evaluation-harness.*pip install 'calprune\[tasks\]'"):
        find_task("rte").run(model, root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bolq", "unknown task 'bolq'; did you mean 'boolq'"),
        ("gsm8k", "did you mean 'bandari/gsm8k'"),
        ("zzz", "there are: arc_challenge, "),
        ("boolq(example=3)", "task boolq: unknown option 'example'; did you mean 'examples'"),
        ("boolq(examples=0)", "examples must be at least 1"),
        ("boolq(examples='many')", "task boolq: examples"),
        ("boolq(seed=1.5)", "task boolq: seed"),
        ("boolq(shots=-1)", "shots must be 0 or more"),
        ("race(shots=2)", "race has no rows to show"),
        ("boolq(200, 300, 1, 2)", "task boolq takes 3 options (examples, shots, seed"),
        ("boolq(examples=", "cannot read task"),
        ("boolq(rationales=True)", "unknown option 'rationales'"),
        ("bandari/svamp(rationales=True)", "has no rationales"),
    ],
)
def test_a_mistake_in_a_task_is_named(text, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        find_task(text)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_as_text_is_read_as_itself(name):
    for text in (name, f"{name}(examples=7)", f" {name} ( seed=2, examples=9 ) "):
        assert str(find_task(str(find_task(text)))) == str(find_task(text))
        assert find_task(str(find_task(text))) == find_task(text)
    assert str(find_task("mmlu(shots=5)")) == "mmlu" and find_task("mmlu(shots=5)") == find_task("mmlu")


def test_every_source_states_its_domain_and_every_task_has_one():
    from calprune.text.find import CATALOGUE, catalogue

    for file in CATALOGUE.glob("*.yaml"):
        assert "\ndomain: " in file.read_text(), f"{file.name} states no domain"
        assert "\nlanguage: " in file.read_text() or "\nmade: " in file.read_text(), f"{file.name}: no language"
    assert {task.removeprefix("bandari/") for task in TASKS} <= set(catalogue())
    assert {capability_of(task) for task in TASKS} <= set(CAPABILITIES)


def test_a_capability_is_found_however_the_evaluation_is_written():
    assert capability_of("boolq(examples=200)") == "language"
    assert capability_of("bandari/gsm8k(examples=100, seed=1)") == capability_of("gsm8k:icl") == "mathematics"
    assert capability_of("perplexity(wikitext2)") == capability_of("kl(c4, tokens=4096)") == "general"
    assert capability_of("perplexity(redpajama_github)") == "code"
    assert capability_of("mgsm_de") == capability_of("ud_pud_zh") == "language"
    assert capability_of("mgsm_en") == "mathematics"
    assert capability_of("perplexity(./my notes.txt)") == capability_of("notes.jsonl") == "own"


@pytest.mark.data
@pytest.mark.parametrize("name", STOCK)
def test_the_rows_on_disk_make_requests(name, data_root):
    from calprune.evaluation.tasks.harness_engine import build_items

    task = find_task(f"{name}(examples=3)")
    rows = rng(0, "a look").sample(task.rows("evaluation", data_root), 3)
    shown = task.rows(STOCK[name].shown, data_root) if task.shots else []
    for item in build_items(task.name, rows, shown, shots=task.shots, seed=task.seed):
        assert len(item.requests) >= 1
        assert all(
            context.strip() and continuation.strip() for context, continuation in (r.args for r in item.requests)
        )


def test_the_command_asks_tasks(root, monkeypatch, capsys, tmp_path):
    from calprune.cli.app import main
    from tests.tiny import save

    toy = toy_model()
    save(toy.model, toy.tokenizer, tmp_path / "toy")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["calprune", "eval", str(tmp_path / "toy"), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    tasks = ("--on", "piqa", "--on", "rte(examples=2)", "--data-root", root)
    status, out, err = run(*tasks, "--json")
    assert status == 0, err
    piqa, rte = json.loads(out)["tasks"]
    found = find_task("piqa").run(toy, root)
    assert (piqa["value"], piqa["items"], piqa["chance"]) == (found.value, 4, 0.5) and rte["items"] == 2
    assert json.loads(out)["perplexity"] is None
    assert ["rte(examples=2)", "2", "accuracy"] in [line.split()[:3] for line in run(*tasks)[1].splitlines()]
    status, old, err = run("--task", "piqa", "--task", "rte(examples=2)", "--data-root", root, "--json")
    assert (status, err) == (0, "note: this is written --on piqa --on 'rte(examples=2)' now\n")
    assert json.loads(old)["tasks"] == json.loads(out)["tasks"]
    assert run("--on", "piqqa")[2].startswith("calprune: unknown evaluation 'piqqa'; did you mean 'piqa'?")
    assert "nothing to measure" in run()[2] and "go with --perplexity" in run("--kl-to", "demo", *tasks)[2]
