"""Result folders for tests of the report: any number of chains and cycles, written with the project's own writers.

The figures are made up, the files are not: the same columns, schemas and places as those of a run.
"""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml
from safetensors.numpy import save_file
from small_data import dataset_metadata

from archloop.corpus.tables import CANDIDATES, CORPUS, write_candidates, write_corpus
from archloop.families.programs import family_names, family_programs
from archloop.files import write_json
from archloop.layout import Cell
from archloop.novelty.graph_fingerprint import fingerprint
from archloop.outcomes import NOT_VALID
from archloop.report.summarize import summarize
from archloop.settings.complete import complete
from archloop.settings.sections import Report

DETAILS = {
    "unparseable": "SyntaxError: '(' was never closed (<unknown>, line {n})",
    "construct": "TypeError: Conv2d.__init__() got an unexpected keyword argument 'chanels{n}'",
    "forward": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x{n} and 512x10)",
    "over_budget": "{n}00000 parameters, 500000 are allowed",
    "timeout": "still training after 600 s",
    "contract": "there is no class Net",
}

# Section report, as a page of a test wants it.
LOOK = Report(
    title="Test <b>",
    loop="main",
    measure="new_good",
    controls=["frozen", "fixed", "random"],
    window=0.3333,
    resamples=200,
    gallery_rows=10,
)
TEST_IMAGES = 10_000  # of every data set


def write_metadata(path: Path) -> None:
    """Write a data set that has its metadata alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = dataset_metadata(images={"test": TEST_IMAGES})
    save_file({"none": np.zeros(1)}, path, {"facts": json.dumps(asdict(metadata))})


def settings(chains: dict, **sections) -> dict:
    """Return complete settings with these chains, and the paper's values elsewhere."""
    config = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())
    return complete(config | sections | {"chains": {"seed": {"dataset": "cifar10"}} | chains})


def write_results(
    folder: Path, whole: dict, candidates: int, unfinished: dict | None = None, taint=lambda row: row, gains=None
):
    """Write a results folder for complete settings.

    candidates: of each cycle. unfinished: chain -> cycles that are there. taint: may change a row. gains: chain ->
    what it and its repeats gain of what a chain gains otherwise (1), from cycle to cycle.
    """
    rng = np.random.default_rng(7)
    programs = _programs()
    seeds = [_row(rng, programs, "seed", 0, at, 60, f"seed-{at:04d}", 0.0) for at in range(60)]
    seeds = [row | {"family": "plain", "test_accuracy": _on_test(row)} for row in seeds]
    corpus = pl.DataFrame([{name: row.get(name) for name in CORPUS} for row in seeds], schema=CORPUS)
    write_corpus(corpus, folder / "seed" / "corpus.parquet")
    write_json(folder / "settings.json", whole)
    for name in {chain["dataset"] for chain in whole["chains"].values()}:
        write_metadata(folder.parent / "resources" / "datasets" / f"{name}.safetensors")
    for chain, chain_settings in whole["chains"].items():
        if chain != "seed":
            known = [row["id"] for row in seeds]
            gain = (gains or {}).get(chain_settings["repeat_of"], 1.0)
            for cycle in range(1, (unfinished or {}).get(chain, chain_settings["cycles"]) + 1):
                known += _write_cycle(folder, whole, chain, cycle, candidates, rng, programs, known, taint, gain)
    return folder


