"""The tables of docs/reruns.md, made of what the plans were."""

from collections import Counter

from doc_blocks import check, table

PAGE = "docs/reruns.md"


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
            told = f"`{name}.*`" + (f" except {', '.join(others)}" if others else "")
            rows.setdefault(common, []).append(told)
        for key, said in keys.items():
            if not whole or said != common:
                rows.setdefault(said, []).append(f"`{name}.{key}`" if key else f"`{name}`")
    return [("; ".join(told), said) for said, told in rows.items()]


def check_table(name: str, rows: list[tuple[str, str]], rewrite: bool) -> None:
    """Compare a table of the page with the rows that were found; rewrite: put them there first."""
    check(PAGE, f"reruns: {name}", table(("change", "runs again"), rows), rewrite)
