"""Docstrings of this project as reStructuredText.

They are written to be read in a terminal: `name: what it is` for an argument, `code` in single backticks, indented
lines for an example, N* for an optimum.
"""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def _escaped(line: str) -> str:
    """The line with what would be markup outside of code made plain; code in single backticks in double ones."""
    parts = _CODE.split(line)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = part if part.startswith("``") else f"`{part}`"
        else:
            parts[i] = re.sub(r"([*|\\])", r"\\\1", re.sub(r"_\b", r"\\_", part))
    return "".join(parts)


def _arguments(described: Any) -> set[str]:
    try:
        return set(inspect.signature(described).parameters)
    except (TypeError, ValueError):
        return set()


def as_rst(lines: list[str], arguments: set[str]) -> list[str]:
    """The lines of a docstring as reStructuredText; arguments: names that begin a description of their own."""
    made: list[str] = []
    in_code, in_item = False, False
    for line in lines:
        indented = line.startswith("    ")
        names, colon, rest = line.partition(": ")
        described = bool(colon) and {n.strip() for n in names.split(",")} <= arguments
        if indented and not in_item and (in_code or not made or not made[-1].strip()):
            if not in_code:
                made += [".. code-block:: text", ""]
            in_code = True
            made.append(line)
            continue
        if line.strip():
            in_code = False
        if described:
            named = ", ".join(f"``{n.strip()}``" for n in names.split(","))
            made += ["", f"- {named}: {_escaped(rest)}"]
            in_item = True
        elif line.startswith("- "):
            made += ["", f"- {_escaped(line[2:])}"]
            in_item = True
        elif not line.strip():
            made.append("")
            in_item = False
        else:
            made.append(f"  {_escaped(line.strip())}" if in_item else _escaped(line.strip()))
    return made


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines, _arguments(obj) if what in ("function", "method") else set())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
