"""One candidate's life behind its walls: build, count, a forward pass, training, predictions. Nothing is trusted here.

The process has the training images and labels and the images to predict, never the labels that score it. Training is by
the evaluator's own loop, or by the program's `train_setup` and `learn` (the LEMUR contract).
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import cross_entropy, interpolate

from archloop.evaluation.faults import is_memory, line
from archloop.evaluation.networks import (
    Stop,
    builder,
    built_to_train,
    checked,
    multiply_adds,
    or_none,
    parameters_of,
    trainable,
    unregistered,
    within_budget,
    without_numbers,
)
from archloop.evaluation.number_formats import PLAIN, Format, autocast, first_that_works, formats
from archloop.lemur.contract import hyperparameters
from archloop.novelty.graph_fingerprint import fingerprint

LOOK_FOR_NAN_EVERY = 50
CURVE_POINTS = 50


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What happens to an image before the network sees it, and how many are predicted at once."""

    size: int | None  # pixels that it is resized to, bilinearly; None leaves it
    flip: bool  # left to right, at random, in training only
    predict_batch: int


PROTOCOLS = {"native": Protocol(None, False, 256), "resize256_flip": Protocol(256, True, 32)}


def judge(
    program: str, data: dict, settings: dict, seed: int, device: str, images: int | None = None
) -> tuple[dict, bytes]:
    """Return (facts, predictions) of one program, trained once.

    data: train_images, train_labels, validation_images, test_images (uint8 and int64 tensors), mean, std, classes.
    settings: section evaluation, its precision resolved. images: of each split, the first of them; None takes all.
    facts: outcome, detail, parameters, multiply_adds (of one image), graph, epochs (loss and training accuracy),
    losses, format (of numbers and memory), seconds by stage.
    predictions: a class (uint8) for each validation image after every epoch, then for each test image; empty unless
    the outcome is `trained`.
    """
    facts = {
        "parameters": None,
        "multiply_adds": None,
        "graph": None,
        "epochs": [],
        "losses": [],
        "seconds": {},
    }
    facts["format"] = ""
    try:
        data = data | {
            name: tensor[:images]
            for name, tensor in data.items()
            if isinstance(tensor, torch.Tensor)
        }
        predictions = _judge(program, data, settings, seed, device, facts)
        return facts | {"outcome": "trained", "detail": ""}, b"".join(predictions)
    except Stop as stop:
        facts |= {"outcome": stop.outcome, "detail": stop.detail}
    except BaseException as error:
        facts |= {
            "outcome": "out_of_memory" if is_memory(error) else "crashed",
            "detail": line(error),
        }
    return facts, b""


def warm_up() -> None:
    """Load what torch loads at first use, so that no child has to. No backward pass: its threads survive no fork."""
    layers = [
        torch.nn.Conv2d(1, 2, 3),
        torch.nn.BatchNorm2d(2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
    ]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(2, 2))
    optimizer = _optimizer(net, {"learning_rate": 0.1, "momentum": 0.9}, "cpu")
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    cross_entropy(net(torch.ones(2, 1, 8, 8)), torch.zeros(2, dtype=torch.long)).item()
    net = net.to("meta")
    multiply_adds(net, (2, 1, 8, 8))
    fingerprint(net, (2, 1, 8, 8))


def _judge(program, data, settings, seed, device, facts) -> list[bytes]:
    clock = time.monotonic()

    def lap(name):
        nonlocal clock
        facts["seconds"][name] = round(facts["seconds"].get(name, 0) + time.monotonic() - clock, 4)
        clock = time.monotonic()

    protocol = PROTOCOLS[settings["protocol"]]
    size = protocol.size or data["train_images"].shape[-1]
    in_shape = (settings["batch_size"], data["train_images"].shape[1], size, size)
    settings = settings | {"prm": hyperparameters(program, settings)}
    build = builder(program, in_shape, (data["classes"],), settings["prm"])
    model = checked(build, in_shape, data["classes"], facts)
    within_budget(facts, settings)
    facts["multiply_adds"] = or_none(multiply_adds, model, in_shape)
    facts["graph"] = or_none(fingerprint, without_numbers(model), in_shape)
    lap("check")
    train, validation, test = (
        data[f"{split}_images"].to(device) for split in ("train", "validation", "test")
    )
    labels = data["train_labels"].to(device)

    def built(way: Format) -> torch.nn.Module:
        model = built_to_train(build, seed, device, in_shape)
        return (
            model.to(memory_format=torch.channels_last) if way.layout == "channels_last" else model
        )

    def try_out(way: Format) -> None:
        model, prepare = built(way), _preparer(data, protocol, device, way)
        model.train()
        with autocast(way.precision, device):
            loss = cross_entropy(
                model(prepare(train[: settings["batch_size"]])), labels[: settings["batch_size"]]
            )
        loss.backward()
        _predict(
            model,
            validation[: protocol.predict_batch],
            prepare,
            protocol,
            device,
            data["classes"],
            way,
        )

    way = first_that_works(formats(settings["precision"], device), try_out)
    facts["format"] = str(way)
    model, prepare = built(way), _preparer(data, protocol, device, way)
    registered = max(facts["parameters"], sum(weight.numel() for weight in parameters_of(model)))
    facts["parameters"] = registered
    within_budget(facts, settings)
    lap("build")

    def look(loss: torch.Tensor) -> None:
        """Count what the result depends on beside the registered parameters: weights in a closure, or in a list."""
        facts["parameters"] = registered + sum(
            weight.numel() for weight in unregistered(loss, model)
        )
        within_budget(facts, settings)

    predictions = []
    epochs = _epochs(model, train, labels, prepare, settings, seed, device, protocol, way, look)
    for _, record in zip(range(settings["epochs"]), epochs):
        facts["epochs"].append({"repeat": 0} | record[0])
        facts["losses"] += record[1]
        lap("train")
        predictions.append(
            _predict(model, validation, prepare, protocol, device, data["classes"], way)
        )
        lap("predict")
    predictions.append(_predict(model, test, prepare, protocol, device, data["classes"], way))
    lap("predict")
    facts["losses"] = facts["losses"][:: math.ceil(len(facts["losses"]) / CURVE_POINTS) or 1]
    return predictions


