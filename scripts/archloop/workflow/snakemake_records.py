"""Snakemake's records of finished jobs, .snakemake/metadata: which outputs have none, and new ones from provenance.

Without its record Snakemake takes an output for fresh whatever settings and code made it, and says nothing. So the
workflow asks at every start which outputs have none, and stops; `verify.py --record` writes them again, not from what
the settings say today but from the provenance that lies beside the outputs, so that Snakemake finds itself what has
changed since. Standard library only, but for the writing.
"""

import base64
import contextlib
import graphlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from archloop.errors import InputError
from archloop.files import parse_json, read_json, set_time_to_now
from archloop.workflow.provenance import WITHOUT, locate, outputs_of, provenances, read_provenance

FOLDER = Path(".snakemake")
PLACES = ("results", "resources/datasets")


def unrecorded(patterns: Iterable[str], records: Path = FOLDER) -> list[str]:
    """Return the results and data sets that match a pattern of an output and have no whole record, sorted.

    Those of a job that is under way or was cut have a mark of Snakemake's own, and are none of these.
    """
    wanted = re.compile("|".join(f"(?:{_without_names(pattern)})" for pattern in patterns))
    marked = {key for key, _ in outputs_in(records / "incomplete")}
    known = {key for key, path in outputs_in(records / "metadata") if _whole(path)}
    found = []
    for top in PLACES:
        for place, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not (place == "results" and name in WITHOUT)]
            paths = [os.path.join(place, name) for name in names]  # noqa: PTH118 (text, as in the patterns)
            found += [
                path
                for path in paths
                if path not in known and path not in marked and wanted.fullmatch(path)
            ]
    return sorted(found)


def stop_line(missing: list[str]) -> str:
    """Return what to tell the user of outputs without records."""
    told = {str(path) for each in provenances(*map(Path, PLACES)) for path in _told(each)}
    dark = [path for path in missing if path not in told]
    if dark:
        return (
            f"{dark[0]}: of unknown origin, for Snakemake has no record of it and no provenance lies beside it; move it"
            " away, it is made again where it is needed"
        )
    return (
        f"Snakemake's records of {len(missing)} finished outputs are lost ({missing[0]}); their provenance is there:"
        f" python {shlex.quote(os.environ.get('SCRIPTS', 'scripts'))}/verify.py results --record"
    )


def other_model(manifest: str, wanted: dict, records: Path = FOLDER) -> str | None:
    """Return what to tell the user of a prepared model that Snakemake has no record of and that is not the one wanted.

    Models are shared between folders, so their manifest decides. One of this machine (folder:, gguf:) has no name that
    would hold elsewhere.
    """
    if not Path(manifest).is_file() or any(
        key == manifest for key, _ in outputs_in(records / "metadata")
    ):
        return None
    found = read_json(manifest, "reference", "revision")
    local = str(found["reference"]).startswith(("folder:", "gguf:"))
    if local or (found["reference"], found["revision"]) == (
        wanted["reference"],
        wanted["revision"],
    ):
        return None
    return (
        f"{manifest}: this is {found['reference']} (revision {found['revision']}), not what model.reference names;"
        " delete it, or give the model another name"
    )


def record(
    results: Path, fresh: Callable[[Path, dict], str | None], records: Path = FOLDER
) -> tuple[int, list[str]]:
    """Write the records that are missing; return (how many, a line for each job that Snakemake will make again).

    fresh: tells of (path of a provenance, the provenance) why its outputs are no longer what it says, or None. Such a
    job gets a record that differs from any plan. The others' outputs get new times, what is read before what is made
    of it, for a copy has lost the order of theirs. Run it from the folder that Snakemake runs in.
    """
    from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
    from snakemake.persistence.file import FilePersistence

    persistence = FilePersistence(nolock=True, path=records)
    known = {key for key, path in outputs_in(records / "metadata") if _whole(path)}
    now, count, stale = time.time(), 0, []
    for path in _inputs_first(results, [*provenances(results, results.parent / "resources")]):
        try:
            found = read_provenance(path)
        except InputError as error:
            stale.append(str(error))
            continue
        outputs = [each for each in outputs_of(path, found, run_records=True) if each.is_file()]
        # Of an export Snakemake knows the index alone: how many designs there are is no part of its plan.
        declared = outputs[:1] if found["script"] == "export" else outputs
        why = fresh(path, found)
        if why:
            stale.append(f"{path}: {why}")
        for output in outputs:
            if not why:
                set_time_to_now(output)
            if output not in declared or os.fspath(output) in known:
                continue
            checksums = {
                str(locate(results, name)): f"sha256:{digest}"
                for name, digest in found["inputs"].items()
            }
            entry = MetadataRecord(
                rule=_rule(found["script"], path.relative_to(results.parent)),
                input=sorted([*checksums, *found["waited_for"]]),
                params=[f"not as recorded: {why}"]
                if why
                else sorted(map(repr, found["params"] or ["made by hand"])),
                record_format_version=RECORD_FORMAT_VERSION,
                starttime=now,
                endtime=now,
                incomplete=False,
                input_checksums=checksums,
            )
            persistence._write_record(os.fspath(output), entry)
            count += 1
    # The preflight has no record, so its time decides; benchmarks count as outputs where times are compared.
    for path in [*results.glob("preflight.json"), *(results.parent / "logs").rglob("*.tsv")]:
        set_time_to_now(path)
    return count, stale


def _inputs_first(results: Path, paths: list[Path]) -> Iterable[Path]:
    """Return provenance files in such an order that what a job reads comes before what it made."""
    found, makers = {}, {}
    for path in paths:
        with contextlib.suppress(InputError):  # a broken one is named when its turn comes
            found[path] = read_provenance(path)
            makers |= dict.fromkeys(outputs_of(path, found[path], run_records=True), path)
    before = {path: [] for path in paths}
    for path, told in found.items():
        places = (Path(os.path.normpath(locate(results, name))) for name in told["inputs"])
        before[path] = [makers[place] for place in places if makers.get(place, path) != path]
    return graphlib.TopologicalSorter(before).static_order()


def _rule(script: str, path: Path) -> str:
    """Return the rule that made an output: that of its script, in cycle 0 of its own name."""
    return (
        f"{script}_seed"
        if path.parts[1] == "seed" and script in ("evaluate", "finetune")
        else script
    )


def _told(path: Path) -> list[Path]:
    try:
        return outputs_of(path, read_provenance(path), run_records=True)
    except InputError:
        return []


def outputs_in(folder: Path) -> Iterable[tuple[str, str]]:
    """Yield (output, path of its record) of one of Snakemake's folders.

    Names are in base64, cut into folders that begin with @ where they are long.
    """
    for place, _, names in os.walk(folder):
        parts = Path(place).relative_to(folder).parts
        for name in names:
            try:
                key = base64.urlsafe_b64decode(
                    "".join([*(part[1:] for part in parts), name])
                ).decode()
            except ValueError:
                continue
            yield key, os.path.join(place, name)  # noqa: PTH118


def _whole(path: str) -> bool:
    """Tell whether a record was written to its end: Snakemake counts a torn one as none."""
    try:
        return bool(parse_json(Path(path).read_bytes()))
    except ValueError:
        return False


def _without_names(pattern: str) -> str:
    """Return a regular expression without the names of its groups, so that several can be joined."""
    return re.sub(r"\(\?P=\w+\)", r"[^/]+", re.sub(r"\(\?P<\w+>", "(?:", pattern)).rstrip("$")
