"""Chains that do not fit together: a start that is not there, a circle, an adapter of another shape."""

from typing import Any

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
)

# What an adapter keeps from the one that it continues.
ADAPTER_SHAPE = ("lora_rank", "lora_alpha", "targets", "layers")


def check_chains(settings: dict[str, Any]) -> None:
    """Raise InputError for the first thing in which the chains do not fit together."""
    chains = {name: chain for name, chain in settings["chains"].items() if name != SEED}
    if not chains:
        raise InputError(
            "settings: chains: there is none but seed; add one with a dataset and its cycles"
        )

    for name in chains:
        _check_reference(chains, name, "start", (SEED, BASE))
        _check_reference(chains, name, "source", (MODEL, FAMILIES))
        _check_cycles(chains, name)
    for name in chains:
        _check_no_circle(settings, name)
        _check_finetuning(settings, name)
    _check_finetuning(settings, SEED)


def _check_cycles(chains: dict[str, dict[str, Any]], name: str) -> None:
    """Refuse settings of cycles that a chain does not have, and cycles that would have nothing to evaluate."""
    chain = chains[name]
    for cycle in chain["at"]:
        if int(cycle) > chain["cycles"]:
            raise InputError(
                f"settings: chains.{name}.at.{cycle}: the chain has only {chain['cycles']} cycles"
            )
    if chain["source"] not in (MODEL, FAMILIES) and chain["cycles"] != 1:
        raise InputError(
            f"settings: chains.{name}.cycles: with source {chain['source']} all candidates are evaluated in one cycle;"
            " write cycles: 1"
        )


def _check_reference(
    chains: dict[str, dict[str, Any]], name: str, key: str, words: tuple[str, str]
) -> None:
    """Refuse a start or a source that is neither one of the words nor a cycle of a chain that fits."""
    other, _, cycle = chains[name][key].partition("/")
    where = f"settings: chains.{name}.{key}"

    if other in words:
        if cycle:
            raise InputError(f"{where}: {other} has no cycle {cycle}; write {key}: {other}")
        return
    if other not in chains:
        known = ", ".join([*words, *(each for each in chains if each != name)])
        raise InputError(f"{where}: there is no chain {other}; there are {known}")
    if cycle and int(cycle) > chains[other]["cycles"]:
        raise InputError(f"{where}: {other} has {chains[other]['cycles']} cycles, not {cycle}")
    if key == "start" and chains[other]["source"] != MODEL:
        raise InputError(
            f"{where}: {other} has no adapter, its candidates come from {chains[other]['source']}"
        )


def _check_no_circle(settings: dict[str, Any], name: str) -> None:
    seen, parent = [name], parent_of(settings, name)[0]
    while parent not in (SEED, BASE):
        if parent in seen:
            key = "start" if settings["chains"][name]["source"] == MODEL else "source"
            circle = " <- ".join([*seen, parent])
            raise InputError(f"settings: chains.{name}.{key}: {circle} starts from itself")
        seen.append(parent)
        parent = parent_of(settings, parent)[0]


def _check_finetuning(settings: dict[str, Any], name: str) -> None:
    for cycle in cycles_of(settings, name):
        layers = effective(settings, "finetuning", name, cycle)["layers"]
        if layers and layers[0] >= layers[1]:
            raise InputError(
                f"settings: finetuning.layers: {layers} holds no layer; it is [first, last + 1]"
            )
        if cycle:
            _check_method(settings, name, cycle)
            _check_shape(settings, name, cycle)


def _check_method(settings: dict[str, Any], name: str, cycle: int) -> None:
    """Refuse what a method of preferences cannot use: references in the prompts, the accuracy of failed programs."""
    finetuning = effective(settings, "finetuning", name, cycle)
    method = finetuning["method"]
    where = f"settings: chains.{name}, cycle {cycle}: finetuning"

    if method == "dpo" and effective(settings, "prompts", name, cycle)["references"]:
        raise InputError(
            f"{where}.method: dpo needs failed and admitted answers to the same prompt, but with prompts.references"
            " every prompt is another; take kto"
        )
    if method == "sft" or not trains(settings, name, cycle):
        return
    by_accuracy = {
        "accuracy_weight": bool(finetuning["accuracy_weight"]),
        "order": finetuning["order"] != "random",
    }
    for key, is_set in by_accuracy.items():
        if is_set:
            raise InputError(
                f"{where}.{key}: {method} learns from failed programs, which have no accuracy; take sft"
            )


def _check_shape(settings: dict[str, Any], name: str, cycle: int) -> None:
    """Refuse another shape of the adapter in a cycle that continues the one before: it would have no effect."""
    finetuning = effective(settings, "finetuning", name, cycle)
    if finetuning["initialise"] == "new" or not trains(settings, name, cycle):
        return
    parent = adapter_after(settings, name, cycle - 1)
    if parent is None:
        return
    before = effective(settings, "finetuning", *parent)
    for key in ADAPTER_SHAPE:
        if finetuning[key] != before[key]:
            raise InputError(
                f"settings: chains.{name}, cycle {cycle}: finetuning.{key} is {finetuning[key]}, but the adapter that"
                f" it continues has {before[key]}; set it for all, or finetuning.initialise: new"
            )
