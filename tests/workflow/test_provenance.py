"""Provenance: what a script leaves beside its outputs, and the records that Snakemake has of them."""

import json
import os
import platform
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from archloop.errors import InputError
from archloop.files import read_json, sha256_file, sha256_text, write_json
from archloop.machine import host
from archloop.settings.sections import Novelty
from archloop.workflow import provenance
from archloop.workflow.cli import settings_options, stage
from archloop.workflow.provenance import digest_of, locate, outputs_of, provenance_path, provenances, read_provenance
from archloop.workflow.snakemake_records import other_model, unrecorded

PATH = click.Path(path_type=Path)


@pytest.fixture
def script():
    """A stage: it reads --source and writes --output; its run record says something else each time."""

    @stage("output", packages=("click",))
    @settings_options(Novelty, "novelty")
    @click.option("--source", type=PATH)
    @click.option("--seed", type=int)
    @click.option("--run-record", type=PATH)
    @click.option("--output", type=PATH)
    def main(source, seed, run_record, output, novelty):
        output.write_text("made")
        write_json(run_record, {"seconds": os.urandom(4).hex()})

    return main


def made(script, folder: Path, *more: str) -> dict:
    (folder / "in").write_text("source")
    options = ["--source", folder / "in", "--seed", 3, "--run-record", folder / "run.json", "--output", folder / "out"]
    done = CliRunner().invoke(script, [*map(str, options), "--novelty-threshold", "0.8", *more])
    assert done.exit_code == 0, done.output
    return read_provenance(provenance_path(folder / "out"))


def test_it_holds_settings_options_inputs_outputs_and_what_snakemake_compares(script, tmp_path):
    (tmp_path / "template").write_text("also read")
    found = made(script, tmp_path, "--", "--novelty-threshold 0.8", "code", "--", f"{tmp_path}/template")
    assert found["settings"] == {"novelty": {"threshold": 0.8}}
    assert found["options"] == {"seed": 3}
    assert found["inputs"] == {str(tmp_path / name): sha256_file(tmp_path / name) for name in ("in", "template")}
    assert found["outputs"] == {"out": sha256_text("made")} and found["run_records"] == ["run.json"]
    assert found["params"] == ["--novelty-threshold 0.8", "code"]
    assert found["script"] == "test_provenance" and found["versions"]["click"]


def test_two_runs_leave_the_same_bytes(script, tmp_path):
    first = made(script, tmp_path)
    assert made(script, tmp_path) == first and first["params"] is None


def test_work_that_is_spent_and_cannot_be_deleted_fails_no_job(tmp_path):
    @stage("output")
    @click.option("--output", type=PATH)
    def main(output):
        output.write_text("made")
        (tmp_path / "state" / "another").mkdir(parents=True)  # as a file of another user in a sticky folder
        return {"spent": tmp_path / "state" / "another"}

    assert CliRunner().invoke(main, ["--output", str(tmp_path / "out")]).exit_code == 0


def test_a_job_that_fails_leaves_none(tmp_path):
    @stage("output")
    @click.option("--output", type=PATH)
    def main(output):
        raise InputError("no")

    assert CliRunner().invoke(main, ["--output", str(tmp_path / "out")]).exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"script": 1}', "[" * 50, '{"script": "a"', "null", '{"outputs": {"a": 1}}']
)
def test_one_of_another_shape_is_named(tmp_path, text):
    (tmp_path / "x.provenance").write_text(text)
    with pytest.raises(InputError, match=r"x\.provenance"):
        read_provenance(tmp_path / "x.provenance")


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": {}},
        {"outputs": {"a": None}},
        {"params": 3},
        {"settings": {"a": 1}},
        {"run_records": None},
        {"waited_for": None},
    ],
)
def test_one_with_values_of_another_kind_is_named(script, tmp_path, change):
    found = made(script, tmp_path)
    write_json(tmp_path / "out.provenance", found | change)
    with pytest.raises(InputError, match="no provenance of this workflow"):
        read_provenance(tmp_path / "out.provenance")


def test_the_digest_of_a_large_input_is_that_of_its_provenance_unless_it_is_newer(script, tmp_path, monkeypatch):
    made(script, tmp_path)
    monkeypatch.setattr(provenance, "LARGE_BYTES", len("made"))
    beside = provenance_path(tmp_path / "out")
    write_json(beside, read_json(beside) | {"outputs": {"out": "known"}})
    assert digest_of(tmp_path / "out") == "known"
    os.utime(tmp_path / "out", (2e9, 2e9))
    assert digest_of(tmp_path / "out") == sha256_file(tmp_path / "out")


