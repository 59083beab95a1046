"""All points of a sweep, to their end.

`sweep` plans and concludes, `rounds` builds and times, `process` keeps the worker, `records` writes.
"""
