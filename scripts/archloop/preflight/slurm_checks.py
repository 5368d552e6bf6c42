"""What SLURM grants: accounts, quotas, partitions with their times and GPUs, requests."""

import contextlib
import re
from collections.abc import Iterator, Mapping

from archloop.cluster import slurm
from archloop.cluster.slurm import JobRequest
from archloop.cluster.waiting import FULL
from archloop.errors import InputError
from archloop.preflight.planned_run import (
    Finding,
    PlannedRun,
    error,
    ok,
    warning,
)

PROFILE = "profiles/slurm/config.yaml"
REMEDY_PARTITION = f"see sinfo -s, and set slurm_partition in {PROFILE}"
REMEDY_RUNTIME = "set its runtime under set-resources"
# How sbatch calls nodes that would take a job later.
NOT_NOW = re.compile("busy|down|drain", re.IGNORECASE)


def check_account(run: PlannedRun) -> Iterator[Finding]:
    """An account of the user's, where accounting says which there are."""
    known, silent = slurm.accounts()
    wanted = {_text(asked, "slurm_account") for asked in run.rules.values()}
    for account in sorted(wanted):
        if silent:
            unchecked = account or "it"
            text = f"accounting does not answer ({silent}), so {unchecked} is unchecked"
            yield warning("account", text)
        elif not known:
            text = "accounting knows no account of yours; sbatch decides"
            yield warning("account", text)
        elif account and account.lower() not in known:
            yours = ", ".join(known)
            text = f"{account} is none of yours ({yours}); set slurm_account in {PROFILE}"
            yield error("account", text)
        else:
            yield ok("account", account or "your default account")


def _text(asked: JobRequest, name: str) -> str:
    """Return a resource as text, empty where it is not asked for."""
    resources: Mapping[str, object] = asked
    return str(resources.get(name) or "")


def check_quotas(run: PlannedRun) -> Iterator[Finding]:
    """What account and quality of service allow.

    That is jobs in the queue, for which the others wait, and time, for which one waits for ever.
    """
    # Several rules may meet the same limit, which is told once.
    named: set[tuple[str, str]] = set()
    for rule, asked in run.rules.items():
        account, qos = _text(asked, "slurm_account"), _text(asked, "qos")
        runtime = asked.get("runtime") or 0
        for limit in slurm.accounting_limits(account, qos):
            if (limit.owner, limit.name) in named:
                continue
            finding = _over_time(limit, rule, runtime) or _over_jobs(limit, run.jobs)
            if finding:
                named.add((limit.owner, limit.name))
                yield finding


def _over_time(limit: slurm.Limit, rule: str, runtime: int) -> Finding | None:
    if limit.name != slurm.MAX_WALL or limit.value >= runtime:
        return None
    allowed = f"{limit.owner} allows {limit.value} min ({limit.name})"
    text = f"{allowed}, {rule} asks for {runtime} min and would wait for ever; {REMEDY_RUNTIME}"
    return error("limits", text, limit_min=limit.value, runtime_min=runtime)


def _over_jobs(limit: slurm.Limit, jobs: int) -> Finding | None:
    if limit.name == slurm.MAX_WALL or limit.value >= jobs:
        return None
    allowed = f"{limit.owner} allows {limit.value} jobs in the queue ({limit.name})"
    text = f"{allowed}, the profile {jobs}; the others wait for room"
    return warning("limits", text, limit=limit.value, jobs=jobs)


def check_partitions(run: PlannedRun) -> Iterator[Finding]:
    """Each partition there and up, with the time and the GPUs that are asked for."""
    # A job may name several partitions, and starts in whichever has room first.
    rules_of: dict[str, list[str]] = {}
    for rule, asked in run.rules.items():
        for name in _text(asked, "slurm_partition").split(","):
            rules_of.setdefault(name, []).append(rule)

    for name, rules in sorted(rules_of.items()):
        if not name:
            text = "none is asked for; the cluster's default is taken"
            yield warning("partition", f"{text}; {REMEDY_PARTITION}")
            continue
        try:
            partition = slurm.partition(name)
        except InputError as unknown:
            yield error("partition", f"{name}: {unknown}; {REMEDY_PARTITION}")
            continue

        yield _state(partition)
        yield _time_limit(run, partition, rules)
        for model in _gpu_models(run, rules):
            yield _gpus_of(partition, model)


def _state(partition: slurm.Partition) -> Finding:
    name = partition.name
    if partition.state != "UP":
        return error("partition", f"{name} is {partition.state}; {REMEDY_PARTITION}")

    nodes, up = partition.nodes, partition.nodes_up
    if not up:
        text = f"{name}: none of its {nodes} nodes is up; jobs would wait"
        return warning("partition", text, nodes=nodes, nodes_up=0)
    text = f"{name}: up, {up} of {nodes} nodes"
    return ok("partition", text, nodes=nodes, nodes_up=up)


