"""What the points of one process have in common, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class ProcessCache:
    """Things by what they depend on; kept until `clear`. What fails to be made is not kept."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def get(self, key: Hashable) -> Any:
        """What is there under this key, None without."""
        return self._made.get(key)

    def put(self, key: Hashable, made: Any) -> None:
        """Keep something under a key."""
        self._made[key] = made

    def clear(self) -> None:
        """Let go of everything."""
        self._made.clear()
