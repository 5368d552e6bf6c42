"""Chains: what each is made of, what it starts from, which of its cycles train.

Standard library only.

`settings` are complete ones, in which `expand` has written the repeats of a chain out as chains of
their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, cast

from archloop.errors import InputError
from archloop.layout import CYCLE_PREFIX, Cell
from archloop.layout import SEED as SEED
from archloop.settings.sections import SECTION_NAMES, ChainSettings, Section, Settings

BASE = "base"  # what a chain starts from that has no adapter
# Where candidates come from, but for another chain: the language model, or the seed families at
# random.
MODEL, FAMILIES = "model", "families"

# Sections that a chain, or one of its cycles, may have values of its own of.
SECTIONS = (
    "cycle",
    "prompts",
    "generation",
    "evaluation",
    "admission",
    "novelty",
    "finetuning",
)
# Those of them that matter to a chain whose candidates no language model writes, too.
JUDGED = ("evaluation", "admission", "novelty")
# How many jobs share the work of a cycle, which changes none of its candidates.
SHARDS = "shards"

Kind = TypeVar("Kind")


def expand(
    chains: Mapping[str, ChainSettings], defaults: ChainSettings, seed: int
) -> dict[str, ChainSettings]:
    """Return the chains with their defaults, and each repeat as a chain of its own.

    A repeat differs from its chain in `random_seed`, and in `start` or `source` where what they
    name is repeated as often; all name their chain as `repeat_of`. seed: of the run. Raises
    InputError when a repeat's name is taken. Chains that were expanded before stay as they are.
    """
    expanded: dict[str, ChainSettings] = {}
    for name, given in chains.items():
        if name == SEED:
            expanded[name] = given.copy()
            continue
        chain = defaults | given
        # Left out of what is returned, so that to expand it again changes nothing.
        repeats = chain.pop("repeats")
        first_seed = chain["random_seed"]
        if first_seed is None:
            first_seed = seed

        for number in range(1, repeats + 1):
            repeat = repeat_name(name, number)
            # The first repeat has the chain's own name; it too may have been taken by a repeat.
            is_taken = repeat in expanded or (number > 1 and repeat in chains)
            if is_taken:
                raise InputError(
                    f"settings: chains.{repeat}: the name is that of a repeat of {name}; give it"
                    " another one"
                )
            expanded[repeat] = chain | {
                "random_seed": first_seed + number - 1,
                "repeat_of": chain["repeat_of"] or name,
                "start": _same_repeat(chain["start"], number, chains),
                "source": _same_repeat(chain["source"], number, chains),
            }
    return expanded


def repeat_name(chain: str, number: int) -> str:
    return chain if number == 1 else f"{chain}_s{number}"


def _same_repeat(reference: str, number: int, chains: Mapping[str, ChainSettings]) -> str:
    """Return a start or source (`main`, `main/18`) for a repeat of this number, if there is one."""
    other, slash, cycle = reference.partition("/")
    named = chains.get(other, {})
    if named.get("repeats", 1) < number:
        return reference
    return repeat_name(other, number) + slash + cycle


def effective(settings: Settings, name: str, chain: str, cycle: int = 0) -> Section:
    """Return section `name` of one cycle: its own values over the chain's over the top level's."""
    chain_settings = settings["chains"][chain]
    of_cycle = chain_settings.get("at", {}).get(str(cycle), {})
    # Some keys of both are the names of sections.
    of_chain = cast(Mapping[str, Section], chain_settings)
    of_run = cast(Mapping[str, Section], settings)

    section = dict(of_run[name])
    section.update(of_chain.get(name, {}))
    section.update(of_cycle.get(name, {}))
    return section


def typed_section(settings: Settings, kind: type[Kind], chain: str, cycle: int = 0) -> Kind:
    """Return a section of one cycle as its type, such as Finetuning. settings: complete."""
    return kind(**effective(settings, SECTION_NAMES[kind], chain, cycle))


def cycles_of(settings: Settings, chain: str) -> range:
    """Return the numbers of a chain's cycles; the seed has cycle 0 alone."""
    if chain == SEED:
        return range(1)
    cycles = settings["chains"][chain].get("cycles", 0)
    return range(1, cycles + 1)


def start_of(settings: Settings, chain: str) -> Cell:
    """Return the cell whose adapter a chain starts from; base has none."""
    return _cell(settings, settings["chains"][chain]["start"])


def source_of(settings: Settings, chain: str) -> Cell | None:
    """Return the cell up to which the admitted programs of another chain are this one's candidates,
    or None."""
    source = settings["chains"][chain]["source"]
    if source in (MODEL, FAMILIES):
        return None
    return _cell(settings, source)


def parent_of(settings: Settings, chain: str) -> Cell:
    """Return the cell that must have ended before a chain can begin."""
    if settings["chains"][chain]["source"] == MODEL:
        return start_of(settings, chain)
    # Random programs start from nothing, but are compared with the seed corpus.
    return source_of(settings, chain) or Cell(SEED, 0)


def trains(settings: Settings, chain: str, cycle: int) -> bool:
    """Say whether a cycle makes an adapter of its own."""
    source = settings["chains"][chain].get("source", MODEL)
    if source != MODEL:
        return False
    train_on: str = effective(settings, "finetuning", chain, cycle)["train_on"]
    return train_on != "none"


