"""What verify finds wrong in a folder of results, check by check: on one cycle that is written here."""

import shutil
from collections import Counter

import polars as pl
import pytest

from archloop.corpus.tables import CANDIDATES, CORPUS, read_corpus, write_candidates, write_corpus
from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score_store import ScoreStore
from archloop.files import read_json, read_jsonl, sha256_file, write_json, write_jsonl
from archloop.layout import SCRIPTS
from archloop.outcomes import count_outcomes
from archloop.random_seeds import derive
from archloop.settings.complete import complete
from archloop.tools.results_folder import ResultsFolder
from archloop.tools.verify import leave_note, not_as_recorded, summary, verify
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import KEYS

PLACE = "main/cycle-1"
OUTCOMES = ["admitted", "forward", "admitted"]


@pytest.fixture
def results(tmp_path, config):
    """One cycle with two admitted programs and one that failed, whole but for the provenance of most files."""
    config["chains"]["main"]["cycles"] = 1
    folder = tmp_path / "results"
    place = folder / PLACE
    write_json(folder / "settings.json", complete(config))
    (folder / "seed" / "adapter").mkdir(parents=True)
    (folder / "seed" / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    adapter = sha256_file(folder / "seed" / "adapter" / "adapter_model.safetensors")
    rows, records = [], []
    for index, outcome in enumerate(OUTCOMES):
        row = {"id": f"main-01-{index:04d}", "chain": "main", "cycle": 1, "index": index, "program": f"x = {index}\n"}
        rows.append(row | {"seed": derive(1, "main", 1, "generate", index), "outcome": outcome, "adapter": adapter})
        result = {"outcome": "trained" if outcome == "admitted" else outcome, "accuracy": 0.5}
        records.append({"id": row["id"], "key": f"{index:064x}"} | result)
    names = ("id", "index", "seed", "program")
    write_jsonl(place / "prompts.jsonl", [{name: row[name] for name in names} for row in rows])
    write_jsonl(place / "generated" / "0.jsonl", [{name: row[name] for name in names} for row in rows])
    write_json(place / "generated" / "0.run.json", {"device": "cpu"})
    write_json(place / "evaluated" / "0.json", {"records": records})
    whole = pl.DataFrame([{name: row.get(name) for name in CANDIDATES} for row in rows], schema=CANDIDATES)
    write_candidates(whole, place / "candidates.parquet")
    write_corpus(whole.filter(outcome="admitted").select(list(CORPUS)), place / "corpus.parquet")
    write_json(place / "summary.json", {"funnel": count_outcomes(OUTCOMES), "candidates": 3})
    provenance(place / "summary.json", script="summarize")
    return folder


def provenance(path, **changes) -> None:
    """Leave a provenance beside a file, as if it had just been made."""
    whole = {key: {} for key in KEYS} | {"params": None, "waited_for": [], "run_records": [], "script": "summarize"}
    whole |= {"outputs": {path.name: sha256_file(path)}} | changes
    code = code_digest(SCRIPTS / f"{whole['script']}.py")
    write_json(path.with_name(f"{path.name}.provenance"), whole | {"code": changes.get("code", code)})


def found(results, *kinds: str) -> list[str]:
    """The findings of these kinds, without the folder that they name."""
    lines, counts = verify(results)
    for kind in ("missing", "altered", "stale", "broken", "wrong"):
        assert counts[kind] == sum(line.startswith(kind) for line in lines)
    return [line.replace(f"{results}/", "") for line in lines if line.partition(":")[0] in kinds]


ODD = ("altered", "stale", "broken", "wrong")


def test_a_whole_cycle_is_counted_and_nothing_is_wrong(results):
    assert found(results, *ODD) == []
    lines, counts = verify(results)
    unmade = [line for line in lines if not line.endswith("no provenance tells how this file was made")]
    assert unmade == []
    assert {name: counts[name] for name in ("jobs", "files", "candidates", "scores")} == (
        {"jobs": 1, "files": 1, "candidates": 3, "scores": 0}
    )


def other_seed(results):
    path = results / PLACE / "prompts.jsonl"
    write_jsonl(path, [row | {"seed": row["seed"] + (row["index"] == 1)} for row in read_jsonl(path)])


def fewer_prompts(results):
    path = results / PLACE / "prompts.jsonl"
    write_jsonl(path, read_jsonl(path)[:2])


def fewer_generated(results):
    path = results / PLACE / "generated" / "0.jsonl"
    write_jsonl(path, read_jsonl(path)[1:])


def judged_twice(results):
    path = results / PLACE / "evaluated" / "0.json"
    write_json(path, {"records": read_json(path)["records"] * 2})


def other_shard(results):
    path = results / PLACE / "corpus.parquet"
    write_corpus(read_corpus([path]).head(1), path)


def other_counts(results):
    path = results / PLACE / "summary.json"
    write_json(path, {"funnel": count_outcomes(["forward"] * 3), "candidates": 3})
    provenance(path)


def other_number(results):
    path = results / PLACE / "summary.json"
    write_json(path, read_json(path) | {"candidates": 4})
    provenance(path)


def other_adapter(results):
    (results / "seed" / "adapter" / "adapter_model.safetensors").write_bytes(b"others")


def no_key(results):
    record = dict.fromkeys(FIELDS) | {"outcome": "forward", "protocol": {}, "seed": 1, "device": "cpu", "versions": {}}
    write_json(results / "evaluations" / "ab" / f"cd{0:062x}.json", record)


def kept_short(results):
    ScoreStore(results / "evaluations").put("ab" * 32, {"outcome": "forward"})


def unread(results):
    (results / PLACE / "evaluated" / "0.json").write_text('{"records": [3]}')


def torn_shard(results):
    (results / PLACE / "corpus.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (torn_shard, f"broken: {PLACE}/corpus.parquet: no whole parquet file; delete it and run again"),
        (other_seed, f"wrong: {PLACE}/prompts.jsonl: the seed of main-01-0001 does not derive from the run's"),
        (fewer_prompts, f"wrong: {PLACE}/prompts.jsonl: 2 prompts for 3 candidates"),
        (fewer_generated, f"wrong: {PLACE}/generated: 2 candidates where candidates.parquet has 3"),
        (judged_twice, f"wrong: {PLACE}/evaluated: 6 candidates where candidates.parquet has 3"),
        (other_shard, f"wrong: {PLACE}/corpus.parquet: other programs than candidates.parquet has as admitted"),
        (other_counts, f"wrong: {PLACE}/summary.json: other counts than candidates.parquet has"),
        (other_number, f"wrong: {PLACE}/summary.json: other counts than candidates.parquet has"),
        (other_adapter, f"stale: {PLACE}/candidates.parquet: generated with another adapter than seed/adapter holds"),
        (no_key, f"wrong: evaluations/ab/cd{0:062x}.json: cd{0:062x} is no key of a score there"),
        (kept_short, "broken: evaluations/ab.000001.jsonl.gz: lacks protocol; delete the file and run again"),
        (unread, f"broken: {PLACE}/evaluated/0.json: not as this workflow writes it (TypeError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_add_up_is_one_line_that_names_it(results, damage, line):
    damage(results)
    first = found(results, *ODD)[0]
    assert first == line or (line.endswith("Error") and first.startswith(line))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"code": "other"}, "the code of summarize has changed"),
        ({"settings": {"admission": {"threshold": 0.123}}}, "admission.threshold was 0.123, the settings say 0.4"),
        ({"settings": {"generation": {"opening": "none"}}}, None),
        (
            {"settings": {"generation": {"opening": "class"}}},
            "generation.response_prefix was 'class', the settings say 'none'",
        ),
        ({"options": {"candidates": 9}}, "cycle.candidates was 9, the settings say 8"),
        ({"options": {"candidates": 8, "shards": 2, "epochs": 1}}, None),
        ({"options": {"seed": 2}}, "its seed 2 is not that of the settings, 1"),
        ({"options": {"seed": 1}}, None),
        ({"options": {"seed": derive(1, "main", 1, "finetune")}}, None),
        ({"options": {"run": '{"random_seed": 2}'}}, "random_seed was other in the settings"),
        ({"options": {"run": '{"random_seed": 1}'}}, None),
        ({"inputs": {"results/gone": "ab"}}, "results/gone, which it was made from, is missing"),
        ({"inputs": {"config/gone": "ab"}}, None),
        ({"inputs": {f"results/{PLACE}/prompts.jsonl": "ab"}}, f"made from another results/{PLACE}/prompts.jsonl"),
    ],
)
def test_a_job_is_out_of_date_when_what_it_was_made_from_is(results, changes, says):
    provenance(results / PLACE / "summary.json", **changes)
    assert found(results, *ODD) == ([f"stale: {PLACE}/summary.json: {says}"] if says else [])


