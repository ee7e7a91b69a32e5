# ruff: noqa: E501
"""Files and templates of anybody's: what is wrong, without end or too large is one line, in little memory and time."""

import argparse
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from benchmarks import attack
from hypothesis import given
from hypothesis import strategies as st

from calprune.base.values import ConfigError, UserError, read
from calprune.base.yamls import parse_yaml, read_yaml
from calprune.models.load import load, outline
from calprune.pages.table import Column, Table
from calprune.pruning.card import card
from calprune.studies.reading import parse_study
from calprune.text import limits, records
from calprune.text.chat import _apply
from calprune.text.read import LARGEST, read_records
from calprune.text.records import wording
from tests.families import CONFIGS, random_model
from tests.tiny import save, toy_tokenizer

STUDY = (
    "title: t\nmodels: m\ncalibrations: pydoc_topics\nmethods: wanda\npatterns: 50%\nevaluations: kl(pydoc_topics)\n"
)


# -- text that is none


@pytest.mark.parametrize("template", ["{{ text }}", "Text: {{ text }}"])
@pytest.mark.parametrize(
    "value, what", [(["a", "b"], "a list"), ({"a": 1}, "a mapping"), (b"ab", "bytes"), ((1,), "a list")]
)
def test_a_list_a_mapping_and_bytes_are_never_written_as_python_shows_them(template, value, what):
    with pytest.raises(UserError, match=rf"a\.jsonl:3: .* {what}, not text.*join"):
        wording(template)({"text": value}, "a.jsonl:3")


def test_numbers_are_text_and_lists_are_joined():
    assert wording("{{ n }}")({"n": 5}, "a:1") == "5" and wording("n {{ n }}")({"n": 1.5}, "a:1") == "n 1.5"
    assert wording("{{ n | join(', ') }}")({"n": ["a", "b"]}, "a:1") == "a, b"


# -- records


def test_a_line_that_is_too_long_is_refused_in_little_memory_and_the_limit_has_a_name(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "')
        for _ in range(300):
            file.write(b"a" * 2**20)
        file.write(b'"}\n')
    program = (
        "import sys, resource\nfrom calprune.text.read import read_records\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(read_records(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    error, grown = ended.stdout.splitlines()
    assert (
        error.startswith(f"UserError {path}:1: a line that is too long: a record has at most 16 MiB")
        and LARGEST in error
    )
    assert int(grown) < 150_000, "KiB"
    small = tmp_path / "b.jsonl"
    small.write_text(json.dumps({"text": "a" * 2**20}))
    assert len(list(read_records(small))) == 1
    monkeypatch.setenv(LARGEST, "0.5")
    for ending in ("jsonl", "csv"):
        small.rename(small := tmp_path / f"b.{ending}")
        with pytest.raises(UserError, match=r"at most 0\.5 MiB"):
            list(read_records(small))
    monkeypatch.setenv(LARGEST, "many")
    with pytest.raises(ConfigError, match="a number above 0; got 'many'"):
        list(read_records(small))


@pytest.mark.parametrize(
    "line, why", [("[" * 200_000, "nested too deep"), ('{"n": ' + "9" * 5000 + "}", "4300 digits")]
)
def test_json_without_end_is_one_line(tmp_path, line, why):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(UserError, match=rf"a\.jsonl:2: broken JSON: .*{why}"):
        list(read_records(path))


# -- YAML


@pytest.mark.parametrize("name", sorted(set(attack.YAMLS) - {"date", "nan", "empty", "text", "list", "draws", "large"}))
def test_yaml_that_is_more_than_plain_data_or_stands_for_too_much_is_one_line_at_once(name):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^a\.yaml: ") as e:
        parse_yaml(attack.YAMLS[name], "a.yaml")
    assert "\n" not in str(e.value) and time.monotonic() - began < 5


def test_a_date_in_yaml_is_text_and_aliases_are_taken():
    assert parse_yaml("day: 2020-01-01\na: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}", "x") == {
        "day": "2020-01-01", "a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}  # fmt: skip


def test_a_yaml_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("title: ü".encode("latin-1"))
    for name, why in {"latin.yaml": "not UTF-8", "none.yaml": "No such file", ".": "Is a directory", "a" * 300: "too long",
                      "a\0b": "null"}.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"cannot read the recipe.*{why}"):
            read_yaml(tmp_path / name, "the recipe")


def test_what_is_no_plain_data_is_one_line():
    loop: dict = {}
    loop["a"] = loop
    for data in ({"label": object()}, {"label": b"x"}, {("a",): 1}, loop):
        with pytest.raises(ConfigError):
            read(Column, data, "study")


def test_a_study_of_more_trials_than_anybody_runs_is_refused_at_once_with_the_count():
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"up to 1,000,000,000 trials; a study has at most 100,000"):
        parse_study(STUDY + "draws: 1000000000\n", "study.yaml")
    grids = [{"draws": 60_000}, {"draws": 50_000}]
    with pytest.raises(ConfigError, match=r"up to 110,000 trials"):
        parse_study(STUDY + yaml.safe_dump({"grids": grids}), "study.yaml")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "more, why",
    [
        ("dtype: int8", "dtype: unknown value 'int8'"),
        ("similarity: [c44]", r"similarity\.0: unknown source 'c44'; did you mean 'c4'"),
    ],
)
def test_what_a_study_cannot_do_is_named_before_its_trials(more, why):
    with pytest.raises(ConfigError, match=why):
        parse_study(f"{STUDY}{more}\n", "study.yaml")


