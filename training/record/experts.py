"""Players that come with the package: policies that `training rl` made, one folder a game below `experts`.

Each folder is an exported checkpoint with the `run.toml` that made it, and in `card.json` its frames, seed, mean return
and the command that trains such a player; `training evaluate` plays it.
"""

from pathlib import Path

from training.errors import ConfigError
from training.games.atari import AtariTask

_FOLDER = Path(__file__).parent / "shipped"


def expert(task: AtariTask) -> Path:
    """The checkpoint that plays this game. Raises ConfigError where none comes with the package."""
    path = _FOLDER / task.game
    if not path.is_dir():
        known = ", ".join(sorted(p.name for p in _FOLDER.iterdir()))
        raise ConfigError(
            f"no player of {task.game} comes with this package, only of {known}; give --player CHECKPOINT, made by "
            "`training rl`, or random."
        )
    return path
