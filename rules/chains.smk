# Which files a cycle of a chain is made of: its adapter, corpus, candidates. Settings alone decide, never results.
CYCLES = {chain: range(1, SETTINGS["chains"][chain]["cycles"] + 1) for chain in CHAINS}
# Cycles that make no adapter ask for no job that would.
TRAINED = {
    chain: [k for k in CYCLES[chain] if chains.trains(SETTINGS, chain, k)] for chain in CHAINS
}


def one_of(names):
    """The wildcard of these chains, in front of what the plan holds of them; it matches nothing where there is none."""
    return "|".join(chains.chain_pattern(SETTINGS, name) for name in names) or "-"


wildcard_constraints:
    chain=one_of(CHAINS),
    cycle=r"[1-9]\d*",
    shard=r"0|[1-9]\d*",


def written_by(wanted):
    """The wildcard of the chains whose candidates come from there."""
    kinds = {name: SETTINGS["chains"][name]["source"] for name in CHAINS}
    kinds = {
        name: kind if kind in (chains.MODEL, chains.FAMILIES) else "chain"
        for name, kind in kinds.items()
    }
    return one_of(name for name in CHAINS if kinds[name] == wanted)


def in_order(wildcards):
    """The priority of a job: cycle 0 and the first chain of the settings first, then the others in their order."""
    return len(CHAINS) - (CHAINS.index(wildcards.chain) if wildcards.get("chain") else 0)


def chain_seed(wildcards):
    return SETTINGS["chains"][wildcards.chain]["random_seed"]


def of_cycle(chain, cycle, name):
    return f"results/{chain}/cycle-{cycle}/{name}" if cycle else f"results/{chain}/{name}"


def adapter_before(wildcards):
    """The adapter that a cycle generates with: the last one before it, of its chain or of what that starts from."""
    place = chains.adapter_after(SETTINGS, wildcards.chain, int(wildcards.cycle) - 1)
    return of_cycle(*place, "adapter/adapter_model.safetensors") if place else []


def corpus_before(wildcards):
    """The seed corpus and the shards that earlier cycles of the chain admitted."""
    return [
        SEED_CORPUS,
        *(of_cycle(wildcards.chain, k, "corpus.parquet") for k in range(1, int(wildcards.cycle))),
    ]


def corpus_known(wildcards):
    """What admission compares with: that, and the shards that the adapter was taught in the chains it comes from."""
    inherited = chains.inherited(SETTINGS, wildcards.chain)
    return [*corpus_before(wildcards), *(of_cycle(*place, "corpus.parquet") for place in inherited)]


def candidates_before(wildcards):
    """The candidates of earlier cycles, with their verdicts."""
    return [
        of_cycle(wildcards.chain, k, "candidates.parquet") for k in range(1, int(wildcards.cycle))
    ]


def corpus_to_show(wildcards):
    """What prompts draw their references from. Without references they wait for no earlier cycle."""
    return corpus_before(wildcards) if effective("prompts", wildcards)["references"] else []


def corpus_of_source(wildcards):
    """The shards of the chain whose programs are judged anew."""
    chain, last = chains.source_of(SETTINGS, wildcards.chain)
    return [of_cycle(chain, cycle, "corpus.parquet") for cycle in range(1, last + 1)]


def training_of(wildcards):
    """The lineage of a cycle's adapter, where it makes one."""
    chain, cycle = wildcards.chain, int(wildcards.cycle)
    return of_cycle(chain, cycle, "adapter/training.json") if cycle in TRAINED[chain] else []


def file_option(name):
    """A params function: the files of an input as a script's options, nothing where there are none."""
    return lambda wildcards, input: " ".join(
        f"--{name} {shlex.quote(path)}" for path in one_or_more(input[name])
    )


def one_or_more(paths):
    return [paths] if isinstance(paths, str) else paths


def of_shards(kind, suffix):
    """An input function: the files of all shards of a cycle."""
    return lambda wildcards: shard_files(kind, suffix, wildcards.chain, int(wildcards.cycle))


def shard_files(kind, suffix, chain, cycle):
    shards = range(chains.effective(SETTINGS, "cycle", chain, cycle)["shards"])
    return [of_cycle(chain, cycle, f"{kind}/{shard}.{suffix}") for shard in shards]


def of_cycles(name, cycles=CYCLES):
    """The files of that name of all cycles of all chains, or of the job's chain."""

    def files(wildcards):
        asked = [wildcards.chain] if wildcards.get("chain") else CHAINS
        return [of_cycle(chain, cycle, name) for chain in asked for cycle in cycles[chain]]

    return files


def prompt_options(wildcards):
    """The settings of prompts; where they show references, too what an answer takes of the context beside them."""
    spelt = options("prompts")(wildcards)
    if not effective("prompts", wildcards)["references"]:
        return spelt
    answer = effective("generation", wildcards)
    return f"{spelt} {spell_options({key: answer[key] for key in ('max_new_tokens', 'opening')})}"
