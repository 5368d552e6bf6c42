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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypedDict, cast

import click
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.corpus.admit import KNOWN_COLUMNS, admit  # noqa: E402
from archloop.corpus.candidate_rows import join  # noqa: E402
from archloop.corpus.tables import read_corpus  # noqa: E402
from archloop.data.dataset_file import DatasetMetadata, read_metadata  # noqa: E402
from archloop.evaluation.evaluate import (  # noqa: E402
    CandidateRecord,
    JobResources,
    ShardRunRecord,
    evaluate,
)
from archloop.files import read_json, sha256_file, sha256_text, write_json  # noqa: E402
from archloop.finetuning.finetune import AdapterJob, finetune  # noqa: E402
from archloop.finetuning.training_set import TrainingPrograms, read_corpus_programs  # noqa: E402
from archloop.generation.generate import (  # noqa: E402
    REPAIR,
    GeneratedCandidate,
    GenerationJob,
    generate,
)
from archloop.generation.prompts import (  # noqa: E402
    PromptRow,
    PromptTexts,
    read_hints,
    read_template,
    task_of,
)
from archloop.generation.write_prompts import PromptParts, References, cycle_prompts  # noqa: E402
from archloop.outcomes import VALID  # noqa: E402
from archloop.random_seeds import derive  # noqa: E402
from archloop.report.intervals import mean_interval, wilson  # noqa: E402
from archloop.settings.chains import Section, Settings, effective  # noqa: E402
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


class Changes(TypedDict, total=False):
    """What a variant changes, by section. judged: a repair is asked for after the judge."""

    generation: Section
    prompts: Section
    finetuning: Section
    judged: bool


# What every variant has in common beside config/demo.yaml, and what each changes of it.
COMMON = {"temperature": 0.4, "response_prefix": "none", "line_retries": 0, "repairs": 0}
BASELINE = "temperature 0.4"
VARIANTS: dict[str, Changes] = {
    BASELINE: {},
    "temperature 0.2, top-k 50, top-p 0.9 (the paper's)": {
        "generation": {"temperature": 0.2, "top_k": 50, "top_p": 0.9}
    },
    "temperature 0.7": {"generation": {"temperature": 0.7}},
    "temperature 1.0": {"generation": {"temperature": 1.0}},
    "temperature 0.7, top-p 0.8": {"generation": {"temperature": 0.7, "top_p": 0.8}},
    "response_prefix: imports": {"generation": {"response_prefix": "imports"}},
    "response_prefix: class": {"generation": {"response_prefix": "class"}},
    "response_prefix: class, temperature 0.7": {
        "generation": {"response_prefix": "class", "temperature": 0.7}
    },
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
    "response_prefix: class, temperature 0.7": "temperature 0.7",
    "temperature 0.7, top-p 0.8": "temperature 0.7",
    "line_retries 4, temperature 1.0": "temperature 1.0",
    "repairs 1, temperature 1.0": "temperature 1.0",
    "another pass, order accuracy": "another pass",
    "another pass, accuracy_weight 1": "another pass",
}


@dataclass(frozen=True)
class Run:
    """What all experiments share.

    config: the demo's settings. results: of a finished run of it. model: the manifest of the
    language model. store: the folder of stored scores. budget: new tokens of an experiment.
    """

    config: Settings
    results: Path
    model: Path
    dataset: Path
    store: Path
    resources: JobResources
    device: str
    budget: int

    @property
    def corpus(self) -> Path:
        return self.results / "seed" / "corpus.parquet"

    @property
    def adapter(self) -> Path:
        return self.results / "seed" / "adapter" / "adapter_model.safetensors"


class Counts(TypedDict):
    """What came of an experiment: a file of `cells`. accuracy, best: of the valid programs."""

    candidates: int
    new_tokens: int
    valid: int
    distinct: int
    admitted: int
    accuracy: float | None
    best: float | None
    outcomes: dict[str, int]
    generation_s: float


