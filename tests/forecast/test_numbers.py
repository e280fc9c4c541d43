"""Numbers are written alike in sentences, tables and on the command line."""

import numpy as np
import pandas as pd
import pytest

from forecast.cli import terminal
from forecast.numbers import decimals, percent, share


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
