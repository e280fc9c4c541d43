"""What a run will take, in words: said before it begins, and again as more of it is known."""

from training.config.base import TrainingConfig
from training.config.reinforcement import ReinforcementConfig
from training.durations import duration


def outlook(config: TrainingConfig, update: int = 0) -> str:
    """What comes after `update` updates: updates, samples, and what is measured, games with their number and limit."""
    playing = isinstance(config, ReinforcementConfig)
    shape = (config.envs, config.rollout) if playing else (config.batch_size, config.unroll_length)
    left, count = config.updates - update, measurements_left(config, update)
    measured = [] if playing else ["the held-out loss"]
    if config.episodes:
        total = f", {count * config.episodes:,} in all" if count > 1 else ""
        measured.append(f"{config.episodes:,} games of {length(config.episode_steps)}{total}")
    at = "the end" if count == 1 else f"{count} checkpoints"
    return (
        f"To come: {left:,} updates of {shape[0]} × {shape[1]} frames ({left * config.samples_per_update:,} samples), "
        f"and at {at} {' and '.join(measured)}{'' if config.episodes else '; no games are played'}."
    )


def length(limit: int) -> str:
    """Of a game that is cut off after so many actions, 0 being none that we set."""
    return f"at most {limit:,} actions" if limit else "any length"


def at_most(seconds: float | None) -> str:
    """What follows how far something has come: how long the rest takes at most, nothing if that is not known."""
    return "" if seconds is None else f", at most {duration(seconds)} left"


def measurements_left(config: TrainingConfig, update: int) -> int:
    """Checkpoints to be measured after this update; several budgets may end with one update."""
    return len({config.updates_within(budget) for budget in config.budgets if config.updates_within(budget) > update})


def seconds_left(config: TrainingConfig, update: int, of_an_update: float, of_measuring: float | None) -> float:
    """Of training, and of measuring as far as it is known how long that takes."""
    measuring = 0.0 if of_measuring is None else measurements_left(config, update) * of_measuring
    return (config.updates - update) * of_an_update + measuring


def remaining(config: TrainingConfig, update: int, seconds: float, of_measuring: float | None) -> str:
    """How long the rest takes, and what that leaves out."""
    left = measurements_left(config, update)
    beside = "" if of_measuring is not None or not left else ", and measuring"
    return f"about {duration(seconds)} left{beside}"
