"""Players for the recorder's tests, in a file of their own so that a worker process can import it."""

import os
import signal

import torch
from torch import nn


class Counting(nn.Module):
    """Answers 5 at a game's start, then one more than the action before, modulo 8; never wrong about the frame."""

    actions = 121

    def initial_state(self, batch_size, device=None):
        return (torch.zeros(batch_size, 1),)

    def forward(self, batch, state):
        (steps,) = state
        assert batch["chars"].shape == batch["colors"].shape == (1, 1, 24, 80)
        assert batch["chars"].dtype == batch["colors"].dtype == torch.uint8
        assert batch["cursor"].shape == (1, 1, 2)
        assert batch["start"].item() == (steps.item() == 0)
        answer = 5 if batch["start"].item() else (batch["previous"].item() + 1) % 8
        logits = torch.full((1, 1, 121), -1e9)
        logits[0, 0, answer] = 0
        return logits, (steps + 1,)


class Deadly:
    """A player whose process dies at its third frame."""

    keys = ("tty_chars",)

    def begin(self, seed):
        self.frames = 0

    def act(self, observation):
        self.frames += 1
        if self.frames == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0
