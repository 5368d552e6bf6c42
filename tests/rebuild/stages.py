"""The jobs of a run and what each waits for, written down once more beside the rules, and words for sets of jobs."""

CYCLE = ("write_prompts", "generate", "evaluate", "admit", "finetune", "summarize")
WORDS = {
    "prepare_model": "the model",
    "prepare_dataset": "the data set",
    "write_seed_programs": "the seed programs",
    "evaluate_seed": "every evaluation",
    "build_seed_corpus": "the seed corpus",
    "finetune_seed": "every fine-tuning",
    "write_prompts": "the prompts of every cycle",
    "generate": "generate",
    "admit": "admit",
    "finetune": "finetune",
    "summarize": "summarize",
    "report": "report",
}


def graph(chains: dict[str, int], shards: int = 2, seed_shards: int = 1) -> dict[str, set[str]]:
    """Return job -> the jobs that it waits for, of chains (name -> cycles) that all start from the seed."""
    measured = {f"evaluate_seed {shard}" for shard in range(seed_shards)}
    data, model = {"prepare_dataset digits"}, {"prepare_model"}
    seed = {
        "prepare_model": set(),
        "prepare_dataset digits": set(),
        "preflight": data | model,  # others wait for it, but none is done again for it
        "write_seed_programs": model,
        **dict.fromkeys(measured, {"write_seed_programs"} | data),
        "build_seed_corpus": {"write_seed_programs"} | measured | data,
        "finetune_seed": {"build_seed_corpus"} | model,
    }
    jobs, whole = dict(seed), {"build_seed_corpus", "finetune_seed"}
    for chain, cycles in chains.items():
        corpus, adapter = {"build_seed_corpus"}, "finetune_seed"
        for cycle in range(1, cycles + 1):
            here = f"{chain}/{cycle}"
            jobs[f"write_prompts {here}"] = data  # without references they wait for no corpus
            generated = {f"generate {here}/{shard}" for shard in range(shards)}
            evaluated = {f"evaluate {here}/{shard}" for shard in range(shards)}
            jobs |= dict.fromkeys(generated, {f"write_prompts {here}", adapter} | model)
            jobs |= {job: {job.replace("evaluate", "generate")} | data for job in evaluated}
            jobs[f"admit {here}"] = generated | evaluated | corpus | data
            corpus = corpus | {f"admit {here}"}
            jobs[f"finetune {here}"] = corpus | {adapter} | model
            adapter = f"finetune {here}"
            jobs[f"summarize {here}"] = {f"admit {here}", adapter} | data
            whole |= {f"summarize {here}", f"admit {here}", adapter} | evaluated
        jobs[f"export {chain}"] = corpus - {"build_seed_corpus"}
    return jobs | {"report": whole}


def heads(found: frozenset[str], jobs: dict[str, set[str]]) -> set[str]:
    """Return the jobs of a plan that wait for no other of it."""
    return {job for job in found if not jobs[job] & found}


def with_followers(first: set[str], jobs: dict[str, set[str]]) -> frozenset[str]:
    """Return some jobs and all that wait for them, directly or not."""
    found = set(first)
    while True:
        more = {job for job, waits in jobs.items() if waits & found} - found
        if not more:
            return frozenset(found)
        found |= more


def words(found: frozenset[str], jobs: dict[str, set[str]]) -> str:
    """Return a plan in words; every job of it is a head or follows one."""
    if not found:
        return "nothing"
    first = heads(found, jobs)
    assert with_followers(first, jobs) == found, "it is not all that follows"
    names = [WORDS[name] for name in WORDS if any(job.split()[0] == name for job in first)]
    return " and ".join(names) + (" and what follows" if found != first else "")
