"""One token a row: by temperature, top-k and top-p, and whether rounding could have made it another."""

import pytest
import torch

from archloop.generation import token_sampling as module
from archloop.generation.token_sampling import (
    Sampling,
    choose_tokens,
    draw_positions,
    top_k_filtering,
    top_p_filtering,
)

PROBABILITIES = [0.5, 0.3, 0.15, 0.05]
DRAWS = [(at + 0.5) / 4000 for at in range(4000)]  # evenly spread


def shares(temperature: float, top_k: int = 0, top_p: float = 1.0, order=(2, 0, 3, 1)) -> list[float]:
    """How often each token is drawn, the tokens standing in another order than their probabilities."""
    logits = torch.tensor([[PROBABILITIES[place] for place in order]]).log().repeat(len(DRAWS), 1)
    settings = Sampling(temperature, top_k, top_p)
    chosen, certain = choose_tokens(logits, DRAWS, settings)
    assert certain == [True] * len(DRAWS)
    counted = [chosen.count(token) / len(DRAWS) for token in range(4)]
    return [counted[order.index(place)] for place in range(4)]


@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.0, 2.0])
def test_tokens_are_drawn_by_their_probability_to_the_power_of_one_over_the_temperature(temperature):
    powers = [p ** (1 / temperature) for p in PROBABILITIES]
    assert shares(temperature) == pytest.approx([p / sum(powers) for p in powers], abs=3e-4)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (3, 1.0, 3),
        (1, 1.0, 1),
        (9, 1.0, 4),
        (0, 0.81, 3),  # the smallest set of the likeliest tokens that holds 0.81
        (0, 0.79, 2),
        (0, 0.01, 1),
        (2, 0.9, 2),  # of the two that top-k leaves, which then hold all
        (3, 0.5, 1),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_what_top_k_and_then_top_p_leave_is_drawn_by_its_own_proportions(top_k, top_p, kept, temperature):
    powers = [p ** (1 / temperature) for p in PROBABILITIES]
    if temperature != 1.0:  # top-p counts what top-k and the temperature leave
        left = powers[: top_k or 4]
        kept = next(n for n in range(1, 5) if sum(left[:n]) / sum(left) >= top_p - 1e-6)
    expected = [p / sum(powers[:kept]) if place < kept else 0.0 for place, p in enumerate(powers)]
    assert shares(temperature, top_k, top_p) == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize("spread", [0.01, 2.0, 30.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (0, 0.95), (300, 1.0), (300, 0.5), (40, 1.0)])
def test_of_many_tokens_a_shortlist_is_sorted_where_it_suffices_alone(monkeypatch, spread, top_k, top_p):
    torch.manual_seed(0)
    logits = torch.randn(200, 2000) * spread
    draws = torch.rand(200, dtype=torch.float64).tolist()
    settings = Sampling(0.9, top_k, top_p)
    found = choose_tokens(logits, draws, settings)[0]
    monkeypatch.setattr(module, "SHORTLIST", 10_000)
    assert found == choose_tokens(logits, draws, settings)[0]
    assert spread != 0.01 or top_k == 40 or len(set(found)) > 100


def test_without_temperature_the_likeliest_token_is_taken_and_a_near_tie_is_uncertain():
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 1.0009, 0.0], [1.0, 1.0011, 0.0]])
    found = choose_tokens(logits, [0.9] * 3, Sampling(0, 0, 1.0), 5e-4)
    assert found == ([1, 1, 1], [True, False, True])


@pytest.mark.parametrize(
    ("draw", "certain"),
    [(0.1, True), (0.4994, True), (0.4999, False), (0.5001, False), (0.5006, True), (0.8, False), (0.975, True)],
)
def test_a_draw_next_to_the_edge_of_two_tokens_is_uncertain(draw, certain):
    """Of 0.5, 0.3, 0.15, 0.05: edges at 0.5, 0.8 and 0.95."""
    logits = torch.tensor([PROBABILITIES]).log()
    for rounding, expected in ((5e-4, certain), (0.0, True)):
        settings = Sampling(1.0, 0, 1.0)
        assert choose_tokens(logits, [draw], settings, rounding)[1] == [expected]


