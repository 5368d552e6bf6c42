"""Settings that are wrong end Snakemake itself with one line that names the user's file, however it was started."""

import subprocess
import sys
from pathlib import Path

import pytest

WRONG = """model: {name: tiny, reference: "scratch:config/models/tiny.yaml"}
admission: {treshold: 0.4}
chains: {seed: {dataset: digits}, main: {dataset: digits, cycles: 1}}
"""
MODULE = """module archloop:
    snakefile: "SNAKEFILE"
    config: config
use rule * from archloop as archloop_*
"""


def printed(folder: Path, *arguments: str) -> list[str]:
    """Return the lines that Snakemake prints before it ends with status 1, but for those of its profile."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stdout + done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("Using profile")]


@pytest.mark.workflow
@pytest.mark.parametrize("how", ["dry run", "cluster", "job on a node", "module"])
def test_one_line_and_nothing_around_it(tmp_path, root, how):
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / "other.smk").write_text(MODULE.replace("SNAKEFILE", str(root / "Snakefile")))
    snakefile = tmp_path / "other.smk" if how == "module" else root / "Snakefile"
    arguments = {
        "dry run": ["--dry-run"],
        "cluster": ["--profile", str(root / "slurm")],
        "job on a node": ["--mode", "remote", "results/report/index.html", "--cores", "1"],
        "module": ["--dry-run"],
    }[how]

    lines = printed(tmp_path, "--snakefile", str(snakefile), *arguments, "--configfile", "wrong.yaml")

    path = tmp_path / "wrong.yaml"
    assert lines == [f"settings in {path}: admission.treshold is no setting; did you mean threshold?"]
    assert not (tmp_path / "results").exists()
