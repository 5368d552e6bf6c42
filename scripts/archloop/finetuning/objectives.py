"""What an adapter is trained for: to repeat programs (sft), or to prefer programs that the judge
admitted to programs that failed before it (dpo, kto)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn.functional import cross_entropy, logsigmoid

from archloop.model.types import LanguageModel
from archloop.settings.sections import Finetuning

# Token ids of a prompt and of an answer to it.
Pair = tuple[list[int], list[int]]
# The label of a position that predicts no token of an answer.
NO_LABEL = -100


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of an answer to it, with what the objectives need to know of the
    answer.

    rejected: for dpo, an answer to the same prompt that failed. desirable: for kto, whether the
    answer is to become more likely. For sft, the answer's weight in the loss, and its score (its
    accuracy in standard deviations from the mean), by which examples may be ordered.
    """

    prompt: list[int]
    answer: list[int]
    rejected: list[int] | None = None
    desirable: bool = True
    weight: float = 1.0
    score: float = 0.0

    @property
    def chosen_pair(self) -> Pair:
        return self.prompt, self.answer

    @property
    def pairs(self) -> list[Pair]:
        """All pairs that go through the model, the rejected one last."""
        if self.rejected is None:
            return [self.chosen_pair]
        return [self.chosen_pair, (self.prompt, self.rejected)]

    @property
    def length(self) -> int:
        """Tokens that go through the model."""
        tokens = 0
        for prompt, answer in self.pairs:
            tokens += len(prompt) + len(answer)
        return tokens


