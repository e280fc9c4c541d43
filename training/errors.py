"""What may go wrong with a run, by who can mend it. Anything else is a bug and keeps its traceback."""


class TrainingError(Exception):
    """What the user is told: one sentence that says what, where, and what to do."""


class ConfigError(TrainingError):
    """What was asked for cannot be run."""


class DataError(TrainingError):
    """A file is missing, damaged, or not what it should be: shards, games, a checkpoint, a run table."""


class MachineError(TrainingError):
    """The machine refused: a full disk, a worker that died, no memory. The same command may pass later."""


class DivergedError(TrainingError):
    """The loss or its gradient is not finite; the same run would diverge again."""


def is_bug(error: Exception) -> bool:
    """Whether the code is to blame: the error is neither one of ours nor one of the system, which numbers its own."""
    of_system = isinstance(error, OSError) and error.errno is not None
    return not of_system and not isinstance(error, TrainingError)