def test_a_model_from_scratch_is_out_of_date_where_the_settings_name_another(results):
    settings = read_json(results / "settings.json")
    settings["model"]["reference"] = "folder:elsewhere"
    write_json(results / "settings.json", settings)
    provenance(results / PLACE / "summary.json", settings={"scratch_model": {"layers": 9}})
    says = "scratch_model.layers was 9, the settings say None"
    assert found(results, *ODD) == [f"stale: {PLACE}/summary.json: {says}"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"outputs": {"summary.json": "ab"}}, "summary.json was altered"),
        ({"outputs": {"gone.json": "ab"}}, "gone.json was lost"),
        ({"inputs": {f"results/{PLACE}/prompts.jsonl": "ab"}}, f"made from another results/{PLACE}/prompts.jsonl"),
        ({"inputs": {"results/gone": "ab"}}, None),
    ],
)
def test_records_are_written_again_of_outputs_that_are_as_they_were_made(results, changes, says):
    provenance(results / PLACE / "summary.json", **changes)
    checked = ResultsFolder(results)
    ((path, job),) = checked.jobs.items()
    assert not_as_recorded(checked, path, job) == says


def test_files_that_are_altered_lost_or_of_no_job_and_cycles_that_lack_are_named(results):
    (results / PLACE / "summary.json").unlink()
    (results / PLACE / "notes.txt").touch()
    missing = found(results, "missing")
    assert missing[0] == f"missing: {PLACE}/summary.json: summary.json.provenance tells of it"
    assert f"missing: {PLACE}/notes.txt.provenance: no provenance tells how this file was made" in missing
    assert missing[-1] == f"missing: {PLACE}/summary.json: the run is not finished"
    assert not any("settings.json" in line or ".hidden" in line for line in missing)


