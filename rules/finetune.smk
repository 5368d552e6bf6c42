# The adapter of a cycle: it continues the one before, with what the cycle admitted.
rule finetune:
    input:
        admitted=f"{CYCLE}/{layout.CORPUS}",
        corpus=corpus_before,
        # Failed programs, where the method learns from them.
        candidates=failed_candidates,
        model=MODEL,
        parent=adapter_before,
        preflight=ancient(PREFLIGHT),
    output:
        adapter=f"{CYCLE}/{layout.ADAPTER}",
        config=f"{CYCLE}/{layout.ADAPTER_CONFIG}",
        training=f"{CYCLE}/{layout.TRAINING}",
        run_record=f"{CYCLE}/{layout.ADAPTER_RUN_RECORD}",
    log:
        f"{LOGS}/finetune.log",
    benchmark:
        f"{LOGS}/finetune.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        gpu=EXECUTION["gpus"],
        nodes=1,
        device=EXECUTION["device"],
        mem_mb=lambda wildcards, attempt: 32000 * attempt,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        corpus=file_options("corpus"),
        parent=file_options("parent"),
        settings=options("finetuning"),
        candidates=file_options("candidates"),
        loading=options("loading", "loading_"),
        seed=training_seed,
        code=code("finetune"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: fine-tuning"
    shell:
        'python "$SCRIPTS/finetune.py"'
        " --admitted {input.admitted} {params.corpus}"
        " {params.candidates} --model {input.model} {params.parent}"
        " {params.settings} {params.loading} {params.seed} --device {resources.device}"
        " --gpus {resources.gpu}"
        f" --state {STATE}"
        " --output {output.adapter} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"


rule finetune_seed:
    input:
        admitted=SEED_CORPUS,
        model=MODEL,
        preflight=ancient(PREFLIGHT),
    output:
        adapter=SEED_ADAPTER,
        config=f"{SEED}/{layout.ADAPTER_CONFIG}",
        training=f"{SEED}/{layout.TRAINING}",
        run_record=f"{SEED}/{layout.ADAPTER_RUN_RECORD}",
    log:
        f"{SEED_LOGS}/finetune.log",
    benchmark:
        f"{SEED_LOGS}/finetune.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        gpu=EXECUTION["gpus"],
        nodes=1,
        device=EXECUTION["device"],
        mem_mb=lambda wildcards, attempt: 32000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        settings=cycle_zero_options,
        loading=options("loading", "loading_"),
        seed=training_seed,
        code=code("finetune", "finetune_seed"),
    message:
        "Cycle 0: fine-tuning on the seed corpus"
    shell:
        'python "$SCRIPTS/finetune.py" --admitted {input.admitted} --model {input.model}'
        " {params.settings} {params.loading} {params.seed}"
        f" --state {SEED_STATE}"
        " --device {resources.device} --gpus {resources.gpu}"
        " --output {output.adapter} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
