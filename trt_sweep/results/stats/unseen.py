"""Allow for what the rounds of one run cannot show, as relative standard deviations found on an H200."""

from __future__ import annotations

import math

# Where weights and buffers
# come to lie in memory moves the GPU's time of one and the same engine, for as long as they lie there: between builds
# 0.2 to 0.5 %. `measure.rebuilds` replaces it by the spread of the point's own builds.
PLACEMENT = 0.004


# Loads of one engine differ by this much more than captures of one load show. It is the floor of a capture's scatter.
LOADS = 0.0015


# A call that the host bounds is as fast as the host just now, which changes by the minute: windows that follow one
# another are alike, and lie 15 to 30 % apart over ten minutes.
HOST_DRIFT = 0.1


# Sweeps of different hours lie further apart: one resnet18 engine took 0.29 to 0.69 ms, launch-bound as it is.
NIGHT_DRIFT = 0.3


# Where cuDNN chooses its algorithms by timing them it does so once in each process, and not always the same: over eight
# sweeps of towers of one convolution eager's work had a standard deviation of 4.5 %, but on levels up to 28 % apart.
# That is no bell's shape, so the allowance is for the levels: 1.96 times this and the root of two make 28 %.
CUDNN_CHOICE = 0.09


ONE_CAPTURE = 0.02  # what captures may differ by where there was room for one only: the most that was seen


def unseen_gpu(between_captures: float | None, captures: int | None) -> float:
    """Return how far a run's middle capture may lie from the middle of all, as a relative standard deviation.

    The median of n has 1.25 / sqrt(n) of the standard deviation of one. `between_captures` is null where no graph was
    captured, which needs no allowance, or only one.
    """
    if not captures:
        return 0.0
    return (between_captures if between_captures is not None else ONE_CAPTURE) * 1.25 / math.sqrt(captures)


def host_drift(launch_bound: bool | None, on_gpu: bool) -> float:
    """Return how far the host may move a latency, as a relative standard deviation; 0 where the host does not bound it.

    Where `launch_bound` is not known, the host may bound a call that ran on a GPU.
    """
    return HOST_DRIFT if launch_bound or (launch_bound is None and on_gpu) else 0.0


def choice(cudnn_benchmark: bool) -> float:
    """Return how far cuDNN's choice of algorithms may move a process's times: relative, as a standard deviation.

    A model with several kinds of convolutions moves less, since each is chosen for on its own. It is allowed as much.
    """
    return CUDNN_CHOICE if cudnn_benchmark else 0.0
