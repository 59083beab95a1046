"""How trt_sweep is started: the verbs, Hydra's launcher and sweepers, the notebook, and lines for errors."""
