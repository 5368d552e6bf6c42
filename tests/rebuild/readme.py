"""The tables 'change this, these rebuild' of the README, made of what the plans were."""

from collections import Counter
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def rows_of_settings(found: dict[str, str]) -> list[tuple[str, str]]:
    """Return (settings, what they rebuild), a row for each kind of plan; what most keys of a section do is said of it.

    found: key -> the plan in words, in the order of the schema.
    """
    sections: dict[str, dict[str, str]] = {}
    for key, said in found.items():
        name, _, inner = key.partition(".")
        sections.setdefault(name, {})[inner] = said
    rows: dict[str, list[str]] = {}
    for name, keys in sections.items():
        common, count = Counter(keys.values()).most_common(1)[0]
        whole = "" not in keys and count > len(keys) / 2
        if whole:
            others = [f"`{key}`" for key, said in keys.items() if said != common]
            told = f"`{name}.*`" + (f" but for {', '.join(others)}" if others else "")
            rows.setdefault(common, []).append(told)
        for key, said in keys.items():
            if not whole or said != common:
                rows.setdefault(said, []).append(f"`{name}.{key}`" if key else f"`{name}`")
    return [("; ".join(told), said) for said, told in rows.items()]


def block(name: str, rows: list[tuple[str, str]]) -> str:
    """Return a table between its marks."""
    lines = ["| change | rebuilds |", "|---|---|", *(f"| {change} | {said} |" for change, said in rows)]
    return "\n".join([f"<!-- rebuilds: {name} -->", *lines, f"<!-- end: {name} -->"])


def check(name: str, rows: list[tuple[str, str]], rewrite: bool) -> None:
    """Compare the README's table with the rows; rewrite: put them there first."""
    text = README.read_text(encoding="utf-8")
    start, end = f"<!-- rebuilds: {name} -->", f"<!-- end: {name} -->"
    old = text[text.index(start) : text.index(end) + len(end)]
    if rewrite:
        README.write_text(text.replace(old, block(name, rows)), encoding="utf-8")
    else:
        assert old == block(name, rows), "the README says otherwise; pytest tests/rebuild --write-docs rewrites it"
