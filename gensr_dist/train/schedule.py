"""Learning rate over a run: linear warm-up, then half a cosine down to a floor."""

import math

FLOOR = 0.1  # of the peak, reached at the last step


def learning_rate_factor(step: int, *, warmup_steps: int, steps: int) -> float:
    """Factor on the peak learning rate at `step`, counted from 0; `steps` is the length of the run."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, steps - 1 - warmup_steps))
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
