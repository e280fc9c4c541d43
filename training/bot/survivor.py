"""How the scripted player stays alive: praying, hiding, resting, fighting, eating.

Behaviours return keys to press, or "" to leave the turn to others; `training.bot.bot` has their order.
"""

from training.bot import paths
from training.bot.explorer import distance
from training.bot.keyboard import Keyboard
from training.bot.lore import (
    ACTION,
    EDIBLE,
    ENHANCE,
    ENTER,
    FOOD,
    HEEDS_ELBERETH,
    HUNGRY,
    LEVELS,
    NAMES,
    PRAY,
    SATIATED,
    WEAK,
    nethack,
)
from training.bot.screen_reader import Monster, Screen

PRAYER_APART, DYING_PRAYER_APART = 900, 500
"""Turns between prayers; NetHack forgives most after 900, and the dying have nothing to lose."""
REST_BELOW, HIDE_BELOW, HUNT_ABOVE, LEAVE_REFUGE = 0.9, 0.45, 0.5, 0.75
"""Shares of full hit points."""
WAIT = "20s"
_FRESH_FOR = 30  # turns after a kill in which its corpse is eaten; from 50 on it may kill
_UNFIT = ("corpse", "egg", "tin")


class Survivor(Keyboard):
    """What serves survival, whatever the aim."""

    def __init__(self) -> None:
        super().__init__()
        self._prayed = -400  # a god may first be asked on turn 100, by the dying
        self._fought: Monster | None = None
        self._kill: tuple[int, int, int] | None = None  # square, kind and turn of what may be eaten
        self._may_enhance = False
        self._refuge: tuple[tuple[int, int], int] | None = None
        self._refuge_hp, self._engraved, self._engrave_after = 0, 0, 0
        self._unread = False  # a letter may have gone wrong

    def arrive(self, screen: Screen, place: tuple[int, int]) -> None:
        """What was fought stays behind."""
        super().arrive(screen, place)
        self._kill = self._fought = None

    def notice(self, screen: Screen) -> None:
        """Note what the last blow killed, if it can be eaten."""
        fought, self._fought = self._fought, None
        if fought is not None and "You kill" in screen.message and fought.seen and EDIBLE[fought.kind]:
            self._kill = (fought.at, fought.kind, screen.turn)

    # -- to stay whole -------------------------------------------------------------------------------------------------

    def pray(self, screen: Screen) -> str:
        """Ask the god for help when dying, deadly ill or starving, if it is long enough since the last time."""
        dying = screen.hp < 6 or screen.hp * 7 < screen.max_hp  # as NetHack defines it
        sick = screen.condition & (nethack.BL_MASK_FOODPOIS | nethack.BL_MASK_TERMILL | nethack.BL_MASK_STONE)
        starving = screen.hunger >= WEAK and not self.ration(screen)
        hopeless = dying or (starving and screen.hunger > WEAK)
        apart = DYING_PRAYER_APART if hopeless else PRAYER_APART
        if not (dying or sick or starving) or screen.turn - self._prayed < apart:
            return ""
        self._prayed = screen.turn
        self.answers = {"want to pray": "y"}
        return PRAY

    def quaff(self, screen: Screen) -> str:
        """Drink what is known to heal."""
        if screen.hp * 4 >= screen.max_hp or not self.hostile(screen):
            return ""
        for letter, what in screen.inventory(nethack.POTION_CLASS):
            if "healing" in what and ord(letter) in ACTION:
                self.answers = {"want to drink": letter, "Drink from": "n"}
                return "q"
        return ""

    def escape_stomach(self, screen: Screen) -> str:
        """Hit whatever has swallowed us; every direction will do."""
        return "j" if screen.swallowed else ""

    def hide(self, screen: Screen) -> str:
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
                return "s" if near else WAIT
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
        self.answers = {"want to write with": "-", "add to the current": "n"}
        self.line, self._unread = list("Elbereth" + ENTER), True
        return "E"

    def rest(self, screen: Screen) -> str:
        """Wait while hit points come back."""
        return WAIT if screen.hp < REST_BELOW * screen.max_hp and screen.hunger < WEAK else ""

    # -- to fight ------------------------------------------------------------------------------------------------------

    def fight(self, screen: Screen) -> str:
        """Hit the most dangerous monster within reach."""
        near = self._adjacent(screen)
        if not near:
            return ""
        worst = max(near, key=lambda monster: (LEVELS[monster.kind] if monster.seen else 0, monster.at))
        self._fought = worst
        move = self.step(screen, worst.at)
        return move if worst.seen else "F" + move

    def hunt(self, screen: Screen) -> str:
        """Walk up to monsters in view while strong."""
        if screen.hp < HUNT_ABOVE * screen.max_hp:
            return ""
        return self.walk(screen, sum(1 << monster.at for monster in self.hostile(screen) if monster.seen), limit=12)

    def enhance(self, screen: Screen) -> str:
        """Use what was learnt in fights."""
        if "more confident" in screen.message:
            self._may_enhance = True
        if not self._may_enhance or screen.monsters:
            return ""
        self._may_enhance = False
        self.menu = ["a"]
        return ENHANCE

    def _adjacent(self, screen: Screen) -> list[Monster]:
        return [monster for monster in self.hostile(screen) if distance(monster.at, screen.here) == 1]

    # -- to eat --------------------------------------------------------------------------------------------------------

    def eat_kill(self, screen: Screen) -> str:
        """Eat what was just killed, while it is fresh."""
        if self._kill is None or screen.hunger == SATIATED:
            return ""
        at, kind, turn = self._kill
        if screen.turn - turn > _FRESH_FOR:
            self._kill = None
        elif at == screen.here:
            self._kill = None
            self.answers = {f"{article} {NAMES[kind]} corpse here; eat": "y" for article in ("a", "an")}
            return "e"
        elif screen.glyph(at) == nethack.GLYPH_BODY_OFF + kind:
            return self.walk(screen, 1 << at, limit=6)
        return ""

    def eat(self, screen: Screen) -> str:
        """From the floor whenever there is room, from the bag when hungry."""
        if screen.hunger == SATIATED:
            return ""
        level = self.level
        level.food |= paths.bits(FOOD[screen.glyphs]) & ~(level.looked_at | level.blocked)
        if level.food >> screen.here & 1:
            self.see_to(screen.here)
            self.answers = {**dict.fromkeys((f" {what}" for what in _UNFIT), "n"), "here; eat": "y"}
            return "e"
        step = self.walk(screen, level.food)
        if not step and screen.hunger >= HUNGRY and self.ration(screen):
            self.answers = {"want to eat": self.ration(screen), "here; eat": "n"}
            return "e"
        return step

    def ration(self, screen: Screen) -> str:
        """The letter of something to eat, or ""."""
        for letter, what in screen.inventory(nethack.FOOD_CLASS):
            if not any(unfit in what for unfit in _UNFIT) and ord(letter) in ACTION:
                return letter
        return ""

    def see_to(self, at: int) -> None:
        """What lies on this square needs no second look."""
        self.level.food &= ~(1 << at)
        self.level.missiles &= ~(1 << at)
        self.level.looked_at |= 1 << at
