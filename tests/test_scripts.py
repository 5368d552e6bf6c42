"""The scripts as programs: that they start, wherever Python looks for modules, and that light ones start fast."""

import json
import subprocess
import sys

import click
import pytest

from archloop.errors import InputError
from archloop.workflow.cli import command

# In a fork of one process each: a script is loaded, not run; printed is what it imported, or why it could not.
LOAD = """
import json, os, pathlib, runpy, sys
import click, jsonschema, yaml
wanted = {"torch", "transformers", "datasketch", "scipy", "altair", "archloop.workflow.cli"}
if sys.argv[2] == "all": import altair, polars, safetensors.torch, torch
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    if sys.argv[2] not in ("all", path.stem): continue
    told, tell = os.pipe()
    if os.fork() == 0:
        sys.argv = [str(path)]
        try: runpy.run_path(str(path), run_name="loaded")
        except BaseException as error: found = repr(error)
        else: found = sorted(wanted & set(sys.modules))
        os.write(tell, json.dumps({path.stem: found}).encode())
        os._exit(0)
    os.close(tell)
    print(os.read(told, 9999).decode())
    os.wait()
"""
LIGHT = ("admit", "export", "inspect_corpus", "status", "summarize", "transfer", "verify", "write_prompts")


def loaded(root, which: str) -> dict:
    """Return script -> what it imported, of scripts loaded where Python does not look into their folder by itself."""
    command = [sys.executable, "-P", "-c", LOAD, root / "scripts", which]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root / "scripts")
    assert done.returncode == 0, done.stderr
    return {name: found for line in done.stdout.splitlines() for name, found in json.loads(line).items()}


def test_every_script_finds_the_library_by_its_own_place(root):
    found = loaded(root, "all")
    assert len(found) == len(list((root / "scripts").glob("*.py")))
    assert [name for name, names in found.items() if "archloop.workflow.cli" not in names] == []


def test_a_script_runs_where_python_leaves_its_folder_out(root, tmp_path):
    command = [sys.executable, "-P", root / "scripts" / "status.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no run has been started in results/ yet\n"), done.stderr


@pytest.mark.parametrize("name", [*LIGHT, "write_seed_programs"])
def test_a_script_that_needs_no_tensor_starts_without_torch(root, name):
    assert loaded(root, name) == {name: ["archloop.workflow.cli"]}


def test_a_mistake_with_a_file_of_an_odd_name_is_one_line(tmp_path, capfd):
    @command
    @click.argument("path")
    def refuse(path):
        raise InputError(f"{path}: no such file")

    with pytest.raises(SystemExit):
        refuse.main(["a\nb\x1b[2J"])
    assert capfd.readouterr().err.splitlines()[-1].strip() == "error: a\\nb\\x1b[2J: no such file"