# Prompts, and the file that keeps their answers, -> candidates.
Answer: TypeAlias = Callable[[list[PromptRow], Path], list[GeneratedCandidate]]
# Variant -> seed -> what came of it.
Cells: TypeAlias = dict[str, dict[int, Counts]]


def cell(changes: Changes, seed: int, run: Run, state: Path) -> Counts:
    """Return the counts of one variant with one seed.

    The candidates count, in their order, up to the first that would go beyond the budget; yields
    are of the whole budget, what that one had of it included. state: the folder for work under way.
    """
    config = run.config
    dataset = read_metadata(run.dataset)
    adapter = run.adapter
    if "finetuning" in changes:
        adapter = trained(changes["finetuning"], seed, run, state)

    prompts = prompts_of(changes, seed, run, dataset)
    started = time.monotonic()
    candidates = answered(prompts, adapter, changes, run, state)
    seconds = time.monotonic() - started

    records, _ = judge(candidates, run)
    evaluations = [record | {"protocol": "{}"} for record in records]
    table, admitted = admit(
        join(candidates, evaluations),
        read_corpus([run.corpus], KNOWN_COLUMNS),
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


def prompts_of(changes: Changes, seed: int, run: Run, dataset: DatasetMetadata) -> list[PromptRow]:
    """Return more prompts than any variant answers."""
    settings = run.config["prompts"] | changes.get("prompts", {})
    template = read_template(ROOT / settings["template"])
    hints = read_hints(ROOT / settings["hints"])
    budget = run.config["evaluation"]["parameter_budget"]
    parts = PromptParts(
        PromptTexts(template, hints),
        task_of(dataset, epochs=1, parameter_budget=budget),
        References(read_corpus([run.corpus]).to_dicts(), settings["references"]),
    )
    return cycle_prompts("experiment", 1, seed, 999, parts)


def answered(
    prompts: list[PromptRow], adapter: Path, changes: Changes, run: Run, state: Path
) -> list[GeneratedCandidate]:
    """Return the candidates that the budget pays for."""
    generation = run.config["generation"] | COMMON | changes.get("generation", {})
    settings = Generation(**generation)
    loading = Loading(**run.config["loading"])

    def answer(rows: list[PromptRow], kept: Path) -> list[GeneratedCandidate]:
        job = GenerationJob(run.model.parent, adapter, settings, loading, kept)
        return generate(rows, job, run.device)[0]

    candidates: list[GeneratedCandidate] = []
    while tokens(candidates) <= run.budget and len(candidates) < len(prompts):
        start = len(candidates)
        batch = prompts[start : start + generation["batch_size"]]
        kept = state / f"answers-{start}.jsonl"
        answers = answer(batch, kept)
        if changes.get("judged"):
            answers = repaired(answers, answer, kept.with_suffix(".repairs.jsonl"), run)
        candidates += answers

    while tokens(candidates) > run.budget:
        candidates.pop()
    return candidates


def judge(
    candidates: list[GeneratedCandidate], run: Run
) -> tuple[list[CandidateRecord], ShardRunRecord]:
    """Return (records of the candidates, run record)."""
    return evaluate(
        candidates,
        run.dataset,
        Evaluation(**run.config["evaluation"]),
        run.config["random_seed"],
        run.store,
        run.resources,
    )


def tokens(candidates: Iterable[GeneratedCandidate]) -> int:
    return sum(row["new_tokens"] for row in candidates)


def repaired(
    candidates: list[GeneratedCandidate], answer: Answer, kept: Path, run: Run
) -> list[GeneratedCandidate]:
    """Return the candidates; of those that fail before the judge a repair is asked for once.

    All of it stands in one turn of the user. The generate stage does not do this, for it runs no
    program: its `repairs` are of faults that are seen without running it.
    """
    records, _ = judge(candidates, run)
    failed = []
    prompts = []
    for index, (candidate, record) in enumerate(zip(candidates, records)):
        if record["outcome"] == "trained" or not candidate["program"]:
            continue
        reason = ": ".join(filter(None, (record["outcome"], record["detail"])))
        fault = REPAIR.format(reason=reason)
        prompt = f"{candidate['prompt']}\n\n```python\n{candidate['program']}```\n\n{fault}"
        seed = derive(candidate["seed"], "repair")
        failed.append(index)
        prompts.append(candidate | {"seed": seed, "prompt": prompt})

    last = list(candidates)
    for index, repair in zip(failed, answer(prompts, kept)):
        before = candidates[index]
        # What the first answer took is spent as well.
        spent = tokens([before, repair])
        last[index] = repair | {"prompt": before["prompt"], "new_tokens": spent}
    return last


def trained(changes: Section, seed: int, run: Run, state: Path) -> Path:
    """Return the adapter that goes on from that of cycle 0 with some of the seed corpus."""
    folder = state / "adapter"
    output = folder / "adapter_model.safetensors"
    if not output.is_file():
        programs = TrainingPrograms(corpus=read_corpus_programs([run.corpus]), admitted=[])
        settings = Finetuning(**one_pass(run.config) | changes)
        loading = Loading(**run.config["loading"])
        job = AdapterJob(run.model.parent, run.adapter, folder, state, settings, loading, seed)
        finetune(programs, job, run.device)
    return output


def one_pass(config: Settings) -> Section:
    """Return the settings by which variants of the training go on: those of a cycle of the demo."""
    return effective(config, "finetuning", "main", 1) | {"train_on": "seed_corpus", "replay": 24}


class Interval(NamedTuple):
    """The ends of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What came of a variant over its seeds: a row of the table; None where nothing was valid.

    Differences are from the variant `reference`, seed by seed.
    """

    variant: str
    seeds: int
    candidates: int
    new_tokens: int
    valid: int
    valid_share: float | None
    valid_interval: Interval
    distinct_share: float | None
    accuracy: float | None
    accuracy_interval: Interval | None
    admitted: int
    admitted_per_10k_tokens: float
    admitted_interval: Interval | None
    reference: str | None
    difference: float | None
    difference_interval: Interval | None
    accuracy_difference: float | None
    accuracy_difference_interval: Interval | None


def rows_of_table(cells: Cells, budget: int) -> list[Row]:
    """Return a row a variant: valid share with Wilson's interval, accuracy and yield with t."""
    rows = []
    for name in cells:
        reference = REFERENCES.get(name, BASELINE) if name != BASELINE else None
        rows.append(row_of(name, reference, cells, budget))
    return rows


def row_of(name: str, reference: str | None, cells: Cells, budget: int) -> Row:
    by_seed = cells[name]
    base = cells.get(reference or "", {})
    counted = list(by_seed.values())
    candidates = sum(counts["candidates"] for counts in counted)
    valid = sum(counts["valid"] for counts in counted)
    distinct = sum(counts["distinct"] for counts in counted)

    yields = [per_10k(counts, budget) for counts in counted]
    accuracies = [counts["accuracy"] for counts in counted if counts["accuracy"] is not None]

    differences = []
    accuracy_differences = []
    for seed, counts in by_seed.items():
        if seed not in base:
            continue
        differences.append(per_10k(counts, budget) - per_10k(base[seed], budget))
        ours, theirs = counts["accuracy"], base[seed]["accuracy"]
        if ours is not None and theirs is not None:
            accuracy_differences.append(ours - theirs)

    return Row(
        variant=name,
        seeds=len(by_seed),
        candidates=candidates,
        new_tokens=sum(counts["new_tokens"] for counts in counted),
        valid=valid,
        valid_share=valid / candidates if candidates else None,
        valid_interval=Interval(*wilson(valid, candidates)),
        distinct_share=distinct / candidates if candidates else None,
        accuracy=mean(accuracies),
        accuracy_interval=interval(accuracies),
        admitted=sum(counts["admitted"] for counts in counted),
        admitted_per_10k_tokens=statistics.fmean(yields),
        admitted_interval=interval(yields),
        reference=reference,
        difference=mean(differences),
        difference_interval=interval(differences),
        accuracy_difference=mean(accuracy_differences),
        accuracy_difference_interval=interval(accuracy_differences),
    )


def per_10k(counts: Counts, budget: int) -> float:
    return 1e4 * counts["admitted"] / budget


def mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def interval(values: list[float]) -> Interval | None:
    """Return Student's interval; None for fewer than two values."""
    ends = mean_interval(values)
    return Interval(*ends) if ends else None


HEADS = (
    "variant",
    "seeds",
    "candidates",
    "valid %",
    "distinct %",
    "accuracy %",
    "admitted per 10,000 new tokens",
    "difference",
    "of accuracy %",
    "from",
)


def show(rows: list[Row]) -> None:
    """Print the table in Markdown."""
    lines = [HEADS]
    for row in rows:
        valid = 100 * (row.valid_share or 0)
        distinct = 100 * (row.distinct_share or 0)
        accuracy = 100 * (row.accuracy or 0)
        lines.append(
            (
                row.variant,
                str(row.seeds),
                str(row.candidates),
                f"{valid:.1f}{ends_of(row.valid_interval, 100)}",
                f"{distinct:.0f}",
                f"{accuracy:.1f}{ends_of(row.accuracy_interval, 100)}",
                f"{row.admitted_per_10k_tokens:.1f}{ends_of(row.admitted_interval)}",
                change(row.difference, row.difference_interval),
                change(row.accuracy_difference, row.accuracy_difference_interval, 100),
                row.reference or "",
            )
        )

    texts = [f"| {' | '.join(line)} |" for line in lines]
    rule = "|---" * len(HEADS) + "|"
    print("\n".join([texts[0], rule, *texts[1:]]))


def ends_of(interval: Interval | None, scale: float = 1.0) -> str:
    """Return an interval after the number that it belongs to; nothing for None."""
    if interval is None:
        return ""
    return f" [{scale * interval.low:.1f}, {scale * interval.high:.1f}]"


def change(difference: float | None, interval: Interval | None, scale: float = 1.0) -> str:
    if difference is None:
        return ""
    return f"{scale * difference:+.1f}{ends_of(interval, scale)}"


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
    run = Run(
        config=config,
        results=results,
        model=model,
        dataset=dataset,
        store=output / "evaluations",
        resources=JobResources(device),
        device=device,
        budget=budget,
    )
    names = list(VARIANTS)
    if variants:
        names = [name.strip() for name in variants.split(";")]

    inputs = inputs_of(run)
    started = time.monotonic()
    cells: Cells = {}
    for seed in range(first, first + seeds):
        for name in names:
            whole_key = json.dumps([inputs, VARIANTS[name], seed], sort_keys=True)
            key = sha256_text(whole_key)[:16]
            path = output / "cells" / f"{key}.json"
            if not path.is_file():
                if time.monotonic() - started > 60 * minutes:
                    continue
                counts = cell(VARIANTS[name], seed, run, output / "state" / key)
                write_json(path, {"variant": name, "seed": seed, **counts})
                print(f"seed {seed}, {name}: {counts}", flush=True)
            finished = cast(Counts, read_json(path, "candidates", "admitted"))
            cells.setdefault(name, {})[seed] = finished

    table = rows_of_table(cells, budget)
    show(table)
    written = [asdict(row) for row in table]
    write_json(output / "experiments.json", {"budget": budget, "table": written, "cells": cells})


def inputs_of(run: Run) -> list[object]:
    """Return all that an experiment depends on beside its variant and its seed."""
    config = run.config
    texts = [ROOT / config["prompts"][name] for name in ("template", "hints")]
    files = [run.adapter, run.corpus, run.model, run.dataset, Path(__file__), *texts]
    stages = ("write_prompts", "generate", "evaluate", "admit", "finetune")
    codes = [code_digest(ROOT / "scripts" / f"{name}.py") for name in stages]
    sections = ("prompts", "evaluation", "admission", "novelty", "loading")

    return [
        config["random_seed"],
        *map(sha256_file, files),
        *codes,
        run.budget,
        config["generation"] | COMMON,
        {name: config[name] for name in sections},
        one_pass(config),
    ]


if __name__ == "__main__":
    main()
