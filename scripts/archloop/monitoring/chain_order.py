"""The order in which a person reads the chains of a run, and which of them stand beside the loop.

Standard library only.
"""

from collections.abc import Mapping
from typing import NamedTuple

from archloop.settings.chains import MODEL, SEED, ancestors, role
from archloop.settings.sections import ChainSettings, Settings


class ChainRank(NamedTuple):
    """What chains are sorted by, the first field first. depth: of how many chains they build on."""

    depth: int
    no_model: bool
    not_the_loop: bool
    control: int
    group: str
    random_seed: int
    name: str


def in_order(settings: Settings) -> list[str]:
    """Return the chains as one reads them; the file of settings has them by name alone.

    The seed comes first, then each after what it builds on, those of the model first, the loop and
    its controls in the order of `report.controls`, repeats together.
    """
    chains = settings.get("chains", {})
    report = settings.get("report", {})
    loop = report.get("loop", "main")
    controls = report.get("controls", [])
    complete = loop in chains and "finetuning" in settings

    def rank(name: str) -> ChainRank:
        chain = chains[name]
        group = chain.get("repeat_of") or name
        control = None
        if complete and name != SEED:
            control = role(settings, name, loop)

        return ChainRank(
            depth=len(list(ancestors(settings, name))) if "start" in chain else 0,
            no_model=chain.get("source", MODEL) != MODEL,
            not_the_loop=group != loop,
            control=controls.index(control) if control in controls else len(controls),
            group=group,
            random_seed=chain.get("random_seed") or 0,
            name=name,
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
            groups.setdefault(kind, _group(chains, name))

    chains_of = {}
    for kind, group in groups.items():
        chains_of[kind] = [name for name in names if _group(chains, name) == group]
    return chains_of


def _group(chains: Mapping[str, ChainSettings], name: str) -> str:
    """Return the chain that a chain is a repeat of, or the chain itself."""
    return chains[name].get("repeat_of") or name


def _kind(settings: Settings, name: str, first: str) -> str | None:
    if name == first:
        return "main"
    dataset = settings["chains"][name].get("dataset")
    dataset_of_first = settings["chains"][first].get("dataset")
    if dataset != dataset_of_first or "finetuning" not in settings:
        return None
    return role(settings, name, first)
