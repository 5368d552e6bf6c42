"""The training loop of an adapter: grouped by length, cut and resumed to the same end, alone or as one of several.

Several processes share the forward passes of every optimiser step and add their gradients up, so their number changes
the result by the rounding of that sum alone: what a step holds, and the dropout of each pass, derive from the seed.
"""

import math
from pathlib import Path

import torch
import torch.distributed as dist

from archloop.errors import InputError
from archloop.files import replacing
from archloop.finetuning.objectives import Example, Objective
from archloop.progress import Progress, get_logger
from archloop.random_seeds import derive, generator

# An optimiser step: (epoch, batches of indices of examples).
Step = tuple[int, list[list[int]]]

logger = get_logger("finetune")


def length_grouped_batches(lengths: list[int], size: int, *seed: object) -> list[list[int]]:
    """Return batches of indices, in random order, whose members are of similar length.

    The indices are shuffled, cut into pools of 50 batches, and sorted by length inside a pool.
    """
    dice = generator(*seed, "order")
    order = list(range(len(lengths)))
    dice.shuffle(order)
    pool = 50 * size
    pools = [
        sorted(order[at : at + pool], key=lambda i: (lengths[i], i))
        for at in range(0, len(order), pool)
    ]
    batches = [group[at : at + size] for group in pools for at in range(0, len(group), size)]
    dice.shuffle(batches)
    return batches


def ascending_batches(
    examples: list[Example], size: int, width: int, *seed: object
) -> list[list[int]]:
    """Return batches of indices from the lowest score to the highest, in steps of `width` batches.

    The members of a step are sorted by length before they are cut into batches; equal scores are in random order.
    """
    dice = generator(*seed, "order")
    order = sorted(range(len(examples)), key=lambda i: (examples[i].score, dice.random()))
    steps = [order[at : at + size * width] for at in range(0, len(order), size * width)]
    grouped = [sorted(step, key=lambda i: (examples[i].length, i)) for step in steps]
    return [step[at : at + size] for step in grouped for at in range(0, len(step), size)]


def plan(examples: list[Example], settings: dict, seed: int) -> list[Step]:
    """Return every optimiser step of `epochs` passes."""
    steps, size, width = [], settings["batch_size"], settings["accumulation"]
    lengths = [example.length for example in examples]
    for epoch in range(settings["epochs"]):
        if settings["order"] == "accuracy":
            batches = ascending_batches(examples, size, width, seed, epoch)
        else:
            batches = length_grouped_batches(lengths, size, seed, epoch)
        steps += [(epoch, batches[at : at + width]) for at in range(0, len(batches), width)]
    return steps


