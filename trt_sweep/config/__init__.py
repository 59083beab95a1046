"""What may be set, and what is refused.

`point` is one point, `options` how a sweep is run, `sweep` both together, as Hydra's schema has them.
"""
