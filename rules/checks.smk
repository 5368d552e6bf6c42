# When the preflight runs, and what of: the rule itself is in preflight.smk.
import contextlib
import glob

PREFLIGHT = f"results/{layout.PREFLIGHT_FILE}"
QUEUED = ["generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed"]
CHECK = f'python "$SCRIPTS/preflight.py" --results results --output {PREFLIGHT}'

# A preflight that has to run would hide from Snakemake what has changed behind it, for what it
# makes is ancient to them. So the rule is there for the first start alone; at later ones
# check_again() is. Where there are results, there is a file.
STARTED = glob.glob(f"{SEED}/{layout.evaluated('*')}") or glob.glob(
    in_cell(("*", 1), layout.generated("*"))
)
if workflow.is_main_process and STARTED and not os.path.exists(PREFLIGHT):
    with contextlib.suppress(OSError):  # where nothing can be written, no job is started either
        write_json(PREFLIGHT, {"checks": [], "executor": None, "passed": False})


def requests():
    """What queued rules ask for, at the first and the last attempt, with the profile's say."""

    def asked(name, attempt):
        # None of these rules asks for resources by its wildcards.
        queued = workflow.get_rule(rule_name(name))
        expanded = dict(queued.expand_resources({}, [], attempt, {"tmpdir"}).items())
        request = {}
        for key, value in expanded.items():
            is_own = key[0] == "_"  # Snakemake's own, not asked for by a rule
            if not is_own and isinstance(value, (int, str)):
                request[key] = value

        request["threads"] = expanded["_cores"]
        if workflow.executor_plugin.name == "slurm" and not request.get("slurm_partition"):
            request["slurm_partition"] = chosen_partition(name, request) or ""
        return request

    last = 1 + workflow.execution_settings.retries
    return {
        "executor": workflow.executor_plugin.name,
        "rules": {name: asked(name, 1) for name in QUEUED},
        "retried": {name: asked(name, last) for name in QUEUED},
        "jobs": workflow.resource_settings.nodes or 1,
        "pending": sorted(job.wildcards.dataset for job in planned("prepare_dataset")),
    }


def planned(*rules):
    """The jobs of these rules that this run has to do."""
    names = set(map(rule_name, rules))
    return [job for job in workflow.dag.needrun_jobs() if job.rule.name in names]


def check_again():
    """Check before a run that is resumed, too: there the rule has nothing to do."""
    # Without the model there is little to check.
    if planned("preflight", "prepare_model", "train_model") or not planned(*QUEUED):
        return
    # With --sdm only jobs have what the checks import.
    if workflow.deployment_settings.deployment_method or workflow.touch:
        return
    os.makedirs("logs", exist_ok=True)
    if os.system(f"{CHECK} --log logs/preflight.log"):
        stop("preflight: see the lines above; results/ is as it was")
