"""Confidence intervals for what a run measures.

scipy is imported where a quantile is asked for: to start it takes as long as all that `--help` of
the scripts needs beside it.
"""

import math
import statistics
from collections.abc import Sequence


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (E. B. Wilson, 1927), as shares from 0 to 1.

    No trials tell nothing: (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0

    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials

    # Unlike share ± z errors, it does not shrink to a point at 0 or all successes.
    centre = share + z * z / (2 * trials)
    of_share = share * (1 - share) / trials
    of_z = z * z / (4 * trials * trials)
    half = z * math.sqrt(of_share + of_z)
    scale = 1 + z * z / trials
    low = (centre - half) / scale
    high = (centre + half) / scale
    return max(0.0, low), min(1.0, high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval of a mean; None for fewer than two values."""
    count = len(values)
    if count < 2:
        return None

    from scipy.special import stdtrit

    error = statistics.stdev(values) / math.sqrt(count)
    quantile = stdtrit(count - 1, 0.5 + confidence / 2)
    half = float(quantile) * error
    mean = statistics.fmean(values)
    return mean - half, mean + half
