"""Files are whole or not there, and a broken one is named."""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from workflow import ROOT

from archloop.errors import InputError
from archloop.files import (
    read_foreign_json,
    read_json,
    read_jsonl,
    read_text,
    remove_tree,
    replacing,
    sha256_file,
    sha256_text,
    write_json,
    write_jsonl,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "f.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["f.json"]


def test_a_disk_that_is_full_names_the_file(tmp_path):
    named = pytest.raises(OSError, match=r"No space left on device: '.*f\.json'")
    with named, replacing(tmp_path / "f.json"), open("/dev/full", "w", buffering=1) as full:
        full.write("line\n")


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [2.5]})
    write_json(tmp_path / "b", {"y": [2.5], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_lines_with_lone_surrogates_and_separators_come_back(tmp_path):
    rows = [{"raw": "a\u2028b\x85c\ud800"}, {"raw": ""}]
    write_jsonl(tmp_path / "f", rows)
    assert read_jsonl(tmp_path / "f") == rows


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_truncated_file_is_named(tmp_path, cut):
    path = tmp_path / "f.jsonl"
    write_jsonl(path, [{"a": 1}, {"b": 2}])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"f\.jsonl"):
        read_jsonl(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")


def test_a_tree_of_folders_is_deleted_and_what_links_lead_to_is_not(tmp_path):
    for name in ("tree/a/b/c", "tree/a/d", "tree/e", "kept"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "tree" / "a" / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "tree")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/file"]


def test_a_tree_deeper_than_any_path_and_closed_is_deleted_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "kept").write_text("kept")
    folder = tmp_path / "tree"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "file").touch()
    (folder / "closed").chmod(0)
    (folder / "link").symlink_to(tmp_path)
    monkeypatch.chdir(folder)
    for _ in range(1500):
        os.mkdir("deep")  # noqa: PTH102 (no path is as long)
        os.chdir("deep")
    os.chdir(tmp_path)
    remove_tree(folder)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("text", ["[]\n", "3\n", "null\n", '{"b": 1}\n'])
def test_what_is_no_object_or_lacks_a_key_is_named(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"f\.json"):
        read_json(path, "a")
    with pytest.raises(InputError, match=r"f\.json, line 1"):
        read_jsonl(path, "a")


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_the_same_however_it_was_saved(tmp_path, coding, end):
    (tmp_path / "f.txt").write_bytes(end.join(["a", "ü", ""]).encode(coding))
    assert read_text(tmp_path / "f.txt") == "a\nü\n"


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "f.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(tmp_path / "f.json") == {"a": 1}
    (tmp_path / "f.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n')
    assert read_jsonl(tmp_path / "f.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[" * 100_000, "1" * 5000])
def test_what_python_takes_for_json_and_is_none_is_refused(tmp_path, value):
    path = tmp_path / "f.json"
    path.write_text(f'{{"a": {value}}}\n')
    with pytest.raises(InputError, match=r"f\.json"):
        read_json(path)
    with pytest.raises(InputError, match=r"f\.json, line 1"):
        read_jsonl(path)


def test_what_is_no_number_in_json_of_others_is_none(tmp_path):
    (tmp_path / "f.json").write_text('{"a": NaN, "b": [0.0, Infinity], "c": 1e999, "d": 0.5}')
    assert read_foreign_json(tmp_path / "f.json") == {"a": None, "b": [0.0, None], "c": None, "d": 0.5}


def test_a_written_file_has_the_mode_of_the_umask_which_nobody_changes(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda _: pytest.fail("the umask of all threads was changed"))
            write_json(tmp_path / "f.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "f.json").stat().st_mode & 0o777 == 0o640


def test_others_may_read_what_a_library_keeps_to_its_owner(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "weights.safetensors") as temporary:
            save_file({"weight": np.zeros(2)}, temporary)
    finally:
        os.umask(before)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == 0o640


def test_threads_that_write_at_once_give_every_file_the_mode_of_the_umask(tmp_path):
    before, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: write_json(tmp_path / f"{n}.json", {"n": n}), range(300)))
    finally:
        sys.setswitchinterval(interval)
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


