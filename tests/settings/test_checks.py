"""Settings that the schema allows and that would end a later job, or change nothing: refused or warned of."""

import pytest
from refusals import refusal
from small_run import shipped

from archloop.errors import InputError
from archloop.layout import FAMILY_TEMPLATES
from archloop.settings.checks import CLASSES, check_inputs, warnings
from archloop.settings.complete import complete
from archloop.settings.schema import schema


@pytest.fixture
def refused(config, root, tmp_path, monkeypatch):
    """A function that gives the line which refuses some changed sections, in a folder where nothing is prepared."""
    monkeypatch.chdir(tmp_path)

    def line(**sections) -> str:
        for name, values in sections.items():
            config[name] = config.get(name, {}) | values
        with pytest.raises(InputError) as caught:
            check_inputs(complete(config), root)
        return str(caught.value)

    return line


def test_a_family_that_there_is_not_is_refused_before_the_model_is_fetched(refused):
    assert refused(seed_corpus={"families": ["plain", "seperable"]}) == (
        "settings: seed_corpus.families: there is no family seperable; did you mean separable?"
    )


def test_where_no_family_is_near_all_are_named(refused):
    names = sorted(path.name.removesuffix(".py.j2") for path in FAMILY_TEMPLATES.glob("[a-z]*.py.j2"))
    assert refused(seed_corpus={"families": ["zzz"]}) == (
        f"settings: seed_corpus.families: there is no family zzz; there are {', '.join(names)}"
    )


def test_families_of_lemur_are_known_only_when_it_is_read(config, root, tmp_path):
    config["seed_corpus"] |= {"source": "lemur", "lemur_folder": str(tmp_path), "families": ["ResNet"]}
    check_inputs(complete(config), root)


@pytest.mark.parametrize("key", ["template", "hints"])
def test_a_file_of_prompts_that_is_not_there_is_named(refused, root, key):
    path = root / "config" / "prompts" / "nowhere"
    assert refused(prompts={key: "config/prompts/nowhere"}) == f"settings: prompts.{key}: {path}: no such file"


def test_folders_that_are_not_there_are_named(refused):
    assert refused(seed_corpus={"source": "lemur", "lemur_folder": "lemur"}) == (
        "settings: seed_corpus.lemur_folder: lemur: no such folder"
    )


def test_images_that_are_not_there_are_named_until_they_are_prepared(config, refused, root, tmp_path):
    config["chains"]["main"]["dataset"] = "folder"
    assert refused(data={"folder": "flowers"}) == f"settings: data.folder: flowers: no such folder in {tmp_path}"
    assert refused(data={"folder": "/flowers"}) == "settings: data.folder: /flowers: no such folder"
    prepared = tmp_path / "resources" / "datasets" / "folder.safetensors"
    prepared.parent.mkdir(parents=True)
    prepared.touch()
    check_inputs(complete(config), root)


def test_images_that_no_chain_uses_need_not_be_there(config, root):
    config["data"]["folder"] = "flowers"
    check_inputs(complete(config), root)


@pytest.mark.parametrize(("kind", "what"), [("folder", "folder"), ("gguf", "file")])
def test_a_model_of_this_machine_that_is_not_there_is_named_until_it_is_prepared(
    config, refused, root, tmp_path, kind, what
):
    assert refused(model={"reference": f"{kind}:nowhere"}) == f"settings: model.reference: nowhere: no such {what}"
    manifest = tmp_path / "resources" / "models" / config["model"]["name"] / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    check_inputs(complete(config), root)


@pytest.mark.parametrize("source", ["model", "families"])
def test_more_jobs_than_candidates_are_refused(config, source):
    config["chains"]["main"] |= {"source": source, "cycle": {"shards": 9}}
    assert refusal(config) == (
        "settings: chains.main, cycle 1: cycle.shards: 9 jobs cannot share 8 candidates (cycle.candidates);"
        " lower it to 8 or less"
    )
    config["chains"]["main"]["cycle"] = {"shards": 8}
    complete(config)


def test_the_designs_of_a_chain_are_shared_by_any_number_of_jobs(config):
    """How many there are is not known before."""
    config["chains"]["designs"] = {"dataset": "digits", "source": "main", "cycles": 1, "cycle": {"shards": 9}}
    complete(config)


@pytest.mark.parametrize(
    ("admission", "line"),
    [
        (
            {"threshold": 0.4, "fill_accuracy": 0.4},
            "chains.main: admission.fill_accuracy: 0.4 is not below the threshold, 0.4, so nothing is filled up",
        ),
        (
            {"threshold": 0.1},
            "chains.main: admission.threshold: 0.1 is no more than guessing scores, so what learns nothing is admitted",
        ),
        (
            {"threshold": 0.0, "relative_to_chance": True},
            "chains.main: admission.threshold: 0.0 is no more than guessing scores, so what learns nothing is admitted",
        ),
        ({"threshold": 0.11}, None),
        ({"threshold": 0.01, "relative_to_chance": True}, None),
        ({"threshold": 0.4, "fill_accuracy": 0.39}, None),
        ({"threshold": 0.4, "fill_accuracy": None}, None),
    ],
)
def test_a_threshold_that_is_hardly_meant_is_warned_of(config, admission, line):
    config["admission"] = admission
    assert warnings(complete(config)) == ([line] if line else [])


def test_guessing_among_a_hundred_classes_scores_less(config):
    config["chains"]["main"]["dataset"] = config["chains"]["seed"]["dataset"] = "cifar100"
    config["admission"] = {"threshold": 0.02}
    assert warnings(complete(config)) == []
    config["admission"] = {"threshold": 0.01}
    assert len(warnings(complete(config))) == 1


def test_cycle_0_on_other_data_than_the_loop_is_warned_of(config):
    config["chains"]["seed"]["dataset"] = "mnist"
    line = "chains.main.dataset is digits, but cycle 0 measures its programs on mnist (chains.seed.dataset)"
    assert warnings(complete(config)) == [line]


def test_a_transfer_is_meant(config):
    """A chain on other data than cycle 0 is warned of only where it is what the report is about."""
    config["chains"]["other"] = {"dataset": "mnist", "cycles": 1}
    config["chains"]["moved"] = {"dataset": "mnist", "start": "main", "cycles": 1}
    assert warnings(complete(config)) == []
    config["report"] = {"loop": "moved"}
    assert warnings(complete(config)) == []


def test_a_headline_about_no_chain_is_warned_of(config):
    config["report"] = {"loop": "mian"}
    line = "report.loop: there is no chain mian, so the headline is about the first one that learns"
    assert warnings(complete(config)) == [line]


@pytest.mark.parametrize(
    "files",
    ["config.yaml", "config.yaml ablations.yaml", "images.yaml", "demo.yaml", "study.yaml", "controls.yaml"],
)
def test_nothing_is_warned_of_in_the_files_in_config(files):
    assert warnings(complete(shipped(*files.split()))) == []


def test_the_classes_of_every_data_set_that_has_a_name_are_known():
    assert {*CLASSES, "folder"} == set(schema()["$defs"]["dataset"]["enum"])
