"""What a person is told of settings that are wrong: whole lines, which say what to write instead."""

import pytest
from refusals import refusal

DIGITS = {"dataset": "digits"}
SECTIONS = "cycle, prompts, generation, evaluation, admission, novelty, finetuning"


def with_main(**changes) -> dict:
    """Return the section chains with changes of its one chain."""
    return {"chains": {"seed": DIGITS, "main": DIGITS | {"cycles": 1} | changes}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"generation": {"temprature": 1}}, "generation.temprature is no setting; did you mean temperature?"),
        ({"cycle": {"x": 1}}, "cycle.x is no setting; known are candidates, shards"),
        (
            with_main(data={"folder": "x"}),
            f"chains.main.data: a chain cannot have its own `data`; of the sections it can set {SECTIONS}",
        ),
        (
            with_main(loading={}),
            f"chains.main.loading: a chain cannot have its own `loading`; of the sections it can set {SECTIONS}",
        ),
        (
            with_main(at={1: {"model": {}}}),
            f"chains.main.at.1.model: a cycle cannot have its own `model`; of the sections it can set {SECTIONS}",
        ),
        (
            {"chains": {"seed": DIGITS | {"novelty": {}}, "main": DIGITS | {"cycles": 1}}},
            "chains.seed.novelty: a chain cannot have its own `novelty`; of the sections it can set prompts,"
            " evaluation, finetuning",
        ),
        (
            {"chains": {"seed": DIGITS, "report": DIGITS | {"cycles": 1}}},
            "chains.report: not a valid name of a chain; use lower-case letters, digits and _, beginning with a letter,"
            " 31 characters at most, and none of report, evaluations, state, base, model, families",
        ),
        (
            {"chains": {"seed": DIGITS, "Main": DIGITS | {"cycles": 1}}},
            "chains.Main: not a valid name of a chain; use lower-case letters, digits and _, beginning with a letter,"
            " 31 characters at most, and none of report, evaluations, state, base, model, families",
        ),
        (with_main(at={0: {}}), "chains.main.at: '0' is not the number of a cycle; write 1, 2, ..."),
        (
            {"model": {"name": "m", "reference": "Qwen/Qwen2.5-Coder-7B"}},
            "model.reference: 'Qwen/Qwen2.5-Coder-7B' has no prefix; for a model of Hugging Face write"
            " hub:Qwen/Qwen2.5-Coder-7B, for a folder on this machine folder:Qwen/Qwen2.5-Coder-7B",
        ),
        (
            {"chains": {"main": DIGITS | {"cycles": 1}}},
            "chains.seed is missing; it names the data set of cycle 0, usually that of your main chain:"
            " add seed: {dataset: cifar10}",
        ),
        (
            {"chains": {"seed": DIGITS, "main": DIGITS}},
            "chains.main.cycles is missing; see config/schema.yaml",
        ),
        ({"admission": None}, "admission is empty; delete the line, or give it keys"),
        (
            {"admission": {"threshold": "0.4"}},
            "admission.threshold: YAML reads 0.4 as text; write the number without quotes",
        ),
        (
            {"finetuning": {"learning_rate": "1e-5"}},
            "finetuning.learning_rate: YAML reads 1e-5 as text; write the number with a point, as in 1.0e-5",
        ),
        (
            {"admission": {"threshold": 1.5}},
            "admission.threshold: 1.5 is greater than the maximum of 1; Minimum validation accuracy for admission,"
            " from 0 to 1.",
        ),
        (
            {"evaluation": {"protocol": "native64"}},
            "evaluation.protocol: 'native64' is not one of ['native', 'resize256_flip']; native: images"
            " at their own size, without augmentation. resize256_flip: resized to 256 pixels, and half of them flipped"
            " in training, as in the paper.",
        ),
    ],
    ids=lambda value: value.split(";")[0] if isinstance(value, str) else "",
)
def test_a_wrong_setting_gets_one_line_that_says_what_to_write(config, change, line):
    assert refusal(config | change) == f"settings: {line}"


def test_a_file_that_adds_to_another_is_refused_alone(config):
    del config["model"]
    assert refusal(config) == (
        "settings: model is missing; a file that is given alone stands alone, and one that adds to another is given"
        " after it: --configfile config/config.yaml config/ablations.yaml"
    )


def test_what_the_workflow_fills_in_is_not_among_the_known_keys(config):
    assert refusal(config | with_main(colour="red")) == (
        "settings: chains.main.colour is no setting; known are dataset, start, source, random_seed, repeats, cycles,"
        f" at, {SECTIONS}"
    )
