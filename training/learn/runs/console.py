"""A console that prints text as text."""

from typing import Any

from rich.console import Console
from rich.text import Text


class PlainConsole(Console):
    """Prints names and paths as they are, whatever brackets they have, and shows what would steer the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with every character that is not printed as an escape, such as \\x1b; lines stay lines."""
        plain = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
        return super().render_str(plain, **options)
