"""Make the model of a point: a PyTorch module and its inputs, traced, compiled or quantized where asked.

Takes a configuration; gives a `Model`, which backends compile. Knows no backend.
"""
