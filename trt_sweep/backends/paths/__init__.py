"""Hold the backends, one module each."""
