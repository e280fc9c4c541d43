"""Demonstrations that the sweeps of several files learn from."""

import pytest
from letter_game import write_letters


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_letters(tmp_path_factory.mktemp("sweep") / "shards")
