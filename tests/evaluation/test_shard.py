"""A shard of candidates with a judge that answers at once: what is asked of it, what is kept and what is said of it."""

import json
import threading
from dataclasses import asdict, replace

import pytest

from archloop.errors import InputError
from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.evaluate import JobResources, ShardFiles, evaluate, evaluate_shard
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score_store import ScoreStore
from archloop.files import read_json, sha256_file, write_jsonl
from archloop.random_seeds import derive

RUN = JobResources("wanted", isolation="landlock", workers=1)
MEASURED = {
    "seconds": {"train": 2.5},
    "cpu_s": 3.5,
    "peak_mb": 77,
    "limits": {"RLIMIT_CPU": 5},
    "isolation": "landlock",
    "device": "Card",
    "format": "plain",
    "versions": {"torch": "9"},
}


class Answers:
    """A judge that ends every program at an outcome of a table, `trained` where it is not in it."""

    def __init__(self, outcomes: dict[str, str], device: str):
        self.outcomes, self.device, self.cpu = outcomes, device, "AVX2"
        self.opened, self.asked, self.proved, self.lock = [], [], [], threading.Lock()
        self.device_name, self.cpu, self.level, self.versions = "Card", "AVX2", "landlock", {"torch": "9"}
        self.sound, self.works = False, True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def settled(self, settings):
        return replace(settings, precision="float32")

    def judge(self, program, settings, seed, device):
        with self.lock:
            self.asked.append((program, settings, seed, device))
        outcome = self.outcomes.get(program, "trained")
        measured = {} if outcome == "unsafe" else MEASURED
        return dict.fromkeys(FIELDS) | {"outcome": outcome, "detail": "x", "parameters": 7} | measured

    def train_once(self, program, settings, seed, device, images):
        self.proved.append(device)
        return {"outcome": "trained" if self.works else "timeout", "detail": "slow"}


@pytest.fixture
def shard(monkeypatch, digits, settings, tmp_path):
    """A function that judges programs of these names: (records, run record, judge)."""

    def run(programs, outcomes=None, device="cpu", works=True, pending=None, evaluation=(), **changed):
        judge = Answers(outcomes or {}, device)
        judge.works = works
        monkeypatch.setattr("archloop.evaluation.evaluate.Judge", lambda *given: judge.opened.append(given) or judge)
        rows = [{"id": f"c{number}", "program": program} for number, program in enumerate(programs)]
        changed_settings = replace(settings, **dict(evaluation))
        resources = replace(RUN, pending=pending, **changed)
        return *evaluate(rows, digits, changed_settings, 5, tmp_path / "store", resources), judge

    return run


def test_the_judge_is_opened_as_the_run_says_and_asked_with_the_seed_of_evaluations(shard, digits, settings):
    _, _, judge = shard(["a"])
    assert judge.opened == [(digits, "wanted", "landlock", "refuse")]
    assert judge.asked == [("a", replace(settings, precision="float32"), derive(5, "evaluate"), "cpu")]
    _, _, judge = shard(["b"], driver_calls="log")
    assert judge.opened == [(digits, "wanted", "landlock", "log")]


def test_a_record_has_the_fields_of_a_score_under_its_key_and_what_was_measured_is_the_runs(shard, digits, settings):
    records, run, _ = shard(["a", "u", "a"], {"u": "unsafe"}, workers=2)
    protocol = protocol_digest(
        asdict(replace(settings, precision="float32")),
        sha256_file(digits),
        derive(5, "evaluate"),
        "Card",
        {"torch": "9"},
    )
    a, u = ({"outcome": outcome, "detail": "x", "parameters": 7} for outcome in ("trained", "unsafe"))
    keys = {program: score_key(protocol, program) for program in ("a", "u")}
    assert records == [
        {"id": "c0", "key": keys["a"]} | dict.fromkeys(FIELDS) | a,
        {"id": "c1", "key": keys["u"]} | dict.fromkeys(FIELDS) | u,
        {"id": "c2", "key": keys["a"]} | dict.fromkeys(FIELDS) | a,
    ]
    assert 0 <= run.pop("seconds") < 3600
    assert run == {
        "device": "Card",
        "cpu": "AVX2",
        "devices": 1,
        "isolation": "landlock",
        "workers": 2,
        "reused": 1,
        "versions": {"torch": "9"},
        "candidates": {"c0": MEASURED, "c1": dict.fromkeys(MEASURED), "c2": MEASURED},
    }


