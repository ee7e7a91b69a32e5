"""The grammar: what a text means, what is refused and how; every kind is read as it is written, and takes one's own."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calprune.allocation import ALLOCATIONS
from calprune.base.calls import Registry, listed, members, quoted, split, unquoted
from calprune.base.values import ConfigError, did_you_mean
from calprune.calibration.layout import LAYOUTS
from calprune.calibration.recipe import RecipePart, parse_spec
from calprune.calibration.selections import SELECTIONS
from calprune.evaluation.contract import PAGE
from calprune.evaluation.evaluation import EVALUATIONS, OnText, parse_evaluation
from calprune.evaluation.tasks import TASKS, find_task
from calprune.layers.attention import TOKEN_WEIGHTS
from calprune.methods import METHODS, parse_method
from calprune.methods.ria import RIA
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import PatternError, parse_pattern
from calprune.text.filters import FILTERS
from calprune.text.formats import FORMATS, Format, parse_format
from calprune.writing.strategies import STRATEGIES, parse_strategy
from tests.test_methods import example

EVERY = {
    one.kind: one
    for one in (ALLOCATIONS, EVALUATIONS, FILTERS, FORMATS, LAYOUTS, METHODS, SELECTIONS, STRATEGIES, TASKS,
                TOKEN_WEIGHTS)
}  # fmt: skip


class Thing(Protocol):
    version: ClassVar[int]

    def __call__(self) -> str: ...


@dataclass(frozen=True)
class Inner:
    amount: float = 0.5
    version: ClassVar[int] = 2

    def __call__(self) -> str:
        return "inner"


@dataclass(frozen=True)
class Outer:
    name: str
    sizes: tuple[int, ...] = ()
    kind: Literal["row", "matrix"] = "row"
    inner: Inner = Inner()
    loud: bool = False
    title: str | None = None
    version: ClassVar[int] = 1

    def __call__(self) -> str:
        return self.name


THINGS = Registry("thing", {"inner": Inner, "outer": Outer}, '"inner" or "outer(a)"', Thing, "docs/things.md")


# -- what a text means ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a + b", ["a", "b"]),
        ("a(b + c) + [d + e]", ["a(b + c)", "[d + e]"]),
        ("'a + b' + \"c+d\"", ["'a + b'", '"c+d"']),
        ("'it\\'s + a' + b", ["'it\\'s + a'", "b"]),
        ("John's notes + b", ["John's notes", "b"]),
        ("", [""]),
        ("a +", ["a", ""]),
    ],
)
def test_a_text_is_cut_outside_brackets_and_quotes(text, parts):
    assert split(text, "+") == parts


@pytest.mark.parametrize("text", ["a(b", "a)", "[a)", "'a", '"a + b', "a(]"])
def test_what_is_opened_is_closed(text):
    with pytest.raises(ValueError, match=r"missing|too many"):
        split(text, "+")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("outer(a)", Outer("a")),
        (" outer( a , kind = matrix ) ", Outer("a", kind="matrix")),
        ("outer(a, [1, 2])", Outer("a", (1, 2))),
        ("outer(a, sizes=1)", Outer("a", (1,))),
        ("outer(a, sizes=())", Outer("a")),
        ("outer('a, (b', loud)", Outer("a, (b", loud=True)),
        ("outer(loud, name=a)", Outer("a", loud=True)),
        ("outer(a, loud=true, title=None)", Outer("a", loud=True)),
        ("outer(a, title='None')", Outer("a", title="None")),
        ("outer(12, title=a=b)", Outer("12", title="a=b")),
        ("outer(my file.txt, inner=inner(0.25))", Outer("my file.txt", inner=Inner(0.25))),
        ("inner(1)", Inner(1.0)),
        ("inner(-inf)", Inner(float("-inf"))),
        ("inner()", Inner()),
    ],
)
def test_the_first_value_is_the_first_option_and_a_word_is_what_its_option_takes(text, meant):
    assert THINGS.make(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read thing '': '' is no name; write it like \"inner\" or \"outer(a)\""),
        ("inner(", "cannot read thing 'inner(': ) is missing; write"),
        ("inner(1) + inner(2)", "cannot read thing 'inner(1) + inner(2)': a ) too many;"),
        ("inner(1)x", "something follows the )"),
        ("inner(,)", "there is nothing between two commas"),
        ("inner + inner", "cannot read thing"),
        ("innr", "unknown thing 'innr'; did you mean 'inner'?"),
        ("In-ner", "unknown thing 'In-ner'; did you mean 'inner'?"),
        ("inner(amont=1)", "thing inner: unknown option 'amont'; did you mean 'amount'?"),
        ("inner(amount=1, amount=2)", "thing inner: amount is there twice"),
        ("inner(1, amount=2)", "thing inner: amount is there twice"),
        ("inner(1, 2)", "thing inner takes 1 options (amount); got 2 beside them"),
        ("inner(amount=)", "thing inner: amount has no value; write amount=..."),
        ("inner(amount)", "thing inner: amount has no value; write amount=..."),
        ("inner(amount=other)", "thing inner: amount: Input should be a valid number; got 'other'"),
        ("inner(amount=1 # of all)", "thing inner: amount: Input should be a valid number; got '1 # of all'"),
        ("inner(amount={1})", "valid number"),
        ("inner(**{})", "valid number"),
        ("outer(a, kind=column)", "thing outer: kind"),
        ("outer(a, kind=row, 5)", "5 stands behind an option, so it needs its name: sizes=5"),
        ("outer(a, inner=innr)", "unknown thing 'innr'; did you mean 'inner'?"),
        ("outer(a, inner=inner(x))", "thing inner: amount: Input should be a valid number; got 'x'"),
        ("outer(inner=inner)", "thing outer: name is missing"),
        ("inner.amount", "unknown thing"),
        ("__import__('os')", "unknown thing '__import__'"),
    ],
)
def test_what_is_not_understood_is_one_line_and_never_dropped(text, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        THINGS.make(text)
    assert "\n" not in str(error.value)


def test_plain_data_and_an_object_mean_what_text_does():
    meant = Outer("a", (1,), inner=Inner(0.25))
    assert THINGS.read("outer(a, 1, inner=inner(0.25))") == meant
    assert THINGS.read({"outer": {"name": "a", "sizes": [1], "inner": {"inner": {"amount": 0.25}}}}) == meant
    assert THINGS.read({"name": "inner", "amount": 0.25}) == THINGS.read({"inner": {"amount": 0.25}}) == Inner(0.25)
    assert THINGS.read(meant) is meant
    for wrong in ({"inner": {"amont": 1}}, {"inner": 3}, {"pool": 3}, {}, 3, ["inner"], object()):
        with pytest.raises(ConfigError) as error:
            THINGS.read(wrong, "file.yaml")
        assert "\n" not in str(error.value)


# -- the six parsers' faults ---------------------------------------------------------------------


def test_a_formats_first_value_is_its_first_option():
    assert parse_format("icl(5)") == Format("icl", pairs=5)
    assert parse_format("cot(3)") == Format("cot", steps=3)


@pytest.mark.parametrize("text", ["chat('responses')", "icl(**{})", "icl(x)", "chat(respnses)", "plain(1)"])
def test_a_format_drops_nothing_that_it_does_not_understand(text):
    with pytest.raises(ConfigError, match="format"):
        parse_format(text)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ('"my+notes.txt":chat', [RecipePart("my+notes.txt", "chat")]),
        ('self:prefixes(of="a+b(1).txt")', [RecipePart("self", strategy='prefixes(of="a+b(1).txt")')]),
        ("'a*b.txt'*2 + c4", [RecipePart("a*b.txt", share=2.0), RecipePart("c4")]),
        ("'a:b.txt':chat(responses)", [RecipePart("a:b.txt", "chat(responses)")]),
        ("2*self:respond(my file.jsonl)", [RecipePart("self", share=2.0, strategy="respond(my file.jsonl)")]),
        ("John's notes.txt + c4", [RecipePart("John's notes.txt"), RecipePart("c4")]),
    ],
)
def test_a_part_of_a_mixture_ends_outside_quotes_and_brackets(spec, parts):
    assert list(parse_spec(spec).parts) == parts


@pytest.mark.parametrize("spec", ["c4 + ", "c4*2*3", "*c4", "c4:", "'a.txt", "c4:icl(", "c4*two", "2*c4*3"])
def test_a_part_that_cannot_be_read_is_refused(spec):
    with pytest.raises(ConfigError) as error:
        parse_spec(spec)
    assert "\n" not in str(error.value)


def test_a_quoted_name_of_a_strategy_is_the_name_itself():
    assert parse_strategy('prefixes(of="a+b(1).txt")').strategy.of == "a+b(1).txt"
    assert parse_strategy("prefixes(c4, keep_truncated)").screen.keep_truncated is True


def test_evaluations_take_texts_with_brackets_and_quotes():
    text = 'kl("my+notes.txt":chat(responses), tokens=1024, length=64)'
    assert parse_evaluation(text) == OnText("kl", '"my+notes.txt":chat(responses)', 1024, 64)
    assert str(parse_evaluation(text)) == text
    with pytest.raises(ConfigError, match="evaluation kl: of is missing"):
        parse_evaluation("kl")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("50", "50%"), ("0.5", "50%"), ("62.5", "62.5%"), ("2-4", "2:4"), ("2/4", "2:4"), ("2;4", "2:4")],
)
def test_a_pattern_without_its_sign_is_asked_back(text, meant):
    with pytest.raises(PatternError, match=f"did you mean '{meant}'"):
        parse_pattern(text)


@pytest.mark.parametrize("meant", ["2:4", "4:8", "3:4"])
def test_a_pattern_that_yaml_reads_as_a_time_is_asked_back(meant):
    read = str(yaml.safe_load(f"patterns: {meant}")["patterns"])
    assert read.isdigit()
    with pytest.raises(PatternError, match=rf'did you mean "{meant}"\? without quotes YAML reads {meant} as {read}'):
        parse_pattern(read)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("sparse-gpt", "sparsegpt"),
        ("SparseGPT", "sparsegpt"),
        ("wanda++", "wanda"),
        ("wandaplusplus", "wanda_plus_plus"),
    ],
)
def test_a_name_that_is_nearly_right_is_asked_back(word, meant):
    assert did_you_mean(word, METHODS) == f"; did you mean {meant!r}?"


# -- write is make's inverse, for every kind -----------------------------------------------------

REQUIRED = {  # how each that cannot be written as its name alone is written
    "blocked_words": "[casino, 'free, spins']",
    "contamination": "[gsm8k, arc_easy]",
    "language": "en",
    "max_words": "50",
    "min_words": "50",
    "repetition": "0.3",
    "prefixes": "of='a+b(1).txt', tokens=4",
    "respond": "my prompts.jsonl",
    "from_file": "path='a, b.yaml'",
    "block_matching": "start=wanda",
    "block_reconstruction": "start=wanda",
    "refit": "start=ria(power=1.0)",
    "regional": "start=gblm(norm=l1)",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, known in EVERY.items() for name in known])
def test_what_is_written_is_read_as_it_was(kind, name):
    known = EVERY[kind]
    of_text = kind == "evaluation" and known[name] is OnText
    arguments = "my+notes.txt, tokens=1024" if of_text else REQUIRED.get(name)
    made = known.make(f"{name}({arguments})" if arguments else name)
    assert isinstance(made, known[name])
    assert known.make(known.write(made)) == made
    assert known.read(made) is made


@given(st.builds(
    Outer, st.text(), st.tuples(st.integers(), st.integers()) | st.just(()), st.sampled_from(["row", "matrix"]),
    st.builds(Inner, st.floats(allow_nan=False)), st.booleans(), st.none() | st.text(),
))  # fmt: skip
def test_whatever_the_options_hold_it_is_written_and_read(value):
    assert THINGS.make(THINGS.write(value)) == value


@given(st.text(alphabet="ab c,=()[]'\"+*\\", max_size=8).map(str.strip))
def test_a_text_within_a_call_is_quoted_where_it_must_be(text):
    assert listed(quoted(text)) == [quoted(text)] and unquoted(quoted(text)) == text


# -- one's own -----------------------------------------------------------------------------------

MINE = """
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from calprune.evaluation.items import Outcomes
from calprune.evaluation.metric import ACCURACY, Metric
from calprune.methods.contract import Start


