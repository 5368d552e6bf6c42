"""Durations, shares and sizes as people read them. Standard library only."""

GB = 10**9


def duration(seconds: float) -> str:
    """Return seconds as people read them: `42 s`, `3 min 05 s`, `2 h 10 min`.

    >>> duration(185)
    '3 min 05 s'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min {seconds:02d} s"
    return f"{seconds} s"


def percent(share: float | None, digits: int = 1, unknown: str = "–") -> str:
    """Return a share (0 to 1) in per cent; `unknown` for None.

    >>> percent(0.9375)
    '93.8 %'
    """
    return unknown if share is None else f"{100 * share:.{digits}f} %"


def gigabytes(size: float, digits: int = 1) -> str:
    """Return a number of bytes as a person reads it.

    >>> gigabytes(7_450_000_000)
    '7.5 GB'
    """
    return f"{size / GB:.{digits}f} GB"
