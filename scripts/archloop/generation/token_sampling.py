"""One token a row from the model's logits, and whether rounding could have made it another.

The logits of a sequence differ in their last digits with the shape of the batch that it is computed
in. A draw that falls so near to an edge that this could matter is reported as uncertain; the caller
settles it by logits that do not depend on the batch. So what is sampled is a function of the prompt
and the seed, as long as no logit is off by more than `rounding`.
"""

from dataclasses import dataclass

import torch

# Largest change of a logit that another batch may make in float32; on SmolLM2-135M it is 1e-4.
ROUNDING = 5e-4
# Below it the scores leave float32, and no token but the most likely one has a chance anyway.
COLDEST = 1e-4
# Rounding of the softmax itself and of what was left out of the linear estimate.
SLACK = 1e-6
# Tokens that are sorted where top-p most likely needs no more; all of them take ten times as long.
SHORTLIST = 256
# By so much more than top-p asks for the shortlist has to hold, against rounding.
SHORTLIST_MARGIN = 0.001
# A share moves by its first derivative; half as much again covers the rest of the series.
LINEAR_MARGIN = 1.5


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: temperature, then top-k (0: of all), then top-p (1.0: of all)."""

    temperature: float
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True)
class RankedTokens:
    """The tokens of each row from the most likely one on.

    scores, tokens: (rows, n), logits over the temperature and token ids. probabilities: (rows, m),
    m <= n, float64: of the tokens that top-k leaves; the scores beyond show how near the next
    tokens come.
    """

    scores: torch.Tensor
    tokens: torch.Tensor
    probabilities: torch.Tensor


@dataclass(frozen=True)
class Draw:
    """What was drawn of each row; all but draws (rows,) are (rows, 1), cumulative is (rows, m).

    draws: numbers in [0, 1). cumulative: sums of the probabilities that top-p leaves. last:
    position of the last token that it leaves. positions: of the tokens that were drawn.
    """

    draws: torch.Tensor
    cumulative: torch.Tensor
    last: torch.Tensor
    positions: torch.Tensor


def choose_tokens(
    logits: torch.Tensor, draws: list[float], sampling: Sampling, rounding: float = 0.0
) -> tuple[list[int], list[bool]]:
    """Return (one token a row, whether logits off by `rounding` would give the same one).

    logits: (rows, vocabulary). draws: one number in [0, 1) a row, which picks along the tokens that
    are left, from the most likely one on. A temperature below COLDEST is 0. Raises
    FloatingPointError for a row without a largest finite number, from which nothing can be drawn.
    """
    largest = logits.amax(dim=-1)
    if not largest.isfinite().all():
        raise FloatingPointError("the model's logits are no finite numbers")
    if sampling.temperature < COLDEST:
        return _most_likely(logits.float(), rounding)

    scores = logits.float() / sampling.temperature
    ranked = rank_tokens(scores, sampling.top_k, sampling.top_p)
    kept = top_p_filtering(ranked.probabilities, sampling.top_p)
    draw = draw_positions(kept, draws)
    chosen = ranked.tokens.gather(1, draw.positions)
    tokens = chosen[:, 0].tolist()
    if not rounding:
        return tokens, [True] * len(tokens)

    certain = _certain(ranked, draw, sampling, rounding)
    return tokens, certain.tolist()


def rank_tokens(scores: torch.Tensor, top_k: int, top_p: float) -> RankedTokens:
    """Return as many of the most likely tokens as top-k and top-p can take."""
    vocabulary = scores.shape[-1]
    leaves_some_out = 0 < top_k < vocabulary
    if leaves_some_out or vocabulary <= SHORTLIST:
        return top_k_filtering(scores, top_k)

    # Of a large vocabulary top-p mostly takes few tokens.
    best, tokens = scores.topk(SHORTLIST, dim=-1)
    log_normalizer = scores.logsumexp(dim=-1, keepdim=True)
    probabilities = (best - log_normalizer).exp().double().cpu()

    # Without the last one: its score shows how near the first token that is left out may come.
    before_last = probabilities[:, :-1]
    mass = before_last.sum(dim=-1)
    enough = mass > top_p + SHORTLIST_MARGIN
    if enough.all():
        return RankedTokens(best.cpu(), tokens.cpu(), probabilities)
    return top_k_filtering(scores, top_k)


def top_k_filtering(scores: torch.Tensor, top_k: int) -> RankedTokens:
    """Return the k most likely tokens with their probabilities among themselves, and the score of
    one more."""
    vocabulary = scores.shape[-1]
    k = min(top_k or vocabulary, vocabulary)

    shown = min(k + 1, vocabulary)
    best, tokens = scores.topk(shown, dim=-1)
    # The draw is made on the CPU, where the numbers in [0, 1) are.
    best, tokens = best.cpu(), tokens.cpu()
    probabilities = best[:, :k].softmax(dim=-1)
    return RankedTokens(best, tokens, probabilities.double())


def top_p_filtering(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the probabilities with 0 beyond the smallest set of the most likely tokens that holds
    `top_p`.

    probabilities: (rows, m), in falling order. The first one always stays.
    """
    before = probabilities.cumsum(dim=-1) - probabilities
    return probabilities.masked_fill(before >= top_p, 0.0)


