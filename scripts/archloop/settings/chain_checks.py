"""Chains that do not fit together: a start that is missing, a circle, another adapter's shape."""

from collections.abc import Mapping
from typing import Literal

from archloop.errors import InputError
from archloop.settings.chains import (
    BASE,
    FAMILIES,
    MODEL,
    SEED,
    adapter_after,
    cycles_of,
    effective,
    parent_of,
    trains,
    typed_section,
)
from archloop.settings.sections import ChainSettings, Finetuning, Prompts, Settings

# The keys of a chain that may name another one.
Reference = Literal["start", "source"]
# What an adapter keeps from the one that it continues.
ADAPTER_SHAPE = ("lora_rank", "lora_alpha", "targets", "layers")


def check_chains(settings: Settings) -> None:
    """Raise InputError for the first thing in which the chains do not fit together."""
    chains = dict(settings["chains"])
    chains.pop(SEED)
    if not chains:
        raise InputError(
            "settings: chains: there is none but seed; add one with a dataset and its cycles"
        )

    for name in chains:
        _check_reference(chains, name, "start", (SEED, BASE))
        _check_reference(chains, name, "source", (MODEL, FAMILIES))
        _check_cycles(name, chains[name])

    # Only now, for what follows goes from chain to chain: each has to be there.
    for name in chains:
        _check_no_circle(settings, name)
        _check_finetuning(settings, name)
    _check_finetuning(settings, SEED)


def _check_cycles(name: str, chain: ChainSettings) -> None:
    """Refuse settings of cycles that a chain lacks, and cycles with nothing to evaluate."""
    cycles, source = chain["cycles"], chain["source"]
    where = f"settings: chains.{name}"

    for cycle in chain["at"]:
        if int(cycle) > cycles:
            raise InputError(f"{where}.at.{cycle}: the chain has only {cycles} cycles")

    # The designs of another chain are all there from the start: there is no second cycle of them.
    is_transfer = source not in (MODEL, FAMILIES)
    if is_transfer and cycles != 1:
        raise InputError(
            f"{where}.cycles: with source {source} all candidates are evaluated in one cycle;"
            " write cycles: 1"
        )


def _check_reference(
    chains: Mapping[str, ChainSettings], name: str, key: Reference, words: tuple[str, str]
) -> None:
    """Refuse a start or a source that is none of the words and no cycle of a chain that fits."""
    reference = chains[name][key]
    other, _, cycle = reference.partition("/")
    where = f"settings: chains.{name}.{key}"

    if other in words:
        if cycle:
            raise InputError(f"{where}: {other} has no cycle {cycle}; write {key}: {other}")
        return

    if other not in chains:
        others = [each for each in chains if each != name]
        known = ", ".join([*words, *others])
        raise InputError(f"{where}: there is no chain {other}; there are {known}")

    cycles = chains[other]["cycles"]
    source = chains[other]["source"]
    if cycle and int(cycle) > cycles:
        raise InputError(f"{where}: {other} has {cycles} cycles, not {cycle}")
    if key == "start" and source != MODEL:
        raise InputError(f"{where}: {other} has no adapter, its candidates come from {source}")


def _check_no_circle(settings: Settings, name: str) -> None:
    seen = [name]
    parent = parent_of(settings, name).chain
    while parent not in (SEED, BASE):
        if parent in seen:
            source = settings["chains"][name]["source"]
            key = "start" if source == MODEL else "source"
            circle = " <- ".join([*seen, parent])
            raise InputError(f"settings: chains.{name}.{key}: {circle} starts from itself")
        seen.append(parent)
        parent = parent_of(settings, parent).chain


def _check_finetuning(settings: Settings, name: str) -> None:
    for cycle in cycles_of(settings, name):
        layers = typed_section(settings, Finetuning, name, cycle).layers
        if layers and layers[0] >= layers[1]:
            raise InputError(
                f"settings: finetuning.layers: {layers} holds no layer; it is [first, last + 1]"
            )
        if cycle:
            _check_method(settings, name, cycle)
            _check_shape(settings, name, cycle)


def _check_method(settings: Settings, name: str, cycle: int) -> None:
    """Refuse what dpo and kto cannot use: references in prompts, accuracies of failed programs."""
    finetuning = typed_section(settings, Finetuning, name, cycle)
    prompts = typed_section(settings, Prompts, name, cycle)
    method = finetuning.method
    where = f"settings: chains.{name}, cycle {cycle}: finetuning"

    if method == "dpo" and prompts.references:
        raise InputError(
            f"{where}.method: dpo needs failed and admitted answers to the same prompt, but with"
            " prompts.references every prompt is another; take kto"
        )
    if method == "sft" or not trains(settings, name, cycle):
        return
    by_accuracy = {
        "accuracy_weight": bool(finetuning.accuracy_weight),
        "order": finetuning.order != "random",
    }
    for key, is_set in by_accuracy.items():
        if is_set:
            raise InputError(
                f"{where}.{key}: {method} learns from failed programs, which have no accuracy;"
                " take sft"
            )


def _check_shape(settings: Settings, name: str, cycle: int) -> None:
    """Refuse another shape where an adapter continues the one before: it would have no effect."""
    finetuning = effective(settings, "finetuning", name, cycle)
    begins_anew = finetuning["initialise"] == "new"
    if begins_anew or not trains(settings, name, cycle):
        return
    parent = adapter_after(settings, name, cycle - 1)
    if parent is None:
        return

    parents = effective(settings, "finetuning", *parent)
    for key in ADAPTER_SHAPE:
        wanted, existing = finetuning[key], parents[key]
        if wanted != existing:
            raise InputError(
                f"settings: chains.{name}, cycle {cycle}: finetuning.{key} is {wanted}, but the"
                f" adapter that it continues has {existing}; set it for all, or"
                " finetuning.initialise: new"
            )
