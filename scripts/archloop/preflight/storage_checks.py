"""Data sets, room on the disk, and how many jobs and files are left to make."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from archloop.data.dataset_file import SPLITS, read_metadata
from archloop.layout import ADAPTER
from archloop.model.memory import adapter_parameters, weight_shapes
from archloop.monitoring.status import durations
from archloop.preflight import node_probe
from archloop.preflight.planned_run import (
    Finding,
    PlannedRun,
    error,
    ok,
    temporary_bytes,
    warning,
)
from archloop.quantities import gigabytes
from archloop.sandbox.readable_files import check_hidden
from archloop.settings.chains import typed_section
from archloop.settings.planned_files import plan
from archloop.settings.sections import Cycle, Data, Finetuning

# What one candidate leaves in results/, in bytes: prompt, answer, record and row of the corpus,
# with room to spare.
CANDIDATE_BYTES = 60_000
# The files that a job leaves: outputs, provenance, log, benchmark, and a record of Snakemake's for
# each output.
FILES = {
    "write_prompts": 5,
    "generate": 7,
    "draw_families": 7,
    "transfer": 7,
    "evaluate": 7,
    "admit": 7,
    "finetune": 11,
    "summarize": 5,
    "export": 5,
    "report": 120,
    "write_seed_programs": 9,
    "build_seed_corpus": 7,
}
QUEUED = ("generate", "evaluate", "finetune")
# Seconds from the start of a job at SLURM to that of its script: on an idle node, and on a slow
# file system.
START_S = (6, 20)
# A job of fewer seconds than this is not worth a submission of its own.
SHORT_S = 120


def check_datasets(run: PlannedRun) -> Iterator[Finding]:
    """Every data set prepared and whole, or to be prepared by the run."""
    # Where a data set comes from, its labels lie, too.
    data = Data(**run.settings["data"])
    for source in (data.root, data.folder):
        if source:
            check_hidden(run.results.parent / source)

    for name in run.datasets():
        path = run.dataset(name)
        if name in run.pending and not path.is_file():
            yield ok("data", f"{name}: this run prepares it first", dataset=name)
        else:
            yield from _prepared(name, path)


def _prepared(name: str, path: Path) -> Iterator[Finding]:
    metadata = read_metadata(path)
    images = metadata.images
    counts = ", ".join(f"{images[split]} {split}" for split in SPLITS)
    yield ok(
        "data",
        f"{name}: {counts} images",
        dataset=name,
        train_images=images["train"],
        validation_images=images["validation"],
        test_images=images["test"],
    )
    for note in metadata.notes:
        yield warning("data", f"{name}: {note}", dataset=name)


def check_room(run: PlannedRun) -> Iterator[Finding]:
    """Room for what the run writes, and a megabyte written: file systems hide quotas."""
    yield _room("results", run.results, results_bytes(run), "the run writes")
    if not run.slurm:
        temporary = Path(tempfile.gettempdir())
        yield _room("temporary", temporary, temporary_bytes(run), "a job of the judge wants")


def _room(name: str, folder: Path, needed: int, who: str) -> Finding:
    folder.mkdir(parents=True, exist_ok=True)
    free = node_probe.free_space(folder)

    # The file system may have room that a quota does not give this user.
    try:
        node_probe.try_writing(folder)
    except OSError as failed:
        remedy = "make room, or move it to a place that is yours"
        return error(name, f"{folder}: {failed.strerror}; {remedy}")

    values = {"free_bytes": free, "needed_bytes": needed}
    wanted = f"{who} about {gigabytes(needed, 2)} (estimate)"
    if free is None:
        return warning(name, f"{folder}: how much is free is not known, {wanted}", **values)

    text = f"{folder}: {gigabytes(free)} free, {wanted}"
    if free > needed:
        return ok(name, text, **values)
    return error(name, f"{text}; make room or move it elsewhere", **values)


def results_bytes(run: PlannedRun) -> int:
    """Return an estimate of what is still to be written, in bytes.

    Adapters take 32 bits a weight. A checkpoint, of which a chain has one at a time, has the
    weights and the optimiser's two moments.
    """
    shapes = weight_shapes(run.model)
    total = 0
    largest: dict[str, int] = {}  # adapter that is still to be trained, by chain
    for cell in run.cells():
        if (cell.folder(run.results) / ADAPTER).is_file():
            continue

        chain, cycle = cell
        finetuning = typed_section(run.settings, Finetuning, chain, cycle)
        adapter = 4 * adapter_parameters(shapes, finetuning)
        candidates = typed_section(run.settings, Cycle, chain, cycle).candidates
        total += adapter + CANDIDATE_BYTES * candidates

        # Its checkpoints go once it is whole, so only the largest counts.
        largest[chain] = max(largest.get(chain, 0), adapter)
    return total + 3 * sum(largest.values())


def check_plan(run: PlannedRun) -> Iterator[Finding]:
    """How much is left to do, in jobs and files: what quotas and schedulers count."""
    planned = plan(run.results, run.settings)
    left = [job for job in planned if not job.path.is_file()]
    files = sum(FILES.get(job.stage, FILES["evaluate"]) for job in left)
    values = {"jobs": len(left), "files": files}
    text = f"{len(left)} jobs left, about {files:,} files in results/, logs/ and .snakemake/"

    if run.slurm:
        queued = sum(job.stage in QUEUED for job in left)
        values["queued_jobs"] = queued
        least, most = (queued * seconds / 3600 for seconds in START_S)
        hours = f"{least:.0f} to {most:.0f} h"
        text += (
            f"; {queued} of them at SLURM, which hold their places for {hours}"
            " in all while Snakemake starts"
        )

    yield ok("plan", text, **values)
    if run.slurm:
        yield from _short_jobs(run)


def _short_jobs(run: PlannedRun) -> Iterator[Finding]:
    seconds = durations(run.results.parent / "logs")
    for stage in ("generate", "evaluate"):
        mean_s = seconds.get(("", stage), 0)
        if 0 < mean_s < SHORT_S:
            yield warning(
                "plan",
                f"{stage} took {mean_s:.0f} s a job so far; with fewer cycle.shards a run"
                " holds its GPUs for less of Snakemake's own start",
                seconds=round(mean_s),
            )
