"""Call TensorRT's own Python API."""
