"""The store of scores: the first writer of a key wins, whoever writes at the same time, in few files."""

import gzip
import json
import math
import multiprocessing
import os
import random

import pytest

from archloop.errors import InputError
from archloop.evaluation import score_store
from archloop.evaluation.score_store import ScoreStore, all_records
from archloop.files import write_json

FORK = multiprocessing.get_context("fork")
KEYS = [f"{number % 3:02x}{number:062x}" for number in range(24)]


def record(accuracy: float) -> dict:
    return {"outcome": "trained", "accuracy": accuracy, "graph": None}


def judge_noisily(folder, seed: int, answers) -> None:
    """Keep a score of its own under every key, in an order of its own, and say what was kept."""
    noise = random.Random(seed)
    store, kept = ScoreStore(folder), {}
    for key in noise.sample(KEYS, len(KEYS)):
        kept[key] = store.get(key) or store.put(key, record(noise.random()))
    answers.put(kept)


def test_several_processes_with_a_noisy_judge_agree_on_every_score(tmp_path):
    answers = FORK.Queue()
    processes = [FORK.Process(target=judge_noisily, args=(tmp_path / "store", seed, answers)) for seed in range(5)]
    for process in processes:
        process.start()
    scores = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    kept = {key: read() for _, key, read in all_records(tmp_path / "store")}
    assert sorted(kept) == sorted(KEYS)
    assert all(each == kept for each in scores)
    assert len(list((tmp_path / "store").iterdir())) == len({key[:2] for key in KEYS})


def test_what_is_kept_is_never_written_over(tmp_path):
    assert ScoreStore(tmp_path).put(KEYS[0], record(0.5)) == record(0.5)
    assert ScoreStore(tmp_path).put(KEYS[0], record(0.6)) == record(0.5)
    assert ScoreStore(tmp_path).get(KEYS[0]) == record(0.5)
    assert ScoreStore(tmp_path).get(KEYS[1]) is None


def test_a_store_knows_what_it_added_itself(tmp_path):
    store = ScoreStore(tmp_path)
    for number in (0, 3):
        store.put(KEYS[number], record(0.5))
        assert store.get(KEYS[number]) == record(0.5)
    assert store.put(KEYS[3], record(0.6)) == record(0.5)


