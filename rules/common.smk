# The settings, checked, and the names of folders. Read at every start and on every node, so it
# imports what Snakemake has anyway.
import os
import shlex
import shutil
import sys
from pathlib import Path

# The repository, wherever the run is: this may be a module of another workflow.
ROOT = os.path.dirname(workflow.current_basedir)
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from archloop import layout
from archloop.errors import InputError
from archloop.files import sha256_text, write_json
from archloop.random_seeds import derive
from archloop.settings import chains, checks, old_names
from archloop.settings import complete as archloop_settings
from archloop.settings.options import options as spell_options
from archloop.settings.schema import schema
from archloop.workflow.code_digest import code_digest
from archloop.yaml_files import read_yaml

# The scripts run with the Python that runs Snakemake, unless an environment of --sdm goes first.
if os.path.dirname(shutil.which("python") or "") != os.path.dirname(sys.executable):
    os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))
# Where the shell commands find the scripts; seen from the working directory, so that a moved clone
# rebuilds nothing.
scripts = os.path.relpath(os.path.join(ROOT, "scripts"))
os.environ.update(SCRIPTS=scripts)
# Snakemake reads braces in a path as wildcards; here alone they can be escaped.
ENVIRONMENT = os.path.join(ROOT, "envs", "archloop.yaml").replace("{", "{{").replace("}", "}}")


def stop(line):
    """End with one line: an exception would name a rule file, but what to change is the user's."""
    logger.error(line)
    raise SystemExit(1)


if set("{}") & set(scripts):
    stop(
        f"{ROOT}: Snakemake takes braces in a path for wildcards; run in that folder, or rename it"
    )


def check_given():
    """Refuse settings in a form that Snakemake reads as something else than was written."""
    for name, value in workflow.config_settings.config.items():
        if isinstance(value, (dict, list)):
            raise InputError(
                f"--config {name}: inside brackets all is text; write it to a file for --configfile"
            )
    for path in workflow.configfiles:
        if not str(path).endswith(".json"):
            read_yaml(path)  # stricter than Snakemake, which takes the last of two equal keys


SETTINGS_FILES = ", then ".join(str(path) for path in workflow.configfiles) or "the configuration"
try:
    if workflow.is_main_process:
        check_given()
        for line in old_names.with_present_names(config)[1]:
            logger.warning(f"Settings in {SETTINGS_FILES}: {line}")
    SETTINGS = archloop_settings.complete(config)
    if workflow.is_main_process:
        checks.check_inputs(SETTINGS, Path(ROOT))
        for line in checks.warnings(SETTINGS):
            logger.warning(f"Settings: {line}")
except InputError as error:
    stop(str(error).replace("settings: ", f"settings in {SETTINGS_FILES}: ", 1))

CHAINS = [name for name in SETTINGS["chains"] if name != chains.SEED]
EXECUTION = SETTINGS["execution"]

REFERENCE = SETTINGS["model"]["reference"]
MODEL = str(layout.manifest_path(SETTINGS["model"]["name"]))
DATASET = str(layout.dataset_path("{dataset}"))
# The folders of cycle 0 and of a cycle, with wildcards.
SEED = f"results/{layout.SEED}"
SEED_LOGS = f"logs/{layout.SEED}"
CYCLE = f"results/{layout.CYCLE_PATTERN}"
LOGS = f"logs/{layout.CYCLE_PATTERN}"
# Where a job of a cycle keeps what it has so far, as its command names it.
OF_WILDCARDS = layout.CYCLE_PATTERN.replace("{", "{wildcards.")
STATE = f"results/{layout.UNFINISHED}/{OF_WILDCARDS}"
SEED_STATE = f"results/{layout.UNFINISHED}/{layout.SEED}"
MODEL_STATE = f"results/{layout.UNFINISHED}/model"
STORED_SCORES = f"results/{layout.STORED_SCORES}"
SEED_ADAPTER = f"{SEED}/{layout.ADAPTER}"
SEED_CORPUS = f"{SEED}/{layout.CORPUS}"
# The files of a shard.
SHARD_GENERATED, SHARD_EVALUATED = layout.generated("{shard}"), layout.evaluated("{shard}")
SEED_GENERATED = f"{SEED}/{SHARD_GENERATED}"
SEED_EVALUATED = f"{SEED}/{SHARD_EVALUATED}"
GENERATED = f"{CYCLE}/{SHARD_GENERATED}"
EVALUATED = f"{CYCLE}/{SHARD_EVALUATED}"


# A rule's name in the whole workflow, where `use rule * from ... as` may have changed it.
rule_name = workflow.modifier.modify_rulename


def from_root(*parts):
    """A path given relative to the repository's root, as the working directory sees it."""
    return os.path.relpath(os.path.join(ROOT, *parts))


# The families are templates; no digest of code sees a change in them.
FAMILIES = [
    from_root("scripts", "archloop", "families", "templates", path.name)
    for path in sorted(layout.FAMILY_TEMPLATES.glob("*.j2"))
]
