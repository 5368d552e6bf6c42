"""How far a training is, and the file that keeps it: one that was cut is resumed from there."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from archloop.files import replacing
from archloop.logs import get_logger

logger = get_logger("finetune")


@dataclass
class Done:
    """How far a training is: steps, tokens, and by epoch [sum of the losses, what their mean is
    over]."""

    steps: int = 0
    tokens: int = 0
    sums: dict[int, list[float]] = field(default_factory=dict)

    def add(self, epoch: int, loss: float, size: int, tokens: int) -> None:
        self.steps += 1
        self.tokens += tokens
        sums = self.sums.setdefault(epoch, [0.0, 0])
        sums[0] += loss * size
        sums[1] += size


class DoneFields(TypedDict):
    """Done as the file has it, which torch reads without code of ours."""

    steps: int
    tokens: int
    sums: dict[int, list[float]]


class CheckpointState(TypedDict):
    """What the file of a checkpoint holds: how far the training is, and torch's own states.

    What is in a state of the optimizer, or of the schedule, is torch's affair.
    """

    key: str
    done: DoneFields
    weights: list[torch.Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The file of a training's state, and what of the training it holds."""

    path: Path
    key: str
    weights: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def save(self, done: Done) -> None:
        state: CheckpointState = {
            "key": self.key,
            "done": cast(DoneFields, dataclasses.asdict(done)),
            "weights": [weight.detach().cpu() for weight in self.weights],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        with replacing(self.path) as temporary:
            torch.save(state, temporary)

    def resume(self) -> Done:
        """Load what the file holds of this very training, and return how far it was."""
        state = self._read()
        if state is None or state["key"] != self.key:
            return Done()

        # In place: the optimizer holds these very tensors.
        with torch.no_grad():
            for weight, saved in zip(self.weights, state["weights"]):
                weight.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        done = Done(**state["done"])
        logger.info("resuming after step %d", done.steps)
        return done

    def _read(self) -> CheckpointState | None:
        if not self.path.is_file():
            return None
        try:
            state: CheckpointState
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a torn file of any kind: the training starts again
            logger.warning("finetune: %s cannot be read; starting from the beginning", self.path)
            return None
        return state
