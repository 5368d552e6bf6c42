"""The tables 'change this, these rebuild' of the README, made of what the plans were."""

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def rows_of_settings(found: dict[str, str]) -> list[tuple[str, str]]:
    """Return (settings, what they rebuild), a row for each kind of plan; a section whose keys are all alike as one.

    found: key -> the plan in words, in the order of the schema.
    """
    names: dict[str, set[str]] = {}
    for key, said in found.items():
        names.setdefault(key.partition(".")[0], set()).add(said)
    rows: dict[str, list[str]] = {}
    for key, said in found.items():
        name = key.partition(".")[0]
        told = f"`{name}.*`" if "." in key and len(names[name]) == 1 else f"`{key}`"
        if told not in rows.setdefault(said, []):
            rows[said].append(told)
    return [(", ".join(keys), said) for said, keys in rows.items()]


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
        assert old == block(name, rows), "the README says otherwise; pytest tests/rebuild --write-readme rewrites it"
