"""Chains: what each is made of, what it starts from, which of its cycles train. Standard library only.

`settings` are complete ones, in which `expand` has written the repeats of a chain out as chains of their own.
"""

from collections.abc import Iterable, Iterator

from archloop.errors import InputError

SEED, BASE = "seed", "base"
MODEL, FAMILIES = "model", "families"
SECTIONS = (
    "cycle",
    "prompts",
    "generation",
    "evaluation",
    "admission",
    "novelty",
    "finetuning",
)
# Of which also chains have a use whose candidates no language model writes.
JUDGED = ("evaluation", "admission", "novelty")
# Into how many jobs the work of a cycle is cut, which changes none of its candidates.
SHARDS = "shards"
# What an adapter keeps from the one that it goes on from.
ADAPTER_SHAPE = ("lora_rank", "lora_alpha", "targets", "layers")


def expand(chains: dict[str, dict], defaults: dict, seed: int) -> dict[str, dict]:
    """Return the chains with their defaults, and each repeat as a chain of its own.

    A repeat differs from its chain in `random_seed`, and in `start` or `source` where what they name is repeated as
    often; all name their chain as `repeat_of`. seed: of the run. Raises InputError when a repeat's name is
    taken. Chains that were expanded before stay as they are.
    """
    whole: dict[str, dict] = {}
    for name, chain in chains.items():
        if name == SEED:
            whole[name] = dict(chain)
            continue
        chain = defaults | chain
        first, count = (
            seed if chain["random_seed"] is None else chain["random_seed"],
            chain.pop("repeats"),
        )
        for number in range(1, count + 1):
            own = repeat_name(name, number)
            if own in whole or (number > 1 and own in chains):
                raise InputError(
                    f"settings: chains.{own}: the name is that of a repeat of {name}; give it another one"
                )
            whole[own] = chain | {
                "random_seed": first + number - 1,
                "repeat_of": chain["repeat_of"] or name,
            }
            for key in ("start", "source"):
                other, slash, cycle = chain[key].partition("/")
                if chains.get(other, {}).get("repeats", 1) >= number:
                    whole[own][key] = repeat_name(other, number) + slash + cycle
    return whole


def repeat_name(chain: str, number: int) -> str:
    return chain if number == 1 else f"{chain}_s{number}"


def effective(settings: dict, name: str, chain: str, cycle: int = 0) -> dict:
    """Return section `name` for one cycle: the cycle's own values over the chain's over the top level's."""
    layers = [settings[name], settings["chains"][chain].get(name, {})]
    layers.append(settings["chains"][chain].get("at", {}).get(str(cycle), {}).get(name, {}))
    return {key: value for layer in layers for key, value in layer.items()}


def cycles_of(settings: dict, chain: str) -> range:
    """Return the numbers of a chain's cycles; the seed has cycle 0 alone."""
    return range(1, settings["chains"][chain].get("cycles", 0) + 1) if chain != SEED else range(1)


def start_of(settings: dict, chain: str) -> tuple[str, int]:
    """Return (chain, cycle) whose adapter a chain starts from; the seed is cycle 0 of the chain seed, base has none."""
    return _place(settings, settings["chains"][chain]["start"])


def source_of(settings: dict, chain: str) -> tuple[str, int] | None:
    """Return (chain, cycle) up to which the admitted programs of another chain are this one's candidates, or None."""
    source = settings["chains"][chain]["source"]
    return None if source in (MODEL, FAMILIES) else _place(settings, source)


def parent_of(settings: dict, chain: str) -> tuple[str, int]:
    """Return (chain, cycle) that must have ended before a chain can begin."""
    if settings["chains"][chain]["source"] == MODEL:
        return start_of(settings, chain)
    return source_of(settings, chain) or (SEED, 0)


def trains(settings: dict, chain: str, cycle: int) -> bool:
    """Say whether a cycle makes an adapter of its own."""
    return (
        settings["chains"][chain].get("source", MODEL) == MODEL
        and effective(settings, "finetuning", chain, cycle)["train_on"] != "none"
    )