def draw_positions(kept: torch.Tensor, draws: list[float]) -> Draw:
    """Return the position in each row at which the sum of its probabilities passes its share, by
    `draws`, of them all.

    kept: (rows, m), those of the first positions above 0.
    """
    numbers = torch.tensor(draws, dtype=torch.float64)
    cumulative = kept.cumsum(dim=-1)
    remaining = (kept > 0).sum(dim=-1, keepdim=True)
    last = remaining - 1

    # The probabilities that are left do not sum to 1, so a draw is a share of their sum.
    whole = cumulative[:, -1:]
    goals = numbers[:, None] * whole
    positions = torch.searchsorted(cumulative, goals, right=True)
    # A product that rounds up to the whole sum would lie beyond the last token.
    return Draw(numbers, cumulative, last, torch.minimum(positions, last))


def _most_likely(logits: torch.Tensor, rounding: float) -> tuple[list[int], list[bool]]:
    best, tokens = logits.topk(2, dim=-1)
    first, second = best.unbind(dim=1)
    # Both may move, towards each other.
    is_certain = first - second > 2 * rounding
    return tokens[:, 0].tolist(), is_certain.tolist()


def _certain(ranked: RankedTokens, draw: Draw, sampling: Sampling, rounding: float) -> torch.Tensor:
    """Tell for each row whether every set of logits within `rounding` of these gives the same
    token.

    A share c of the mass moves by at most c (1 - c) times the change of the scores' differences;
    the order of two tokens may change where their scores are closer than that; where the cut of
    top-p may fall elsewhere, all shares are off by the mass of the tokens at the cut.
    """
    moved = 2 * rounding / sampling.temperature
    inside = _within_share(ranked, draw, sampling.top_p, moved)
    same_rank = _keeps_its_rank(ranked.scores, draw.positions, moved)
    certain = inside & same_rank
    return certain[:, 0]


def _within_share(ranked: RankedTokens, draw: Draw, top_p: float, moved: float) -> torch.Tensor:
    """Tell whether the draw stays within the share of its token, wherever the ends of the share may
    move to."""
    whole = draw.cumulative.gather(1, draw.last)
    share_mass = ranked.probabilities.gather(1, draw.positions)
    up_to_it = draw.cumulative.gather(1, draw.positions)

    stake = _mass_at_cut(ranked.probabilities, draw.last, whole, top_p, moved) / whole
    high = up_to_it / whole
    low = high - share_mass / whole
    numbers = draw.draws[:, None]

    def is_far_from(end: torch.Tensor) -> torch.Tensor:
        by_scores = LINEAR_MARGIN * end * (1 - end) * moved
        by_cut = end * stake
        distance = (numbers - end).abs()
        return distance > by_scores + by_cut + SLACK

    is_first = draw.positions == 0  # whose share begins at 0, whatever the logits are
    return (is_first | is_far_from(low)) & is_far_from(high)


def _mass_at_cut(
    probabilities: torch.Tensor,
    last: torch.Tensor,
    whole: torch.Tensor,
    top_p: float,
    moved: float,
) -> torch.Tensor:
    """Return the mass at stake where the cut of top-p could fall one token earlier or later, 0
    where it could not."""
    if top_p >= 1:  # no cut
        return torch.zeros_like(whole)

    edge = top_p * (1 - top_p) * moved + SLACK
    final = probabilities.shape[1] - 1
    at_cut = probabilities.gather(1, last)
    after = (last + 1).clamp(max=final)
    beyond = probabilities.gather(1, after)

    earlier = top_p - (whole - at_cut) < edge
    later = whole - top_p < edge
    mass = at_cut + beyond + 2 * edge
    return torch.where(earlier | later, mass, 0.0)


def _keeps_its_rank(scores: torch.Tensor, positions: torch.Tensor, moved: float) -> torch.Tensor:
    """Tell whether no neighbour of the token in the order of the scores could change places with
    it."""
    final = scores.shape[1] - 1
    scores = scores.double()
    before = (positions - 1).clamp(min=0)
    after = (positions + 1).clamp(max=final)

    score = scores.gather(1, positions)
    above = scores.gather(1, before)
    below = scores.gather(1, after)

    keeps_above = (positions == 0) | (above - score > moved)
    keeps_below = (positions == final) | (score - below > moved)
    return keeps_above & keeps_below
