"""Figures as people read them."""


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) in per cent, `–` for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def per_100(value: float | None) -> str:
    """Return how many of 100: whole from ten on, with one decimal below."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def signed(value: float | None, digits: int = 1) -> str:
    """Return a difference with its sign, a true minus.

    >>> signed(-3.14159)
    '−3.1'
    """
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of a 95 % interval in brackets; nothing for None."""
    return "" if low is None or high is None else f"[{low:.1f}, {high:.1f}]".replace("-", "−")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, thousands apart, `–` for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def hours(seconds: float | None) -> str:
    """Return a time as people plan with it: seconds below two minutes, minutes below two hours, then hours."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
