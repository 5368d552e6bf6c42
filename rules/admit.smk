# The verdict on every candidate, and the shard of the corpus that a cycle admits.
localrules:
    admit,
    summarize,
    export,


rule admit:
    input:
        generated=of_shards("generated", "jsonl"),
        evaluated=of_shards("evaluated", "json"),
        corpus=corpus_known,
        earlier=candidates_before,
        dataset=dataset,
    output:
        candidates=f"{CYCLE}/candidates.parquet",
        corpus=f"{CYCLE}/corpus.parquet",
    log:
        "logs/{chain}/cycle-{cycle}/admit.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/admit.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        admission=options("admission"),
        novelty=options("novelty", "novelty_"),
        code=code("admit"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: admitting what scores and is new"
    shell:
        'python "$SCRIPTS/admit.py"'
        " $(printf -- ' --generated %s' {input.generated})"
        " $(printf -- ' --evaluated %s' {input.evaluated}) $(printf -- ' --corpus %s' {input.corpus})"
        " --cycle {wildcards.cycle} --dataset {input.dataset} {params.admission} {params.novelty}"
        " --candidates-output {output.candidates} --corpus-output {output.corpus} --log {log}"
        " -- {params:q} -- {input:q}"


rule summarize:
    input:
        candidates=f"{CYCLE}/candidates.parquet",
        training=training_of,
        dataset=dataset,
    output:
        f"{CYCLE}/summary.json",
    log:
        "logs/{chain}/cycle-{cycle}/summarize.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/summarize.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        training=file_option("training"),
        admission=options("admission"),
        code=code("summarize"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: summing up"
    shell:
        'python "$SCRIPTS/summarize.py" --candidates {input.candidates} {params.training}'
        " --chain {wildcards.chain} --cycle {wildcards.cycle} --dataset {input.dataset} {params.admission}"
        " --output {output} --log {log}"
        " -- {params:q} -- {input:q}"


rule export:
    input:
        of_cycles("corpus.parquet"),
    output:
        "results/{chain}/architectures/index.json",
    log:
        "logs/{chain}/export.log",
    benchmark:
        "logs/{chain}/export.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        code=code("export"),
    message:
        "Chain {wildcards.chain}: exporting the admitted architectures"
    shell:
        'python "$SCRIPTS/export.py"'
        " $(printf -- ' --corpus %s' {input}) --output {output} --log {log}"
        " -- {params:q} -- {input:q}"
