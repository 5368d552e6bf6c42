"""One candidate's life in its sandbox: build, count, a forward pass, training, predictions.

Nothing is trusted here. The process has the training images and labels and the images to predict,
never the labels that score it. Training is by the evaluator's own loop, or by the program's
`train_setup` and `learn` (the LEMUR contract).
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from archloop.evaluation.epochs import epoch_trainer, optimizer_of, predict
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
    unregistered,
    without_numbers,
)
from archloop.evaluation.number_formats import Format, autocast, first_that_works, formats
from archloop.evaluation.protocol import PROTOCOLS, Plan, Prepare, preparer
from archloop.evaluation.records import CandidateReport
from archloop.lemur.hyperparameters import hyperparameters
from archloop.novelty.graph_fingerprint import fingerprint
from archloop.settings.sections import Evaluation

CURVE_POINTS = 50


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
        taken = now - self.since
        # Predictions come once an epoch: a stage may end several times.
        before = self.seconds.get(stage, 0)
        self.seconds[stage] = round(before + taken, 4)
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
    optimizer = optimizer_of(network, 0.1, 0.9, "cpu")

    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()

    images = torch.ones(2, 1, 8, 8)
    labels = torch.zeros(2, dtype=torch.long)
    cross_entropy(network(images), labels).item()

    # Counting and tracing load parts of torch at their first use.
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
    prm = hyperparameters(program, settings)
    plan = Plan(settings, PROTOCOLS[settings.protocol], seed, device, prm=prm)
    # The program sees the size that the protocol resizes images to.
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

    def timed_prediction(images: torch.Tensor) -> bytes:
        predicted = predict(model, images, prepare, data.classes, plan)
        stages.end("predict")
        return predicted

    predictions = []
    for _ in range(settings.epochs):
        epoch, losses = train_epoch()
        report.epochs.append({"repeat": 0, **epoch})
        report.losses += losses
        stages.end("train")
        predictions.append(timed_prediction(data.validation_images))
    predictions.append(timed_prediction(data.test_images))

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

    # Some networks that train cannot be counted or traced.
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
        # A network of its own, for the step changes its weights.
        tried = dataclasses.replace(plan, format=choice)
        model, prepare = source.network(tried)
        model.train()
        few = slice(settings.batch_size)
        with autocast(choice.precision, plan.device):
            answers = model(prepare(data.train_images[few], None))
            loss = cross_entropy(answers, data.train_labels[few])
        loss.backward()

        images = data.validation_images[: plan.protocol.predict_batch]
        predict(model, images, prepare, data.classes, tried)

    choices = formats(settings.precision, plan.device)
    return dataclasses.replace(plan, format=first_that_works(choices, try_out))
