"""From which size on a difference between two times matters."""

MIN_EFFECT = 0.02  # of a time, unless another share is asked for
