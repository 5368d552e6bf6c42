"""Looks at everything a run stands on before anything is queued: model, data, memory, room, SLURM, and a node.

Each check is a function that returns findings, one line each: `ok`, `warning` (the run may go on), or `error` (it
cannot end well), and how to mend it. Nothing heavy is imported: on one machine it takes a second or two.
"""

import importlib.util
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from archloop import site_limits
from archloop.errors import InputError
from archloop.model.memory import (
    BYTES,
    SHAPE,
    adapter_parameters,
    cache_bytes,
    check_projections,
    context_length,
    loaded_bytes,
    read_header,
    sees_part,
    text_config,
    training_bytes,
    weight_shapes,
)
from archloop.model.prepared import check_model
from archloop.monitoring.status import durations, plan
from archloop.preflight import node_probe
from archloop.preflight import slurm_checks as slurm
from archloop.preflight.planned_run import ERROR, GB, OK, WARNING, Finding, Run, temporary_bytes
from archloop.preflight.prompt_checks import prompt_counter
from archloop.sandbox import isolation
from archloop.sandbox.messages import bounds
from archloop.sandbox.readable_files import check_hidden
from archloop.settings.chains import MODEL, cycles_of, effective, trains
from archloop.settings.sections import Finetuning, Loading

# What one candidate leaves in results/, in bytes: prompt, answer, record and row of the corpus, with room to spare.
CANDIDATE_BYTES = 60_000
# The files that a job leaves: outputs, provenance, log, benchmark, and a record of Snakemake's for each output.
FILES = {
    "write_prompts": 5,
    "generate": 7,
    "draw_families": 7,
    "transfer": 7,
    "evaluate": 7,
    "admit": 7,
}
FILES |= {
    "finetune": 11,
    "summarize": 5,
    "export": 5,
    "report": 120,
    "write_seed_programs": 9,
    "build_seed_corpus": 7,
}
QUEUED = ("generate", "evaluate", "finetune")
# Seconds from the start of a job at SLURM to that of its script, on an idle node and on a slow file system.
START_S = (6, 20)
# A job of fewer seconds than this is not worth a submission of its own.
SHORT_S = 120


def preflight(run: Run) -> Iterator[Finding]:
    """Yield the findings of all checks as they come, in an order that a person reads: what is there, cluster, node."""
    checks = {"python": check_packages, "model": check_model_files, "limits": check_limits}
    checks |= {
        "tokenizer": check_tokenizer,
        "data": check_datasets,
        "results": check_room,
        "plan": check_plan,
    }
    if run.slurm:
        checks |= {"account": slurm.check_account, "quotas": slurm.check_quotas}
        checks |= {"partition": slurm.check_partitions, "request": slurm.check_requests}
    for name, check in checks.items():
        yield from guarded(name, partial(check, run))
    facts: dict | None = None

    def look() -> Iterator[Finding]:
        nonlocal facts
        facts, found = slurm.look_at_node(run)
        yield from found

    yield from guarded("node", look)
    on_node = {
        "isolation": check_isolation,
        "site": check_site,
        "versions": check_versions,
        "device": check_gpu,
        "judge": check_trial,
        "network": check_network,
    }
    on_node |= {"folders": slurm.check_node} if run.slurm else {}
    for name, check in on_node.items() if facts else ():
        yield from guarded(name, partial(check, run, facts))
    yield from guarded("memory", partial(check_memory, run, facts))


