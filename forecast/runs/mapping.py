"""Which column of a file is which of ours: by its name, by the field's usual names, or by a mapping."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from forecast.errors import Problem
from forecast.runs.arithmetic import Expression, NotArithmetic, parsed
from forecast.runs.cells import clean, number
from forecast.runs.checks import CANONICAL, REQUIRED, TEXT
from forecast.runs.files import NUMBER, Sheet

USUAL = {
    "params": ("N", "n_params", "num_params", "nparams", "n_parameters", "num_parameters", "parameters", "model_params",
               "model_size", "param_count"),
    "samples": ("D", "tokens", "n_tokens", "num_tokens", "training_tokens", "train_tokens", "n_samples", "num_samples",
                "frames", "n_frames", "env_frames", "env_steps", "environment_steps", "timesteps", "total_timesteps",
                "num_timesteps"),
    "flops": ("C", "compute", "training_flops", "train_flops", "total_flops", "n_flops", "num_flops", "flop"),
    "loss": ("L", "val_loss", "validation_loss", "valid_loss", "test_loss", "eval_loss", "heldout_loss", "final_loss",
             "nll"),
    "return_mean": ("return", "mean_return", "episode_return", "mean_score"),
    "episodes": ("n_episodes", "num_episodes"),
    "unique_samples": ("unique_tokens",),
    "expert_return": ("demonstrator_return", "expert_score", "max_return"),
    "expert_loss": ("demonstrator_loss", "expert_nll", "expert_entropy"),
}  # fmt: skip
"""Names that the field uses for our columns. Single letters are capitals, the others are in any case, and their words
may be parted by other marks: val/loss."""
_WRITTEN = {
    "flops": ("params", "samples", "flops=6*params*samples"),
    "samples": ("params", "flops", "samples=flops/(6*params)"),
    "params": ("samples", "flops", "params=flops/(6*samples)"),
}
"""For a column that is absent: the two that it follows from for a dense network, and how."""
_PREFIXES = {"k": 3, "thousand": 3, "thousands": 3, "m": 6, "million": 6, "millions": 6, "g": 9, "b": 9, "bn": 9,
             "billion": 9, "billions": 9, "t": 12, "trillion": 12, "trillions": 12}  # fmt: skip
_FLOPS = {"gflops": 9, "tflops": 12, "pflops": 15, "eflops": 18, "zflops": 21}
_WORDS = {
    "params": {"param", "params", "parameter", "parameters"},
    "samples": {"sample", "samples", "token", "tokens", "frame", "frames", "example", "examples", "transitions"},
    "flops": {"flop", "flops", "compute", *_FLOPS},
    "loss": {"loss", "nll"},
    "return_mean": {"return", "returns", "reward", "rewards", "rew", "score", "scores"},
}
"""Words in the name of a column that may be ours."""
_PERPLEXITY = {"perplexity", "ppl"}
_STEPS = {"step", "steps", "update", "updates", "iteration", "iterations", "iters"}


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Where our columns are."""

    sheet: Sheet
    """The file's columns, and those computed from them."""
    columns: dict[str, tuple[str, str]]
    """Canonical name -> column of the sheet and a factor, "" for none."""
    notes: tuple[str, ...]
    """What was mapped or assumed, a sentence each."""
    problems: tuple[Problem, ...]
    """What cannot be read."""
    unread: tuple[str, ...]
    """Columns of the file that are neither ours nor part of one of ours, nor left out by the user."""


