"""SQL over a study's results, by DuckDB: the table `results`, a row an evaluation of a trial."""

import dataclasses
from pathlib import Path

from calprune.base.values import UserError
from calprune.studies.results import Result, read


def query(folder: Path, sql: str) -> tuple[list[str], list[tuple]]:
    """The names of the answer's columns, and its rows. Raises UserError where the question cannot be answered."""
    try:
        import duckdb
        import pyarrow
    except ImportError:
        raise UserError("calprune query needs DuckDB: pip install 'calprune[report]'") from None
    names = [f.name for f in dataclasses.fields(Result)]
    found = read(folder).rows
    if not found:
        raise UserError(f"{folder} holds no result yet: calprune study run makes them")
    table = pyarrow.table({name: [getattr(row, name) for row in found] for name in names})
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.register("results", table)
        try:
            answer = connection.execute(sql)
            return [column[0] for column in answer.description or []], answer.fetchall()
        except duckdb.Error as e:
            raise UserError(f"{str(e).splitlines()[0]}; the table is results({', '.join(names)})") from None
