# Candidates that no language model writes: of the seed families at random, or the designs of
# another chain.
localrules:
    draw_families,
    transfer,


# The families of the seed corpus; those of a LEMUR checkout are no templates.
DRAWN = (
    SETTINGS["seed_corpus"]["families"] if SETTINGS["seed_corpus"]["source"] == "families" else None
)


rule draw_families:
    input:
        families=FAMILIES,
    output:
        candidates=GENERATED,
        run_record=layout.run_record(GENERATED),
    log:
        f"{LOGS}/draw_families-{{shard}}.log",
    benchmark:
        f"{LOGS}/draw_families-{{shard}}.tsv"
    wildcard_constraints:
        chain=written_by(chains.FAMILIES),
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        candidates=options("cycle", only="candidates"),
        shards=options("cycle", only="shards"),
        families=spell_options({"families": DRAWN}),
        seed=chain_seed,
        code=code("draw_families"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: drawing candidates at random, shard"
        " {wildcards.shard}"
    shell:
        'python "$SCRIPTS/draw_families.py" --chain {wildcards.chain} --cycle {wildcards.cycle}'
        " --shard {wildcards.shard}"
        " {params.shards} {params.candidates} {params.families} {params.seed}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"


rule transfer:
    input:
        corpus=corpus_of_source,
    output:
        candidates=GENERATED,
        run_record=layout.run_record(GENERATED),
    log:
        f"{LOGS}/transfer-{{shard}}.log",
    benchmark:
        f"{LOGS}/transfer-{{shard}}.tsv"
    wildcard_constraints:
        chain=written_by(),
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        corpus=file_options("corpus"),
        shards=options("cycle", only="shards"),
        code=code("transfer"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: taking the designs of its source, shard"
        " {wildcards.shard}"
    shell:
        'python "$SCRIPTS/transfer.py"'
        " {params.corpus} --chain {wildcards.chain}"
        " --cycle {wildcards.cycle} --shard {wildcards.shard} {params.shards}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
