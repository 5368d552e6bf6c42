"""How an output was made: a JSON file beside it, PATH.provenance, written last by the script.

It holds the slice of the settings, the digest of the code, of every input and of every output, the
seed, versions and the class of host; what Snakemake compares (params, inputs) too, so that its
records can be written again when they are lost. No time and no job's number: equal results have
equal provenance. For the same reason run records (how long, on which device) are named without a
digest.
"""

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from archloop.errors import InputError
from archloop.files import read_json, sha256_file, write_json
from archloop.layout import PREFLIGHT_FILE, PROVENANCE_SUFFIX, STORED_SCORES, UNFINISHED
from archloop.machine import host, versions
from archloop.settings.sections import Section
from archloop.workflow.code_digest import code_digest

# Folders of the results that hold none: stored scores, work under way.
WITHOUT = (STORED_SCORES, UNFINISHED)
OBJECTS = ("settings", "options", "inputs", "outputs", "versions", "host")
KEYS = ("script", "code", "params", "waited_for", "run_records", *OBJECTS)
# From this size on a file's digest is taken from its own provenance, where that is not older than
# the file.
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
    "job_cores",
    "job_memory_mb",
    "driver_calls",
}
# Inputs that a job waits for and does not read.
WAITED_FOR = {Path("results", PREFLIGHT_FILE)}


# Of a script, by name -> value, of whatever type the option is: each script has others.
Options = Mapping[str, Any]
# Section -> what of it a script was given.
SettingsSlices = dict[str, Section]


class Provenance(TypedDict):
    """What the file holds.

    script: its name. code: digest. params: of the rule, None where the script was run by hand.
    settings: section -> key -> value. options: the others that shape the outputs. inputs: path ->
    sha256. waited_for: inputs that are not read. outputs: path, from the file's folder, -> sha256.
    run_records: paths likewise. versions: package -> version. host: class of machine.
    """

    script: str
    code: str
    params: list[str] | None
    settings: SettingsSlices
    options: Options
    inputs: dict[str, str]
    waited_for: list[str]
    outputs: dict[str, str]
    run_records: list[str]
    versions: dict[str, str]
    host: dict[str, str]


class Extras(TypedDict, total=False):
    """What a stage tells of its job that no option names.

    spent: work under way, which goes once all is written. host: where other processes computed.
    """

    outputs: list[Path]
    inputs: list[Path]
    spent: Path
    host: dict[str, str]


@dataclass(frozen=True)
class Stage:
    """A script that a rule runs. outputs: the options that name them, the first one first.

    packages: whose versions shape the outputs.
    """

    script: str
    outputs: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """How a script was called. options: all, by name; given: names of those on the command line.

    sections: section of the settings -> key -> its option. params, inputs: of the rule; by hand
    there are none.
    """

    options: Options
    given: frozenset[str]
    sections: dict[str, dict[str, str]]
    params: list[str]
    inputs: list[Path]


def provenance_path(output: str | Path) -> Path:
    """Return where the provenance of a job lies: beside the first of its outputs."""
    return Path(f"{output}{PROVENANCE_SUFFIX}")


def leave_provenance(stage: Stage, call: Call, extras: Extras) -> None:
    """Write the provenance of a job that has written its outputs; the first one names the job."""
    outputs = _outputs(stage, call, extras)
    folder = outputs[0].parent
    output_digests = {}
    for path in outputs:
        output_digests[os.path.relpath(path, folder)] = sha256_file(path)

    options = _options_that_shape(call)
    named = {*call.inputs, *extras.get("inputs", [])}
    waited_for = named & WAITED_FOR
    inputs = (named - WAITED_FOR) | _files_in(options, without=stage.outputs)
    input_digests = {}
    for path in sorted(inputs):
        input_digests[str(path)] = digest_of(path)

    settings, others = _slices(call.sections, _without_files(options, inputs))
    # A job that Snakemake starts has params, if only the digest of its code.
    params = None
    if call.params:
        params = [param for param in call.params if not _of_inputs(param, inputs)]
    run_records = _paths(call.options.get("run_record"))

    provenance: Provenance = {
        "script": Path(stage.script).stem,
        "code": code_digest(stage.script),
        "params": params,
        "settings": settings,
        "options": others,
        "inputs": input_digests,
        "waited_for": sorted(map(str, waited_for)),
        "outputs": output_digests,
        "run_records": [os.path.relpath(path, folder) for path in run_records],
        "versions": versions(stage.packages),
        "host": host(call.options.get("device")) | extras.get("host", {}),
    }
    write_json(provenance_path(outputs[0]), provenance)


