# Settings, paths and code digests. Read at every start and on every node, so it imports what Snakemake has anyway.
import fcntl
import os
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, os.path.join(workflow.basedir, "scripts"))
from archloop import chains
from archloop import settings as archloop_settings
from archloop.digest import code_digest
from archloop.errors import InputError
from archloop.files import write_json
from archloop.seeds import derive

# The scripts run with the Python that runs Snakemake, unless an environment of --sdm comes before it.
if os.path.dirname(sys.executable) not in os.get_exec_path():
    os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))
# Where the shell commands find the scripts; seen from the working directory, so that a moved clone rebuilds nothing.
os.environ.update(SCRIPTS=os.path.relpath(os.path.join(workflow.basedir, "scripts")))
# Threads that wait in a busy loop make a machine that is shared several times slower; after a short spin they sleep.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
ENVIRONMENT = os.path.join(workflow.basedir, "envs", "archloop.yaml")

try:
    SETTINGS = archloop_settings.complete(config)
except InputError as error:
    raise WorkflowError(str(error))

CHAINS = [name for name in SETTINGS["chains"] if name != "seed"]
RUN = SETTINGS["run"]
MODEL = f"resources/models/{SETTINGS['model']['name']}/manifest.json"
SEED_ADAPTER = "results/seed/adapter/adapter_model.safetensors"
SEED_CORPUS = "results/seed/corpus.parquet"
CYCLE = "results/{chain}/cycle-{cycle}"


def effective(section, wildcards):
    """The settings of a section that hold for the job's chain and cycle."""
    return chains.effective(SETTINGS, section, wildcards.get("chain", "seed"), int(wildcards.get("cycle", 0)))


def options(section, prefix=""):
    """A params function: the settings of a section, as script options."""
    return lambda wildcards: archloop_settings.options(effective(section, wildcards), prefix)


def data_options(wildcards):
    """The settings that a data set depends on: those of a user's own images and of a missing test set rebuild no other."""
    folder = ("folder", "folder_size")
    unused = {"folder": (), "digits": folder}.get(wildcards.dataset, (*folder, "test_share"))
    return archloop_settings.options({key: value for key, value in SETTINGS["data"].items() if key not in unused})


def setting(section, key):
    """A params function: one setting."""
    return lambda wildcards: effective(section, wildcards)[key]


def code(script):
    """The digest of a script and of all modules that it can reach; it goes into params, so a change rebuilds."""
    return code_digest(os.path.join(workflow.basedir, "scripts", f"{script}.py"))


def dataset(wildcards):
    return f"resources/datasets/{SETTINGS['chains'][wildcards.get('chain', 'seed')]['dataset']}.safetensors"


def from_root(*parts):
    """A path given relative to the repository's root, as the working directory sees it."""
    return os.path.relpath(os.path.join(workflow.basedir, *parts))


def hold_results():
    """Keep other runs out of results/ (no lock is ever stale: it dies with its process) and leave settings and requests there."""
    global RESULTS_LOCK
    try:
        os.makedirs("results", exist_ok=True)
        RESULTS_LOCK = open("results/.lock", "w")
        fcntl.flock(RESULTS_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_json("results/settings.json", SETTINGS)
        write_json("results/requests.json", requests())
    except OSError as error:
        why = "another run is at work there" if isinstance(error, BlockingIOError) else error.strerror
        raise WorkflowError(f"results: {why}")
