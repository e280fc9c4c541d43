"""A table without losses, and the command, for the files here."""

import pytest
from helpers import command
from returns_tables import played

from forecast.cli.commands import main
from forecast.runs.read import read_runs


@pytest.fixture(scope="session")
def runs():
    return read_runs(played(0))


@pytest.fixture
def run(monkeypatch, capsys):
    return command(main, "forecast", monkeypatch, capsys)
