"""The documents quote what the benchmarks compute, and their commands do as pasted what is shown under them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import backtest
import forecast
from documents import README, TESTED, block, replace_block

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/your-table.md", "docs/recipes.md")
"""Their blocks run one after another in one folder; a command that was run for an earlier page is not run again."""
NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?: ([kMBT])(?!\w))?")
SUFFIX = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
AROUND, OF_TAILS = 0.1, 0.3
"""How far a number may lie from the one that is shown: draws differ a little between machines, tails of them more."""
TAILS = {"(": ")", "between": "parameters", "needs": "samples"}
"""Between which words the ends of intervals stand, and what a probability needs."""


def parts(text: str) -> list[str | float]:
    """The words of a text and its numbers, 14.3 M as 14300000.0; marks and lines of tables are left out."""
    found: list[str | float] = []
    for match in re.finditer(rf"{NUMBER.pattern}|[^\W\d_]+|[()]", text):
        number, unit = match[1], match[2]
        found.append(float(number.replace(",", "")) * SUFFIX[unit or ""] if number else match[0])
    return found


def agree(shown: list[str | float], printed: list[str | float]) -> bool:
    """Whether the words are the same and the numbers close; those of tails less, from a word in `TAILS` to another."""
    until = ""
    for ours, theirs in zip(shown, printed, strict=True):
        if isinstance(ours, str) or isinstance(theirs, str):
            if ours != theirs:
                return False
            until = TAILS.get(ours, "" if ours == until else until)
        elif abs(ours - theirs) > (OF_TAILS if until else AROUND) * abs(ours):
            return False
    return True


def missing(shown: str, printed: str) -> list[str]:
    """The pieces of what is shown, parted by …, that what was printed does not hold in this order."""
    rest, lost = parts(printed), []
    for piece in shown.split("…"):
        wanted = parts(piece)
        starts = range(len(rest) - len(wanted) + 1)
        at = next((i for i in starts if agree(wanted, rest[i : i + len(wanted)])), None)
        if at is None:
            lost.append(piece.strip())
        else:
            rest = rest[at + len(wanted) :]
    return lost


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, lines and shown output ("" for none) of each block to run: shell and Python, but no installation."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL)
    return [one for one in found if "pip install" not in one[1]]


@pytest.fixture
def reader(tmp_path):
    """What a command prints in the reader's folder, the commands installed; remembered, as in the reader's terminal."""
    printed: dict[tuple[str, ...], str] = {}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}

    def run(*command: str) -> str:
        if command not in printed:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            printed[command] = done.stdout
        return printed[command]

    return run


@pytest.mark.parametrize("pages", [PAGES[:1], pytest.param(PAGES, marks=pytest.mark.slow)], ids=["README", "all"])
def test_blocks_of_the_documents_run_as_pasted(reader, pages):
    ran = {page: blocks(page) for page in pages}
    assert all(ran.values())
    for language, lines, shown in (one for found in ran.values() for one in found):
        commands = [("bash", "-ec", line) for line in lines.splitlines()]
        commands = commands if language == "sh" else [(sys.executable, "-c", lines)]
        printed = "".join(reader(*command) for command in commands)
        assert not missing(shown, printed), f"{lines}\nprinted\n{printed}"


def test_what_is_shown_is_compared_with_a_tolerance():
    printed = "train 14.3 M parameters: loss 0.372 (0.336 to 0.404)\nand more. The end."
    assert not missing("train 14.9 M parameters: loss 0.39 (0.30 to 0.45)", printed)
    assert not missing("loss 0.372\n…\nThe end.", printed)
    assert not missing(
        "needs 1.3e17 FLOPs: 15 M parameters on 1.3 B samples", "needs 1e17 FLOPs: 15 M parameters on 1 B samples"
    )
    assert missing("needs 1e17 FLOPs on 1 B samples, 1.3 in all", "needs 1e17 FLOPs on 1 B samples, 1 in all")
    assert missing("train 14.3 k parameters", printed)
    assert missing("train 16.3 M parameters", printed)
    assert missing("loss 0.372 (0.2 to 0.404)", printed)
    assert missing("The end. … loss 0.372", printed)
    assert missing("test 14.3 M parameters", printed)


def test_the_notebook_is_committed_without_outputs():
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell["source"] for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_the_api_page_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = {"verify.backtest" if name == "backtest" else name for name in forecast.__all__ if name != "__version__"}
    assert [name for name in sorted(names) if not re.search(rf"forecast\.{name}\b", page)] == []


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("file", [README, TESTED], ids=["README", "tested"])
def test_the_documents_quote_the_bundled_back_tests(file):
    """All methods but the one that the package does not hold, which only a whole run of the benchmark computes."""
    scores = pd.concat([backtest.bundled(name).scores() for name in backtest.TABLES])
    quoted = block("backtest", file)
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
