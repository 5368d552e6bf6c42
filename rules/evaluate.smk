# Programs are judged: walls around each, the score computed outside.
rule evaluate:
    input:
        candidates=f"{CYCLE}/generated/{{shard}}.jsonl",
        dataset=dataset,
        preflight=ancient(PREFLIGHT),
    output:
        records=f"{CYCLE}/evaluated/{{shard}}.json",
        run_record=f"{CYCLE}/evaluated/{{shard}}.run.json",
    log:
        "logs/{chain}/cycle-{cycle}/evaluate-{shard}.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/evaluate-{shard}.tsv"
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
        seed=SEED,
        code=code("evaluate"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: judging candidates, shard {wildcards.shard}"
    shell:
        'python "$SCRIPTS/evaluate.py" --candidates {input.candidates} --dataset {input.dataset} {params.settings}'
        " {params.seed} --store results/evaluations --device {resources.device} --gpus {resources.gpu}"
        " --isolation {resources.isolation} --driver-calls {resources.driver_calls} --workers {resources.workers}"
        " --job-cores {threads} --job-memory-mb {resources.mem_mb} --output {output.records} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
