"""A study's results asked in SQL, by DuckDB; a mean over several metrics is refused.

A perplexity, a divergence and an accuracy have no common mean. Which expressions are means is read from the parsed
query, and how many metrics each has under it is counted by the query itself: beside avg(value) of a group stands
count(distinct metric) of the same rows. No torch is imported here.
"""

import copy
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calprune.base.values import UserError, first_line
from calprune.pages.numbers import listed
from calprune.report.kept import read_results
from calprune.studies.results import COLUMNS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OF_METRICS = ("value", "items", "dense", "dense_items", "chance")  # columns whose unit is the row's metric's
ONE_UNIT = frozenset(COLUMNS) - set(OF_METRICS)
CHOOSING = frozenset({  # aggregates that pick or count values, and mix none
    "any_value", "approx_count_distinct", "arbitrary", "arg_max", "arg_max_null", "arg_max_nulls_last", "arg_min",
    "arg_min_null", "arg_min_nulls_last", "argmax", "argmin", "array_agg", "bool_and", "bool_or", "count", "count_if",
    "count_star", "countif", "first", "group_concat", "last", "list", "listagg", "max", "max_by", "min", "min_by",
    "string_agg",
})  # fmt: skip
GATHERING = frozenset({"list", "array_agg"})  # what functions of lists may then take together
OF_LISTS = frozenset({  # functions of lists that take values together, beside list_avg and its kin
    "aggregate", "array_aggr", "array_aggregate", "array_reduce", "list_aggr", "list_aggregate",
    "list_dot_product", "list_inner_product", "list_reduce", "reduce",
})  # fmt: skip
COUNTED = "calprune_metrics_"
HOW = "group by metric, filter on it, or group by evaluation"


def query(runs: Path, sql: str, across_metrics: bool = False) -> tuple[list[str], list[tuple]]:
    """The columns' names and the rows of an answer. The table `results` has a row an evaluation of a trial.

    across_metrics: allow a mean, sum or spread of values of several metrics. Raises UserError where the question cannot
    be answered, and where it asks for such a mean without that.
    """
    try:
        import duckdb
        import pyarrow
    except ImportError:
        raise UserError("calprune query needs DuckDB: pip install 'calprune[report]'") from None
    sql = sql.encode(errors="replace").decode()  # DuckDB takes no letters that UTF-8 has not
    found = read_results(runs).rows
    if not found:
        raise UserError(f"{runs} holds no result yet: calprune study run makes them")
    table = pyarrow.table({name: [getattr(row, name) for row in found] for name in COLUMNS})
    metrics = sorted({row.metric for row in found})
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.register("results", table)
        try:
            _check_one(connection, sql)
            if (answer := connection.execute(sql)) is None:
                raise UserError('the question is empty; write one, such as "select * from results"')
            columns, rows = [column[0] for column in answer.description or []], answer.fetchall()
        except duckdb.Error as e:
            raise UserError(f"{first_line(e)}; the table is results({', '.join(COLUMNS)})") from None
        if len(metrics) > 1 and not across_metrics and (mixed := _mixed(connection, sql)):
            raise UserError(f"{mixed} takes values of several metrics together ({listed(metrics)}), which have no "
                            f"common mean: {HOW}; or ask for it all the same with --across-metrics")  # fmt: skip
        return columns, rows


