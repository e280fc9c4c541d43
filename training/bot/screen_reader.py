"""What a player sees: one NLE observation read into positions, monsters, sets of squares, words and questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.bot.lore import NAMES, nethack
from training.bot.paths import COLUMNS, ROWS, around, bits, square

OBSERVATION_KEYS = (
    "glyphs",
    "blstats",
    "message",
    "misc",
    "tty_chars",
    "tty_colors",
    "tty_cursor",
    "inv_letters",
    "inv_oclasses",
    "inv_strs",
)
"""What the reader needs of an environment, plus the colours that recordings hold."""

# Squares of the map by their drawing symbol (defsym.h of NetHack 3.6).
_DOORWAY, _OPEN_DOORS, _CLOSED_DOORS = 12, (13, 14), (15, 16)
_FLOOR = (19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 33, 35, 36)
_STAIRS_UP, _STAIRS_DOWN = (23, 25), (24, 26)
_WALLS = tuple(range(1, 12))
_FIRST_TRAP, _HOLES, _LAST_TRAP = 42, (54, 55), 64
_BOULDER = 447

_WALK, _DOOR, _SHUT, _TRAP, _HOLE, _UP, _DOWN, _WALL, _UNSEEN, _ROCK, _ROOM, _THRESHOLD = (1 << i for i in range(12))


def _kinds() -> np.ndarray:
    """What each glyph is, as flags [MAX_GLYPH + 1]."""
    kinds = np.zeros(nethack.MAX_GLYPH + 1, np.int32)
    # Monsters, objects, corpses and statues lie on ground that can be walked on.
    kinds[: nethack.GLYPH_CMAP_OFF] = _WALK
    kinds[nethack.GLYPH_STATUE_OFF :] = _WALK
    kinds[nethack.GLYPH_OBJ_OFF + _BOULDER] = _ROCK
    cmap = nethack.GLYPH_CMAP_OFF
    kinds[cmap] = _UNSEEN
    for symbols, flags in (
        ((_DOORWAY,), _WALK),
        (_OPEN_DOORS, _WALK | _DOOR),
        (_CLOSED_DOORS, _SHUT | _DOOR),
        (_FLOOR, _WALK),
        (_STAIRS_UP, _UP),
        (_STAIRS_DOWN, _DOWN),
        (_WALLS, _WALL),
        (range(_FIRST_TRAP, _LAST_TRAP + 1), _TRAP),
        (_HOLES, _HOLE),
        ((19, 20), _ROOM),
        ((_DOORWAY, *_OPEN_DOORS, *_CLOSED_DOORS, 21, 22), _THRESHOLD),
    ):
        kinds[[cmap + symbol for symbol in symbols]] |= flags
    return kinds


_KINDS = _kinds()


@dataclass(frozen=True, kw_only=True)
class Monster:
    """One monster in view that is no pet."""

    kind: int
    """Its row in NetHack's table of monsters, if it is seen."""
    at: int
    """Its square."""

    @property
    def seen(self) -> bool:
        """Whether it is seen, not only remembered to be there."""
        return self.kind < nethack.NUMMONS

    @property
    def name(self) -> str:
        """Its name in NetHack's own table, or unseen."""
        return NAMES[self.kind] if self.seen else "unseen"


