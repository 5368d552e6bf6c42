# Prompts, and the programs that the language model answers them with.
localrules:
    write_prompts,


rule write_prompts:
    input:
        dataset=dataset,
        template=prompt_file("template"),
        hints=prompt_file("hints"),
        corpus=corpus_to_show,
        model=lambda wildcards: MODEL if effective("prompts", wildcards)["references"] else [],
    output:
        f"{CYCLE}/{layout.PROMPTS}",
    log:
        f"{LOGS}/write_prompts.log",
    benchmark:
        f"{LOGS}/write_prompts.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        corpus=file_options("corpus"),
        settings=prompt_options,
        candidates=options("cycle", only="candidates"),
        budget=options("evaluation", only="parameter_budget"),
        model=file_options("model"),
        epochs=options("evaluation", only="epochs"),
        seed=chain_seed,
        code=code("write_prompts"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: writing prompts"
    shell:
        'python "$SCRIPTS/write_prompts.py" --chain {wildcards.chain} --cycle {wildcards.cycle}'
        " --dataset {input.dataset} {params.corpus} {params.model}"
        " {params.settings} --template {input.template:q} --hints {input.hints:q}"
        " {params.seed} {params.candidates} {params.budget} {params.epochs} --output {output}"
        " --log {log}"
        " -- {params:q} -- {input:q}"


rule generate:
    input:
        prompts=f"{CYCLE}/{layout.PROMPTS}",
        model=MODEL,
        adapter=adapter_before,
        preflight=ancient(PREFLIGHT),
    output:
        candidates=GENERATED,
        run_record=layout.run_record(GENERATED),
    log:
        f"{LOGS}/generate-{{shard}}.log",
    benchmark:
        f"{LOGS}/generate-{{shard}}.tsv"
    wildcard_constraints:
        chain=written_by(chains.MODEL),
    priority: in_order
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        gpu=min(EXECUTION["gpus"], 1),  # more would lie idle
        device=EXECUTION["device"],
        cache_mb=EXECUTION["cache_mb"],
        mem_mb=lambda wildcards, attempt: 24000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        adapter=file_options("adapter"),
        shards=options("cycle", only="shards"),
        settings=options("generation"),
        loading=options("loading", "loading_"),
        code=code("generate"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: generating candidates, shard"
        " {wildcards.shard}"
    shell:
        'python "$SCRIPTS/generate.py" --prompts {input.prompts}'
        " --shard {wildcards.shard} {params.shards}"
        " --model {input.model} {params.adapter} {params.settings} {params.loading}"
        f" --state {STATE}/generate-{{wildcards.shard}}"
        " --device {resources.device} --cache-mb {resources.cache_mb}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
