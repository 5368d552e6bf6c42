"""Old names of settings, which version 0.1 still reads as the present ones.

Nothing but what a person writes has them: all that is computed, written or hashed has the present
names.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archloop.errors import InputError
from archloop.layout import SEED
from archloop.settings.schema import schema, section

# The first version that refuses them.
REFUSED_FROM = "0.2.0"

# Old name -> present name: of a key of a section, or of what stands at the top or in a chain.
NAMES = {
    "run": "execution",
    "seed": "random_seed",
    "data.digits_size": "data.digits_pixels",
    "data.folder_size": "data.folder_pixels",
    "seed_corpus.max_tokens": "seed_corpus.max_program_tokens",
    "prompts.candidates": "cycle.candidates",
    "generation.shards": "cycle.shards",
    "generation.opening": "generation.response_prefix",
    "evaluation.protocol": "evaluation.protocol",
    "admission.fill_minimum": "admission.minimum_admitted",
    "admission.fill_down_to": "admission.fill_accuracy",
    "novelty.gate": "novelty.gate",
    "finetuning.start_from": "finetuning.initialise",
    "finetuning.train_on": "finetuning.train_on",
    "finetuning.max_length": "finetuning.max_pair_tokens",
    "finetuning.dispreferred": "finetuning.rejected",
}
# Name above -> old value -> present value.
VALUES = {
    "evaluation.protocol": {"native32": "native", "paper256": "resize256_flip"},
    "novelty.gate": {"both": "either"},
    "finetuning.start_from": {"base": "new"},
    "finetuning.train_on": {"seed": "seed_corpus", "nothing": "none"},
}
# Old names for which no present one means exactly the same -> what to do.
CHANGED = {
    "prompts.parameter_budget": (
        "is gone; prompts state evaluation.parameter_budget, so delete it or set that one"
    ),
    "run.cache_mb": (
        "counted 10^6 bytes in some versions and 2^20 in others; write execution.cache_mb, in MB of"
        " 2^20 bytes"
    ),
}


@dataclass(frozen=True)
class Place:
    """Where sections stand: the top of the settings, a chain, or a cycle of a chain.

    path: in front of the names of its sections. allowed: what may stand there.
    """

    path: str
    values: dict[str, Any]
    allowed: Collection[str]


def with_present_names(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return settings by their present names, and a line for each old name that they had.

    config: as read from YAML, of any shape; it stays as it is. Raises InputError where a setting is
    given by both names, or where an old one has no exact meaning any more.
    """
    present: Any = copy.deepcopy(config)
    lines = []
    for place in _places(present):
        for old, what in CHANGED.items():
            owner, _, key = old.partition(".")
            if key in _section(place, owner):
                raise InputError(f"settings: {place.path}{old} {what}")

        for old in NAMES:
            line = _rename(place, old)
            if line is not None:
                lines.append(line)

    return present, lines


def section_with_present_names(name: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a section, as an earlier version recorded them, by the names of today.

    A setting that has moved to another section keeps its old name.
    """
    place = Place("", {name: dict(recorded)}, allowed=[name])
    for old in NAMES:
        _rename(place, old)
    values: dict[str, Any] = place.values[name]
    return values


def _places(config: Any) -> Iterator[Place]:
    """Yield the places of settings; what is no mapping there is left to the schema to refuse."""
    if not isinstance(config, dict):
        return
    yield Place("", config, schema()["properties"])

    for name, chain in _section(Place("", config, ()), "chains").items():
        if not isinstance(chain, dict):
            continue
        path = f"chains.{name}."
        of_chain = Place(path, chain, section("seed_chain" if name == SEED else "chain"))
        yield of_chain
        for cycle, overrides in _section(of_chain, "at").items():
            if isinstance(overrides, dict):
                yield Place(f"{path}at.{cycle}.", overrides, section("overrides"))


def _rename(place: Place, old: str) -> str | None:
    """Give one setting of a place its present name and value.

    Returns a line that says so, None where there is nothing to do.
    """
    old_owner, _, old_key = old.rpartition(".")
    new = NAMES[old]
    new_owner, _, new_key = new.rpartition(".")
    before = _section(place, old_owner)
    is_allowed = (new_owner or new_key) in place.allowed
    if old_key not in before or not is_allowed:
        return None

    given = before[old_key]
    values = VALUES.get(old, {})
    has_old_value = isinstance(given, str) and given in values
    if old == new and not has_old_value:
        return None

    after = place.values.setdefault(new_owner, {}) if new_owner else place.values
    if not isinstance(after, dict):
        return None
    if old != new and new_key in after:
        raise InputError(
            f"settings: {place.path}{old} and {place.path}{new} are the old and the present name of"
            " one setting; give the second alone, also in a file that is laid over another"
        )

    del before[old_key]
    after[new_key] = values[given] if has_old_value else given
    # A chain that was given nothing of a section has none of its own.
    if old_owner and not before:
        del place.values[old_owner]

    was, now = f"{place.path}{old}", f"{place.path}{new}"
    if has_old_value:
        was, now = f"{was}: {given}", f"{now}: {after[new_key]}"
    return f"{was} is now {now}; version {REFUSED_FROM} refuses the old one"


def _section(place: Place, name: str) -> dict[str, Any]:
    """Return a section of a place, the place itself for no name; empty where it is no mapping."""
    values = place.values.get(name, {}) if name else place.values
    return values if isinstance(values, dict) else {}
