"""A scripted NetHack player, so that demonstrations can be made without downloading any.

It explores level by level, fights what comes near with its bare skills, eats, prays, hides behind Elbereth when hurt,
and goes deeper as it grows stronger. `Bot.BEHAVIOURS` is the whole player: the first that has something to do acts.
"""

from training.bot import paths
from training.bot.lore import ACTION, DIRECTIONS, ENTER, FLOATING_EYE, GOLD, HUNGRY, KICK, MINES, MISSILES, nethack
from training.bot.screen_reader import Screen
from training.bot.survivor import WAIT, Survivor

REQUIRED = (0, 0, 1, 2, 4, 6, 8, 8, 9, 10, 10, 11, 11, 12)
"""Experience level at which each depth (the index) is entered without waiting."""
PATIENCE = 1500
"""Turns after which the next depth is entered all the same: waiting is safe, but hunger is not."""
_SEARCHES_BEFORE_HOLDING = 12
_SEARCH = "10s"


class Bot(Survivor):
    """The scripted expert for one game. Deterministic: the same observations, the same keys."""

    def open_locked(self, screen: Screen) -> str:
        """Kick the door that has just proved locked."""
        if "door is locked" not in screen.message or self.pushed is None:
            return ""
        offset = self.pushed - screen.here
        if not (screen.shut & ~self.level.blocked) >> self.pushed & 1 or offset not in paths.ORTHOGONAL:
            return ""
        self.answers = {"In what direction": DIRECTIONS[offset]}
        return KICK

    def leave_mines(self, screen: Screen) -> str:
        """The Gnomish Mines are a dead end."""
        return self.climb(screen) if screen.dungeon == MINES else ""

    def return_wares(self, screen: Screen) -> str:
        """Drop what was picked up in a shop, whose keeper kills thieves."""
        if "unpaid" not in screen.belongings:
            return ""
        for letter, what in screen.inventory():
            if "unpaid" in what and ord(letter) in ACTION:
                self.answers = {"want to drop": letter}
                return "d"
        return ""

    def take_gold(self, screen: Screen) -> str:
        """It counts towards the score."""
        return self.walk(screen, paths.bits(GOLD[screen.glyphs]) & ~self.level.blocked)

    def gather(self, screen: Screen) -> str:
        """Pick up what can be thrown."""
        level = self.level
        level.missiles |= paths.bits(MISSILES[screen.glyphs]) & ~(level.looked_at | level.blocked)
        if level.missiles >> screen.here & 1:
            self.see_to(screen.here)
            self.menu = [",", ENTER]
            return ","
        return self.walk(screen, level.missiles)

    def explore(self, screen: Screen) -> str:
        """Go to where the unknown begins."""
        return self.walk(screen, self.frontier(screen))

    def descend(self, screen: Screen) -> str:
        """To the next level, when strong enough for it."""
        if not self._strong_enough(screen):
            return ""
        down = self.level.down & ~self.level.branch
        return ">" if down >> screen.here & 1 else self.walk(screen, down | screen.holes)

    def clear_way(self, screen: Screen) -> str:
        """Nowhere left to go but past a floating eye: throw at it, give it time to drift away, at last strike it."""
        eyes = sum(1 << m.at for m in screen.monsters if m.name == FLOATING_EYE and not self.is_peaceful(screen, m))
        if not eyes or screen.hp * 5 < screen.max_hp * 4:
            return ""
        level = self.level
        if screen.turn < level.wait_until:
            return self.walk(screen, level.up | level.down) or WAIT
        way = paths.path(screen.here, eyes, self.ground(screen), self.doors(screen))
        if not way:
            return ""
        toward = self.step(screen, way[0])
        if len(way) > 1:
            return toward
        for letter, what in screen.inventory(nethack.WEAPON_CLASS):
            if "wielded" not in what and "weapon in hand" not in what and ord(letter) in ACTION:
                self.answers = {"want to throw": letter, "In what direction": toward}
                return "t"
        level.waits += 1
        if level.waits % 6:
            level.wait_until = screen.turn + 150
            return "s"
        return "F" + toward

    def hold(self, screen: Screen) -> str:
        """Too weak for deeper levels: wait for monsters on the stairs."""
        unknown = not self.level.down and sum(self.level.searches.values()) < _SEARCHES_BEFORE_HOLDING
        if unknown or self._strong_enough(screen):
            return ""
        return self.walk(screen, self.level.up) or WAIT

    def explore_roughly(self, screen: Screen) -> str:
        """Over traps and through boulders."""
        rough = screen.traps | screen.boulders
        goals = self.frontier(screen) | (rough & screen.near_unseen & ~self.level.visited)
        if self._strong_enough(screen):
            goals |= self.level.down & ~self.level.branch
        return self.walk(screen, goals & ~self.level.blocked, also=rough)

    def search(self, screen: Screen) -> str:
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
        starving = screen.hunger >= HUNGRY and not self.ration(screen)
        return screen.level >= needed or screen.turn - self.level.arrived > PATIENCE or starving

    BEHAVIOURS = (
        Survivor.pray,
        Survivor.quaff,
        Survivor.escape_stomach,
        Survivor.hide,
        Survivor.fight,
        return_wares,
        Survivor.hunt,
        Survivor.eat_kill,
        Survivor.eat,
        Survivor.rest,
        Survivor.enhance,
        open_locked,
        leave_mines,
        take_gold,
        gather,
        explore,
        descend,
        clear_way,
        hold,
        explore_roughly,
        search,
    )
