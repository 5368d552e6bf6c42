# The outcome of every candidate, and the corpus file of what a cycle admits.
localrules:
    admit,
    summarize,
    export,


rule admit:
    input:
        generated=of_shards(layout.generated),
        evaluated=of_shards(layout.evaluated),
        corpus=corpus_known,
        earlier=candidates_before,
        dataset=dataset,
    output:
        candidates=f"{CYCLE}/{layout.CANDIDATES}",
        corpus=f"{CYCLE}/{layout.CORPUS}",
    log:
        f"{LOGS}/admit.log",
    benchmark:
        f"{LOGS}/admit.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        generated=file_options("generated"),
        evaluated=file_options("evaluated"),
        corpus=file_options("corpus"),
        admission=options("admission"),
        novelty=options("novelty", "novelty_"),
        code=code("admit"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: admitting what scores and is new"
    shell:
        'python "$SCRIPTS/admit.py"'
        " {params.generated} {params.evaluated} {params.corpus}"
        " --cycle {wildcards.cycle} --dataset {input.dataset} {params.admission} {params.novelty}"
        " --candidates-output {output.candidates} --corpus-output {output.corpus} --log {log}"
        " -- {params:q} -- {input:q}"


rule summarize:
    input:
        candidates=f"{CYCLE}/{layout.CANDIDATES}",
        training=training_of,
        dataset=dataset,
    output:
        f"{CYCLE}/{layout.SUMMARY}",
    log:
        f"{LOGS}/summarize.log",
    benchmark:
        f"{LOGS}/summarize.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        training=file_options("training"),
        admission=options("admission"),
        code=code("summarize"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: summing up"
    shell:
        'python "$SCRIPTS/summarize.py" --candidates {input.candidates} {params.training}'
        " --chain {wildcards.chain} --cycle {wildcards.cycle}"
        " --dataset {input.dataset} {params.admission}"
        " --output {output} --log {log}"
        " -- {params:q} -- {input:q}"


rule export:
    input:
        corpus=of_cycles(layout.CORPUS),
    output:
        f"results/{{chain}}/{layout.EXPORT}",
    log:
        "logs/{chain}/export.log",
    benchmark:
        "logs/{chain}/export.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        corpus=file_options("corpus"),
        code=code("export"),
    message:
        "Chain {wildcards.chain}: exporting the admitted architectures"
    shell:
        'python "$SCRIPTS/export.py" {params.corpus}'
        " --output {output} --log {log}"
        " -- {params:q} -- {input:q}"
