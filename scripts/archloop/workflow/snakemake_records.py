"""Snakemake's records of finished jobs, .snakemake/metadata: which outputs have none, and new ones.

Without its record Snakemake takes an output for fresh whatever settings and code made it, and says
nothing. So the workflow asks at every start which outputs have none, and stops;
`verify.py --record` writes them again, not from what the settings say today but from the provenance
that lies beside the outputs, so that Snakemake finds itself what has changed since. Standard
library only, but for the writing.
"""

import base64
import contextlib
import graphlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from archloop.errors import InputError
from archloop.files import parse_json, read_json, set_time_to_now
from archloop.layout import PREFLIGHT_FILE, SEED, resources_beside
from archloop.settings.sections import Section
from archloop.workflow.provenance import (
    WITHOUT,
    Provenance,
    locate,
    outputs_of,
    provenances,
    read_provenance,
)

FOLDER = Path(".snakemake")
# Where the workflow's outputs lie.
TOPS = ("results", "resources/datasets")


def unrecorded(patterns: Iterable[str], records: Path = FOLDER) -> list[str]:
    """Return the results and data sets without a whole record, sorted.

    patterns: regular expressions of outputs. Those of a job that is under way or was cut have a
    mark of Snakemake's own, and are none of these.
    """
    alternatives = [f"(?:{_without_names(pattern)})" for pattern in patterns]
    wanted = re.compile("|".join(alternatives))
    accounted = _recorded(records)
    accounted.update(output for output, _ in outputs_in(records / "incomplete"))

    missing = []
    for top in TOPS:
        for folder, subfolders, names in os.walk(top):
            if folder == "results":
                subfolders[:] = [name for name in subfolders if name not in WITHOUT]
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 (text, as in the patterns)
                if path not in accounted and wanted.fullmatch(path):
                    missing.append(path)
    return sorted(missing)


def stop_line(missing: list[str]) -> str:
    """Return what to tell the user of outputs without records."""
    known: set[str] = set()
    for path in provenances(*map(Path, TOPS)):
        with contextlib.suppress(InputError):
            outputs = outputs_of(path, read_provenance(path), run_records=True)
            known.update(map(str, outputs))

    for path_of_output in missing:
        if path_of_output not in known:
            return (
                f"{path_of_output}: of unknown origin, for Snakemake has no record of it and no"
                " provenance lies beside it; move it away, it is made again where it is needed"
            )
    scripts = shlex.quote(os.environ.get("SCRIPTS", "scripts"))
    return (
        f"Snakemake's records of {len(missing)} finished outputs are lost ({missing[0]}); their"
        f" provenance is there: python {scripts}/verify.py results --record"
    )


def other_model(manifest: str, wanted: Section, records: Path = FOLDER) -> str | None:
    """Return what to tell the user of a prepared model that is not the one wanted, else None.

    Models are shared between folders, so where Snakemake has no record their manifest decides. One
    of this machine (folder:, gguf:) has no name that would hold elsewhere. wanted: section model.
    """
    if not Path(manifest).is_file():
        return None
    if manifest in dict(outputs_in(records / "metadata")):  # Snakemake itself sees to it
        return None

    prepared = read_json(manifest, "reference", "revision")
    reference, revision = prepared["reference"], prepared["revision"]
    if str(reference).startswith(("folder:", "gguf:")):
        return None
    if (reference, revision) == (wanted["reference"], wanted["revision"]):
        return None
    return (
        f"{manifest}: this is {reference} (revision {revision}), not what model.reference names;"
        " delete it, or give the model another name"
    )


