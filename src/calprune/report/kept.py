"""A study's results kept in one Parquet file: every item of every trial, so that its page, its tables and the verdicts
on its claims are made anew without a model, when the program says them better or a claim is added.

One row an evaluation of a trial, with the columns of `studies.results.COLUMNS`; what is not of a row is JSON in the
file's metadata. No torch is imported here.
"""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calprune.base.store import write_whole
from calprune.base.values import ConfigError, UserError, first_line
from calprune.evaluation.metric import METRICS, metric_of
from calprune.studies.axes import AXES, Setting
from calprune.studies.results import COLUMNS, STUDY, Failure, LikenessRow, Result, Results, of_text, read

FORMAT = 1
HEAD = {"format", "title", "question", "missing", "failed", "similarity", "about", "stand_ins", "measures"}
KEY = b"calprune study"  # of the metadata
PLAIN = [name for name in COLUMNS if name not in ("trial", "metric", *AXES)]  # fields of a row that are as in the file


def write_parquet(results: Results, path: str | Path) -> None:
    """Keep the results in a Parquet file. Raises UserError where pyarrow is not installed."""
    pa, pq = _pyarrow()
    head = {
        "format": FORMAT, "title": results.title, "question": results.question, "missing": results.missing,
        "failed": [asdict(one) for one in results.failed], "similarity": [asdict(one) for one in results.similarity],
        "about": results.about, "stand_ins": results.stand_ins,
        "measures": {metric.name: asdict(metric) for metric in {row.measures for row in results.rows}
                     if METRICS.get(metric.name) != metric},
    }  # fmt: skip
    numbers = pa.list_(pa.float64())
    kinds = dict.fromkeys(("items", "dense_items"), numbers) | {"sources": pa.list_(pa.string()), "tokens": pa.int64(),
             "draw": pa.int64(), "chance": pa.float64(), "value": pa.float64(), "dense": pa.float64()}  # fmt: skip
    columns = {name: [row.axes[name] if name in AXES else getattr(row, name) for row in results.rows]
               for name in COLUMNS}  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS], {KEY: json.dumps(head).encode()})
    made = io.BytesIO()
    pq.write_table(pa.table(columns, schema), made, compression="zstd", compression_level=19)
    write_whole(path, made.getvalue())


def read_results(path: str | Path) -> Results:
    """The results of a study's folder, or of a file that `write_parquet` made. Raises UserError where it is neither."""
    return _read_kept(Path(path)) if Path(path).is_file() else read(path)


def _read_kept(path: Path) -> Results:
    pa, pq = _pyarrow()
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        raise UserError(f"{path} is no study's results: expected a folder of `calprune study run`, or a file of "
                        f"`calprune study report --parquet`; {first_line(e)}") from None  # fmt: skip
    kept = (table.schema.metadata or {}).get(KEY)
    head = _head(kept)
    table = _with_new_axes(table) if head.get("format") == FORMAT else table
    if head.get("format") != FORMAT or table.column_names != list(COLUMNS):
        raise UserError(f"{path} is no study's results of format {FORMAT}: its columns are "
                        f"{', '.join(table.column_names[:5])}, ...; write it anew: calprune study report RUNS "
                        "--parquet FILE")  # fmt: skip
    rows = tuple(_row(one, head["measures"], path) for one in table.to_pylist())
    written = of_text(head["about"].get(STUDY), f"{path}: its study")
    return Results(head["title"], head["question"], rows, tuple(Failure(**one) for one in head["failed"]),
                   head["missing"], tuple(LikenessRow(**one) for one in head["similarity"]), head["about"],
                   head["stand_ins"], *written)  # fmt: skip


def _with_new_axes(table: Any) -> Any:
    """With the usual value on each axis that studies did not have when the file was written."""
    pa, _ = _pyarrow()
    for i, name in enumerate(COLUMNS):
        if name in AXES and AXES[name].usual and name not in table.column_names:
            usual = pa.array([AXES[name].usual] * len(table), pa.string())
            table = table.add_column(min(i, table.num_columns), name, usual)
    return table


def _head(kept: bytes | None) -> dict[str, Any]:
    """What is not of a row; {} where it is none, or damaged."""
    try:
        head = json.loads(kept or b"{}")
    except ValueError:
        return {}
    return head if isinstance(head, dict) and head.keys() >= HEAD else {}


def _row(cells: dict[str, Any], measures: dict[str, Any], path: Path) -> Result:
    try:
        metric = metric_of(cells["metric"], measures.get(cells["metric"]))
    except ConfigError as e:
        raise UserError(f"{path}: {e}") from None
    plain: dict[str, Any] = {
        name: tuple(cells[name]) if isinstance(cells[name], list) else cells[name] for name in PLAIN
    }
    return Result(cells["trial"], Setting({name: cells[name] for name in AXES}), **plain, measures=metric)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("a study's results in Parquet need pyarrow: pip install 'calprune[report]'") from None
    return pyarrow, pyarrow.parquet
