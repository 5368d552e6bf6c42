"""Tables whose columns are the fields of a dataclass."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import get_type_hints

import polars as pl

TEXT = pl.String
COUNT = pl.Int64
SHARE = pl.Float64
FLAG = pl.Boolean
TablesByName = dict[str, pl.DataFrame]
Schema = dict[str, type[pl.DataType]]
# The type of a field, which may be None too -> that of its column.
COLUMN_TYPES: dict[object, type[pl.DataType]] = {
    str: TEXT,
    str | None: TEXT,
    int: COUNT,
    int | None: COUNT,
    float: SHARE,
    float | None: SHARE,
    bool: FLAG,
    bool | None: FLAG,
}


def schema_of(row: type) -> Schema:
    """Return the columns of a table of such rows, in the order of the fields."""
    hints = get_type_hints(row)
    names = [field.name for field in fields(row)]
    return {name: COLUMN_TYPES[hints[name]] for name in names}


def of_chains(table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the rows of these chains."""
    return table.filter(pl.col("chain").is_in(names))


def best_first(programs: pl.DataFrame) -> pl.DataFrame:
    """Return programs by the accuracy that selects; of equals, by id, so that the order is one."""
    return programs.sort(["accuracy", "id"], descending=[True, False])


def total(table: pl.DataFrame, column: str) -> float:
    """Return the sum of a column; of an empty one 0."""
    return float(table[column].sum())


def total_count(table: pl.DataFrame, column: str) -> int:
    """Return the sum of a column of counts; of an empty one 0."""
    return int(table[column].sum())


def table_of(row: type, rows: Iterable[object]) -> pl.DataFrame:
    """Return rows of one dataclass as a table."""
    columns = schema_of(row)
    cells = map(attrgetter(*columns), rows)
    return pl.DataFrame(list(cells), schema=columns, orient="row")