def record(
    results: Path, staleness: Callable[[Path, Provenance], str | None], records: Path = FOLDER
) -> tuple[int, list[str]]:
    """Write the records that are missing.

    Returns (how many, a line for each job that Snakemake will make again). staleness: tells of
    (path of a provenance, the provenance) why its outputs are no longer what it says, or None.
    Such a job gets a record that differs from any plan. The others' outputs get new times, what is
    read before what is made of it, for a copy has lost the order of theirs. Run it from the folder
    that Snakemake runs in.
    """
    from snakemake.persistence.file import FilePersistence

    persistence = FilePersistence(nolock=True, path=records)
    recorded, now = _recorded(records), time.time()
    count, stale = 0, []
    paths_of_jobs = provenances(results, resources_beside(results))
    for path in _inputs_first(results, list(paths_of_jobs)):
        try:
            provenance = read_provenance(path)
        except InputError as error:
            stale.append(str(error))
            continue
        why = staleness(path, provenance)
        if why:
            stale.append(f"{path}: {why}")

        recorded_outputs = outputs_of(path, provenance, run_records=True)
        outputs = [output for output in recorded_outputs if output.is_file()]
        if not why:
            for output in outputs:
                set_time_to_now(output)
        # Of an export Snakemake knows the index alone: how many designs there are is no part of its
        # plan.
        declared = outputs[:1] if provenance["script"] == "export" else outputs
        for output in declared:
            if os.fspath(output) not in recorded:
                rule = _rule(provenance["script"], path.relative_to(results.parent))
                entry = _entry(results, rule, provenance, why, now)
                # Snakemake has no public function that writes one.
                persistence._write_record(os.fspath(output), entry)
                count += 1

    # The preflight has no record, so its time decides; benchmarks count as outputs where times are
    # compared.
    benchmarks = (results.parent / "logs").rglob("*.tsv")
    for timed in [*results.glob(PREFLIGHT_FILE), *benchmarks]:
        set_time_to_now(timed)
    return count, stale


def _entry(results: Path, rule: str, provenance: Provenance, why: str | None, now: float) -> Any:
    """Return Snakemake's record of an output, of the past or, where `why` is given, of no plan."""
    from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord

    checksums = {}
    for name, digest in provenance["inputs"].items():
        checksums[str(locate(results, name))] = f"sha256:{digest}"
    params = sorted(map(repr, provenance["params"] or ["made by hand"]))
    if why:
        params = [f"not as recorded: {why}"]
    return MetadataRecord(
        rule=rule,
        input=sorted([*checksums, *provenance["waited_for"]]),
        params=params,
        record_format_version=RECORD_FORMAT_VERSION,
        starttime=now,
        endtime=now,
        incomplete=False,
        input_checksums=checksums,
    )


def _inputs_first(results: Path, paths: list[Path]) -> Iterable[Path]:
    """Return provenance files in such an order that what a job reads comes before what it made."""
    readable: dict[Path, Provenance] = {}
    makers: dict[Path, Path] = {}
    for path in paths:
        with contextlib.suppress(InputError):  # a broken one is named when its turn comes
            readable[path] = read_provenance(path)
            for output in outputs_of(path, readable[path], run_records=True):
                makers[output] = path

    before: dict[Path, list[Path]] = {path: [] for path in paths}
    for path, provenance in readable.items():
        for name in provenance["inputs"]:
            lies_at = os.path.normpath(locate(results, name))
            # Of an input that no job here made there is nothing to wait for.
            maker = makers.get(Path(lies_at), path)
            if maker != path:
                before[path].append(maker)
    return graphlib.TopologicalSorter(before).static_order()


def _rule(script: str, path: Path) -> str:
    """Return the rule that made an output: that of its script, in cycle 0 of a name of its own."""
    if path.parts[1] == SEED and script in ("evaluate", "finetune"):
        return f"{script}_seed"
    return script


def outputs_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (output, path of its record) of one of Snakemake's folders.

    Names are in base64, cut into folders that begin with @ where they are long.
    """
    for subfolder, _, names in os.walk(folder):
        within = Path(subfolder).relative_to(folder)
        start = "".join(part.removeprefix("@") for part in within.parts)
        for name in names:
            try:
                key = base64.urlsafe_b64decode(start + name).decode()
            except ValueError:  # no name of Snakemake's
                continue
            yield key, os.path.join(subfolder, name)  # noqa: PTH118


def _recorded(records: Path) -> set[str]:
    """Return the outputs that have a whole record."""
    recorded = set()
    for output, path in outputs_in(records / "metadata"):
        if _is_whole(path):
            recorded.add(output)
    return recorded


def _is_whole(path: str) -> bool:
    """Return whether a record was written to its end: Snakemake counts a torn one as none."""
    try:
        return bool(parse_json(Path(path).read_bytes()))
    except ValueError:
        return False


def _without_names(pattern: str) -> str:
    """Return a regular expression without names of groups, so that several can be joined."""
    unnamed = re.sub(r"\(\?P<\w+>", "(?:", pattern)
    without_references = re.sub(r"\(\?P=\w+\)", "[^/]+", unnamed)
    return without_references.rstrip("$")
