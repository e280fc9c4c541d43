"""Which of given runs to train: chosen one after the other, each the one that helps most beside those before it."""

from collections.abc import Callable, Sequence

import numpy as np

_ENOUGH = 0.01  # of the least regret: fewer runs that come so near to it are taken in place of more


def choose(costs: np.ndarray, spend: float, count: int, regret_after: Callable[[Sequence[int]], float]) -> list[int]:
    """Numbers of at most `count` candidates that cost at most `spend` together, in the order of choice.

    Chosen greedily twice, by regret saved and by regret saved a FLOP, as either alone can be far from the best where
    costs differ (Leskovec et al., 2007, KDD, 420-429); what saves more is taken.

    costs: FLOPs of each candidate [J].
    regret_after: expected regret once the candidates of these numbers are trained.
    """
    ways = [_greedy(costs, spend, count, regret_after, by_cost=by_cost) for by_cost in (False, True)]
    chosen, regret = min(ways, key=lambda way: way[1][-1])
    least = min(regret)
    enough = next(k for k, x in enumerate(regret) if x <= (1 + _ENOUGH) * least)
    return chosen[:enough]


def _greedy(
    costs: np.ndarray, spend: float, count: int, regret_after: Callable[[Sequence[int]], float], *, by_cost: bool
) -> tuple[list[int], list[float]]:
    """Candidates in the order of choice, and the regret before and after each of them."""
    chosen: list[int] = []
    regret = [regret_after([])]
    while len(chosen) < count:
        left = spend * (1 + 1e-9) - costs[chosen].sum()
        able = [j for j in np.flatnonzero(costs <= left).tolist() if j not in chosen]
        if not able:
            break
        after = np.array([regret_after([*chosen, j]) for j in able])
        saved = (regret[-1] - after) / (costs[able] if by_cost else 1.0)
        best = int(np.argmax(saved))
        chosen.append(able[best])
        regret.append(float(after[best]))
    return chosen, regret
