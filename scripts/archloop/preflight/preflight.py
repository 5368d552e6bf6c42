"""Looks at everything a run stands on before anything is queued: model, data, room, SLURM, a node.

Each check is a function that yields findings, one line each: `ok`, `warning` (the run may go on),
or `error` (it cannot end well), and how to fix it. Nothing heavy is imported: on one machine it
takes a second or two.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from archloop.errors import InputError
from archloop.preflight import model_checks, node_checks, slurm_checks, storage_checks
from archloop.preflight.node_report import NodeReport
from archloop.preflight.planned_run import Finding, PlannedRun, error

Check = Callable[[PlannedRun], Iterable[Finding]]
NodeCheck = Callable[[PlannedRun, NodeReport], Iterable[Finding]]

# What a finding is called that ends a check -> the check, in an order that a person reads.
CHECKS: dict[str, Check] = {
    "python": node_checks.check_packages,
    "model": model_checks.check_model_files,
    "limits": model_checks.check_limits,
    "tokenizer": model_checks.check_tokenizer,
    "data": storage_checks.check_datasets,
    "results": storage_checks.check_room,
    "plan": storage_checks.check_plan,
}
CLUSTER_CHECKS: dict[str, Check] = {
    "account": slurm_checks.check_account,
    "quotas": slurm_checks.check_quotas,
    "partition": slurm_checks.check_partitions,
    "request": slurm_checks.check_requests,
}
NODE_CHECKS: dict[str, NodeCheck] = {
    "isolation": node_checks.check_isolation,
    "site": node_checks.check_site,
    "versions": node_checks.check_versions,
    "device": node_checks.check_gpu,
    "judge": node_checks.check_trial,
    "network": node_checks.check_network,
}


def preflight(run: PlannedRun) -> Iterator[Finding]:
    """Yield the findings of all checks as they come: what is there, the cluster, a node."""
    for name, check in CHECKS.items():
        yield from guarded(name, partial(check, run))
    if run.slurm:
        for name, check in CLUSTER_CHECKS.items():
            yield from guarded(name, partial(check, run))

    node: NodeReport | None = None
    seen = False

    # As a check of its own, so that a mistake in it ends with a finding.
    def look() -> list[Finding]:
        nonlocal node, seen
        node, seen, findings = node_checks.look_at_node(run)
        return findings

    yield from guarded("node", look)
    if node is not None:
        for name, node_check in NODE_CHECKS.items():
            yield from guarded(name, partial(node_check, run, node))
        if run.slurm:
            yield from guarded("folders", partial(node_checks.check_folders, run, node, seen))
    yield from guarded("memory", partial(model_checks.check_memory, run, node))


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return a check's findings.

    A user's mistake, or a file that cannot be read, ends it with an error of its own.
    """
    findings: list[Finding] = []
    try:
        for finding in check():
            findings.append(finding)
    except InputError as mistake:
        findings.append(error(name, str(mistake)))
    except OSError as failed:
        findings.append(error(name, f"{failed.filename}: {failed.strerror}"))
    return findings
