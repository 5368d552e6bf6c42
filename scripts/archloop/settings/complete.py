"""Settings: checked against config/schema.yaml and completed with its defaults."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from archloop.errors import InputError
from archloop.settings.chain_checks import check_chains
from archloop.settings.chains import expand
from archloop.settings.checks import check_sections
from archloop.settings.old_names import with_present_names
from archloop.settings.remedies import remedy_of
from archloop.settings.schema import first_error, schema, section, section_names, with_defaults
from archloop.settings.sections import ChainSettings, Section, Settings, width_error
from archloop.yaml_files import read_yaml

# What of fine-tuning means nothing to cycle 0, which has no candidates and one corpus.
LATER = ("train_on", "method", "beta", "sft_weight", "rejected")


def complete(config: Mapping[str, Any]) -> Settings:
    """Return checked settings in which every key of every section is present.

    config: as read from YAML, of any shape; old names are read as the present ones. Raises
    InputError with one line for the first thing that is wrong.
    """
    # Snakemake's own config stays as it is: it is compared and written elsewhere.
    config = _with_text_keys(copy.deepcopy(config))
    config, _ = with_present_names(config)
    error = first_error(schema(), config)
    if error is not None:
        raise InputError(f"settings: {remedy_of(error)}")

    values = with_defaults(config, schema()["properties"])
    for name in section_names():
        values[name] = with_defaults(config.get(name, {}), section(name))
    random_seed = values["random_seed"]
    values["chains"] = expand(config["chains"], _chain_defaults(), random_seed)
    settings = cast(Settings, values)  # the schema has seen that they are

    # Chains first: the checks of sections follow their references.
    check_chains(settings)
    check_sections(settings)
    return settings


def scratch_model(path: str | Path) -> Section:
    """Return the settings of a file that `model.reference: scratch:FILE` names, every key present.

    Raises InputError with one line for the first thing that is wrong.
    """
    given = read_yaml(path)
    given = _with_text_keys({} if given is None else given)
    error = first_error(schema()["$defs"]["scratch_model"], given)
    if error is not None:
        raise InputError(f"{path}: {remedy_of(error)}")

    settings = with_defaults(given, section("scratch_model"))
    wrong_width = width_error(settings["width"], settings["heads"])
    if wrong_width is not None:
        raise InputError(f"{path}: {wrong_width}")
    return settings


def of_cycle_zero(finetuning: Section) -> Section:
    """Return the settings of fine-tuning that cycle 0 depends on."""
    earlier = dict(finetuning)
    for key in LATER:
        earlier.pop(key, None)
    return earlier


def _chain_defaults() -> ChainSettings:
    """Return the defaults of a chain's own keys; a section left out is that of the top level."""
    defaults = {}
    for key, rule in section("chain").items():
        if "default" in rule:
            defaults[key] = rule["default"]
    return cast(ChainSettings, defaults)


def _with_text_keys(value: Any) -> Any:
    """Return settings with text as keys: YAML reads the number of a cycle as an integer."""
    if isinstance(value, dict):
        with_text = {}
        for key, inner in value.items():
            with_text[str(key)] = _with_text_keys(inner)
        return with_text
    if isinstance(value, list):
        return [_with_text_keys(inner) for inner in value]
    return value
