"""What raises the share of valid programs and the yield per token? Variants in the demo's size.

python benchmarks/experiments.py --results results --output results-experiments

Every cell (a variant and a seed) starts from the same adapter, that of cycle 0 of a finished demo
run (`make demo`), goes on training it where the variant is one of the training, answers prompts
until the same number of new tokens is spent, dropped lines and refused attempts included, and goes
through the real judge and the real admission against the seed corpus. Finished cells are kept in
the output folder and not made again, nor are the answers of a cell that was cut. It prints a table
and writes experiments.json.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import click
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.corpus.admit import KNOWN_COLUMNS, admit  # noqa: E402
from archloop.corpus.candidate_rows import join  # noqa: E402
from archloop.corpus.tables import read_corpus  # noqa: E402
from archloop.data.dataset_file import read_metadata  # noqa: E402
from archloop.evaluation.evaluate import JobResources, evaluate  # noqa: E402
from archloop.files import read_json, sha256_file, sha256_text, write_json  # noqa: E402
from archloop.finetuning.finetune import AdapterJob, finetune  # noqa: E402
from archloop.finetuning.training_set import TrainingPrograms, read_corpus_programs  # noqa: E402
from archloop.generation.generate import REPAIR, GenerationJob, generate  # noqa: E402
from archloop.generation.prompts import (  # noqa: E402
    PromptTexts,
    read_hints,
    read_template,
    task_of,
)
from archloop.generation.write_prompts import PromptParts, References, cycle_prompts  # noqa: E402
from archloop.outcomes import VALID  # noqa: E402
from archloop.random_seeds import derive  # noqa: E402
from archloop.report.intervals import mean_interval, wilson  # noqa: E402
from archloop.settings.chains import effective  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.sections import (  # noqa: E402
    Admission,
    Evaluation,
    Finetuning,
    Generation,
    Loading,
    Novelty,
)
from archloop.workflow.code_digest import code_digest  # noqa: E402

PATH = click.Path(path_type=Path)
# What every variant has in common beside config/demo.yaml, and what each changes of it.
COMMON = {"temperature": 0.4, "opening": "none", "line_retries": 0, "repairs": 0}
BASELINE = "temperature 0.4"
VARIANTS = {
    BASELINE: {},
    "temperature 0.2, top-k 50, top-p 0.9 (the paper's)": {
        "generation": {"temperature": 0.2, "top_k": 50, "top_p": 0.9}
    },
    "temperature 0.7": {"generation": {"temperature": 0.7}},
    "temperature 1.0": {"generation": {"temperature": 1.0}},
    "temperature 0.7, top-p 0.8": {"generation": {"temperature": 0.7, "top_p": 0.8}},
    "opening: imports": {"generation": {"opening": "imports"}},
    "opening: class": {"generation": {"opening": "class"}},
    "opening: class, temperature 0.7": {"generation": {"opening": "class", "temperature": 0.7}},
    "line_retries 4, temperature 1.0": {"generation": {"line_retries": 4, "temperature": 1.0}},
    "repairs 1, temperature 1.0": {"generation": {"repairs": 1, "temperature": 1.0}},
    "references 1": {"prompts": {"references": 1}},
    "repair after the judge": {"judged": True},
    "another pass": {"finetuning": {}},
    "another pass, order accuracy": {"finetuning": {"order": "accuracy"}},
    "another pass, accuracy_weight 1": {"finetuning": {"accuracy_weight": 1.0}},
}
# What a variant is compared with, where it is not the baseline: the same without the one thing that
# it tries.
REFERENCES = {
    "opening: class, temperature 0.7": "temperature 0.7",
    "temperature 0.7, top-p 0.8": "temperature 0.7",
    "line_retries 4, temperature 1.0": "temperature 1.0",
    "repairs 1, temperature 1.0": "temperature 1.0",
    "another pass, order accuracy": "another pass",
    "another pass, accuracy_weight 1": "another pass",
}


def cell(
    changes: dict, seed: int, budget: int, config: dict, place: Path, results: Path, run: dict
) -> dict:
    """Return the counts of one variant with one seed.

    The candidates count, in their order, up to the first that would go beyond `budget` new tokens;
    yields are of the whole budget, what that one had of it included.
    """
    generation = config["generation"] | COMMON | changes.get("generation", {})
    prompts = config["prompts"] | changes.get("prompts", {})
    template, hints = (ROOT / prompts[name] for name in ("template", "hints"))
    dataset = read_metadata(run["dataset"])
    corpus = results / "seed" / "corpus.parquet"
    contents = PromptParts(
        PromptTexts(read_template(template), read_hints(hints)),
        task_of(dataset, epochs=1, parameter_budget=config["evaluation"]["parameter_budget"]),
        References(read_corpus([corpus]).to_dicts(), prompts["references"]),
    )
    rows = cycle_prompts("experiment", 1, seed, 999, contents)
    adapter = results / "seed" / "adapter" / "adapter_model.safetensors"
    if "finetuning" in changes:
        adapter = trained(changes["finetuning"], seed, config, place, adapter, corpus, run)
    settings, loading = Generation(**generation), Loading(**config["loading"])

    def answer(rows: list[dict], kept: Path) -> list[dict]:
        job = GenerationJob(run["model"].parent, adapter, settings, loading, kept)
        return generate(rows, job, run["device"])[0]

    started, size = time.monotonic(), generation["batch_size"]
    candidates = []
    while tokens(candidates) <= budget and len(candidates) < len(rows):
        block = rows[len(candidates) : len(candidates) + size]
        kept = place / f"answers-{len(candidates)}.jsonl"
        made = answer(block, kept)
        if changes.get("judged"):
            made = repaired(made, answer, kept.with_suffix(".repairs.jsonl"), config, run)
        candidates += made
    seconds = time.monotonic() - started
    while tokens(candidates) > budget:
        candidates.pop()
    protocol = Evaluation(**config["evaluation"])
    records, _ = evaluate(
        candidates,
        run["dataset"],
        protocol,
        config["random_seed"],
        run["store"],
        run["resources"],
    )
    records = [record | {"protocol": "{}"} for record in records]
    known = read_corpus([corpus], KNOWN_COLUMNS)
    table, admitted = admit(
        join(candidates, records),
        known,
        dataset,
        Admission(**config["admission"]),
        Novelty(**config["novelty"]),
    )
    outcomes = dict(table["outcome"].value_counts().sort("outcome").iter_rows())
    valid = table.filter(pl.col("outcome").is_in(VALID))
    return {
        "candidates": len(candidates),
        "new_tokens": tokens(candidates),
        "valid": valid.height,
        "distinct": len({row["program"] for row in candidates}),
        "admitted": admitted.height,
        "accuracy": valid["accuracy"].mean(),
        "best": valid["accuracy"].max(),
        "outcomes": outcomes,
        "generation_s": round(seconds, 1),
    }


def tokens(candidates: list[dict]) -> int:
    return sum(row["new_tokens"] for row in candidates)


def repaired(made: list[dict], answer, kept: Path, config: dict, run: dict) -> list[dict]:
    """Return the candidates; of those that fail before the judge a repair is asked for once.

    All of it stands in one turn of the user. The generate stage does not do this, for it runs no
    program: its `repairs` are of faults that are seen without running it.
    """
    protocol = Evaluation(**config["evaluation"])
    records, _ = evaluate(
        made, run["dataset"], protocol, config["random_seed"], run["store"], run["resources"]
    )
    failed = [
        at
        for at, record in enumerate(records)
        if record["outcome"] != "trained" and made[at]["program"]
    ]
    asked = [made[at] | {"seed": derive(made[at]["seed"], "repair")} for at in failed]
    for row, at in zip(asked, failed):
        reason = ": ".join(filter(None, (records[at]["outcome"], records[at]["detail"])))
        fault = REPAIR.format(reason=reason)
        row["prompt"] += f"\n\n```python\n{row['program']}```\n\n{fault}"
    last = list(made)
    for at, row in zip(failed, answer(asked, kept)):
        last[at] = row | {"prompt": made[at]["prompt"], "new_tokens": tokens([made[at], row])}
    return last


def trained(
    changes: dict, seed: int, config: dict, place: Path, parent: Path, corpus: Path, run: dict
) -> Path:
    """Return the adapter that goes on from `parent` with some of the seed corpus."""
    output = place / "adapter"
    if not (output / "adapter_model.safetensors").is_file():
        programs = TrainingPrograms(corpus=read_corpus_programs([corpus]), admitted=[])
        settings = Finetuning(**one_pass(config) | changes)
        loading = Loading(**config["loading"])
        job = AdapterJob(run["model"].parent, parent, output, place, settings, loading, seed)
        finetune(programs, job, run["device"])
    return output / "adapter_model.safetensors"


def one_pass(config: dict) -> dict:
    """Return the settings by which variants of the training go on: those of a cycle of the demo."""
    return effective(config, "finetuning", "main", 1) | {"train_on": "seed_corpus", "replay": 24}


def per_10k(counts: dict, budget: int) -> float:
    return 1e4 * counts["admitted"] / budget


def rows_of_table(cells: dict[str, dict[int, dict]], budget: int) -> list[dict]:
    """Return a row a variant: valid share with Wilson's interval, accuracy and yield with t.

    Differences are from the variant's reference, seed by seed.
    """
    rows = []
    for name, by_seed in cells.items():
        valid, made = (
            sum(counts[key] for counts in by_seed.values()) for key in ("valid", "candidates")
        )
        yields = {seed: per_10k(counts, budget) for seed, counts in by_seed.items()}
        reference = REFERENCES.get(name, BASELINE) if name != BASELINE else None
        base = cells.get(reference, {})
        paired = [yields[seed] - per_10k(base[seed], budget) for seed in yields if seed in base]
        both = [
            (counts["accuracy"], base[seed]["accuracy"])
            for seed, counts in by_seed.items()
            if seed in base
        ]
        accurate = [ours - theirs for ours, theirs in both if None not in (ours, theirs)]
        accuracies = [
            counts["accuracy"] for counts in by_seed.values() if counts["accuracy"] is not None
        ]
        distinct, spent = (
            sum(counts[key] for counts in by_seed.values()) for key in ("distinct", "new_tokens")
        )
        rows.append(
            {
                "variant": name,
                "seeds": len(by_seed),
                "candidates": made,
                "new_tokens": spent,
                "valid": valid,
                "valid_share": valid / made if made else None,
                "valid_interval": wilson(valid, made),
                "distinct_share": distinct / made if made else None,
                "accuracy": statistics.fmean(accuracies) if accuracies else None,
                "accuracy_interval": mean_interval(accuracies),
                "admitted": sum(counts["admitted"] for counts in by_seed.values()),
                "admitted_per_10k_tokens": statistics.fmean(yields.values()),
                "admitted_interval": mean_interval(list(yields.values())),
                "reference": reference,
                "difference": statistics.fmean(paired) if paired else None,
                "difference_interval": mean_interval(paired),
                "accuracy_difference": statistics.fmean(accurate) if accurate else None,
                "accuracy_difference_interval": mean_interval(accurate),
            }
        )
    return rows


def show(rows: list[dict]) -> None:
    def span(interval, scale=1.0, digits=1) -> str:
        return (
            ""
            if interval is None
            else " [{:.{d}f}, {:.{d}f}]".format(*(scale * end for end in interval), d=digits)
        )

    def change(row: dict, name: str, scale=1.0) -> str:
        return (
            ""
            if row[name] is None
            else f"{scale * row[name]:+.1f}{span(row[f'{name}_interval'], scale)}"
        )

    heads = (
        "variant",
        "seeds",
        "candidates",
        "valid %",
        "distinct %",
        "accuracy %",
        "admitted per 10,000 new tokens",
    )
    heads += ("difference", "of accuracy %", "from")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for row in rows:
        print(
            f"| {row['variant']} | {row['seeds']} | {row['candidates']}"
            f" | {100 * (row['valid_share'] or 0):.1f}{span(row['valid_interval'], 100)}"
            f" | {100 * (row['distinct_share'] or 0):.0f}"
            f" | {100 * (row['accuracy'] or 0):.1f}{span(row['accuracy_interval'], 100)}"
            f" | {row['admitted_per_10k_tokens']:.1f}{span(row['admitted_interval'])}"
            f" | {change(row, 'difference')} | {change(row, 'accuracy_difference', 100)}"
            f" | {row['reference'] or ''} |"
        )


@click.command()
@click.option(
    "--results",
    type=PATH,
    required=True,
    help="Results of a finished demo run: seed/adapter, seed/corpus.",
)
@click.option(
    "--model", type=PATH, default=Path("resources/models/smollm2-135m-instruct/manifest.json")
)
@click.option("--dataset", type=PATH, default=Path("resources/datasets/digits.safetensors"))
@click.option(
    "--output", type=PATH, required=True, help="Folder of the cells and of experiments.json."
)
@click.option("--budget", default=4000, help="New tokens of a cell.")
@click.option("--seeds", default=3, help="Seeds of a variant.")
@click.option("--first", default=1, help="The first of them.")
@click.option("--variants", help=f"Some of them, separated by semicolons: {'; '.join(VARIANTS)}")
@click.option(
    "--minutes", default=600.0, help="No cell is begun after that time; run again to go on."
)
@click.option("--device", default="auto")
def main(results, model, dataset, output, budget, seeds, first, variants, minutes, device) -> None:
    """Run the cells that are missing, seed by seed over all variants, and print the table."""
    config = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))
    names = [name.strip() for name in variants.split(";")] if variants else list(VARIANTS)
    run = {
        "device": device,
        "model": model,
        "dataset": dataset,
        "store": output / "evaluations",
        "resources": JobResources(device),
    }
    files = [
        results / "seed" / name for name in ("adapter/adapter_model.safetensors", "corpus.parquet")
    ]
    files += [
        model,
        dataset,
        Path(__file__),
        *(ROOT / config["prompts"][name] for name in ("template", "hints")),
    ]
    inputs = [config["random_seed"], *map(sha256_file, files)]
    scripts = ("write_prompts", "generate", "evaluate", "admit", "finetune")
    inputs += [code_digest(ROOT / "scripts" / f"{name}.py") for name in scripts]
    sections = ("prompts", "evaluation", "admission", "novelty", "loading")
    inputs += [budget, config["generation"] | COMMON, {name: config[name] for name in sections}]
    inputs.append(one_pass(config))
    started, cells = time.monotonic(), {}
    for seed in range(first, first + seeds):
        for name in names:
            key = sha256_text(json.dumps([inputs, VARIANTS[name], seed], sort_keys=True))[:16]
            path = output / "cells" / f"{key}.json"
            if not path.is_file():
                if time.monotonic() - started > 60 * minutes:
                    continue
                counts = cell(
                    VARIANTS[name], seed, budget, config, output / "state" / key, results, run
                )
                write_json(path, {"variant": name, "seed": seed, **counts})
                print(f"seed {seed}, {name}: {counts}", flush=True)
            cells.setdefault(name, {})[seed] = read_json(path, "candidates", "admitted")
    table = rows_of_table(cells, budget)
    show(table)
    write_json(output / "experiments.json", {"budget": budget, "table": table, "cells": cells})


if __name__ == "__main__":
    main()
