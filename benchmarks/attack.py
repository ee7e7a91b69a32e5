# ruff: noqa: E501
"""Attack the program: bad command lines, mutated files, bad Python calls, kills, full disks and hostile checkpoints.

    python benchmarks/attack.py                      all of it, about ten minutes on two cores
    python benchmarks/attack.py --calls 300 --kills 10 --seed 1

A tiny random model and invented texts. Wrong is: a traceback or an "unexpected ..." line, an answer of several lines, an
exit code that the program does not have, a part of an output under its name, something that a killed command left and
the next one did not remove, another result after a kill. Prints tried and wrong by kind, and each wrong one. The calls
are made from the commands' own options, so that an option that is added is attacked too.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CODES = (0, 1, 2, 3, 130, 141)
ODD = ["", " ", "-1", "0", "1e999", "nan", "99999999999999999999", "x" * 300, "a\u2028b", "\udcff", "{", "[1, 2", "'",
       "a=b=c", "((((", "2:4:8", "--", "../..", "/dev/null", "/proc/self/mem", ".", "None", "true", "c4*0", "c4*-1 + c4",
       "wanda(wanda(wanda))", "kl(kl(c4))", "re:[", "*", "%s%n", "$(x)", "\t", "50%%", "1/0", "\u0000"]  # fmt: skip
YAMLS = {  # the text of a recipe, study or source that is none
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)),
    "deep": "parts: " + "[" * 5000, "nested": "parts: " + "[" * 900 + "]" * 900, "date": "parts: 2020-01-01\ntitle: 2020-01-01",
    "binary": "parts: !!binary aGk=", "python": "parts: !!python/object/apply:os.system [true]", "set": "parts: !!set {a}",
    "number": f"parts: c4\nseed: {'9' * 5000}", "large": "parts: c4\nnum_samples: 1" + "0" * 30, "list": "[1, 2]",
    "key": "? [a, b]\n: c", "empty": "", "text": "only text", "nan": "parts: c4\nseed: .nan", "tab": "parts:\n\t- c4",
    "draws": "title: t\nmodels: M\ncalibrations: c4\nmethods: wanda\npatterns: 50%\nevaluations: kl(c4)\ndraws: 1000000000",
}  # fmt: skip
RECORDS = {  # lines of a file of records that are no documents
    "list": '{"text": ["a", "b"]}', "mapping": '{"text": {"a": 1}}', "none": '{"text": null}', "array": "[1]",
    "number": '{"text": 1e999}', "digits": '{"text": "a", "n": ' + "9" * 5000 + "}", "deep": '{"text": ' + "[" * 100_000,
    "turns": '{"messages": "x"}', "role": '{"messages": [{"role": {}, "content": "x"}]}', "empty": "{}", "bytes": "\udcff",
    "surrogate": '{"text": "\\ud800"}', "missing": '{"txt": "a"}', "twice": '{"messages": [{"role": "user"}]}',
}  # fmt: skip


class Score:
    """What was tried of each kind, and what was wrong."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}

    def add(self, kind: str, problem: str) -> None:
        self.tried[kind] += 1
        if problem:
            self.wrong.setdefault(kind, []).append(problem)

    def text(self) -> str:
        lines = [f"{kind:<24} tried {n:>5}  wrong {len(self.wrong.get(kind, [])):>4}" for kind, n in self.tried.items()]
        total = f"{'all':<24} tried {self.tried.total():>5}  wrong {sum(map(len, self.wrong.values())):>4}"
        return "\n".join([*lines, total, *(f"  {kind}: {one}" for kind, those in self.wrong.items() for one in those)])


# -- what is attacked


def material(folder: Path) -> dict[str, str]:
    """A tiny model, a text, a set, sums, a pruned model and a study's folder; their places."""
    import torch
    import transformers

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.tiny import save, toy_tokenizer

    torch.manual_seed(0)
    tokenizer = toy_tokenizer()
    config = transformers.LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                      num_key_value_heads=2, vocab_size=len(tokenizer), head_dim=8)  # fmt: skip
    save(transformers.LlamaForCausalLM(config), tokenizer, folder / "model")
    stream = random.Random(0)
    words = ["river", "stone", "lantern", "quiet", "harbour", "seven", "marble", "orchard", "winter", "copper"]
    texts = [json.dumps({"text": " ".join(stream.choices(words, k=40))}) for _ in range(60)]
    (folder / "text.jsonl").write_text("\n".join(texts))
    places = {name: str(folder / name) for name in ("model", "text.jsonl", "set", "sums", "pruned", "runs")}
    study = (f"title: t\nmodels: {places['model']}\ncalibrations: {places['text.jsonl']}\nmethods: [wanda, magnitude]\n"
             f"patterns: 50%\nnum_samples: 4\nmax_seq_length: 16\ndraws: 1\n"
             f"evaluations: [\"kl({places['text.jsonl']}, tokens=64, length=16)\"]\n")  # fmt: skip
    (folder / "study.yaml").write_text(study)
    return places | {"study": str(folder / "study.yaml")}


