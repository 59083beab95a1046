"""Define the errors that the harness raises on purpose, and turn any error into one line of text."""

import re

# The words in which torch, CUDA, TensorRT and the C++ library say that memory has run out.
NO_MEMORY = re.compile(
    r"out of memory|outofmemory|can't allocate memory|bad_alloc|cannot allocate memory", re.IGNORECASE
)


class SweepError(Exception):
    """Report a mistake that the user can mend; printed as one line, never with a traceback.

    The message names the field, the value received, what is allowed and how to fix it.
    """


class Unsupported(Exception):
    """Report that the installed libraries or this machine cannot do what a point asks for.

    The text becomes the reason in the point's row.
    """


class Refused(Unsupported):
    """Report that a converter refuses an operator of the model, whatever the batch size."""


def require(ok: bool, name: str, value: object, allowed: str) -> None:
    """Raise SweepError unless `ok`; its text is that of `not_allowed`."""
    if not ok:
        raise SweepError(not_allowed(name, value, allowed))


def not_allowed(name: str, value: object, allowed: str) -> str:
    """Return the line that names the field, the value as YAML writes it, and what is allowed."""
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{name}={shown} is not allowed: use {allowed}"


def printable(text: str) -> str:
    """Return the text with a mark for each character that a terminal or XML would not take as text."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "�" for each in text)


def one_line(error: BaseException, limit: int = 500) -> str:
    """Return an error as one line of at most `limit` characters.

    The error's type comes first, unless it is a SweepError or Unsupported.
    """
    text = printable(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()))  # without a terminal's colours
    if not isinstance(error, SweepError | Unsupported):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
