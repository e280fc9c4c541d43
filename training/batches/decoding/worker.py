"""A process that decodes its part of the batches that its parent asks for, into memory that the two share."""

import json
import sys
from functools import cached_property
from typing import Any

from training.batches.decoding.crew import AHEAD
from training.batches.decoding.decoder import Decoder, decoder_of
from training.batches.decoding.plan import BatchPlan
from training.batches.decoding.ring import Ring
from training.batches.streams import batch_fields
from training.processes import serve
from training.shards.reader import Shards


class _Worker:
    """What is opened at the first request, so that an error on the way is told like any other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._plan = BatchPlan(**settings["plan"])

    def __call__(self, request: tuple[str, int, int]) -> None:
        """Do what is asked for: ("fill", update, place of the ring) or ("prepare", update, None)."""
        kind, update, place = request
        if kind == "fill":
            self._decoder.fill(update, self._ring.place(place))
        else:
            self._decoder.prepare(update)

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self._settings["shards"])

    @cached_property
    def _decoder(self) -> Decoder:
        return decoder_of(self._shards, self._plan, self._settings["part"], self._settings["parts"])

    @cached_property
    def _ring(self) -> Ring:
        fields = batch_fields(self._shards, len(self._plan.rows), self._plan.unroll_length)
        return Ring(fields, AHEAD, self._settings["memory"])


def main(settings: str) -> None:
    """Serve until the parent is gone. `settings`: JSON of shards, plan, part, parts and descriptors memory and line."""
    options = json.loads(settings)
    serve(options["line"], _Worker(options))


if __name__ == "__main__":
    main(sys.argv[1])