def good(at: dict[str, str], out: str) -> dict[str, list[str]]:
    """A command line of each command that writes, which ends well."""
    m, text = at["model"], at["text.jsonl"]
    size = ["--num-samples", "4", "--max-seq-length", "16"]
    return {
        "calib build": ["calib", "build", text, "--model", m, *size, "--out", out],
        "stats": ["stats", m, "--calibration", text, *size, "--out", out],
        "prune": ["prune", m, "--pattern", "50%", "--calibration", text, *size, "--out", out],
        "prune --resume": ["prune", m, "--pattern", "50%", "--calibration", text, *size, "--out", out, "--resume",
                           f"{out}-kept"],
        "study run": ["study", "run", at["study"], "--runs", out, "--device", "cpu"],
        "export": ["calib", "export", at["set"], f"{out}.jsonl", "--to", "jsonl", "--model", m],
        "synth": ["synth", m, "--from-bos", "--documents", "40", "--max-new-tokens", "40", *size, "--out", out],
    }  # fmt: skip


def call(words: list[str], seconds: int = 120) -> tuple[int | None, str, str]:
    """Run the program in this process: exit code, stdout and stderr. None: it did not end in time."""
    from calprune.cli.app import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = sys.argv, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    sys.argv = ["calprune", *words]

    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"not ended after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    status: int | None = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            main()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 0
    except BaseException as e:
        err.write(f"Traceback: {type(e).__name__}: {e}")
    finally:
        signal.alarm(0)
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
        signal.signal(signal.SIGHUP, before[2])
    return status, *(stream.buffer.getvalue().decode(errors="replace") for stream in (out, err))  # type: ignore


def judged(words: list[str], ended: tuple[int | None, str, str]) -> str:
    """What is wrong with how a command ended; "" for nothing."""
    status, _, err = ended
    said = [line for line in err.split("\n") if line.startswith("calprune:")]
    if "Traceback" in err or "calprune: unexpected " in err:
        what = next((line for line in err.split("\n") if "unexpected" in line or "Traceback" in line), "")
    elif status not in CODES:
        what = f"exit code {status}"
    elif status in (1, 2) and len(said) != 1 and not err.startswith("Usage:"):
        what = f"{len(said)} lines"
    else:
        return ""
    return f"{' '.join(repr(w[:60]) for w in words)} -> {what[:240]}"


# -- the kinds of attack


def bad_words(score: Score, at: dict[str, str], here: Path, calls: int, stream: random.Random) -> None:
    """Values that are odd, for the commands' own options and arguments."""
    import typer.main

    from calprune.cli import app

    lines = good(at, "")
    commands = dict(_commands(typer.main.get_command(app), ()))
    for i in range(calls):
        name = stream.choice(list(commands))
        params = [one for one in commands[name].params if one.opts != ["--help"] and one.name not in ("ray", "track")]
        base = list(lines.get(" ".join(name), [])) or [*name, *_arguments(commands[name], at)]
        out = str(here / f"out{i}")
        words = [out if word == "" else word for word in base]
        for _ in range(stream.choice((1, 1, 2))):
            param, value = stream.choice(params), stream.choice(ODD)
            if param.name in ("out", "html", "csv", "json_file", "markdown", "claims", "resume") and "/" in value:
                value = str(here / "x" / value.strip("/."))
            value = value.replace("\0", "")
            if param.param_type_name == "argument":
                at_place = len(name) + stream.randrange(2)
                words = [*words[:at_place], value, *words[at_place + 1 :]]
            else:
                words += [param.opts[0]] if getattr(param, "is_flag", False) else [param.opts[0], value]
        score.add("bad words", judged(words, call(words)))
        for left in (out, f"{out}-kept"):
            shutil.rmtree(left, ignore_errors=True)


