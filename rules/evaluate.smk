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
    threads: 8
    resources:
        gpu=RUN["gpus"],
        device=RUN["device"],
        isolation=RUN["isolation"],
        workers=RUN["workers"],
        mem_mb=lambda wildcards, attempt: 24000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=options("evaluation"),
        seed=SEED,
        code=code("evaluate"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: judging candidates, shard {wildcards.shard}"
    shell:
        'python "$SCRIPTS"/evaluate.py --candidates {input.candidates} --dataset {input.dataset} {params.settings}'
        " {params.seed} --store results/evaluations --device {resources.device} --isolation {resources.isolation}"
        " --workers {resources.workers} --output {output.records} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