@dataclass(frozen=True)
class Method:
    power: float = 1.0
    needs: ClassVar[str] = "nothing"
    version: ClassVar[int] = 1

    def __call__(self, weight, stats, pattern):
        return weight


@dataclass(frozen=True)
class Allocation(Method):
    def __call__(self, blocks, pattern):
        return {}


@dataclass(frozen=True)
class Filter:
    letter: str
    version: ClassVar[int] = 1

    def open(self, given):
        return lambda documents: ["" if self.letter in d.text else f"no {self.letter}" for d in documents]


@dataclass(frozen=True)
class Format:
    field: str = "text"
    packing: ClassVar[str] = "text"

    def document(self, record):
        return record[self.field].upper()


@dataclass(frozen=True)
class Layout:
    natural: ClassVar[bool] = False

    def __call__(self, documents, lengths, making):
        for document, length in zip(documents, lengths):
            row = making.begin(document.tokens)
            row.add(document, 0, length - len(row))
            yield row


@dataclass(frozen=True)
class Selection:
    pool: int = 100
    uses_model: ClassVar[bool] = False

    def __call__(self, candidates, choosing):
        return sorted(range(len(candidates)), key=lambda i: -len(candidates[i].tokens))


@dataclass(frozen=True)
class Strategy:
    start: str = "a"
    version: ClassVar[int] = 1
    usual: ClassVar[dict] = {}

    def prompts(self, writing):
        return []


