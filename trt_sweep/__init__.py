"""Sweep Torch-TensorRT settings and find out what each of them buys."""

__version__ = "0.1.0"
