"""A scripted NetHack player, so that demonstrations can be made without downloading any.

It explores level by level, fights what comes near with its bare skills, eats, prays, hides behind Elbereth when hurt, and
goes deeper as it grows stronger. `Bot.BEHAVIOURS` is the whole player: the first behaviour with something to do acts.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from nle import nethack

from training.nethack import paths
from training.nethack.screen_reader import Monster, Screen

ACTION_COUNT = len(nethack.ACTIONS)
ACTION: dict[int, int] = {}
"""The first action index of every key that NetHackChallenge can send."""
for _index, _key in enumerate(nethack.ACTIONS):
    ACTION.setdefault(int(_key), _index)
FIRST_INDEX = [ACTION[int(key)] for key in nethack.ACTIONS]
"""The first action index with the same key, for every action index: what a recording can tell of an action."""

ESC, ENTER, KICK = "\x1b", "\r", chr(nethack.Command.KICK)
PRAY, ENHANCE = chr(nethack.Command.PRAY), chr(nethack.Command.ENHANCE)
DIRECTIONS = dict(zip(paths.EIGHT, "kljhunby", strict=True))
WAIT = "20s"
SATIATED, NORMAL, HUNGRY, WEAK = range(4)

# Hit points at which a monster may be touched: it hurts whoever hits it, and hardly moves.
_CAREFUL = {"yellow mold": 25, "red mold": 25, "brown mold": 45, "green mold": 45, "spotted jelly": 45}
_CAREFUL |= {"ochre jelly": 45, "blue jelly": 60, "gelatinous cube": 60, "acid blob": 10}
_NEVER = {"cockatrice", "chickatrice", "shopkeeper", "guard", "Oracle", "aligned priest", "watchman", "watch captain"}
_NEVER |= {"gas spore"}
_SHOP_GREETING = re.compile(r"[Ww]elcome (again )?to .*'s? |leave your pick")
_IGNORES_ELBERETH = {"minotaur", "shopkeeper", "guard", "unseen"}
_POISONOUS = 0x10000000
_BAD_TO_EAT = {"green slime", "bat", "giant bat", "vampire bat", "little dog", "dog", "kitten", "large dog", "housecat"}
_BAD_TO_EAT |= {
    "large cat",
    "leprechaun",
    "stalker",
    "chameleon",
    "doppelganger",
    "cockatrice",
    "chickatrice",
    "Medusa",
}
_BAD_TO_EAT |= {"gremlin", "small mimic", "large mimic", "giant mimic"}
REQUIRED = (0, 0, 1, 2, 4, 6, 8, 8, 9, 10, 10, 11, 11, 12)
PATIENCE = 1000
PRAY_DYING = 500
REST = 0.8
HIDE = 0.45
_FRESH_FOR = 30
"""Turns after a kill in which its corpse is eaten; from 50 on it may kill."""


def _object_glyphs(wanted: int, *, without: tuple[str, ...] = (), only: tuple[str, ...] = ("",)) -> np.ndarray:
    """Glyphs [n] of the objects of a class whose names end in one of `only`."""
    kinds = ((i, nethack.objclass(i)) for i in range(nethack.NUM_OBJECTS))
    return np.array(
        [
            nethack.GLYPH_OBJ_OFF + i
            for i, kind in kinds
            if ord(kind.oc_class) == wanted
            and nethack.OBJ_NAME(kind) not in without
            and nethack.OBJ_NAME(kind).endswith(only)
        ]
    )


_GOLD = int(_object_glyphs(nethack.COIN_CLASS)[0])
_MISSILE = np.zeros(nethack.MAX_GLYPH + 1, bool)
_MISSILE[_object_glyphs(nethack.WEAPON_CLASS, only=("dart", "dagger", "knife", "shuriken", "arrow", "bolt"))] = True
_FOOD = np.zeros(nethack.MAX_GLYPH + 1, bool)
_FOOD[_object_glyphs(nethack.FOOD_CLASS, without=("corpse", "egg", "tin", "kelp frond"))] = True


def _symbol(kind: int) -> str:
    return nethack.class_sym.from_mlet(nethack.permonst(kind).mlet).sym


def _edible(kind: int) -> bool:
    monster = nethack.permonst(kind)
    if monster.mflags1 & _POISONOUS or monster.mname in _BAD_TO_EAT or monster.mname.startswith("were"):
        return False
    return _symbol(kind) not in "ZMVL@&'F;"


NAMES = [nethack.permonst(kind).mname for kind in range(nethack.NUMMONS)]
EDIBLE = [_edible(kind) for kind in range(nethack.NUMMONS)]
HUMAN = [_symbol(kind) == "@" for kind in range(nethack.NUMMONS)]


@dataclass
class Level:
    """What the bot remembers of one dungeon level."""

    visited: int = 0
    blocked: int = 0
    doors: int = 0
    down: int = 0
    up: int = 0
    branch: int = 0
    eaten: int = 0
    food: int = 0
    missiles: int = 0
    taken: int = 0
    patience: int = 0
    patient_until: int = 0
    arrived: int = 0
    searched: dict[int, int] = field(default_factory=dict)
    spot: int | None = None
    failures: dict[int, int] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    peaceful: list[tuple[int, int, int]] = field(default_factory=list)


class Bot:
    """The scripted expert; one object plays game after game. Deterministic: same observations, same keys."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new game begins."""
        self.levels: dict[tuple[int, int], Level] = {}
        self.place = Level()
        self.key: tuple[int, int] | None = None
        self.queue: list[str] = []
        self.answers: dict[str, str] = {}
        self.line: list[str] = []
        self.asked = 0
        self.target: int | None = None
        self.heading: int | None = None
        self.last_turn, self.idle = -1, 0
        self.prayed = -700  # the first prayer is safe from turn 300 on
        self.fought: Monster | None = None
        self.menu: list[str] = []
        self.may_enhance = False
        self.kill: tuple[int, int, int] | None = None
        self.refuge: tuple[tuple[int, int], int] | None = None
        self.refuge_hp, self.engraved, self.engrave_after = 0, 0, 0
        self.last_here = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """The action (index into nle.nethack.ACTIONS) for an observation with `screen_reader.OBSERVATION_KEYS`."""
        screen = Screen(observation)
        self.idle = self.idle + 1 if screen.turn == self.last_turn else 0
        self.last_turn = screen.turn
        if screen.in_prompt:
            self.asked += 1
            key = self._answer(screen)
        elif (
            self.idle > 20 and self.idle % 6 < 2
        ):  # some prompts do not look like one; the first escape may only empty it
            self.queue = []
            key = ESC
        else:
            self.asked = 0
            key = self.queue.pop(0) if self.queue else self._decide(screen)
        return ACTION[ord(key)]

    # -- questions ---------------------------------------------------------------------------------------------------

    def _answer(self, screen: Screen) -> str:
        """The key that answers the game's question, or leaves it."""
        if self.asked > 12:  # nothing below has worked: go through what ends any prompt
            self.line, self.queue = [], []
            return (ESC, ENTER, " ", "n", "q", "y")[self.asked % 6]
        if screen.waits:
            if self.menu and "--More--" not in screen.words:
                return self.menu.pop(0)
            return ENTER if self.asked % 4 else ESC
        if screen.asks_line:
            return self.line.pop(0) if self.line else ESC
        words = screen.words
        if "Really attack" in words and self.target is not None:
            self.place.peaceful.append((screen.glyph(self.target), self.target, screen.turn))
            return ESC
        for question, answer in self.answers.items():
            if question in words:
                return answer
        self.queue = []
        return ESC

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _decide(self, screen: Screen) -> str:
        self._remember(screen)
        if self.idle > 40:  # whatever was tried cannot be done
            return "s"
        self.answers, self.line, self.menu, self.target, self.heading = {}, [], [], None, None
        for behaviour in self.BEHAVIOURS:
            keys = behaviour(self, screen)
            if keys:
                self.queue = list(keys[1:])
                return keys[0]
        return "s"

    def _remember(self, screen: Screen) -> None:
        """Bring the memory of the level up to date with what is seen and with how the last move went."""
        key = (screen.dungeon, screen.depth)
        if key != self.key:
            self._enter(screen, key)
        level, message = self.place, screen.message
        level.visited |= 1 << screen.here
        level.doors = (level.doors | screen.doors) & ~screen.room
        level.down |= screen.stairs_down
        level.up |= screen.stairs_up
        if self.heading is not None and self.last_here == screen.here:
            failures = level.failures[self.heading] = level.failures.get(self.heading, 0) + 1
            if (
                failures > (40 if screen.shut >> self.heading & 1 else 8)
                or "in vain" in message
                or "Perhaps that's why" in message
                or "Closed for inv" in message
            ):
                level.blocked |= 1 << self.heading
        if self.fought is not None:
            if "You kill" in message and self.fought.kind < nethack.NUMMONS and EDIBLE[self.fought.kind]:
                self.kill = (self.fought.at, self.fought.kind, screen.turn)
            self.fought = None
        if _SHOP_GREETING.search(message):
            self._keep_out_of_shop(screen)
        self.last_here = screen.here

    def _enter(self, screen: Screen, key: tuple[int, int]) -> None:
        if key[0] == 2 and self.key is not None and self.key[0] == 0:
            self.place.branch |= 1 << self.last_here
        self.key, self.place = key, self.levels.setdefault(key, Level())
        self.place.arrived = screen.turn
        self.target = self.kill = self.fought = None

    def _keep_out_of_shop(self, screen: Screen) -> None:
        """Wares that are picked up must be paid for, so the shop's floor is left alone."""
        inside = screen.walk & ~screen.thresholds & ~level_doors(self.place, screen)
        self.place.blocked |= paths.reachable(screen.here, inside, screen.doors) & ~(1 << screen.here)

    # -- behaviours, in order of priority; each returns keys to press, or "" ---------------------------------------

    def _pray(self, screen: Screen) -> str:
        dying = screen.hp < 6 or screen.hp * 7 < screen.max_hp
        sick = screen.condition & (nethack.BL_MASK_FOODPOIS | nethack.BL_MASK_TERMILL | nethack.BL_MASK_STONE)
        if not (dying or sick or screen.hunger >= WEAK) or screen.turn - self.prayed < (PRAY_DYING if dying else 900):
            return ""
        if not (dying or sick) and self._rations(screen):
            return ""
        self.prayed = screen.turn
        self.answers = {"want to pray": "y"}
        return PRAY

    def _quaff(self, screen: Screen) -> str:
        """Drink a potion known to heal when about to die and prayer has not helped."""
        if screen.hp * 4 >= screen.max_hp or not self._hostile(screen):
            return ""
        for letter, what in screen.inventory(nethack.POTION_CLASS):
            if "healing" in what and ord(letter) in ACTION:
                self.answers = {"want to drink": letter, "Drink from": "n"}
                return "q"
        return ""

    def _enhance(self, screen: Screen) -> str:
        if "more confident" in screen.message:
            self.may_enhance = True
        if not self.may_enhance or screen.monsters:
            return ""
        self.may_enhance = False
        self.menu = ["a"]
        return ENHANCE

    def _clear_way(self, screen: Screen) -> str:
        """With nowhere left to go but past a floating eye: throw at it, wait for it to drift away, at last strike it."""
        eyes = sum(1 << m.at for m in screen.monsters if m.name == "floating eye" and not self._peaceful(screen, m))
        if not eyes or screen.hp * 5 < screen.max_hp * 4:
            return ""
        if screen.turn < self.place.patient_until:
            return self._walk(screen, self.place.up | self.place.down) or WAIT
        way = paths.path(screen.here, eyes, self._ground(screen), level_doors(self.place, screen))
        if len(way) != 1:
            return self._step(screen, way[0]) if way else ""
        toward = self._step(screen, way[0])
        for letter, what in screen.inventory(nethack.WEAPON_CLASS):
            if "wielded" not in what and "weapon in hand" not in what and ord(letter) in ACTION:
                self.answers = {"want to throw": letter, "In what direction": toward}
                return "t"
        self.place.patience += 1
        if self.place.patience % 6:
            self.place.patient_until = screen.turn + 150
            return "s"
        return "F" + toward

    def _gather(self, screen: Screen) -> str:
        """Pick up what can be thrown."""
        level = self.place
        level.missiles |= paths.bits(_MISSILE[screen.glyphs]) & ~(level.taken | level.blocked)
        if level.missiles >> screen.here & 1:
            level.missiles &= ~(1 << screen.here)
            level.taken |= 1 << screen.here
            self.menu = [",", ENTER]
            return ","
        return self._walk(screen, level.missiles) if level.missiles else ""

    def _escape_stomach(self, screen: Screen) -> str:
        return "j" if screen.swallowed else ""

    def _hide(self, screen: Screen) -> str:
        """Hurt and pressed: write Elbereth in the dust, and rest on it."""
        assert self.key is not None
        near = [m for m in self._hostile(screen) if touching(m.at, screen.here)]
        if self.refuge == (self.key, screen.here):
            losing = screen.hp < self.refuge_hp
            self.refuge_hp = screen.hp
            if screen.hp * 4 >= screen.max_hp * 3:
                self.refuge, self.engraved = None, 0
                return ""
            if not losing:
                return "s" if near else WAIT
        if screen.hp >= HIDE * screen.max_hp or not near or screen.turn < self.engrave_after:
            return ""
        if any(m.name in _IGNORES_ELBERETH or (m.kind < nethack.NUMMONS and HUMAN[m.kind]) for m in near):
            return ""
        if screen.condition & (nethack.BL_MASK_BLIND | nethack.BL_MASK_LEV):
            return ""
        self.engraved += 1
        if self.engraved % 4 == 0:  # it does not help here
            self.engrave_after, self.refuge = screen.turn + 60, None
            return ""
        self.refuge, self.refuge_hp = (self.key, screen.here), screen.hp
        self.answers = {"want to write with": "-", "add to the current": "n"}
        self.line = list("Elbereth" + ENTER)
        return "E"

    def _fight(self, screen: Screen) -> str:
        near = [m for m in self._hostile(screen) if touching(m.at, screen.here)]
        if not near:
            return ""
        worst = max(near, key=lambda m: (m.kind < nethack.NUMMONS and nethack.permonst(m.kind).mlevel, m.at))
        self.fought = worst
        move = self._step(screen, worst.at)
        return "F" + move if worst.name == "unseen" else move

    def _hunt(self, screen: Screen) -> str:
        """Walk up to monsters in view while strong."""
        if screen.hp * 2 < screen.max_hp:
            return ""
        prey = 0
        for monster in self._hostile(screen):
            if monster.name != "unseen":
                prey |= 1 << monster.at
        return self._walk(screen, prey, limit=12) if prey else ""

    def _eat_kill(self, screen: Screen) -> str:
        """Eat what was just killed, while it is fresh."""
        if self.kill is None or screen.hunger == SATIATED:
            return ""
        at, kind, turn = self.kill
        if screen.turn - turn > _FRESH_FOR:
            self.kill = None
            return ""
        if at == screen.here:
            self.kill = None
            name = NAMES[kind]
            self.answers = {f"{article} {name} corpse here; eat": "y" for article in ("a", "an")}
            return "e"
        if screen.glyph(at) != nethack.GLYPH_BODY_OFF + kind:
            return ""
        return self._walk(screen, 1 << at, limit=6)

    def _eat(self, screen: Screen) -> str:
        """From the floor whenever there is room, from the bag when hungry."""
        if screen.hunger == SATIATED:
            return ""
        level = self.place
        level.food |= paths.bits(_FOOD[screen.glyphs]) & ~(level.eaten | level.blocked)
        if level.food >> screen.here & 1:
            level.food &= ~(1 << screen.here)
            level.eaten |= 1 << screen.here
            self.answers = {"corpse": "n", " egg": "n", " tin": "n", "here; eat": "y"}
            return "e"
        step = self._walk(screen, level.food) if level.food else ""
        if step:
            return step
        if screen.hunger < HUNGRY:
            return ""
        if self._rations(screen):
            self.answers = {"want to eat": self._rations(screen), "here; eat": "n"}
            return "e"
        return ""

    def _rest(self, screen: Screen) -> str:
        if screen.hp >= REST * screen.max_hp or screen.hunger >= WEAK:
            return ""
        return WAIT

    def _open_locked(self, screen: Screen) -> str:
        if "door is locked" not in screen.message:
            return ""
        for offset in paths.ORTHOGONAL:
            if screen.shut >> (screen.here + offset) & 1 and self.last_target == screen.here + offset:
                self.target = self.last_target
                self.answers = {"In what direction": DIRECTIONS[offset]}
                return KICK
        return ""

    def _take_gold(self, screen: Screen) -> str:
        gold = paths.bits(screen.glyphs == _GOLD)
        return self._walk(screen, gold & ~self.place.blocked) if gold else ""

    def _leave_mines(self, screen: Screen) -> str:
        return self._climb(screen) if screen.dungeon == 2 else ""

    def _descend(self, screen: Screen) -> str:
        if not self._strong_enough(screen):
            return ""
        down = self.place.down & ~self.place.branch
        if down >> screen.here & 1:
            return ">"
        return self._walk(screen, down | screen.holes)

    def _explore(self, screen: Screen) -> str:
        return self._walk(screen, self._frontier(screen))

    def _hold(self, screen: Screen) -> str:
        """Not strong enough for deeper levels: wait for monsters on the stairs."""
        if self._strong_enough(screen) or sum(self.place.searched.values()) < 12 and not self.place.down:
            return ""
        return self._walk(screen, self.place.up) or WAIT

    def _explore_roughly(self, screen: Screen) -> str:
        """Over traps and through boulders."""
        rough = screen.traps | screen.boulders
        goals = self._frontier(screen) | (rough & screen.near_unseen & ~self.place.visited)
        if self._strong_enough(screen):
            goals |= self.place.down & ~self.place.branch
        return self._walk(screen, goals & ~self.place.blocked, also=rough)

    def _search(self, screen: Screen) -> str:
        """Look for hidden doors where walls and dead ends face the unknown."""
        level = self.place
        if level.spot is None or level.spot == screen.here:
            if level.spot == screen.here:
                level.spot = None
                level.searched[screen.here] = level.searched.get(screen.here, 0) + 1
                return "10s"
            level.spot = self._best_spot(screen)
        if level.spot == screen.here:
            return "10s"
        step = self._walk(screen, 1 << level.spot, also=screen.traps)
        if not step:
            level.spot = None
            level.searched[screen.here] = level.searched.get(screen.here, 0) + 1
            return "10s"
        return step

    BEHAVIOURS = (
        _pray,
        _quaff,
        _escape_stomach,
        _hide,
        _fight,
        _hunt,
        _eat_kill,
        _eat,
        _rest,
        _enhance,
        _open_locked,
        _leave_mines,
        _take_gold,
        _gather,
        _explore,
        _descend,
        _clear_way,
        _hold,
        _explore_roughly,
        _search,
    )

    def _rations(self, screen: Screen) -> str:
        """The letter of something to eat, or ""."""
        for letter, what in screen.inventory(nethack.FOOD_CLASS):
            if not any(bad in what for bad in ("corpse", "egg", "tin")) and ord(letter) in ACTION:
                return letter
        return ""

    # -- judgement ---------------------------------------------------------------------------------------------------

    def _strong_enough(self, screen: Screen) -> bool:
        """Whether to go one level deeper."""
        needed = REQUIRED[min(screen.depth + 1, len(REQUIRED) - 1)]
        return screen.level >= needed or screen.turn - self.place.arrived > PATIENCE

    def _hostile(self, screen: Screen) -> list[Monster]:
        """Monsters worth fighting."""
        return [m for m in screen.monsters if not self._shun(screen, m)]

    def _shun(self, screen: Screen, monster: Monster) -> bool:
        """Whether to leave a monster alone, and walk around it."""
        name = monster.name
        return (
            name in _NEVER
            or name == "floating eye"  # it paralyses whoever hits it and does not kill it
            or screen.hp < _CAREFUL.get(name, 0)
            or self._peaceful(screen, monster)
        )

    def _peaceful(self, screen: Screen, monster: Monster) -> bool:
        return any(
            kind == monster.kind
            and screen.turn - turn < 30
            and distance(at, monster.at) <= 2 + 2 * (screen.turn - turn)
            for kind, at, turn in self.place.peaceful[-8:]
        )

    def _frontier(self, screen: Screen) -> int:
        ground = (screen.walk | screen.shut) & ~self.place.blocked
        return ground & screen.near_unseen & ~self.place.visited

    def _best_spot(self, screen: Screen) -> int:
        """The reachable square where searching promises most for the walk it costs."""
        ground, doors = self._ground(screen), level_doors(self.place, screen)
        secrets = screen.walls & screen.near_unseen
        best, most = screen.here, 0.0
        waves = paths.flood(screen.here, ground, doors)
        for far, wave in enumerate(waves):
            for at in paths.squares(wave):
                beside = paths.around(1 << at)
                promise = (beside & secrets).bit_count() + (beside & screen.unseen).bit_count()
                if (beside & (screen.walk | screen.shut)).bit_count() <= 2:
                    promise += 8  # a dead end
                worth = promise * 0.4 ** self.place.searched.get(at, 0) / (10 + far)
                if worth > most:
                    best, most = at, worth
        return best

    # -- moving ------------------------------------------------------------------------------------------------------

    last_target: int | None = None

    def _ground(self, screen: Screen) -> int:
        """Squares to walk on: no known traps, no peaceful or untouchable monsters."""
        ground = (screen.walk | screen.shut) & ~self.place.blocked
        for monster in screen.monsters:
            if self._shun(screen, monster):
                ground &= ~(1 << monster.at)
        return ground

    def _walk(self, screen: Screen, goals: int, *, also: int = 0, limit: int = 10_000) -> str:
        """The key of the first step towards the nearest goal, "" when there is no way (or only a longer one)."""
        ground = self._ground(screen) | also & ~self.place.blocked
        goals &= (ground | screen.holes) & ~(1 << screen.here)
        way = paths.path(screen.here, goals, ground, level_doors(self.place, screen))
        if not way or len(way) > limit:
            return ""
        goal = way[-1]
        tries = self.place.tries[goal] = self.place.tries.get(goal, 0) + 1
        if tries > 200 and not (self.place.down | self.place.up) >> goal & 1:  # walking to and fro: give it up
            self.place.blocked |= 1 << goal
        self.heading = way[0] if all(monster.at != way[0] for monster in screen.monsters) else None
        return self._step(screen, way[0])

    def _climb(self, screen: Screen) -> str:
        return "<" if self.place.up >> screen.here & 1 else self._walk(screen, self.place.up)

    def _step(self, screen: Screen, there: int) -> str:
        self.target = self.last_target = there
        return DIRECTIONS[there - screen.here]


def level_doors(level: Level, screen: Screen) -> int:
    """Squares without diagonal moves: doors in view, and remembered ones that something now lies or stands in."""
    return screen.doors | level.doors


def distance(one: int, other: int) -> int:
    """Moves between two squares on open ground."""
    (row, column), (other_row, other_column) = paths.row_column(one), paths.row_column(other)
    return max(abs(row - other_row), abs(column - other_column))


def touching(one: int, other: int) -> bool:
    """Whether two squares are next to each other."""
    return distance(one, other) == 1


def play(bot: Bot, observations: Iterable[Mapping[str, np.ndarray]]) -> list[int]:
    """The bot's actions for a sequence of observations."""
    return [bot.act(observation) for observation in observations]
