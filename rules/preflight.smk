# What a run stands on is looked at before anything is queued: model, data, room, isolation, and
# what SLURM would say.
if not os.path.exists(PREFLIGHT):

    localrules:
        preflight,

    rule preflight:
        input:
            model=MODEL,
            datasets=expand(
                DATASET,
                dataset=sorted({chain["dataset"] for chain in SETTINGS["chains"].values()}),
            ),
        output:
            PREFLIGHT,
        log:
            "logs/preflight.log",
        benchmark:
            "logs/preflight.tsv"
        priority: in_order
        conda:
            ENVIRONMENT
        container:
            False  # it asks SLURM, which no container has
        message:
            "Checking what the run stands on"
        # Its settings and the requests of the jobs are read from results/: as params they would
        # make it run for no cause.
        shell:
            f"{CHECK} --log {{log}}"

    # A second try would say the same; the directive `retries: 0` would not be heeded.
    workflow.get_rule(rule_name("preflight")).restart_times = 0