def _time_limit(run: PlannedRun, partition: slurm.Partition, rules: list[str]) -> Finding:
    """Compare the longest runtime of some rules with a partition's.

    That at the first attempt, and that at the last one.
    """
    limit = partition.limit_min
    rule, runtime = _longest(run.rules, rules)
    last_rule, last_runtime = _longest(run.retried, rules)

    allowed = "any time" if limit is None else f"{limit} min"
    text = f"{partition.name} allows {allowed}, {rule} asks for {runtime} min"
    values = {"limit_min": limit, "runtime_min": runtime, "last_runtime_min": last_runtime}

    if limit is None or last_runtime <= limit:
        return ok("time", text, **values)
    if runtime > limit:
        remedy = f"{REMEDY_RUNTIME}, or take another partition"
        return error("time", f"{text}; {remedy}", **values)

    asked = f"{last_rule} asks for {last_runtime} min at its last attempt"
    text = f"{partition.name} allows {allowed}, and {asked}: it would be refused"
    return warning("time", text, **values)


def _longest(requests: Mapping[str, JobRequest], rules: list[str]) -> tuple[str, int]:
    """Return (the rule with the longest runtime, its minutes)."""
    minutes = {rule: requests[rule].get("runtime") or 0 for rule in rules}
    longest = max(rules, key=minutes.__getitem__)
    return longest, minutes[longest]


def _gpu_models(run: PlannedRun, rules: list[str]) -> list[str]:
    """Return the models of GPU that some rules ask for; an empty name is any."""
    models: set[str] = set()
    for rule in rules:
        asked = run.rules[rule]
        if asked.get("gpu"):
            models.add(_text(asked, "gpu_model"))
    return sorted(models)


def _gpus_of(partition: slurm.Partition, model: str) -> Finding:
    types = slurm.gpu_types(partition.gres)
    if not types:
        remedy = "take a partition with some, or set execution.gpus to 0"
        return error("gpu", f"{partition.name} declares no GPUs; {remedy}")
    if model and model not in types:
        others = ", ".join(filter(None, types)) or "no models"
        text = f"{partition.name} has no {model}, but {others}"
        return error("gpu", text)

    counts = []
    for name, count in types.items():
        kind = name or "GPUs"
        counts.append(f"{count} {kind}")
    text = f"{partition.name}: {', '.join(counts)} a node"
    return ok("gpu", text, gpus=sum(types.values()))


def check_requests(run: PlannedRun) -> Iterator[Finding]:
    """The very requests of the run's jobs, put to sbatch, which queues nothing."""
    for rules, asked in _distinct_requests(run).items():
        answer = slurm.would_take(asked)
        options = " ".join(slurm.sbatch_options(asked))
        if answer.ok:
            yield ok("request", f"{rules}: sbatch takes {options}")
        elif FULL.search(answer.why):
            text = "the queue holds as many jobs of yours as it may; these wait"
            yield warning("request", f"{rules}: {text}")
        elif _takes_later(answer, asked):
            yield warning("request", f"{rules}: {answer.why}; jobs would wait")
        else:
            refused = f"sbatch refuses {options} ({answer.why})"
            yield error("request", f"{rules}: {refused}")


def _distinct_requests(run: PlannedRun) -> dict[str, JobRequest]:
    """Return the distinct requests, each under the names of its rules."""
    # Requests cannot be keys, and there are few.
    groups: list[tuple[list[str], JobRequest]] = []
    for rule, asked in sorted(run.rules.items()):
        for rules, known in groups:
            if known == asked:
                rules.append(rule)
                break
        else:
            groups.append(([rule], asked))
    return {", ".join(rules): asked for rules, asked in groups}


def _takes_later(answer: slurm.Reply, asked: JobRequest) -> bool:
    """Return whether it is for the state of the nodes that sbatch refuses a request.

    While no node of the partitions is up, --test-only says that what is asked for does not exist.
    """
    if NOT_NOW.search(answer.why):
        return True
    return "not available" in answer.why.lower() and _all_down(asked)


def _all_down(asked: JobRequest) -> bool:
    names = _text(asked, "slurm_partition").split(",")
    try:
        partitions = [slurm.partition(name) for name in names if name]
    except InputError:
        return False
    return bool(partitions) and all(map(_is_down, partitions))


def _is_down(partition: slurm.Partition) -> bool:
    # UP is what its administrator wants, nodes_up what is there.
    return partition.state == "UP" and partition.nodes > 0 and partition.nodes_up == 0


def declared_memory(run: PlannedRun) -> tuple[int | None, str]:
    """Return (bytes of the smallest GPU that a fine-tuning may get, how that is known).

    It is told by the names that SLURM has for GPUs; None where one of them says nothing.
    """
    asked: JobRequest = run.finetuning_request() or {}
    models: list[str] = []
    if asked.get("gpu_model"):
        models = [asked["gpu_model"]]
    elif run.slurm and asked.get("slurm_partition"):
        partitions = str(asked["slurm_partition"]).split(",")
        with contextlib.suppress(InputError):
            models = _models_in(partitions)

    sizes = []
    for model in models:
        size = slurm.gpu_bytes(model)
        if size is None:  # it could be the smallest
            return None, ""
        sizes.append(size)
    if not sizes:
        return None, ""

    names = ", ".join(models)
    return min(sizes), f"{names} by its name"


def _models_in(partitions: list[str]) -> list[str]:
    """Return the models of GPU in some partitions.

    Raises InputError where there is none of a name.
    """
    models: list[str] = []
    for name in partitions:
        models += slurm.gpu_types(slurm.partition(name).gres)
    return models