class Screen:
    """One observation. Sets of squares are integers as in `training.bot.paths`."""

    def __init__(self, observation: Mapping[str, np.ndarray]) -> None:
        self.observation = observation
        self.glyphs = observation["glyphs"]
        stats = observation["blstats"].tolist()
        column, row = stats[nethack.NLE_BL_X], stats[nethack.NLE_BL_Y]
        self.here = square(row, column)
        self.hp, self.max_hp = stats[nethack.NLE_BL_HP], max(1, stats[nethack.NLE_BL_HPMAX])
        self.level, self.turn, self.hunger = (
            stats[nethack.NLE_BL_XP],
            stats[nethack.NLE_BL_TIME],
            stats[nethack.NLE_BL_HUNGER],
        )
        self.condition, self.burden = stats[nethack.NLE_BL_CONDITION], stats[nethack.NLE_BL_CAP]
        self.dungeon, self.depth = stats[nethack.NLE_BL_DNUM], stats[nethack.NLE_BL_DEPTH]
        question, line, more = observation["misc"].tolist()
        self.asks_key, self.asks_line, self.waits = bool(question), bool(line), bool(more)
        self.own_glyph = int(self.glyphs[row, column])

    @property
    def in_prompt(self) -> bool:
        """Whether the game waits for an answer rather than for a move."""
        return self.asks_key or self.asks_line or self.waits

    @cached_property
    def message(self) -> str:
        """The top line."""
        return self.observation["message"].tobytes().split(b"\0", 1)[0].decode("latin-1")

    @cached_property
    def words(self) -> str:
        """The first three lines of the terminal, where long messages and questions stand."""
        return self.observation["tty_chars"][:3].tobytes().decode("latin-1")

    @cached_property
    def kinds(self) -> np.ndarray:
        """What each square shows, as flags [21, 79]."""
        return _KINDS[self.glyphs]

    def _set(self, flags: int) -> int:
        return bits((self.kinds & flags) != 0)

    @cached_property
    def walk(self) -> int:
        """Squares seen that can be walked on without harm; stairs included, shut doors and boulders not."""
        return self._set(_WALK)

    @cached_property
    def doors(self) -> int:
        """Doors, open or shut."""
        return self._set(_DOOR)

    @cached_property
    def shut(self) -> int:
        """Shut doors."""
        return self._set(_SHUT)

    @cached_property
    def traps(self) -> int:
        """Known traps."""
        return self._set(_TRAP)

    @cached_property
    def holes(self) -> int:
        """Known holes and trap doors."""
        return self._set(_HOLE)

    @cached_property
    def stairs_up(self) -> int:
        """Stairs and ladders up."""
        return self._set(_UP)

    @cached_property
    def stairs_down(self) -> int:
        """Stairs and ladders down."""
        return self._set(_DOWN)

    @cached_property
    def walls(self) -> int:
        """Walls."""
        return self._set(_WALL)

    @cached_property
    def unseen(self) -> int:
        """Squares of which nothing is known."""
        return self._set(_UNSEEN)

    @cached_property
    def boulders(self) -> int:
        """Boulders."""
        return self._set(_ROCK)

    @cached_property
    def room(self) -> int:
        """Bare floor of rooms."""
        return self._set(_ROOM)

    @cached_property
    def thresholds(self) -> int:
        """Doors, doorways and corridors: what a room ends at."""
        return self._set(_THRESHOLD)

    @cached_property
    def near_unseen(self) -> int:
        """Squares with an unseen square beside them."""
        return around(self.unseen)

    @cached_property
    def monsters(self) -> list[Monster]:
        """Monsters in view other than pets and oneself, in map order."""
        rows, columns = np.nonzero((self.glyphs < nethack.GLYPH_PET_OFF) | (self.glyphs == nethack.GLYPH_INVISIBLE))
        monsters = (
            Monster(kind=int(self.glyphs[row, column]), at=square(int(row), int(column)))
            for row, column in zip(rows, columns, strict=True)
        )
        return [monster for monster in monsters if monster.at != self.here]

    @cached_property
    def swallowed(self) -> bool:
        """Whether a monster holds the player inside."""
        return bool(((self.glyphs >= nethack.GLYPH_SWALLOW_OFF) & (self.glyphs < nethack.GLYPH_WARNING_OFF)).any())

    def glyph(self, at: int) -> int:
        """The glyph of a square."""
        return int(self.glyphs[at // 80, at % 80])

    @property
    def belongings(self) -> str:
        """The descriptions of everything that is carried."""
        return self.observation["inv_strs"].tobytes().decode("latin-1")

    def inventory(self, item_class: int | None = None) -> list[tuple[str, str]]:
        """(letter, description) of the items of a class, or of all, that are carried."""
        classes, letters = self.observation["inv_oclasses"], self.observation["inv_letters"]
        return [
            (chr(letters[i]), self.observation["inv_strs"][i].tobytes().split(b"\0", 1)[0].decode("latin-1"))
            for i in np.flatnonzero(letters if item_class is None else classes == item_class)
            if letters[i]
        ]


assert nethack.DUNGEON_SHAPE == (ROWS, COLUMNS)
