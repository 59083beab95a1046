"""One point of a sweep, from its configuration to its record.

`plan` says which points there are, `run` walks one of them, `row` makes its record.
"""