def check_packages(run: Run) -> Iterator[Finding]:
    """Packages that come from a folder in PYTHONPATH: a module system's, or another project's."""
    folders = [
        Path(name).resolve() for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name
    ]
    for name in node_probe.PACKAGES:
        found = importlib.util.find_spec(name)
        place = Path(found.origin).resolve() if found and found.origin else None
        if place and any(place.is_relative_to(folder) for folder in folders):
            what = f"{name} is taken from {place.parent}, which PYTHONPATH names, not from {sys.prefix}"
            yield Finding(WARNING, "python", f"{what}; unset PYTHONPATH where that is not meant")


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return a check's findings; a user's mistake, or a file that cannot be read, ends it with an error of its own."""
    findings: list[Finding] = []
    try:
        for finding in check():
            findings.append(finding)
    except InputError as error:
        findings.append(Finding(ERROR, name, str(error)))
    except OSError as error:
        findings.append(Finding(ERROR, name, f"{error.filename}: {error.strerror}"))
    return findings


def check_model_files(run: Run) -> Iterator[Finding]:
    prepared = check_model(run.model)
    shapes = weight_shapes(run.model)
    size = sum(file.bytes for file in prepared.files.values())
    yield Finding(
        OK, "model", f"{run.model}: {len(shapes)} tensors, {size / GB:.2f} GB, every file whole"
    )


def check_limits(run: Run) -> Iterator[Finding]:
    """Texts that the model's context holds, a cache that holds an answer, projections that the model has."""
    context, shapes = context_length(run.model), weight_shapes(run.model)
    written = [
        name for name, chain in run.settings["chains"].items() if chain.get("source") == MODEL
    ]
    places = [(name, cycle) for name in written for cycle in cycles_of(run.settings, name)]
    count, shape = prompt_counter(run), text_config(run.model)
    number, room = (
        BYTES.get(run.settings["loading"]["dtype"], 2),
        run.settings["execution"]["cache_mb"],
    )
    one = cache_bytes(shape, number) / 2**20 if all(map(shape.get, SHAPE[:3])) else 0
    asked = {
        place: (count(*place), effective(run.settings, "generation", *place)) for place in places
    }
    if asked:
        (chain, _), (prompt, own) = max(
            asked.items(), key=lambda item: item[1][0] + item[1][1]["max_new_tokens"]
        )
        answer, tokens = own["max_new_tokens"], prompt + own["max_new_tokens"]
        what = (
            f"generation.max_new_tokens: {answer} after a prompt of {prompt} tokens (chain {chain})"
        )
        if tokens > context:
            yield Finding(ERROR, "limits", f"{what}; the model's context is {context} tokens")
        else:
            yield Finding(OK, "limits", f"{what}, in a context of {context}")
        if one * tokens > room:
            text = f"execution.cache_mb: {room} MB hold no answer; one of {tokens} tokens takes {one * tokens:.0f} MB"
            yield Finding(ERROR, "limits", text)
    if sees_part(shape) and any(own["line_retries"] for _, own in asked.values()):
        text = "generation.line_retries: the model attends to a window of the text, in which dropped lines would count"
        yield Finding(ERROR, "limits", f"{text}; set it to 0")
    for settings in finetunings(run.settings):
        check_projections(shapes, settings)
        if settings.max_pair_tokens > context:
            yield Finding(
                WARNING,
                "limits",
                f"finetuning.max_pair_tokens: {settings.max_pair_tokens}; pairs beyond the model's context"
                f" of {context} tokens are left out",
            )
            break


def check_tokenizer(run: Run) -> Iterator[Finding]:
    path = run.model / "tokenizer.json"
    if not path.is_file():
        yield Finding(
            WARNING,
            "tokenizer",
            f"{path}: none; the model's other tokenizer files are used, and not tried",
        )
        return
    from tokenizers import Tokenizer

    try:
        words = Tokenizer.from_file(str(path)).get_vocab_size()
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"{path}: no tokenizer ({error}); delete the model's manifest.json and run again"
        ) from None
    yield Finding(OK, "tokenizer", f"{words} tokens")


def check_datasets(run: Run) -> Iterator[Finding]:
    # Where a data set comes from, its labels lie, too.
    for source in filter(None, (run.settings["data"][key] for key in ("root", "folder"))):
        check_hidden(run.results.parent / source)
    for name in run.datasets():
        path = run.dataset(name)
        if name in run.pending and not path.is_file():
            yield Finding(OK, "data", f"{name}: this run prepares it first")
            continue
        head = read_header(path)
        try:
            facts = json.loads(head.metadata["facts"])
            images = ", ".join(
                f"{facts['images'][split]} {split}" for split in ("train", "validation", "test")
            )
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: no facts of a data set; delete it and run again") from None
        yield Finding(OK, "data", f"{name}: {images} images")
        yield from (Finding(WARNING, "data", f"{name}: {note}") for note in facts.get("notes", ()))


def check_room(run: Run) -> Iterator[Finding]:
    """Room for what the run writes, by its settings, and a megabyte really written, for quotas that statvfs hides."""
    needed = results_bytes(run)
    yield _room("results", run.results, needed, "the run writes")
    if not run.slurm:
        yield _room(
            "temporary",
            Path(tempfile.gettempdir()),
            temporary_bytes(run),
            "a job of the judge wants",
        )


def _room(name: str, folder: Path, needed: int, who: str) -> Finding:
    folder.mkdir(parents=True, exist_ok=True)
    free = node_probe.free_space(folder)
    try:
        node_probe.try_writing(folder)
    except OSError as error:
        return Finding(
            ERROR,
            name,
            f"{folder}: {error.strerror}; make room, or move it to a place that is yours",
        )
    text = f"{folder}: {free / GB:.1f} GB free, {who} about {needed / GB:.2f} GB (estimate)"
    return (
        Finding(OK, name, text)
        if free > needed
        else Finding(ERROR, name, f"{text}; make room or move it elsewhere")
    )


