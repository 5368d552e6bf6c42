# archloop: a language model designs convolutional networks, learns from how they score, and designs
# again.
#
# The paper's experiment on a cluster: snakemake --profile slurm
# A small real run on any machine: snakemake --profile profiles/local --configfile config/demo.yaml
#
# The settings are in config/, their meaning and defaults in config/schema.yaml.
from snakemake.utils import min_version

min_version("9.27")  # before it no priority could depend on the chain


if not workflow.overwrite_configfiles:

    configfile: os.path.relpath(os.path.join(workflow.current_basedir, "config/config.yaml"))


# With --sdm apptainer; envs/archloop.def says how it is made.
container: "archloop.sif"


include: "rules/common.smk"
include: "rules/params.smk"
include: "rules/chains.smk"
include: "rules/resources.smk"
include: "rules/slurm.smk"
include: "rules/checks.smk"
include: "rules/prepare.smk"
include: "rules/preflight.smk"
include: "rules/generate.smk"
include: "rules/evaluate.smk"
include: "rules/seed.smk"
include: "rules/transfer.smk"
include: "rules/admit.smk"
include: "rules/finetune.smk"
include: "rules/report.smk"
include: "rules/records.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        expand(f"results/{{chain}}/{layout.EXPORT}", chain=CHAINS),


onstart:
    # The settings that it leaves are for status.py, and for a report of a run that is not finished.
    end_with_terminal(logger.error)
    hold_results()
    end_jobs_of_a_killed_run()
    check_again()


onsuccess:
    shell('python "$SCRIPTS/status.py" --html results/live.html --ended >&2 || true')


onerror:
    shell(
        'python "$SCRIPTS/status.py" --html results/live.html --ended >&2 || true;'
        ' python "$SCRIPTS/explain.py" --snakemake-log {log:q} >&2'
    )
