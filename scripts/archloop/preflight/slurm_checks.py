"""The checks that a cluster wants: account, partition, time, GPUs, the requests themselves, a tiny job on a node."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from archloop.cluster import slurm
from archloop.cluster.waiting import FULL
from archloop.errors import InputError
from archloop.preflight import node_probe
from archloop.preflight.planned_run import ERROR, GB, OK, WARNING, Finding, Run, temporary_bytes
from archloop.progress import get_logger

# A node's answer may take a while to show on a network file system.
PATIENCE_S = 30


def check_account(run: Run) -> Iterator[Finding]:
    wanted = sorted({str(asked.get("slurm_account") or "") for asked in run.rules.values()})
    known, silent = slurm.accounts()
    for account in wanted:
        if silent:
            yield Finding(
                WARNING,
                "account",
                f"accounting does not answer ({silent}), so {account or 'it'} is unchecked",
            )
        elif not known:
            yield Finding(
                WARNING, "account", "accounting knows no account of yours; sbatch decides"
            )
        elif account and account.lower() not in known:
            mend = "set slurm_account in profiles/slurm/config.yaml"
            yield Finding(
                ERROR, "account", f"{account} is none of yours ({', '.join(known)}); {mend}"
            )
        else:
            yield Finding(OK, "account", account or "your default account")


def check_quotas(run: Run) -> Iterator[Finding]:
    """What account and quality of service allow: jobs in the queue, which are waited for, and time, which is not."""
    seen = set()
    for name, asked in run.rules.items():
        whose = (str(asked.get("slurm_account") or ""), str(asked.get("qos") or ""))
        for owner, limit, value in slurm.limits(*whose):
            if (owner, limit) in seen:
                continue
            if limit == "MaxWall" and value < (asked.get("runtime") or 0):
                text = f"{owner} allows {value} min ({limit}), {name} asks for {asked['runtime']} min and would wait"
                yield Finding(
                    ERROR, "limits", f"{text} for ever; set its runtime under set-resources"
                )
            elif limit != "MaxWall" and value < run.jobs:
                text = f"{owner} allows {value} jobs in the queue ({limit}), the profile {run.jobs}"
                yield Finding(WARNING, "limits", f"{text}; the others wait for room")
            else:
                continue
            seen.add((owner, limit))


def check_partitions(run: Run) -> Iterator[Finding]:
    """Each partition there, up, long enough for the longest request, and with the GPUs that are asked for."""
    asked_of: dict[str, list[str]] = {}
    for name, asked in run.rules.items():
        for part in str(asked.get("slurm_partition") or "").split(","):
            asked_of.setdefault(part, []).append(name)
    mend = "see sinfo -s, and set slurm_partition in profiles/slurm/config.yaml"
    for name, rules in sorted(asked_of.items()):
        if not name:
            yield Finding(
                WARNING, "partition", f"none is asked for; the cluster's default is taken; {mend}"
            )
            continue
        try:
            found = slurm.partition(name)
        except InputError as error:
            yield Finding(ERROR, "partition", f"{name}: {error}; {mend}")
            continue
        if found.state != "UP":
            yield Finding(ERROR, "partition", f"{name} is {found.state}; {mend}")
        elif not found.nodes_up:
            yield Finding(
                WARNING,
                "partition",
                f"{name}: none of its {found.nodes} nodes is up; jobs would wait",
            )
        else:
            yield Finding(OK, "partition", f"{name}: up, {found.nodes_up} of {found.nodes} nodes")
        yield _time_limit(run, found, rules)
        wanted = {
            str(run.rules[rule].get("gpu_model") or "")
            for rule in rules
            if run.rules[rule].get("gpu")
        }
        for model in sorted(wanted):
            yield _gpus_of(found, model)


def _time_limit(run: Run, found: slurm.Partition, rules: list[str]) -> Finding:
    limit = found.limit_min
    longest, last = (
        {rule: which[rule].get("runtime") or 0 for rule in rules}
        for which in (run.rules, run.retried)
    )
    rule = max(longest, key=longest.get)
    text = f"{found.name} allows {'any time' if limit is None else f'{limit} min'}, {rule} asks for {longest[rule]} min"
    if limit is None or max(last.values()) <= limit:
        return Finding(OK, "time", text)
    if longest[rule] > limit:
        return Finding(
            ERROR, "time", f"{text}; set its runtime under set-resources, or take another partition"
        )
    rule = max(last, key=last.get)
    text = (
        f"{found.name} allows {limit} min, and {rule} asks for {last[rule]} min at its last attempt"
    )
    return Finding(WARNING, "time", f"{text}: it would be refused")


def _gpus_of(found: slurm.Partition, model: str) -> Finding:
    types = slurm.gpu_types(found.gres)
    if not types:
        return Finding(
            ERROR,
            "gpu",
            f"{found.name} declares no GPUs; take a partition with some, or set execution.gpus to 0",
        )
    if model and model not in types:
        return Finding(
            ERROR,
            "gpu",
            f"{found.name} has no {model}, but {', '.join(filter(None, types)) or 'no models'}",
        )
    listed = ", ".join(f"{count} {name or 'GPUs'}" for name, count in types.items())
    return Finding(OK, "gpu", f"{found.name}: {listed} a node")


def check_requests(run: Run) -> Iterator[Finding]:
    """The very requests of the run's jobs, put to sbatch, which queues nothing."""
    for names, asked in run.requests().items():
        answer = slurm.would_take(asked)
        why = answer.why.lower()
        options = " ".join(slurm.sbatch_options(asked))
        if answer.ok:
            yield Finding(OK, "request", f"{names}: sbatch takes {options}")
        elif FULL.search(answer.why):
            yield Finding(
                WARNING,
                "request",
                f"{names}: the queue holds as many jobs of yours as it may; these wait",
            )
        elif any(word in why for word in ("busy", "down", "drain")) or (
            "not available" in why and _all_down(asked)
        ):
            yield Finding(WARNING, "request", f"{names}: {answer.why}; jobs would wait")
        else:
            yield Finding(ERROR, "request", f"{names}: sbatch refuses {options} ({answer.why})")


