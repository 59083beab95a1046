"""Say what may be set, and refuse the rest.

`point` is one point, `options` how a sweep is run, `sweep` both together, as Hydra's schema has them.
"""