def test_draws_near_an_edge_are_found_whatever_moves_the_logits():
    """Where a change of the logits within the tolerance changes the token, the draw was called uncertain."""
    torch.manual_seed(0)
    rounding, changed, unsure = 5e-4, 0, 0
    for settings in (
        Sampling(0.7, 0, 0.9),
        Sampling(0.2, 5, 0.99),
        Sampling(1.0, 3, 1.0),
        Sampling(0, 0, 1.0),
    ):
        logits = torch.randn(60_000, 12) * 2
        logits[:, 3] = logits[:, 7] + 3e-3 * torch.randn(60_000)  # some near ties
        draws = torch.rand(60_000, dtype=torch.float64).tolist()
        tokens, certain = choose_tokens(logits, draws, settings, rounding)
        unsure += certain.count(False)
        for _ in range(4):
            signs = torch.randint(0, 2, logits.shape) * 2.0 - 1
            moved, _ = choose_tokens(logits + signs * rounding, draws, settings)
            differs = [one != two for one, two in zip(tokens, moved)]
            changed += sum(differs)
            assert not any(was and sure for was, sure in zip(differs, certain))
    assert changed > 100 and unsure < 0.1 * 240_000


def test_two_tokens_that_rounding_can_make_equal_are_a_tie():
    logits, settings = torch.tensor([[1.0, 0.0]]), Sampling(0, 0, 1.0)
    assert [choose_tokens(logits, [0.5], settings, rounding)[1] for rounding in (0.5, 0.49)] == [[False], [True]]


def test_next_to_no_temperature_is_none():
    logits = torch.randn(3, 50)
    cold, none = (choose_tokens(logits, [0.9] * 3, Sampling(temperature)) for temperature in (1e-300, 0))
    assert cold == none


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_nothing_is_drawn_from_a_row_that_is_no_number(temperature):
    logits = torch.randn(2, 1000)
    logits[1, 7] = float("nan")
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        choose_tokens(logits, [0.3, 0.9], Sampling(temperature, 0, 0.95))


def test_a_draw_just_below_an_edge_stays_below_it():
    logits = torch.zeros(2, 2)
    settings = Sampling(1.0, 0, 1.0)
    one, two = choose_tokens(logits, [0.5 - 1e-9, 0.5], settings)[0]
    assert one != two and choose_tokens(logits[:1], [0.1], settings)[0] == [one]


@pytest.mark.parametrize(("temperature", "drawn"), [(0, False), (0.99e-4, False), (1e-4, True), (1.1e-4, True)])
def test_below_a_ten_thousandth_there_is_no_temperature(temperature, drawn):
    settings = Sampling(temperature, 0, 1.0)
    found = choose_tokens(torch.zeros(2, 2), [0.1, 0.9], settings)[0]
    assert (found[0] != found[1]) is drawn


def test_a_token_that_is_forbidden_in_all_rows_is_no_mistake_and_a_row_without_any_is():
    logits = torch.tensor([[0.0, float("-inf"), 1.0], [1.0, float("-inf"), 2.0]])
    settings = Sampling(1.0, 0, 1.0)
    assert 1 not in choose_tokens(logits, [0.999, 0.999], settings)[0]
    with pytest.raises(FloatingPointError):
        choose_tokens(torch.tensor([[0.0, 1.0], [float("-inf")] * 2]), [0.5, 0.5], settings)


@pytest.mark.parametrize(("top_k", "kept", "shown"), [(2, 2, 3), (3, 3, 4), (4, 4, 4), (0, 4, 4), (9, 4, 4)])
def test_top_k_leaves_the_likeliest_tokens_and_shows_the_score_of_one_more(top_k, kept, shown):
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    ranked = top_k_filtering(scores, top_k)
    assert ranked.tokens[0].tolist() == [1, 3, 2, 0][:shown]
    assert ranked.scores[0].tolist() == [3.0, 2.0, 1.0, 0.0][:shown]
    powers = torch.tensor([3.0, 2.0, 1.0, 0.0])[:kept].exp()
    assert ranked.probabilities[0].tolist() == pytest.approx((powers / powers.sum()).tolist(), rel=1e-6)


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.8, 3), (1.0, 4)])
def test_top_p_leaves_the_smallest_set_that_holds_it(top_p, kept):
    probabilities = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64)
    expected = [0.5, 0.25, 0.125, 0.125][:kept] + [0.0] * (4 - kept)
    assert top_p_filtering(probabilities, top_p)[0].tolist() == expected


def test_a_draw_falls_into_the_share_of_its_token_and_never_behind_the_last_one():
    kept = torch.tensor([[0.5, 0.25, 0.0]] * 4, dtype=torch.float64)
    draw = draw_positions(kept, [0.0, 0.66, 0.67, 1.0])
    assert draw.positions[:, 0].tolist() == [0, 0, 1, 1]
    assert draw.last[:, 0].tolist() == [1] * 4 and draw.cumulative[0].tolist() == [0.5, 0.75, 0.75]
