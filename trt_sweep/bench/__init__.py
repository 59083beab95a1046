"""The instrument measured beside what a user would run instead: `python -m trt_sweep.bench NAME`."""
