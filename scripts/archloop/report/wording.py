"""Numbers as people read them, and what the words of the page mean."""

GLOSSARY = {
    "the loop": "The chain that the verdict is about, all its runs: a language model writes"
    " programs, they are judged, and what is admitted trains it for the next cycle.",
    "chain": "A series of cycles with settings of its own: the loop, a control, or another"
    " experiment.",
    "run": "One repeat of a chain, with other random numbers.",
    "control": "A chain that differs from the loop in one thing alone: it does not learn, learns"
    " from the seed corpus alone, or draws programs at random.",
    "seed corpus": "The programs that a run begins with; people wrote their families.",
    "generated": "Everything that was written, the programs that do not run among them.",
    "valid": "Trained by the judge to the end.",
    "new": "No copy of any program that was valid before.",
    "copy": "As similar to an earlier valid program as the gate allows none to be, or the same"
    " computed graph.",
    "gate": "The rule that keeps copies out of what is admitted.",
    "good enough": "With the score that admission asks for, on the validation split.",
    "admitted": "New to what was admitted before, and good enough: joins the corpus that the loop"
    " learns from.",
    "similarity": "Share of equal pieces of text (Jaccard) of two programs, 0 to 1.",
    "family": "A kind of network in the seed corpus, such as residual.",
    "hint": "The family, or other idea, that the prompt asked for.",
    "front": "The designs that no other beats in both size and validation accuracy.",
    "judge": "The step that trains and scores every program in the same way.",
    "judge's repeats": "Trainings of one program with other seeds; their standard deviation is the"
    " judge's noise.",
    "stored score": "The score of a program that was judged before, word for word, and is not"
    " judged again.",
    "isolation": "What keeps the written programs, which nobody has read, from the rest of the"
    " machine: namespaces are the kernel's own.",
    "stale": "A file made from an input that has changed since.",
    "/2": "A layer that steps two pixels at a time, and so halves the width of its images.",
    "Welch": "Welch's t test tells whether the means of two groups of runs differ by more than"
    " their spread explains; the spreads may be unequal.",
    "Holm": "S. Holm's adjustment of p values and intervals for the number of controls compared.",
    "bootstrap": "Draws the cycles of one run again, at random and with repeats, in blocks of"
    " neighbours; how much the result varies tells how sure it is.",
    "difference shown": "Holm's p below 0.05, of Welch's t test over runs.",
}


def per_100(value: float | None) -> str:
    """Return how many of 100: whole from ten on, with one decimal below."""
    if value is None:
        return "–"
    whole = value >= 9.95 or value == 0
    return f"{value:.0f}" if whole else f"{value:.1f}"


def signed(value: float | None, digits: int = 1) -> str:
    """Return a difference with its sign, a true minus.

    >>> signed(-3.14159)
    '−3.1'
    """
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of a 95 % interval in brackets; nothing for None."""
    if low is None or high is None:
        return ""
    return f"[{low:.1f}, {high:.1f}]".replace("-", "−")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, thousands apart, `–` for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}f}"


def p_value(value: float | None) -> str:
    """Return a p value as journals print it, `–` for None."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def hours(seconds: float | None) -> str:
    """Return a time as people plan with it, `–` for None.

    In seconds below two minutes, in minutes below two hours, then in hours.
    """
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
