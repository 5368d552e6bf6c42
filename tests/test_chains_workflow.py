"""Every kind of chain beside the finished run: the model that its main chain used, real images, real Snakemake."""

import json
import subprocess
import sys

import pytest
import yaml
from sklearn.datasets import load_digits
from small_run import copy, small_settings
from small_run import run as run_in
from workflow import command, contents, snakemake

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.files import sha256_file

pytestmark = pytest.mark.workflow
NOTHING = {"admission": {"threshold": 1.0}}
ALL = {"admission": {"threshold": 0.0}, "novelty": {"gate": "none"}}
FROZEN = {"finetuning": {"train_on": "none"}}
ONE = {"dataset": "digits", "cycles": 1, "cycle": {"candidates": 3, "shards": 1}}
KINDS = {
    "frozen": ONE | FROZEN | NOTHING | {"cycles": 2},
    "bare": ONE | FROZEN | {"start": "base"},
    "seed_only": ONE | NOTHING | {"finetuning": {"train_on": "seed_corpus"}},
    "random": ONE | ALL | {"source": "families"},
    "moved": ONE | FROZEN | {"dataset": "folder", "start": "main"},
    "designs": ONE | ALL | {"dataset": "folder", "source": "random"},
    # Nothing was admitted there: no candidates.
    "nothing": ONE | {"dataset": "folder", "source": "frozen"},
}


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """A copy of the finished run whose settings have more chains, one of every kind."""
    folder = copy(finished, tmp_path_factory.mktemp("chains") / "copy")
    digits, labels = load_digits(return_X_y=True)
    write_pictures(folder / "pictures", digits[:80], labels[:80])
    config = small_settings()
    config["data"] |= {"folder": "pictures", "folder_pixels": 8}
    config["chains"] |= KINDS
    (folder / "chains.yaml").write_text(yaml.safe_dump(config))
    return folder


