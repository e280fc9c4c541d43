"""Finding one's way in NetHack: what is remembered of each level, whom to avoid, where to go, the next step there."""

from dataclasses import dataclass, field

from training.bot import paths
from training.bot.lore import CAREFUL, DIRECTIONS, FLOATING_EYE, HOPELESS_MOVE, MINES, NEVER_FIGHT, SHOP_GREETING
from training.bot.screen_reader import Monster, Screen

_TRIES = 8  # moves that lead nowhere before a square is given up
_TRIES_AT_DOORS = 40  # a lock may take many kicks
_TO_AND_FRO = 200  # steps towards one square after which it is given up
_PEACE = 30  # turns for which a monster that proved peaceful is left alone


@dataclass
class Level:
    """What is remembered of one dungeon level. Sets of squares are integers, as in `training.bot.paths`."""

    visited: int = 0
    """Squares that were stood on."""
    blocked: int = 0
    """Squares that cannot be walked on, or must not be."""
    doors: int = 0
    """Squares with doors."""
    down: int = 0
    """Stairs down."""
    up: int = 0
    """Stairs up."""
    branch: int = 0
    """Stairs that lead to the Gnomish Mines."""
    food: int = 0
    """Squares with food to be eaten."""
    missiles: int = 0
    """Squares with things to be thrown."""
    looked_at: int = 0
    """Squares whose food or missiles have been seen to."""
    arrived: int = 0
    """Turn of the last arrival."""
    searches: dict[int, int] = field(default_factory=dict)
    """Square -> searches for hidden doors from there."""
    spot: int | None = None
    """Where to search next."""
    failures: dict[int, int] = field(default_factory=dict)
    """Square -> steps to it that led nowhere."""
    tries: dict[int, int] = field(default_factory=dict)
    """Square -> steps on the way to it."""
    peaceful: list[tuple[int, int, int]] = field(default_factory=list)
    """(kind, square, turn) of monsters that the game asked about before attacking them."""
    waits: int = 0
    """How often something in the way has been given time to move."""
    wait_until: int = 0
    """The turn until which it is given time."""


