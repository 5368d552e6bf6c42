# Programs are trained and scored, each in a sandbox; the score is computed outside.
rule evaluate:
    input:
        candidates=GENERATED,
        dataset=dataset,
        preflight=ancient(PREFLIGHT),
    output:
        records=EVALUATED,
        run_record=layout.run_record(EVALUATED),
    log:
        f"{LOGS}/evaluate-{{shard}}.log",
    benchmark:
        f"{LOGS}/evaluate-{{shard}}.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    threads: judge_cores
    resources:
        gpu=EXECUTION["gpus"],
        device=EXECUTION["device"],
        isolation=EXECUTION["isolation"],
        driver_calls=EXECUTION["driver_calls"],
        workers=EXECUTION["workers"],
        mem_mb=judge_memory_mb,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=options("evaluation"),
        seed=RANDOM_SEED,
        code=code("evaluate"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: judging candidates, shard"
        " {wildcards.shard}"
    shell:
        'python "$SCRIPTS/evaluate.py" --candidates {input.candidates}'
        " --dataset {input.dataset} {params.settings} {params.seed}"
        f" --store {STORED_SCORES}"
        " --device {resources.device} --gpus {resources.gpu} --isolation {resources.isolation}"
        " --driver-calls {resources.driver_calls} --workers {resources.workers}"
        " --job-cores {threads} --job-memory-mb {resources.mem_mb} --output {output.records}"
        " --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
