# What a run stands on is looked at before anything is queued: model, data, room, isolation, and what SLURM would say.
PREFLIGHT = "results/preflight.json"
QUEUED = ["generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed"]
CHECK = f"python $SCRIPTS/preflight.py --results results --output {PREFLIGHT}"

# The jobs behind it take it as ancient, so a new one rebuilds none of them. That holds only as long as there is a file:
# one that is missing would pull all of them along. So where there are results, there is one.
if workflow.is_main_process and os.path.exists("results/settings.json") and not os.path.exists(PREFLIGHT):
    write_json(PREFLIGHT, {"checks": [], "executor": None, "passed": False})


localrules:
    preflight,


rule preflight:
    input:
        model=MODEL,
        datasets=expand(
            "resources/datasets/{dataset}.safetensors",
            dataset=sorted({chain["dataset"] for chain in SETTINGS["chains"].values()}),
        ),
    output:
        PREFLIGHT,
    log:
        "logs/preflight.log",
    benchmark:
        "logs/preflight.tsv"
    conda:
        ENVIRONMENT
    message:
        "Checking what the run stands on"
    # Its settings and the requests of the jobs are read from results/: as params they would make it run for no cause.
    shell:
        f"{CHECK} --log {{log}}"


# A second try would say the same; the directive `retries: 0` would not be heeded.
workflow.get_rule("preflight").restart_times = 0
