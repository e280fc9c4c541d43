"""A forecast of the published table, its recommendation and its outcome, sampled once for all files here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import forecast
from forecast.model.encode import encode
from forecast.report.page import write_report
from forecast.runs.cost import group_costs


@pytest.fixture(scope="session")
def posterior() -> forecast.Posterior:
    return forecast.fit(forecast.read_runs("nethack-transformer"), chains=2, draws=100, warmup=100)


@pytest.fixture(scope="session")
def recommendation(posterior: forecast.Posterior) -> forecast.Recommendation:
    return forecast.recommend(posterior, flops=1e19)


@pytest.fixture(scope="session")
def report_of_two(two_groups: forecast.Posterior) -> Callable[..., Path]:
    """The page of two games that are called so, the first name being the lesser one, in a folder."""

    def written(first: str, second: str, out: Path) -> Path:
        table = two_groups.runs.table.replace({"group": {"one": first, "other": second}})
        runs = replace(two_groups.runs, table=table)
        renamed = replace(two_groups, runs=runs, encoding=encode(runs), cost=group_costs(runs), paces={})
        assert renamed.groups == (first, second)
        both = [forecast.recommend(renamed, flops=1e19, group=group) for group in renamed.groups]
        return write_report(renamed, both, out, replicates=0)

    return written


@pytest.fixture
def score(recommendation: forecast.Recommendation, tmp_path: Path) -> forecast.Score:
    """The recommendation, and two seeds that carried it out, one of them a miss."""
    file = tmp_path / "recommendation.toml"
    file.write_text(recommendation.to_toml(), encoding="utf-8")
    row = {c: getattr(recommendation, c) for c in ("params", "samples", "flops")}
    seeds = [
        {
            **row,
            "run": f"s{k}",
            "loss": loss,
            "loss_se": 0.001,
            "return_mean": 5000.0,
            "return_se": 200.0,
            "episodes": 9,
        }
        for k, loss in enumerate((float(recommendation.loss["median"]), 0.3))  # type: ignore[index]
    ]
    return forecast.score(file, forecast.read_runs(pd.DataFrame(seeds), to_fit=False))
