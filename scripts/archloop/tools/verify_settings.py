"""Whether a job was done with the settings that the run has now."""

import json

from archloop.layout import ROOT
from archloop.random_seeds import derive
from archloop.settings.chains import effective
from archloop.settings.complete import scratch_model
from archloop.settings.old_names import section_with_present_names
from archloop.settings.sections import Section, Settings
from archloop.workflow.provenance import Provenance

# Settings that some stage takes without the rest of their section.
ALONE = {
    "epochs": "evaluation",
    "parameter_budget": "evaluation",
    "candidates": "cycle",
    "shards": "cycle",
}


def other_settings(
    settings: Settings, provenance: Provenance, chain: str, cycle: int
) -> str | None:
    """Return which setting of a job is another one now, None where none is.

    settings: of the run, complete; empty where nobody knows them.
    """
    if not settings:
        return None
    if chain not in settings["chains"]:
        return f"the settings of the run know no chain {chain}"
    return (
        _other_section(settings, provenance, chain, cycle)
        or _other_option(settings, provenance, chain, cycle)
        or _other_run(settings, provenance)
        or _other_seed(settings, provenance, chain, cycle)
    )


def seed_of(settings: Settings, chain: str) -> int:
    """Return the random seed of a chain, the run's where it has none of its own."""
    seed = settings["chains"][chain].get("random_seed")
    return settings["random_seed"] if seed is None else seed


def _other_section(
    settings: Settings, provenance: Provenance, chain: str, cycle: int
) -> str | None:
    for section, recorded in provenance["settings"].items():
        values = section_with_present_names(section, recorded)
        now = _section_today(settings, section, chain, cycle)
        for key, value in values.items():
            today = now.get(key)
            if today != value:
                return f"{section}.{key} was {value!r}, the settings say {today!r}"

    return None


def _section_today(settings: Settings, section: str, chain: str, cycle: int) -> Section:
    if section != "scratch_model":
        return effective(settings, section, chain, cycle)
    kind, _, file = settings["model"]["reference"].partition(":")
    return scratch_model(ROOT / file) if kind == "scratch" else {}


def _other_option(settings: Settings, provenance: Provenance, chain: str, cycle: int) -> str | None:
    for key, section in ALONE.items():
        before = provenance["options"].get(key)
        now = effective(settings, section, chain, cycle)[key]
        if before is not None and before != now:
            return f"{section}.{key} was {before!r}, the settings say {now!r}"

    return None


def _other_run(settings: Settings, provenance: Provenance) -> str | None:
    """Compare the parts of the settings that a report was handed whole."""
    if "run" not in provenance["options"]:
        return None
    recorded = json.loads(provenance["options"]["run"])
    for key, value in recorded.items():
        if settings.get(key) != value:
            return f"{key} was other in the settings"

    return None


def _other_seed(settings: Settings, provenance: Provenance, chain: str, cycle: int) -> str | None:
    seed = provenance["options"].get("seed")
    if seed is None or "run" in provenance["options"]:
        return None
    for wanted in (settings["random_seed"], seed_of(settings, chain)):
        if seed in (wanted, derive(wanted, chain, cycle, "finetune")):
            return None

    return f"its seed {seed} is not that of the settings, {settings['random_seed']}"
