"""What a run changes as it learns: weights, optimizer and recurrent memory; saved whole, restored bit for bit."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from training.config.base import TrainingConfig
from training.errors import DataError
from training.learn.distributed import Place
from training.policies.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_optimizer,
    optimizer_tensors,
    pin_checkpoint,
    save_checkpoint,
)
from training.policies.compiled import LearningPolicy, compiles, graphed
from training.policies.family import PolicySpec, build
from training.policies.loaded import load_weights
from training.policies.networks.critic import Critic
from training.policies.policy import FamilyPolicy


@dataclass(kw_only=True)
class Learner:
    """The state of a run; `begin` makes or restores it, `save` writes it."""

    config: TrainingConfig
    """The run."""
    spec: PolicySpec
    """What the policy is."""
    here: Place
    """Which process this is, and its device."""
    policy: FamilyPolicy
    """What learns to act."""
    learning: LearningPolicy
    """The same, as a training step calls it."""
    critic: Critic | None
    """Predicts the return from a frame; None where actions are cloned."""
    optimizer: torch.optim.Optimizer
    """Adam over the weights of policy and critic."""
    memory: tuple[Tensor, ...]
    """Recurrent memory [rows, ...] of this process's part of a batch; empty where none is carried on."""
    update: int = 0
    """How many updates are done."""
    measured: int = 0
    """The last update whose row is written."""
    loss: float = math.nan
    """Of the last batch that was looked at (nats a frame)."""
    speed: Mapping[str, float] = field(default_factory=dict)
    """How fast it trained, as columns of the run table: the row of a run that goes on where it is measured has them."""
    passed_over: tuple[str, ...] = ()
    """A sentence for each damaged checkpoint."""

    @classmethod
    def begin(
        cls, config: TrainingConfig, spec: PolicySpec, here: Place, folder: Path, *, critic: bool = False
    ) -> "Learner":
        """From the newest whole checkpoint in `folder`, or anew from the config's seed."""
        torch.manual_seed(config.seed)
        policy = build(spec).to(here.device)
        head = Critic(spec.features).to(here.device) if critic else None
        parameters = [*policy.parameters(), *(head.parameters() if head else ())]
        learner = cls(
            config=config,
            spec=spec,
            here=here,
            policy=policy,
            learning=LearningPolicy(
                policy, compile=compiles(config, here.device), graphs=graphed(config, here.device, here.world)
            ),
            critic=head,
            optimizer=torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-5 if head else 1e-8, fused=True),
            memory=() if head else policy.initial_state(config.batch_size // here.world, here.device),
        )
        checkpoint, passed_over = latest_checkpoint(folder)
        learner.passed_over = tuple(passed_over)
        if checkpoint is not None:
            learner._restore(checkpoint, folder)
        return learner

    def step(self, loss: Tensor, rate: float) -> Tensor:
        """One gradient step of this size; the norm of the gradient before it was clipped."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip)  # over all of them at once, and read by nobody
        self.optimizer.step()
        return norm

    def save(self, folder: Path) -> None:
        """A checkpoint of the whole run; every process has to call it, the first one writes."""
        memory = self.here.slots(self.memory)
        if self.here.leads:
            tensors = {
                "policy": self.policy.state_dict(),
                "optimizer": optimizer_tensors(self.optimizer),
                "memory": {str(i): part for i, part in enumerate(memory)},
            }
            if self.critic:
                tensors["critic"] = self.critic.state_dict()
            state = {"keep": False, "policy": asdict(self.spec), "task": self.config.task, "measured": self.measured}
            state |= {"loss": self.loss if math.isfinite(self.loss) else None, "speed": self.speed}
            save_checkpoint(folder, Checkpoint(update=self.update, tensors=tensors, state=state))
        self.here.wait()

    def pin(self, folder: Path) -> None:
        """Note that the checkpoint of this update is measured and has its row, and never remove it; every process."""
        self.measured = self.update
        if self.here.leads:
            pin_checkpoint(folder, self.update, {"measured": self.measured})
        self.here.wait()

    def _restore(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Go on from a checkpoint. Raises DataError for one that holds a policy alone, or another."""
        parts = {"policy": self.policy, **({"critic": self.critic} if self.critic else {})}
        tensors, state = checkpoint.tensors, checkpoint.state
        path = folder / f"update-{checkpoint.update:010d}"
        whole = {*parts, "optimizer", "memory"} <= tensors.keys() and {"measured", "loss"} <= state.keys()
        memory = {str(i): (self.config.batch_size, *part.shape[1:]) for i, part in enumerate(self.memory)}
        if not whole or {name: tuple(part.shape) for name, part in tensors["memory"].items()} != memory:
            raise DataError(f"{path}: the checkpoint lacks what training goes on from; choose another --out.")
        if not 0 <= state["measured"] <= checkpoint.update <= self.config.updates:
            raise DataError(f"{path}: the checkpoint is of no update of this run; choose another --out.")
        for name, module in parts.items():
            load_weights(module, tensors[name], path)
        try:
            load_optimizer(self.optimizer, tensors["optimizer"])
        except ValueError as error:
            raise DataError(f"{path}: the checkpoint is of another run ({error}); choose another --out.") from None
        own = slice(self.here.rank, None, self.here.world)
        self.memory = tuple(tensors["memory"][part][own].contiguous().to(self.here.device) for part in memory)
        self.update, self.measured = checkpoint.update, state["measured"]
        loss = state["loss"]
        self.loss = math.nan if loss is None else float(loss)
        self.speed = state.get("speed", {})  # of a version that wrote it
