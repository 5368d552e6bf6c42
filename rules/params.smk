# What the rules' params are made of. Params are options as text: names keep two swapped numbers
# apart, and provenance can hold them.
RANDOM_SEED = spell_options({"seed": SETTINGS["random_seed"]})


def effective(section, wildcards):
    """The settings of a section that hold for the job's chain and cycle."""
    chain, cycle = wildcards.get("chain", chains.SEED), int(wildcards.get("cycle", 0))
    return chains.effective(SETTINGS, section, chain, cycle)


def options(section, prefix="", only=None):
    """A params function: the settings of a section, or one of them, as script options."""

    def spelt(wildcards):
        values = effective(section, wildcards)
        return spell_options({only: values[only]} if only else values, prefix)

    return spelt


# Data sets with an official test split: of these alone data.test_share divides nothing.
WITH_TEST_SPLIT = ["cifar10", "cifar100", "svhn", "fashion_mnist", "mnist"]


def data_options(wildcards):
    """The settings that a data set depends on: what only others use rebuilds nothing of it."""
    users = {
        "folder": ["folder"],
        "folder_name": ["folder"],
        "folder_pixels": ["folder"],
        "digits_pixels": ["digits"],
    }
    used = {}
    for key, value in SETTINGS["data"].items():
        if key == "test_share" and wildcards.dataset in WITH_TEST_SPLIT:
            continue
        if wildcards.dataset in users.get(key, [wildcards.dataset]):
            used[key] = value
    return spell_options(used)


def prompt_options(wildcards):
    """The settings of prompts; with references, also what an answer takes of the context."""
    spelt = options("prompts")(wildcards)
    if not effective("prompts", wildcards)["references"]:
        return spelt
    answer = effective("generation", wildcards)
    return f"{spelt} {spell_options({key: answer[key] for key in ('max_new_tokens', 'response_prefix')})}"


def cycle_zero_options(wildcards):
    """The settings of fine-tuning that the seed corpus has a use for."""
    return spell_options(archloop_settings.of_cycle_zero(effective("finetuning", wildcards)))


def chain_seed(wildcards):
    """The random seed of a chain, as an option."""
    return spell_options({"seed": SETTINGS["chains"][wildcards.chain]["random_seed"]})


def training_seed(wildcards):
    """The random seed of one fine-tuning, as an option: of the chain, of the run for cycle 0."""
    chain, cycle = wildcards.get("chain", chains.SEED), int(wildcards.get("cycle", 0))
    of_chain = SETTINGS["chains"][chain].get("random_seed", SETTINGS["random_seed"])
    return spell_options({"seed": derive(of_chain, chain, cycle, "finetune")})


def file_options(name, key=None):
    """A params function: the files of an input as options `--name`, if there are any."""

    def spelt(wildcards, input):
        paths = input[key or name]
        paths = [paths] if isinstance(paths, str) else paths
        return " ".join(f"--{name} {shlex.quote(path)}" for path in paths)

    return spelt


def code(script, of=None):
    """A params function: the digests of a script with all that it can reach, and of its command."""
    digest = code_digest(os.path.join(ROOT, "scripts", f"{script}.py"))
    owner = rule_name(of or script)
    return lambda wildcards: f"{digest} {sha256_text(workflow.get_rule(owner).shellcmd)[:16]}"
