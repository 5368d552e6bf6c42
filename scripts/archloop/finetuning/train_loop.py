"""The training loop of an adapter: grouped by length, cut and resumed to the same end, alone or as
one of several.

Several processes share the forward passes of every optimiser step and add their gradients up, so
their number changes the result by the rounding of that sum alone: what a step holds, and the
dropout of each pass, derive from the seed.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from archloop.errors import InputError
from archloop.finetuning.checkpoints import Checkpoint
from archloop.finetuning.objectives import Example, Objective
from archloop.logs import get_logger
from archloop.model.types import LanguageModel
from archloop.progress import Progress
from archloop.random_seeds import derive, generator
from archloop.settings.sections import Finetuning, ScratchModel

# Indices of examples that go through the model at once.
Batch = list[int]
# An optimiser step: (epoch, its batches).
Step = tuple[int, list[Batch]]

# Batches whose examples are sorted by length together: enough for little padding, few enough to
# stay in random order.
POOL_BATCHES = 50

Item = TypeVar("Item")

logger = get_logger("finetune")


@dataclass(frozen=True)
class Batching:
    """How examples become optimiser steps; accumulation: batches a step.

    order: random, or accuracy (ascending).
    """

    epochs: int
    batch_size: int
    accumulation: int = 1
    order: str = "random"


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is, beside its model, examples and objective.

    steps: as `plan_steps` makes them. settings: of the optimiser. checkpoint: where the state is
    kept; one with the same `key` is resumed. section: where the settings stand, for messages.
    remedy: what to do where the loss diverges.
    """

    steps: list[Step]
    settings: Finetuning | ScratchModel
    seed: int
    checkpoint: Path
    key: str
    section: str = "finetuning"
    remedy: str = "lower finetuning.learning_rate, or take another loading.dtype"


@dataclass(frozen=True)
class TrainingResult:
    """losses: the mean of each epoch; tokens: that went through the model."""

    losses: list[float]
    tokens: int


def length_grouped_batches(lengths: list[int], size: int, *seed: object) -> list[Batch]:
    """Return batches of indices, in random order, whose members are of similar length.

    The indices are shuffled, cut into pools of POOL_BATCHES batches, and sorted by length inside a
    pool.
    """
    rng = generator(*seed, "order")
    order = list(range(len(lengths)))
    rng.shuffle(order)

    batches = []
    for pool in _cut(order, POOL_BATCHES * size):
        pool.sort(key=lambda index: (lengths[index], index))
        batches += _cut(pool, size)

    rng.shuffle(batches)
    return batches


def ascending_batches(
    examples: list[Example], size: int, batches_a_step: int, *seed: object
) -> list[Batch]:
    """Return batches of indices from the lowest score to the highest, in steps of so many batches.

    The members of a step are sorted by length before they are cut into batches; equal scores are in
    random order.
    """
    rng = generator(*seed, "order")
    by_score = []
    for index, example in enumerate(examples):
        by_score.append((example.score, rng.random(), index))
    order = [index for _, _, index in sorted(by_score)]

    batches = []
    for step in _cut(order, size * batches_a_step):
        step.sort(key=lambda index: (examples[index].length, index))
        batches += _cut(step, size)
    return batches


def plan_steps(examples: list[Example], batching: Batching, seed: int) -> list[Step]:
    """Return every optimiser step of all epochs."""
    size, width = batching.batch_size, batching.accumulation
    lengths = [example.length for example in examples]

    steps: list[Step] = []
    for epoch in range(batching.epochs):
        if batching.order == "accuracy":
            batches = ascending_batches(examples, size, width, seed, epoch)
        else:
            batches = length_grouped_batches(lengths, size, seed, epoch)
        for step in _cut(batches, width):
            steps.append((epoch, step))
    return steps


