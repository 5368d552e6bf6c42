# What a run needs before the first cycle: the data sets and the language model. What is downloaded
# is so on the login node, which alone may reach a network; a model that is trained from scratch is
# trained where the GPUs are.
localrules:
    prepare_dataset,


if REFERENCE.startswith("scratch:"):

    include: "train_model.smk"

else:

    localrules:
        prepare_model,

    rule prepare_model:
        output:
            MODEL,
        log:
            "logs/prepare/model.log",
        benchmark:
            "logs/prepare/model.tsv"
        priority: in_order
        conda:
            ENVIRONMENT
        params:
            settings=lambda wildcards: spell_options(SETTINGS["model"]),
            code=code("prepare_model"),
        message:
            f"Preparing the language model {SETTINGS['model']['name']}"
        shell:
            'python "$SCRIPTS/prepare_model.py" {params.settings} --output {output} --log {log}'
            " -- {params:q}"


rule prepare_dataset:
    output:
        DATASET,
    log:
        "logs/prepare/{dataset}.log",
    benchmark:
        "logs/prepare/{dataset}.tsv"
    wildcard_constraints:
        dataset="|".join(schema()["$defs"]["dataset"]["enum"]),
    priority: in_order
    conda:
        ENVIRONMENT
    params:
        settings=data_options,
        seed=RANDOM_SEED,
        code=code("prepare_dataset"),
    message:
        "Preparing the data set {wildcards.dataset}"
    shell:
        'python "$SCRIPTS/prepare_dataset.py" {params.settings} {params.seed}'
        " --dataset {wildcards.dataset} --output {output} --log {log}"
        " -- {params:q}"
