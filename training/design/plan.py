"""A grid of runs: sizes × budgets × seeds, written as TOML, spread into the runs that make it.

    seeds = [0]
    separate = false
    rules = 5          # for widths, batch, step size and games, of `training configure`; 2 unless given
    device = "cpu"     # for which they are; of a GPU "cuda"

    [run]              # fields of every run, in place of what `training configure` would choose
    env = "nethack"
    data = "shards"

    [[grid]]           # one for each budget
    flops = 1e12
    params = [2e4, 4e4, 8e4]

Where the step size does not depend on where a run ends, one training of a size gives a row at each of its budgets;
`separate` makes a training for each row all the same.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from training.config.base import ALGORITHMS, TrainingConfig, default_core
from training.config.checks import known_key, one_of, positive, typed
from training.config.cloning import CloningConfig
from training.config.reinforcement import ReinforcementConfig
from training.design import cloning, reinforcement
from training.errors import ConfigError
from training.policies.family import MAX_PARAMS, spec_for
from training.shards.reader import Shards
from training.toml import read_toml, toml_value

_UNNAMED = 2
"""Version of the rules of a file that names none: what such a file describes is the same in every release."""
_OWN = ("params", "samples", "flops", "checkpoints", "seed")
"""Fields of a run that the grid settles."""


@dataclass(frozen=True, kw_only=True)
class RunGrid:
    """Runs to make. Raises ConfigError on construction for what is no grid; `runs` for a run that cannot be built."""

    grid: Mapping[float, Sequence[float]]
    """Budget (FLOPs) -> model sizes (parameters)."""
    seeds: Sequence[int] = (0,)
    """A training of each size for each."""
    separate: bool = False
    """A training for each row, also where one could give several."""
    rules: int = cloning.RULES[-1]
    """Version of the rules of `training configure`."""
    device: str = "cpu"
    """Of the machine that the runs are for, one of `training.design.cloning.DEVICES`."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every run."""

    def __post_init__(self) -> None:
        if not self.grid or not self.seeds:
            raise ConfigError("a plan needs a [[grid]] with flops and params, and a seed; write some.")
        for flops, sizes in self.grid.items():
            positive("flops", flops)
            positive(f"params at {flops:g} FLOPs", *sizes)
        if any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in self.seeds):
            raise ConfigError(f"seeds must be whole numbers from 0, got {list(self.seeds)}.")
        if not isinstance(self.separate, bool):
            raise ConfigError(f"separate must be true or false, got {self.separate!r}.")
        cloning.check_rules(self.rules)
        one_of("device", self.device, cloning.DEVICES)
        one_of("algorithm", self.run.get("algorithm", "bc"), ALGORITHMS)
        known = {f.name: f.type for f in dataclasses.fields(self.kind) if f.name not in _OWN}
        for name, value in self.run.items():
            if name in _OWN:
                raise ConfigError(f"{name} of a run is settled by the grid; take it out of [run].")
            known_key(name, known, " in [run]")
            typed(f"{name} in [run]", known[name], value)

    @property
    def kind(self) -> type[CloningConfig] | type[ReinforcementConfig]:
        """Of its runs."""
        return CloningConfig if self.run.get("algorithm", "bc") == "bc" else ReinforcementConfig

    @property
    def _schedule(self) -> str:
        """Of the step size of its runs; unless it is constant, no checkpoint on the way is a run's end."""
        if self.kind is CloningConfig:
            return self.run.get("schedule", CloningConfig.schedule)
        return self.run.get("schedule", reinforcement.schedule_of(self.run.get("env", "nethack"), self.rules))

    @cached_property
    def runs(self) -> tuple[TrainingConfig, ...]:
        """The trainings, the cheapest first; those that come out equal are one."""
        return self.spread(Shards(self.run["data"]) if self.run.get("data") else None)

    def spread(self, shards: Shards | None) -> tuple[TrainingConfig, ...]:
        """The same; shards: the demonstrations that `data` names, open already."""
        shared = not self.separate and self._schedule == "constant"
        stages: dict[tuple[float, ...], list[float]] = {}
        for flops in sorted(self.grid):
            for params in self.grid[flops]:
                stages.setdefault((params,) if shared else (params, flops), []).append(flops)
        made = {}
        for (params, *_), budgets in stages.items():
            for seed in self.seeds:
                run = self._run(params, budgets, seed, shards)
                made.setdefault(run.identity, run)
        return tuple(sorted(made.values(), key=lambda run: (run.flops, run.params, run.seed)))

    def _run(self, params: float, budgets: Sequence[float], seed: int, shards: Shards | None) -> TrainingConfig:
        fields: dict[str, Any] = {**self.run, "params": params, "flops": budgets[-1], "seed": seed}
        fields["checkpoints"] = tuple(budgets[:-1])
        try:
            run: TrainingConfig
            if self.kind is CloningConfig:
                run = cloning.configure(rules=self.rules, device=self.device, shards=shards, **fields)
            else:  # a run of a sweep has one core, on which nothing can be done meanwhile
                run = reinforcement.configure(rules=self.rules, device=self.device, **{"lag": 0, **fields})
            # A plan of `forecast next` names the group, also where the run has it anyway: it is the same run.
            unnamed = dataclasses.replace(run, group="")
            return unnamed if unnamed.row_group == run.group else run
        except ConfigError as error:
            raise ConfigError(f"the run of {params:.4g} parameters at {budgets[-1]:.3g} FLOPs: {error}") from None


