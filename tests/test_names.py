"""Names of tests can be read at a glance."""

import re
from pathlib import Path

LONGEST = 60


def test_names_of_tests_have_at_most_sixty_letters():
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    names = [name for file in files for name in re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE)]
    assert len(names) > 500
    assert [name for name in names if len(name) > LONGEST] == []