# -- templates

ENDLESS = {
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "200,000 steps",
    "{{ 'a' * 5000000000 }}": "GiB of memory",
    "{{ messages[0].content * 5000000000 }}": "GiB of memory",
    "{{ 9 ** (9 ** 9) }}": "1,000 digits",
    "{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}": "1,000 digits",
    "{{ range(99999) | join('a' * 1000) }}": "16 Mi characters",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "calls itself",
}


@pytest.mark.parametrize("template", ENDLESS)
def test_a_chat_template_without_end_is_refused_in_a_moment(template):
    tokenizer, began = toy_tokenizer(), time.monotonic()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=f"a.jsonl:1: the chat template is refused: .*{ENDLESS[template]}"):
        _apply([{"role": "user", "content": "a"}], tokenizer, "a.jsonl:1")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("template, linear", [
    ("{{ a }} and {{ b[0] | trim }}", True), ("{% for x in a %}{{ loop.index }}. {{ x }}{% endfor %}", True),
    ("{% for x in a.b %}{{ c.d[loop.index0] }}{% endfor %}", True), ("{{ a.replace('xy', 'z').split('#')[1] }}", True),
    ("{% for x in a %}{{ b }}{% endfor %}", False),  # as often as a has items
    ("{% for x in a %}{{ b[0] }}{% endfor %}", False), ("{% for x in a %}{% for y in x %}-{% endfor %}{% endfor %}", False),
    ("{% for x in range(10) %}-{% endfor %}", False), ("{{ a * 3 }}", False), ("{{ a ** 3 }}", False),
    ("{{ a | join(', ') }}", True), ("{{ a | join(b) }}", False), ("{{ a.replace('x', 'xxxx') }}", False), ("{{ a | center(9999999) }}", False), ("{{ '%9999999d' % 1 }}", False),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", False), ("{{ a.format(b) }}", False),
    ("{% for x in a recursive %}{{ loop(a) }}{% endfor %}", False), ("{% set a = a %}", False),
    ("{{ " + "(a + " * 150 + "a" + ")" * 150 + " }}", False),  # too deep to be looked through
])  # fmt: skip
def test_what_a_template_is_by_its_form(template, linear):
    assert limits.is_linear(records._jinja(), template) == linear


@pytest.mark.parametrize("template, record", [
    ("{{ a }}" * 1400, {"a": "x" * 2**16}), ("{% for x in a %}" + "-" * 9000 + "{% endfor %}", {"a": "x" * 5000}),
    ("{% for x in a %}{{ x }}{{ x }}" + "-" * 9000 + "{% endfor %}", {"a": ["x"] * 5000}),
])  # fmt: skip
def test_a_linear_template_of_a_large_record_is_held_too(template, record):
    assert limits.is_linear(records._jinja(), template)
    with pytest.raises(UserError, match="writes more than 16 Mi characters"):
        wording(template)(record, "a.jsonl:1")


@given(st.recursive(st.text(max_size=4), lambda inner: st.lists(inner, max_size=4), max_leaves=20), st.data())
def test_a_linear_template_writes_at_most_its_length_times_the_size_of_the_record(value, data):
    pieces = ["{{ a }}", "{% for x in a %}{{ x }}-{{ loop.index }}{% endfor %}", "{{ b[0] | upper }}",
              "{{ b | join('--') }}", "text"]  # fmt: skip
    template = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=6)))
    record = {"a": data.draw(st.text(max_size=6)), "b": [str(value), "c"]}
    assert limits.is_linear(records._jinja(), template)
    assert len(records._jinja().from_string(template).render(record)) <= len(template) * limits.size(record)


def test_every_template_of_the_catalogue_is_linear():
    """Holding one costs more than rendering it, for each of thousands of records."""

    def texts(value):
        if isinstance(value, str):
            yield from [value] if "{{" in value or "{%" in value else []
        elif isinstance(value, dict | list):
            for one in value.values() if isinstance(value, dict) else value:
                yield from texts(one)

    files = sorted((Path(records.__file__).parent / "catalogue").glob("*.yaml"))
    found = [(file.name, text) for file in files for text in texts(yaml.safe_load(file.read_text()))]
    assert len(found) > 50
    assert [one for one in found if not limits.is_linear(records._jinja(), one[1])] == []


def test_a_template_within_its_limits_writes_what_it_always_did_and_the_tracing_ends():
    tokenizer, before = toy_tokenizer(), sys.gettrace()
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert _apply(messages, tokenizer, "x") == tokenizer.apply_chat_template(messages, tokenize=False)
    assert sys.gettrace() is before


