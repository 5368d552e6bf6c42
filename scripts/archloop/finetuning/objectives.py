"""What an adapter is trained for: to repeat programs (sft), or to prefer programs that the judge admitted to programs
that failed before it (dpo, kto)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and an answer to it; beside it, for dpo, a worse one; for kto, whether it is a good one.

    For sft, the answer's weight in the loss, and its accuracy in standard deviations from the mean, the order's key.
    """

    prompt: list[int]
    answer: list[int]
    worse: list[int] | None = None
    good: bool = True
    weight: float = 1.0
    score: float = 0.0

    @property
    def pairs(self) -> list[Pair]:
        return [(self.prompt, answer) for answer in (self.answer, self.worse) if answer is not None]

    @property
    def length(self) -> int:
        """Tokens that go through the model."""
        return sum(len(prompt) + len(answer) for prompt, answer in self.pairs)


@dataclass(frozen=True)
class Objective:
    """loss: (model, examples, baseline) -> the summed loss of some examples of a step, of which the step's loss is the
    mean by `size`. baseline: (model, some examples, all examples of the step) -> summed estimates, whose mean over the
    step, at least 0, every loss of the step is given; None where there is none."""

    loss: Callable[[torch.nn.Module, list[Example], float], torch.Tensor]
    size: Callable[[Example], int]
    baseline: Callable[[torch.nn.Module, list[Example], list[Example]], torch.Tensor] | None = None


def answer_logps(model, pairs: list[Pair]) -> torch.Tensor:
    """Return the log-probability (nats) of each answer after its prompt, shape (pairs,); padding has no part in it.

    Only positions from the first to the last that predict a token of an answer go through the projection onto the
    vocabulary; where they all do, as in a batch of one, no logit is copied.
    """
    device = next(model.parameters()).device
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    first = min(len(prompt) for prompt, _ in pairs) - 1
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[row, : len(prompt) + len(answer)] = 1
        labels[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = torch.tensor(answer)
    logits = model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device) if len(pairs) > 1 else None,
        use_cache=False,
        logits_to_keep=torch.arange(first, width - 1, device=device),
    ).logits
    labels = labels[:, first:-1].to(device)
    predicts = labels != -100
    logits = logits.flatten(0, 1) if predicts.all() else logits[predicts]
    losses = torch.nn.functional.cross_entropy(logits.float(), labels[predicts], reduction="none")
    return torch.stack([-part.sum() for part in losses.split(predicts.sum(dim=1).tolist())])


def make_objective(method: str, settings: dict, weights: list[torch.nn.Parameter]) -> Objective:
    """Return the objective of `finetuning.method`; the model as its trainable weights are now is the reference."""
    if method == "sft":
        return Objective(sft_loss, lambda example: len(example.answer))
    start = [weight.detach().clone() for weight in weights]
    beta, share = settings["beta"], settings["sft_weight"]

    def reference(model, pairs: list[Pair]) -> torch.Tensor:
        with torch.no_grad(), holding(weights, start):
            return answer_logps(model, pairs)

    def compare(model, pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities now and of the reference, which comes first: its weights are exchanged for a while."""
        before = reference(model, pairs)
        return answer_logps(model, pairs), before

    def dpo(model, examples: list[Example], _: float) -> torch.Tensor:
        now, before = compare(
            model, [pair for column in zip(*(e.pairs for e in examples)) for pair in column]
        )
        return (
            dpo_losses(now, before, beta).sum()
            + share * _per_token(now[: len(examples)], examples).sum()
        )

    def kto(model, examples: list[Example], baseline: float) -> torch.Tensor:
        now, before = compare(model, [pair for example in examples for pair in example.pairs])
        good = torch.tensor([example.good for example in examples], device=now.device)
        return (
            kto_losses(now - before, good, baseline, beta).sum()
            + share * (_per_token(now, examples)[good]).sum()
        )

    def mismatched(model, examples: list[Example], step: list[Example]) -> torch.Tensor:
        """How far the model went from the reference, on answers of the step to other prompts of it."""
        if len(step) == 1:
            return torch.zeros(())
        places = {id(example): place for place, example in enumerate(step)}
        pairs = [(example.prompt, step[places[id(example)] - 1].answer) for example in examples]
        with torch.no_grad():
            now, before = compare(model, pairs)
        return (now - before).sum()

    if method == "dpo":
        return Objective(dpo, lambda _: 1)
    return Objective(kto, lambda _: 1, mismatched)


def sft_loss(model, examples: list[Example], _: float) -> torch.Tensor:
    """Return the summed cross-entropy (nats) of the answers' tokens, each times the weight of its answer."""
    logps = answer_logps(model, [(example.prompt, example.answer) for example in examples])
    return -(
        logps * torch.tensor([example.weight for example in examples], device=logps.device)
    ).sum()


def dpo_losses(now: torch.Tensor, before: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the loss of each pair; now, before: log-probabilities, first those of all better answers, then the worse.

    -log sigmoid(beta * (gain of the better - gain of the worse)), where a gain is that of the log-probability over the
    reference's: equation 7 of Rafailov et al., Direct Preference Optimization, arXiv 2305.18290.
    """
    better, worse = (now - before).chunk(2)
    return -logsigmoid(beta * (better - worse))


def kto_losses(
    gain: torch.Tensor, good: torch.Tensor, baseline: float, beta: float
) -> torch.Tensor:
    """Return the loss of each answer: 1 - sigmoid(beta * (gain - baseline)), with the sign turned for a bad one.

    gain: log-probability over the reference's. baseline: estimate of the KL divergence from the reference, not
    differentiated. Equations 7 and 8 of Ethayarajh et al., KTO, arXiv 2402.01306, with both weights 1.
    """
    return 1 - torch.sigmoid(beta * torch.where(good, gain - baseline, baseline - gain))


@contextlib.contextmanager
def holding(weights: list[torch.nn.Parameter], values: list[torch.Tensor]) -> Iterator[None]:
    """Let the weights have other values for a while; no copy is made."""
    own = [weight.data for weight in weights]
    try:
        for weight, value in zip(weights, values):
            weight.data = value
        yield
    finally:
        for weight, value in zip(weights, own):
            weight.data = value


def _per_token(logps: torch.Tensor, examples: list[Example]) -> torch.Tensor:
    """Mean cross-entropy of each answer's tokens: keeps the better answers likely in themselves (Pang et al., Iterative
    Reasoning Preference Optimization, arXiv 2404.19733, equation 2)."""
    return -logps / torch.tensor([len(example.answer) for example in examples], device=logps.device)
