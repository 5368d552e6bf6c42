# Candidates that no language model writes: of the seed families at random, or the designs of another chain.
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
        candidates=f"{CYCLE}/generated/{{shard}}.jsonl",
        run_record=f"{CYCLE}/generated/{{shard}}.run.json",
    log:
        "logs/{chain}/cycle-{cycle}/draw_families-{shard}.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/draw_families-{shard}.tsv"
    wildcard_constraints:
        chain=written_by(chains.FAMILIES),
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        candidates=options("cycle", only="candidates"),
        shards=options("cycle", only="shards"),
        families=spell_options({"families": DRAWN}),
        seed=lambda wildcards: spell_options({"seed": chain_seed(wildcards)}),
        code=code("draw_families"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: drawing candidates at random, shard {wildcards.shard}"
    shell:
        'python "$SCRIPTS/draw_families.py" --chain {wildcards.chain} --cycle {wildcards.cycle} --shard {wildcards.shard}'
        " {params.shards} {params.candidates} {params.families} {params.seed}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"


rule transfer:
    input:
        corpus=corpus_of_source,
    output:
        candidates=f"{CYCLE}/generated/{{shard}}.jsonl",
        run_record=f"{CYCLE}/generated/{{shard}}.run.json",
    log:
        "logs/{chain}/cycle-{cycle}/transfer-{shard}.log",
    benchmark:
        "logs/{chain}/cycle-{cycle}/transfer-{shard}.tsv"
    wildcard_constraints:
        chain=written_by("chain"),
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        shards=options("cycle", only="shards"),
        code=code("transfer"),
    message:
        "Chain {wildcards.chain}, cycle {wildcards.cycle}: taking the designs of its source, shard {wildcards.shard}"
    shell:
        'python "$SCRIPTS/transfer.py"'
        " $(printf -- ' --corpus %s' {input.corpus}) --chain {wildcards.chain}"
        " --cycle {wildcards.cycle} --shard {wildcards.shard} {params.shards}"
        " --output {output.candidates} --run-record {output.run_record} --log {log}"
        " -- {params:q} -- {input:q}"
