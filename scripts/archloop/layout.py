"""Where everything lies: the repository's own files, and what a run leaves.

The one home of these names: folders, files, the ids of candidates, and which shard a candidate is
in. Standard library only, for every start of Snakemake reads it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The folder that the library lies in, by whatever link it is reached, and the repository above it.
SCRIPTS = Path(__file__).parents[1]
ROOT = SCRIPTS.parent
SCHEMA = ROOT / "config" / "schema.yaml"
PAGE = ROOT / "report"  # templates, styles and data of the report
FAMILY_TEMPLATES = SCRIPTS / "archloop" / "families" / "templates"

# What the Snakefile leaves in the results: the run's settings, complete, and how its jobs go out.
SETTINGS_FILE = "settings.json"
REQUESTS_FILE = "requests.json"
PREFLIGHT_FILE = "preflight.json"
# Beside the first output of a job, the file that says how it was made.
PROVENANCE_SUFFIX = ".provenance"

# The chain of cycle 0 alone: the seed corpus and the first adapter.
SEED = "seed"

# Files of a cycle's folder. Cycle 0 has the corpus, the adapter, generated/ and evaluated/ alone.
PROMPTS = "prompts.jsonl"
CANDIDATES = "candidates.parquet"
CORPUS = "corpus.parquet"
SUMMARY = "summary.json"
ADAPTER = "adapter/adapter_model.safetensors"
TRAINING = "adapter/training.json"
ADAPTER_CONFIG = "adapter/adapter_config.json"
ADAPTER_RUN_RECORD = "adapter/run.json"
# Files of cycle 0 alone: programs of a LEMUR checkout that were not taken, and what the corpus left
# out.
LEFT_OUT = "left_out.json"
DROPPED = "dropped.json"
# Folders of a cycle, with a file a shard.
GENERATED = "generated"
EVALUATED = "evaluated"
# Files of a chain's folder, and of the results.
EXPORT = "architectures/index.json"
REPORT = "report/index.html"
# Folders of the results: stored scores, and what jobs have so far. A run at work holds the lock.
STORED_SCORES = "evaluations"
UNFINISHED = "state"
LOCK = ".lock"

# What the name of a cycle's folder begins with, before its number.
CYCLE_PREFIX = "cycle-"
# As Snakemake writes a path with wildcards.
CYCLE_PATTERN = f"{{chain}}/{CYCLE_PREFIX}{{cycle}}"
CYCLE_FOLDER = re.compile(rf"{CYCLE_PREFIX}([1-9]\d*)")


class Cell(NamedTuple):
    """A cycle of a chain, with a folder of its own; cycle 0 is the folder of its chain."""

    chain: str
    cycle: int

    def folder(self, top: Path) -> Path:
        """Return its folder below results/, logs/ or results/state/."""
        of_chain = top / self.chain
        if self.cycle == 0:
            return of_chain
        return of_chain / f"{CYCLE_PREFIX}{self.cycle}"

    def candidate_id(self, index: int) -> str:
        """Return the id of its candidate of this index: main-03-0007."""
        return f"{self.chain}-{self.cycle:02d}-{index:04d}"

    def prompt_id(self, index: int) -> str:
        """Return the id of the prompt of that candidate: main-03-p0007."""
        return f"{self.chain}-{self.cycle:02d}-p{index:04d}"


def cell_of(path: Path) -> Cell | None:
    """Return the cell that a path below results/ (CHAIN/cycle-3/...) is in.

    None where it is in no cycle's folder.
    """
    if len(path.parts) < 2:
        return None
    chain, folder, *_ = path.parts
    match = CYCLE_FOLDER.fullmatch(folder)
    if match is None:
        return None
    return Cell(chain, int(match[1]))


def cells_with(results: Path, name: str = "", chain: str = "*") -> list[Cell]:
    """Return the cells whose folder holds a file of this name, by chain and number of the cycle.

    name: "" for all folders of cycles. chain: of which chain, "*" for all.
    """
    cells = []
    for path in results.glob(f"{chain}/{CYCLE_PREFIX}*/{name}"):
        cell = cell_of(path.relative_to(results))
        if cell is not None:
            cells.append(cell)
    return sorted(cells)


def generated(shard: int | str) -> str:
    """Return the file of a shard's candidates, below the folder of the cycle.

    shard: a number, or `{shard}`.
    """
    return f"{GENERATED}/{shard}.jsonl"


def evaluated(shard: int | str) -> str:
    """Return the file of a shard's evaluations, below the folder of the cycle."""
    return f"{EVALUATED}/{shard}.json"


def run_record(name: str) -> str:
    """Return the file that says how long a job took and on what, beside the output of a shard."""
    return f"{name.rpartition('.')[0]}.run.json"


def is_in_shard(index: int, shard: int, shards: int) -> bool:
    """Say whether the candidate of this index is in a shard: they are dealt out in turn."""
    return index % shards == shard


def indices_of_shard(candidates: int, shard: int, shards: int) -> Iterator[int]:
    """Yield the indices of the candidates of a cycle that are in a shard."""
    yield from range(shard, candidates, shards)


def resources_beside(results: Path) -> Path:
    """Return the folder of the models and data sets that results were made from."""
    return results.parent / "resources"


def dataset_path(name: str, resources: Path = Path("resources")) -> Path:
    """Return the file of a prepared data set."""
    return resources / "datasets" / f"{name}.safetensors"


def manifest_path(name: str, resources: Path = Path("resources")) -> Path:
    """Return the manifest of a prepared language model, the last file that is written of it."""
    return resources / "models" / name / "manifest.json"
