"""The workflow itself, with the real language model, real images and real Snakemake: the smallest run, end to end."""

import json
import re
import shutil
import zipfile

import polars as pl
import pytest
import yaml
from small_run import SETTINGS, run, small_settings
from small_run import copy as copy_of
from workflow import ROOT, contents, kill_when, snakemake

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.outcomes import OUTCOMES, VALID
from archloop.report.parts import FIGURES, TABLES

TEST = ("--configfile", SETTINGS)
UNMADE = ("--configfile", str(ROOT / "tests" / "test.yaml"))  # where the model is to be trained first
# Everything that must be the same in two runs with one seed: all results but how long it took and on what.
EQUAL = [
    "resources/datasets/*.safetensors",
    "results/seed/corpus.parquet",
    "results/seed/*/*[0-9].json*",
    "results/seed/adapter/a*",
    "results/main/*/prompts.jsonl",
    "results/main/*/*/[0-9].json*",
    "results/main/*/*.parquet",
    "results/main/*/adapter/adapter_*",
    "results/main/*/summary.json",
    "results/main/architectures/*",
    "results/seed/**/*.provenance",
    "results/main/**/*.provenance",
    # What a run took differs from run to run, so its tables and picture do, and the page that shows them.
    *(f"results/report/tables/{name}.*" for name in TABLES if name not in ("cost", "results")),
    *(f"results/report/figures/{name}.*" for name in FIGURES),
]

pytestmark = pytest.mark.workflow


def test_the_loop_closes_with_reports_as_targets(finished):
    for name in ("index.html", "figures/fates.svg", "figures/effort.png", "tables/cycles.csv"):
        assert (finished / "results" / "report" / name).stat().st_size > 0
    assert (finished / "results" / "main" / "cycle-2" / "adapter" / "adapter_model.safetensors").is_file()


def test_every_candidate_is_counted_at_exactly_one_outcome(finished):
    for cycle in (1, 2):
        folder = finished / "results" / "main" / f"cycle-{cycle}"
        generated = [line for path in sorted(folder.glob("generated/[0-9].jsonl")) for line in path.open()]
        candidates = read_candidates([folder / "candidates.parquet"])
        summary = json.loads((folder / "summary.json").read_text())
        assert sorted(json.loads(line)["id"] for line in generated) == sorted(candidates["id"])
        assert set(summary["funnel"]) == set(OUTCOMES)
        assert sum(summary["funnel"].values()) == summary["candidates"] == len(generated) == 8
        counted = dict(candidates["outcome"].value_counts().iter_rows())
        assert {name: count for name, count in summary["funnel"].items() if count} == counted


def test_the_next_cycle_starts_from_the_adapter_of_the_one_before(finished):
    import hashlib

    for cycle, parent in ((1, "seed"), (2, "main/cycle-1")):
        adapter = finished / "results" / parent / "adapter" / "adapter_model.safetensors"
        digest = hashlib.sha256(adapter.read_bytes()).hexdigest()
        folder = finished / "results" / "main" / f"cycle-{cycle}"
        rows = [json.loads(line) for path in folder.glob("generated/[0-9].jsonl") for line in path.open()]
        assert {row["adapter"] for row in rows} == {digest}


def test_a_training_pair_carries_the_prompt_it_was_written_for(finished):
    seed = read_corpus([finished / "results" / "seed" / "corpus.parquet"])
    assert seed.height >= 8
    assert seed["prompt"].n_unique() == 4  # families
    for cycle in (1, 2):
        folder = finished / "results" / "main" / f"cycle-{cycle}"
        asked = {row["id"]: row["prompt"] for row in map(json.loads, (folder / "prompts.jsonl").open())}
        for row in read_corpus([folder / "corpus.parquet"]).iter_rows(named=True):
            assert row["prompt"] == asked[row["id"]]
            assert "\n" in row["program"] and "\\n" not in row["program"]
            assert row["parameters"] > 0


def test_the_end_of_a_run_shows_the_funnel_and_the_report(finished):
    terminal = (finished / "terminal.txt").read_text()
    assert "chain main: 2 of 2 cycles finished" in terminal
    assert "report: results/report/index.html" in terminal
    assert "finished</h1>" in (finished / "results" / "live.html").read_text()


def test_a_person_sees_cycle_stage_rate_and_time_left(finished):
    terminal = (finished / "terminal.txt").read_text()
    assert "Chain main, cycle 2: generating candidates, shard 1" in terminal
    assert "candidates/" in terminal and "tokens/s" in terminal
    assert " left" in terminal