def _commands(command: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from _commands(inner, (*name, word))
    elif name != ("demo",):
        yield name, command


def _arguments(command: Any, at: dict[str, str]) -> list[str]:
    """A right value of each argument and of each option that is needed."""
    right = {"model": at["model"], "first": at["model"], "second": at["pruned"], "folder": at["set"], "runs": at["runs"],
             "study": at["study"], "texts": at["text.jsonl"], "spec": at["text.jsonl"], "a": at["set"],
             "b": at["text.jsonl"], "sql": "select 1", "to": at["text.jsonl"], "path": "", "out": ""}  # fmt: skip
    words = []
    for param in command.params:
        if param.required and param.param_type_name == "argument":
            words.append(right.get(param.name, "x"))
    for param in command.params:
        if param.required and param.param_type_name == "option":
            words += [param.opts[0], right.get(param.name, at["text.jsonl"])]
    return words


def bad_files(score: Score, at: dict[str, str], here: Path, calls: int, stream: random.Random) -> None:
    """YAML and records that are none, and files of every kind with bytes changed, cut or of another shape."""
    size = ["--num-samples", "2", "--max-seq-length", "16"]
    for name, text in YAMLS.items():
        path = here / f"{name}.yaml"
        path.write_text(text.replace("M", at["model"]), encoding="utf-8", errors="surrogateescape")
        for words in (["calib", "build", str(path), "--model", at["model"], "--out", str(here / "o")],
                      ["study", "run", str(path), "--runs", str(here / "o")], ["sources", str(path)],
                      ["prune", at["model"], "--pattern", "50%", "--calibration", str(path), "--out", str(here / "o")]):  # fmt: skip
            score.add("bad YAML", judged([name, *words], call(words)))
            shutil.rmtree(here / "o", ignore_errors=True)
    for name, line in RECORDS.items():
        for ending in ("jsonl", "json", "csv", "txt", "parquet", "jsonl.gz", "jsonl.zst"):
            path = here / f"{name}.{ending}"
            path.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
            words = ["calib", "build", str(path), "--model", at["model"], *size, "--out", str(here / "o")]
            score.add("bad records", judged([name, *words], call(words)))
            shutil.rmtree(here / "o", ignore_errors=True)
    readers = {
        "model": lambda p: ["prune", p, "--pattern", "50%", "--method", "magnitude", "--out", str(here / "o")],
        "set": lambda p: ["calib", "show", p, "--texts", "1"],
        "sums": lambda p: ["prune", at["model"], "--pattern", "50%", "--calibration", p, "--out", str(here / "o")],
        "runs": lambda p: ["study", "report", p, "--json-file", str(here / "r.json")],
        "pruned": lambda p: ["diff", at["model"], p],
    }  # fmt: skip
    for i in range(calls):
        kind = stream.choice(list(readers))
        copy = here / f"copy{i}"
        shutil.copytree(at[kind], copy)
        name = mutated(copy, stream)
        words = readers[kind](str(copy))
        score.add("mutated files", judged([name, *words], call(words)))
        shutil.rmtree(copy)
        shutil.rmtree(here / "o", ignore_errors=True)


def mutated(folder: Path, stream: random.Random) -> str:
    """Change one file of a folder; says which and how."""
    file = stream.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    data, how = (
        bytearray(file.read_bytes()),
        stream.choice(("flip", "cut", "other", "value", "gone", "folder", "zeros")),
    )
    if how == "flip":
        for _ in range(stream.choice((1, 8))):
            if data:
                data[stream.randrange(min(len(data), 4000))] ^= 1 << stream.randrange(8)
    elif how == "cut":
        del data[stream.randrange(len(data) + 1) :]
    elif how == "other":
        data = bytearray(stream.choice((b"[]", b"{}", b"null", b'"x"', b"[" * 5000, b"\xff\xfe", b"9" * 5000)))
    elif how == "value" and file.suffix == ".json":
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(data)
            if isinstance(value, dict) and value:
                odd = [None, -1, "x", [], {}, 10**30, True, [1], {"a": {}}, 1.5]
                value[stream.choice(list(value))] = stream.choice(odd)
                data = bytearray(json.dumps(value).encode())
    elif how == "zeros":
        data = bytearray(len(data))
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "gone":
        file.write_bytes(data)
    return f"{how} {file.relative_to(folder)}"


def hostile_checkpoints(score: Score, at: dict[str, str], here: Path) -> None:
    """Checkpoints with odd configs, headers, names and chat templates."""
    configs = {"model_type": ["x", None, 5, "bert", "t5"], "hidden_size": [0, -1, 10**9, "a"], "num_hidden_layers": [0, 10**6],
               "auto_map": [{"AutoModelForCausalLM": "evil.Mine"}], "vocab_size": [1, -5], "quantization_config": [5, {}, "x"],
               "head_dim": [0, 3], "rope_parameters": [5, {"rope_type": "x"}], "hidden_act": ["x", 5],
               "torch_dtype": ["x", 5], "transformers_weights": ["../../x", 5], "architectures": [5, ["X"]]}  # fmt: skip
    for field, values in configs.items():
        for value in values:
            copy = _copied(at["model"], here)
            config = json.loads((copy / "config.json").read_text())
            (copy / "config.json").write_text(json.dumps(config | {field: value}))
            _prune(score, copy, here, f"{field}={value}")
    headers = {"none": b"", "long": b"\xff" * 8, "deep": _header(b"[" * 50_000), "list": _header(b"[]"),
               "shape": _header(b'{"a": {"dtype": "F32", "shape": [99999999999999], "data_offsets": [0, 4]}}'),
               "text": _header(b'{"a": 5}'), "negative": _header(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": '
                                                                 b'[4, 0]}}')}  # fmt: skip
    for name, header in headers.items():
        copy = _copied(at["model"], here)
        (copy / "model.safetensors").write_bytes(header)
        _prune(score, copy, here, f"header {name}")
    templates = ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a' * 5000000000 }}",
                 "{{ 9 ** (9 ** 9) }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ ''.__class__.__mro__ }}", "{% if",
                 "{{ messages }}", "{{ cycler.__init__.__globals__ }}", "{{ raise_exception('no') }}"]  # fmt: skip
    chat = here / "chat.jsonl"
    chat.write_text('{"prompt": "a", "response": "b"}\n' * 50)
    for template in templates:
        copy = _copied(at["model"], here)
        for file in copy.glob("chat_template*"):
            file.unlink()
        (copy / "chat_template.jinja").write_text(template)
        words = ["calib", "build", f"{chat}:chat", "--model", str(copy), "--num-samples", "2", "--max-seq-length", "16",
                 "--out", str(here / "o")]  # fmt: skip
        score.add("hostile templates", judged([template, *words], call(words)))
        shutil.rmtree(here / "o", ignore_errors=True)


