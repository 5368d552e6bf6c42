"""One candidate's life in its sandbox: build, count, a forward pass, training, predictions.

Nothing is trusted here. The process has the training images and labels and the images to predict,
never the labels that score it. Training is by the evaluator's own loop, or by the program's
`train_setup` and `learn` (the LEMUR contract).
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from archloop.evaluation.faults import is_memory, line
from archloop.evaluation.networks import (
    Builder,
    Stop,
    builder,
    built_to_train,
    check_budget,
    checked,
    count_parameters,
    multiply_adds,
    or_none,
    trainable,
    unregistered,
    without_numbers,
)
from archloop.evaluation.number_formats import Format, autocast, first_that_works, formats
from archloop.evaluation.protocol import PROTOCOLS, Plan, Prepare, preparer
from archloop.evaluation.records import CandidateReport, Epoch
from archloop.lemur.contract import hyperparameters
from archloop.novelty.graph_fingerprint import fingerprint
from archloop.settings.sections import Evaluation

LOOK_FOR_NAN_EVERY = 50  # steps
CURVE_POINTS = 50

# Yields (what the network sees, labels) of each batch of an epoch.
Batches = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]
# What an epoch gives: its record, and the loss of each step.
Trained = tuple[Epoch, list[float]]


@dataclass(frozen=True)
class CandidateData:
    """What a candidate has of a data set: all but the labels that score it.

    Images are uint8 (n, channels, size, size), labels int64 (n,).
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    validation_images: torch.Tensor
    test_images: torch.Tensor
    mean: list[float]  # by channel, of pixels from 0 to 1
    std: list[float]
    classes: int

    def first(self, images: int | None) -> "CandidateData":
        """Return the first images of each split; None takes all."""
        return dataclasses.replace(
            self,
            train_images=self.train_images[:images],
            train_labels=self.train_labels[:images],
            validation_images=self.validation_images[:images],
            test_images=self.test_images[:images],
        )

    def on(self, device: str) -> "CandidateData":
        """Return the same data on a device."""
        return dataclasses.replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            validation_images=self.validation_images.to(device),
            test_images=self.test_images.to(device),
        )


class _Stages:
    """The seconds that each stage has taken, into a report."""

    def __init__(self, report: CandidateReport):
        self.seconds = report.seconds
        self.since = time.monotonic()

    def end(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(self.seconds.get(stage, 0) + now - self.since, 4)
        self.since = now


def run(
    program: str,
    data: CandidateData,
    settings: Evaluation,
    seed: int,
    device: str,
    images: int | None = None,
) -> tuple[CandidateReport, bytes]:
    """Return (report, predictions) of one program, trained once.

    settings: its precision resolved. images: of each split, the first of them; None takes all.
    predictions: a class (uint8) for each validation image after every epoch, then for each test
    image; empty unless the outcome is `trained`. What a report holds before the program fails stays
    in it.
    """
    report = CandidateReport()
    try:
        predictions = _train(program, data.first(images), settings, seed, device, report)
        report.outcome = "trained"
        return report, b"".join(predictions)

    except Stop as stop:
        report.outcome, report.detail = stop.outcome, stop.detail
    except BaseException as error:  # SystemExit and KeyboardInterrupt too
        report.outcome = "out_of_memory" if is_memory(error) else "crashed"
        report.detail = line(error)
    return report, b""


def warm_up() -> None:
    """Load what torch loads at first use, so that no child has to.

    No backward pass: its threads survive no fork.
    """
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3),
        torch.nn.BatchNorm2d(2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(2, 2),
    )
    optimizer = _optimizer(network, 0.1, 0.9, "cpu")

    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    cross_entropy(network(torch.ones(2, 1, 8, 8)), torch.zeros(2, dtype=torch.long)).item()

    network = network.to("meta")
    multiply_adds(network, (2, 1, 8, 8))
    fingerprint(network, (2, 1, 8, 8))


