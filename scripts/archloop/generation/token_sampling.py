"""One token a row from the model's logits, and whether rounding could have made it another.

The logits of a sequence differ in their last digits with the shape of the batch that it is computed in. A draw that
falls so near to an edge that this could matter is reported as uncertain; the caller settles it by logits that do not
depend on the batch. So what is sampled is a function of the prompt and the seed, as long as no logit is off by more
than `rounding`.
"""

import torch

# Largest change of a logit that another batch may make in float32; on SmolLM2-135M it is 1e-4.
ROUNDING = 5e-4
# Below it the scores leave float32, and no token but the most likely one has a chance anyway.
COLDEST = 1e-4
# Rounding of the softmax itself and of what was left out of the linear estimate.
SLACK = 1e-6
# Tokens that are sorted where top-p most likely needs no more; all of them take ten times as long.
SHORTLIST = 256


def choose_tokens(
    logits: torch.Tensor, draws: list[float], settings: dict, rounding: float = 0.0
) -> tuple[list[int], list[bool]]:
    """Return (one token a row, whether logits off by `rounding` would give the same one).

    logits: (rows, vocabulary). draws: one number in [0, 1) a row. Temperature, then top-k, then top-p, then the draw
    picks along the tokens from the most likely one on. A temperature below COLDEST is 0. Raises FloatingPointError for
    a row without a largest finite number, from which nothing can be drawn.
    """
    if not logits.amax(dim=-1).isfinite().all():
        raise FloatingPointError("the model's logits are no finite numbers")
    if settings["temperature"] < COLDEST:
        best, tokens = logits.float().topk(2, dim=-1)
        return tokens[:, 0].tolist(), (best[:, 0] - best[:, 1] > 2 * rounding).tolist()
    scores = logits.float() / settings["temperature"]
    best, tokens, probabilities = _most_likely(scores, settings)
    below = probabilities.cumsum(dim=-1) - probabilities
    kept = probabilities.masked_fill(below >= settings["top_p"], 0.0)
    heights = kept.cumsum(dim=-1)
    goals = torch.tensor(draws, dtype=torch.float64)[:, None] * heights[:, -1:]
    last = (kept > 0).sum(dim=-1, keepdim=True) - 1
    places = torch.minimum(torch.searchsorted(heights, goals, right=True), last)
    chosen = tokens.gather(1, places)[:, 0].tolist()
    if not rounding:
        return chosen, [True] * len(chosen)
    return chosen, _certain(
        best, probabilities, heights, last, places, draws, settings, rounding
    ).tolist()


def _most_likely(
    scores: torch.Tensor, settings: dict
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (scores, tokens, probabilities) from the most likely token on, as many as top-k and top-p can take.

    There may be more scores than probabilities: those show how near the next tokens come.
    """
    vocabulary = scores.shape[-1]
    k = min(settings["top_k"] or vocabulary, vocabulary)
    if k > SHORTLIST and k == vocabulary:
        best, tokens = scores.topk(SHORTLIST, dim=-1)
        probabilities = (best - scores.logsumexp(dim=-1, keepdim=True)).exp().double().cpu()
        if (probabilities[:, :-1].sum(dim=-1) > settings["top_p"] + 0.001).all():
            return best.cpu(), tokens.cpu(), probabilities
    best, tokens = scores.topk(min(k + 1, vocabulary), dim=-1)
    best, tokens = best.cpu(), tokens.cpu()
    return best, tokens, best[:, :k].softmax(dim=-1).double()


def _certain(best, probabilities, heights, last, places, draws, settings, rounding) -> torch.Tensor:
    """Tell for each row whether every set of logits within `rounding` of these gives the same token.

    A share c of the mass moves by at most c (1 - c) times the change of the scores' differences; the order of two
    tokens may change where their scores are closer than that; where the cut of top-p may fall elsewhere, all shares
    are off by the mass of the tokens at the cut.
    """
    moved = 2 * rounding / settings["temperature"]
    whole = heights.gather(1, last)
    high = heights.gather(1, places) / whole
    low = high - probabilities.gather(1, places) / whole
    # The mass at stake where the cut could fall one token earlier or later.
    edge = settings["top_p"] * (1 - settings["top_p"]) * moved + SLACK
    at_cut = probabilities.gather(1, last)
    beyond = probabilities.gather(1, (last + 1).clamp(max=probabilities.shape[1] - 1))
    near = (settings["top_p"] - (whole - at_cut) < edge) | (whole - settings["top_p"] < edge)
    near &= torch.tensor(settings["top_p"] < 1)
    stake = torch.where(near, (at_cut + beyond + 2 * edge) / whole, 0.0)
    draw = torch.tensor(draws, dtype=torch.float64)[:, None]
    inside = torch.ones_like(near)
    for share, first in ((low, places == 0), (high, torch.zeros_like(near))):
        margin = 1.5 * share * (1 - share) * moved + share * stake + SLACK
        inside &= first | ((draw - share).abs() > margin)
    score = best.double().gather(1, places)
    above = best.double().gather(1, (places - 1).clamp(min=0))
    after = best.double().gather(1, (places + 1).clamp(max=best.shape[1] - 1))
    inside &= (places == 0) | (above - score > moved)
    inside &= (places == best.shape[1] - 1) | (score - after > moved)
    return inside[:, 0]
