"""`python -m trt_sweep`, which does the same as `trt-sweep`."""

from __future__ import annotations

import sys

from trt_sweep.app.main import main

if __name__ == "__main__":
    sys.exit(main())
