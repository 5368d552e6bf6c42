"""One candidate's life behind its walls: build, count, a forward pass, training, predictions. Nothing is trusted here.

The process has the training images and labels and the images to predict, never the labels that score it. Training is by
the evaluator's own loop, or by the program's `train_setup` and `learn` (the LEMUR contract).
"""

import contextlib
import dataclasses
import itertools
import math
import random
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy, interpolate
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from archloop.graph import fingerprint
from archloop.seeds import derive

LOOK_FOR_NAN_EVERY = 50
CURVE_POINTS = 50


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What happens to an image before the network sees it, and how many are predicted at once."""

    size: int | None  # pixels that it is resized to, bilinearly; None leaves it
    flip: bool  # left to right, at random, in training only
    predict_batch: int


PROTOCOLS = {"native32": Protocol(None, False, 256), "paper256": Protocol(256, True, 32)}


class Stop(Exception):
    """The end of a candidate with an outcome of the funnel."""

    def __init__(self, outcome: str, detail: str):
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


def judge(program: str, data: dict, settings: dict, seed: int, device: str) -> tuple[dict, bytes]:
    """Return (facts, predictions) of one program.

    data: train_images, train_labels, validation_images, test_images (uint8 and int64 tensors), mean, std, classes.
    settings: section evaluation. facts: outcome, detail, parameters, multiply_adds (of one image), graph, epochs (loss
    and training accuracy), losses, seconds by stage. predictions: a class (uint8) for each validation image after every
    epoch, then for each test image, for each repeat; empty unless the outcome is `trained`.
    """
    facts = {"parameters": None, "multiply_adds": None, "graph": None, "epochs": [], "losses": [], "seconds": {}}
    try:
        predictions = _judge(program, data, settings, seed, device, facts)
        return facts | {"outcome": "trained", "detail": ""}, b"".join(predictions)
    except Stop as stop:
        facts |= {"outcome": stop.outcome, "detail": stop.detail}
    except BaseException as error:
        facts |= {"outcome": "out_of_memory" if _is_memory(error) else "crashed", "detail": line(error)}
    return facts, b""


def warm_up() -> None:
    """Load what torch loads at first use, so that no child has to. No backward pass: its threads survive no fork."""
    layers = [torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(2, 2))
    optimizer = _optimizer(net, {"learning_rate": 0.1, "momentum": 0.9}, "cpu")
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    cross_entropy(net(torch.ones(2, 1, 8, 8)), torch.zeros(2, dtype=torch.long)).item()
    net = net.to("meta")
    _multiply_adds(net, (2, 1, 8, 8))
    fingerprint(net, (2, 1, 8, 8))


def line(error: BaseException) -> str:
    """Return an error as one line, 300 characters at most."""
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    except BaseException:  # its own __str__ fails
        return type(error).__name__[:300]


def _judge(program, data, settings, seed, device, facts) -> list[bytes]:
    clock = time.monotonic()

    def lap(name):
        nonlocal clock
        facts["seconds"][name] = round(facts["seconds"].get(name, 0) + time.monotonic() - clock, 4)
        clock = time.monotonic()

    protocol = PROTOCOLS[settings["protocol"]]
    size = protocol.size or data["train_images"].shape[-1]
    in_shape = (settings["batch_size"], data["train_images"].shape[1], size, size)
    build = _builder(program, in_shape, (data["classes"],), settings)
    model = _checked(build, in_shape, data["classes"], facts)
    _within_budget(facts, settings)
    facts["multiply_adds"] = _or_none(_multiply_adds, model, in_shape)
    facts["graph"] = _or_none(fingerprint, _without_numbers(model), in_shape)
    lap("check")
    train, validation, test = (data[f"{split}_images"].to(device) for split in ("train", "validation", "test"))
    labels = data["train_labels"].to(device)
    prepare = _preparer(data, protocol, device)
    predictions = []
    for repeat in range(settings["repeats"]):
        own_seed = derive(seed, "repeat", repeat) if repeat else seed
        model = _built_to_train(build, own_seed, device, in_shape)
        facts["parameters"] = max(facts["parameters"], sum(weight.numel() for weight in _parameters(model)))
        _within_budget(facts, settings)
        lap("build")
        for _, record in zip(
            range(settings["epochs"]), _epochs(model, train, labels, prepare, settings, own_seed, device, protocol)
        ):
            facts["epochs"].append({"repeat": repeat} | record[0])
            facts["losses"] += record[1] if not repeat else []
            lap("train")
            predictions.append(_predict(model, validation, prepare, protocol, device, data["classes"]))
            lap("predict")
        predictions.append(_predict(model, test, prepare, protocol, device, data["classes"]))
        lap("predict")
    facts["losses"] = facts["losses"][:: math.ceil(len(facts["losses"]) / CURVE_POINTS) or 1]
    return predictions


def _within_budget(facts: dict, settings: dict) -> None:
    if facts["parameters"] > settings["parameter_budget"]:
        raise Stop("over_budget", f"{facts['parameters']:,} parameters, {settings['parameter_budget']:,} allowed")


def _builder(program: str, in_shape: tuple, out_shape: tuple, settings: dict):
    """Run the program and return a function of a device that makes its Net there; raise Stop when it has none."""
    namespace = {"__name__": "candidate"}
    try:
        exec(compile(program, "<program>", "exec"), namespace)
        network = namespace["Net"]
    except BaseException as error:
        _raise_memory(error)
        raise Stop("construct", line(error)) from None
    return lambda device: network(in_shape, out_shape, _prm(settings), torch.device(device))


def _prm(settings: dict) -> dict:
    """Return the hyperparameters that a program gets, by the names of the LEMUR contract."""
    same = {name: settings[name] for name in ("momentum", "dropout")}
    return {"lr": settings["learning_rate"]} | same | {"batch": settings["batch_size"]}


def _checked(build, in_shape: tuple, classes: int, facts: dict):
    """Return the model after one forward pass and put its parameters into facts; raise Stop when either fails.

    On the meta device: shapes alone, no memory. A program that looks at values (`tensor.item()`) cannot live there; it
    is tried once more with real numbers, inside the limits on memory.
    """
    outcome = "construct"
    for device in ("meta", "cpu"):
        try:
            outcome = "construct"
            with torch.device(device):
                model = build(device)
            if not isinstance(model, torch.nn.Module):
                raise Stop("construct", f"Net makes a {type(model).__name__}, no torch.nn.Module")
            outcome = "forward"
            model.train()
            with torch.no_grad():
                answer = torch.nn.Module.__call__(model, torch.zeros(in_shape, device=device))
            break
        except Stop:
            raise
        except BaseException as error:
            _raise_memory(error)
            if device == "cpu" or not _needs_values(error):
                raise Stop(outcome, line(error)) from None
    if type(answer) is not torch.Tensor or not answer.is_floating_point():
        raise Stop("forward", f"returns a {type(answer).__name__}, no tensor of floating point numbers")
    if tuple(answer.shape) != (in_shape[0], classes):
        raise Stop("forward", f"returns {tuple(answer.shape)}, not {(in_shape[0], classes)}")
    facts["parameters"] = sum(weight.numel() for weight in _parameters(model))
    return model


def _without_numbers(model: torch.nn.Module) -> torch.nn.Module:
    """Move a model that had to be built with real numbers to the meta device; what was shared in it stays shared."""
    shared = [(holder, name, id(weight)) for holder in model.modules() for name, weight in holder._parameters.items()]
    if all(weight.is_meta for weight in _parameters(model)):
        return model
    model.to("meta")
    first = {}
    for holder, name, identity in shared:
        holder._parameters[name] = first.setdefault(identity, holder._parameters[name])
    return model


def _needs_values(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or "meta" in text or "data-dependent" in text


def _parameters(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return every registered parameter once, frozen ones too, whatever the program overrides."""
    found, todo, seen = {}, [model], set()
    while todo:
        module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        inside = object.__getattribute__(module, "__dict__")
        found |= {id(weight): weight for weight in inside["_parameters"].values() if weight is not None}
        todo += [child for child in inside["_modules"].values() if child is not None]
    return list(found.values())


