"""The order in which a person reads the chains of a run, and which of them stand beside the loop.

Standard library only.
"""

from typing import Any

from archloop.settings.chains import MODEL, SEED, ancestors, role

Settings = dict[str, Any]


def in_order(settings: Settings) -> list[str]:
    """Return the chains as one reads them; the file of settings has them by name alone.

    The seed comes first, then each after what it builds on, those of the model first, the loop and
    its controls in the order of `report.controls`, repeats together.
    """
    chains, report = settings.get("chains", {}), settings.get("report", {})
    loop, controls = report.get("loop", "main"), report.get("controls", [])
    complete = loop in chains and "finetuning" in settings

    def rank(name: str) -> tuple[int, bool, bool, int, str, int, str]:
        chain = chains[name]
        group = chain.get("repeat_of", name)
        control = role(settings, name, loop) if complete and name != SEED else None

        return (
            sum(1 for _ in ancestors(settings, name)) if "start" in chain else 0,
            chain.get("source", MODEL) != MODEL,
            group != loop,
            controls.index(control) if control in controls else len(controls),
            group,
            chain.get("random_seed") or 0,
            name,
        )

    return sorted(chains, key=rank)


def roles(settings: Settings) -> dict[str, list[str]]:
    """Return main, frozen and random -> their chains, all repeats.

    They are the first of each kind, on the data set of the first chain.
    """
    chains = settings.get("chains", {})
    names = [name for name in in_order(settings) if name != SEED]

    groups: dict[str, str] = {}
    for name in names:
        kind = _kind(settings, name, names[0])
        if kind in ("main", "frozen", "random"):
            groups.setdefault(kind, chains[name].get("repeat_of", name))

    found: dict[str, list[str]] = {kind: [] for kind in groups}
    for kind, group in groups.items():
        for name in names:
            if chains[name].get("repeat_of", name) == group:
                found[kind].append(name)

    return found


def _kind(settings: Settings, name: str, first: str) -> str | None:
    if name == first:
        return "main"
    chains = settings["chains"]
    same_data = chains[name].get("dataset") == chains[first].get("dataset")
    return role(settings, name, first) if same_data and "finetuning" in settings else None