def _copied(model: str, here: Path) -> Path:
    shutil.rmtree(here / "copy", ignore_errors=True)
    return Path(shutil.copytree(model, here / "copy"))


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def _prune(score: Score, copy: Path, here: Path, name: str) -> None:
    words = ["prune", str(copy), "--pattern", "50%", "--method", "magnitude", "--out", str(here / "o")]
    score.add("hostile checkpoints", judged([name, *words], call(words)))
    shutil.rmtree(here / "o", ignore_errors=True)


def bad_python(score: Score, at: dict[str, str]) -> None:
    """Odd values for every argument of the public functions and every option of the public classes."""
    import dataclasses
    import inspect

    import calprune

    given: dict[str, dict[str, Any]] = {
        "prune": {"model": at["model"], "data": at["set"], "pattern": "50%"}, "load": {"name": at["model"]},
        "build": {"spec": at["text.jsonl"], "model": at["model"], "num_samples": 2, "max_seq_length": 16},
        "collect": {"model": at["model"], "data": at["set"]},
        "evaluate": {"model": at["model"], "evaluations": f"perplexity({at['text.jsonl']}, tokens=64, length=16)"},
        "study": {"study": at["study"], "runs": at["runs"]},
        "choose": {"model": at["model"], "sources": [at["text.jsonl"]], "out": at["pruned"] + "-choice"},
    }  # fmt: skip
    odd = [object(), b"x", -1, 10**30, float("nan"), float("inf"), "", "x\0", [], [[]], {}, {1: 2}, True, 1.5, Path("nowhere"),
           lambda: 1, "x" * 300, "\udcff"]  # fmt: skip
    for name, right in given.items():
        function = getattr(calprune, name)
        for argument in inspect.signature(function).parameters:
            if argument in ("progress", "ray", "workers"):
                continue
            for value in odd:
                _call(
                    score, f"{name}({argument}={value!r:.40})", lambda f=function, k=right | {argument: value}: f(**k)
                )
    classes = [one for one in vars(calprune).values() if dataclasses.is_dataclass(one) and isinstance(one, type)
               and all(f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
                       for f in dataclasses.fields(one))]  # fmt: skip
    for cls in classes:
        for field in dataclasses.fields(cls):
            for value in odd if field.init else ():
                _call(score, f"{cls.__name__}({field.name}={value!r:.40})", lambda c=cls, k={field.name: value}: c(**k))
    for value in [*odd, [[1.5]], [[2**70]], [[True]], [[None]], [["1"]], [[-1]], [[1], 2], [1], "12", [[]], [[1, [2]]]]:
        _call(
            score, f"from_tokens({value!r:.40})", lambda v=value: calprune.CalibrationSet.from_tokens(v), must_fail=True
        )


