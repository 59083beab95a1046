"""TODO."""

from __future__ import annotations

# Compilation arguments that belong to trt_sweep, and what to set instead; null for a setting of the same name.
# Those that are axes by their own names are `installed.AXES`.
OURS = {
    **dict.fromkeys(("module", "exported_program", "input", "inputs", "arg_inputs", "kwarg_inputs"), "model.inputs"),
    **dict.fromkeys(("min_block_size", "min_acc_module_size"), "min_block_size"),
    **dict.fromkeys(("disable_tf32", "enabled_precisions", "lower_precision"), "precision"),
    **dict.fromkeys(("device", "dryrun")),
    "use_python_runtime": "runtime",
    "runtime_cache_path": "runtime_cache",
    "dynamic_batch": "batch_size=[1,8,32]",
}


# Arguments whose value trt_sweep decides, and why.
FIXED = {
    **dict.fromkeys(
        ("cache_built_engines", "reuse_cached_engines", "engine_cache_dir", "engine_cache_size", "custom_engine_cache"),
        "an engine cache answers with engines of other settings, since its key leaves some out: use cache_dir",
    ),
    **dict.fromkeys(
        ("timing_cache_path", "timing_cache_prefix", "save_timing_cache"),
        "each point has a timing cache of its own, or the points' order would show in their build times: use cache",
    ),
    "pass_through_build_failures": "a graph whose build fails would run in PyTorch, and the row would not say so",
    "explicit_batch_dimension": "TensorRT has no other",
}
