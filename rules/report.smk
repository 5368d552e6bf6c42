# What a person opens.
localrules:
    report,


rule report:
    input:
        summaries=of_cycles("summary.json"),
        candidates=of_cycles("candidates.parquet"),
    output:
        page=report("results/report/index.html", caption="../report/index.rst", category="Report"),
        funnel=report("results/report/funnel.svg", caption="../report/funnel.rst", category="Pictures"),
        accuracy=report("results/report/accuracy.svg", caption="../report/accuracy.rst", category="Pictures"),
        table="results/report/cycles.csv",
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=options("report"),
        code=code("report"),
    message:
        "Writing the report"
    shell:
        "python $SCRIPTS/report.py $(printf -- ' --summary %s' {input.summaries})"
        " $(printf -- ' --candidates %s' {input.candidates}) {params.settings}"
        " --page {output.page} --funnel {output.funnel} --accuracy {output.accuracy} --table {output.table} --log {log}"