def _call(score: Score, name: str, made: Callable[[], Any], must_fail: bool = False) -> None:
    import calprune

    problem = ""
    signal.signal(signal.SIGALRM, lambda number, frame: (_ for _ in ()).throw(TimeoutError("not ended after 60 s")))
    signal.alarm(60)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made()
        problem = f"{name}: accepted" if must_fail else ""
    except calprune.UserError as e:
        problem = f"{name}: several lines" if "\n" in str(e).strip() else ""
    except Exception as e:
        problem = f"{name}: {type(e).__name__}: {' '.join(str(e).split())[:160]}"
    finally:
        signal.alarm(0)
    score.add("bad Python", problem)


# -- in processes of their own

PROGRAM = [sys.executable, "-c", "from calprune.cli import main; main()"]


def start(words: list[str], before: Callable[[], None] | None = None) -> subprocess.Popen:
    return subprocess.Popen(PROGRAM + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before,
                            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"})  # fmt: skip


def contents(path: Path) -> dict[str, Any]:
    """What a command wrote, without what differs from run to run."""
    files = (
        [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file() and one.name != "claim"]
    )
    return {str(one.relative_to(path)): _settled(json.loads(one.read_bytes())) if one.suffix == ".json" else
            len(one.read_bytes()) if one.name == "README.md" else one.read_bytes() for one in files}  # fmt: skip


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        gone = ("seconds", "peak_bytes", "digest", "made_for")
        return {key: _settled(one) for key, one in value.items() if key not in gone}
    return [_settled(one) for one in value] if isinstance(value, list) else value


def kills(score: Score, at: dict[str, str], here: Path, each: int, stream: random.Random, of: list[str]) -> None:
    """Kill every command that writes (those of `of`) at random moments, go on, and compare with what nobody disturbed."""
    for name in of or good(at, "x"):
        whole = here / f"{name} whole".replace(" ", "-")
        began = time.monotonic()
        words = good(at, str(whole))[name]
        ended = start(words).communicate()
        result = Path(f"{whole}.jsonl") if name == "export" else whole
        if not result.exists():
            score.add(f"kills of {name}", f"{name}: {ended[1][-200:]}")
            continue
        seconds, wanted = time.monotonic() - began, contents(result)
        for i in range(each):
            place = here / f"{name}-{i}".replace(" ", "-")
            place.mkdir()
            process = start(good(at, str(place / "out"))[name])
            time.sleep(stream.uniform(0.3, 1.0) * seconds)
            process.send_signal(stream.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)))
            _, said = process.communicate()
            again = start(good(at, str(place / "out"))[name])
            _, err = again.communicate()
            made = place / ("out.jsonl" if name == "export" else "out")
            done = (
                again.returncode == 0
                or "is there already" in err
                or ("holds something else" in err and process.returncode == 0)
            )
            problem = "" if made.exists() and contents(made) == wanted else f"{name}: another result; {err[-160:]}"
            problem = problem or ("" if done or made.exists() else f"{name}: {err[-160:]}")
            left = [one.name for one in place.rglob(".*") if one.name.endswith((".part", ".claim"))]
            problem = (
                problem
                or (f"{name}: left {left}" if left else "")
                or (("Traceback" in said and f"{name}: {said[-200:]}") or "")
            )
            score.add(f"kills of {name}", problem)
            shutil.rmtree(place)
        print(score.text(), file=sys.stderr, flush=True)  # so far: a long run may be stopped


