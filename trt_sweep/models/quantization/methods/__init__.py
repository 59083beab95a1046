"""Hold one quantization method in each module; see `trt_sweep.models.quantization` for what a method offers."""
