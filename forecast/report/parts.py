"""Answers to further questions as parts of the page: a run under way, another recipe, the runs to make next."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from forecast.decide.next_runs import Plan
from forecast.decide.recipes import Recipes
from forecast.decide.watch import Watched
from forecast.numbers import chance, digits, scientific
from forecast.report.figures import asked
from forecast.report.figures.style import SMALL
from forecast.report.pictures import Picture, picture
from forecast.report.tables import Table

Answer = Watched | Recipes | Plan
"""What `forecast.watch`, `compare_recipes` and `next_runs` return."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """An answer as it stands on the page."""

    id: str
    title: str
    sentence: str
    pictures: dict[str, Picture]
    figures: Sequence[tuple[str, str, str]]
    """Of each: its name, what it shows for those who cannot see it, and its caption."""
    table: Table
    remark: str


def part(answer: Answer, table: pd.DataFrame, slug: str) -> Part:
    """table: rows of the group that the part stands in; slug: begins the names of the group's figures."""
    if isinstance(answer, Watched):
        return _of_watched(answer, table, slug)
    if isinstance(answer, Recipes):
        return _of_recipes(answer, slug)
    return _of_plan(answer, table, slug)


def _of_watched(found: Watched, table: pd.DataFrame, slug: str) -> Part:
    drawn = picture(f"{slug}-watched", asked.watched(table, found), narrow=asked.watched(table, found, SMALL))
    return Part(
        id="watched",
        title="A run under way",
        sentence=found.sentence,
        pictures={"watched": drawn},
        figures=[
            (
                "watched",
                "Losses of the run so far and the forecast of its end, beside those of new runs",
                "Blue: the loss of this run from its last checkpoint to its end. Beside its end, the intervals of a "
                "new run of its size and samples, and of a new run of the recommended size on the compute that is "
                "left.",
            )
        ],
        table=_printed(found.table()),
        remark="The forecast follows from the law, from what the law leaves unexplained in this and all other runs, "
        "and from the noise of a measurement. To go on is advised where this run is likelier than not to end lower.",
    )


def _of_recipes(found: Recipes, slug: str) -> Part:
    a, b = found.names
    curve = found.curve
    rows = [
        (scientific(r["flops"]), digits(r["a"]), digits(r["b"]), chance(r["probability"]), digits(r["median"]),
         f"{digits(r['q05'])} to {digits(r['q95'])}")
        for r in curve.to_dict(orient="records")
    ]  # fmt: skip
    head = ("FLOPs", f"{found.objective}, {a}", f"{found.objective}, {b}", f"{b} is better", "compute it needs", "90%")
    drawn = {"reached": asked.reached(found), "saved": asked.saved(found)}
    return Part(
        id="recipes",
        title=f"Beside {b}",
        sentence=found.sentence,
        pictures={name: picture(f"{slug}-{name}", figure) for name, figure in drawn.items()},
        figures=[
            ("reached", f"What {a} and {b} reach against compute", "The best size of each: median, 50% and 90%."),
            (
                "saved",
                f"Compute that {b} needs over that of {a}",
                f"The compute with which {b} reaches what {a} does, over the compute of {a}; below the line {b} is "
                "ahead.",
            ),
        ],
        table=Table(head=head, rows=rows),
        remark="The two are taken to be independent, also in how their frontiers go on beyond the data, so that far "
        "beyond both tables the interval is wide. Losses must be of the same held-out data, returns of the same game.",
    )


def _of_plan(found: Plan, table: pd.DataFrame, slug: str) -> Part:
    drawn = {"plan": asked.plan(table, found), "after": asked.after_each(found)} if len(found.runs) else {}
    captions = {
        "plan": ("Sizes and budgets of the planned runs", "The runs to make among the rows of the table."),
        "after": (
            "Expected regret after each planned run",
            "What the recommended run gives away against the best size, in expectation, after each of these runs.",
        ),
    }
    return Part(
        id="next",
        title="Which runs to make next",
        sentence=found.sentence,
        pictures={name: picture(f"{slug}-{name}", figure) for name, figure in drawn.items()},
        figures=[(name, *captions[name]) for name in drawn],
        table=_printed(found.table(), text=int("run" in found.runs)),
        remark=f"Chosen for the recommendation at {scientific(found.target_flops)} FLOPs, within "
        f"{scientific(found.spend)} FLOPs.",
    )


def _printed(table: pd.DataFrame, *, text: int = 1) -> Table:
    return Table(head=tuple(table.columns), rows=[tuple(map(str, row)) for row in table.to_numpy()], text=text)