def test_a_step_that_goes_on_for_ever_ends_by_the_clock(monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    with pytest.raises(limits.TooMuch, match="s"):
        limits.held(lambda: [time.sleep(0.05) for _ in range(1000)])


# -- what is passed on


def test_text_that_a_spreadsheet_takes_for_a_formula_is_escaped_and_numbers_are_not():
    heads = (Column("name"), Column("value", "number"))
    rows = tuple((name, -1.5) for name in ("=1+1", "+1", "-a", "@a", "a=b", "\t=1"))
    lines = Table("t", "", heads, rows).csv().splitlines()[1:]
    assert lines == ["'=1+1,-1.5", "'+1,-1.5", "'-a,-1.5", "'@a,-1.5", "a=b,-1.5", "'\t=1,-1.5"]


def test_a_name_adds_nothing_to_a_cards_front_matter():
    name = "model\nlicense: mit\n---\n# Not pruned\u2028x: `"
    description = {"model": {"name": name, "id": "abc"}, "method": "wanda", "pattern": "50%", "allocation": "uniform",
                   "job": {}, "sparsity": {"pruned_linears": 0.5, "whole_model": 0.2}, "calibration": None,
                   "environment": {"calprune": "0"}, "linears": []}  # fmt: skip
    head, text = card(description).split("---\n")[1:3]
    assert set(yaml.safe_load(head)) == {"library_name", "pipeline_tag", "tags"}
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# model license: mit --- # Not pruned x: `, pruned with wanda to 50%"]  # fmt: skip


# -- the program


def test_whatever_is_raised_is_one_line_and_all_of_it_is_shown_on_demand(monkeypatch, capsys):
    from calprune.cli.app import app, main

    def fail():
        raise LookupError("two\nlines")

    monkeypatch.setattr(sys, "argv", ["calprune", "methods"])
    monkeypatch.setattr("calprune.methods.listing.described_methods", fail)
    for shown in ("", "1"):
        monkeypatch.setenv("CALPRUNE_TRACEBACK", shown)
        with pytest.raises(SystemExit) as ended:
            main()
        err = capsys.readouterr().err
        assert ended.value.code == 1 and err.startswith(
            "calprune: unexpected LookupError: two lines (at test_untrusted.py:"
        )
        assert (err.count("\n") > 1) == bool(shown)
    assert app


def test_nobody_who_reads_and_a_full_device_end_a_command_without_a_traceback():
    program = [sys.executable, "-c", "from calprune.cli import main; main()", "methods", "--json"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "calprune: cannot write to stdout: No space left on device\n")
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(program, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_from_outside_removes_what_it_was_making(number, tmp_path, programs):
    program = (
        "import sys, time\nfrom calprune.cli import main\nfrom calprune.base.store import whole_folder\n"
        "import calprune.methods.listing as listing\n"
        "def slow():\n    with whole_folder(sys.argv[-1]):\n        print('making', flush=True); time.sleep(60)\n"
        "listing.described_methods = slow\nout = sys.argv.pop(); sys.argv = ['calprune', 'methods']\n"
        "slow.__globals__['sys'] = type('s', (), {'argv': [out]})\nmain()"
    )
    process = programs.start("-c", program, tmp_path / "out")
    process.wait_for("making")
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "calprune: interrupted; nothing half-written was left\n")
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_attack_finds_nothing_wrong(tmp_path):
    """Command lines and mutated files that are the same on every day; benchmarks/attack.py is the whole."""
    given = attack.arguments(["--calls", "24", "--kills", "0", "--writers", "0", "--no-disks", "--no-python", "--only",
                              "words", "--only", "files"])  # fmt: skip
    assert isinstance(given, argparse.Namespace)
    here, environment = Path.cwd(), dict(os.environ)
    try:
        score = attack.attack(given)
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)
    assert score.tried.total() > 100 and not score.wrong, score.text()


@pytest.mark.parametrize("field, value", [("hidden_size", 10**9), ("num_hidden_layers", 10**6), ("vocab_size", 10**9)])
def test_a_config_of_a_larger_model_than_its_weights_is_refused_before_it_is_made(tmp_path, field, value):
    save(random_model(CONFIGS["llama"]()), toy_tokenizer(), tmp_path)
    load(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    for open_ in (load, outline):
        with pytest.raises(UserError, match=f"{field} {value:,}, and its weights have at most"):
            open_(str(tmp_path))


def test_a_data_root_that_is_not_there_is_named_also_where_nothing_is_read_from_it(monkeypatch, capsys):
    from calprune.cli.app import main

    monkeypatch.setattr(sys, "argv", ["calprune", "calib", "compare", "a", "b", "--data-root", "nowhere"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("calprune: the data root nowhere is not a folder")


def test_a_studys_file_of_another_shape_is_one_line():
    from calprune.studies.results import of_text

    for text in ("null", ""):
        with pytest.raises(UserError, match=r"study\.yaml is no study"):
            of_text(text, "study.yaml")
