"""The rule that trains a language model from scratch: cut and gone on with, and what makes it run again."""

import pytest
import yaml
from small_run import make_clone, run
from workflow import contents, kill_when, snakemake

pytestmark = pytest.mark.workflow
MODEL = "resources/models/tiny/manifest.json"
SETTINGS = (MODEL, "--configfile", "scratch.yaml")
# Long enough to be met while it runs.
LESS = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 400, "programs": 40, "steps": 150, "checkpoint_steps": 5}


@pytest.fixture
def clone(config, tiny_model, tmp_path):
    """A function that makes a clone whose model is to be trained, in little time."""

    def make(name):
        folder = make_clone(tmp_path / name, tiny_model)
        (folder / "less.yaml").write_text(yaml.safe_dump(LESS))
        config["model"] = {"name": "tiny", "reference": "scratch:less.yaml"}
        (folder / "scratch.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def trained(folder):
    done = snakemake(folder, *SETTINGS)
    assert done.returncode == 0, done.stderr[-3000:]
    return contents(folder, ["resources/models/tiny/*"])


def planned(folder) -> bool:
    done = snakemake(folder, *SETTINGS, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    return "Training the language model" in done.stdout


def test_a_training_that_was_killed_goes_on_to_the_same_bytes(clone):
    whole, cut = clone("whole"), clone("cut")
    kill_when((cut / "results/state/model/checkpoint.pt").exists, cut, *SETTINGS)
    assert not (cut / MODEL).exists()
    assert trained(cut) == trained(whole)
    assert "resuming after step" in (cut / "logs/prepare/model.log").read_text()
    assert not (cut / "results/state/model").exists()


def test_verify_knows_the_file_that_the_model_was_made_from(clone):
    folder = clone("verified")
    done = snakemake(folder, "results/seed/left_out.json", *SETTINGS[1:])
    assert done.returncode == 0, done.stderr[-3000:]
    said = run(folder, "scripts/verify.py", "results").stdout
    assert "stale" not in said.replace("0 stale", "") and "0 altered" in said, said

    file = folder / "less.yaml"
    file.write_text(file.read_text().replace("steps: 150", "steps: 151"))
    assert "scratch_model.steps was 150, the settings say 151" in run(folder, "scripts/verify.py", "results").stdout


def test_what_the_model_is_made_of_trains_it_again_and_a_comment_does_not(clone):
    folder = clone("changed")
    trained(folder)
    assert not planned(folder)

    file = folder / "less.yaml"
    file.write_text("# a comment\n" + file.read_text())
    assert not planned(folder)

    for path in (file, folder / "config/prompts/hints_demo.yaml", folder / "scripts/archloop/scratch_programs.py"):
        before = path.read_text()
        other = {"steps: 150": "steps: 151", "Use dilated": "Do use dilated", "100_000,": "100_001,"}
        for old, new in other.items():
            path.write_text(path.read_text().replace(old, new))
        assert path.read_text() != before
        assert planned(folder), path
        path.write_text(before)


def test_a_mistake_in_the_file_stops_the_run_in_one_line(clone):
    folder = clone("wrong")
    (folder / "less.yaml").write_text("stpes: 3\n")
    done = snakemake(folder, *SETTINGS)
    assert done.returncode != 0
    assert "less.yaml: stpes is no setting; did you mean steps?" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
