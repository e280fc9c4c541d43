"""Helper processes answer in order, pass on what they meet, and end with their parent's word or by themselves."""

import mmap
import os
import signal

import pytest

from training.errors import MachineError
from training.processes import Helper, ending, nameless_file


@pytest.fixture
def helper():
    helper = Helper("dividing", {}, work="divides")
    yield helper
    helper.end()
    helper.end()


def test_answers_come_in_order_and_an_error_does_not_end_it(helper):
    for number in (2, 0, 4):
        helper.ask(number)
    assert helper.answer() == (0.5, None)
    result, error = helper.answer()
    assert result is None
    assert isinstance(error, ZeroDivisionError)
    assert "dividing.py" in error.__notes__[0]  # a bug: where it is, is told
    assert helper.answer() == (0.25, None)


def test_one_that_died_is_an_error_however_often_it_is_asked(helper):
    os.kill(helper.pid, signal.SIGKILL)
    for _ in range(2):
        helper.ask(1)
        with pytest.raises(MachineError, match=f"Process {helper.pid}, which divides, was killed by SIGKILL"):
            helper.answer()


def test_signals_to_stop_are_the_parents_to_handle(helper):
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(helper.pid, number)
    helper.ask(1)
    assert helper.answer() == (1, None)


def test_nameless_memory_is_zeros_of_the_size_without_a_name():
    file = nameless_file(100)
    with mmap.mmap(file, 100) as memory:
        assert memory[:] == bytes(100)
    assert os.fstat(file).st_nlink == 0
    os.close(file)


def test_endings_in_words():
    assert ending(3) == "ended with exit code 3"
    assert ending(-9) == "was killed by SIGKILL"
