"""Which chains are repeats of one another, and which are the controls of which: read from their settings."""

import json

from archloop.report.results import Results
from archloop.settings.chains import JUDGED, MODEL, SECTIONS, SHARDS, effective, role, unlike

# What repeats of one chain differ in.
UNLIKE = ("cycles", "random_seed", "repeat_of")
# What a control does, in a few words for labels, and how a sentence calls it.
ROLES = {
    "frozen": ("does not learn", "a model that does not learn"),
    "fixed": ("learns from the seed corpus alone", "the same training on the seed corpus alone"),
    "random": ("no language model", "random search"),
}


def repeat_groups(results: Results) -> list[list[str]]:
    """Return the chains, those together that differ in nothing but their random numbers, in the order of the results.

    Every random choice of a chain derives from its name too, so chains with equal settings are repeats over seeds. So
    are two that differ in which repeat of one chain they start from.
    """
    groups: dict[str, list[str]] = {}
    known = results.settings.get("chains", {})
    for name in results.chains:
        own = {
            key: value
            for key, value in known.get(name, {"name": name}).items()
            if key not in UNLIKE
        }
        own |= {
            "cycle": {key: value for key, value in own.get("cycle", {}).items() if key != SHARDS}
        }
        for key in ("start", "source"):
            other, slash, cycle = str(own.get(key)).partition("/")
            own[key] = known.get(other, {}).get("repeat_of", other) + slash + cycle
        groups.setdefault(json.dumps(own, sort_keys=True), []).append(name)
    return list(groups.values())


def ordered(results: Results, loop: list[str], controls: dict[str, list[str]]) -> list[list[str]]:
    """Return all groups of repeats: the loop, its controls, the others on its data set, then data set by data set."""
    first = [loop, *controls.values()]
    others = [group for group in repeat_groups(results) if group not in first]
    places = {
        name: at
        for at, name in enumerate(
            dict.fromkeys(facts["dataset"] for facts in results.chains.values())
        )
    }
    places[results.chains[loop[0]]["dataset"]] = -1
    return first + sorted(others, key=lambda group: places[results.chains[group[0]]["dataset"]])


def label(group: list[str]) -> str:
    """Return what a group is called: its first chain, with the number of its runs where there are several.

    >>> label(["main", "main_s2", "main_s3"])
    'main (3 runs)'
    """
    return group[0] if len(group) == 1 else f"{group[0]} ({len(group)} runs)"


def called(role: str, group: list[str]) -> str:
    """Return what the page calls a group beside the loop: the loop by that one name, a control by its chain's."""
    return "the loop" if role == "loop" else group[0]


def loop_of(results: Results, name: str) -> list[str]:
    """Return the runs of the chain `name`; where there is none, of the first that learns, or of the first of all."""
    groups = repeat_groups(results)
    known = results.settings.get("chains", {})
    written = [group for group in groups if known.get(group[0], {}).get("source") == MODEL]
    learns = [group for group in written if role(results.settings, group[0], group[0]) is None]
    return next((group for group in groups if name in group), (learns or groups)[0])


def controls_of(results: Results, loop: list[str], wanted: list[str]) -> dict[str, list[str]]:
    """Return role -> runs of the chains that differ from the loop in that alone, in the order of the roles wanted."""
    found: dict[str, list[str]] = {}
    for group in repeat_groups(results) if results.settings else ():
        same = results.chains[group[0]]["dataset"] == results.chains[loop[0]]["dataset"]
        name = role(results.settings, group[0], loop[0]) if same and group != loop else None
        if name:
            found.setdefault(name, group)
    return {name: found[name] for name in wanted if name in found}


def differing(results: Results, chain: str, reference: str) -> str:
    """Return what two chains were set to that is not the same, as text; empty when nothing differs."""
    if not results.settings:
        return "unknown: the folder holds no settings"
    found = []
    own, other = (results.settings["chains"][name] for name in (chain, reference))
    written = (
        own["source"] == other["source"] == MODEL
    )  # else one has no use for an adapter or for prompts
    found += [
        f"{key} {own[key]} (there {other[key]})"
        for key in ("start", "source")
        if own[key] != other[key]
    ]
    found = found if written else [text for text in found if text.startswith("source")]
    idle = effective(results.settings, "finetuning", chain)["train_on"] == "none"
    for path in unlike(results.settings, chain, reference, SECTIONS if written else JUDGED):
        name, _, key = path.partition(".")
        if (
            name == "finetuning" and idle and key != "train_on"
        ):  # then how it would train means nothing
            continue
        ours, theirs = (effective(results.settings, name, one)[key] for one in (chain, reference))
        found.append(f"{path} {ours} (there {theirs})")
    if own.get("at") != other.get("at"):
        found.append("settings of single cycles")
    return "; ".join(found)
