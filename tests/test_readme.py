"""The README quotes what the benchmarks compute."""

import pandas as pd
import pytest

import backtest
from documents import block, replace_block


def test_the_readme_quotes_the_bundled_back_tests():
    """All methods but the one that the package does not hold, which only a whole run of the benchmark computes."""
    scores = pd.concat([backtest.bundled(name).scores() for name in backtest.TABLES])
    quoted = block("backtest")
    assert quoted == backtest.docs_table(scores, quoted)
    assert quoted.count("\n") == 1 + len(backtest.NAMES)


def test_a_block_is_replaced_and_the_rest_stays(tmp_path):
    file = tmp_path / "README.md"
    file.write_text("one\n<!-- bench:a -->\n\nold\n\n<!-- /bench:a -->\ntwo\n")
    replace_block("a", "| new |", file)
    assert file.read_text() == "one\n<!-- bench:a -->\n\n| new |\n\n<!-- /bench:a -->\ntwo\n"
    assert block("a", file) == "| new |"
    with pytest.raises(ValueError, match="bench:b"):
        replace_block("b", "| new |", file)
