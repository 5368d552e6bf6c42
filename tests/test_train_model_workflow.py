"""The rule that trains a language model from scratch: cut and gone on with, and what makes it run again."""

import pytest
import yaml
from small_run import make_clone, run
from workflow import contents, kill_when, snakemake

pytestmark = pytest.mark.workflow
MODEL = "resources/models/tiny/manifest.json"
SEED_PROGRAMS = "results/seed/left_out.json"
SETTINGS = (MODEL, "--configfile", "scratch.yaml")
# Long enough to be met while it runs.
LESS = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 400, "programs": 16}
LESS |= {"batch_size": 4, "steps": 60, "checkpoint_steps": 5}


@pytest.fixture(scope="module")
def clone(smallest, tiny_model, tmp_path_factory):
    """A function that makes a clone whose model is to be trained, in little time."""

    def make(name):
        folder = make_clone(tmp_path_factory.mktemp(name) / "clone", tiny_model)
        (folder / "less.yaml").write_text(yaml.safe_dump(LESS))
        settings = smallest | {"model": {"name": "tiny", "reference": "scratch:less.yaml"}}
        (folder / "scratch.yaml").write_text(yaml.safe_dump(settings))
        return folder

    return make


@pytest.fixture(scope="module")
def cut(clone):
    """A clone in which the training was killed and gone on with; tests leave it as they found it."""
    folder = clone("cut")
    kill_when((folder / "results/state/model/checkpoint.pt").exists, folder, *SETTINGS)
    assert not (folder / MODEL).exists()
    train(folder)
    return folder


def train(folder) -> None:
    done = snakemake(folder, *SETTINGS)
    assert done.returncode == 0, done.stderr[-3000:]


def planned(folder) -> bool:
    done = snakemake(folder, *SETTINGS, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    return "Training the language model" in done.stdout


def test_a_training_that_was_killed_goes_on_to_the_same_bytes(clone, cut):
    whole = clone("whole")
    train(whole)
    assert contents(cut, ["resources/models/tiny/*"]) == contents(whole, ["resources/models/tiny/*"])
    assert "resuming after step" in (cut / "logs/prepare/model.log").read_text()
    assert not (cut / "results/state/model").exists()


def test_verify_knows_the_file_that_the_model_was_made_from(cut):
    done = snakemake(cut, SEED_PROGRAMS, *SETTINGS[1:])
    assert done.returncode == 0, done.stderr[-3000:]
    said = run(cut, "scripts/verify.py", "results").stdout
    assert said.endswith(": 2 missing, 0 altered, 0 stale, 0 broken, 0 wrong\n"), said  # the two cycles

    file = cut / "less.yaml"
    before = file.read_text()
    file.write_text(before.replace("steps: 60", "steps: 61"))
    assert "scratch_model.steps was 60, the settings say 61" in run(cut, "scripts/verify.py", "results").stdout
    file.write_text(before)


def test_what_the_model_is_made_of_trains_it_again_and_a_comment_does_not(cut):
    assert not planned(cut)

    file = cut / "less.yaml"
    file.write_text("# a comment\n" + file.read_text())
    assert not planned(cut)

    for path in (
        file,
        cut / "config/prompts/hints_demo.yaml",
        cut / "scripts/archloop/scratch_model/scratch_programs.py",
    ):
        before = path.read_text()
        other = {"steps: 60": "steps: 61", "Use dilated": "Do use dilated", "100_000,": "100_001,"}
        for old, new in other.items():
            path.write_text(path.read_text().replace(old, new))
        assert path.read_text() != before
        assert planned(cut), path
        path.write_text(before)


def test_a_mistake_in_the_file_stops_the_run_in_one_line(clone):
    folder = clone("wrong")
    (folder / "less.yaml").write_text("stpes: 3\n")
    done = snakemake(folder, *SETTINGS)
    assert done.returncode != 0
    assert "less.yaml: stpes is no setting; did you mean steps?" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
