# What a person opens: one page that stands alone, its figures, and its tables.
from archloop.report.parts import FIGURES, PAGE_PARTS, TABLES
from archloop.settings.planned_files import report_files

REPORT = "results/report"
CELLS = [layout.Cell(chain, cycle) for chain in CHAINS for cycle in CYCLES[chain]]


localrules:
    report,


rule report:
    input:
        results=[str(path) for path in report_files(SETTINGS, CELLS, Path("results"))],
        parts=[from_root("report", name) for name in PAGE_PARTS],
    output:
        page=report(
            f"{REPORT}/index.html",
            caption="../report/index.rst",
            category="Report",
            labels={"part": "the whole page"},
        ),
        figures=[
            report(
                f"{REPORT}/figures/{name}.svg",
                caption=f"../report/captions/{name}.rst",
                category="Figures",
                labels={"figure": title},
            )
            for name, title in FIGURES.items()
        ],
        bitmaps=[f"{REPORT}/figures/{name}.png" for name in FIGURES],
        tables=[
            report(
                f"{REPORT}/tables/{name}.csv",
                caption="../report/table.rst",
                category="Tables",
                labels={"table": title},
            )
            for name, title in TABLES.items()
        ],
        columns=[f"{REPORT}/tables/{name}.parquet" for name in TABLES],
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=options("report"),
        # The settings that made the results, not how jobs run and what the report looks like.
        run=lambda wildcards: spell_options(
            {"run": {key: SETTINGS[key] for key in SETTINGS if key not in ("execution", "report")}}
        ),
        code=code("report"),
    message:
        "Writing the report"
    # It reads the folder by its layout: the names of some thousand files would be too long for a
    # command line.
    shell:
        'python "$SCRIPTS/report.py" --results results --whole {params.run} {params.settings}'
        " --output results/report"
        " --log {log}"
        " -- {params:q}"