def train(
    model: LanguageModel, examples: list[Example], objective: Objective, training: TrainingPlan
) -> TrainingResult:
    """Train what is trainable of the model in place.

    AdamW, the learning rate by `rate_at`. The loss of a step is the mean of the objective over it.
    A training that was cut is resumed from its checkpoint, and the result is that of an undisturbed
    run; the caller removes the checkpoint once the work is safe. Raises InputError at the first
    loss or gradient that is no finite number.
    """
    settings, steps = training.settings, training.steps
    weights = trainable_weights(model)
    optimizer = torch.optim.AdamW(
        weights, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = _schedule(optimizer, settings.warmup_steps, len(steps))
    checkpoint = Checkpoint(training.checkpoint, training.key, weights, optimizer, schedule)
    done = checkpoint.resume()

    model.train()
    total = 0
    for _, batches in steps:
        total += _tokens(examples, batches)
    with Progress(total, "token", training.section) as progress:
        progress.step(done.tokens)
        for number in range(done.steps + 1, len(steps) + 1):
            epoch, batches = steps[number - 1]
            seed = derive(training.seed, "step", number)
            loss, size = _gradients(model, examples, batches, objective, seed)
            norm = torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
            if not (math.isfinite(loss) and norm.isfinite()):
                raise _diverged(training, number)

            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

            tokens = _tokens(examples, batches)
            done.add(epoch, loss, size, tokens)
            note = f"step {number} of {len(steps)}, loss {loss:.3f}"
            progress.step(tokens, note=note)
            is_due = number % settings.checkpoint_steps == 0 or number == len(steps)
            if is_due and rank() == 0:  # all processes have the same weights
                checkpoint.save(done)

    losses = [total / count for total, count in done.sums.values()]
    return TrainingResult(losses, done.tokens)


def _schedule(
    optimizer: torch.optim.Optimizer, warmup_steps: int, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    # A short training would otherwise end before its rate has reached the peak.
    warmup = min(warmup_steps, math.ceil(steps / 10))

    def rate(step: int) -> float:
        return rate_at(step, warmup, steps)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _diverged(training: TrainingPlan, step: int) -> InputError:
    return InputError(
        f"{training.section}: step {step} of {len(training.steps)}: the loss or its gradient is no"
        f" finite number; {training.remedy}"
    )


def rate_at(step: int, warmup: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    Linear over the `warmup` steps before the peak, none of them at 0, then half a cosine down to 0
    after the last step.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def trainable_weights(model: LanguageModel) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def rank() -> int:
    """Return the number of this process among those that train together; 0 of one alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def share_of_process(
    batches: list[Batch], lengths: list[int], rank: int, processes: int
) -> list[tuple[int, Batch]]:
    """Return (index in the step, batch) of one process: the longest are dealt out first, so that
    all end together."""
    longest_first = []
    for index, batch in enumerate(batches):
        tokens = sum(lengths[example] for example in batch)
        longest_first.append((-tokens, index, batch))
    longest_first.sort()

    share = []
    for _, index, batch in longest_first[rank::processes]:
        share.append((index, batch))
    # In the order of the step: by it the sums of gradients are rounded.
    return sorted(share)


def _gradients(
    model: LanguageModel,
    examples: list[Example],
    batches: list[Batch],
    objective: Objective,
    seed: int,
) -> tuple[float, int]:
    """Leave the gradient of a step's mean loss in the weights and return (that loss, what the mean
    is over)."""
    weights = trainable_weights(model)
    step = []
    for batch in batches:
        step += [examples[index] for index in batch]
    size = sum(objective.size(example) for example in step)
    share = _share(batches, examples)
    device = weights[0].device
    baseline = _baseline(model, objective, list(share.values()), step, device)

    step_loss = torch.zeros((), device=device)
    for index, mine in share.items():
        # The dropout of a batch hangs on its index, not on the process that it falls to.
        torch.manual_seed(derive(seed, index))
        # By the size of the whole step: the gradients of its batches add up to that of its mean.
        loss = objective.loss(model, mine, baseline) / size
        torch.autograd.backward(loss)
        step_loss += loss.detach()

    if dist.is_initialized():
        step_loss = _add_up_gradients(weights, step_loss)
    return step_loss.item(), size


def _share(batches: list[Batch], examples: list[Example]) -> dict[int, list[Example]]:
    """Return index in the step -> examples, of the batches of this process."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    lengths = [example.length for example in examples]
    mine = share_of_process(batches, lengths, rank(), processes)

    share = {}
    for index, batch in mine:
        share[index] = [examples[position] for position in batch]
    return share


def _baseline(
    model: LanguageModel,
    objective: Objective,
    batches: list[list[Example]],
    step: list[Example],
    device: torch.device,
) -> float:
    """Return the mean over the step of the estimates by which losses are compared, at least 0."""
    if objective.baseline is None:
        return 0.0

    total = torch.zeros((), device=device)
    for batch in batches:
        total = total + objective.baseline(model, batch, step)
    # Every process has estimated its own share; the mean is of the whole step.
    if dist.is_initialized():
        dist.all_reduce(total)
    mean: float = total.item() / len(step)
    return max(0.0, mean)


def _add_up_gradients(weights: list[torch.nn.Parameter], step_loss: torch.Tensor) -> torch.Tensor:
    """Give every process the sum of all gradients, in one exchange with the losses, whose sum is
    returned."""
    parts = []
    for weight in weights:
        gradient = weight.grad
        if gradient is None:  # none of this process's batches reached it
            gradient = torch.zeros_like(weight)
        parts.append(gradient.flatten())
    # One exchange instead of one a tensor: each costs the wait for the slowest process.
    parts.append(step_loss.reshape(1))

    whole = torch.cat(parts)
    dist.all_reduce(whole)

    sizes = [part.numel() for part in parts]
    *gradients, step_loss = torch.split(whole, sizes)
    for weight, gradient in zip(weights, gradients):
        weight.grad = gradient.view_as(weight)
    return step_loss


def _tokens(examples: list[Example], batches: list[Batch]) -> int:
    tokens = 0
    for batch in batches:
        tokens += sum(examples[index].length for index in batch)
    return tokens


def _cut(items: list[Item], size: int) -> list[list[Item]]:
    pieces = []
    for start in range(0, len(items), size):
        pieces.append(items[start : start + size])
    return pieces
