"""How many runs share a card is found from their rates, whatever sizes they have and however rates scatter."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from small_sweeps import plan

from training.learn.runs.monitor import PROGRESS
from training.sweeps import jobs
from training.sweeps.jobs import Job, ThisMachine
from training.sweeps.sharing import LOOKS, MISSES, READINGS, Card, Sharing

CURVES = {
    "one fills the card": lambda k: 100.0,
    "more are slower": lambda k: 100.0 / k**0.3,
    "two fill it": lambda k: min(100.0 * k, 200.0),
    "saturating": lambda k: 1000.0 * k / (k + 4),
    "launch-bound": lambda k: 100.0 * k,
    "falling after six": lambda k: 100.0 * k if k <= 6 else 600.0 - 60.0 * (k - 6),
}
KEPT = {
    "one fills the card": 1,
    "more are slower": 1,
    "two fill it": 2,
    "saturating": 13,
    "launch-bound": 16,
    "falling after six": 6,
}


def found(rate, most=16):
    sharing, tried = Sharing(most), []
    while not sharing.settled:
        tried.append(sharing.allowed)
        assert len(tried) < 50
        sharing.measured(sharing.allowed, rate(sharing.allowed))
    return sharing, tried


@pytest.mark.parametrize("curve", CURVES)
def test_runs_are_added_while_all_get_faster_together(curve):
    rate = CURVES[curve]
    sharing, tried = found(rate)
    assert sharing.allowed == KEPT[curve]
    assert rate(sharing.allowed) >= max(map(rate, range(1, 17))) / 1.3
    assert tried == sorted(tried)
    assert len(tried) <= 8 * LOOKS


def test_rates_that_scatter_mislead_little():
    rng = np.random.default_rng(0)
    for rate in CURVES.values():
        best, kept = max(map(rate, range(1, 17))), []
        for _ in range(200):
            sharing, _ = found(lambda k: rate(k) * rng.normal(1.0, 0.03))  # noqa: B023
            kept.append(rate(sharing.allowed) / best)
        assert np.mean(kept) > 0.8
        assert np.quantile(kept, 0.05) > 0.6


def test_no_more_than_may_be_are_tried():
    assert found(CURVES["launch-bound"], most=5)[0].allowed == 5
    alone = Sharing(1)
    assert (alone.allowed, alone.settled) == (1, True)


def test_a_rate_of_another_number_of_runs_decides_nothing():
    sharing = Sharing(4)
    for _ in range(9):
        sharing.measured(3, 1000.0)
    assert (sharing.allowed, sharing.settled, sharing.rates) == (1, False, {})


class Runs:
    """Runs on a card whose rates follow their size and how many train."""

    def __init__(self, card, speed):
        self.card, self.speed, self.sizes, self.updates = card, speed, {}, 0

    def fill(self, sizes):
        while not self.card.full:
            name = len(self.sizes)
            self.sizes[name] = sizes[name]
            self.card.begins(name)

    def pass_time(self, doing="training"):
        self.updates += 1
        told = {"doing": doing, "update": self.updates}
        self.card.look(
            {n: {**told, "frames_per_second": self.speed(size, len(self.sizes))} for n, size in self.sizes.items()}
        )


@pytest.mark.parametrize(
    ("speed", "kept"),
    [
        (lambda size, runs: 100.0 / size / runs, 1),  # the card computes all the time: more only wait for each other
        (lambda size, runs: 100.0, 8),  # every kernel waits to be launched, whatever its size
        (lambda size, runs: 100.0 / size, 8),  # a run keeps its rate
        (lambda size, runs: 100.0 / size / max(1.0, runs / 3), 3),
    ],
)
def test_sizes_of_runs_are_not_taken_for_their_slowness(speed, kept):
    """The runs that come later are larger, as in a sweep: what counts is how much slower each becomes."""
    told = []
    card = Card(sharing=Sharing(8), say=told.append)
    runs = Runs(card, speed)
    for _ in range(200):
        runs.fill([2.0**k for k in range(16)])
        runs.pass_time()
    assert (card.sharing.allowed, card.sharing.settled) == (kept, True)
    assert len(told) == 1
    assert told[0].startswith(f"{'One run' if kept == 1 else f'{kept} runs side by side'} on a GPU from now on; frames")


def test_what_does_not_train_is_not_measured():
    card = Card(sharing=Sharing(8))
    runs = Runs(card, lambda size, runs: 100.0)
    runs.fill([1.0] * 9)
    for _ in range(50):
        runs.pass_time("playing 3/30")
    assert card.sharing.rates == {}
    for _ in range(LOOKS * (READINGS + 1)):
        runs.pass_time()
    assert card.sharing.allowed == 2


def test_runs_that_end_too_soon_are_as_many_as_fit():
    told = []
    card = Card(sharing=Sharing(8), say=told.append)
    for number in range(MISSES):
        assert card.sharing.allowed == 1
        card.begins(number)
        card.ends(number)
    assert (card.sharing.allowed, card.sharing.settled) == (8, True)
    assert told == ["Runs are too short to measure how many share a GPU best; memory and cores decide."]


def test_the_machine_starts_what_its_cards_allow(data, tmp_path, monkeypatch):
    """With processes that only write where they are: two cards, on which a third run makes the others slower."""
    run = plan(data).runs[0]
    waiting = [
        Job(config=run, folder=tmp_path / str(n), table=tmp_path / "runs.csv", threads=1, memory=1.0) for n in range(20)
    ]
    ended, told = set(), []

    def begin(job, gpu=None):
        job.folder.mkdir()
        return SimpleNamespace(poll=lambda: 0 if job in ended else None)

    monkeypatch.setattr(jobs, "begin", begin)
    machine = ThisMachine(16, gpus=[10.0, 5.0], by_rate=True, say=told.append)
    counts = []
    for update in range(100):
        while machine.room(waiting[0]):
            machine.start(waiting.pop(0))
        of_card = [gpu for _, gpu in machine._running.values()]
        counts.append(tuple(of_card.count(gpu) for gpu in (0, 1)))
        for job, (_, gpu) in machine._running.items():
            rate = 100.0 / max(1.0, of_card.count(gpu) / 2)
            news = {"doing": "training", "update": update, "frames_per_second": rate}
            (job.folder / PROGRESS).write_text(json.dumps(news))
        machine.ended()
    assert counts[0] == (1, 1)
    assert max(counts) == (3, 3)
    assert [card.sharing.allowed for card in machine._cards] == [2, 2]
    assert len(told) == 2
    ended.update(list(machine._running)[:4])  # no other run takes the place of the third
    assert len(machine.ended()) == 4
    while machine.room(waiting[0]):
        machine.start(waiting.pop(0))
    assert len(machine._running) == 4


def test_a_cpu_shares_by_rate_where_it_is_asked_to(data, tmp_path):
    from training.sweeps.sweep import Sweep

    told = []
    sweep = Sweep.of(plan(data, budgets=(3e8,), sizes=(1e4,)).runs, tmp_path / "sweep")
    sweep.go(ThisMachine(2, by_rate=True, say=told.append))
    assert sweep.count("finished") == 1
    assert not ThisMachine(2)._cards  # by default it has a run a core, as ever
