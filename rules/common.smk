# Settings, paths and code digests. Read at every start and on every node, so it imports what Snakemake has anyway.
import os
import shlex
import shutil
import sys
from pathlib import Path

# The repository, wherever the run is: this may be a module of another workflow.
ROOT = os.path.dirname(workflow.current_basedir)
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from archloop.errors import InputError
from archloop.files import sha256_text, write_json
from archloop.random_seeds import derive
from archloop.settings import chains, checks
from archloop.settings import complete as archloop_settings
from archloop.settings.options import options as spell_options
from archloop.settings.schema import schema
from archloop.workflow.code_digest import code_digest
from archloop.yaml_files import read_yaml

# The scripts run with the Python that runs Snakemake, unless an environment of --sdm comes before it.
if os.path.dirname(shutil.which("python") or "") != os.path.dirname(sys.executable):
    os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))
# Where the shell commands find the scripts; seen from the working directory, so that a moved clone rebuilds nothing.
scripts = os.path.relpath(os.path.join(ROOT, "scripts"))
os.environ.update(SCRIPTS=scripts)
# Snakemake reads braces in a path as wildcards; here alone they can be escaped.
ENVIRONMENT = os.path.join(ROOT, "envs", "archloop.yaml").replace("{", "{{").replace("}", "}}")


def stop(line):
    """End with one line. An exception would come with the place of a rule file, but what to change is the user's."""
    logger.error(line)
    raise SystemExit(1)


if set("{}") & set(scripts):
    stop(
        f"{ROOT}: Snakemake takes braces in a path for wildcards; run in that folder, or rename it"
    )

try:
    if workflow.is_main_process:
        for name, value in workflow.config_settings.config.items():
            if isinstance(value, (dict, list)):
                raise InputError(
                    f"--config {name}: inside brackets all is text; write it to a file for --configfile"
                )
        for path in workflow.configfiles:
            if not str(path).endswith(".json"):
                read_yaml(path)  # stricter than Snakemake, which takes the last of two equal keys
    SETTINGS = archloop_settings.complete(config)
    if workflow.is_main_process:
        checks.check_inputs(SETTINGS, Path(ROOT))
        for line in checks.warnings(SETTINGS):
            logger.warning(f"Settings: {line}")
except InputError as error:
    given = ", then ".join(str(path) for path in workflow.configfiles) or "the configuration"
    stop(str(error).replace("settings: ", f"settings in {given}: ", 1))

CHAINS = [name for name in SETTINGS["chains"] if name != "seed"]
EXECUTION = SETTINGS["execution"]
# Params are options as text: names keep two swapped numbers apart, and provenance can hold them.
SEED = spell_options({"seed": SETTINGS["random_seed"]})
REFERENCE = SETTINGS["model"]["reference"]
MODEL = f"resources/models/{SETTINGS['model']['name']}/manifest.json"
SEED_ADAPTER = "results/seed/adapter/adapter_model.safetensors"
SEED_CORPUS = "results/seed/corpus.parquet"
CYCLE = "results/{chain}/cycle-{cycle}"


# A rule's name in the whole workflow, where `use rule * from ... as` may have changed it.
rule_name = workflow.modifier.modify_rulename


def effective(section, wildcards):
    """The settings of a section that hold for the job's chain and cycle."""
    return chains.effective(
        SETTINGS, section, wildcards.get("chain", "seed"), int(wildcards.get("cycle", 0))
    )


def options(section, prefix="", only=None):
    """A params function: the settings of a section, or one of them, as script options."""

    def spelt(wildcards):
        values = effective(section, wildcards)
        return spell_options({only: values[only]} if only else values, prefix)

    return spelt


def data_options(wildcards):
    """The settings that a data set depends on: what only others use rebuilds nothing of it."""
    users = dict.fromkeys(("folder", "folder_name", "folder_pixels"), "folder")
    users |= {"digits_pixels": "digits", "test_share": "digits folder"}

    def used(key):
        return key not in users or wildcards.dataset in users[key].split()

    return spell_options(
        {key: value for key, value in SETTINGS["data"].items() if used(key)}
    )


def setting(section, key):
    """An input function's part: one setting."""
    return lambda wildcards: effective(section, wildcards)[key]


def code(script, of=None):
    """A params function: the digest of a script with all modules that it can reach, and that of its rule's command."""
    digest, rule = code_digest(os.path.join(ROOT, "scripts", f"{script}.py")), rule_name(
        of or script
    )
    return lambda wildcards: f"{digest} {sha256_text(workflow.get_rule(rule).shellcmd)[:16]}"


def training_seed(seed, chain, cycle):
    """The seed of one fine-tuning, as an option."""
    return spell_options({"seed": derive(seed, chain, cycle, "finetune")})


def dataset(wildcards):
    return f"resources/datasets/{SETTINGS['chains'][wildcards.get('chain', 'seed')]['dataset']}.safetensors"


def from_root(*parts):
    """A path given relative to the repository's root, as the working directory sees it."""
    return os.path.relpath(os.path.join(ROOT, *parts))


# The families are templates; no digest of code sees a change in them.
FAMILIES = from_root("scripts", "archloop", "families", "templates")
FAMILIES = [
    os.path.join(FAMILIES, name) for name in sorted(os.listdir(FAMILIES)) if name.endswith(".j2")
]
