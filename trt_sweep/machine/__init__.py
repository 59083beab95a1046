"""Describe the machine: its devices, the versions installed on it, and the locks that its users share.

Takes a device or a path; gives plain values, context managers and locks. Knows nothing of sweeps or models.
"""