def _outputs(stage: Stage, call: Call, extras: Extras) -> list[Path]:
    """Return what a job has written: what its options name, and what none does."""
    outputs: list[Path] = []
    for name in stage.outputs:
        outputs += _paths(call.options[name])
    return outputs + extras.get("outputs", [])


def _options_that_shape(call: Call) -> Options:
    """Return the options on the command line but those that say how a job runs."""
    options = {}
    for name, value in call.options.items():
        if name in call.given and name not in RUN_ONLY:
            options[name] = value
    return options


def _files_in(options: Options, without: Iterable[str]) -> set[Path]:
    """Return the files that options name, some of them left out."""
    files: set[Path] = set()
    for name, value in options.items():
        if name not in without:
            files.update(filter(Path.is_file, _paths(value)))
    return files


def _without_files(options: Options, inputs: set[Path]) -> Options:
    """Return the options that name no path, be it as text."""
    plain = {}
    for name, value in options.items():
        if not _paths(value) and Path(str(value)) not in inputs:
            plain[name] = value
    return plain


def _slices(
    sections: Mapping[str, Mapping[str, str]], options: Options
) -> tuple[SettingsSlices, Options]:
    """Return (options that are settings, by section and key; the others)."""
    others = dict(options)
    settings: SettingsSlices = {}
    for section, keys in sections.items():
        settings[section] = {}
        for key, option in keys.items():
            if option in others:
                settings[section][key] = others.pop(option)
    return settings, others


def read_provenance(path: Path) -> Provenance:
    """Return a provenance; raise InputError naming the file when it is broken or no provenance."""
    values = read_json(path, *KEYS)
    if not _has_shape(values):
        raise InputError(f"{path}: no provenance of this workflow; delete the file")
    return cast(Provenance, values)


def _has_shape(values: Mapping[str, Any]) -> bool:
    """Return whether an object with KEYS has values of the kinds that a provenance has.

    values: JSON of any shape.
    """
    params = [] if values["params"] is None else values["params"]
    lists = (params, values["waited_for"], values["run_records"])
    if not all(isinstance(values[key], dict) for key in OBJECTS):
        return False
    if not all(isinstance(each, list) for each in lists):
        return False
    if not values["outputs"]:
        return False

    sections = values["settings"].values()
    if not all(isinstance(section, dict) for section in sections):
        return False

    texts = [values["script"], values["code"], *params, *values["run_records"]]
    texts += values["inputs"].values()
    texts += values["outputs"].values()
    # No name of a file has a zero in it, and what asks for one fails.
    return all(isinstance(text, str) and "\0" not in text for text in texts)


def outputs_of(path: Path, provenance: Provenance, run_records: bool = False) -> list[Path]:
    """Return the outputs that a provenance at `path` tells of, on demand the run records too."""
    names = list(provenance["outputs"])
    if run_records:
        names += provenance["run_records"]
    return [Path(os.path.normpath(path.parent / name)) for name in names]


def locate(results: Path, name: str) -> Path:
    """Return where an input lies.

    Those of a run's results are in `results`, others as seen from the folder above.
    """
    within, _, rest = name.partition("/")
    return results / rest if within == "results" else results.parent / name


def digest_of(path: Path) -> str:
    """Return the sha256 of an input.

    Of a large one that of its own provenance, so that no job reads it for this.
    """
    beside, known = provenance_path(path), path.stat()
    # An older one may tell of other bytes.
    if (
        known.st_size >= LARGE_BYTES
        and beside.is_file()
        and beside.stat().st_mtime >= known.st_mtime
    ):
        digest = read_provenance(beside)["outputs"].get(path.name)
        if digest:
            return digest
    return sha256_file(path)


def provenances(*folders: Path) -> Iterator[Path]:
    """Yield the provenance files below some folders, in a fixed order, but in WITHOUT."""
    for top in folders:
        for folder, names, files in os.walk(top):
            kept = [name for name in names if name not in WITHOUT and name[0] != "."]
            names[:] = sorted(kept)  # in place: os.walk goes on by it
            for name in sorted(files):
                if name.endswith(PROVENANCE_SUFFIX):
                    yield Path(folder) / name


def _of_inputs(param: str, inputs: set[Path]) -> bool:
    """Return whether a param is made of the job's inputs alone.

    Snakemake compares those as inputs and not as params.
    """
    words = [word for word in shlex.split(param) if not word.startswith("--")]
    return bool(words) and all(Path(word) in inputs for word in words)


def _paths(value: object) -> list[Path]:
    values = value if isinstance(value, tuple) else (value,)
    return [each for each in values if isinstance(each, Path)]