def test_what_is_no_number_is_not_kept(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        ScoreStore(tmp_path).put(KEYS[0], record(math.nan))
    assert ScoreStore(tmp_path).get(KEYS[0]) is None


def test_a_link_whose_answer_got_lost_was_made(tmp_path, monkeypatch):
    real = os.link

    def asked_twice(*places):
        real(*places)
        raise FileExistsError

    monkeypatch.setattr(os, "link", asked_twice)
    for number in (0, 3):
        ScoreStore(tmp_path).put(KEYS[number], record(0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["00.000002.jsonl.gz"]


def test_a_store_sees_what_others_add_after_it_was_opened(tmp_path):
    first, second = ScoreStore(tmp_path), ScoreStore(tmp_path)
    first.put(KEYS[0], record(0.1))
    assert second.get(KEYS[3]) is None
    first.put(KEYS[3], record(0.2))
    assert second.get(KEYS[3]) == record(0.2)


def test_a_writer_that_looked_at_the_folder_long_ago_loses_nothing(tmp_path, monkeypatch):
    """As a network file system shows it: the names are those of an earlier time until something is written."""
    for number in (0, 3, 6):
        ScoreStore(tmp_path).put(KEYS[number], record(0.1))
    late, listed, seen_late = ScoreStore(tmp_path), os.listdir, [[]]
    monkeypatch.setattr(os, "listdir", lambda folder: seen_late.pop() if seen_late else listed(folder))
    assert late.put(KEYS[9], record(0.2)) == record(0.2)
    assert late.put(KEYS[0], record(0.9)) == record(0.1)
    assert {key for _, key, _ in all_records(tmp_path)} == {KEYS[number] for number in (0, 3, 6, 9)}


def test_whoever_adds_at_once_after_a_writer_keeps_what_it_wrote(tmp_path, monkeypatch):
    """The next one builds on the file and deletes it, before its writer looks at the folder again."""
    real, others = os.link, []

    def overtaken(*paths):
        real(*paths)
        if not others:
            others.append(ScoreStore(tmp_path).put(KEYS[3], record(0.6)))

    monkeypatch.setattr(os, "link", overtaken)
    assert ScoreStore(tmp_path).put(KEYS[0], record(0.5)) == record(0.5)
    assert [ScoreStore(tmp_path).get(key) for key in (KEYS[0], KEYS[3])] == [record(0.5), record(0.6)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_store_of_a_file_a_record_is_read_on(tmp_path):
    write_json(tmp_path / KEYS[0][:2] / f"{KEYS[0]}.json", record(0.3))
    store = ScoreStore(tmp_path)
    assert store.get(KEYS[0]) == record(0.3)
    store.put(KEYS[3], record(0.4))
    assert [key for _, key, _ in all_records(tmp_path)] == [KEYS[3], KEYS[0]]


@pytest.mark.parametrize("keep", [0, 10, -5])
def test_of_a_file_that_is_not_whole_all_whole_records_are_used(tmp_path, keep):
    for number in (0, 3):
        ScoreStore(tmp_path).put(KEYS[number], record(0.1))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    first = len(score_store.members(path)[0][KEYS[0]])
    path.write_bytes(whole[: first + keep] if keep >= 0 else whole[:keep])
    records = [(key, read) for _, key, read in all_records(tmp_path)]
    assert records[0][0] == KEYS[0] and records[0][1]() == record(0.1)
    if keep:
        with pytest.raises(InputError, match="not whole"):
            records[1][1]()
    store = ScoreStore(tmp_path)
    assert (store.get(KEYS[0]), store.get(KEYS[3])) == (record(0.1), None)
    assert store.put(KEYS[3], record(0.2)) == record(0.2)
    assert ScoreStore(tmp_path).get(KEYS[3]) == record(0.2)


def test_without_hard_links_scores_are_kept_too(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    ScoreStore(tmp_path).put(KEYS[0], record(0.1))
    assert ScoreStore(tmp_path).put(KEYS[0], record(0.2)) == record(0.1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_of_the_store_is_lines_of_json_that_anyone_can_unpack(tmp_path):
    ScoreStore(tmp_path).put(KEYS[0], record(0.1))
    ScoreStore(tmp_path).put(KEYS[3], record(0.2))
    (path,) = tmp_path.iterdir()
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [KEYS[0], KEYS[3]]


def test_of_two_writers_that_take_the_same_number_the_later_one_tries_the_next(tmp_path, monkeypatch):
    ScoreStore(tmp_path).put(KEYS[0], record(0.1))
    late, listed, seen_late = ScoreStore(tmp_path), os.listdir, [[]]
    monkeypatch.setattr(os, "listdir", lambda folder: seen_late.pop() if seen_late else listed(folder))
    assert late.put(KEYS[3], record(0.2)) == record(0.2)
    assert ScoreStore(tmp_path).get(KEYS[3]) == record(0.2) and ScoreStore(tmp_path).get(KEYS[0]) == record(0.1)
    late, seen_late = ScoreStore(tmp_path), [[]]
    assert late.put(KEYS[0], record(0.9)) == record(0.1)


def test_the_bytes_of_a_record_are_those_of_its_content_alone(tmp_path):
    ScoreStore(tmp_path).put(KEYS[0], record(0.1))
    line = json.dumps({"key": KEYS[0], "accuracy": 0.1, "graph": None, "outcome": "trained"}) + "\n"
    assert (tmp_path / "00.000001.jsonl.gz").read_bytes() == gzip.compress(line.encode(), 6, mtime=0)


def test_a_file_that_is_not_whole_is_told_of_and_a_whole_one_is_not(tmp_path, caplog):
    ScoreStore(tmp_path).put(KEYS[0], record(0.1))
    ScoreStore(tmp_path).get(KEYS[0])
    assert not caplog.records
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert ScoreStore(tmp_path).get(KEYS[0]) is None
    assert [each.getMessage() for each in caplog.records] == [f"{path}: not whole; what it misses is judged again"]


def test_a_store_makes_its_folders_and_leaves_alone_what_is_none_of_its_own(tmp_path):
    folder = tmp_path / "results" / "evaluations"
    ScoreStore(folder).put(KEYS[0], record(0.1))
    (folder / "notes.jsonl.gz").write_bytes(b"x")
    assert [(key, read()) for _, key, read in all_records(folder)] == [(KEYS[0], record(0.1))]
    assert ScoreStore(folder).get(KEYS[0]) == record(0.1) and (folder / "notes.jsonl.gz").exists()