def train(
    model,
    examples: list[Example],
    objective: Objective,
    steps: list[Step],
    settings: dict,
    seed: int,
    checkpoint: Path,
    key: str,
    section: str = "finetuning",
) -> tuple[list[float], int]:
    """Train what is trainable of the model in place; return (mean loss of each epoch, tokens seen).

    AdamW, the learning rate by `rate_at`. steps: as `plan` makes them. The loss of a step is the mean of the objective
    over it. A checkpoint with the same key is resumed, and the result is that of an undisturbed run; the caller removes
    it once the work is safe. section: where the settings stand, for messages. Raises InputError at the first loss or
    gradient that is no finite number.
    """
    lengths = [example.length for example in examples]
    total = sum(lengths[i] for _, batches in steps for batch in batches for i in batch)
    weights = trainable(model)
    optimizer = torch.optim.AdamW(
        weights, lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    warmup = min(settings["warmup_steps"], math.ceil(len(steps) / 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step, warmup, len(steps))
    )
    done, sums, tokens = _resume(checkpoint, key, weights, optimizer, schedule)
    model.train()
    with Progress(total, "token", section) as progress:
        progress.step(tokens)
        for number, (epoch, batches) in enumerate(steps[done:], start=done + 1):
            loss, size = _gradients(
                model, weights, examples, batches, objective, derive(seed, "step", number)
            )
            norm = torch.nn.utils.clip_grad_norm_(weights, settings["max_grad_norm"])
            if not (math.isfinite(loss) and norm.isfinite()):
                raise InputError(
                    f"{section}: step {number} of {len(steps)}: the loss or its gradient is no finite number; lower"
                    f" {section}.learning_rate, or take another loading.dtype"
                )
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            seen = sum(lengths[i] for batch in batches for i in batch)
            tokens += seen
            sums.setdefault(epoch, [0.0, 0])
            sums[epoch][0] += loss * size
            sums[epoch][1] += size
            progress.step(seen, note=f"step {number} of {len(steps)}, loss {loss:.3f}")
            if (
                number % settings["checkpoint_steps"] == 0 or number == len(steps)
            ) and _rank() == 0:
                _save_checkpoint(
                    checkpoint, key, number, weights, optimizer, schedule, sums, tokens
                )
    return [total / count for total, count in sums.values()], tokens


def rate_at(step: int, warmup: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    Linear over the `warmup` steps before the peak, none of them at 0, then half a cosine down to 0 after the last step.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def trainable(model) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _gradients(model, weights, examples, batches, objective, seed: int) -> tuple[float, int]:
    """Leave the gradient of a step's mean loss in the weights and return (that loss, what the mean is over)."""
    step = [examples[i] for batch in batches for i in batch]
    size = sum(objective.size(example) for example in step)
    mine = _share(batches, [example.length for example in examples])
    baseline = 0.0
    if objective.baseline:
        estimates = [
            objective.baseline(model, [examples[i] for i in batch], step) for _, batch in mine
        ]
        total = sum(estimates, start=torch.zeros((), device=weights[0].device))
        baseline = max(0.0, _added_up(total).item() / len(step))
    step_loss = torch.zeros((), device=weights[0].device)
    for place, batch in mine:
        torch.manual_seed(derive(seed, place))
        loss = objective.loss(model, [examples[i] for i in batch], baseline) / size
        loss.backward()
        step_loss += loss.detach()
    if dist.is_initialized():
        parts = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights
        ]
        whole = _added_up(torch.cat([part.flatten() for part in parts] + [step_loss.reshape(1)]))
        *gradients, step_loss = whole.split([part.numel() for part in parts] + [1])
        for weight, gradient in zip(weights, gradients):
            weight.grad = gradient.view_as(weight)
    return step_loss.item(), size


def _share(batches: list[list[int]], lengths: list[int]) -> list[tuple[int, list[int]]]:
    """Return (place in the step, batch) of this process: the longest are dealt out first, so that all end together."""
    places = sorted(
        range(len(batches)), key=lambda place: (-sum(lengths[i] for i in batches[place]), place)
    )
    own = places[_rank() :: dist.get_world_size()] if dist.is_initialized() else places
    return [(place, batches[place]) for place in sorted(own)]


def _added_up(tensor: torch.Tensor) -> torch.Tensor:
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _save_checkpoint(path, key, done, weights, optimizer, schedule, sums, tokens) -> None:
    state = {
        "key": key,
        "done": done,
        "weights": [weight.detach().cpu() for weight in weights],
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "sums": sums,
        "tokens": tokens,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, key: str, weights, optimizer, schedule) -> tuple[int, dict, int]:
    """Return (steps done, loss sums by epoch, tokens seen), having loaded the checkpoint if it is of this training."""
    if not path.is_file():
        return 0, {}, 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a torn file of any kind: the training starts again
        logger.warning("finetune: %s cannot be read; starting from the beginning", path)
        return 0, {}, 0
    if state["key"] != key:
        return 0, {}, 0
    with torch.no_grad():
        for weight, saved in zip(weights, state["weights"]):
            weight.copy_(saved)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    logger.info("finetune: resuming after step %d", state["done"])
    return state["done"], state["sums"], state["tokens"]