def _all_down(asked: dict) -> bool:
    """Whether no node of the partitions is up: then --test-only says that what is asked for does not exist."""
    names = [name for name in str(asked.get("slurm_partition") or "").split(",") if name]
    with contextlib.suppress(InputError):
        found = [slurm.partition(name) for name in names]
        return bool(found) and all(
            part.state == "UP" and part.nodes and not part.nodes_up for part in found
        )
    return False


def look_at_node(run: Run) -> tuple[dict | None, list[Finding]]:
    """Return (the facts of a node that jobs run on, findings). On one machine that is this one."""
    run.results.mkdir(parents=True, exist_ok=True)
    shared = Path(tempfile.mkdtemp(dir=run.results, prefix=".preflight-"))
    try:
        isolation = run.settings["execution"]["isolation"]
        trial = {
            name: run.settings["execution"][name]
            for name in ("device", "isolation", "driver_calls")
        }
        trial["always"] = run.slurm
        (shared / node_probe.FROM_HEAD).write_text(
            json.dumps(trial | {"evaluation": run.settings["evaluation"]})
        )
        if not run.slurm:
            return node_probe.probe(shared, isolation), []
        wait_min = run.settings["execution"]["preflight_wait_min"]
        if not wait_min:
            return None, [
                Finding(
                    WARNING, "node", "no node was looked at, for execution.preflight_wait_min is 0"
                )
            ]
        asked = run.rules.get("finetune_seed") or next(iter(run.rules.values()), {})
        command = slurm.probe_command(str(shared.resolve()), isolation)
        say = get_logger("preflight").info
        say(
            "asking SLURM for a node like the jobs', for up to %d min (execution.preflight_wait_min)",
            wait_min,
        )
        answer = slurm.run_on_node(asked, command, 60 * wait_min, 60 + node_probe.TRIAL_S, say)
        lines = [line for line in answer.text.splitlines() if line.startswith(node_probe.MARK)]
        if not lines:
            status = WARNING if "queue gave" in answer.why or FULL.search(answer.why) else ERROR
            return None, [
                Finding(status, "node", f"no word from a node: {answer.why or 'srun said nothing'}")
            ]
        facts = json.loads(lines[-1].removeprefix(node_probe.MARK))
        return facts | {"head_sees": _appears(shared / node_probe.FROM_NODE)}, []
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not path.is_file() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            list(path.parent.iterdir())  # NFS looks again
        time.sleep(0.5)
    return path.is_file()


def check_node(run: Run, facts: dict) -> Iterator[Finding]:
    """What a node sees of the run's folder, and its own room for temporary files."""
    for trouble in facts["trouble"]:
        yield Finding(ERROR, "folders", f"{facts['node']} cannot write to {trouble}")
    if not (facts["sees_head"] and facts["head_sees"]):
        where = run.results.resolve()
        yield Finding(
            ERROR,
            "folders",
            f"{where} is not the same on {facts['node']}; run from a shared file system",
        )
    elif not facts["trouble"]:
        yield Finding(OK, "folders", f"{facts['node']} reads and writes {run.results}/")
    needed, free = temporary_bytes(run), facts["free_tmp"]
    text = f"{facts['tmp']} on {facts['node']}: {(free or 0) / GB:.1f} GB free, a job wants about {needed / GB:.2f} GB"
    enough = free is None or free > needed
    yield Finding(
        OK if enough else ERROR,
        "temporary",
        text + ("" if enough else "; point TMPDIR to a larger folder"),
    )


def declared_memory(run: Run) -> tuple[int | None, str]:
    """Return the memory of the smallest GPU that a fine-tuning may get, by the names that SLURM has for them."""
    asked = run.on_gpu() or {}
    models = [asked["gpu_model"]] if asked.get("gpu_model") else []
    if not models and run.slurm and asked.get("slurm_partition"):
        with contextlib.suppress(InputError):
            names = str(asked["slurm_partition"]).split(",")
            models = [
                model for name in names for model in slurm.gpu_types(slurm.partition(name).gres)
            ]
    sizes = [slurm.gpu_bytes(model) for model in models]
    known = bool(sizes) and None not in sizes
    return (min(sizes), f"{', '.join(models)} by its name") if known else (None, "")