def full_disks(score: Score, at: dict[str, str], here: Path) -> None:
    """Files that may not grow, and outputs that take nothing."""
    for name in good(at, "x"):
        for size in (0, 200, 5_000, 20_000):
            place = here / f"full-{name}-{size}".replace(" ", "-")
            place.mkdir()
            limit = lambda n=size: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))  # noqa: E731
            process = start(good(at, str(place / "out"))[name], limit)
            out, err = process.communicate()
            left = [str(one) for one in place.rglob("*") if one.name.endswith(".part")]
            problem = judged(good(at, "out")[name], (process.returncode, out, err)) or (
                f"{name}: left {left}" if left else ""
            )
            made = place / "out"
            whole = process.returncode == 0 or name == "study run" or not made.exists()
            score.add("full disks", problem or ("" if whole else f"{name} at {size}: a part under its name"))
            shutil.rmtree(place)
    for words in (["sources"], ["methods", "--json"], ["calib", "show", at["set"]], ["--help"]):
        with open("/dev/full", "w") as full:
            ended = subprocess.run(PROGRAM + words, stdout=full, stderr=subprocess.PIPE, text=True)
        problem = judged(words, (ended.returncode, "", ended.stderr))
        score.add("full stdout", problem or ("" if ended.returncode == 1 else f"{words}: exit {ended.returncode}"))


def two_writers(score: Score, at: dict[str, str], here: Path, each: int) -> None:
    """Two of the same command at once: one result, whole, and whoever wrote nothing says so."""
    for name in good(at, "x"):
        for i in range(each):
            place = here / f"two-{name}-{i}".replace(" ", "-")
            place.mkdir()
            pair = [start(good(at, str(place / "out"))[name]) for _ in range(2)]
            ended = [(one.communicate()[1], one.returncode) for one in pair]
            made = place / ("out.jsonl" if name == "export" else "out")
            codes = sorted(code for _, code in ended)
            left = [one.name for one in place.rglob(".*") if one.name.endswith((".part", ".claim"))]
            right = codes in ([0, 0], [0, 1]) and made.exists() and not left
            score.add("two writers", "" if right else f"{name}: {codes} {left} {[err[-120:] for err, _ in ended]}")
            shutil.rmtree(place)


def attack(given: argparse.Namespace) -> Score:
    score, stream = Score(), random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        os.environ["CALPRUNE_CACHE"] = str(here / "cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        at = material(here)
        for name, out in (("calib build", "set"), ("stats", "sums"), ("prune", "pruned"), ("study run", "runs")):
            ended = call(good(at, at[out])[name])
            assert ended[0] == 0, ended
        work = here / "work"
        work.mkdir()
        os.chdir(work)
        for name, doing in {
            "words": lambda: bad_words(score, at, work, given.calls // 2, stream),
            "files": lambda: bad_files(score, at, work, given.calls // 4, stream),
            "checkpoints": lambda: hostile_checkpoints(score, at, work),
            "python": lambda: bad_python(score, at) if given.python else None,
            "kills": lambda: kills(score, at, work, given.kills, stream, given.of) if given.kills else None,
            "disks": lambda: full_disks(score, at, work) if given.disks else None,
            "writers": lambda: two_writers(score, at, work, given.writers) if given.writers else None,
        }.items():
            started = time.monotonic()
            if not given.only or name in given.only:
                doing()
                print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        os.chdir("/")
    return score


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1200, help="bad command lines and mutated files, about")
    parser.add_argument("--kills", type=int, default=4, help="of each command that writes")
    parser.add_argument("--of", action="append", default=[], help="kill this command alone: prune, 'study run', ...")
    parser.add_argument("--writers", type=int, default=2, help="pairs of each command that writes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="words, files, checkpoints, python, kills, disks or writers")
    parser.add_argument("--no-python", dest="python", action="store_false")
    parser.add_argument("--no-disks", dest="disks", action="store_false")
    return parser.parse_args(words)


if __name__ == "__main__":
    shown = os.fdopen(os.dup(1), "w")  # a command that cannot write to stdout closes it, here for all
    found = attack(arguments())
    print(found.text(), file=shown, flush=True)
    sys.exit(bool(found.wrong))
