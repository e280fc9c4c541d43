"""Shortest paths on a NetHack map held as one big integer, a bit a square, so that a whole wave spreads at once.

Squares are numbered row * 80 + column; column 79 is never used, which keeps waves from running over the map's edge.
"""

import numpy as np

WIDTH = 80
ROWS, COLUMNS = 21, 79
ORTHOGONAL = (-WIDTH, 1, WIDTH, -1)
DIAGONAL = (1 - WIDTH, 1 + WIDTH, WIDTH - 1, -WIDTH - 1)
EIGHT = ORTHOGONAL + DIAGONAL
_PADDED = np.zeros((ROWS, WIDTH), bool)
EVERYWHERE = sum(1 << (row * WIDTH + column) for row in range(ROWS) for column in range(COLUMNS))


def square(row: int, column: int) -> int:
    """The number of a square."""
    return row * WIDTH + column


def row_column(number: int) -> tuple[int, int]:
    """The row and column of a square's number."""
    return divmod(number, WIDTH)


def bits(mask: np.ndarray) -> int:
    """A bool map [21, 79] as a set of squares."""
    _PADDED[:, :COLUMNS] = mask
    return int.from_bytes(np.packbits(_PADDED, bitorder="little").tobytes(), "little")


def squares(held: int) -> list[int]:
    """The squares of a set, in rising order."""
    numbers = []
    while held:
        low = held & -held
        numbers.append(low.bit_length() - 1)
        held ^= low
    return numbers


def around(held: int) -> int:
    """All squares next to a square of the set, and the set itself."""
    wide = held | held << 1 | held >> 1
    return (wide | wide << WIDTH | wide >> WIDTH) & EVERYWHERE


def neighbours(number: int, doors: int) -> list[int]:
    """Squares one move away, straight ones first; no diagonal move leads into a door or out of one."""
    straight = [number + offset for offset in ORTHOGONAL]
    if doors >> number & 1:
        return straight
    return straight + [n for n in (number + offset for offset in DIAGONAL) if n >= 0 and not doors >> n & 1]


def flood(start: int, walkable: int, doors: int, goals: int = 0) -> list[int]:
    """Sets of squares at 0, 1, 2, ... moves from `start`, until a goal is met or nothing new is reached.

    `start` itself need not be walkable. With `goals`, the last set holds a goal if any can be reached.
    """
    wave = 1 << start
    waves = [wave]
    free = walkable & ~wave
    open_ground = ~doors
    while wave and not wave & goals:
        slant = wave & open_ground
        up_down = slant << WIDTH | slant >> WIDTH
        slant = (up_down << 1 | up_down >> 1) & open_ground
        wave = (wave << 1 | wave >> 1 | wave << WIDTH | wave >> WIDTH | slant) & free
        free &= ~wave
        waves.append(wave)
    return waves


def path(start: int, goals: int, walkable: int, doors: int) -> list[int]:
    """Squares of a shortest walk from `start` (left out) to the nearest goal; [] if there is none or it is `start`."""
    waves = flood(start, walkable | goals, doors, goals)
    reached = waves[-1] & goals
    if not reached:
        return []
    here = (reached & -reached).bit_length() - 1
    steps = [here]
    for wave in reversed(waves[1:-1]):
        here = next(n for n in neighbours(here, doors) if n >= 0 and wave >> n & 1)
        steps.append(here)
    return steps[::-1] if len(waves) > 1 else []


def reachable(start: int, walkable: int, doors: int) -> int:
    """Every square that can be walked to, `start` included."""
    held = 0
    for wave in flood(start, walkable, doors):
        held |= wave
    return held
