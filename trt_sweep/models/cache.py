"""Cache what several points of one process use, so that it is made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class ProcessCache:
    """Keep objects by a key that names all that they depend on, until `clear`.

    Where making one fails, nothing is kept.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gave at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def get(self, key: Hashable) -> Any:
        """Return what is kept under this key, or None."""
        return self._made.get(key)

    def put(self, key: Hashable, made: Any) -> None:
        """Keep an object under a key."""
        self._made[key] = made

    def clear(self) -> None:
        """Drop everything."""
        self._made.clear()
