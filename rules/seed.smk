# Cycle 0: the seed corpus, its programs measured as any candidate is.
SEED_SHARDS = range(SETTINGS["seed_corpus"]["shards"])
SEED_PROGRAMS = expand(SEED_GENERATED, shard=SEED_SHARDS)
SEED_OUTPUTS = " ".join(f"--output {path}" for path in SEED_PROGRAMS)


localrules:
    write_seed_programs,
    build_seed_corpus,


rule write_seed_programs:
    input:
        model=MODEL,
        families=FAMILIES if SETTINGS["seed_corpus"]["source"] == "families" else [],
    output:
        programs=SEED_PROGRAMS,
        left_out=f"{SEED}/{layout.LEFT_OUT}",
    log:
        f"{SEED_LOGS}/write_seed_programs.log",
    benchmark:
        f"{SEED_LOGS}/write_seed_programs.tsv"
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
        f" {SEED_OUTPUTS}"
        " --left-out {output.left_out} --log {log}"
        " -- {params:q} -- {input:q}"


use rule evaluate as evaluate_seed with:
    input:
        candidates=SEED_GENERATED,
        dataset=dataset,
        preflight=ancient(PREFLIGHT),
    output:
        records=SEED_EVALUATED,
        run_record=layout.run_record(SEED_EVALUATED),
    log:
        f"{SEED_LOGS}/evaluate-{{shard}}.log",
    benchmark:
        f"{SEED_LOGS}/evaluate-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    message:
        "Cycle 0: measuring the seed corpus, shard {wildcards.shard}"


rule build_seed_corpus:
    input:
        generated=SEED_PROGRAMS,
        evaluated=expand(SEED_EVALUATED, shard=SEED_SHARDS),
        dataset=dataset,
        template=prompt_file("template"),
        hints=prompt_file("hints"),
    output:
        corpus=SEED_CORPUS,
        dropped=f"{SEED}/{layout.DROPPED}",
    log:
        f"{SEED_LOGS}/build_seed_corpus.log",
    benchmark:
        f"{SEED_LOGS}/build_seed_corpus.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        generated=file_options("generated"),
        evaluated=file_options("evaluated"),
        budget=options("evaluation", only="parameter_budget"),
        epochs=options("evaluation", only="epochs"),
        code=code("build_seed_corpus"),
    message:
        "Cycle 0: building the seed corpus"
    shell:
        'python "$SCRIPTS/build_seed_corpus.py"'
        " {params.generated} {params.evaluated} --dataset {input.dataset}"
        " --template {input.template:q} --hints {input.hints:q} {params.budget} {params.epochs}"
        " --output {output.corpus} --dropped {output.dropped} --log {log}"
        " -- {params:q} -- {input:q}"
