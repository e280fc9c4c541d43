"""Step sizes over a run."""

import math

from training.config.base import TrainingConfig


def learning_rate(config: TrainingConfig, update: int) -> float:
    """Step size of the update with this number, from 0.

    A linear rise over the first `warmup` share; then constant, or a cosine to a tenth of the peak, or (wsd, Hu et al.,
    2024, arXiv 2404.06395) constant with a linear fall towards zero over the last `decay` share.
    """
    total, peak = config.updates, config.learning_rate
    rising = round(config.warmup * total)
    if update < rising:
        return peak * (update + 1) / (rising + 1)
    if config.schedule == "cosine":
        done = (update - rising) / max(1, total - rising)
        return peak * (0.55 + 0.45 * math.cos(math.pi * done))
    falling = round(config.decay * total)
    if config.schedule == "wsd" and update >= total - falling:
        return peak * (total - update) / (falling + 1)
    return peak
