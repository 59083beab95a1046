"""The errors that the harness raises on purpose."""

import re

# Memory has run out, as torch, CUDA, TensorRT and the C++ library say it.
NO_MEMORY = re.compile(
    r"out of memory|outofmemory|can't allocate memory|bad_alloc|cannot allocate memory", re.IGNORECASE
)


class SweepError(Exception):
    """A mistake that the user can mend; printed as one line, never with a traceback.

    The message names the field, the value received, what is allowed and how to fix it.
    """


class Unsupported(Exception):
    """The installed libraries or this machine cannot do what the point asks for; its text is the row's reason."""


class Refused(Unsupported):
    """A converter refuses an operator of the model, whatever the batch size."""


def require(ok: bool, name: str, value: object, allowed: str) -> None:
    """Raise SweepError unless `ok`, naming the field, the value as YAML writes it, and what is allowed."""
    if not ok:
        raise SweepError(not_allowed(name, value, allowed))


def not_allowed(name: str, value: object, allowed: str) -> str:
    """The line that says so."""
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{name}={shown} is not allowed: use {allowed}"


def one_line(error: BaseException, limit: int = 500) -> str:
    """The error's text on one line of at most `limit` characters, behind its type unless it is one of ours."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())  # without a terminal's colours
    if not isinstance(error, SweepError | Unsupported):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
