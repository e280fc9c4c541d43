"""Tables of the documents between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`, written by what computes them."""

from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
TESTED = README.parent / "docs" / "how-it-was-tested.md"


def _split(text: str, name: str) -> tuple[str, str, str]:
    """What is before a block, in it and after it. Raises ValueError where its two marks do not stand once each."""
    begin, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{begin.strip()} and {end} do not stand once each, in this order.")
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


def block(name: str, file: Path = TESTED) -> str:
    """The lines between the marks of a name. Raises ValueError if they are not there."""
    return _split(file.read_text(encoding="utf-8"), name)[1].strip("\n")


def replace_block(name: str, lines: str, file: Path = TESTED) -> None:
    """Put other lines between the marks of a name and leave the rest. Raises ValueError as `block` does."""
    before, _, after = _split(file.read_text(encoding="utf-8"), name)
    file.write_text(f"{before}\n{lines.strip()}\n\n{after}", encoding="utf-8")