@dataclass(frozen=True)
class Task:
    examples: int = 3
    version: ClassVar[int] = 1
    capability: ClassVar[str] = "general"
    measures: ClassVar[Metric] = ACCURACY

    def files(self, data_root: Path | None = None):
        return []

    def run(self, model, data_root: Path | None = None):
        return Outcomes("mine", ACCURACY, (1.0,) * self.examples, ("a",) * self.examples, 0.5, "general", "x")


Evaluation = Task


@dataclass(frozen=True)
class TokenWeights:
    least: float = 1.0

    def __call__(self, block, run, lengths, counts):
        return counts


@dataclass(frozen=True)
class Nothing:
    pass


def function():
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A folder with a module in it, which is the current one and on no path."""
    (tmp_path / "own_things.py").write_text(MINE)
    (tmp_path / "broken_things.py").write_text("1 +")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("own_things", "broken_things"):
        sys.modules.pop(name, None)


OPTIONS = {"filter": "(letter=e)", "method": "(power=0.5)"}
CLASS = {"token weights": "TokenWeights"}


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_takes_ones_own_from_the_current_folder_and_writes_it(mine, kind):
    known, path = EVERY[kind], list(sys.path)
    text = f"own_things:{CLASS.get(kind, kind.capitalize())}{OPTIONS.get(kind, '')}"
    made = known.make(text)
    assert known.make(known.write(made)) == made and known.write(made).startswith("own_things:")
    assert sys.path == path


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_here_fits_the_contract_that_ones_own_must_fit(kind):
    for cls in set(EVERY[kind].values()) - {Format, OnText}:  # which are known by their type
        EVERY[kind]._check(cls, cls.__name__)
    assert members(EVERY[kind].contract)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("name", ["Nothing", "function"])
def test_what_does_not_fit_says_what_it_lacks(mine, kind, name):
    with pytest.raises(ConfigError, match=f"'own_things:{name}' is no {kind}: ") as error:
        EVERY[kind].make(f"own_things:{name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("own_thinks:Method", "No module named 'own_thinks'"),
        ("own_things:Methot", "has no attribute 'Methot'"),
        ("broken_things:Method", "SyntaxError: "),
        ("own_things:Method(powr=1)", "method Method: unknown option 'powr'; did you mean 'power'?"),
    ],
)
def test_ones_own_that_is_not_there_is_one_line(mine, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        parse_method(text)
    assert "\n" not in str(error.value)


def test_ones_own_can_be_within_another_call(mine):
    method: Any = parse_method("refit(start=own_things:Method(power=0.25), damping=0.5)")
    assert (method.start.power, method.damping) == (0.25, 0.5)
    assert METHODS.write(method) == "refit(start=own_things:Method(power=0.25), damping=0.5)"


def test_a_set_is_made_by_ones_own_format_filter_layout_and_selection(mine):
    from calprune.calibration.build import build
    from calprune.calibration.recipe import read_recipe, write_recipe
    from tests.tiny import toy_tokenizer

    (mine / "notes.jsonl").write_text('{"text": "one bee"}\n{"text": "two"}\n{"text": "three geese in a tree"}\n')
    recipe = parse_spec("notes.jsonl:own_things:Format", num_samples=1, max_seq_length=9, layout="own_things:Layout",
                        filters=["own_things:Filter(E)"], selection="own_things:Selection")  # fmt: skip
    tokenizer = toy_tokenizer()
    made = build(recipe, tokenizer)
    assert tokenizer.decode(made.tokens[0], skip_special_tokens=True) == "THREE GE"
    assert made.counts["dropped: no E"] == 1
    assert read_recipe(write_recipe(recipe), "again") == recipe
    made.save(mine / "set")
    assert build(parse_spec("set/recipe.yaml"), tokenizer).id == made.id


def test_the_installed_command_finds_ones_own_in_the_current_folder(mine):
    command = Path(sys.executable).parent / "calprune"
    if not command.is_file():
        pytest.skip("calprune is not installed")
    ended = subprocess.run([command, "eval", "demo", "--on", "own_things:Nothing"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"calprune: 'own_things:Nothing' is no evaluation: it has no version ({PAGE})\n"


def test_methods_options_are_read_by_place_by_name_and_as_words():
    assert parse_method("sparsegpt(0.1)") == SparseGPT(damping=0.1)
    assert parse_method("dsnot(start=ria, linears=attention)") == parse_method("dsnot(ria(), linears='attention')")
    assert parse_method("gblm(norm=l1)") == parse_method("gblm(norm='l1')")
    assert parse_method("block_reconstruction(wanda, cross_block)") == parse_method(
        "block_reconstruction(start=wanda, cross_block=True)"
    )
    assert METHODS.write(example("refit")) == "refit(start=wanda)"
    assert find_task("boolq(200)") == find_task("boolq(examples=200)")
    assert parse_method("ria(1)") == RIA(power=1.0) and parse_method("wanda") == Wanda()
