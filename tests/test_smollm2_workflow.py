"""The loop with the demo's real language model, as small as it closes: one cycle, two candidates."""

import json

import pytest
import yaml
from small_run import make_clone, run
from workflow import snakemake

pytestmark = pytest.mark.workflow


def test_the_loop_closes_with_the_demos_language_model(smollm2, tmp_path, root):
    folder = make_clone(tmp_path / "clone", smollm2)
    models = folder / "resources" / "models"
    models.mkdir(parents=True)
    (models / smollm2.name).symlink_to(smollm2)

    settings = yaml.safe_load((root / "config" / "demo.yaml").read_text())
    settings["seed_corpus"] |= {"per_family": 1, "families": ["plain", "vgg"]}
    settings["cycle"]["candidates"] = 2
    settings["generation"]["max_new_tokens"] = 48
    settings["finetuning"]["epochs"] = 1
    settings["chains"]["main"]["cycles"] = 1
    (folder / "less.yaml").write_text(yaml.safe_dump(settings))

    done = snakemake(folder, "--configfile", "less.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((folder / "results/main/cycle-1/summary.json").read_text())
    assert sum(summary["funnel"].values()) == summary["candidates"] == 2
    assert (folder / "results/report/index.html").stat().st_size > 0

    checked = run(folder, "scripts/verify.py", "results")
    assert checked.returncode == 0, checked.stdout