def read_plan(path: str | Path, **run: Any) -> RunGrid:
    """The plan in a TOML file; `run` are fields of every run that take the place of the file's.

    Raises ConfigError, naming the file.
    """
    content = read_toml(path)
    known = {f.name for f in dataclasses.fields(RunGrid)}
    unknown = [key for key in content if key not in known]
    if unknown:
        keys = ", ".join(sorted(known - {"run", "grid"}))
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; a plan has {keys}, [run] and [[grid]].")
    cells = content.pop("grid", [])
    if not isinstance(cells, list) or not all(isinstance(c, dict) and c.keys() == {"flops", "params"} for c in cells):
        raise ConfigError(f"{path}: each [[grid]] has flops, a budget, and params, a list of sizes; correct it there.")
    for name, kind in (("seeds", list), ("run", dict)):
        if not isinstance(content.get(name, kind()), kind):
            raise ConfigError(f"{path}: {name} must be a {'list' if kind is list else 'table'}; correct it there.")
    content["run"] = {**content.get("run", {}), **run}
    content.setdefault("rules", _UNNAMED)
    try:
        grid: dict[float, list[float]] = {}
        for cell in cells:
            sizes = cell["params"] if isinstance(cell["params"], list) else [cell["params"]]
            positive("flops", cell["flops"])
            positive("params", *sizes)
            grid[float(cell["flops"])] = [*grid.get(float(cell["flops"]), []), *sizes]
        return RunGrid(grid=grid, **content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_toml(plan: RunGrid) -> str:
    """The plan as TOML, which `read_plan` reads back."""
    lines = [f"seeds = {list(plan.seeds)}", f"separate = {toml_value(plan.separate)}", f"rules = {plan.rules}"]
    lines += [f"device = {toml_value(plan.device)}"]
    lines += ["", "[run]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in plan.run.items()]
    for flops in sorted(plan.grid):
        sizes = ", ".join(f"{size:g}" for size in plan.grid[flops])
        lines += ["", "[[grid]]", f"flops = {flops:g}", f"params = [{sizes}]"]
    return "\n".join(lines) + "\n"


def expected_optimum(flops: float) -> float:
    """Parameters of the compute-optimal model where nothing is known yet: 1.6e6 · (C / 1e16)^(1/2).

    The best of the published NetHack transformers at 1e16 FLOPs (arXiv 2307.09423), with the exponent of equal shares
    that the paper's fits come near. It only centres a grid, which is wide.
    """
    return 1.6e6 * math.sqrt(flops / 1e16)


def propose(
    budgets: Sequence[float],
    *,
    sizes: int = 5,
    spacing: float = 2.0,
    seeds: int = 1,
    separate: bool = False,
    centre: tuple[float, float] | None = None,
    run: Mapping[str, Any],
    actions: int,
) -> RunGrid:
    """A grid of `sizes` model sizes for each budget (FLOPs), around its expected optimum.

    All sizes are steps of one ladder, `spacing` apart, so that budgets share sizes, and trainings. centre: a size
    (parameters) and the budget (FLOPs) at which it is believed to be the best; the optimum is taken to grow with the
    root of the budget. The ladder ends where the family does. Raises ConfigError for numbers that make none.
    """
    positive("budgets", *budgets)
    if sizes < 1 or seeds < 1 or not 1 < spacing < math.inf:
        raise ConfigError(f"a grid needs a size, a seed and a spacing above 1, got {sizes}, {seeds} and {spacing:g}.")
    env = run.get("env", "nethack")
    core = run.get("core", default_core(env))
    ladder = list(_ladder(env, core, actions, spacing))
    grid = {}
    for flops in sorted(set(budgets)):
        best = expected_optimum(flops) if centre is None else centre[0] * math.sqrt(flops / centre[1])
        middle = min(range(len(ladder)), key=lambda i: abs(math.log(ladder[i] / best)))
        first = min(max(middle - sizes // 2, 0), max(len(ladder) - sizes, 0))
        grid[flops] = ladder[first : first + sizes]
    return RunGrid(grid=grid, seeds=tuple(range(seeds)), separate=separate, device=cloning.device_here(), run=run)


def _ladder(env: str, core: str, actions: int, spacing: float) -> Iterator[float]:
    """Sizes that the family has, in steps from 2e4 parameters down and up, to two digits, ascending.

    Raises ConfigError for a core that the environment does not have.
    """
    spec_for(env, core, 1e6, actions)
    down, up = (math.floor(math.log(far, spacing)) for far in (2e4, MAX_PARAMS / 2e4))
    for step in range(-down, up + 1):
        size = float(f"{2e4 * spacing**step:.2g}")
        try:
            spec_for(env, core, size, actions)
            yield size
        except ConfigError:  # below the smallest policy, or in a gap between the small ones
            pass