def _epochs(
    model, images, labels, prepare, settings, seed, device, protocol, way=PLAIN, look=None
) -> Iterator[tuple[dict, list[float]]]:
    """Train, and yield ({loss, train_accuracy}, the losses of its steps) after every epoch.

    look: called with the first loss, before its gradients are computed.
    """
    order = torch.Generator().manual_seed(seed)

    def batches():
        for places in torch.randperm(len(labels), generator=order).split(settings["batch_size"]):
            if len(places) > 1:  # batch normalisation has no variance of one image
                flips = torch.rand(len(places), generator=order) < 0.5 if protocol.flip else None
                places = places.to(device)
                yield prepare(images[places], flips), labels[places]

    if settings["training"] == "candidate":
        step = _learn_by_program(model, settings)
    else:
        step = _learn(model, settings, device, way, look)
    for _ in itertools.count():
        model.train()
        yield step(batches, math.ceil(len(labels) / settings["batch_size"]))


def _learn(model, settings: dict, device: str, way: Format, look: Callable | None):
    """Return a function that trains one epoch by the protocol: SGD, cross-entropy, clipped gradients."""
    optimizer = _optimizer(model, settings, device)
    weights = trainable(model)

    def epoch(batches, _count) -> tuple[dict, list[float]]:
        losses, right, seen = [], torch.zeros((), device=device), 0
        for inputs, wanted in batches():
            with autocast(way.precision, device):
                answers = model(inputs)
                loss = cross_entropy(answers, wanted)
            if look and not losses:
                look(loss)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, settings["gradient_clip"])
            optimizer.step()
            losses.append(loss.detach())
            right += (answers.detach().argmax(dim=1) == wanted).sum()
            seen += len(wanted)
            if len(losses) % LOOK_FOR_NAN_EVERY == 0:
                _finite(losses)
        values = _finite(losses)
        record = {
            "loss": round(sum(values) / len(values), 5),
            "train_accuracy": round(right.item() / seen, 5),
        }
        return record, [round(value, 4) for value in values]

    return epoch


def _finite(losses: list[torch.Tensor]) -> list[float]:
    values = torch.stack(losses).float()
    if not values.isfinite().all():
        raise Stop("diverged", f"the loss is no finite number in the first {len(losses)} steps")
    return values.tolist()


def _learn_by_program(model, settings: dict):
    """Return a function that trains one epoch as the program does it."""
    if not all(callable(getattr(model, name, None)) for name in ("train_setup", "learn")):
        raise Stop("contract", "training: candidate, but Net has no train_setup and learn")
    model.train_setup(dict(settings["prm"]))

    class Loader:
        def __init__(self, batches, count):
            self.batches, self.count = batches, count

        def __iter__(self):
            return self.batches()

        def __len__(self):
            return self.count

    def epoch(batches, count) -> tuple[dict, list[float]]:
        model.learn(Loader(batches, count))
        return {"loss": None, "train_accuracy": None}, []

    return epoch


def _optimizer(model, settings: dict, device: str) -> torch.optim.Optimizer:
    weights = trainable(model)
    if not weights:
        raise Stop("construct", "Net has no parameter to train")
    return torch.optim.SGD(
        weights,
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        foreach=device.startswith("cuda"),
    )


def _preparer(data: dict, protocol: Protocol, device: str, way: Format = PLAIN):
    """Return a function of (uint8 images, flips or None) that gives what a network sees."""
    mean = torch.tensor(data["mean"], device=device).view(1, -1, 1, 1)
    std = torch.tensor(data["std"], device=device).view(1, -1, 1, 1)
    scale, shift = 1 / (255 * std), -mean / std

    def prepare(images: torch.Tensor, flips: torch.Tensor | None = None) -> torch.Tensor:
        images = torch.addcmul(shift, images.float(), scale)
        if protocol.size:
            images = interpolate(
                images, size=(protocol.size, protocol.size), mode="bilinear", align_corners=False
            )
        if flips is not None:
            images = torch.where(flips.to(device).view(-1, 1, 1, 1), images.flip(3), images)
        return (
            images.to(memory_format=torch.channels_last)
            if way.layout == "channels_last"
            else images
        )

    return prepare


def _predict(
    model, images, prepare, protocol: Protocol, device: str, classes: int, way: Format
) -> bytes:
    """Return the predicted class of each image, one byte each; raise Stop for answers that are not finite."""
    model.eval()
    parts = []
    with torch.no_grad(), autocast(way.precision, device):
        for part in images.split(protocol.predict_batch):
            answers = model(prepare(part))
            if type(answers) is not torch.Tensor or tuple(answers.shape) != (len(part), classes):
                raise Stop("forward", "its answers have another type or shape in evaluation mode")
            if not answers.isfinite().all():
                raise Stop("diverged", "its answers are no finite numbers")
            parts.append(answers.argmax(dim=1))
    return torch.cat(parts).to(torch.uint8).cpu().numpy().tobytes()
