"""TODO."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# How a point is run does not change what it is.
NO_IDENTITY = (
    *("limits", "isolation", "plan", "resume", "retry", "allow_changed"),
    *("reuse", "cache_dir", "build_workers", "profile", "objective", "baselines"),
)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