def test_models_that_no_result_was_made_from_are_left_out(results):
    for name in ("used", "other"):
        path = results.parent / "resources" / "datasets" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        provenance(path, code="of another version")
    data = "resources/datasets/used.safetensors"
    provenance(results / PLACE / "summary.json", inputs={data: sha256_file(results.parent / data)})
    assert sorted(path.name for path in ResultsFolder(results).jobs) == (
        ["summary.json.provenance", "used.safetensors.provenance"]
    )


def test_a_model_that_results_were_made_from_is_whole(results, tiny_model):
    folder = shutil.copytree(tiny_model, results.parent / "resources" / "models" / "tiny")
    inputs = {"resources/models/tiny/manifest.json": sha256_file(folder / "manifest.json")}
    provenance(results / PLACE / "summary.json", inputs=inputs)
    assert found(results, *ODD) == []
    with open(folder / "model.safetensors", "r+b") as weights:
        weights.truncate(1000)
    (line,) = found(results, *ODD)
    assert line.startswith(f"broken: {folder}/model.safetensors: ")


def test_files_are_counted_while_they_are_looked_at(results, caplog):
    with caplog.at_level("INFO"):
        verify(results)
    assert [line for line in caplog.messages if line.startswith("verify: 1 files in ")]


def test_what_was_looked_at_and_found_is_one_line():
    counts = Counter(files=7, jobs=3, candidates=16, missing=2, wrong=1)
    looked_at = "7 files, 3 jobs, 16 candidates, 0 scores"
    assert summary(counts) == f"{looked_at}: 2 missing, 0 altered, 0 stale, 0 broken, 1 wrong"


def test_what_was_found_is_left_for_the_next_report(tmp_path):
    leave_note(tmp_path, ["wrong: a", "missing: b"], Counter(files=7, jobs=3, candidates=16, missing=1, wrong=1))
    said = "7 files, 3 jobs, 16 candidates, 0 scores: 1 missing, 0 altered, 0 stale, 0 broken, 1 wrong"
    assert read_json(tmp_path / "verified.json") == {"said": said, "findings": 2, "candidates": 16}


def test_without_settings_the_numbers_are_checked_all_the_same(results):
    (results / "settings.json").unlink()
    fewer_prompts(results)
    assert found(results, *ODD) == [f"wrong: {PLACE}/prompts.jsonl: 2 prompts for 3 candidates"]
    assert found(results, "missing")[-1] == "missing: settings.json: the settings of the run, which a run leaves there"