LossFunction: TypeAlias = Callable[[LanguageModel, list[Example], float], torch.Tensor]
BaselineFunction: TypeAlias = Callable[[LanguageModel, list[Example], list[Example]], torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """What the loop makes small.

    loss: (model, examples, baseline) -> the summed loss of some examples of a step, of which the
    step's loss is the mean by `size`. baseline: (model, some examples, all examples of the step) ->
    summed estimates, whose mean over the step, at least 0, every loss of the step is given; None
    where there is none.
    """

    loss: LossFunction
    size: Callable[[Example], int]
    baseline: BaselineFunction | None = None


@dataclass(frozen=True)
class PaddedPairs:
    """Pairs as one batch, padded on the right, each tensor (pairs, tokens of the longest).

    mask: 1 where there is a token. labels: the token after each position that predicts one of an
    answer, NO_LABEL at the others. first: the first position of any row that has a label.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    first: int


def pad_pairs(pairs: list[Pair]) -> PaddedPairs:
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, NO_LABEL)

    first = width
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        mask[row, :end] = 1
        # A position predicts the token after it.
        start = len(prompt) - 1
        labels[row, start : end - 1] = torch.tensor(answer)
        first = min(first, start)
    return PaddedPairs(ids, mask, labels, first)


def answer_logps(model: LanguageModel, pairs: list[Pair]) -> torch.Tensor:
    """Return the log-probability (nats) of each answer after its prompt, shape (pairs,).

    Padding has no part in it.

    Only positions from the first to the last that predict a token of an answer go through the
    projection onto the vocabulary; where they all do, as in a batch of one, no logit is copied.
    """
    device = next(model.parameters()).device
    padded = pad_pairs(pairs)
    last = padded.ids.shape[1] - 1
    # A single pair has no padding to leave out.
    mask = padded.mask.to(device) if len(pairs) > 1 else None
    logits = model(
        input_ids=padded.ids.to(device),
        attention_mask=mask,
        use_cache=False,
        logits_to_keep=torch.arange(padded.first, last, device=device),
    ).logits

    labels = padded.labels[:, padded.first : last].to(device)
    predicts = labels != NO_LABEL
    # To pick positions by a mask copies them, which for all of them doubles the largest tensor.
    logits = logits.flatten(0, 1) if predicts.all() else logits[predicts]
    losses = cross_entropy(logits.float(), labels[predicts], reduction="none")

    answer_lengths = predicts.sum(dim=1).tolist()
    sums = [answer.sum() for answer in torch.split(losses, answer_lengths)]
    return -torch.stack(sums)


def make_objective(
    method: str, settings: Finetuning, weights: list[torch.nn.Parameter]
) -> Objective:
    """Return the objective of `finetuning.method`.

    The model as its trainable weights are now is the reference.
    """
    if method == "sft":
        return SFT
    reference = ReferenceModel(weights)
    if method == "dpo":
        return dpo_objective(reference, settings.beta, settings.sft_weight)
    return kto_objective(reference, settings.beta, settings.sft_weight)


def sft_loss(model: LanguageModel, examples: list[Example], _: float) -> torch.Tensor:
    """Return the summed cross-entropy (nats) of the answers' tokens, each times the weight of its
    answer."""
    pairs = [example.chosen_pair for example in examples]
    logps = answer_logps(model, pairs)
    of_answers = [example.weight for example in examples]
    weights = torch.tensor(of_answers, device=logps.device)
    return -(logps * weights).sum()


# The mean is over the tokens of all answers.
SFT = Objective(sft_loss, size=lambda example: len(example.answer))


class ReferenceModel:
    """The model as it was when the training began, pi_ref of both papers: its trainable weights,
    kept as a copy."""

    def __init__(self, weights: list[torch.nn.Parameter]):
        self.weights = weights
        self.start = [weight.detach().clone() for weight in weights]

    def log_probabilities(
        self, model: LanguageModel, pairs: list[Pair]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (log pi, log pi_ref) of the answers.

        Pi_ref comes first, for its weights are put in for a while.
        """
        with torch.no_grad(), exchanged(self.weights, self.start):
            reference = answer_logps(model, pairs)
        return answer_logps(model, pairs), reference


def dpo_objective(reference: ReferenceModel, beta: float, sft_weight: float) -> Objective:
    """Return the objective of pairs (chosen, rejected), with the cross-entropy of the chosen
    answers by its weight."""

    def loss(model: LanguageModel, examples: list[Example], _: float) -> torch.Tensor:
        chosen, rejected = [], []
        for example in examples:
            first, second = example.pairs
            chosen.append(first)
            rejected.append(second)
        logps, reference_logps = reference.log_probabilities(model, chosen + rejected)
        preference = dpo_losses(logps, reference_logps, beta).sum()
        cross_entropies = token_cross_entropies(logps[: len(examples)], examples)
        return preference + sft_weight * cross_entropies.sum()

    return Objective(loss, size=lambda example: 1)


def kto_objective(reference: ReferenceModel, beta: float, sft_weight: float) -> Objective:
    """Return the objective of desirable and undesirable answers, with the cross-entropy of the
    desirable ones."""

    def loss(model: LanguageModel, examples: list[Example], baseline: float) -> torch.Tensor:
        pairs = [example.chosen_pair for example in examples]
        logps, reference_logps = reference.log_probabilities(model, pairs)
        of_answers = [example.desirable for example in examples]
        desirable = torch.tensor(of_answers, device=logps.device)

        gain = logps - reference_logps
        preference = kto_losses(gain, desirable, baseline, beta).sum()
        cross_entropies = token_cross_entropies(logps, examples)[desirable]
        return preference + sft_weight * cross_entropies.sum()

    def mismatched_gain(
        model: LanguageModel, examples: list[Example], step: list[Example]
    ) -> torch.Tensor:
        """Estimate z_0 of the paper: the gain of the step's answers at other prompts of the step,
        summed."""
        if len(step) == 1:
            return torch.zeros(())

        # Each prompt gets the answer of the example before it, the first one that of the last. By
        # identity: the same program may be in a step twice.
        index_of = {id(example): index for index, example in enumerate(step)}
        pairs = []
        for example in examples:
            index = index_of[id(example)]
            before = step[index - 1]
            pairs.append((example.prompt, before.answer))

        with torch.no_grad():
            logps, reference_logps = reference.log_probabilities(model, pairs)
        return (logps - reference_logps).sum()

    return Objective(loss, size=lambda example: 1, baseline=mismatched_gain)


def dpo_losses(logps: torch.Tensor, reference_logps: torch.Tensor, beta: float) -> torch.Tensor:
    """Return -log sigmoid(beta * (gain of the chosen answer - gain of the rejected one)) of each
    pair.

    logps, reference_logps: (2 * pairs,), log-probabilities of all chosen answers, then of all
    rejected ones. A gain is log(pi / pi_ref). Equation 7 of Rafailov et al., Direct Preference
    Optimization, arXiv 2305.18290.
    """
    gain = logps - reference_logps
    chosen, rejected = gain.chunk(2)
    return -logsigmoid(beta * (chosen - rejected))


def kto_losses(
    gain: torch.Tensor, desirable: torch.Tensor, baseline: float, beta: float
) -> torch.Tensor:
    """Return 1 - sigmoid(beta * (gain - baseline)) of each answer, with the sign turned for an
    undesirable one.

    gain: log(pi / pi_ref), r_theta of the paper. baseline: its z_0, an estimate of the KL
    divergence from the reference, not differentiated. Equations 7 and 8 of Ethayarajh et al., KTO,
    arXiv 2402.01306, with both weights (lambda_D and lambda_U) 1.
    """
    improvement = torch.where(desirable, gain - baseline, baseline - gain)
    return 1 - torch.sigmoid(beta * improvement)


def token_cross_entropies(logps: torch.Tensor, examples: list[Example]) -> torch.Tensor:
    """Return the mean cross-entropy (nats) of each answer's tokens.

    It keeps the chosen answers likely in themselves: equation 2 of Pang et al., Iterative Reasoning
    Preference Optimization, arXiv 2404.19733.
    """
    lengths = [len(example.answer) for example in examples]
    return -logps / torch.tensor(lengths, device=logps.device)


@contextlib.contextmanager
def exchanged(weights: list[torch.nn.Parameter], values: list[torch.Tensor]) -> Iterator[None]:
    """Let the weights have other values for a while; no copy is made."""
    # By their data: the optimizer, and the modules, go on holding the same parameters.
    before = [weight.data for weight in weights]
    try:
        for weight, value in zip(weights, values):
            weight.data = value
        yield
    finally:
        for weight, value in zip(weights, before):
            weight.data = value
