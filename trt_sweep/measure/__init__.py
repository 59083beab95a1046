"""Measure a callable: its time, its accuracy, its memory, and the state of the GPU meanwhile.

Takes a function without arguments; gives samples, and the columns of a record made of them. Knows no backend.
"""