def adapter_after(settings: dict, chain: str, cycle: int) -> tuple[str, int] | None:
    """Return (chain, cycle) of the adapter that there is after a cycle; None is the language model without one."""
    while chain != BASE:
        if trains(settings, chain, cycle) and (cycle or chain == SEED):
            return chain, cycle
        if cycle:
            cycle -= 1
        else:
            chain, cycle = start_of(settings, chain) if chain != SEED else (BASE, 0)
    return None


def inherited(settings: dict, chain: str) -> list[tuple[str, int]]:
    """Return the (chain, cycle) of all whose admitted programs the adapter that a chain starts from was taught.

    The oldest first; none for a chain whose candidates no language model writes.
    """
    found = []
    while settings["chains"].get(chain, {}).get("source", FAMILIES) == MODEL:
        place = adapter_after(settings, chain, 0)
        if place is None or place[0] == SEED:
            break
        chain, last = place
        found = [*((chain, cycle) for cycle in range(1, last + 1)), *found]
        made = [cycle for cycle in range(1, last + 1) if trains(settings, chain, cycle)]
        if any(
            effective(settings, "finetuning", chain, cycle)["initialise"] == "new" for cycle in made
        ):
            break
    return found


def role(settings: dict, chain: str, loop: str) -> str | None:
    """Return which control of a loop a chain is, None where it is none or differs in something else too."""
    own, other = (settings["chains"][name] for name in (chain, loop))
    if own["source"] == FAMILIES:
        return "random" if not unlike(settings, chain, loop, JUDGED) else None
    if own["source"] != MODEL:
        return None
    starts = [str(each["start"]).partition("/") for each in (own, other)]
    known = settings["chains"]
    before = [(known.get(name, {}).get("repeat_of", name), cycle) for name, _, cycle in starts]
    differs = unlike(settings, chain, loop, SECTIONS)
    if before[0] != before[1] or own.get("at") != other.get("at"):
        return None
    learning = effective(settings, "finetuning", chain)["train_on"]
    if learning == "none":
        others = [key for key in differs if not key.startswith("finetuning.")]
        return "frozen" if not others else None
    others = [key for key in differs if key != "finetuning.train_on"]
    return "fixed" if learning == "seed_corpus" and not others else None


def unlike(settings: dict, chain: str, reference: str, sections: tuple[str, ...]) -> list[str]:
    """Return the settings of these sections (`section.key`) in which two chains differ."""
    found = []
    for name in sections:
        ours, theirs = (effective(settings, name, one) for one in (chain, reference))
        found += [f"{name}.{key}" for key in ours if ours[key] != theirs[key] and key != SHARDS]
    return found


def place_pattern(settings: dict, chain: str) -> str:
    """Return a regular expression for the name of a chain in front of what belongs to one of its cycles and shards.

    With it Snakemake has no rule for what the plan does not hold: cycle 23 of 22, shard 2 of 2.
    """
    cycles_with: dict[int, list[str]] = {}
    for cycle in cycles_of(settings, chain):
        cycles_with.setdefault(effective(settings, "cycle", chain, cycle)["shards"], []).append(
            str(cycle)
        )
    places = ["(?!cycle-)"]
    for shards, cycles in cycles_with.items():
        of_shard = rf"(?:generated|evaluated)/(?:{'|'.join(map(str, range(shards)))})\."
        places.append(f"cycle-(?:{'|'.join(cycles)})/(?:{of_shard}|(?!generated|evaluated))")
    return f"{chain}(?=/(?:{'|'.join(places)}))"


def uses_seed_adapter(settings: dict, names: Iterable[str] | None = None) -> bool:
    """Say whether any chain, or one of those named, starts from the adapter of cycle 0, at once or through others."""
    chains = settings["chains"]
    written = [name for name in names or chains if chains[name].get("source") == MODEL]
    return any(adapter_after(settings, name, 0) == (SEED, 0) for name in written)


def ancestors(settings: dict, chain: str) -> Iterator[tuple[str, int]]:
    """Yield (chain, last cycle) of all that a chain builds on, the nearest first, cycle 0 last."""
    while chain not in (SEED, BASE):
        chain, cycle = parent_of(settings, chain)
        yield (chain, cycle) if chain != BASE else (SEED, 0)


