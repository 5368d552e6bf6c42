"""What learning from failed programs is worth: sft, dpo and kto side by side, from one cycle and
under one budget.

python benchmarks/preferences.py --configfile config/demo.yaml \\
    --output benchmarks/results/preferences

Run where that cycle of the chain is finished (snakemake results/CHAIN/cycle-N/candidates.parquet).
From its adapter, corpus and verdicts each method trains an adapter in one pass; sft besides in as
many as come nearest to the most tokens that another saw. Each adapter, and the one before, answers
the same new prompts with the same seeds, and the judge decides. What is there already is kept, so a
comparison that was cut goes on. Prints a table with 95 % intervals.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import click
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop import layout  # noqa: E402
from archloop.corpus.tables import read_candidates  # noqa: E402
from archloop.files import read_json, read_jsonl, write_jsonl  # noqa: E402
from archloop.layout import Cell  # noqa: E402
from archloop.outcomes import VALID  # noqa: E402
from archloop.random_seeds import derive  # noqa: E402
from archloop.report.intervals import mean_interval, wilson  # noqa: E402
from archloop.settings.chains import Section, Settings, adapter_after, effective  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.options import options  # noqa: E402


class Verdict(TypedDict):
    """What became of an answer: columns of candidates.parquet."""

    outcome: str
    accuracy: float | None


@dataclass(frozen=True)
class Trained:
    """An adapter that was trained, on how many tokens, in how many seconds."""

    adapter: Path
    tokens: int
    seconds: float


class Comparison:
    """The files of one cycle, the settings that hold there, and the scripts run on them one after
    the other."""

    def __init__(
        self, settings: Settings, results: Path, chain: str, cycle: int, output: Path, device: str
    ):
        self.settings = settings
        self.chain = chain
        self.cycle = cycle
        self.output = output
        self.device = device
        self.folder = Cell(chain, cycle).folder(results)
        adapter = adapter_after(settings, chain, cycle - 1)
        if adapter is None:
            raise click.UsageError(f"chain {chain} has no adapter before cycle {cycle}")
        self.parent = adapter.folder(results) / layout.ADAPTER
        cells = [Cell(layout.SEED, 0), *(Cell(chain, k) for k in range(1, cycle))]
        self.corpus = [cell.folder(results) / layout.CORPUS for cell in cells]
        self.model = layout.manifest_path(settings["model"]["name"])
        self.dataset = layout.dataset_path(settings["chains"][chain]["dataset"])

    def of(self, section: str) -> Section:
        return effective(self.settings, section, self.chain, self.cycle)

    def script(self, name: str, output: Path, words: str) -> None:
        """Run a script unless its output is there already."""
        if output.is_file():
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        program = ROOT / "scripts" / f"{name}.py"
        ended = subprocess.run([sys.executable, program, *shlex.split(words)])
        if ended.returncode:
            sys.exit(f"{name}.py failed; its message stands above")

    def prompts(self, count: int) -> Path:
        path = self.output / "prompts.jsonl"
        texts = {key: str(ROOT / self.of("prompts")[key]) for key in ("template", "hints")}
        judged = self.of("evaluation")
        goal = {key: judged[key] for key in ("epochs", "parameter_budget")}
        asked = options(self.of("prompts") | texts | goal | {"candidates": count})
        seed = derive(self.settings["random_seed"], "preferences")
        self.script(
            "write_prompts",
            path,
            f"--chain {self.chain} --cycle {self.cycle + 1} --dataset {self.dataset}"
            f" {words('corpus', self.corpus)}"
            f" {asked} --seed {seed} --output {path}",
        )
        return path

    def train(self, method: str, epochs: int) -> Trained:
        folder = self.output / f"{method}-{epochs}"
        settings = self.of("finetuning") | {"method": method, "epochs": epochs}
        self.script(
            "finetune",
            folder / "run.json",
            f"--admitted {self.folder}/corpus.parquet {words('corpus', self.corpus)}"
            f" --parent {self.parent} --model {self.model}"
            f" --candidates {self.folder}/candidates.parquet {options(settings)}"
            f" {options(self.settings['loading'], 'loading_')}"
            f" --seed {derive(self.settings['random_seed'], 'preferences', 'finetune')}"
            f" --device {self.device} --state {folder}/state"
            f" --output {folder}/adapter_model.safetensors --run-record {folder}/run.json",
        )
        record = read_json(folder / "run.json", "tokens", "seconds")
        adapter = folder / "adapter_model.safetensors"
        return Trained(adapter, record["tokens"], record["seconds"])

    def judge(self, name: str, adapter: Path, prompts: Path) -> list[Verdict]:
        """Return the verdicts on the answers of one adapter."""
        folder = self.output / name
        write_jsonl(folder / "prompts.jsonl", [row | {"shard": 0} for row in read_jsonl(prompts)])
        sampling = options(self.of("generation") | {"shards": 1})
        loading = options(self.settings["loading"], "loading_")
        self.script(
            "generate",
            folder / "generated.jsonl",
            f"--prompts {folder}/prompts.jsonl --shard 0 --model {self.model}"
            f" --adapter {adapter} {sampling} {loading}"
            f" --device {self.device} --state {folder}/state --output {folder}/generated.jsonl"
            f" --run-record {folder}/generated.run.json",
        )
        self.script(
            "evaluate",
            folder / "evaluated.json",
            f"--candidates {folder}/generated.jsonl --dataset {self.dataset}"
            f" {options(self.of('evaluation'))} --seed {self.settings['random_seed']}"
            f" --store results/evaluations --device {self.device}"
            f" --output {folder}/evaluated.json --run-record {folder}/evaluated.run.json",
        )
        self.script(
            "admit",
            folder / "candidates.parquet",
            f"--generated {folder}/generated.jsonl --evaluated {folder}/evaluated.json"
            f" {words('corpus', [*self.corpus, self.folder / 'corpus.parquet'])}"
            f" --dataset {self.dataset}"
            f" {options(self.of('admission'))} {options(self.of('novelty'), 'novelty_')}"
            f" --candidates-output {folder}/candidates.parquet"
            f" --corpus-output {folder}/corpus.parquet",
        )
        columns = tuple(Verdict.__annotations__)
        rows = read_candidates([folder / "candidates.parquet"], columns)
        return cast(list[Verdict], rows.to_dicts())


def words(option: str, paths: list[Path]) -> str:
    return " ".join(f"--{option} {path}" for path in paths)


def line(name: str, rows: list[Verdict], trained: Trained | None) -> str:
    """Return what became of the answers of one adapter, and what that adapter cost."""
    valid = [row for row in rows if row["outcome"] in VALID]
    admitted = sum(row["outcome"] == "admitted" for row in rows)
    low, high = wilson(len(valid), len(rows))
    mean = "no accuracy"
    accuracies = [row["accuracy"] for row in valid if row["accuracy"] is not None]
    if accuracies:
        mean = f"mean {sum(accuracies) / len(accuracies):.1%}"
        if ends := mean_interval(accuracies):
            mean += f" [{ends[0]:.1%}, {ends[1]:.1%}]"

    cost = ""
    if trained:
        cost = f"; {trained.tokens} tokens in {trained.seconds:.0f} s"
    share = f"{len(valid) / len(rows):.1%} [{low:.1%}, {high:.1%}]"
    counts = f"valid {len(valid):3} of {len(rows)} ({share}), admitted {admitted:3}"
    return f"{name:7} {counts}, {mean}{cost}"


@click.command(context_settings={"show_default": True})
@click.option(
    "--configfile", required=True, type=click.Path(path_type=Path), help="The settings of that run."
)
@click.option("--chain", default="main", help="A chain of it.")
@click.option("--cycle", default=1, help="A finished cycle of that chain.")
@click.option(
    "--candidates", default=None, type=int, help="New prompts; by default as many as in a cycle."
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for what is made."
)
@click.option("--device", default="auto", help="auto, cpu or cuda.")
def main(configfile, chain, cycle, candidates, output, device) -> None:
    settings = complete(yaml.safe_load(configfile.read_text()))
    work = Comparison(settings, Path("results"), chain, cycle, output, device)
    prompts = work.prompts(candidates or work.of("cycle")["candidates"])
    print(line("before", work.judge("before", work.parent, prompts), None), flush=True)
    adapters = {(method, 1): work.train(method, 1) for method in ("sft", "dpo", "kto")}
    # As many passes of sft as come nearest to the most tokens that a method saw.
    most = max(trained.tokens for trained in adapters.values())
    passes = round(most / max(1, adapters["sft", 1].tokens))
    adapters["sft", passes] = work.train("sft", passes)
    for method, epochs in sorted(adapters):
        name = f"{method}-{epochs}"
        trained = adapters[method, epochs]
        verdicts = work.judge(name, trained.adapter, prompts)
        print(line(name, verdicts, trained), flush=True)


if __name__ == "__main__":
    main()
