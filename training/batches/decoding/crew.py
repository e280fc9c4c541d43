"""Who decodes batches ahead of the training loop: threads of this process, or processes that write into its memory.

Threads share Python's lock, so more than two are slower than two; processes scale with the cores.
"""

import abc
import os
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from training.batches.decoding.decoder import decoder_of
from training.batches.decoding.plan import BatchPlan
from training.batches.decoding.ring import Ring, ring_bytes
from training.batches.streams import batch_fields
from training.processes import Helper, nameless_file
from training.shards.reader import Shards

AHEAD = 3
"""Batches that are decoded, or being decoded, before they are asked for."""


class Crew(abc.ABC):
    """Some decoders, each of which works on what it is asked for in that order."""

    ring: Ring
    """Where they write."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        """How many they are."""

    @abc.abstractmethod
    def fill(self, part: int, update: int, place: int) -> Any:
        """Ask decoder `part` for its part of batch `update` at a place of the ring; a ticket to `wait` with."""

    @abc.abstractmethod
    def prepare(self, part: int, update: int) -> None:
        """Ask decoder `part` to prepare batch `update`; nobody waits for it."""

    @abc.abstractmethod
    def wait(self, part: int, ticket: Any) -> None:
        """Wait until it is done, however often; raises what the decoder raised."""

    @abc.abstractmethod
    def close(self) -> None:
        """End threads and processes."""


class Threads(Crew):
    """Decoders in this process."""

    def __init__(self, shards: Shards, plan: BatchPlan, parts: int) -> None:
        super().__init__(parts)
        self.ring = Ring(batch_fields(shards, len(plan.rows), plan.unroll_length), AHEAD)
        self._decoders = [decoder_of(shards, plan, part, parts) for part in range(parts)]
        self._pools = [ThreadPoolExecutor(1, thread_name_prefix="demonstrations") for _ in range(parts)]

    def fill(self, part: int, update: int, place: int) -> Future[None]:
        """As of `Crew`."""
        return self._pools[part].submit(self._decoders[part].fill, update, self.ring.place(place))

    def prepare(self, part: int, update: int) -> None:
        """As of `Crew`."""
        self._pools[part].submit(self._decoders[part].prepare, update)

    def wait(self, part: int, ticket: Future[None]) -> None:
        """As of `Crew`."""
        ticket.result()

    def close(self) -> None:
        """As of `Crew`."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


class Processes(Crew):
    """Decoders in processes of their own, running `training.batches.decoding.worker`."""

    def __init__(self, shards: Shards, plan: BatchPlan, parts: int) -> None:
        super().__init__(parts)
        fields = batch_fields(shards, len(plan.rows), plan.unroll_length)
        memory = nameless_file(ring_bytes(fields, AHEAD))
        self._helpers: list[Helper] = []
        self._release = weakref.finalize(self, _end, self._helpers, os.getpid())
        try:
            self.ring = Ring(fields, AHEAD, memory)
            settings = {"shards": str(shards.path), "plan": asdict(plan), "parts": parts, "memory": memory}
            for part in range(parts):
                task = settings | {"part": part}
                self._helpers.append(
                    Helper("training.batches.decoding.worker", task, work="decodes batches", files=[memory])
                )
        finally:
            os.close(memory)  # mapped here and inherited there
        self._asked, self._heard = [0] * parts, [0] * parts
        self._errors: dict[tuple[int, int], Exception] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids."""
        return tuple(helper.pid for helper in self._helpers)

    def fill(self, part: int, update: int, place: int) -> int:
        """As of `Crew`."""
        return self._ask(part, ("fill", update, place))

    def prepare(self, part: int, update: int) -> None:
        """As of `Crew`."""
        self._ask(part, ("prepare", update, None))

    def wait(self, part: int, ticket: int) -> None:
        """As of `Crew`; MachineError when the process died."""
        while self._heard[part] < ticket:
            _, error = self._helpers[part].answer()
            self._heard[part] += 1
            if error is not None:
                self._errors[part, self._heard[part]] = error
        if (part, ticket) in self._errors:
            raise self._errors[part, ticket]

    def close(self) -> None:
        """As of `Crew`."""
        self._release()

    def _ask(self, part: int, request: tuple[str, int, int | None]) -> int:
        self._helpers[part].ask(request)
        self._asked[part] += 1
        return self._asked[part]


def _end(helpers: list[Helper], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the owner exits: nothing here is its own
        return
    for helper in helpers:
        helper.end()
