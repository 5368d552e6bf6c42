"""Settings: completed with defaults, resolved for chain and cycle, and refused with one clear line."""

import shlex
from dataclasses import asdict

import click
import pytest
import yaml
from click.testing import CliRunner
from refusals import refusal

from archloop.errors import InputError
from archloop.settings.chains import effective, start_of
from archloop.settings.checks import check_inputs
from archloop.settings.complete import complete, of_cycle_zero, scratch_model
from archloop.settings.options import options
from archloop.settings.schema import schema
from archloop.settings.sections import SECTION_NAMES, Admission, Evaluation, Finetuning, Generation, Model, SeedCorpus
from archloop.workflow.cli import settings_options

DIGITS = {"dataset": "digits"}


@pytest.mark.parametrize(
    "name", ["config/config", "config/controls", "config/images", "config/demo", "config/study", "tests/test"]
)
def test_the_shipped_settings_are_whole(root, name):
    settings = complete(yaml.safe_load((root / f"{name}.yaml").read_text()))
    assert set(settings) == set(schema()["properties"])


def test_what_is_left_out_has_the_default_of_the_schema(config):
    least = complete({key: config[key] for key in ("model", "chains")})
    novelty = least["novelty"]
    assert (least["random_seed"], novelty["threshold"], novelty["gate"], novelty["shingle_tokens"]) == (
        1,
        0.9,
        "either",
        10,
    )
    assert least["chains"]["main"]["cycles"] == 2 and least["chains"]["seed"]["dataset"] == "digits"


def test_config_yaml_is_the_papers_run(root):
    settings = complete(yaml.safe_load((root / "config" / "config.yaml").read_text()))
    assert settings["chains"]["main"]["cycles"] == 22
    assert {chain["dataset"] for chain in settings["chains"].values()} == {"cifar10", "cifar100", "svhn"}
    assert settings["finetuning"]["layers"] == [0, 24]
    assert settings["admission"]["threshold"] == 0.4


def test_every_key_has_a_description_and_a_default_or_is_required():
    def check(node, place):
        for key, rule in node.get("properties", {}).items():
            if "$ref" not in rule and place.split(".")[-1] not in ("chain", "seed_chain", "overrides"):
                assert rule.get("description"), f"{place}.{key}"
                assert "default" in rule or key in node.get("required", []), f"{place}.{key}"

    check(schema(), "settings")
    for name, node in schema()["$defs"].items():
        check(node, name)


def test_a_cycle_goes_over_its_chain_and_a_chain_over_the_top_level(config):
    config["generation"]["temperature"] = 0.1
    config["chains"]["main"] |= {
        "generation": {"temperature": 0.2, "top_k": 7},
        "at": {2: {"generation": {"temperature": 0.3}}},
    }
    settings = complete(config)
    assert effective(settings, "generation", "seed")["temperature"] == 0.1
    assert effective(settings, "generation", "main", 1)["temperature"] == 0.2
    assert effective(settings, "generation", "main", 2)["temperature"] == 0.3
    assert effective(settings, "generation", "main", 2)["top_k"] == 7


def test_cycle_0_depends_on_all_of_finetuning_but_what_later_cycles_alone_read(config):
    whole = complete(config)["finetuning"]
    later = {"train_on", "method", "beta", "sft_weight", "rejected"}
    assert of_cycle_zero(whole) == {key: value for key, value in whole.items() if key not in later}
    assert later < set(whole)


def test_a_chain_starts_from_the_seed_a_last_cycle_or_a_named_one(config):
    config["chains"] |= {
        "after": {"dataset": "digits", "start": "main", "cycles": 1},
        "early": {"dataset": "digits", "start": "main/1", "cycles": 1},
    }
    settings = complete(config)
    assert [start_of(settings, name) for name in ("main", "after", "early")] == [("seed", 0), ("main", 2), ("main", 1)]


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("main", "main <- main starts from itself"),
        ("nowhere", "there is no chain nowhere"),
        ("seed/3", "seed has no cycle 3"),
    ],
)
def test_a_chain_cannot_start_from_what_is_not_there(config, start, says):
    config["chains"]["main"]["start"] = start
    assert says in refusal(config)


def test_chains_that_start_from_each_other_are_refused(config):
    config["chains"] |= {
        "a": {"dataset": "digits", "start": "b", "cycles": 1},
        "b": {"dataset": "digits", "start": "a", "cycles": 1},
    }
    assert "starts from itself" in refusal(config)


def test_a_start_or_an_override_beyond_the_last_cycle_is_refused(config):
    config["chains"]["late"] = {"dataset": "digits", "start": "main/9", "cycles": 1}
    assert "main has 2 cycles, not 9" in refusal(config)
    del config["chains"]["late"]
    config["chains"]["main"]["at"] = {3: {}}
    assert "has only 2 cycles" in refusal(config)


