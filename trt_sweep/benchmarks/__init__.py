"""Measure trt_sweep itself beside what a user would run instead: `trt-sweep bench NAME`.

Each benchmark takes a folder, and leaves its tables there as JSON and CSV.
"""