def pick(sheet: Sheet, mapping: Mapping[str, str]) -> Picked:
    """Find our columns in a sheet.

    mapping: canonical name -> column, column*factor, or arithmetic over columns; any column -> "" to leave it out.
    """
    notes, problems = list(sheet.notes), []
    ignored = frozenset(name for name, spec in mapping.items() if not str(spec).strip())
    for name in ignored - set(CANONICAL) - set(sheet.cells):
        problems.append(Problem((), name, "is left out, and the table has no such column", _one_of(sheet.cells)))
    wanted = {name: str(spec).strip() for name, spec in mapping.items() if name not in ignored}
    picked: dict[str, tuple[str, str]] = {}
    computed: dict[str, Expression] = {}
    for name, spec in wanted.items():
        column, factor = _split(spec, sheet)
        if name not in CANONICAL:
            problems.append(Problem((), str(name), "is not a column of a run table", f"map one of {listed(CANONICAL)}"))
        elif column in sheet.cells and factor and name in TEXT:
            problems.append(Problem((), name, f"is text and cannot be multiplied by {factor}", "map the column alone"))
        elif column in sheet.cells:
            picked[name] = column, factor
            times = f" × {factor}" if factor else ""
            notes.append(f"`{name}` was read from `{column}`{times}.")
            if name in sheet.cells and column != name:
                notes.append(f"The column `{name}` of the file was not read, because `{name}` is mapped to `{column}`.")
        else:
            try:
                computed[name] = parsed(spec)
            except NotArithmetic as error:
                what = f"is mapped to `{spec}`, which is no column, and {error}"
                problems.append(Problem((), name, what, _one_of(sheet.cells)))
    for name in CANONICAL:
        if name in wanted or name in ignored:
            continue
        if name in sheet.cells:
            picked[name] = name, ""
            continue
        column, problem = _by_usual_name(name, sheet, {c for c, _ in picked.values()} | ignored)
        if column:
            picked[name] = column, ""
            notes.append(f"`{name}` was read from `{column}`.")
        elif problem:
            problems.append(problem)
    given = sheet
    sheet, picked, problems = _compute(sheet, picked, computed, problems, notes)
    if not problems:
        problems += _absent(sheet, picked, set(wanted))
    if "loss" not in picked and "return_mean" in picked:
        near = _near("loss", given, [c for c in given.cells if c not in CANONICAL and c not in ignored])
        notes += [f"The column `{c}` was not read as the loss; if it is the loss, map it: `loss={c}`." for c in near]
    if "row" in sheet.cells and "row" not in {c for c, _ in picked.values()}:
        notes.append("The column `row` was not read, because rows are numbered by their line.")
    sources = {c for c, _ in picked.values()} | {c for e in computed.values() for c in e.columns}
    used = {*CANONICAL, "row", *sources}
    unread = tuple(c for c in given.cells if c not in used | ignored)
    return Picked(sheet=sheet, columns=picked, notes=tuple(notes), problems=tuple(problems), unread=unread)


def _compute(
    sheet: Sheet, picked: dict[str, tuple[str, str]], computed: dict[str, Expression], problems: list[Problem],
    notes: list[str],
) -> tuple[Sheet, dict[str, tuple[str, str]], list[Problem]]:  # fmt: skip
    """The sheet with the computed columns; a column of the file goes before one of ours of the same name."""
    picked, problems, cells = dict(picked), list(problems), dict(sheet.cells)
    waiting = dict(computed)
    while waiting:
        ready = {n: e for n, e in waiting.items() if all(c in cells or c in picked for c in e.columns)}
        if not ready:
            break
        for name, expression in ready.items():
            del waiting[name]
            of = {c: (c, "") if c in sheet.cells else picked[c] for c in expression.columns}
            try:
                cells[expression.text] = _values(name, expression, cells, of, sheet.rows)
            except NotArithmetic as error:
                problems.append(Problem((), name, f"is mapped to `{expression.text}`, and {error}", "correct it"))
                continue
            picked[name] = expression.text, ""
            notes.append(f"`{name}` was computed as `{expression.text}`.")
    for name, expression in waiting.items():
        missing = [c for c in expression.columns if c not in cells and c not in picked] or expression.columns
        what = f"is mapped to `{expression.text}`, and the table has no such column as {listed(missing)}"
        problems.append(Problem((), name, what, _one_of(sheet.cells)))
    return replace(sheet, cells=cells), picked, problems


def _values(
    name: str, expression: Expression, cells: Mapping[str, pd.Series], of: Mapping[str, tuple[str, str]],
    rows: Sequence[int],
) -> pd.Series:  # fmt: skip
    index = list(rows)
    if name in TEXT:
        texts = {c: ["" if pd.isna(v) else clean(v) for v in cells[column].tolist()] for c, (column, _) in of.items()}
        return pd.Series(expression.texts(texts, len(index)), index=index, dtype=object)
    values, bad = {}, {}
    for c, (column, factor) in of.items():
        read = []
        for row, cell in zip(index, cells[column].tolist(), strict=True):
            try:
                read.append(number(cell, factor))
            except (TypeError, ValueError, OverflowError, ArithmeticError):
                read.append(np.nan)
                bad[row] = cell
        values[c] = np.array(read, float)
    result = pd.Series(np.broadcast_to(expression.numbers(values), len(index)).copy(), index=index)
    return result.astype(object).where(~result.index.isin(list(bad)), pd.Series(bad, dtype=object)) if bad else result


