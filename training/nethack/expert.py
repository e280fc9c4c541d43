"""A scripted NetHack player, so that demonstrations can be made without downloading any.

It explores level by level, fights what comes near with its bare skills, eats, prays, hides behind Elbereth when hurt,
and goes deeper as it grows stronger. `Bot.BEHAVIOURS` is the whole player: the first that has something to do acts.
"""

from collections.abc import Mapping

import numpy as np

from training.nethack import paths
from training.nethack.explorer import Explorer, distance
from training.nethack.lore import (
    ACTION,
    DIRECTIONS,
    EDIBLE,
    ENHANCE,
    ENTER,
    ESC,
    FLOATING_EYE,
    FOOD,
    GOLD,
    HEEDS_ELBERETH,
    HUNGRY,
    KICK,
    LEVELS,
    MINES,
    MISSILES,
    NAMES,
    PRAY,
    SATIATED,
    WEAK,
    nethack,
)
from training.nethack.screen_reader import Monster, Screen

REQUIRED = (0, 0, 1, 2, 4, 6, 8, 8, 9, 10, 10, 11, 11, 12)
"""Experience level at which each depth (the index) is entered without waiting."""
PATIENCE = 1500
"""Turns after which the next depth is entered all the same: waiting is safe, but hunger is not."""
PRAYER_APART, DYING_PRAYER_APART = 900, 500
"""Turns between prayers; NetHack forgives most after 900, and the dying have nothing to lose."""
REST_BELOW, HIDE_BELOW, HUNT_ABOVE, LEAVE_REFUGE = 0.9, 0.45, 0.5, 0.75
"""Shares of full hit points."""
_FRESH_FOR = 30  # turns after a kill in which its corpse is eaten; from 50 on it may kill
_SEARCHES_BEFORE_HOLDING = 12
_WAIT, _SEARCH = "20s", "10s"
_WAYS_OUT = (ESC, ENTER, " ", "n", "q", "y")
_UNFIT = ("corpse", "egg", "tin")


