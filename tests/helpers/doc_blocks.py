"""Parts of the pages that are computed: each stands between two marks, and a test holds it or rewrites it."""

from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
REWRITE = "--write-docs"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def check(page: str, name: str, lines: Sequence[str], rewrite: bool) -> None:
    """Compare the part of a page between its marks with the lines; rewrite: put them there first."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- end: {name} -->"
    old = text[text.index(start) : text.index(end) + len(end)]
    new = "\n".join([start, *lines, end])

    if rewrite:
        path.write_text(text.replace(old, new), encoding="utf-8")
    else:
        assert old == new, f"{page} says otherwise; pytest {REWRITE} with this test rewrites it"