def _split(spec: str, sheet: Sheet) -> tuple[str, str]:
    """ "loss*2" -> ("loss", "2"), unless a column has that very name."""
    head, star, tail = spec.rpartition("*")
    factor = tail.strip()
    if spec not in sheet.cells and star and NUMBER.fullmatch(factor) and 0 < float(factor) < np.inf:
        return head.strip(), factor
    return spec, ""


def _by_usual_name(name: str, sheet: Sheet, used: set[str]) -> tuple[str, Problem | None]:
    """The file's column of another name that the field uses for ours; "" without one, a problem where there are two."""
    usual = USUAL.get(name, ())
    known = {name, *(u for u in usual if len(u) > 1)}
    free = [c for c in sheet.cells if c not in used and c not in CANONICAL]
    found = [c for c in free if re.sub(r"[ /.-]+", "_", c.casefold()) in known or c in usual]
    if len(found) < 2:
        return (found[0] if found else ""), None
    what = f"is missing, and {listed(found)} may each be it"
    return "", Problem((), name, what, "say which", mapping=f"{name}={found[0]}")


def _absent(sheet: Sheet, picked: Mapping[str, object], mapped: set[str]) -> list[Problem]:
    """Required columns that were not found, with what they may be or follow from."""
    problems = []
    for name in REQUIRED:
        if name in picked or name in mapped or (name == "loss" and "return_mean" in picked):
            continue
        free = [c for c in sheet.cells if c not in CANONICAL and c not in {p[0] for p in picked.values()}]  # type: ignore[index]
        near = _near(name, sheet, free)
        *needed, formula = _WRITTEN.get(name, ("", "", ""))
        what = f"is missing; the table has {listed(sheet.cells)}"
        if near:
            fix, mapping = (
                f"did you mean {listed(near)}? rename the column, or map it",
                f"{name}={near[0]}{_times(name, near[0])}",
            )
        elif composed := _composed(name, sheet, free):
            fix, mapping = composed
        elif formula and all(n in picked for n in needed):
            fix, mapping = "for a dense network it follows from the others", formula
        else:
            fix, mapping = "rename the column, or map it", f"{name}=<column of the file>"
        problems.append(Problem((), name, what, fix, mapping=mapping))
    return problems


def _near(name: str, sheet: Sheet, free: Sequence[str]) -> list[str]:
    """Up to three of the free columns that may be ours: spelt almost like it, or with a word for it in their name."""
    return [c for c in sheet.near(name) if c in free] or [c for c in free if _words(c) & _WORDS[name]][:3]


def _composed(name: str, sheet: Sheet, free: Sequence[str]) -> tuple[str, str] | None:
    """What one of our columns may be computed from, or what may stand in its place, and the mapping."""

    def first(words: set[str]) -> str:
        """As arithmetic names it, which needs no quotes; "" for none."""
        return next((c for c in free if _words(c) & words and c.isidentifier()), "")

    if name == "samples" and (steps := first(_STEPS)):
        if batch := first({"batch", "batchsize"}):
            fix = f"if `{batch}` is the samples of one of the `{steps}`, map their product"
            return fix, f"samples={steps}*{batch}"
        return f"if `{steps}` counts the frames of all games, map it", f"samples={steps}"
    if name == "loss" and (perplexity := first(_PERPLEXITY)):
        return f"if `{perplexity}` is a perplexity, map its logarithm", f"loss=log({perplexity})"
    if name == "loss" and (scores := _near("return_mean", sheet, free)):
        return f"a table without losses is fitted through its returns; if {listed(scores)} is one, map it", (
            f"return_mean={scores[0]}"
        )
    return None


def _words(column: str) -> set[str]:
    """Of the name of a column: `trainTokens_seen (B)` has train, tokens, seen and b."""
    return set(re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", column).lower()))


def _times(name: str, column: str) -> str:
    """The factor that a column's own name tells: "*1e6" of `Params (M)`, "*1e18" of `FLOPs (1e18)`, "" of most."""
    if name == "loss":
        return ""
    powers = {power for word, power in (_PREFIXES | _FLOPS).items() if word in _words(column)}
    powers |= {int(power) for power in re.findall(r"(?:1e|10\^)\+?(\d{1,2})", column)}
    return f"*1e{powers.pop()}" if len(powers) == 1 else ""


def listed(names: object) -> str:
    """Names in backticks, the first forty."""
    shown = [f"`{n if len(n) <= 60 else n[:60] + '…'}`" for n in names]  # type: ignore[attr-defined]
    return ", ".join(shown[:40]) + (f" and {len(shown) - 40} more" if len(shown) > 40 else "") or "no columns"


def _one_of(names: object) -> str:
    return f"map it to one of {listed(names)}"
