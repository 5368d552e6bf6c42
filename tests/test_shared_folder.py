"""A results folder of a group: what a member may do with another member's files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from workflow import ROOT

from archloop.evaluation.score_store import ScoreStore
from archloop.files import remove_tree, write_json
from archloop.workflow.provenance import KEYS, OBJECTS

# Records lost outputs as a member of the group 30000 who made none of them; the sum of records is printed.
AS_ANOTHER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from snakemake.persistence.file import FilePersistence
from archloop.errors import InputError
from archloop.workflow.snakemake_records import record
os.umask(0o002)
os.setgroups([])
os.setgid(30000)
os.setuid(20002)
try:
    print(*record(Path("results"), lambda path, found: None))
except InputError as error:
    print(error)
"""


def give_away(folder: Path, mode: int) -> None:
    for path in folder.rglob("*"):
        os.chown(path, 20001, 30000)
        path.chmod(0o2775 if path.is_dir() else mode)
    os.chown(folder, 20001, 30000)
    folder.chmod(0o2775)


@pytest.fixture
def folder(monkeypatch):
    """A working directory of one member whose records are lost: second.json was made first, of it first.json."""
    if os.geteuid():
        pytest.skip("only root can be two users")
    folder = Path(tempfile.mkdtemp())
    monkeypatch.chdir(folder)
    place = folder / "results" / "main"
    place.mkdir(parents=True)
    for at, (name, inputs) in enumerate({"second.json": {}, "first.json": {"results/main/second.json": "ab"}}.items()):
        write_json(place / name, {})
        told = {key: {} if key in OBJECTS else [] for key in KEYS} | {"script": "admit", "code": "c", "inputs": inputs}
        write_json(place / f"{name}.provenance", told | {"outputs": {name: "ab"}})
        os.utime(place / name, (9 - at, 9 - at))
    yield folder
    monkeypatch.undo()
    remove_tree(folder)


def record_as_another(folder: Path) -> str:
    command = [sys.executable, "-c", AS_ANOTHER, str(ROOT / "scripts")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_lost_records_are_written_by_whoever_may_write_and_what_was_read_stays_older(folder):
    give_away(folder, 0o664)
    assert record_as_another(folder) == "2 []"
    read, made = ((folder / "results" / "main" / name).stat().st_mtime_ns for name in ("second.json", "first.json"))
    assert 9e9 < read <= made


def test_a_file_that_another_member_may_not_write_is_named(folder):
    give_away(folder, 0o644)
    assert record_as_another(folder).startswith("results/main/second.json: its time cannot be set; its owner has to")


ADDS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from archloop.evaluation.score_store import ScoreStore
os.umask(0o002)
os.setgroups([])
os.setgid(30000)
os.setuid(int(sys.argv[2]))
print(ScoreStore(Path("store")).put(sys.argv[3], {"accuracy": 0.5}))
"""


def test_scores_are_added_where_only_the_owner_of_a_file_may_delete_it(folder):
    (folder / "store").mkdir()
    give_away(folder, 0o664)
    (folder / "store").chmod(0o3777)
    keys = ["ab" + digit * 62 for digit in "123"]
    for user, key in zip((20001, 20002, 20001), keys):
        command = [sys.executable, "-c", ADDS, str(ROOT / "scripts"), str(user), key]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.stdout == "{'accuracy': 0.5}\n", done.stderr
    assert all(ScoreStore(folder / "store").get(key) == {"accuracy": 0.5} for key in keys)
