"""One candidate's life in its own process: build, one forward pass, training, predictions. Nothing here is trusted.

The process has the training images and labels and the images to predict, never the labels that score it.
"""

import math
import random
import resource
import time

import numpy as np
import torch


class Stop(Exception):
    """The end of a candidate with an outcome of the funnel."""

    def __init__(self, outcome: str, detail: str):
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


def judge(program: str, data: dict, settings: dict, seed: int, device: str) -> tuple[dict, np.ndarray | None]:
    """Return (facts, predictions uint8 (images,)) of one program.

    data: train_images, train_labels, images (uint8 and int64 tensors), mean, std, classes. facts: outcome, detail,
    parameters, multiply_adds, losses, seconds by stage.
    """
    facts = dict.fromkeys(("parameters", "multiply_adds")) | {"losses": [], "seconds": {}, "detail": ""}
    try:
        predictions = _judge(program, data, settings, seed, device, facts)
        facts["outcome"] = "trained"
        return facts, predictions
    except Stop as stop:
        facts |= {"outcome": stop.outcome, "detail": stop.detail}
    except (MemoryError, torch.OutOfMemoryError) as error:
        facts |= {"outcome": "out_of_memory", "detail": _line(error)}
    except Exception as error:
        memory = "memory" in str(error).lower() and "alloc" in str(error).lower()
        facts |= {"outcome": "out_of_memory" if memory else "crashed", "detail": _line(error)}
    return facts, None


def _judge(program, data, settings, seed, device, facts) -> np.ndarray:
    clock = time.monotonic()

    def lap(name):
        nonlocal clock
        facts["seconds"][name] = round(time.monotonic() - clock, 4)
        clock = time.monotonic()

    images, labels = data["train_images"], data["train_labels"]
    in_shape, out_shape = (settings["batch_size"], *images.shape[1:]), (data["classes"],)
    hyperparameters = {"lr": settings["learning_rate"], "momentum": settings["momentum"]}
    hyperparameters |= {"dropout": settings["dropout"], "batch": settings["batch_size"]}
    namespace = {"__name__": "candidate"}
    try:
        exec(compile(program, "<program>", "exec"), namespace)
        build = lambda where: namespace["Net"](in_shape, out_shape, dict(hyperparameters), torch.device(where))  # noqa: E731
        with torch.device("meta"):
            model = build("meta")
    except Exception as error:
        raise Stop("construct", _line(error)) from None
    try:
        probe = torch.empty(in_shape, device="meta")
        shape = tuple(model(probe).shape)
    except Exception as error:
        raise Stop("forward", _line(error)) from None
    if shape != (in_shape[0], data["classes"]):
        raise Stop("forward", f"returns {shape}, not {(in_shape[0], data['classes'])}")
    facts["parameters"] = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if facts["parameters"] > settings["parameter_budget"]:
        raise Stop("over_budget", f"{facts['parameters']:,} parameters, {settings['parameter_budget']:,} allowed")
    lap("check")
    seed_everything(seed)
    model = build(device).to(device)
    normalise = _normaliser(data, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"], momentum=settings["momentum"])
    images, labels = images.to(device), labels.to(device)
    order = torch.Generator().manual_seed(seed)
    model.train()
    losses = []
    for _ in range(settings["epochs"]):
        for batch in torch.randperm(len(labels), generator=order).split(settings["batch_size"]):
            if len(batch) < 2:
                continue  # batch normalisation has no variance of one image
            batch = batch.to(device)
            loss = torch.nn.functional.cross_entropy(model(normalise(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["gradient_clip"])
            optimizer.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise Stop("diverged", f"the loss is {losses[-1]} after {len(losses)} steps")
    facts["losses"] = [round(value, 4) for value in losses[:: max(1, len(losses) // 20)]]
    lap("train")
    model.eval()
    with torch.inference_mode():
        scores = [model(normalise(part.to(device))).argmax(dim=1) for part in data["images"].split(256)]
    lap("predict")
    facts["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return torch.cat(scores).to(torch.uint8).cpu().numpy()


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _normaliser(data: dict, device: str):
    mean = torch.tensor(data["mean"], device=device).view(1, -1, 1, 1)
    std = torch.tensor(data["std"], device=device).view(1, -1, 1, 1)
    return lambda images: (images.float() / 255 - mean) / std


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