@pytest.mark.parametrize(
    ("name", "host"), [("Card", {"device": "Card"}), ("cpu", {"device": "cpu", "cpu": "AVX2"})], ids=["gpu", "cpu"]
)
def test_a_shards_job_writes_its_records_and_names_the_machine_and_the_work_under_way(
    monkeypatch, digits, settings, tmp_path, name, host
):
    judge = Answers({"slow": "timeout"}, "cpu")
    judge.device_name = name
    monkeypatch.setattr("archloop.evaluation.evaluate.Judge", lambda *given: judge)
    write_jsonl(tmp_path / "candidates.jsonl", [{"id": "c0", "index": 0, "program": "slow"}])
    output, run_record = tmp_path / "0.json", tmp_path / "0.run.json"
    files = ShardFiles(tmp_path / "candidates.jsonl", digits, tmp_path / "store", output, run_record)
    assert evaluate_shard(files, settings, 5, RUN) == {"spent": tmp_path / ".0.json.pending", "host": host}
    written = read_json(output)
    assert written["protocol"] == asdict(settings)
    assert [(record["id"], record["outcome"]) for record in written["records"]] == [("c0", "timeout")]
    assert (read_json(run_record)["device"], (tmp_path / ".0.json.pending").exists()) == (name, True)


def test_what_lasts_is_kept_in_the_store_and_what_may_end_otherwise_is_asked_for_again(shard, tmp_path):
    records, _, _ = shard(["a", "slow", "big"], {"slow": "timeout", "big": "out_of_memory"})
    kept = [ScoreStore(tmp_path / "store").get(record["key"]) for record in records]
    assert [record and record["outcome"] for record in kept] == ["trained", None, None]
    again, run, judge = shard(["a", "slow", "big"])
    assert [program for program, *_ in judge.asked] == ["slow", "big"] and run["reused"] == 1
    assert [record["outcome"] for record in again] == ["trained"] * 3 and again[0] == records[0]


def test_timeouts_of_a_job_that_was_cut_are_read_from_its_own_file_and_no_other_outcome(shard, tmp_path):
    pending = tmp_path / "pending.json"
    records, _, _ = shard(["a", "slow", "big"], {"slow": "timeout", "big": "out_of_memory"}, pending=pending)
    assert list(json.loads(pending.read_text())) == [records[1]["key"]]
    again, run, judge = shard(["a", "slow", "big"], pending=pending)
    assert [program for program, *_ in judge.asked] == ["big"] and run["reused"] == 2
    assert [record["outcome"] for record in again] == ["trained", "timeout", "trained"]


def test_where_no_program_went_through_a_sound_one_is_asked(shard):
    failing = {"slow": "timeout", "big": "out_of_memory"}
    assert shard(["slow", "big", "a"], failing)[2].proved == []
    assert shard(["slow", "big"], failing)[2].proved == ["cpu"]
    # What went through on another day says nothing of this machine today.
    assert shard(["slow", "a"], failing)[2].proved == ["cpu"]


def test_programs_that_were_never_run_say_nothing_of_the_machine(shard):
    assert shard(["u"], {"u": "unsafe"}, works=False)[2].proved == []


def test_where_a_sound_program_fails_too_no_timeout_is_kept(shard, tmp_path):
    pending = tmp_path / "pending.json"
    with pytest.raises(InputError, match=r"on cpu a sound program fails, too \(timeout: slow\)"):
        shard(["slow"], {"slow": "timeout"}, works=False, pending=pending)
    assert not pending.exists()


def test_workers_take_the_cards_in_turn_and_each_card_is_shared_by_as_many(shard, monkeypatch):
    shared = []
    monkeypatch.setattr(
        "archloop.evaluation.evaluate.dealt_out", lambda device, gpus: [f"{device}:{n}" for n in range(gpus)]
    )
    monkeypatch.setattr("archloop.evaluation.evaluate.shares", lambda *given: shared.append(given) or {"cuda:0": {}})
    _, run, judge = shard([str(number) for number in range(8)], device="cuda", gpus=2, workers="auto")
    assert (run["workers"], run["devices"], shared) == (2, 2, [(["cuda:0", "cuda:1"], 2)])
    assert judge.shares == {"cuda:0": {}} and {device for *_, device in judge.asked} <= {"cuda:0", "cuda:1"}
    _, run, judge = shard(["a", "b"], device="cuda", gpus=2, workers=1)
    assert [device for *_, device in judge.asked] == ["cuda:0", "cuda:0"]


@pytest.mark.parametrize(("threads", "warned"), [(2, False), (3, True)])
def test_workers_that_the_processors_do_not_carry_are_said(shard, caplog, monkeypatch, threads, warned):
    monkeypatch.setattr("archloop.evaluation.evaluate.processors", lambda cores: cores)
    shard(["a"], workers=2, cores=4, evaluation={"threads": threads})
    assert ("are more than the job's 4 processors" in caplog.text) == warned