def _write_cycle(folder, whole, chain, cycle, count, rng, programs, known, taint, gain) -> list[str]:
    progress = gain * cycle / (cycle + 5)
    rows, records = [], []
    for at in range(count):
        name = Cell(chain, cycle).candidate_id(at)
        row = _row(rng, programs, chain, cycle, at, count, name, progress)
        row |= {"dataset": whole["chains"][chain]["dataset"], "nearest_id": None, "nearest_source": None}
        if rng.random() > 0.45 + 0.3 * progress:
            outcome = str(rng.choice(list(DETAILS), p=[0.25, 0.25, 0.3, 0.1, 0.02, 0.08]))
            row |= dict.fromkeys(("accuracy", "parameters", "signature", "graph_digest"))
            row |= {"outcome": outcome, "detail": DETAILS[outcome].format(n=int(rng.integers(2, 90)))}
        else:
            near = rng.random() < 0.6 * (1 - progress)
            likeness = (
                0.9 + 0.1 * rng.random() if near else float(np.clip(rng.normal(0.6 - 0.25 * progress, 0.1), 0, 0.89))
            )
            source = "seed" if rng.random() > progress else "earlier" if rng.random() < 0.8 else "same_cycle"
            source = "seed" if len(known) <= 60 else source
            pool = known[:60] if source == "seed" else known[60:]
            row |= {"nearest_id": str(rng.choice(pool)), "nearest_source": source, "nearest_similarity": likeness}
            row |= {"nearest_exact": likeness > 0.8, "text_digest": f"{name if not near else row['nearest_id']:.64}"}
            row["repeat_of"] = row["nearest_id"] if near else None
            row["outcome"] = "below_threshold" if row["accuracy"] < 0.4 else "near_copy" if near else "admitted"
            if near and row["outcome"] == "below_threshold":
                # A copy of what was never admitted: the gate knows nothing that is like it, the reports do.
                row |= {"nearest_similarity": 0.5, "nearest_exact": False}
        row = taint(row)
        row["score"] = row["balanced_accuracy"] = row["accuracy"]
        row["test_accuracy"] = None if row["accuracy"] is None else _on_test(row)
        rows.append(row)
        valid = row["outcome"] not in NOT_VALID
        graph = _graphs()[row["place"]] if valid else None
        records.append({"id": row["id"], "outcome": "trained" if valid else row["outcome"], "graph": graph})
    whole_cycle = pl.DataFrame([{key: row.get(key) for key in CANDIDATES} for row in rows], schema=CANDIDATES)
    place = Cell(chain, cycle).folder(folder)
    write_candidates(whole_cycle, place / "candidates.parquet")
    admitted = whole_cycle.filter(outcome="admitted").select(list(CORPUS))
    write_corpus(admitted, place / "corpus.parquet")
    training = {"carried_on": False, "pairs": 60 + admitted.height, "parent": "ab" * 32, "losses": [0.9, 0.6]}
    write_json(place / "adapter" / "training.json", training)
    write_json(
        place / "summary.json", summarize(whole_cycle, training, 0.4, chain, cycle, whole["chains"][chain]["dataset"])
    )
    write_json(place / "evaluated" / "0.json", {"protocol": {}, "records": records})
    run = {"device": "cuda:0", "isolation": "namespaces", "reused": 3, "seconds": 40.0 + cycle}
    run |= {"candidates": {row["id"]: {"train": 1.0} for row in rows}, "versions": {"torch": "2.14.1"}}
    write_json(place / "evaluated" / "0.run.json", run)
    run = {"device": "cuda:0", "seconds": 20.0 + cycle, "new_tokens": 400 * count, "prompt_tokens": 200 * count}
    write_json(place / "generated" / "0.run.json", run)
    write_json(place / "adapter" / "run.json", {"device": "cuda:0", "seconds": 66.0, "tokens": 40_000, "pairs": 60})
    return admitted["id"].to_list()


def _row(rng, programs, chain, cycle, at, count, name, progress) -> dict:
    place = int(rng.integers(len(programs)))
    noise = int(rng.integers(10**6))
    mean = 0.3 + 0.22 * progress
    # Programs of one family share about half of their hashes.
    own, family = rng.integers(0, 9999, 256), np.random.default_rng(place).integers(0, 9999, 256)
    signature = np.where(rng.random(256) < 0.5, own, family).astype("<u4").tobytes()
    return {
        "id": name,
        "chain": chain,
        "cycle": cycle,
        "index": at,
        "shard": at * 4 // count,
        "dataset": "cifar10",
        "prompt_id": Cell(chain, cycle).prompt_id(at),
        "prompt": "Design a convolutional network for 10 classes. Use at most 500000 parameters.\n",
        "references": [],
        "program": f"# design {noise}\n" + programs[place].replace("out_channels", f"width_{noise % 97}"),
        "accuracy": float(np.clip(rng.normal(mean, 0.1), 0.05, 0.95)),
        "accuracy_sd": float(0.004 + np.random.default_rng(noise).gamma(4, 0.002)),
        "parameters": int(10 ** rng.normal(4.9, 0.35)),
        "outcome": "admitted",
        "adapter": hashlib.sha256(f"{chain} {cycle}".encode()).hexdigest(),
        "seed": noise,
        "evaluation": hashlib.sha256(f"{name} {noise}".encode()).hexdigest(),
        "protocol": "{}",
        "signature": signature,
        "shingle_tokens": 10,
        "graph_digest": hashlib.sha256(f"graph {noise}".encode()).hexdigest(),
        "graph_method": "trace",
        "hint": str(rng.choice(["plain", "residual", "dense"])),
        "raw": "```python\n",
        "detail": "",
        "prompt_tokens": 200,
        "new_tokens": 400,
        "stopped": "fence",
        "place": place,
    }


def _on_test(row: dict) -> float:
    """Return a score of other images: a little lower as a rule, and apart from the first by the error of both."""
    rng = np.random.default_rng(row["seed"])
    return float(np.clip(round((row["accuracy"] - 0.006 + rng.normal(0, 0.02)) * 10_000) / 10_000, 0.03, 0.97))


@cache
def _programs() -> list[str]:
    return [family_programs(family)[0].program for family in family_names()]


@cache
def _graphs() -> list[dict]:
    """The computed graphs of the programs, traced as the judge traces them."""
    found = []
    for program in _programs():
        space = {"__name__": "program"}
        exec(compile(program, "<program>", "exec"), space)
        with torch.device("meta"):
            model = space["Net"]((16, 3, 32, 32), (10,), {"dropout": 0.2, "lr": 0.01, "momentum": 0.9}, "meta")
        found.append(fingerprint(model, (16, 3, 32, 32)))
    return found
