# A small language model for experiments, trained here from scratch: model.reference scratch:FILE.
try:
    SCRATCH = archloop_settings.scratch_model(from_root(REFERENCE.removeprefix("scratch:")))
except InputError as error:
    stop(f"model.reference: {error}")


rule train_model:
    input:
        families=FAMILIES,
        template=from_root(effective("prompts", {})["template"]),
        hints=from_root(effective("prompts", {})["hints"]),
    output:
        MODEL,
    log:
        "logs/prepare/model.log",
    benchmark:
        "logs/prepare/model.tsv"
    priority: in_order
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        gpu=min(1, EXECUTION["gpus"]),
        device=EXECUTION["device"],
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        reference=spell_options({"reference": REFERENCE}),
        settings=spell_options(SCRATCH),
        seed=RANDOM_SEED,
        code=code("train_model"),
    message:
        f"Training the language model {SETTINGS['model']['name']} from scratch"
    shell:
        'python "$SCRIPTS/train_model.py" {params.reference} {params.settings} {params.seed}'
        " --template {input.template:q} --hints {input.hints:q}"
        f" --state {MODEL_STATE}"
        " --device {resources.device} --output {output} --log {log}"
        " -- {params:q} -- {input:q}"
