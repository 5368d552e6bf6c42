"""What a site lets a process have: limits and control groups, read, compared with what is promised, and said."""

import os
import resource
import subprocess
import sys

import pytest

from archloop import site_limits
from archloop.site_limits import SiteLimits

MB = 2**20
NONE = dict.fromkeys(site_limits.NAMES)


def write(folder, files: dict[str, str]) -> None:
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value)


def test_limits_of_control_groups_are_the_tightest_up_to_the_root(tmp_path):
    for folder, name, value in (
        ("a", "pids.max", "100"),
        ("a/b", "pids.max", "max"),
        ("a/b", "memory.max", "2000"),
        ("a", "memory.max", "5000"),
        ("", "cpu.max", "200000 100000"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(f"{value}\n")
    write(tmp_path, {"self/cgroup": "0::/a/b\n"})
    found = site_limits.group_limits(tmp_path, tmp_path)
    assert found == {"pids.max": "100", "memory.max": "2000", "cpu.max": "200000 100000"}


def test_limits_of_the_first_version_of_control_groups_are_found_at_their_roots(tmp_path):
    files = {
        "pids/docker/a/pids.max": "70\n",
        "pids/docker/pids.max": "60\n",
        "pids/pids.max": "50\n",
        "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        "memory/docker/a/memory.limit_in_bytes": "1000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/slow/cpu.cfs_quota_us": "50000\n",
        "systemd/pids.max": "\n",
        "pids.max": "7\n",
    }
    write(tmp_path, files)
    lines = "4:pids:/docker/a\n3:memory:/docker/a\n2:cpu:/slow\n1:name=systemd:/docker:b/../../../..\n"
    write(tmp_path, {"self/cgroup": lines})
    found = site_limits.group_limits(tmp_path, tmp_path)
    assert found == {"pids.max": "50", "memory.limit_in_bytes": "1000", "cpu.cfs_quota_us": "50000"}


def test_without_control_groups_nothing_is_found(tmp_path):
    assert site_limits.group_limits(tmp_path, tmp_path) == {}


def test_a_number_as_large_as_this_is_no_limit(tmp_path):
    write(tmp_path, {"self/cgroup": "0::/\n"})
    for number, found in ((2**60, {}), (-1, {}), (0, {"memory.max": "0"}), (2**60 - 1, {"memory.max": str(2**60 - 1)})):
        write(tmp_path, {"memory.max": str(number)})
        assert site_limits.group_limits(tmp_path, tmp_path) == found


@pytest.mark.parametrize(
    ("name", "hard", "asked", "says"),
    [
        (
            "RLIMIT_CPU",
            9,
            10,
            "RLIMIT_CPU allows 9 s of processor time, the judge needs 10: raise it (ulimit -t",
        ),
        ("RLIMIT_CPU", 10, 10, ""),
        ("RLIMIT_CPU", 0, 10, "RLIMIT_CPU allows 0 s"),
        ("RLIMIT_CPU", None, 10, ""),
        ("RLIMIT_FSIZE", 3 * MB, 3 * MB + 1, "RLIMIT_FSIZE allows 3 MB a file, the judge needs 4: raise it (ulimit -f"),
        ("RLIMIT_AS", MB, 5 * MB, "RLIMIT_AS allows 1 MB of address space, the judge needs 5: raise it (ulimit -v"),
        ("RLIMIT_NOFILE", 5, 6, "RLIMIT_NOFILE allows 5 open files, the judge needs 6: raise it (ulimit -n"),
        ("RLIMIT_NPROC", 5, 6, ""),
    ],
)
def test_a_limit_below_what_is_wanted_is_named_in_its_unit(name, hard, asked, says):
    lines = site_limits.shortfalls({getattr(resource, name): asked}, "the judge needs", NONE | {name: hard})
    assert (lines[0].startswith(says) and len(lines) == 1) if says else lines == []


def test_mapped_memory_is_data_too():
    found = NONE | {"RLIMIT_DATA": 3 * MB}
    (line,) = site_limits.shortfalls({resource.RLIMIT_AS: 5 * MB}, hard=found)
    assert line.startswith("RLIMIT_DATA allows 3 MB of data, a candidate is promised 5: raise it (ulimit -d, where")
    assert site_limits.shortfalls({resource.RLIMIT_DATA: 5 * MB}, hard=found) == []


def test_the_limits_of_this_process_are_those_of_the_kernel(monkeypatch):
    values = {resource.RLIMIT_CPU: (5, 7), resource.RLIMIT_NPROC: (resource.RLIM_INFINITY, 9)}
    nothing = (resource.RLIM_INFINITY,) * 2
    monkeypatch.setattr(resource, "getrlimit", lambda limit: values.get(limit, nothing))
    assert site_limits.soft_limits() == NONE | {"RLIMIT_CPU": 5}
    assert site_limits.hard_limits() == NONE | {"RLIMIT_CPU": 7, "RLIMIT_NPROC": 9}
    monkeypatch.setattr(site_limits, "group_limits", lambda: {"pids.max": "8"})
    assert site_limits.of_processes() == "RLIMIT_NPROC 9, pids.max 8"
    assert site_limits.inherited() == SiteLimits(
        hard=NONE | {"RLIMIT_CPU": 7, "RLIMIT_NPROC": 9},
        groups={"pids.max": "8"},
        processors=os.cpu_count(),
        affinity=len(os.sched_getaffinity(0)),
    )
    monkeypatch.setattr(site_limits, "group_limits", dict)
    values.clear()
    assert site_limits.of_processes() == "no limit that can be read"


def test_what_bounds_a_node_is_one_line():
    hard = NONE | {"RLIMIT_AS": 2 * MB, "RLIMIT_NOFILE": 5}
    said = "RLIMIT_AS 2 MB of address space; RLIMIT_NOFILE 5 open files; pids.max 8; 2 of 4 processors"
    assert site_limits.as_line(SiteLimits(hard, {"pids.max": "8"}, processors=4, affinity=2)) == said
    assert site_limits.as_line(SiteLimits(NONE, {}, processors=4, affinity=4)) == "none; 4 of 4 processors"


def test_a_limit_below_a_megabyte_is_no_zero():
    found = NONE | {"RLIMIT_STACK": 256 * 2**10}
    lines = site_limits.shortfalls({resource.RLIMIT_STACK: 8 * MB}, hard=found)
    assert [line.partition(":")[0] for line in lines] == [
        "RLIMIT_STACK allows 0.25 MB of stack, a candidate is promised 8"
    ]
    assert "RLIMIT_STACK 0.25 MB of stack" in site_limits.as_line(SiteLimits(found, {}, processors=2, affinity=2))


@pytest.mark.parametrize("script", ["evaluate", "train_model"])
def test_a_script_whose_libraries_find_no_room_says_which_limit_it_is(root, tmp_path, digits, script):
    (tmp_path / "c").write_text("")
    given = {"candidates": "c", "dataset": digits, "store": "s", "seed": "1", "output": "o", "run-record": "r"}
    if script == "train_model":
        given = {"reference": "r", "template": "t", "hints": "h", "seed": "1", "state": "s", "output": "o"}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    limited = ["bash", "-c", 'ulimit -v 1500000; exec "$@"', "-", sys.executable, root / "scripts" / f"{script}.py"]
    done = subprocess.run([*limited, *options], cwd=tmp_path, capture_output=True, text=True)
    line = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.returncode == 1 and line.strip().startswith("error: ")
    assert line.endswith("RLIMIT_AS allows 1464 MB of address space: raise it (ulimit -v)")
