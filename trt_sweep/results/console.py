"""Print on a terminal, where text from records stays text: no markup, no escape sequence."""

from __future__ import annotations

from typing import IO, Any

import rich.console
from rich.text import Text

from trt_sweep.errors import printable

WIDE = 500  # columns where there is no terminal, so that no line is cut


class Console(rich.console.Console):
    """Prints strings, and the cells of tables that are strings, as they are read.

    What a terminal would not take as text is shown as a mark. A closed pipe is a BrokenPipeError.
    """

    def __init__(self, file: IO[str] | None = None, **how: Any) -> None:
        super().__init__(file=file, **how)
        if not self.is_terminal:
            self.width = WIDE

    def render_str(self, text: str, **how: Any) -> Text:
        """Return a string as Rich's text; its lines stay lines."""
        plain = "\n".join(map(printable, text.expandtabs().split("\n")))
        return super().render_str(plain, **how | {"markup": False, "emoji": False, "highlight": False})

    def on_broken_pipe(self) -> None:
        """Raise the error anew, where Rich would end the process with exit code 1."""
        raise  # noqa: PLE0704 - Rich calls this where it has caught it
