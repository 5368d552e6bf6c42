"""One epoch of a training, and the predictions that follow it.

An epoch is the evaluator's own loop, or the program's `learn` after its `train_setup` (the LEMUR
contract).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from archloop.evaluation.networks import Stop, trainable
from archloop.evaluation.number_formats import autocast
from archloop.evaluation.protocol import Plan, Prepare
from archloop.evaluation.records import Epoch

LOOK_FOR_NAN_EVERY = 50  # steps

# Yields (what the network sees, labels) of each batch of an epoch.
Batches = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]
# What an epoch gives: its record, and the loss of each step.
Trained = tuple[Epoch, list[float]]


def epoch_trainer(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    prepare: Prepare,
    plan: Plan,
    look: Callable[[torch.Tensor], None] | None = None,
) -> Callable[[], Trained]:
    """Return a function that trains one epoch more at each call.

    look: called with the first loss of an epoch, before its gradients are computed.
    """
    batch_size = plan.settings.batch_size
    # A generator of its own: what the program draws does not change the order.
    order = torch.Generator().manual_seed(plan.seed)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in torch.randperm(len(labels), generator=order).split(batch_size):
            if len(batch) < 2:  # batch normalisation has no variance of one image
                continue
            flips = None
            if plan.protocol.flip:
                flips = torch.rand(len(batch), generator=order) < 0.5
            batch = batch.to(plan.device)
            yield prepare(images[batch], flips), labels[batch]

    if plan.settings.training == "candidate":
        learn = _learn_by_program(model, plan, math.ceil(len(labels) / batch_size))
    else:
        learn = _learn(model, plan, look)

    def train_epoch() -> Trained:
        model.train()
        return learn(batches)

    return train_epoch


def _learn(
    model: torch.nn.Module, plan: Plan, look: Callable[[torch.Tensor], None] | None
) -> Callable[[Batches], Trained]:
    """Return a function that trains one epoch by the protocol: SGD, cross-entropy, clipped
    gradients.
    """
    settings = plan.settings
    optimizer = optimizer_of(model, settings.learning_rate, settings.momentum, plan.device)
    weights = trainable(model)

    def epoch(batches: Batches) -> Trained:
        losses: list[torch.Tensor] = []
        right = torch.zeros((), device=plan.device)
        images = 0
        for inputs, labels in batches():
            with autocast(plan.format.precision, plan.device):
                answers = model(inputs)
                loss = cross_entropy(answers, labels)
            if look and not losses:
                look(loss)

            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, settings.gradient_clip)
            optimizer.step()

            # These stay on the device: to read a number is to wait for it.
            losses.append(loss.detach())
            right += (answers.detach().argmax(dim=1) == labels).sum()
            images += len(labels)
            if len(losses) % LOOK_FOR_NAN_EVERY == 0:
                _finite(losses)

        values = _finite(losses)
        record: Epoch = {
            "loss": round(sum(values) / len(values), 5),
            "train_accuracy": round(right.item() / images, 5),
        }
        return record, [round(value, 4) for value in values]

    return epoch


def _finite(losses: list[torch.Tensor]) -> list[float]:
    """Return the losses as numbers; raise Stop where one is none."""
    # All at once, for each reading waits for the device.
    values = torch.stack(losses).float()
    if not values.isfinite().all():
        raise Stop("diverged", f"the loss is no finite number in the first {len(losses)} steps")
    numbers: list[float] = values.tolist()
    return numbers


class _Loader:
    """What the program's `learn` gets: the batches of an epoch, with the length of a DataLoader."""

    def __init__(self, batches: Batches, count: int):
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self.batches()

    def __len__(self) -> int:
        return self.count


def _learn_by_program(
    model: torch.nn.Module, plan: Plan, count: int
) -> Callable[[Batches], Trained]:
    """Return a function that trains one epoch of `count` batches as the program does it."""
    methods = [getattr(model, name, None) for name in ("train_setup", "learn")]
    if not all(callable(method) for method in methods):
        raise Stop("contract", "training: candidate, but Net has no train_setup and learn")
    network: Any = model  # of a class of the program's, which no type here knows
    network.train_setup(dict(plan.prm))

    def epoch(batches: Batches) -> Trained:
        network.learn(_Loader(batches, count))
        return {"loss": None, "train_accuracy": None}, []

    return epoch


def optimizer_of(
    model: torch.nn.Module, learning_rate: float, momentum: float, device: str
) -> torch.optim.Optimizer:
    """Return SGD over all weights that are not frozen; raise Stop where there is none."""
    weights = trainable(model)
    if not weights:
        raise Stop("construct", "Net has no parameter to train")
    return torch.optim.SGD(
        weights, lr=learning_rate, momentum=momentum, foreach=device.startswith("cuda")
    )


def predict(
    model: torch.nn.Module, images: torch.Tensor, prepare: Prepare, classes: int, plan: Plan
) -> bytes:
    """Return the predicted class of each image, one byte each.

    Raise Stop for answers that are not finite.
    """
    model.eval()

    parts = []
    with torch.no_grad(), autocast(plan.format.precision, plan.device):
        for batch in images.split(plan.protocol.predict_batch):
            answers = model(prepare(batch, None))
            expected = (len(batch), classes)
            # A subclass of Tensor could say anything of itself.
            if type(answers) is not torch.Tensor or tuple(answers.shape) != expected:
                raise Stop("forward", "its answers have another type or shape in evaluation mode")

            if not answers.isfinite().all():
                raise Stop("diverged", "its answers are no finite numbers")
            parts.append(answers.argmax(dim=1))
    # Waits for the device, once for all batches.
    classes_of_images = torch.cat(parts).to(torch.uint8).cpu()
    predicted: bytes = classes_of_images.numpy().tobytes()
    return predicted
