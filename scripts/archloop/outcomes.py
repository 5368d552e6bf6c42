"""The funnel: what became of a candidate, at exactly one outcome each. Standard library only."""

NOT_VALID = (
    "unparseable",
    "unsafe",
    "contract",
    "construct",
    "forward",
    "over_budget",
    "timeout",
    "out_of_memory",
    "crashed",
    "diverged",
)
VALID = ("below_threshold", "near_copy", "admitted")
OUTCOMES = NOT_VALID + VALID


def count_outcomes(outcomes: list[str]) -> dict[str, int]:
    """Return how many candidates ended at each outcome, in the order of the funnel; zeros included.

    >>> count_outcomes(["admitted", "forward"])["forward"]
    1
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome in outcomes:
        counts[outcome] += 1
    return counts
