"""Print on a terminal, where text from records stays text: no markup, no escape sequence."""

from __future__ import annotations

import os
import textwrap
from typing import IO, Any

import rich.console
from rich.text import Text

from trt_sweep.errors import printable

BULLET = "· "  # of a note
WIDE = 500  # columns where there is no terminal, so that no line is cut


class Console(rich.console.Console):
    """Prints strings, and the cells of tables that are strings, as they are read.

    What a terminal would not take as text is shown as a mark. A closed pipe is a BrokenPipeError. `line_width` is how
    wide the terminal is, or COLUMNS says; None without either, where nothing is left out or wrapped.
    """

    def __init__(self, file: IO[str] | None = None, **how: Any) -> None:
        super().__init__(file=file, **how)
        given = os.environ.get("COLUMNS", "")
        width = int(given) if given.isdecimal() else self.is_terminal and self.width
        self.line_width: int | None = width or None
        if not self.is_terminal:
            self.width = WIDE

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line of text, wrapped where it is too long."""
        self.print(wrapped(text, self.line_width), style=style, soft_wrap=True)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return a string as Rich's text; its lines stay lines."""
        plain = "\n".join(map(printable, text.expandtabs().split("\n")))
        return super().render_str(plain, **how | {"markup": False, "emoji": False, "highlight": False})

    def on_broken_pipe(self) -> None:
        """Raise the error anew, where Rich would end the process with exit code 1."""
        raise  # noqa: PLE0704 - Rich calls this where it has caught it


def wrapped(text: str, width: int | None) -> str:
    """Return a line of text broken at blanks to fit the width.

    Further lines are indented, a note's so that they stand below its text. A word that is too long stays whole.
    """
    if width is None:
        return text
    hanging = " " * (len(text) - len(text.lstrip()) + (2 if text.startswith(BULLET) else 4))
    return textwrap.fill(text, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
