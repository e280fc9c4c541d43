"""Tables with a wrong cell, and the problems for which a table is refused."""

import pandas as pd
import pytest
from helpers import frame

from forecast.errors import TableError
from forecast.runs.read import read_runs


def put(column: str, values: dict[int, object], table: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table with the given cells, by line number, replaced."""
    table = (frame() if table is None else table).astype({column: object}) if column in frame() else table
    assert table is not None
    for line, value in values.items():
        table.loc[line - 2, column] = value
    return table


def refused(source: object, **kwargs: object) -> list[tuple[tuple[int, ...], str]]:
    """Rows and column of every problem; the test fails if the table is accepted."""
    with pytest.raises(TableError) as caught:
        read_runs(source, **kwargs)  # type: ignore[arg-type]
    assert str(caught.value)
    return [(p.rows, p.column) for p in caught.value.problems]


def message(source: object, **kwargs: object) -> str:
    with pytest.raises(TableError) as caught:
        read_runs(source, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)
