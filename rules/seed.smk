# Cycle 0: the seed corpus, its programs measured as any candidate is.
SEED_SHARDS = range(SETTINGS["seed_corpus"]["shards"])


localrules:
    write_seed_programs,
    build_seed_corpus,


rule write_seed_programs:
    input:
        model=MODEL,
        families=FAMILIES if SETTINGS["seed_corpus"]["source"] == "families" else [],
    output:
        programs=expand("results/seed/generated/{shard}.jsonl", shard=SEED_SHARDS),
        left_out="results/seed/left_out.json",
    log:
        "logs/seed/write_seed_programs.log",
    benchmark:
        "logs/seed/write_seed_programs.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        settings=options("seed_corpus"),
        code=code("write_seed_programs"),
    message:
        "Cycle 0: writing the programs of the seed corpus"
    shell:
        'python "$SCRIPTS/write_seed_programs.py" {params.settings} --model {input.model}'
        " $(printf -- ' --output %s' {output.programs}) --left-out {output.left_out} --log {log}"
        " -- {params:q} -- {input:q}"


use rule evaluate as evaluate_seed with:
    input:
        candidates="results/seed/generated/{shard}.jsonl",
        dataset=dataset,
        preflight=ancient(PREFLIGHT),
    output:
        records="results/seed/evaluated/{shard}.json",
        run_record="results/seed/evaluated/{shard}.run.json",
    log:
        "logs/seed/evaluate-{shard}.log",
    benchmark:
        "logs/seed/evaluate-{shard}.tsv"
    conda:
        ENVIRONMENT
    message:
        "Cycle 0: measuring the seed corpus, shard {wildcards.shard}"


rule build_seed_corpus:
    input:
        generated=expand("results/seed/generated/{shard}.jsonl", shard=SEED_SHARDS),
        evaluated=expand("results/seed/evaluated/{shard}.json", shard=SEED_SHARDS),
        dataset=dataset,
        template=lambda wildcards: from_root(setting("prompts", "template")(wildcards)),
        hints=lambda wildcards: from_root(setting("prompts", "hints")(wildcards)),
    output:
        corpus=SEED_CORPUS,
        dropped="results/seed/dropped.json",
    log:
        "logs/seed/build_seed_corpus.log",
    benchmark:
        "logs/seed/build_seed_corpus.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        budget=options("evaluation", only="parameter_budget"),
        epochs=options("evaluation", only="epochs"),
        code=code("build_seed_corpus"),
    message:
        "Cycle 0: building the seed corpus"
    shell:
        'python "$SCRIPTS/build_seed_corpus.py"'
        " $(printf -- ' --generated %s' {input.generated})"
        " $(printf -- ' --evaluated %s' {input.evaluated}) --dataset {input.dataset}"
        " --template {input.template:q} --hints {input.hints:q} {params.budget} {params.epochs}"
        " --output {output.corpus} --dropped {output.dropped} --log {log}"
        " -- {params:q} -- {input:q}"
