# Prompts, and the programs that the language model answers them with.
localrules:
    write_prompts,


rule write_prompts:
    input:
        dataset=dataset,
        template=lambda wildcards: from_root(setting("prompts", "template")(wildcards)),
        hints=lambda wildcards: from_root(setting("prompts", "hints")(wildcards)),
        corpus=corpus_to_show,
        model=lambda wildcards: MODEL if effective("prompts", wildcards)["references"] else [],
    output:
        f"{CYCLE}/prompts.jsonl",
    log:
        "logs/{chain}/cycle-{cycle}/write_prompts.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/write_prompts.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        corpus=file_option("corpus"),
        settings=prompt_options,
        candidates=options("cycle", only="candidates"),
        budget=options("evaluation", only="parameter_budget"),
        model=file_option("model"),
        epochs=options("evaluation", only="epochs"),
        seed=lambda wildcards: spell_options({"seed": chain_seed(wildcards)}),
        code=code("write_prompts"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: writing prompts"
    shell:
        'python "$SCRIPTS/write_prompts.py" --chain {wildcards.chain} --cycle {wildcards.cycle}'
        " --dataset {input.dataset} {params.corpus} {params.model}"
        " {params.settings} --template {input.template:q} --hints {input.hints:q}"
        " {params.seed} {params.candidates} {params.budget} {params.epochs} --output {output} --log {log}"
        " -- {params:q} -- {input:q}"


rule generate:
    input:
        prompts=f"{CYCLE}/prompts.jsonl",
        model=MODEL,
        adapter=adapter_before,
        preflight=ancient(PREFLIGHT),
    output:
        candidates=f"{CYCLE}/generated/{{shard}}.jsonl",
        run_record=f"{CYCLE}/generated/{{shard}}.run.json",
    log:
        "logs/{chain}/cycle-{cycle}/generate-{shard}.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/generate-{shard}.tsv"
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
        adapter=file_option("adapter"),
        shards=options("cycle", only="shards"),
        settings=options("generation"),
        loading=options("loading", "loading_"),
        code=code("generate"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: generating candidates, shard {wildcards.shard}"
    shell:
        'python "$SCRIPTS/generate.py" --prompts {input.prompts} --shard {wildcards.shard} {params.shards}'
        " --model {input.model} {params.adapter} {params.settings} {params.loading}"
        " --state results/state/{wildcards.chain}/cycle-{wildcards.cycle}/generate-{wildcards.shard}"
        " --device {resources.device} --cache-mb {resources.cache_mb}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
