"""Hold the quantization methods, one module each."""