def _trainable(model: torch.nn.Module) -> list[torch.Tensor]:
    return [weight for weight in _parameters(model) if weight.requires_grad]


def _multiply_adds(model: torch.nn.Module, in_shape: tuple) -> int:
    """Return the multiply-adds of one image: half the floating point operations that torch's own counter finds."""
    device = next(iter(_parameters(model)), torch.empty((), device="meta")).device
    for batch in (2, in_shape[0]):  # some programs fix the size of a batch
        with contextlib.suppress(RuntimeError), FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros((batch, *in_shape[1:]), device=device))
            return counter.get_total_flops() // (2 * batch)
    raise ValueError("it runs with no batch")


def _or_none(function, *arguments):
    try:
        return function(*arguments)
    except Exception:
        return None


def _built_to_train(build, seed: int, device: str, in_shape: tuple) -> torch.nn.Module:
    """Return the model on the device, its weights from the seed; memory that it does not initialise reads as NaN."""
    seed_everything(seed)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        model = build(device).to(device)
        if any(is_lazy(weight) for weight in _parameters(model)):
            model(torch.zeros(in_shape, device=device))
    except Exception as error:
        _raise_memory(error)
        raise Stop("construct", line(error)) from None
    finally:
        torch.use_deterministic_algorithms(deterministic)
    return model.to(memory_format=torch.channels_last) if device.startswith("cuda") else model