def test_stored_scores_and_state_are_not_searched(tmp_path):
    for name in ("main/cycle-1", "evaluations/aa", "state/main", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.provenance").touch()
    assert list(provenances(tmp_path)) == [tmp_path / "main" / "cycle-1" / "x.provenance"]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A working directory with three outputs, each with a record as Snakemake writes it."""
    from snakemake.persistence import MetadataRecord
    from snakemake.persistence.file import FilePersistence

    monkeypatch.chdir(tmp_path)
    persistence = FilePersistence(nolock=True, path=Path(".snakemake"))
    names = ["results/main/a.json", "results/main/b.json", f"results/main/{'long' * 60}.json"]
    Path("results/main").mkdir(parents=True)
    for name in names:
        Path(name).touch()
        persistence._write_record(name, MetadataRecord(rule="r", params=[]))
    return persistence, names


PATTERN = r"results/(?P<chain>[a-z]+)/(?P<name>\w+)\.json$"


def test_outputs_with_records_lack_none(recorded):
    assert unrecorded([PATTERN]) == []


@pytest.mark.parametrize("which", [0, 2])
def test_an_output_without_record_is_found(recorded, which):
    persistence, names = recorded
    assert persistence._delete_record(names[which])
    assert unrecorded([PATTERN]) == [names[which]]


def test_a_torn_record_is_none(recorded):
    persistence, names = recorded
    path = Path(persistence._record_path(persistence._metadata_path, names[1]))
    path.write_text(path.read_text()[:-1])
    assert unrecorded([PATTERN]) == [names[1]]


def test_an_output_of_a_job_under_way_and_a_file_of_no_rule_are_none_of_these(recorded):
    persistence, names = recorded
    persistence._delete_record(names[0])
    persistence._mark_incomplete(names[0], None)
    Path("results/main/notes.txt").touch()
    assert unrecorded([PATTERN]) == []


def test_another_model_under_the_same_name_is_refused_unless_snakemake_sees_to_it(recorded):
    from snakemake.persistence import MetadataRecord

    persistence, _ = recorded
    wanted = {"reference": "hub:a/b", "revision": "1"}
    Path("manifest.json").write_text(json.dumps(wanted))
    assert other_model("manifest.json", wanted) is None
    assert "this is hub:a/b (revision 1)" in other_model("manifest.json", wanted | {"revision": "2"})
    persistence._write_record("manifest.json", MetadataRecord(rule="prepare_model"))
    assert other_model("manifest.json", wanted | {"revision": "2"}) is None


def test_it_has_these_fields_and_no_others(script, tmp_path):
    found = made(script, tmp_path)
    fields = "code host inputs options outputs params run_records script settings versions waited_for"
    assert " ".join(sorted(found)) == fields
    assert set(found["versions"]) == {"python", "click"} and len(found["code"]) == 16
    assert found["versions"]["python"] == platform.python_version()
    assert {"machine", "system"} <= set(found["host"])


def test_what_a_job_waits_for_is_no_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    for name in ("preflight.json", "read.json"):
        (tmp_path / "results" / name).write_text("{}")

    @stage("output")
    @click.option("--output", type=PATH)
    def main(output):
        output.write_text("made")
        return {"inputs": [Path("results/read.json")], "outputs": [output.with_name("more")]}

    (tmp_path / "more").write_text("also made")
    arguments = ["--output", "out", "--", "--", "results/preflight.json", "results/read.json"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    found = read_provenance(Path("out.provenance"))
    assert found["waited_for"] == ["results/preflight.json"] and list(found["inputs"]) == ["results/read.json"]
    assert found["outputs"] == {"out": sha256_text("made"), "more": sha256_text("also made")}


def test_how_a_job_ran_is_no_option_of_what_it_made(tmp_path):
    @stage("output")
    @click.option("--workers", type=int)
    @click.option("--isolation")
    @click.option("--cycle", type=int)
    @click.option("--output", type=PATH)
    def main(workers, isolation, cycle, output):
        output.write_text("made")

    options = ["--workers", "2", "--isolation", "none", "--cycle", "4", "--output", str(tmp_path / "out")]
    assert CliRunner().invoke(main, options).exit_code == 0
    assert read_provenance(tmp_path / "out.provenance")["options"] == {"cycle": 4}


def test_files_lie_beside_their_provenance_and_inputs_below_or_beside_the_results(tmp_path):
    found = {"outputs": {"a": "", "../b": ""}, "run_records": ["r"]}
    path = tmp_path / "main" / "a.provenance"
    assert outputs_of(path, found) == [tmp_path / "main" / "a", tmp_path / "b"]
    assert outputs_of(path, found, run_records=True) == [
        tmp_path / "main" / "a",
        tmp_path / "b",
        tmp_path / "main" / "r",
    ]
    assert locate(tmp_path / "out", "results/main/x") == tmp_path / "out" / "main" / "x"
    assert locate(tmp_path / "out", "config/x") == tmp_path / "config" / "x"


def test_a_host_is_that_of_the_jobs_device_and_of_the_processes_that_computed_for_it(tmp_path):
    import torch  # noqa: F401 (as a job that computes has)

    @stage("output")
    @click.option("--device")
    @click.option("--output", type=PATH)
    def main(device, output):
        output.write_text("made")
        return {"host": {"gpu": "of another process"}}

    assert CliRunner().invoke(main, ["--device", "cpu", "--output", str(tmp_path / "out")]).exit_code == 0
    found = read_provenance(tmp_path / "out.provenance")
    assert found["host"] == host("cpu") | {"gpu": "of another process"} and "device" in found["host"]
    assert found["options"] == {}


def test_params_that_are_made_of_inputs_alone_are_left_out_and_several_files_of_an_option_are_inputs(tmp_path):
    @stage("output")
    @click.option("--corpus", type=PATH, multiple=True)
    @click.option("--output", type=PATH)
    def main(corpus, output):
        output.write_text("made")

    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_text(path.name)
    params = [f"--corpus {one} --corpus {two}", f"--corpus {one} --seed 3", "--fast"]
    options = ["--corpus", one, "--corpus", two, "--output", tmp_path / "out", "--", *params, "--", one, two]
    assert CliRunner().invoke(main, list(map(str, options))).exit_code == 0
    found = read_provenance(tmp_path / "out.provenance")
    assert found["params"] == params[1:] and found["options"] == {}
    assert found["inputs"] == {str(path): sha256_text(path.name) for path in (one, two)}