def adapter_after(settings: Settings, chain: str, cycle: int) -> Cell | None:
    """Return the cell whose adapter there is after a cycle; None where there is none."""
    # Back through the cycles of the chain, and then into the one that it starts from.
    while chain != BASE:
        has_training = cycle > 0 or chain == SEED
        if has_training and trains(settings, chain, cycle):
            return Cell(chain, cycle)
        if cycle:
            cycle -= 1
        elif chain == SEED:
            return None
        else:
            chain, cycle = start_of(settings, chain)
    return None


def inherited_cells(settings: Settings, chain: str) -> list[Cell]:
    """Return the cells whose admitted programs the adapter that a chain starts from was trained on,
    the oldest first.

    The list is empty for a chain whose candidates no language model writes.
    """
    inherited: list[Cell] = []
    while _is_written(settings, chain):
        start = adapter_after(settings, chain, 0)
        if start is None or start.chain == SEED:
            break
        chain = start.chain
        cycles = range(1, start.cycle + 1)
        inherited = [Cell(chain, cycle) for cycle in cycles] + inherited
        # A new adapter has seen nothing of what the chain itself started from.
        if any(_starts_anew(settings, chain, cycle) for cycle in cycles):
            break
    return inherited


def _is_written(settings: Settings, chain: str) -> bool:
    """Say whether the language model writes the candidates of a chain; base and seed have none."""
    return settings["chains"].get(chain, {}).get("source") == MODEL


def _starts_anew(settings: Settings, chain: str, cycle: int) -> bool:
    if not trains(settings, chain, cycle):
        return False
    initialise: str = effective(settings, "finetuning", chain, cycle)["initialise"]
    return initialise == "new"


def role(settings: Settings, chain: str, loop: str) -> str | None:
    """Return which control of a loop a chain is (frozen, fixed, random).

    None where it is none, or differs from the loop in something else too.
    """
    source = settings["chains"][chain]["source"]
    if source == FAMILIES:
        return None if unlike(settings, chain, loop, JUDGED) else "random"
    if source != MODEL or not _begin_alike(settings, chain, loop):
        return None

    train_on = effective(settings, "finetuning", chain)["train_on"]
    differences = unlike(settings, chain, loop, SECTIONS)
    if train_on == "none":  # how it would train means nothing then
        differences = [key for key in differences if not key.startswith("finetuning.")]
        return None if differences else "frozen"
    differences = [key for key in differences if key != "finetuning.train_on"]
    return "fixed" if train_on == "seed_corpus" and not differences else None


def _begin_alike(settings: Settings, chain: str, loop: str) -> bool:
    """Say whether two chains start from the same adapter, repeats aside, and change the same in
    single cycles."""
    first = settings["chains"][chain]
    second = settings["chains"][loop]
    if first.get("at") != second.get("at"):
        return False
    return _start_without_repeat(settings, first) == _start_without_repeat(settings, second)


def _start_without_repeat(settings: Settings, chain: ChainSettings) -> tuple[str, str]:
    name, _, cycle = chain["start"].partition("/")
    named = settings["chains"].get(name, {})
    return named.get("repeat_of") or name, cycle


def unlike(settings: Settings, chain: str, reference: str, sections: Iterable[str]) -> list[str]:
    """Return the settings of these sections (`section.key`) in which two chains differ."""
    differences = []
    for name in sections:
        values = effective(settings, name, chain)
        others = effective(settings, name, reference)
        for key, value in values.items():
            if key != SHARDS and value != others[key]:
                differences.append(f"{name}.{key}")
    return differences


def chain_pattern(settings: Settings, chain: str) -> str:
    """Return a regular expression for the name of a chain in front of what belongs to one of its
    cycles and shards.

    With it Snakemake has no rule for what the plan does not hold: cycle 23 of 22, shard 2 of 2.
    """
    cycles_by_shards: dict[int, list[str]] = {}
    for cycle in cycles_of(settings, chain):
        shards = effective(settings, "cycle", chain, cycle)["shards"]
        cycles_by_shards.setdefault(shards, []).append(str(cycle))

    allowed = [f"(?!{CYCLE_PREFIX})"]
    for shards, cycles in cycles_by_shards.items():
        numbers = "|".join(map(str, range(shards)))
        of_shard = rf"(?:generated|evaluated)/(?:{numbers})\."
        of_cycle = f"(?:{of_shard}|(?!generated|evaluated))"
        any_cycle = "|".join(cycles)
        allowed.append(f"{CYCLE_PREFIX}(?:{any_cycle})/{of_cycle}")

    any_allowed = "|".join(allowed)
    return f"{chain}(?=/(?:{any_allowed}))"


def uses_seed_adapter(settings: Settings, names: Iterable[str] | None = None) -> bool:
    """Say whether any chain, or one of those named, starts from the adapter of cycle 0, at once or
    through others."""
    for name in names or settings["chains"]:
        if not _is_written(settings, name):
            continue
        start = adapter_after(settings, name, 0)
        if start == Cell(SEED, 0):
            return True
    return False


def ancestors(settings: Settings, chain: str) -> Iterator[Cell]:
    """Yield the last cells of all that a chain builds on, the nearest first, cycle 0 last."""
    while chain not in (SEED, BASE):
        parent = parent_of(settings, chain)
        # Base has no cell of its own; what was there before any chain is cycle 0.
        yield Cell(SEED, 0) if parent.chain == BASE else parent
        chain = parent.chain


def _cell(settings: Settings, reference: str) -> Cell:
    """Return the cell of a start or source: `main` is its last cycle, `main/18` the one given."""
    name, _, cycle = reference.partition("/")
    if name in (SEED, BASE):
        return Cell(name, 0)
    if cycle:
        return Cell(name, int(cycle))
    return Cell(name, settings["chains"][name]["cycles"])