def test_a_finished_run_has_nothing_to_do(finished):
    again = snakemake(finished, *TEST)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_killed_in_generate_evaluate_and_finetune_it_ends_with_the_same_bytes(finished, copy):
    results = copy / "results"
    for name in ("main/cycle-2", "main/architectures", "report", "evaluations"):
        shutil.rmtree(results / name)
    kept = contents(copy, ["results/**/*"])

    kill_when(lambda: any(results.glob("state/main/cycle-2/generate-*/*")), copy, *TEST)
    kill_when(lambda: any(results.glob("evaluations/*")), copy, *TEST)
    assert len(list(results.glob("main/cycle-2/evaluated/[01].json"))) < 2
    kill_when((results / "state/main/cycle-2/checkpoint.pt").exists, copy, *TEST)

    done = snakemake(copy, *TEST)
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(copy, EQUAL) == contents(finished, EQUAL)
    assert "resuming after step" in (copy / "logs/main/cycle-2/finetune.log").read_text()

    again = contents(copy, list(kept))
    changed = {path for path, digest in kept.items() if again.get(path) != digest}
    told = {"results/preflight.json", "results/requests.json", "results/live.html"}
    assert changed <= told, "a finished job was done again"


@pytest.fixture
def config() -> dict:
    """The settings of the finished run, for a test to change."""
    return small_settings()


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run that a test may change."""
    return copy_of(finished, tmp_path / "copy")


def test_every_file_of_a_run_is_as_it_was_made(finished):
    checked = run(finished, "scripts/verify.py", "results")
    assert checked.returncode == 0, checked.stdout


def test_a_cycle_that_admits_nothing_closes_and_the_next_one_runs(copy, config):
    config["chains"]["main"]["at"] = {1: {"admission": {"threshold": 1.0}}}
    path = copy / "none.yaml"
    path.write_text(yaml.safe_dump(config))
    wanted = [f"results/main/{name}" for name in ("cycle-1/summary.json", "cycle-2/generated/0.jsonl")]
    done = snakemake(copy, *wanted, "--configfile", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    first = json.loads((copy / wanted[0]).read_text())
    assert first["funnel"]["admitted"] == 0 and first["adapter_carried_on"]
    assert read_corpus([copy / "results/main/cycle-1/corpus.parquet"]).height == 0
    assert len((copy / wanted[1]).read_text().splitlines()) == 4
    carried = [copy / f"results/{name}/adapter/adapter_model.safetensors" for name in ("seed", "main/cycle-1")]
    assert carried[0].read_bytes() == carried[1].read_bytes()


def test_settings_that_are_wrong_stop_the_run_with_one_line_and_lose_nothing(copy, config, tmp_path):
    before = contents(copy, EQUAL)
    config["generation"]["temprature"] = 1
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config))
    done = snakemake(copy, "--configfile", str(path))
    assert done.returncode != 0
    assert ": generation.temprature is no setting; did you mean temperature?" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert contents(copy, EQUAL) == before


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("folder", "no such folder"),
        ("gguf", "cannot be read as GGUF"),
        ("dataset", "resources/datasets/digits.safetensors"),
    ],
)
def test_a_missing_model_and_truncated_files_are_named(copy, config, tmp_path, kind, says):
    path = tmp_path / "broken.yaml"
    if kind == "dataset":
        data = copy / "resources" / "datasets" / "digits.safetensors"
        data.write_bytes(data.read_bytes()[:1000])
        shutil.rmtree(copy / "results" / "main")
    elif kind == "folder":
        config["model"] = {"name": "gone", "reference": f"folder:{tmp_path}/nowhere"}
    else:
        (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x01" * 50)
        config["model"] = {"name": "cut", "reference": f"gguf:{tmp_path}/cut.gguf"}
    path.write_text(yaml.safe_dump(config))
    seed = contents(copy, ["results/seed/corpus.parquet"])
    done = snakemake(copy, "--configfile", str(path), "--notemp")
    assert done.returncode != 0
    # As a script ends, as the preflight lists it, or as a setting that names what is not there.
    beginnings = r"\s+error[: ]|settings in "
    lines = [line for line in (done.stderr + done.stdout).splitlines() if re.match(beginnings, line)]
    assert any(says in line for line in lines), done.stderr[-3000:]
    assert "Traceback" not in done.stderr + done.stdout
    assert contents(copy, ["results/seed/corpus.parquet"]) == seed


def test_the_papers_run_is_planned_without_gpu_model_or_data(papers_plan):
    for rule, count in {
        "generate": 572,
        "evaluate": 572,
        "finetune": 66,
        "finetune_seed": 1,
        "summarize": 88,
        "prepare_dataset": 3,
    }.items():
        assert any(line.split() == [rule, str(count)] for line in papers_plan.splitlines()), (rule, papers_plan[-2000:])


def test_the_templates_of_the_families_are_inputs_of_the_seed_corpus(tmp_path):
    graph = snakemake(tmp_path, *UNMADE, "--filegraph")
    assert "scripts/archloop/families/templates/plain.py.j2" in graph.stdout, graph.stderr[-2000:]


def test_results_that_cannot_be_written_stop_the_run_in_one_line(tmp_path):
    (tmp_path / "results" / "settings.json").mkdir(parents=True)
    done = snakemake(tmp_path, *UNMADE)
    assert done.returncode != 0
    assert "results: Is a directory" in done.stderr + done.stdout


def test_numbers_of_the_report_are_those_of_the_candidates(finished):
    table = pl.read_csv(finished / "results" / "report" / "tables" / "cycles.csv")
    for row in table.iter_rows(named=True):
        frame = pl.read_parquet(finished / f"results/main/cycle-{row['cycle']}/candidates.parquet")
        valid = frame.filter(pl.col("outcome").is_in(VALID))
        assert row["valid_count"] == valid.height
        assert row["admitted"] == frame.filter(pl.col("outcome") == "admitted").height
        assert row["accuracy_mean"] == pytest.approx(valid["accuracy"].mean()) or valid.height == 0


def test_a_method_that_learns_from_failures_takes_the_verdicts_and_leaves_cycle_0_alone(finished, config, tmp_path):
    config["finetuning"] |= {"method": "kto", "beta": 0.2}
    path = tmp_path / "kto.yaml"
    path.write_text(yaml.safe_dump(config))
    plan = snakemake(finished, "--configfile", str(path), "--dry-run", "--printshellcmds").stdout
    assert "--candidates results/main/cycle-1/candidates.parquet" in plan and "--method kto" in plan
    for spared in ("Cycle 0", "cycle 1: generating"):
        assert spared not in plan


def test_snakemakes_own_report_has_the_page_the_figures_and_the_tables(finished):
    done = snakemake(finished, *TEST, "--report", str(finished / "own.zip"))
    assert done.returncode == 0, done.stderr[-3000:]
    names = zipfile.ZipFile(finished / "own.zip").namelist()
    for name in ("index.html", *(f"{figure}.svg" for figure in FIGURES), *(f"{table}.csv" for table in TABLES)):
        assert any(path.endswith(f"/{name}") for path in names), name


def planned(folder, path) -> dict[str, int]:
    """Return rule -> number of jobs that a run with these settings would have."""
    plan = snakemake(folder, "--configfile", str(path), "--dry-run", "--quiet", "host").stdout
    rows = (line.split() for line in plan.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


@pytest.mark.parametrize("change", ["deleted", "another"])
def test_the_preflight_pulls_no_finished_stage_along(copy, config, tmp_path, change):
    if change == "deleted":
        (copy / "results" / "preflight.json").unlink()
    else:
        (copy / "results" / "preflight.json").write_text("{}")
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(config))
    assert planned(copy, path) == {}
    config["chains"]["main"]["cycles"] = 3
    path.write_text(yaml.safe_dump(config))
    jobs = planned(copy, path)
    stages = ("generate", "evaluate", "finetune", "evaluate_seed", "finetune_seed")
    assert {rule: jobs.get(rule) for rule in stages} == {
        **{"generate": 2, "evaluate": 2, "finetune": 1},
        **{"evaluate_seed": None, "finetune_seed": None},
    }


def test_a_new_data_set_hides_no_other_change_from_the_plan(copy, config, tmp_path):
    config["chains"]["other"] = {"dataset": "mnist", "cycles": 1}
    config["generation"]["temperature"] = 0.9
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(config))
    jobs = planned(copy, path)
    assert {rule: jobs.get(rule) for rule in ("prepare_dataset", "preflight", "generate", "evaluate_seed")} == {
        **{"prepare_dataset": 1, "preflight": None, "generate": 6, "evaluate_seed": None}
    }


def test_a_run_that_goes_on_checks_again_and_queues_nothing_when_a_check_fails(copy, config, tmp_path):
    config["chains"]["main"]["cycles"] = 3
    config["execution"] = {"device": "cuda:99"}
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(config))
    before = contents(copy, EQUAL)
    done = snakemake(copy, "--configfile", str(path))
    assert done.returncode != 0
    assert "preflight: 1 of" in done.stderr and "checks failed (device); nothing is queued" in done.stderr
    assert "generating" not in done.stderr and not (copy / "results" / "main" / "cycle-3").exists()
    assert "Traceback" not in done.stderr
    assert contents(copy, EQUAL) == before
