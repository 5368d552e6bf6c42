"""The one reader of control groups: whatever version, the tightest limit of the own group and those above it."""

from pathlib import Path

import pytest

from archloop.control_groups import GroupLimit, tightest


def machine(folder: Path, own: str, files: dict[str, str]) -> dict[str, Path]:
    """Write a machine's files: own, the lines of /proc/self/cgroup; files, those of the control groups."""
    written = {f"groups/{name}": text for name, text in files.items()}
    for name, text in (written | {"proc/self/cgroup": own}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return {"groups": folder / "groups", "proc": folder / "proc"}


def test_of_two_quotas_the_tighter_one_leaves_the_smaller_share_of_time(tmp_path):
    """The number before a longer period may be the larger one."""
    files = {"a/cpu.max": "300000 1000000", "cpu.max": "200000 100000"}
    found = tightest(**machine(tmp_path, "0::/a", files))
    assert found == {"cpu.max": GroupLimit("cpu.max", "300000 1000000", 0.3)}


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
def test_controllers_that_share_a_hierarchy_lie_under_one_name_or_under_both(tmp_path, mounted):
    files = {f"{mounted}/a/cpu.cfs_quota_us": "50000", f"{mounted}/a/cpu.cfs_period_us": "25000"}
    found = tightest(**machine(tmp_path, "3:cpu,cpuacct:/a", files))
    assert found == {"cpu.cfs_quota_us": GroupLimit("cpu.cfs_quota_us", "50000", 2.0)}


@pytest.mark.parametrize("period", [None, "", "0"])
def test_a_quota_whose_period_is_not_told_is_of_the_usual_one(tmp_path, period):
    files = {"cpu/cpu.cfs_quota_us": "50000"}
    if period is not None:
        files["cpu/cpu.cfs_period_us"] = period
    assert tightest(**machine(tmp_path, "3:cpu:/", files))["cpu.cfs_quota_us"].amount == 0.5


def test_a_group_whose_name_is_no_utf8_is_read_as_any_other(tmp_path):
    places = machine(tmp_path, "0::/", {"pids.max": "9"})
    (places["proc"] / "self" / "cgroup").write_bytes(b"0::/\xff\n")
    (places["groups"] / "\udcff").mkdir()
    (places["groups"] / "\udcff" / "pids.max").write_text("5\n")
    assert tightest(**places)["pids.max"].text == "5"


@pytest.mark.parametrize("text", ["max", "-1", "", "max 100000", str(2**63 - 4096)])
def test_what_the_kernel_writes_for_no_limit_is_none(tmp_path, text):
    names = ("pids.max", "memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us")
    assert tightest(**machine(tmp_path, "0::/", dict.fromkeys(names, text))) == {}