def check_plan(run: Run) -> Iterator[Finding]:
    """How much is left to do, in jobs and files: what quotas and schedulers count."""
    left = [job for job in plan(run.results, run.settings) if not job.path.is_file()]
    files = sum(FILES.get(job.stage, FILES["evaluate"]) for job in left)
    text = f"{len(left)} jobs left, about {files:,} files in results/, logs/ and .snakemake/"
    if run.slurm:
        queued = sum(job.stage in QUEUED for job in left)
        hours = "{:.0f} to {:.0f} h".format(*(queued * seconds / 3600 for seconds in START_S))
        text += f"; {queued} of them at SLURM, which hold their places for {hours} in all while Snakemake starts"
    yield Finding(OK, "plan", text)
    seconds = durations(run.results.parent / "logs")
    for stage in ("generate", "evaluate") if run.slurm else ():
        if 0 < seconds.get(("", stage), 0) < SHORT_S:
            text = f"{stage} took {seconds['', stage]:.0f} s a job so far; with fewer cycle.shards a run holds its"
            yield Finding(WARNING, "plan", f"{text} GPUs for less of Snakemake's own start")


def results_bytes(run: Run) -> int:
    """Return an estimate of what is still to be written: adapters (32 bits a weight), checkpoints and candidates."""
    shapes = weight_shapes(run.model)
    total = 0
    for name in run.settings["chains"]:
        largest = 0
        for cycle in cycles_of(run.settings, name):
            settings = Finetuning(**effective(run.settings, "finetuning", name, cycle))
            adapter = 4 * adapter_parameters(shapes, settings)
            folder = run.results / (f"{name}/cycle-{cycle}" if cycle else name)
            if not (folder / "adapter" / "adapter_model.safetensors").is_file():
                largest = max(largest, adapter)
                total += (
                    adapter
                    + CANDIDATE_BYTES * effective(run.settings, "cycle", name, cycle)["candidates"]
                )
        total += (
            3 * largest
        )  # a checkpoint has the weights and the optimiser's two moments, one at a time
    return total


def finetunings(settings: dict) -> Iterator[Finetuning]:
    """Yield the settings of every fine-tuning of the run, as they take effect: that of cycle 0 is sft in any case."""
    for name in settings["chains"]:
        for cycle in cycles_of(settings, name):
            if trains(settings, name, cycle):
                own = Finetuning(**effective(settings, "finetuning", name, cycle))
                yield own if cycle else replace(own, method="sft")


def check_isolation(run: Run, facts: dict) -> Iterator[Finding]:
    if facts["isolation"] is None:
        yield Finding(ERROR, "isolation", facts["isolation_trouble"])
    elif facts["isolation"] == "none":
        yield Finding(
            WARNING,
            "isolation",
            f"none: on {facts['node']} generated programs run with your rights",
        )
    else:
        yield Finding(OK, "isolation", f"{facts['isolation']} on {facts['node']}")


def check_site(run: Run, facts: dict) -> Iterator[Finding]:
    """What the site lets one process have, against what a candidate of the judge is promised."""
    places = [
        (name, cycle) for name in run.settings["chains"] for cycle in cycles_of(run.settings, name)
    ]
    each = []
    for place in places:
        settings = effective(run.settings, "evaluation", *place)
        each.append(bounds(settings["timeout_s"], settings["memory_mb"], settings["threads"]))
    wanted = {resource.RLIMIT_CPU: max((promised.cpu_s for promised in each), default=0)}
    wanted |= {
        resource.RLIMIT_FSIZE: isolation.SCRATCH_MB * 2**20,
        resource.RLIMIT_NOFILE: isolation.OPEN_FILES,
    }
    wanted[resource.RLIMIT_STACK] = site_limits.STACK
    if not facts["gpus"] or run.settings["execution"]["device"] == "cpu":
        wanted[resource.RLIMIT_AS] = (
            max((promised.memory_mb for promised in each), default=0) * 2**20
        )
    for text in site_limits.shortfalls(wanted, found=facts["limits"]):
        yield Finding(ERROR, "site", f"{facts['node']}: {text}")
    yield Finding(
        OK, "site", f"{facts['node']} limits a process to: {site_limits.line(facts['limits'])}"
    )


def check_versions(run: Run, facts: dict) -> Iterator[Finding]:
    here, there = node_probe.node_versions(), facts["versions"]
    other = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    if other:
        what = ", ".join(
            f"{name} {there.get(name, 'missing')} instead of {here.get(name, 'missing')}"
            for name in other
        )
        yield Finding(
            ERROR,
            "versions",
            f"{facts['node']} has {what}; use one environment on a shared file system",
        )
    else:
        yield Finding(
            OK,
            "versions",
            f"Python {there['python']}, torch {there.get('torch', 'missing')} as on the head",
        )