def as_records(columns: list[str], rows: list[tuple]) -> list[dict[str, object]]:
    """The rows of an answer for JSON: numbers are numbers, and one that is none (infinite, NaN) is None.

    Raises UserError where two columns have one name: a record would lose one.
    """
    if twice := [name for i, name in enumerate(columns) if name in columns[:i]]:
        raise UserError(f"two columns are called {twice[0]!r}, and JSON has a name once: name one with AS")
    return [{name: _for_json(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _for_json(value: object) -> object:
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _for_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(one) for one in value]
    return value if value is None or isinstance(value, int | str) else str(value)


def _check_one(connection: "DuckDBPyConnection", sql: str) -> None:
    """Raise UserError for several questions: only the last would be answered."""
    asked = connection.extract_statements(sql)
    if len(asked) > 1:
        raise UserError(f"one question at a time; there are {len(asked)}, with a ; between them")


def _mixed(connection: "DuckDBPyConnection", sql: str) -> str:
    """The first aggregate that mixes metrics, or that cannot be checked, as it is written; "" where there is none."""
    import duckdb

    named = "select distinct function_name from duckdb_functions() where function_type = 'aggregate'"
    mixing = frozenset(name for (name,) in connection.execute(named).fetchall()) - CHOOSING
    for statement in duckdb.extract_statements(sql):
        written = json.loads(_one(connection, "select json_serialize_sql(?::varchar)", statement.query))
        if written["error"]:  # PIVOT and the like, which DuckDB does not parse into JSON
            called = re.findall(r"\b(\w+)\s*\(", statement.query)
            if first := next((name for name in called if name.lower() in mixing), None):
                return f"{first}(…)"
            continue
        for one in written["statements"]:
            nodes = list(_nodes(one["node"]))
            if any(_folds(node.get("function_name"), mixing) for node in nodes):
                mixing |= GATHERING
            for node in nodes:
                if node.get("type") == "SHOW_REF" and node.get("show_type") == "SUMMARY":
                    return "SUMMARIZE"
                if node.get("type") == "SELECT_NODE" and (mixed := _of_select(connection, one, node, mixing)):
                    return mixed
    return ""


def _folds(function: object, mixing: frozenset[str]) -> bool:
    """Whether it takes the values of a list together: list_avg and the like."""
    of, _, aggregate = str(function).lower().partition("_")
    return str(function).lower() in OF_LISTS or (of in ("list", "array") and aggregate in mixing)


def _of_select(connection: "DuckDBPyConnection", statement: dict, select: dict, mixing: frozenset[str]) -> str:
    """The first aggregate of one SELECT that mixes metrics: the same rows are asked again for how many they have."""
    import duckdb

    asked = [one for one in _own(select) if _mixes(one, mixing)]
    if not asked:
        return ""
    counted = copy.deepcopy(select)
    first = len(counted["select_list"])
    counted["modifiers"] = []  # no order and no limit: every group counts
    counted["having"] = counted["qualify"] = None
    tables = [statement["node"].get("cte_map", {}).get("map", []), counted["cte_map"]["map"]]
    counted["cte_map"]["map"] = [*{one["key"]: one for part in tables for one in part}.values()]
    counted["select_list"] += [_count(one, f"{COUNTED}{i}") for i, one in enumerate(asked)]
    whole = {"error": False, "statements": [statement | {"node": counted}]}
    try:
        again = _one(connection, "select json_deserialize_sql(?::varchar)", json.dumps(whole))
        rows = connection.execute(again).fetchall()
    except duckdb.Error:  # the column is not among those that the aggregate sees
        return f"{_named(asked[0])}, over a table without the column metric,"
    return next((_named(one) for i, one in enumerate(asked) for row in rows if row[first + i] > 1), "")


def _count(aggregate: dict, alias: str) -> dict:
    """count(distinct metric) of the rows that an aggregate has: its filter, its groups or its window."""
    made = copy.deepcopy(aggregate)
    [inside] = [name for name in ("arguments", "children") if name in made]
    column = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": ["metric"]}
    made[inside] = [{"name": "", "expression": column} if inside == "arguments" else column]
    return made | {"function_name": "count", "distinct": True, "alias": alias, "qualified_name": {"path": ["count"]}}


def _mixes(node: dict, mixing: frozenset[str]) -> bool:
    """Whether it is an aggregate that takes values together and is of a column whose unit is the metric's."""
    if node.get("class") not in ("FUNCTION", "WINDOW") or node.get("function_name") not in mixing:
        return False
    inside = node.get("arguments") or node.get("children") or []
    columns = {one["column_names"][-1].lower() for one in _nodes(inside) if one.get("class") == "COLUMN_REF"}
    return bool(columns - ONE_UNIT) or any(one.get("class") == "STAR" for one in _nodes(inside))


def _named(node: dict) -> str:
    inside = node.get("arguments") or node.get("children") or []
    columns = [one["column_names"][-1] for one in _nodes(inside) if one.get("class") == "COLUMN_REF"]
    return f"{node['function_name']}({', '.join(columns) or '*'})"


def _nodes(tree: Any) -> Iterator[dict]:
    """Every mapping of a parsed query."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _own(select: dict) -> Iterator[dict]:
    """The mappings of a SELECT, without those of the SELECTs in it."""

    def walk(tree: Any) -> Iterator[dict]:
        if isinstance(tree, dict):
            if tree.get("type") == "SELECT_NODE":
                return
            yield tree
        for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
            yield from walk(child)

    yield from walk(list(select.values()))


def _one(connection: "DuckDBPyConnection", sql: str, *values: str) -> str:
    row = connection.execute(sql, list(values)).fetchone()
    assert row is not None
    return row[0]