@pytest.mark.parametrize("section", [Generation, Finetuning, Admission, Evaluation, Model, SeedCorpus])
def test_options_carry_every_value_unchanged_to_a_script(config, section):
    wanted = complete(config)[SECTION_NAMES[section]]
    seen = []

    @click.command()
    @settings_options(section)
    def script(settings):
        seen.append(asdict(settings))

    result = CliRunner().invoke(script, shlex.split(options(wanted)))
    assert result.exit_code == 0, result.output
    assert seen == [wanted]


def test_options_name_their_values_so_that_swapped_numbers_differ(config):
    one, two = {"a": 1, "b": 2}, {"a": 2, "b": 1}
    assert options(one) == "--a 1 --b 2" != options(two)
    assert options(dict(reversed(one.items()))) == options(one)


def test_a_script_refuses_a_value_that_the_schema_refuses():
    @click.command()
    @settings_options(Generation)
    def script(settings):
        raise AssertionError

    result = CliRunner().invoke(script, ["--top-p", "3"])
    assert result.exit_code == 2
    assert "greater than the maximum of 1" in result.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cycle": {"candidates": 4.0}}, "cycle.candidates: 4.0 is not of type 'integer'"),
        ({"admission": {"threshold": float("nan")}}, "admission.threshold: nan is not of type 'number'"),
        ({"admission": {"threshold": "0.4"}}, "write the number without quotes"),
        ({"finetuning": {"layers": [20, 10]}}, "finetuning.layers: [20, 10] holds no layer"),
        ({"seed_corpus": {"source": "lemur"}}, "seed_corpus.lemur_folder"),
        ({"chains": {"seed": DIGITS, "main": {"dataset": "folder", "cycles": 1}}}, "chains.main.dataset: folder needs"),
        ({"chains": {"seed": DIGITS}}, "chains: there is none but seed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_end_in_a_later_job_is_refused_at_the_start(config, change, says):
    assert says in refusal(config | change)


def test_a_cycle_cannot_change_the_shape_of_the_adapter_that_it_goes_on_from(config):
    config["chains"]["main"]["at"] = {2: {"finetuning": {"lora_rank": 64}}}
    assert "chains.main, cycle 2: finetuning.lora_rank is 64" in refusal(config)
    config["chains"]["main"]["at"] = {2: {"finetuning": {"lora_rank": 64, "initialise": "new"}}}
    assert complete(config)


def test_dpo_wants_prompts_that_several_candidates_share(config):
    config["chains"]["main"]["finetuning"] = {"method": "dpo"}
    assert complete(config)["finetuning"]["method"] == "sft"
    config["chains"]["main"]["at"] = {2: {"prompts": {"references": 1}}}
    assert "chains.main, cycle 2: finetuning.method: dpo needs" in refusal(config)
    config["chains"]["main"]["finetuning"] = {"method": "kto"}
    complete(config)


@pytest.mark.parametrize(("key", "value"), [("order", "accuracy"), ("accuracy_weight", 0.5)])
def test_failed_programs_have_no_accuracy_to_order_or_weigh_by(config, key, value):
    config["finetuning"] = config.get("finetuning", {}) | {key: value}
    complete(config)
    config["chains"]["main"]["finetuning"] = {"method": "kto"}
    assert f"chains.main, cycle 1: finetuning.{key}: kto learns from failed programs" in refusal(config)


def test_a_template_that_is_not_there_is_named_for_any_cycle(config, root):
    check_inputs(complete(config), root)
    config["chains"]["main"]["at"] = {2: {"prompts": {"hints": "config/prompts/hint.yaml"}}}
    with pytest.raises(InputError, match=r"chain main, cycle 2: prompts.hints: .*/hint.yaml: no such file"):
        check_inputs(complete(config), root)


def test_a_touched_adapter_or_data_set_of_the_papers_run_rebuilds_nothing(root):
    """Snakemake compares checksums up to a size alone; beyond it the time of a file decides."""
    svhn = (73_257 + 26_032) * (3 * 32 * 32 + 8)
    shapes = [(4096, 4096)] * 4 + [(4096, 11008)] * 3  # of a layer of DeepSeek-Coder 7B
    adapter = 4 * 24 * sum(32 * (rows + columns) for rows, columns in shapes)
    for name in ("local", "slurm"):
        profile = yaml.safe_load((root / "profiles" / name / "config.yaml").read_text())
        assert profile["max-checksum-file-size"] > max(svhn, adapter) > 2e8


def test_a_template_whose_name_has_braces_is_refused(config, tmp_path, root):
    (tmp_path / "a{b}.j2").touch()
    config["prompts"]["template"] = str(tmp_path / "a{b}.j2")
    with pytest.raises(InputError, match=r"prompts\.template: .*a\{b\}\.j2: Snakemake takes braces for wildcards"):
        check_inputs(complete(config), root)


def test_settings_of_a_model_from_scratch_are_checked_and_completed(tmp_path):
    (tmp_path / "m.yaml").write_text("{}")
    assert set(scratch_model(tmp_path / "m.yaml")) == set(schema()["$defs"]["scratch_model"]["properties"])
    (tmp_path / "m.yaml").write_text("widht: 3")
    with pytest.raises(InputError, match=r"m\.yaml: widht is no setting"):
        scratch_model(tmp_path / "m.yaml")
