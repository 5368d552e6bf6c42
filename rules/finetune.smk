# The adapter of a cycle: it goes on from the one before, with what the cycle admitted.
rule finetune:
    input:
        fresh=f"{CYCLE}/corpus.parquet",
        corpus=corpus_before,
        # Failed programs, where the method learns from them.
        candidates=lambda wildcards: (
            []
            if setting("finetuning", "method")(wildcards) == "sft"
            else f"{CYCLE}/candidates.parquet".format(**wildcards)
        ),
        model=MODEL,
        parent=adapter_before,
        preflight=ancient(PREFLIGHT),
    output:
        adapter=f"{CYCLE}/adapter/adapter_model.safetensors",
        config=f"{CYCLE}/adapter/adapter_config.json",
        training=f"{CYCLE}/adapter/training.json",
        run_record=f"{CYCLE}/adapter/run.json",
    log:
        "logs/{chain}/cycle-{cycle}/finetune.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/finetune.tsv"
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
        parent=file_option("parent"),
        settings=options("finetuning"),
        candidates=file_option("candidates"),
        loading=options("loading", "loading_"),
        seed=lambda wildcards: training_seed(
            chain_seed(wildcards), wildcards.chain, int(wildcards.cycle)
        ),
        code=code("finetune"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: fine-tuning"
    shell:
        'python "$SCRIPTS/finetune.py"'
        " --fresh {input.fresh} $(printf -- ' --corpus %s' {input.corpus})"
        " {params.candidates} --model {input.model} {params.parent}"
        " {params.settings} {params.loading} {params.seed} --device {resources.device} --gpus {resources.gpu}"
        " --state results/state/{wildcards.chain}/cycle-{wildcards.cycle}"
        " --output {output.adapter} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"


rule finetune_seed:
    input:
        fresh=SEED_CORPUS,
        model=MODEL,
        preflight=ancient(PREFLIGHT),
    output:
        adapter=SEED_ADAPTER,
        config="results/seed/adapter/adapter_config.json",
        training="results/seed/adapter/training.json",
        run_record="results/seed/adapter/run.json",
    log:
        "logs/seed/finetune.log",
    benchmark:
        "logs/seed/finetune.tsv"
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
        settings=lambda wildcards: spell_options(
            archloop_settings.of_cycle_zero(effective("finetuning", wildcards))
        ),
        loading=options("loading", "loading_"),
        seed=training_seed(SETTINGS["random_seed"], "seed", 0),
        code=code("finetune", "finetune_seed"),
    message:
        "Cycle 0: fine-tuning on the seed corpus"
    shell:
        'python "$SCRIPTS/finetune.py" --fresh {input.fresh} --model {input.model}'
        " {params.settings} {params.loading} {params.seed}"
        " --state results/state/seed --device {resources.device} --gpus {resources.gpu}"
        " --output {output.adapter} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
