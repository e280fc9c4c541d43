"""What the scripted player knows of NetHack beforehand: keys, and which monsters and things to fight, eat or leave."""

import re
from typing import Any

import numpy as np
from nle import nethack as _nethack

from training.bot import paths

nethack: Any = _nethack  # most of its names come from a compiled module that a type checker cannot see into

ACTION_COUNT = len(nethack.ACTIONS)
ACTION: dict[int, int] = {}
"""The first action index of every key that NetHackChallenge can send."""
for _index, _key in enumerate(nethack.ACTIONS):
    ACTION.setdefault(int(_key), _index)
FIRST_INDEX = [ACTION[int(key)] for key in nethack.ACTIONS]
"""The first action index with the same key, for every action index: what a recording can tell of an action."""

ESC, ENTER = "\x1b", "\r"
KICK, PRAY, ENHANCE = (
    chr(command) for command in (nethack.Command.KICK, nethack.Command.PRAY, nethack.Command.ENHANCE)
)
DIRECTIONS: dict[int, str] = dict(zip(paths.EIGHT, "kljhunby", strict=True))
"""The key of a move to a neighbouring square, by the difference of the squares' numbers."""
SATIATED, NORMAL, HUNGRY, WEAK = range(4)
MINES = 2  # the number of the Gnomish Mines among the dungeons

NAMES: list[str] = [nethack.permonst(kind).mname for kind in range(nethack.NUMMONS)]
LEVELS: list[int] = [nethack.permonst(kind).mlevel for kind in range(nethack.NUMMONS)]

NEVER_FIGHT = {"cockatrice", "chickatrice", "gas spore"}  # kills whoever touches it
NEVER_FIGHT |= {"shopkeeper", "guard", "Oracle", "aligned priest", "watchman", "watch captain"}
# It paralyses whoever hits it and does not kill it at once, and then anything else kills.
FLOATING_EYE = "floating eye"
CAREFUL = {"acid blob": 10, "yellow mold": 25, "red mold": 25, "brown mold": 45, "green mold": 45}
CAREFUL |= {"spotted jelly": 45, "ochre jelly": 45, "blue jelly": 60, "gelatinous cube": 60}
"""Hit points from which on a monster is touched that hurts whoever hits it, and that hardly moves."""

SHOP_GREETING = re.compile(r"[Ww]elcome (again )?to .*'s? |leave your pick")
HOPELESS_MOVE = re.compile(r"in vain|Perhaps that's why")

_POISONOUS = 0x10000000  # M1_POIS of monst.h
_BAD_TO_EAT = {"cockatrice", "chickatrice", "Medusa", "green slime", "gremlin", "leprechaun", "stalker", "chameleon"}
_BAD_TO_EAT |= {"doppelganger", "small mimic", "large mimic", "giant mimic", "bat", "giant bat", "vampire bat"}
_BAD_TO_EAT |= {"little dog", "dog", "large dog", "kitten", "housecat", "large cat"}
_NO_FLESH_FOR_US = "ZMVL@&'F;"  # undead, humans, demons, golems, fungi, sea monsters


def _symbol(kind: int) -> str:
    return nethack.class_sym.from_mlet(nethack.permonst(kind).mlet).sym


def _edible(kind: int) -> bool:
    name = NAMES[kind]
    poisonous = nethack.permonst(kind).mflags1 & _POISONOUS
    return not (poisonous or name in _BAD_TO_EAT or name.startswith("were") or _symbol(kind) in _NO_FLESH_FOR_US)


EDIBLE = [_edible(kind) for kind in range(nethack.NUMMONS)]
"""Whether the fresh corpse of a kind of monster is eaten."""
HEEDS_ELBERETH = [_symbol(kind) != "@" and NAMES[kind] != "minotaur" for kind in range(nethack.NUMMONS)]
"""Whether a kind of monster keeps away from the word."""


def _things(wanted: int, *, without: tuple[str, ...] = (), ending: tuple[str, ...] = ("",)) -> np.ndarray:
    """bool [MAX_GLYPH + 1]: glyphs of the objects of a class whose name ends in one of `ending`."""
    glyphs = np.zeros(nethack.MAX_GLYPH + 1, bool)
    for index in range(nethack.NUM_OBJECTS):
        kind = nethack.objclass(index)
        name = nethack.OBJ_NAME(kind)
        if ord(kind.oc_class) == wanted and name not in without and name.endswith(ending):
            glyphs[nethack.GLYPH_OBJ_OFF + index] = True
    return glyphs


GOLD = _things(nethack.COIN_CLASS)
_GLOBS = tuple(f"glob of {what}" for what in ("gray ooze", "brown pudding", "green slime", "black pudding"))
FOOD = _things(nethack.FOOD_CLASS, without=("corpse", "egg", "tin", "kelp frond", *_GLOBS))
MISSILES = _things(nethack.WEAPON_CLASS, ending=("dart", "dagger", "knife", "shuriken", "arrow", "bolt"))
