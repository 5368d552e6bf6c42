"""Check a results folder against its provenance: digests, lineage to the seeds, counts, scores.

What it finds is one line each: `missing` (a file or its provenance), `altered` (other bytes than
were written), `stale` (made from other inputs, settings or code than are there now), `broken`
(cannot be read) and `wrong` (numbers that do not add up).
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json, write_json
from archloop.layout import (
    CANDIDATES,
    PREFLIGHT_FILE,
    PROVENANCE_SUFFIX,
    REQUESTS_FILE,
    SETTINGS_FILE,
    SUMMARY,
    Cell,
    cells_with,
)
from archloop.model.prepared import MANIFEST, check_model
from archloop.monitoring import live_page
from archloop.progress import Progress
from archloop.report.parts import VERIFIED
from archloop.tools.results_folder import ResultsFolder, first_output
from archloop.tools.verify_cycles import check_cycle
from archloop.tools.verify_scores import check_scores
from archloop.tools.verify_settings import other_settings
from archloop.workflow.provenance import (
    WITHOUT,
    Provenance,
    locate,
    outputs_of,
    provenance_path,
)

LOOKED_AT = ("files", "jobs", "candidates", "scores")
KINDS = ("missing", "altered", "stale", "broken", "wrong")
# Files of a results folder that are no output of a job.
UNMADE = (
    SETTINGS_FILE,
    REQUESTS_FILE,
    PREFLIGHT_FILE,
    live_page.NAME,
    VERIFIED,
)


def verify(results: Path) -> tuple[list[str], Counter[str]]:
    """Return (a line for each thing that is wrong, how much was looked at and found by kind)."""
    if not results.is_dir():
        raise InputError(f"{results}: no such folder")
    folder = ResultsFolder(results)
    if not folder.jobs and not folder.findings:
        raise InputError(f"{results}: no provenance here; is it the folder of the results?")

    _check_jobs(folder)
    _check_models(folder)
    _check_unknown(folder)
    _check_finished(folder)
    for cell in cells_with(results, CANDIDATES):
        check_cycle(folder, cell)
    check_scores(folder)
    return folder.findings, folder.counts


def summary(counts: Counter[str]) -> str:
    """Return one line: how much was looked at, and how much was found of each kind."""
    looked_at = _counted(counts, LOOKED_AT)
    findings = _counted(counts, KINDS)
    return f"{looked_at}: {findings}"


def leave_note(results: Path, findings: list[str], counts: Counter[str]) -> None:
    """Leave in the folder what was found, for the next report."""
    candidates = counts["candidates"]
    note = {"said": summary(counts), "findings": len(findings), "candidates": candidates}
    write_json(results / VERIFIED, note)


def _counted(counts: Counter[str], names: Sequence[str]) -> str:
    return ", ".join([f"{counts[name]} {name}" for name in names])


def not_as_recorded(folder: ResultsFolder, path: Path, provenance: Provenance) -> str | None:
    """Return why the outputs of a job are not those of its provenance, None when they are.

    They are lost or altered, or were made from other inputs.
    """
    recorded = provenance["outputs"].values()
    for output, digest in zip(outputs_of(path, provenance), recorded):
        if folder.digest(output) != digest:
            what = "altered" if output.is_file() else "lost"
            return f"{output.name} was {what}"

    for name, digest in provenance["inputs"].items():
        if folder.input_digest(name) not in (None, digest):
            return f"made from another {name}"

    return None


def out_of_date(folder: ResultsFolder, path: Path, provenance: Provenance) -> str | None:
    """Return what has changed since a job was done, None when nothing has.

    That is an input, the code or a setting.
    """
    for name, digest in provenance["inputs"].items():
        now = folder.input_digest(name)
        if now is None and name.startswith("results/"):
            return f"{name}, which it was made from, is missing"
        if now not in (None, digest):
            return f"made from another {name}"

    if folder.code(provenance["script"]) != provenance["code"]:
        return f"the code of {provenance['script']} has changed"
    return other_settings(folder.settings, provenance, *folder.cell_of(path))


def _check_jobs(folder: ResultsFolder) -> None:
    """Check the outputs of every job, and that nothing that they hang on has changed."""
    files = sum(len(provenance["outputs"]) for provenance in folder.jobs.values())
    with Progress(files, "file", "verify") as progress:
        for path, provenance in folder.jobs.items():
            _check_outputs(folder, path, provenance)
            why = out_of_date(folder, path, provenance)
            if why:
                folder.say("stale", first_output(path), why)
            progress.step(len(provenance["outputs"]))

    folder.counts["jobs"] = len(folder.jobs)
    folder.counts["files"] = files


def _check_outputs(folder: ResultsFolder, path: Path, provenance: Provenance) -> None:
    recorded = list(provenance["outputs"].values())
    outputs = outputs_of(path, provenance, run_records=True)
    for output, digest in zip(outputs, recorded):
        now = folder.digest(output)
        if now is None:
            folder.say("missing", output, f"{path.name} tells of it")
        elif now != digest:
            folder.say("altered", output, "other bytes than were written; delete it and run again")

    # Run records, which come last, have no digest.
    for output in outputs[len(recorded) :]:
        folder.read(output, lambda run_record: read_json(run_record, "device"))


def _check_models(folder: ResultsFolder) -> None:
    """Check that every file of the models is there and as long as it was.

    Their digests are in the manifests.
    """
    manifests = set()
    for provenance in folder.jobs.values():
        for name in provenance["inputs"]:
            if Path(name).name == MANIFEST:
                manifests.add(locate(folder.results, name))

    for path in sorted(manifests):
        if path.is_file():
            folder.read(path, lambda manifest: check_model(manifest.parent))


def _check_unknown(folder: ResultsFolder) -> None:
    """Name the files that no provenance tells of."""
    known: set[Path] = set()
    for path, provenance in folder.jobs.items():
        known.update(outputs_of(path, provenance, run_records=True))
    for parent, folders, names in os.walk(folder.results):
        folders[:] = sorted(name for name in folders if name not in WITHOUT)
        for name in sorted(names):
            output = Path(parent) / name
            if output not in known and _is_of_a_job(name):
                folder.say(
                    "missing", provenance_path(output), "no provenance tells how this file was made"
                )


def _is_of_a_job(name: str) -> bool:
    """Say whether a file of this name should be some job's output."""
    return name not in UNMADE and not name.endswith(PROVENANCE_SUFFIX) and not name.startswith(".")


def _check_finished(folder: ResultsFolder) -> None:
    """Name the cycles that the run's settings want and that have no verdict."""
    if not folder.settings:
        path = folder.results / SETTINGS_FILE
        folder.say("missing", path, "the settings of the run, which a run leaves there")

    for chain, settings in folder.settings.get("chains", {}).items():
        for cycle in range(1, settings.get("cycles", 0) + 1):
            summary = Cell(chain, cycle).folder(folder.results) / SUMMARY
            if not summary.is_file():
                folder.say("missing", summary, "the run is not finished")