def test_a_chain_that_the_settings_do_not_know_is_named(results):
    place = results / "extra" / "cycle-1"
    place.mkdir(parents=True)
    (place / "notes.json").write_text("{}")
    provenance(place / "notes.json")
    assert found(results, "stale") == (["stale: extra/cycle-1/notes.json: the settings of the run know no chain extra"])


def test_run_records_are_read_and_a_broken_one_is_named(results):
    (results / PLACE / "run.json").write_text("{")
    provenance(results / PLACE / "summary.json", run_records=["run.json"])
    (line,) = found(results, "broken")
    assert line.startswith(f"broken: {PLACE}/run.json: not whole JSON")
    write_json(results / PLACE / "run.json", {"device": "cpu"})
    assert found(results, *ODD) == [] and not any("/run.json" in line for line in found(results, "missing"))


@pytest.fixture
def judged(results):
    """The first candidate with a score that is kept under its key; returns (shard, key, record)."""
    shard, data = results / PLACE / "evaluated" / "0.json", "ab" * 32
    machine = {"seed": 1, "device": "cpu", "versions": {"torch": "2", "python": "3"}}
    protocol = protocol_digest({"epochs": 1}, data, **machine)
    record = dict.fromkeys(FIELDS) | {"outcome": "trained", "accuracy": 0.5, "protocol": {"epochs": 1}} | machine
    key = score_key(protocol, "x = 0\n")
    ScoreStore(results / "evaluations").put(key, record)
    keep(shard, {"key": key})
    inputs = {f"results/{PLACE}/generated/0.jsonl": sha256_file(results / PLACE / "generated" / "0.jsonl")}
    provenance(shard, script="evaluate", inputs=inputs | {"resources/datasets/digits.safetensors": data})
    return shard, key, record


def keep(shard, changes: dict) -> None:
    """Change the first record of a shard, and its digest in the provenance beside it, if there is one."""
    (first, *others), beside = read_json(shard)["records"], shard.with_name(f"{shard.name}.provenance")
    write_json(shard, {"records": [first | changes, *others]})
    if beside.is_file():
        write_json(beside, read_json(beside) | {"outputs": {shard.name: sha256_file(shard)}})


def test_a_score_that_is_kept_under_its_key_is_whole(results, judged):
    assert found(results, *ODD) == [] and verify(results)[1]["scores"] == 1


def test_a_score_that_says_something_else_than_the_store_is_named(results, judged):
    shard, key, _ = judged
    keep(shard, {"accuracy": 0.6})
    assert found(results, *ODD) == (
        [f"wrong: {PLACE}/evaluated/0.json: the score of main-01-0000 is not that under its key, {key}"]
    )


def test_of_a_score_that_is_another_in_all_one_thing_is_said(results, judged):
    shard, key, record = judged
    for path in (results / "evaluations").iterdir():
        path.unlink()
    ScoreStore(results / "evaluations").put(key, record | {"seed": 2})
    keep(shard, {"accuracy": 0.6})
    assert found(results, *ODD) == (
        [f"wrong: {PLACE}/evaluated/0.json: the score of main-01-0000 is not that under its key, {key}"]
    )


@pytest.mark.parametrize("change", [{"seed": 2}, {"protocol": {"epochs": 2}}, {"device": "a GPU"}, {"versions": {}}])
def test_a_score_under_a_key_that_is_not_that_of_its_program_and_protocol_is_named(results, judged, change):
    _, key, record = judged
    for path in (results / "evaluations").iterdir():
        path.unlink()
    ScoreStore(results / "evaluations").put(key, record | change)
    assert found(results, *ODD) == (
        [f"wrong: {PLACE}/evaluated/0.json: the score of main-01-0000 is kept under {key}, which is not its key"]
    )


def test_a_file_belongs_to_the_chain_that_its_folder_names(results):
    """The threshold is 0.4, that of main 0.2."""
    write_json(results / "settings.json", read_json(results / "settings.json") | {"chains": chains(results)})
    for name, threshold in (("main/architectures/index", 0.2), ("seed/made", 0.4), ("main/cycle-1/made", 0.2)):
        write_json(results / f"{name}.json", {})
        provenance(results / f"{name}.json", settings={"admission": {"threshold": threshold}})
    assert found(results, "stale") == []


def chains(results) -> dict:
    whole = read_json(results / "settings.json")["chains"]
    return whole | {"main": whole["main"] | {"admission": {"threshold": 0.2}}}
