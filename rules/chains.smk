# Which files a cycle is made of: its adapter, corpus, candidates. Settings alone decide.
CYCLES = {chain: chains.cycles_of(SETTINGS, chain) for chain in CHAINS}
# Cycles that make no adapter ask for no job that would.
TRAINED = {name: [k for k in CYCLES[name] if chains.trains(SETTINGS, name, k)] for name in CHAINS}


def one_of(names):
    """The wildcard of these chains, in front of what the plan holds of them; none match nothing."""
    return "|".join(chains.chain_pattern(SETTINGS, name) for name in names) or "-"


wildcard_constraints:
    chain=one_of(CHAINS),
    cycle=r"[1-9]\d*",
    shard=r"0|[1-9]\d*",


def written_by(*sources):
    """The wildcard of the chains with candidates from these; from another chain by default."""
    known = (chains.MODEL, chains.FAMILIES)
    names = []
    for name in CHAINS:
        source = SETTINGS["chains"][name]["source"]
        if source in sources or (not sources and source not in known):
            names.append(name)
    return one_of(names)


def in_order(wildcards):
    """The priority of a job: cycle 0 and the first chain first, then the others in their order."""
    return len(CHAINS) - (CHAINS.index(wildcards.chain) if wildcards.get("chain") else 0)


def in_cell(cell, name):
    """The file of that name in the folder of a cycle."""
    return str(layout.Cell(*cell).folder(Path("results")) / name)


def cells_before(wildcards):
    """The earlier cycles of the job's chain."""
    return [(wildcards.chain, cycle) for cycle in range(1, int(wildcards.cycle))]


def adapter_before(wildcards):
    """The adapter that a cycle generates with: the last one before it, of whatever chain."""
    cell = chains.adapter_after(SETTINGS, wildcards.chain, int(wildcards.cycle) - 1)
    return in_cell(cell, layout.ADAPTER) if cell else []


def corpus_before(wildcards):
    """The seed corpus and what earlier cycles of the chain admitted."""
    return [SEED_CORPUS, *(in_cell(cell, layout.CORPUS) for cell in cells_before(wildcards))]


def corpus_known(wildcards):
    """What admission compares with: that, and what the adapter was trained on in other chains."""
    cells = chains.inherited_cells(SETTINGS, wildcards.chain)
    return [*corpus_before(wildcards), *(in_cell(cell, layout.CORPUS) for cell in cells)]


def corpus_to_show(wildcards):
    """What prompts draw references from. Without references they wait for no earlier cycle."""
    return corpus_before(wildcards) if effective("prompts", wildcards)["references"] else []


def corpus_of_source(wildcards):
    """What the chain admitted whose programs are evaluated again."""
    chain, last = chains.source_of(SETTINGS, wildcards.chain)
    return [in_cell((chain, cycle), layout.CORPUS) for cycle in range(1, last + 1)]


def candidates_before(wildcards):
    """The candidates of earlier cycles, with their outcomes."""
    return [in_cell(cell, layout.CANDIDATES) for cell in cells_before(wildcards)]


def failed_candidates(wildcards):
    """The candidates of a cycle, where the method of fine-tuning learns from those that failed."""
    if effective("finetuning", wildcards)["method"] == "sft":
        return []
    return in_cell((wildcards.chain, int(wildcards.cycle)), layout.CANDIDATES)


def training_of(wildcards):
    """The lineage of a cycle's adapter, where it makes one."""
    cell = (wildcards.chain, int(wildcards.cycle))
    return in_cell(cell, layout.TRAINING) if cell[1] in TRAINED[cell[0]] else []


def shard_files(pattern, chain, cycle):
    """The files of all shards of a cycle. pattern: layout.generated or layout.evaluated."""
    shards = range(chains.effective(SETTINGS, "cycle", chain, cycle)["shards"])
    return [in_cell((chain, cycle), pattern(shard)) for shard in shards]


def of_shards(pattern):
    """An input function: the files of all shards of the job's cycle."""
    return lambda wildcards: shard_files(pattern, wildcards.chain, int(wildcards.cycle))


def of_cycles(name, cycles=CYCLES):
    """An input function: the files of that name of all cycles, or of those of the job's chain."""

    def files(wildcards):
        asked = [wildcards.chain] if wildcards.get("chain") else CHAINS
        return [in_cell((chain, cycle), name) for chain in asked for cycle in cycles[chain]]

    return files


def dataset(wildcards):
    """The data set of the job's chain."""
    chain = SETTINGS["chains"][wildcards.get("chain", chains.SEED)]
    return str(layout.dataset_path(chain["dataset"]))


def prompt_file(key):
    """An input function: the template or the hints that a cycle's prompts are made of."""
    return lambda wildcards: from_root(effective("prompts", wildcards)[key])
