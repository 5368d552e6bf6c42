"""The files in examples/: each is laid over a file in config/, as its first lines say, and gives a plan."""

import json
import re

import pytest
import yaml
from small_run import shipped
from workflow import snakemake

EXAMPLES = {"own-model.yaml": "config.yaml", "own-images.yaml": "demo.yaml", "own-chain.yaml": "config.yaml"}


def test_every_example_is_planned_by_a_test(root):
    assert {path.name for path in (root / "examples").iterdir()} == set(EXAMPLES)


@pytest.mark.parametrize(("example", "under"), EXAMPLES.items())
def test_an_example_is_a_plan_and_says_the_command_for_it(root, tmp_path, example, under):
    text = (root / "examples" / example).read_text()
    assert f"--configfile config/{under} examples/{example}" in text

    files = [root / "config" / under, root / "examples" / example, tmp_path / "short.yaml"]
    chains = shipped(under)["chains"] | yaml.safe_load(text).get("chains", {})
    short = {name: {"cycles": 1} for name in chains if name != "seed"}
    images = tmp_path / "images"
    images.mkdir()
    files[-1].write_text(json.dumps({"chains": short, "data": {"folder": str(images)}}))

    done = snakemake(tmp_path, "-n", "--quiet", "rules", "--configfile", *map(str, files))

    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert int(re.search(r"^total +(\d+)", done.stdout, re.MULTILINE)[1]) > 10