AS_ANOTHER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from archloop.errors import InputError
from archloop.files import set_time_to_now, write_json
os.umask(0o002)
os.setgroups([])
os.setgid(30000)
os.setuid(20002)
for act in (set_time_to_now, lambda path: write_json(path, {"by": "b"})):
    try:
        act(Path(sys.argv[2]))
        print("done")
    except InputError as error:
        print(error)
"""


def as_another_user(path: Path) -> list[str]:
    """Set the time of a file, then write it anew, as a member of the group 30000; return what was said of each."""
    command = [sys.executable, "-c", AS_ANOTHER, str(ROOT / "scripts"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def shared_file(tmp_path) -> Path:
    """A file of one member of a group, in a folder of the group; all folders above can be entered."""
    if os.geteuid():
        pytest.skip("only root can be two users")
    folder = Path(tempfile.mkdtemp())
    (folder / "f.json").write_text("{}")
    os.utime(folder / "f.json", (1, 1))
    for path in (folder / "f.json", folder):
        os.chown(path, 20001, 30000)
    folder.chmod(0o2775)
    (folder / "f.json").chmod(0o664)
    yield folder / "f.json"
    remove_tree(folder)


def test_another_member_of_the_group_sets_times_and_writes_anew(shared_file):
    assert as_another_user(shared_file) == ["done", "done"]
    assert shared_file.stat().st_mtime > 1 and read_json(shared_file) == {"by": "b"}


def test_what_the_owner_alone_may_do_is_said_with_the_name_of_the_file(shared_file):
    shared_file.chmod(0o644)
    shared_file.parent.chmod(0o3775)
    times, writes = as_another_user(shared_file)
    assert times.startswith(f"{shared_file}: its time cannot be set; its owner has to run this")
    assert writes.startswith(f"{shared_file}: is another user's, and its folder lets nobody else replace it (sticky)")
    assert [path.name for path in shared_file.parent.iterdir()] == ["f.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")]])
def test_what_is_no_json_is_not_written(tmp_path, value):
    for write, whole in ((write_json, {"a": value}), (write_jsonl, [{"a": 1}, {"a": value}])):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(tmp_path / "f", whole)
    assert not list(tmp_path.iterdir())


def test_the_bytes_of_json_are_these(tmp_path):
    path = tmp_path / "new" / "folder" / "f.json"
    write_json(path, {"b": [1, 0.5], "a": "é"})
    assert path.read_bytes() == b'{\n "a": "\\u00e9",\n "b": [\n  1,\n  0.5\n ]\n}\n'
    write_jsonl(tmp_path / "f.jsonl", [{"b": 1, "a": None}, {}])
    assert (tmp_path / "f.jsonl").read_bytes() == b'{"a": null, "b": 1}\n{}\n'


def test_digests_are_sha256_of_the_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "f") == sha256_text("abc") == known
    assert sha256_text("\ud800") == sha256_text("\\ud800") != sha256_text("?")
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file"):
        sha256_file(tmp_path / "gone")


def test_every_write_reaches_the_disk_under_the_name_that_it_will_have(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()) or real(file))
    write_json(tmp_path / "f.json", {})
    (path,) = synced
    assert path.parent == tmp_path and path.name.startswith(".f.json.")


def test_writing_leaves_no_file_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        write_json(tmp_path / "f.json", {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_json_of_others_is_asked_for_its_keys(tmp_path):
    (tmp_path / "f.json").write_text('{"a": 1}')
    assert read_foreign_json(tmp_path / "f.json", "a") == read_json(tmp_path / "f.json", "a") == {"a": 1}
    with pytest.raises(InputError, match=r"f\.json: lacks b$"):
        read_foreign_json(tmp_path / "f.json", "a", "b")


def test_a_refusal_of_another_kind_is_told_as_it_is(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted", "f.json")

    (tmp_path / "f.json").write_text("{}")
    monkeypatch.setattr(Path, "replace", refused)
    monkeypatch.setattr(os, "geteuid", lambda: 99_999)  # another user than the file's, in a folder that is not sticky
    with pytest.raises(PermissionError, match="Operation not permitted"):
        write_json(tmp_path / "f.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]
