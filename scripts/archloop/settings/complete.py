"""Settings: checked against config/schema.yaml and completed with its defaults."""

import copy
from pathlib import Path
from typing import Any

from archloop.errors import InputError
from archloop.settings import chains
from archloop.settings.chain_checks import check_chains
from archloop.settings.checks import check_sections
from archloop.settings.messages import explain
from archloop.settings.schema import first_error, schema, section, section_names, with_defaults
from archloop.yaml_files import read_yaml

# What of fine-tuning means nothing to cycle 0, which has no candidates and one corpus.
LATER = ("train_on", "method", "beta", "sft_weight", "dispreferred")


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return checked settings in which every key of every section is present.

    config: as read from YAML. Raises InputError with one line for the first thing that is wrong.
    """
    config = _with_text_keys(copy.deepcopy(config))
    error = first_error(schema(), config)
    if error is not None:
        raise InputError(f"settings: {explain(error)}")

    settings = with_defaults(config, schema()["properties"])
    for name in section_names():
        settings[name] = with_defaults(config.get(name, {}), section(name))
    settings["chains"] = chains.expand(config["chains"], _chain_defaults(), settings["random_seed"])

    check_chains(settings)
    check_sections(settings)
    return settings


def scratch_model(path: str | Path) -> dict[str, Any]:
    """Return the settings of a file that `model.reference: scratch:FILE` names, every key present.

    Raises InputError with one line for the first thing that is wrong.
    """
    given = read_yaml(path)
    given = _with_text_keys({} if given is None else given)
    error = first_error(schema()["$defs"]["scratch_model"], given)
    if error is not None:
        raise InputError(f"{path}: {explain(error)}")
    return with_defaults(given, section("scratch_model"))


def of_cycle_zero(finetuning: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of fine-tuning that cycle 0 depends on."""
    return {key: value for key, value in finetuning.items() if key not in LATER}


def _chain_defaults() -> dict[str, Any]:
    """Return the defaults of a chain's own keys; a section that it leaves out is that of the top level."""
    rules = section("chain")
    return {key: rule["default"] for key, rule in rules.items() if "default" in rule}


def _with_text_keys(value: Any) -> Any:
    """Return settings whose keys are text throughout: YAML reads the number of a cycle as an integer."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(inner) for inner in value]
    return value
