"""Which chains are repeats of one another, and which are controls of which, by their settings."""

import json
from collections.abc import Mapping

from archloop.report.results import Results
from archloop.settings.chains import (
    JUDGED,
    MODEL,
    SECTIONS,
    SHARDS,
    effective,
    role,
    unlike,
)
from archloop.settings.sections import ChainSettings

# What repeats of one chain differ in.
UNLIKE = ("cycles", "random_seed", "repeat_of")
# Role -> the runs of a group of repeats, the loop first.
Groups = dict[str, list[str]]
# What a control does, in a few words for labels, and how a sentence calls it.
ROLES = {
    "frozen": ("does not learn", "a model that does not learn"),
    "fixed": ("learns from the seed corpus alone", "the same training on the seed corpus alone"),
    "random": ("no language model", "random search"),
}


def repeat_groups(results: Results) -> list[list[str]]:
    """Return the chains in groups that differ in nothing but their random numbers.

    Every random choice of a chain derives from its name too, so chains with equal settings are
    repeats over seeds. So are two that differ in which repeat of one chain they start from. Groups
    and chains are in the order of the results.
    """
    settings = results.settings.get("chains", {})
    groups: dict[str, list[str]] = {}
    for name in results.chains:
        # As text, because settings hold lists, which are no keys.
        key = json.dumps(_without_repeat(settings, name), sort_keys=True)
        groups.setdefault(key, []).append(name)

    return list(groups.values())


def _without_repeat(chains: Mapping[str, ChainSettings], name: str) -> dict[str, object]:
    """Return the settings of a chain that its repeats have too."""
    chain: Mapping[str, object] = {"name": name}
    if name in chains:
        chain = chains[name]

    kept: dict[str, object] = {}
    for key, value in chain.items():
        if isinstance(value, dict):
            # A section of the chain's own. Into how many jobs its work is cut changes no candidate.
            value = {setting: value[setting] for setting in value if setting != SHARDS}

        if key not in UNLIKE and value != {}:
            kept[key] = value

    # Repeats that start from repeats of one chain are repeats, too.
    for key in ("start", "source"):
        other, slash, cycle = str(kept.get(key)).partition("/")
        first = chains.get(other, {}).get("repeat_of", other)
        kept[key] = f"{first}{slash}{cycle}"

    return kept


def ordered(results: Results, loop: list[str], controls: Groups) -> list[list[str]]:
    """Return all groups of repeats, the loop and its controls first.

    Then come the others on its data set, then those of each other data set.
    """
    first = [loop, *controls.values()]
    others = [group for group in repeat_groups(results) if group not in first]
    dataset_of_loop = results.chains[loop[0]].dataset
    datasets = [chain.dataset for chain in results.chains.values()]

    def rank(group: list[str]) -> int:
        dataset = results.chains[group[0]].dataset
        return -1 if dataset == dataset_of_loop else datasets.index(dataset)

    return first + sorted(others, key=rank)


def label(group: list[str]) -> str:
    """Return what a group is called: its first chain, and how many runs it has if several.

    >>> label(["main", "main_s2", "main_s3"])
    'main (3 runs)'
    """
    if len(group) == 1:
        return group[0]
    return f"{group[0]} ({len(group)} runs)"


def called(role: str, group: list[str]) -> str:
    """Return what the page calls a group: the loop by that one name, a control by its chain's."""
    return "the loop" if role == "loop" else group[0]


def loop_of(results: Results, name: str) -> list[str]:
    """Return the runs of the chain `name`.

    Where there is none they are those of the first chain that learns, or of the first of all.
    """
    groups = repeat_groups(results)
    for group in groups:
        if name in group:
            return group

    chains = results.settings.get("chains", {})
    for group in groups:
        first = group[0]
        chain = chains.get(first, {})
        written = chain.get("source") == MODEL
        if written and role(results.settings, first, first) is None:
            return group

    return groups[0]


def controls_of(results: Results, loop: list[str], wanted: list[str]) -> Groups:
    """Return role -> runs of the chains that differ from the loop in that alone.

    wanted: roles, in whose order they come.
    """
    if not results.settings:
        return {}

    reference = loop[0]
    dataset = results.chains[reference].dataset
    controls: dict[str, list[str]] = {}
    for group in repeat_groups(results):
        first = group[0]
        if group == loop or results.chains[first].dataset != dataset:
            continue
        control = role(results.settings, first, reference)
        if control:
            controls.setdefault(control, group)

    return {name: controls[name] for name in wanted if name in controls}


def differing(results: Results, chain: str, reference: str) -> str:
    """Return what two chains were set to that is not the same; empty when nothing differs."""
    settings = results.settings
    if not settings:
        return "unknown: the folder holds no settings"

    settings_here = settings["chains"][chain]
    settings_there = settings["chains"][reference]
    # Unless a model writes both, one has no use for an adapter or for prompts.
    written = settings_here["source"] == settings_there["source"] == MODEL

    differences = []
    for key in ("start", "source") if written else ("source",):
        ours, theirs = settings_here[key], settings_there[key]
        if ours != theirs:
            differences.append(_difference(key, ours, theirs))

    # Of a chain that does not train, how it would train means nothing.
    idle = effective(settings, "finetuning", chain)["train_on"] == "none"
    for path in unlike(settings, chain, reference, SECTIONS if written else JUDGED):
        section, _, key = path.partition(".")
        if section == "finetuning" and idle and key != "train_on":
            continue
        ours = effective(settings, section, chain)[key]
        theirs = effective(settings, section, reference)[key]
        differences.append(_difference(path, ours, theirs))

    if settings_here.get("at") != settings_there.get("at"):
        differences.append("settings of single cycles")
    return "; ".join(differences)


def _difference(path: str, ours: object, theirs: object) -> str:
    return f"{path} {ours} (there {theirs})"