def _epochs(model, images, labels, prepare, settings, seed, device, protocol) -> Iterator[tuple[dict, list[float]]]:
    """Train, and yield ({loss, train_accuracy}, the losses of its steps) after every epoch."""
    order = torch.Generator().manual_seed(seed)

    def batches():
        for places in torch.randperm(len(labels), generator=order).split(settings["batch_size"]):
            if len(places) > 1:  # batch normalisation has no variance of one image
                flips = torch.rand(len(places), generator=order) < 0.5 if protocol.flip else None
                places = places.to(device)
                yield prepare(images[places], flips), labels[places]

    train = _learn_by_program if settings["training"] == "candidate" else _learn
    step = train(model, settings, device)
    for _ in itertools.count():
        model.train()
        yield step(batches, math.ceil(len(labels) / settings["batch_size"]))


def _learn(model, settings: dict, device: str):
    """Return a function that trains one epoch by the protocol: SGD, cross-entropy, clipped gradients."""
    optimizer = _optimizer(model, settings, device)
    weights = _trainable(model)

    def epoch(batches, _count) -> tuple[dict, list[float]]:
        losses, right, seen = [], torch.zeros((), device=device), 0
        for inputs, wanted in batches():
            with _precision(device):
                answers = model(inputs)
                loss = cross_entropy(answers, wanted)
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
        record = {"loss": round(sum(values) / len(values), 5), "train_accuracy": round(right.item() / seen, 5)}
        return record, [round(value, 4) for value in values]

    return epoch


def _precision(device: str):
    """Return the context of a forward pass: bfloat16 where the GPU has it in hardware, else the weights' own format."""
    half = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast("cuda", torch.bfloat16) if half else contextlib.nullcontext()


def _finite(losses: list[torch.Tensor]) -> list[float]:
    values = torch.stack(losses).float()
    if not values.isfinite().all():
        raise Stop("diverged", f"the loss is no finite number in the first {len(losses)} steps")
    return values.tolist()


def _learn_by_program(model, settings: dict, _device: str):
    """Return a function that trains one epoch as the program does it."""
    if not all(callable(getattr(model, name, None)) for name in ("train_setup", "learn")):
        raise Stop("contract", "training: candidate, but Net has no train_setup and learn")
    model.train_setup(_prm(settings))

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
    weights = _trainable(model)
    if not weights:
        raise Stop("construct", "Net has no parameter to train")
    return torch.optim.SGD(
        weights, lr=settings["learning_rate"], momentum=settings["momentum"], foreach=device.startswith("cuda")
    )


def _preparer(data: dict, protocol: Protocol, device: str):
    """Return a function of (uint8 images, flips or None) that gives what a network sees."""
    mean = torch.tensor(data["mean"], device=device).view(1, -1, 1, 1)
    std = torch.tensor(data["std"], device=device).view(1, -1, 1, 1)
    scale, shift = 1 / (255 * std), -mean / std

    def prepare(images: torch.Tensor, flips: torch.Tensor | None = None) -> torch.Tensor:
        images = torch.addcmul(shift, images.float(), scale)
        if protocol.size:
            images = interpolate(images, size=(protocol.size, protocol.size), mode="bilinear", align_corners=False)
        if flips is not None:
            images = torch.where(flips.to(device).view(-1, 1, 1, 1), images.flip(3), images)
        return images.to(memory_format=torch.channels_last) if device.startswith("cuda") else images

    return prepare


def _predict(model, images, prepare, protocol: Protocol, device: str, classes: int) -> bytes:
    """Return the predicted class of each image, one byte each; raise Stop for answers that are not finite."""
    model.eval()
    parts = []
    with torch.inference_mode(), _precision(device):
        for part in images.split(protocol.predict_batch):
            answers = model(prepare(part))
            if type(answers) is not torch.Tensor or tuple(answers.shape) != (len(part), classes):
                raise Stop("forward", "its answers have another type or shape in evaluation mode")
            if not answers.isfinite().all():
                raise Stop("diverged", "its answers are no finite numbers")
            parts.append(answers.argmax(dim=1))
    return torch.cat(parts).to(torch.uint8).cpu().numpy().tobytes()


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()[:2000]
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or ("memory" in text and "alloc" in text)


def _raise_memory(error: BaseException) -> None:
    if _is_memory(error):
        raise Stop("out_of_memory", line(error)) from None