def check(settings: dict) -> None:
    """Raise InputError for the first thing in which the chains do not fit together."""
    chains = {name: chain for name, chain in settings["chains"].items() if name != SEED}
    if not chains:
        raise InputError(
            "settings: chains: there is none but seed; add one with a dataset and its cycles"
        )
    for name, chain in chains.items():
        for cycle in chain["at"]:
            if int(cycle) > chain["cycles"]:
                raise InputError(
                    f"settings: chains.{name}.at.{cycle}: the chain has only {chain['cycles']} cycles"
                )
        _check_place(chains, name, "start", (SEED, BASE))
        _check_place(chains, name, "source", (MODEL, FAMILIES))
        if chain["source"] not in (MODEL, FAMILIES) and chain["cycles"] != 1:
            raise InputError(
                f"settings: chains.{name}.cycles: with source {chain['source']} all candidates are judged in one cycle;"
                " write cycles: 1"
            )
    for name in chains:
        _check_ends(settings, name)
        _check_adapters(settings, name)
    _check_adapters(settings, SEED)


def _place(settings: dict, text: str) -> tuple[str, int]:
    name, _, cycle = text.partition("/")
    return name, 0 if name in (SEED, BASE) else int(cycle or settings["chains"][name]["cycles"])


def _check_place(chains: dict[str, dict], name: str, key: str, words: tuple[str, ...]) -> None:
    """Refuse a start or a source that is neither one of the words nor a cycle of a chain that fits."""
    other, _, cycle = chains[name][key].partition("/")
    if other in words:
        if cycle:
            raise InputError(
                f"settings: chains.{name}.{key}: {other} has no cycle {cycle}; write {key}: {other}"
            )
        return
    if other not in chains:
        known = ", ".join([*words, *(each for each in chains if each != name)])
        raise InputError(
            f"settings: chains.{name}.{key}: there is no chain {other}; there are {known}"
        )
    if cycle and int(cycle) > chains[other]["cycles"]:
        raise InputError(
            f"settings: chains.{name}.{key}: {other} has {chains[other]['cycles']} cycles, not {cycle}"
        )
    if key == "start" and chains[other]["source"] != MODEL:
        raise InputError(
            f"settings: chains.{name}.start: {other} has no adapter, its candidates come from {chains[other]['source']}"
        )


def _check_ends(settings: dict, name: str) -> None:
    seen, parent = [name], parent_of(settings, name)[0]
    while parent not in (SEED, BASE):
        if parent in seen:
            key = "start" if settings["chains"][name]["source"] == MODEL else "source"
            raise InputError(
                f"settings: chains.{name}.{key}: {' <- '.join([*seen, parent])} starts from itself"
            )
        seen.append(parent)
        parent = parent_of(settings, parent)[0]


def _check_adapters(settings: dict, name: str) -> None:
    """Refuse another shape of the adapter in a cycle that goes on from the one before: it would be left unheeded."""
    for cycle in cycles_of(settings, name):
        own = effective(settings, "finetuning", name, cycle)
        if own["layers"] and own["layers"][0] >= own["layers"][1]:
            raise InputError(
                f"settings: finetuning.layers: {own['layers']} holds no layer; it is [first, last + 1]"
            )
        if (
            cycle
            and own["method"] == "dpo"
            and effective(settings, "prompts", name, cycle)["references"]
        ):
            raise InputError(
                f"settings: chains.{name}, cycle {cycle}: finetuning.method: dpo wants failed and admitted answers"
                " to the same prompt, but with prompts.references every prompt is another; take kto"
            )
        if (
            cycle
            and trains(settings, name, cycle)
            and own["method"] != "sft"
            and (own["order"] != "random" or own["accuracy_weight"])
        ):
            key = "accuracy_weight" if own["accuracy_weight"] else "order"
            raise InputError(
                f"settings: chains.{name}, cycle {cycle}: finetuning.{key}: {own['method']} learns from failed"
                " programs, which have no accuracy; take sft"
            )
        if cycle == 0 or own["initialise"] == "new" or not trains(settings, name, cycle):
            continue
        parent = adapter_after(settings, name, cycle - 1)
        before = effective(settings, "finetuning", *parent) if parent else own
        for key in ADAPTER_SHAPE:
            if own[key] != before[key]:
                raise InputError(
                    f"settings: chains.{name}, cycle {cycle}: finetuning.{key} is {own[key]}, but the adapter that"
                    f" it goes on from has {before[key]}; set it for all, or finetuning.initialise: new"
                )
