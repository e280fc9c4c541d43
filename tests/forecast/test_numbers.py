"""Numbers are written alike in sentences, tables and on the command line."""

import numpy as np
import pandas as pd
import pytest

from forecast.cli import terminal
from forecast.numbers import decimals, ordinal, percent, percentile, share


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.00042, "0.042%"), (0.018, "1.8%"), (0.09, "9%"), (0.0996, "10%"), (0.917, "92%"), (1.234, "123%"), (0, "0%")],
)
def test_a_share_has_two_digits_or_whole_percents(part, text):
    assert share(part) == text


def test_decimals_keep_zeros_and_the_minus_sign():
    assert decimals(-0.3, 2) == "−0.30"
    assert decimals(0.0312, 3, signed=True) == "+0.031"


def test_a_number_that_is_missing_is_a_dash():
    assert {form(np.nan) for form in (share, percent, lambda x: decimals(x, 2))} == {"–"}


def test_ordinals_and_percentiles_are_words():
    wanted = "0th 1st 2nd 3rd 4th 11th 12th 13th 21st 42nd 63rd 74th 99th 100th 101st 111th"
    assert [ordinal(int("".join(c for c in text if c.isdigit()))) for text in wanted.split()] == wanted.split()
    assert percentile(0.74) == "at the 74th percentile"
    assert percentile(0.01, "<") == "below the 1st percentile"
    assert percentile(0.99, ">") == "above the 99th percentile"


def test_printed_tables_write_each_kind_of_number_alike(capsys):
    by_row = pd.DataFrame({"quantity": ["params", "loss"], "recommended": [2.8e7, np.nan], "median": [3.1e7, 0.14]})
    terminal.print_table(by_row, None)
    by_column = pd.DataFrame({"law": ["drifting"], "flops": [2e18], "elpd": [-1234.56], "pareto_k_high": [0.25]})
    terminal.print_table(by_column, None)
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert ["params", "28 M", "31 M"] in cells
    assert ["loss", "0.140"] in cells
    assert ["drifting", "2e18", "−1234.6", "25%"] in cells