class Bot(Explorer):
    """The scripted expert for one game. Deterministic: the same observations, the same keys."""

    def __init__(self) -> None:
        super().__init__()
        # Keys still to be pressed: at moves, in answer to questions (part of the question -> key), at the prompt for
        # a line of text, in a menu.
        self._queue: list[str] = []
        self._answers: dict[str, str] = {}
        self._line: list[str] = []
        self._menu: list[str] = []
        self._asked, self._idle, self._turn = 0, 0, -1  # keys in this prompt, keys in this turn, the turn
        self._prayed = -400  # a god may first be asked on turn 100, by the dying
        self._heard = ""
        self._pushed: int | None = None
        self._fought: Monster | None = None
        self._kill: tuple[int, int, int] | None = None  # square, kind and turn of what may be eaten
        self._may_enhance = False
        self._refuge: tuple[tuple[int, int], int] | None = None
        self._refuge_hp, self._engraved, self._engrave_after = 0, 0, 0
        self._unread = False  # a letter may have gone wrong

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """The action (index into nle.nethack.ACTIONS) for an observation with `screen_reader.OBSERVATION_KEYS`."""
        screen = Screen(observation)
        self._idle = self._idle + 1 if screen.turn == self._turn else 0
        self._turn = screen.turn
        if screen.in_prompt:
            self._heard += screen.message + "  "
            self._asked += 1
            key = self._answer(screen)
        elif self._idle > 20 and self._idle % 6 < 2:
            # Some prompts do not look like one, such as choosing a place; a first escape may only empty their line.
            self._queue = []
            key = ESC
        else:
            self._asked = 0
            key = self._queue.pop(0) if self._queue else self._decide(screen)
        return ACTION[ord(key)]

    def _answer(self, screen: Screen) -> str:
        """The key that answers the game's question, or leaves it."""
        if self._asked > 12:  # nothing below has worked
            self._line, self._queue = [], []
            return _WAYS_OUT[self._asked % len(_WAYS_OUT)]
        if screen.waits:
            if self._menu and "--More--" not in screen.words:
                return self._menu.pop(0)
            return ENTER if self._asked % 4 else ESC
        if screen.asks_line:
            return self._line.pop(0) if self._line else ESC
        if "Really attack" in screen.words and self.target is not None:
            self.level.peaceful.append((screen.glyph(self.target), self.target, screen.turn))
            return ESC
        for question, answer in self._answers.items():
            if question in screen.words:
                return answer
        self._queue = []
        return ESC

    def _decide(self, screen: Screen) -> str:
        """The first key of what to do now; the others follow from the queue."""
        screen.message = self._heard + screen.message  # what was said before a --More-- counts as well
        self._heard = ""
        self.remember(screen)
        self._look_at_kill(screen)
        self._pushed, self.target = self.target, None
        self._answers, self._line, self._menu = {}, [], []
        if self._idle <= 40:  # else whatever was tried cannot be done
            for behaviour in self.BEHAVIOURS:
                keys = behaviour(self, screen)
                if keys:
                    self._queue = list(keys[1:])
                    return keys[0]
        return "s"

    def arrive(self, screen: Screen, place: tuple[int, int]) -> None:
        """What was fought stays behind."""
        super().arrive(screen, place)
        self._kill = self._fought = None

    # -- to stay alive: each behaviour returns keys to press, or "" to leave the turn to those after it --------------

    def _pray(self, screen: Screen) -> str:
        dying = screen.hp < 6 or screen.hp * 7 < screen.max_hp  # as NetHack defines it
        sick = screen.condition & (nethack.BL_MASK_FOODPOIS | nethack.BL_MASK_TERMILL | nethack.BL_MASK_STONE)
        starving = screen.hunger >= WEAK and not self._ration(screen)
        hopeless = dying or (starving and screen.hunger > WEAK)
        apart = DYING_PRAYER_APART if hopeless else PRAYER_APART
        if not (dying or sick or starving) or screen.turn - self._prayed < apart:
            return ""
        self._prayed = screen.turn
        self._answers = {"want to pray": "y"}
        return PRAY

    def _quaff(self, screen: Screen) -> str:
        """Drink what is known to heal."""
        if screen.hp * 4 >= screen.max_hp or not self.hostile(screen):
            return ""
        for letter, what in screen.inventory(nethack.POTION_CLASS):
            if "healing" in what and ord(letter) in ACTION:
                self._answers = {"want to drink": letter, "Drink from": "n"}
                return "q"
        return ""

    def _escape_stomach(self, screen: Screen) -> str:
        return "j" if screen.swallowed else ""

    def _hide(self, screen: Screen) -> str:
        """Hurt and pressed: write Elbereth in the dust, and rest on it."""
        assert self.place is not None
        near = self._adjacent(screen)
        if self._refuge == (self.place, screen.here):
            if self._unread:
                self._unread = False
                return ":"
            misspelt = "You read" in screen.message and "Elbereth" not in screen.message
            losing = misspelt or screen.hp < self._refuge_hp
            self._refuge_hp = screen.hp
            if screen.hp >= LEAVE_REFUGE * screen.max_hp:
                self._refuge, self._engraved = None, 0
                return ""
            if not losing:
                return "s" if near else _WAIT
        if screen.hp >= HIDE_BELOW * screen.max_hp or not near or screen.turn < self._engrave_after:
            return ""
        if screen.condition & (nethack.BL_MASK_BLIND | nethack.BL_MASK_LEV) or not all(
            monster.seen and HEEDS_ELBERETH[monster.kind] for monster in near
        ):
            return ""
        self._engraved += 1
        if self._engraved % 4 == 0:  # it does not help here
            self._engrave_after, self._refuge = screen.turn + 60, None
            return ""
        self._refuge, self._refuge_hp = (self.place, screen.here), screen.hp
        self._answers = {"want to write with": "-", "add to the current": "n"}
        self._line, self._unread = list("Elbereth" + ENTER), True
        return "E"

    def _rest(self, screen: Screen) -> str:
        return _WAIT if screen.hp < REST_BELOW * screen.max_hp and screen.hunger < WEAK else ""

    # -- to fight ----------------------------------------------------------------------------------------------------

    def _fight(self, screen: Screen) -> str:
        near = self._adjacent(screen)
        if not near:
            return ""
        worst = max(near, key=lambda monster: (LEVELS[monster.kind] if monster.seen else 0, monster.at))
        self._fought = worst
        move = self.step(screen, worst.at)
        return move if worst.seen else "F" + move

    def _hunt(self, screen: Screen) -> str:
        """Walk up to monsters in view while strong."""
        if screen.hp < HUNT_ABOVE * screen.max_hp:
            return ""
        return self.walk(screen, sum(1 << monster.at for monster in self.hostile(screen) if monster.seen), limit=12)

    def _enhance(self, screen: Screen) -> str:
        """Use what was learnt in fights."""
        if "more confident" in screen.message:
            self._may_enhance = True
        if not self._may_enhance or screen.monsters:
            return ""
        self._may_enhance = False
        self._menu = ["a"]
        return ENHANCE

    def _adjacent(self, screen: Screen) -> list[Monster]:
        return [monster for monster in self.hostile(screen) if distance(monster.at, screen.here) == 1]

    # -- to eat ------------------------------------------------------------------------------------------------------

    def _look_at_kill(self, screen: Screen) -> None:
        """Note what the last blow killed, if it can be eaten."""
        fought, self._fought = self._fought, None
        if fought is not None and "You kill" in screen.message and fought.seen and EDIBLE[fought.kind]:
            self._kill = (fought.at, fought.kind, screen.turn)

    def _eat_kill(self, screen: Screen) -> str:
        """Eat what was just killed, while it is fresh."""
        if self._kill is None or screen.hunger == SATIATED:
            return ""
        at, kind, turn = self._kill
        if screen.turn - turn > _FRESH_FOR:
            self._kill = None
        elif at == screen.here:
            self._kill = None
            self._answers = {f"{article} {NAMES[kind]} corpse here; eat": "y" for article in ("a", "an")}
            return "e"
        elif screen.glyph(at) == nethack.GLYPH_BODY_OFF + kind:
            return self.walk(screen, 1 << at, limit=6)
        return ""

    def _eat(self, screen: Screen) -> str:
        """From the floor whenever there is room, from the bag when hungry."""
        if screen.hunger == SATIATED:
            return ""
        level = self.level
        level.food |= paths.bits(FOOD[screen.glyphs]) & ~(level.looked_at | level.blocked)
        if level.food >> screen.here & 1:
            self._see_to(screen.here)
            self._answers = {**dict.fromkeys((f" {what}" for what in _UNFIT), "n"), "here; eat": "y"}
            return "e"
        step = self.walk(screen, level.food)
        if not step and screen.hunger >= HUNGRY and self._ration(screen):
            self._answers = {"want to eat": self._ration(screen), "here; eat": "n"}
            return "e"
        return step

    def _ration(self, screen: Screen) -> str:
        """The letter of something to eat, or ""."""
        for letter, what in screen.inventory(nethack.FOOD_CLASS):
            if not any(unfit in what for unfit in _UNFIT) and ord(letter) in ACTION:
                return letter
        return ""

    # -- to get on ---------------------------------------------------------------------------------------------------

    def _open_locked(self, screen: Screen) -> str:
        """Kick the door that has just proved locked."""
        if "door is locked" not in screen.message or self._pushed is None:
            return ""
        offset = self._pushed - screen.here
        if not (screen.shut & ~self.level.blocked) >> self._pushed & 1 or offset not in paths.ORTHOGONAL:
            return ""
        self._answers = {"In what direction": DIRECTIONS[offset]}
        return KICK

    def _leave_mines(self, screen: Screen) -> str:
        return self.climb(screen) if screen.dungeon == MINES else ""

    def _return_wares(self, screen: Screen) -> str:
        """Drop what was picked up in a shop, whose keeper kills thieves."""
        if "unpaid" not in screen.belongings:
            return ""
        for letter, what in screen.inventory():
            if "unpaid" in what and ord(letter) in ACTION:
                self._answers = {"want to drop": letter}
                return "d"
        return ""

    def _take_gold(self, screen: Screen) -> str:
        return self.walk(screen, paths.bits(GOLD[screen.glyphs]) & ~self.level.blocked)

    def _gather(self, screen: Screen) -> str:
        """Pick up what can be thrown."""
        level = self.level
        level.missiles |= paths.bits(MISSILES[screen.glyphs]) & ~(level.looked_at | level.blocked)
        if level.missiles >> screen.here & 1:
            self._see_to(screen.here)
            self._menu = [",", ENTER]
            return ","
        return self.walk(screen, level.missiles)

    def _explore(self, screen: Screen) -> str:
        return self.walk(screen, self.frontier(screen))

    def _descend(self, screen: Screen) -> str:
        if not self._strong_enough(screen):
            return ""
        down = self.level.down & ~self.level.branch
        return ">" if down >> screen.here & 1 else self.walk(screen, down | screen.holes)

    def _clear_way(self, screen: Screen) -> str:
        """Nowhere left to go but past a floating eye: throw at it, give it time to drift away, at last strike it."""
        eyes = sum(1 << m.at for m in screen.monsters if m.name == FLOATING_EYE and not self.is_peaceful(screen, m))
        if not eyes or screen.hp * 5 < screen.max_hp * 4:
            return ""
        level = self.level
        if screen.turn < level.wait_until:
            return self.walk(screen, level.up | level.down) or _WAIT
        way = paths.path(screen.here, eyes, self.ground(screen), self.doors(screen))
        if not way:
            return ""
        toward = self.step(screen, way[0])
        if len(way) > 1:
            return toward
        for letter, what in screen.inventory(nethack.WEAPON_CLASS):
            if "wielded" not in what and "weapon in hand" not in what and ord(letter) in ACTION:
                self._answers = {"want to throw": letter, "In what direction": toward}
                return "t"
        level.waits += 1
        if level.waits % 6:
            level.wait_until = screen.turn + 150
            return "s"
        return "F" + toward

    def _hold(self, screen: Screen) -> str:
        """Too weak for deeper levels: wait for monsters on the stairs."""
        unknown = not self.level.down and sum(self.level.searches.values()) < _SEARCHES_BEFORE_HOLDING
        if unknown or self._strong_enough(screen):
            return ""
        return self.walk(screen, self.level.up) or _WAIT

    def _explore_roughly(self, screen: Screen) -> str:
        """Over traps and through boulders."""
        rough = screen.traps | screen.boulders
        goals = self.frontier(screen) | (rough & screen.near_unseen & ~self.level.visited)
        if self._strong_enough(screen):
            goals |= self.level.down & ~self.level.branch
        return self.walk(screen, goals & ~self.level.blocked, also=rough)

    def _search(self, screen: Screen) -> str:
        """Look for hidden doors where walls and dead ends face the unknown."""
        level = self.level
        if level.spot is None:
            level.spot = self.best_search(screen)
        step = self.walk(screen, 1 << level.spot, also=screen.traps)
        if step:
            return step
        level.spot = None  # arrived, or there is no way
        level.searches[screen.here] = level.searches.get(screen.here, 0) + 1
        return _SEARCH

    def _strong_enough(self, screen: Screen) -> bool:
        """Whether to go one level deeper."""
        needed = REQUIRED[min(screen.depth + 1, len(REQUIRED) - 1)]
        starving = screen.hunger >= HUNGRY and not self._ration(screen)
        return screen.level >= needed or screen.turn - self.level.arrived > PATIENCE or starving

    def _see_to(self, at: int) -> None:
        self.level.food &= ~(1 << at)
        self.level.missiles &= ~(1 << at)
        self.level.looked_at |= 1 << at

    BEHAVIOURS = (
        _pray,
        _quaff,
        _escape_stomach,
        _hide,
        _fight,
        _return_wares,
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