def _train(
    program: str,
    data: CandidateData,
    settings: Evaluation,
    seed: int,
    device: str,
    report: CandidateReport,
) -> list[bytes]:
    """Return the predictions of a program, and leave in the report what is found on the way."""
    stages = _Stages(report)
    prm = hyperparameters(program, dataclasses.asdict(settings))
    plan = Plan(settings, PROTOCOLS[settings.protocol], seed, device, prm=prm)
    size = plan.protocol.size or data.train_images.shape[-1]
    in_shape = (settings.batch_size, data.train_images.shape[1], size, size)
    build = builder(program, in_shape, (data.classes,), prm)

    parameters = _check_untrained(build, in_shape, data.classes, settings, report)
    stages.end("check")

    source = _Source(build, in_shape, data.on(device))
    plan = _with_format(source, plan)
    report.format = str(plan.format)
    model, prepare = source.network(plan)
    # On a real device a program may make more of them than on `meta`.
    registered = max(parameters, count_parameters(model))
    report.parameters = registered
    check_budget(registered, settings.parameter_budget)
    stages.end("build")

    data = source.data
    look = _budget_check(model, registered, settings.parameter_budget, report)
    train_epoch = epoch_trainer(model, data.train_images, data.train_labels, prepare, plan, look)

    def predict(images: torch.Tensor) -> bytes:
        predicted = _predict(model, images, prepare, data.classes, plan)
        stages.end("predict")
        return predicted

    predictions = []
    for _ in range(settings.epochs):
        epoch, losses = train_epoch()
        report.epochs.append({"repeat": 0, **epoch})
        report.losses += losses
        stages.end("train")
        predictions.append(predict(data.validation_images))
    predictions.append(predict(data.test_images))

    report.losses = _curve(report.losses)
    return predictions


def _budget_check(
    model: torch.nn.Module, registered: int, budget: int, report: CandidateReport
) -> Callable[[torch.Tensor], None]:
    """Return a function of a loss that counts, into the report, all weights that it depends on.

    registered: parameters of the network. Others lie in a closure, or in a list.
    """

    def count_others(loss: torch.Tensor) -> None:
        others = sum(weight.numel() for weight in unregistered(loss, model))
        report.parameters = registered + others
        check_budget(report.parameters, budget)

    return count_others


def _curve(losses: list[float]) -> list[float]:
    """Return the losses of at most CURVE_POINTS steps, evenly spread."""
    every = math.ceil(len(losses) / CURVE_POINTS) or 1
    return losses[::every]


def _check_untrained(
    build: Builder,
    in_shape: tuple[int, ...],
    classes: int,
    settings: Evaluation,
    report: CandidateReport,
) -> int:
    """Build a network and look at it before any of it is trained; return its parameters."""
    model = checked(build, in_shape, classes)
    parameters = count_parameters(model)
    report.parameters = parameters
    check_budget(parameters, settings.parameter_budget)

    report.multiply_adds = or_none(multiply_adds, model, in_shape)
    report.graph = or_none(fingerprint, without_numbers(model), in_shape)
    return parameters


@dataclass(frozen=True)
class _Source:
    """What a network is built and trained of. data: on the device that trains."""

    build: Builder
    in_shape: tuple[int, ...]
    data: CandidateData

    def network(self, plan: Plan) -> tuple[torch.nn.Module, Prepare]:
        """Return a new network, the same at each call, and what prepares its images."""
        model = built_to_train(self.build, plan.seed, plan.device, self.in_shape)
        if plan.format.layout == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        return model, preparer(self.data.mean, self.data.std, plan)


def _with_format(source: _Source, plan: Plan) -> Plan:
    """Return the plan with the first format of numbers in which the network takes a step."""
    data, settings = source.data, plan.settings

    def try_out(choice: Format) -> None:
        """Take a step and predict once."""
        tried = dataclasses.replace(plan, format=choice)
        model, prepare = source.network(tried)
        model.train()
        few = slice(settings.batch_size)
        with autocast(choice.precision, plan.device):
            answers = model(prepare(data.train_images[few], None))
            loss = cross_entropy(answers, data.train_labels[few])
        loss.backward()

        images = data.validation_images[: plan.protocol.predict_batch]
        _predict(model, images, prepare, data.classes, tried)

    choices = formats(settings.precision, plan.device)
    return dataclasses.replace(plan, format=first_that_works(choices, try_out))


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
    optimizer = _optimizer(model, settings.learning_rate, settings.momentum, plan.device)
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
    network: Any = model
    network.train_setup(dict(plan.prm))

    def epoch(batches: Batches) -> Trained:
        network.learn(_Loader(batches, count))
        return {"loss": None, "train_accuracy": None}, []

    return epoch


def _optimizer(
    model: torch.nn.Module, learning_rate: float, momentum: float, device: str
) -> torch.optim.Optimizer:
    weights = trainable(model)
    if not weights:
        raise Stop("construct", "Net has no parameter to train")
    return torch.optim.SGD(
        weights, lr=learning_rate, momentum=momentum, foreach=device.startswith("cuda")
    )


def _predict(
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
    predicted: bytes = torch.cat(parts).to(torch.uint8).cpu().numpy().tobytes()
    return predicted
