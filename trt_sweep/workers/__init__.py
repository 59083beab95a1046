"""Processes that points run in, and that may be lost without the sweep.

`host` starts one, `client` asks it, `serve` and `worker` are what runs inside.
"""
