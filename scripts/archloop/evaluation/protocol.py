"""How one training runs, and what happens to an image before the network sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn.functional import interpolate

from archloop.evaluation.number_formats import PLAIN, Format
from archloop.lemur.hyperparameters import Hyperparameters
from archloop.settings.sections import Evaluation

# A function of (uint8 images, whether each is flipped) that gives what a network sees.
Prepare = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True)
class Protocol:
    """What happens to an image before the network sees it, and how many are predicted at once."""

    size: int | None  # pixels that it is resized to, bilinearly; None leaves it
    flip: bool  # left to right, at random, in training only
    predict_batch: int


PROTOCOLS = {
    "native": Protocol(size=None, flip=False, predict_batch=256),
    "resize256_flip": Protocol(size=256, flip=True, predict_batch=32),
}


@dataclass(frozen=True)
class Plan:
    """How one training runs."""

    settings: Evaluation
    protocol: Protocol
    seed: int
    device: str
    format: Format = PLAIN
    prm: Hyperparameters = field(default_factory=dict)  # the program's own


def preparer(mean: list[float], std: list[float], plan: Plan) -> Prepare:
    """Return the function that makes of images what a network sees: normalised, resized and
    flipped.

    mean, std: by channel, of pixels from 0 to 1.
    """
    means = _by_channel(torch.tensor(mean, device=plan.device))
    stds = _by_channel(torch.tensor(std, device=plan.device))
    # (pixels / 255 - mean) / std, as one multiplication and one addition.
    scale = 1 / (255 * stds)
    shift = -means / stds

    square = None
    if plan.protocol.size:
        square = (plan.protocol.size, plan.protocol.size)

    def prepare(images: torch.Tensor, flips: torch.Tensor | None = None) -> torch.Tensor:
        images = torch.addcmul(shift, images.float(), scale)
        if square:
            images = interpolate(images, square, mode="bilinear", align_corners=False)
        if flips is not None:
            flipped = flips.to(plan.device).view(-1, 1, 1, 1)
            images = torch.where(flipped, images.flip(3), images)
        if plan.format.layout == "channels_last":
            images = images.to(memory_format=torch.channels_last)
        return images

    return prepare


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    """Return values (channels,) in the shape that combines with images, (1, channels, 1, 1)."""
    return values.view(1, -1, 1, 1)