class Explorer:
    """Memory of the levels, and moves on them."""

    def __init__(self) -> None:
        self.levels: dict[tuple[int, int], Level] = {}
        self.level = Level()
        self.place: tuple[int, int] | None = None
        """Dungeon and depth."""
        self.target: int | None = None
        """The square that the last move aimed at."""
        self._heading: int | None = None  # the same, if it was a step and no attack
        self._last_here = 0

    def remember(self, screen: Screen) -> None:
        """Bring the memory of the level up to date with what is seen and with how the last step went."""
        place = (screen.dungeon, screen.depth)
        if place != self.place:
            self.arrive(screen, place)
        level = self.level
        level.visited |= 1 << screen.here
        level.doors = (level.doors | screen.doors) & ~screen.room
        level.down |= screen.stairs_down
        level.up |= screen.stairs_up
        if self._heading is not None and self._last_here == screen.here:
            failures = level.failures[self._heading] = level.failures.get(self._heading, 0) + 1
            most = _TRIES_AT_DOORS if screen.shut >> self._heading & 1 else _TRIES
            if failures > most or HOPELESS_MOVE.search(screen.message):
                level.blocked |= 1 << self._heading
        if "Closed for inventory" in screen.message:  # the keeper kills whoever breaks the door
            level.blocked |= paths.around(1 << screen.here) & screen.shut
        if SHOP_GREETING.search(screen.message):
            self._keep_out_of_shop(screen)
        self._last_here, self._heading = screen.here, None

    def arrive(self, screen: Screen, place: tuple[int, int]) -> None:
        """A new level, or one seen before."""
        if place[0] == MINES and self.place is not None and self.place[0] == 0:
            self.level.branch |= 1 << self._last_here
        self.place, self.level = place, self.levels.setdefault(place, Level())
        self.level.arrived = screen.turn
        self.target = self._heading = None

    def _keep_out_of_shop(self, screen: Screen) -> None:
        """Wares that are picked up must be paid for, so the shop's floor is left alone."""
        inside = screen.walk & ~screen.thresholds & ~self.doors(screen)
        self.level.blocked |= paths.reachable(screen.here, inside, screen.doors) & ~(1 << screen.here)

    # -- monsters ----------------------------------------------------------------------------------------------------

    def hostile(self, screen: Screen) -> list[Monster]:
        """Monsters in view to be fought."""
        return [monster for monster in screen.monsters if not self.shun(screen, monster)]

    def shun(self, screen: Screen, monster: Monster) -> bool:
        """Whether to leave a monster alone, and walk around it."""
        name = monster.name
        return (
            name in NEVER_FIGHT
            or name == FLOATING_EYE
            or screen.hp < CAREFUL.get(name, 0)
            or self.is_peaceful(screen, monster)
        )

    def is_peaceful(self, screen: Screen, monster: Monster) -> bool:
        """Whether it may be one that proved peaceful a short while ago."""
        return any(
            kind == monster.kind
            and screen.turn - turn < _PEACE
            and distance(at, monster.at) <= 2 + 2 * (screen.turn - turn)
            for kind, at, turn in self.level.peaceful[-8:]
        )

    # -- where to go -------------------------------------------------------------------------------------------------

    def doors(self, screen: Screen) -> int:
        """Squares without diagonal steps: doors in view, and remembered ones in which something stands or lies."""
        return screen.doors | self.level.doors

    def ground(self, screen: Screen) -> int:
        """Squares to walk on: no known traps, nobody who is to be left alone."""
        ground = (screen.walk | screen.shut) & ~self.level.blocked
        for monster in screen.monsters:
            if self.shun(screen, monster):
                ground &= ~(1 << monster.at)
        return ground

    def frontier(self, screen: Screen) -> int:
        """Squares never stood on, from which more of the level may be seen."""
        return (screen.walk | screen.shut) & ~self.level.blocked & screen.near_unseen & ~self.level.visited

    def best_search(self, screen: Screen) -> int:
        """The square where searching for hidden doors promises most for the walk it costs."""
        secrets = screen.walls & screen.near_unseen
        best, most = screen.here, 0.0
        for far, wave in enumerate(paths.flood(screen.here, self.ground(screen), self.doors(screen))):
            for at in paths.squares(wave):
                beside = paths.around(1 << at)
                promise = (beside & secrets).bit_count() + (beside & screen.unseen).bit_count()
                if (beside & (screen.walk | screen.shut)).bit_count() <= 2:
                    promise += 8  # a dead end
                worth = promise * 0.4 ** self.level.searches.get(at, 0) / (10 + far)
                if worth > most:
                    best, most = at, worth
        return best

    # -- moves -------------------------------------------------------------------------------------------------------

    def walk(self, screen: Screen, goals: int, *, also: int = 0, limit: int = 10_000) -> str:
        """The key of the first step to the nearest goal, "" if there is no way or only one of over `limit` steps.

        `also` are squares to be walked on beside the good ground.
        """
        if not goals:
            return ""
        ground = self.ground(screen) | also & ~self.level.blocked
        goals &= (ground | screen.holes) & ~(1 << screen.here)
        way = paths.path(screen.here, goals, ground, self.doors(screen))
        if not way or len(way) > limit:
            return ""
        goal = way[-1]
        tries = self.level.tries[goal] = self.level.tries.get(goal, 0) + 1
        if tries > _TO_AND_FRO and not (self.level.down | self.level.up) >> goal & 1:
            self.level.blocked |= 1 << goal
        if all(monster.at != way[0] for monster in screen.monsters):
            self._heading = way[0]
        return self.step(screen, way[0])

    def climb(self, screen: Screen) -> str:
        """Up the stairs, or towards them."""
        return "<" if self.level.up >> screen.here & 1 else self.walk(screen, self.level.up)

    def step(self, screen: Screen, there: int) -> str:
        """The key of the move, or the attack, on a neighbouring square."""
        self.target = there
        return DIRECTIONS[there - screen.here]


def distance(one: int, other: int) -> int:
    """Moves between two squares on open ground."""
    (row, column), (other_row, other_column) = paths.row_column(one), paths.row_column(other)
    return max(abs(row - other_row), abs(column - other_column))
