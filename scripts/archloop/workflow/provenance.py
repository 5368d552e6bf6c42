"""How an output was made: a JSON file beside it, PATH.provenance, written last by the script that made it.

It holds the slice of the settings, the digest of the code, of every input and of every output, the seed, versions and
the class of host; what Snakemake compares (params, inputs) too, so that its records can be written
again when they are lost. No time and no job's number: equal results have equal provenance. For the same reason run
records (how long, on which device) are named without a digest.
"""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json, sha256_file, write_json
from archloop.layout import PROVENANCE_SUFFIX
from archloop.machine import host, versions
from archloop.workflow.code_digest import code_digest

WITHOUT = (
    "evaluations",
    "state",
)  # folders of the results that hold none: known scores, work under way
OBJECTS = ("settings", "options", "inputs", "outputs", "versions", "host")
KEYS = ("script", "code", "params", "waited_for", "run_records", *OBJECTS)
# From this size on a file's digest is taken from its own provenance, where that is not older than the file.
LARGE_BYTES = 2**25
# Options that say how a job runs, not what it makes.
RUN_ONLY = {
    "log",
    "device",
    "isolation",
    "workers",
    "gpus",
    "cache_mb",
    "state",
    "store",
    "results",
    "run_record",
}
RUN_ONLY |= {"job_cores", "job_memory_mb", "driver_calls"}
# Inputs that a job waits for and does not read.
WAITED_FOR = {Path("results/preflight.json")}


def provenance_path(output: str | Path) -> Path:
    """Return where the provenance of a job lies: beside the first of its outputs."""
    return Path(f"{output}{PROVENANCE_SUFFIX}")


def leave_provenance(
    script: str,
    context,
    arguments: dict[str, object],
    sections: dict[str, dict[str, str]],
    named: Iterable[str],
    more: dict[str, object],
    packages: Iterable[str],
) -> None:
    """Write the provenance of a job that has written its outputs.

    context: click's, of the script's command; what came after `--` are the params of the rule and, after another `--`,
    its inputs. arguments: option -> value. sections: section of the settings -> key -> option. named: the options that
    name outputs; more: outputs and inputs that none names, and of the host where other processes computed. The first
    output names the job.
    """
    at = context.args.index("--") if "--" in context.args else len(context.args)
    params = context.args[:at]
    inputs = {*map(Path, context.args[at + 1 :]), *more.get("inputs", [])}
    waited_for, inputs = inputs & WAITED_FOR, inputs - WAITED_FOR
    given = {
        name: value
        for name, value in arguments.items()
        if name not in RUN_ONLY and context.get_parameter_source(name).name == "COMMANDLINE"
    }
    inputs |= {
        path
        for name, value in given.items()
        if name not in named
        for path in _paths(value)
        if path.is_file()
    }
    plain = {
        name: value
        for name, value in given.items()
        if not _paths(value) and Path(str(value)) not in inputs
    }
    slices = {
        section: {key: plain.pop(option) for key, option in keys.items() if option in plain}
        for section, keys in sections.items()
    }
    outputs = [path for name in named for path in _paths(arguments[name])]
    outputs += more.get("outputs", [])
    place = outputs[0].parent
    write_json(
        provenance_path(outputs[0]),
        {
            "script": Path(script).stem,
            "code": code_digest(script),
            "params": [text for text in params if not _of_inputs(text, inputs)] if params else None,
            "settings": slices,
            "options": plain,
            "inputs": {str(path): digest_of(path) for path in sorted(inputs)},
            "waited_for": sorted(map(str, waited_for)),
            "outputs": {os.path.relpath(path, place): sha256_file(path) for path in outputs},
            "run_records": [
                os.path.relpath(path, place) for path in _paths(arguments.get("run_record"))
            ],
            "versions": versions(packages),
            "host": host(arguments.get("device")) | more.get("host", {}),
        },
    )


def read_provenance(path: Path) -> dict:
    """Return a provenance; raise InputError naming the file when it is broken or no provenance."""
    found = read_json(path, *KEYS)
    whole = all(isinstance(found[key], dict) for key in OBJECTS) and all(
        isinstance(found[key], list)
        for key in ("params", "waited_for", "run_records")
        if found[key] is not None
    )
    texts = [found["script"], found["code"]]
    if whole:
        texts += [
            *found["inputs"].values(),
            *found["outputs"].values(),
            *(found["params"] or ()),
            *found["run_records"],
        ]
        whole = all(isinstance(values, dict) for values in found["settings"].values())
    if (
        not whole
        or not found["outputs"]
        or not all(isinstance(text, str) and "\0" not in text for text in texts)
    ):
        raise InputError(f"{path}: no provenance of this workflow; delete the file")
    return found


def outputs_of(path: Path, found: dict, run_records: bool = False) -> list[Path]:
    """Return the outputs that a provenance at `path` tells of, on demand the run records too."""
    names = [*found["outputs"], *(found["run_records"] if run_records else ())]
    return [Path(os.path.normpath(path.parent / name)) for name in names]


def locate(results: Path, name: str) -> Path:
    """Return where an input lies: those of a run's results in `results`, others as seen from the folder above."""
    within, _, rest = name.partition("/")
    return results / rest if within == "results" else results.parent / name


def digest_of(path: Path) -> str:
    """Return the sha256 of an input; of a large one that of its own provenance, so that no job reads it for this."""
    beside = provenance_path(path)
    if (
        path.stat().st_size >= LARGE_BYTES
        and beside.is_file()
        and beside.stat().st_mtime >= path.stat().st_mtime
    ):
        known = read_provenance(beside)["outputs"].get(path.name)
        if known:
            return known
    return sha256_file(path)


def provenances(*folders: Path) -> Iterable[Path]:
    """Yield the provenance files below some folders, in a fixed order, known scores and state left out."""
    for folder in folders:
        for place, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if name not in WITHOUT and name[0] != ".")
            yield from (
                Path(place) / name for name in sorted(files) if name.endswith(PROVENANCE_SUFFIX)
            )


def _of_inputs(param: str, inputs: set[Path]) -> bool:
    """Tell whether a param is made of the job's inputs alone; Snakemake compares those as inputs and not as params."""
    words = [word for word in shlex.split(param) if not word.startswith("--")]
    return bool(words) and all(Path(word) in inputs for word in words)


def _paths(value: object) -> list[Path]:
    values = value if isinstance(value, tuple) else (value,)
    return [each for each in values if isinstance(each, Path)]
