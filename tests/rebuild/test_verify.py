"""verify.py names what is stale, missing or altered in a results folder, one line each; replay.py what differs."""

import json

import polars as pl
import pytest
from small_run import edit, run

from archloop.corpus.tables import read_candidates, write_candidates
from archloop.evaluation.score_store import ScoreStore, all_records
from archloop.files import read_json, write_json

pytestmark = pytest.mark.workflow
CYCLE = "results/main/cycle-1"
VERIFY = ("scripts/verify.py", "results")


def test_a_finished_run_is_whole(finished):
    done = run(finished, *VERIFY)
    assert done.returncode == 0, done.stdout
    (line,) = done.stdout.splitlines()
    assert line.endswith(": 0 missing, 0 altered, 0 stale, 0 broken, 0 wrong")


def _alter(folder):
    (folder / CYCLE / "prompts.jsonl").write_text("{}\n")


def _lose(folder):
    (folder / CYCLE / "adapter" / "adapter_config.json").unlink()


def _lose_provenance(folder):
    (folder / CYCLE / "summary.json.provenance").unlink()


def _half_written(folder):
    path = folder / CYCLE / "generated" / "0.jsonl.provenance"
    path.write_text(path.read_text()[:100])


def _deep(folder):
    (folder / CYCLE / "summary.json.provenance").write_text("[" * 100_000)


def _other_shape(folder):
    path = folder / CYCLE / "summary.json.provenance"
    write_json(path, read_json(path) | {"outputs": {"summary.json": 3}})


def _stray(folder):
    (folder / CYCLE / "notes.txt").write_text("mine")


def _code(folder):
    edit(folder / "scripts/archloop/report/summarize.py", "total = candidates.height", "total = candidates.height + 0")


def _settings(folder):
    edit(folder / "results/settings.json", '"max_new_tokens": 200', '"max_new_tokens": 201')


def _hints(folder):
    edit(folder / "config/prompts/hints_demo.yaml", "Use dilated", "Do use dilated")


def _outcome(folder):
    path = folder / CYCLE / "candidates.parquet"
    whole = read_candidates([path])
    write_candidates(whole.with_columns(outcome=pl.lit("contract")), path)


def _score(folder):
    store = folder / "results/evaluations"
    (path, key, read), *_ = all_records(store)
    changed = read() | {"outcome": "trained", "accuracy": 1.0}
    path.unlink()
    ScoreStore(store).put(key, changed)


def _settings_of_another_shape(folder):
    (folder / "results/settings.json").write_text('{"chains": 3, "random_seed": []}')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_alter, "altered: results/main/cycle-1/prompts.jsonl: other bytes"),
        (_lose, "missing: results/main/cycle-1/adapter/adapter_config.json: "),
        (_lose_provenance, "missing: results/main/cycle-1/summary.json.provenance: no provenance"),
        (_half_written, "broken: results/main/cycle-1/generated/0.jsonl.provenance: not whole JSON"),
        (_deep, "broken: results/main/cycle-1/summary.json.provenance: "),
        (_other_shape, "broken: results/main/cycle-1/summary.json.provenance: no provenance of this workflow"),
        (_stray, "missing: results/main/cycle-1/notes.txt.provenance: "),
        (_code, "stale: results/main/cycle-1/summary.json: the code of summarize has changed"),
        (
            _settings,
            "stale: results/main/cycle-1/generated/0.jsonl: generation.max_new_tokens was 200, the settings say",
        ),
        (_hints, "stale: results/main/cycle-1/prompts.jsonl: made from another config/prompts/hints_demo.yaml"),
        (_outcome, "wrong: results/main/cycle-1/summary.json: other counts"),
        (_score, "the score of "),
        (_settings_of_another_shape, "broken: settings: "),
    ],
    ids=lambda value: getattr(value, "__name__", None) or "",
)
def test_what_is_wrong_is_named_in_a_line(changed, damage, says):
    damage(changed)
    done = run(changed, *VERIFY)
    assert done.returncode == 1
    assert any(says in line for line in done.stdout.splitlines()), done.stdout
    assert "Traceback" not in done.stderr


def test_lineage_leads_every_output_back_to_the_model_the_data_and_the_seed(finished):
    """Follow the digests: each input is what another job made, a file of the repository, or the prepared model."""
    made, wanted = {}, {}
    for path in [*finished.glob("results/**/*.provenance"), *finished.glob("resources/datasets/*.provenance")]:
        found = json.loads(path.read_text())
        made |= {str((path.parent / name).resolve()): digest for name, digest in found["outputs"].items()}
        wanted |= {str((finished / name).resolve()): digest for name, digest in found["inputs"].items()}
    unmade = {name for name in wanted if name not in made}
    assert all(made[name] == digest for name, digest in wanted.items() if name in made)
    assert all(
        "/config/" in name or "/families/" in name or "/report/" in name or "manifest" in name for name in unmade
    )


def test_a_candidate_is_made_again_byte_for_byte(finished):
    done = run(finished, "scripts/replay.py", "main-02-0001", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.split()[:2] for line in done.stdout.splitlines()]
    assert said == [[name, "same:"] for name in ("prompt", "answer", "program", "evaluation", "verdict")]


def test_a_replay_says_what_came_out_otherwise(changed):
    path = changed / CYCLE / "candidates.parquet"
    whole = read_candidates([path])
    write_candidates(whole.with_columns(raw=pl.lit("forged"), prompt=pl.col("prompt") + "!"), path)
    done = run(changed, "scripts/replay.py", "main-01-0000", "--device", "cpu")
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()[:2]] == ["DIFFERS:", "DIFFERS:"], done.stdout


def test_an_unknown_candidate_gets_one_line(finished):
    done = run(finished, "scripts/replay.py", "main-01-0009")
    assert done.returncode == 1
    assert "no candidate main-01-0009; did you mean main-01-000" in done.stderr
    assert "Traceback" not in done.stderr