def check_gpu(run: Run, facts: dict) -> Iterator[Finding]:
    """A GPU that the settings count on is there, and 4 bits have what they need."""
    device, found = run.settings["execution"]["device"], facts["gpus"]
    names = ", ".join(
        f"{gpu['name']} ({gpu['bytes'] / GB:.0f} GB)" if gpu["bytes"] else gpu["name"]
        for gpu in found
    )
    node = facts["node"]
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= len(found):
        what = f"execution.device is {device}, but {node} shows {names or 'no GPU'}; set it to auto or cpu"
        yield Finding(ERROR, "device", what)
    elif found:
        yield Finding(OK, "device", f"{names} on {node}")
        yield from check_sharing(run, facts)
    elif run.slurm and run.on_gpu():
        yield Finding(
            WARNING,
            "device",
            f"jobs ask for a GPU, but {node} shows none: they would run on its CPU",
        )
    else:
        yield Finding(OK, "device", f"no GPU on {node}: jobs run on its processors")
    if (
        run.settings["loading"]["quantization"] == "nf4"
        and found
        and "bitsandbytes" not in facts["versions"]
    ):
        yield Finding(
            ERROR,
            "quantization",
            "nf4 needs the package bitsandbytes; install it, or set it to none",
        )


def check_sharing(run: Run, facts: dict) -> Iterator[Finding]:
    """Whether several candidates may use one GPU at once, as execution.workers wants it."""
    modes = sorted({gpu["mode"] for gpu in facts["gpus"] if gpu.get("mode")})
    alone = [mode for mode in modes if mode != "Default"]
    if alone:
        text = f"compute mode {', '.join(alone)} lets one process at a time use a GPU of {facts['node']}"
        yield Finding(
            WARNING, "device", f"{text}; set execution.workers to 1, or the mode to Default"
        )
    if facts["shares_gpu"]:
        text = f"MPS serves {facts['node']}: candidates do not use it, for the walls let them connect to nobody"
        yield Finding(WARNING, "device", f"{text}; in mode EXCLUSIVE_PROCESS they find no GPU")


def check_trial(run: Run, facts: dict) -> Iterator[Finding]:
    """A seed program through the real judge on the node's device: nothing less shows that it can judge."""
    trial, node = facts["trial"], facts["node"]
    if trial is None:
        return
    if "trouble" in trial:
        mend = (
            "python scripts/gpu_walls.py there says which wall it is"
            if facts["gpus"]
            else "see docs/judge.md"
        )
        yield Finding(
            ERROR, "judge", f"{node}: no candidate can be judged ({trial['trouble']}); {mend}"
        )
    else:
        place = f"at level {trial['isolation']} on {trial['device']}"
        yield Finding(OK, "judge", f"{node} trained a seed program {place} in {trial['seconds']} s")


def check_network(run: Run, facts: dict) -> Iterator[Finding]:
    there = "a way out of the node" if facts["route"] else "no way out of the node"
    yield Finding(OK, "network", f"{facts['node']}: {there}; jobs need none")


def check_memory(run: Run, facts: dict | None) -> Iterator[Finding]:
    """The weights, and an estimate of the training, against the GPU: as the node tells, else as SLURM names it."""
    loading = run.settings["loading"]
    measured = [gpu["bytes"] for gpu in facts["gpus"] if gpu["bytes"]] if facts else []
    gpu = bool(facts and facts["gpus"]) or bool(run.slurm and run.on_gpu() and not facts)
    if run.settings["execution"]["device"] == "cpu" or not gpu:
        if loading["quantization"] == "nf4":
            why = (
                "execution.device is cpu"
                if run.settings["execution"]["device"] == "cpu"
                else "there is none"
            )
            yield Finding(
                ERROR,
                "quantization",
                f"nf4 needs a GPU, and {why}; set loading.quantization to none",
            )
        return
    memory, source = (min(measured), "measured") if measured else slurm.declared_memory(run)
    shapes = weight_shapes(run.model)
    weights = loaded_bytes(shapes, Loading(**loading), gpu=True)
    model = text_config(run.model)
    more = max(
        (training_bytes(shapes, model, settings) for settings in finetunings(run.settings)),
        default=0,
    )
    text = f"weights {weights / GB:.1f} GB, fine-tuning {more / GB:.1f} GB more (estimate)"
    if memory is None:
        yield Finding(WARNING, "memory", f"{text}; how much the GPU has is not known")
        return
    text += f", the GPU has {memory / GB:.0f} GB ({source})"
    if weights > memory:
        yield Finding(ERROR, "memory", f"{text}; take a larger GPU, or loading.quantization: nf4")
    elif weights + more > memory:
        yield Finding(
            WARNING,
            "memory",
            f"{text}; set finetuning.gradient_checkpointing, or a smaller max_pair_tokens",
        )
    else:
        yield Finding(OK, "memory", text)