def write_pictures(folder, digits, labels):
    from PIL import Image

    for at, (digit, label) in enumerate(zip(digits, labels)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((digit.reshape(8, 8) * 15).astype("uint8")).save(folder / str(label) / f"{at}.png")


@pytest.fixture(scope="module")
def run(folder):
    main = contents(folder, ["results/seed/**/*", "results/main/cycle-*/**/*"])
    done = snakemake(folder, "--configfile", str(folder / "chains.yaml"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(folder, list(main)) == main, "more chains made finished ones again"
    return folder / "results"


def candidates(run, chain, cycle=1):
    return read_candidates([run / chain / f"cycle-{cycle}" / "candidates.parquet"])


def test_ancestors_are_planned_once_and_frozen_chains_without_fine_tuning(folder):
    plan = snakemake(folder, "--configfile", str(folder / "chains.yaml"), "--forceall", "--dry-run").stdout
    jobs = {line.split()[0]: line.split()[1] for line in plan.splitlines() if len(line.split()) == 2}
    wanted = {"write_seed_programs": 1, "evaluate_seed": 1, "build_seed_corpus": 1, "finetune_seed": 1}
    wanted |= {
        "finetune": 3,
        "generate": 9,
        "write_prompts": 7,
        "draw_families": 1,
        "transfer": 2,
        "evaluate": 12,
        "admit": 10,
    }
    assert {name: jobs.get(name) for name in wanted} == {name: str(count) for name, count in wanted.items()}


# A dry run that tells of each planned job its rule, its chain and its priority.
TELL = """
import json, sys
import snakemake.logging
from snakemake.cli import main
def tell(record):
    if hasattr(record, "rule_name") and hasattr(record, "jobid"):
        chain = (record.wildcards or {}).get("chain")
        print("TOLD", json.dumps([record.rule_name, chain, record.priority]))
    return True
snakemake.logging.logger.addFilter(tell)
main(sys.argv[1:])
"""


def test_the_seed_corpus_and_the_first_chains_come_first(folder):
    _, _, _, *arguments = command(folder, "--configfile", str(folder / "chains.yaml"), "--forceall", "--dry-run")
    done = subprocess.run([sys.executable, "-c", TELL, *arguments], capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("TOLD "):
            rule, chain, priority = json.loads(line.removeprefix("TOLD "))
            found.setdefault(chain or rule, set()).add(priority)
    order = [name for name in yaml.safe_load((folder / "chains.yaml").read_text())["chains"] if name != "seed"]
    assert {chain: found.get(chain) for chain in order} == {name: {len(order) - at} for at, name in enumerate(order)}
    assert found["prepare_model"] == found["evaluate_seed"] == found["finetune_seed"] == {len(order)}


def test_a_frozen_chain_generates_with_the_adapter_it_starts_from(run):
    digest = sha256_file(run / "seed" / "adapter" / "adapter_model.safetensors")
    assert {row for cycle in (1, 2) for row in candidates(run, "frozen", cycle)["adapter"]} == {digest}
    moved = sha256_file(run / "main" / "cycle-2" / "adapter" / "adapter_model.safetensors")
    assert set(candidates(run, "moved")["adapter"]) == {moved}
    assert set(candidates(run, "bare")["adapter"]) == {None}
    assert not (run / "frozen" / "cycle-1" / "adapter").exists()
    assert json.loads((run / "frozen" / "cycle-2" / "summary.json").read_text())["adapter_carried_on"] is None


def test_a_fixed_corpus_trains_although_nothing_was_admitted(run):
    training = json.loads((run / "seed_only" / "cycle-1" / "adapter" / "training.json").read_text())
    seed = read_corpus([run / "seed" / "corpus.parquet"])
    assert not training["carried_on"] and training["pairs"] == seed.height


def test_random_search_admits_whatever_trains_where_nothing_gates(run):
    found = candidates(run, "random")
    assert found.height == 3 and set(found["new_tokens"]) == {0}
    assert set(found["family"]) <= set(small_settings()["seed_corpus"]["families"])
    assert found.filter(outcome="admitted").height == 3


def test_designs_are_judged_on_the_target_and_keep_their_lineage(run):
    source = read_corpus([run / "random" / "cycle-1" / "corpus.parquet"])
    found = candidates(run, "designs")
    assert dict(zip(found["origin"], found["program"])) == dict(zip(source["id"], source["program"]))
    assert set(found["dataset"]) == {"folder"} and found.filter(outcome="admitted").height >= 1
    assert set(found["evaluation"]).isdisjoint(source["evaluation"])


def test_a_source_that_admitted_nothing_gives_a_chain_without_candidates(run):
    assert candidates(run, "nothing").height == 0
    assert json.loads((run / "nothing" / "cycle-1" / "summary.json").read_text())["valid"]["share"] is None


def test_one_more_repeat_builds_its_own_jobs_and_the_report_alone(run, folder):
    config = yaml.safe_load((folder / "chains.yaml").read_text())
    config["chains"]["frozen"]["repeats"] = 2
    (folder / "more.yaml").write_text(yaml.safe_dump(config))
    before = contents(run, ["**/*.parquet", "**/*.jsonl"])
    plan = snakemake(folder, "--configfile", str(folder / "more.yaml"), "--dry-run").stdout
    started = {line.split("Chain ")[1].split(",")[0].split(":")[0] for line in plan.splitlines() if ": Chain " in line}
    assert started == {"frozen_s2"}
    assert contents(run, ["**/*.parquet", "**/*.jsonl"]) == before


def test_the_provenance_of_every_chain_is_whole(run, folder):
    done = run_in(folder, "scripts/verify.py", "results")
    assert done.returncode == 0, done.stdout


def test_a_candidate_of_every_kind_of_chain_is_made_again(run, folder):
    identities = ["main-01-0000", "frozen-02-0001", "bare-01-0002", "random-01-0001", "designs-01-0000"]
    done = run_in(folder, "scripts/replay.py", *identities, "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr

    said = {}
    for line in done.stdout.splitlines():
        name = line.strip().partition(": ")[0]
        if name.removesuffix(":") in identities:
            said[name.removesuffix(":")] = steps = []
        else:
            steps.append(name.split())
    written = [[name, "same"] for name in ("prompt", "answer", "program", "evaluation", "verdict")]
    drawn = [[name, "same"] for name in ("program", "evaluation", "verdict")]
    assert said == dict(zip(identities, [written, written, written, drawn, drawn]))
