"""`python -m trt_sweep`: Hydra's entry point, and the one place where errors become a line.

Little is imported before another process has begun to import what points need, which takes longest.
"""

from __future__ import annotations

from trt_sweep.app.main import main

if __name__ == "__main__":
    main()
