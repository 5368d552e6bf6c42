"""Settings: checked against config/schema.yaml and completed with its defaults."""

import copy
import difflib
from collections.abc import Iterable
from pathlib import Path

import jsonschema

from archloop.errors import InputError
from archloop.settings import chains
from archloop.settings.options import Validator, schema, section
from archloop.yaml_files import read_yaml

# What of fine-tuning means nothing to cycle 0, which has no candidates and one corpus.
LATER = ("train_on", "method", "beta", "sft_weight", "dispreferred")
# Old names of settings -> what they are called now, for the message that refuses them.
RENAMED = {
    "seed": "random_seed",
    "run": "execution",
    "prompts.candidates": "cycle.candidates",
    "prompts.parameter_budget": "evaluation.parameter_budget, which prompts name too",
    "generation.shards": "cycle.shards",
    "finetuning.start_from": "finetuning.initialise",
    "finetuning.max_length": "finetuning.max_pair_tokens",
    "seed_corpus.max_tokens": "seed_corpus.max_program_tokens",
    "admission.fill_minimum": "admission.minimum_admitted",
    "admission.fill_down_to": "admission.fill_accuracy",
    "data.digits_size": "data.digits_pixels",
    "data.folder_size": "data.folder_pixels",
}
# Keys of a chain that the workflow fills in itself.
INTERNAL = ("repeat_of",)


def complete(config: dict) -> dict:
    """Return checked settings in which every key of every section is present.

    config: as read from YAML. Raises InputError with one line for the first thing that is wrong.
    """
    config = _text_keys(copy.deepcopy(config))
    errors = sorted(
        Validator(schema()).iter_errors(config),
        key=lambda error: [str(part) for part in error.absolute_path],
    )
    if errors:
        raise InputError(_explain(errors[0]))
    whole = {key: config.get(key, _default(key)) for key in schema()["properties"]}
    for name in _sections():
        given = config.get(name, {})
        whole[name] = {
            key: given.get(key, rule.get("default")) for key, rule in section(name).items()
        }
    rules = schema()["$defs"]["chain"]["properties"]
    defaults = {key: rule["default"] for key, rule in rules.items() if "default" in rule}
    whole["chains"] = chains.expand(config["chains"], defaults, whole["random_seed"])
    chains.check(whole)
    _check_folders(whole)
    return whole


def scratch_model(path: str | Path) -> dict:
    """Return the settings of a file that `model.reference: scratch:FILE` names, every key present.

    Raises InputError with one line for the first thing that is wrong.
    """
    given = read_yaml(path)
    given = _text_keys({} if given is None else given)
    errors = Validator(schema()["$defs"]["scratch_model"]).iter_errors(given)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        raise InputError(f"{path}: {_explain(error).removeprefix('settings: ')}")
    return {key: given.get(key, rule["default"]) for key, rule in section("scratch_model").items()}


def check_prompt_files(settings: dict, root: Path) -> None:
    """Raise InputError for a template or a file of hints that is not there.

    Where all that is made of it exists, Snakemake would not miss it. settings: complete ones; root: where relative
    paths begin.
    """
    for name in settings["chains"]:
        for cycle in chains.cycles_of(settings, name):
            prompts = chains.effective(settings, "prompts", name, cycle)
            for key in ("template", "hints"):
                if not (root / prompts[key]).is_file():
                    where = f"chain {name}, cycle {cycle}: " if name != chains.SEED else ""
                    raise InputError(
                        f"settings: {where}prompts.{key}: {root / prompts[key]}: no such file"
                    )
                if set(prompts[key]) & set("{}"):
                    raise InputError(
                        f"settings: prompts.{key}: {prompts[key]}: Snakemake takes braces for wildcards"
                    )


def of_cycle_zero(finetuning: dict) -> dict:
    """Return the settings of fine-tuning that cycle 0 depends on."""
    return {key: value for key, value in finetuning.items() if key not in LATER}


def _sections() -> list[str]:
    return [
        key
        for key, value in schema()["properties"].items()
        if value.get("$ref", "").startswith("#/$defs/")
    ]


def _default(key: str) -> object:
    return schema()["properties"][key].get("default")


def _text_keys(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _text_keys(inner) for key, inner in value.items()}
    return [_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _explain(error: jsonschema.ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = [key for key in error.schema.get("properties", {}) if key not in INTERNAL]
        unknown = sorted(set(error.instance) - set(known) - set(INTERNAL))[0]
        if now := _renamed(error.absolute_path, unknown):
            return f"settings: {place + '.' if place else ''}{unknown} has another name now: {now}"
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"settings: {place + '.' if place else ''}{unknown} is no setting; {hint}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        if not place and missing == "model":
            return (
                "settings: model is missing; a file that is given alone stands alone, and one that adds to another is"
                " given after it: --configfile config/config.yaml config/ablations.yaml"
            )
        if (place, missing) == ("chains", "seed"):
            return (
                "settings: chains.seed is missing; it names the data set of cycle 0, usually that of your main chain:"
                " add seed: {dataset: cifar10}"
            )
        return (
            f"settings: {place + '.' if place else ''}{missing} is missing; see config/schema.yaml"
        )
    if "propertyNames" in error.absolute_schema_path and place == "chains":
        return (
            f"settings: chains.{error.instance}: not a valid name of a chain; allowed are names that match"
            f" {error.schema.get('pattern', 'the pattern in config/schema.yaml')}"
        )
    if "propertyNames" in error.absolute_schema_path:
        return f"settings: {place}: {error.instance!r} is no good name here; see config/schema.yaml"
    if place == "model.reference" and error.validator == "pattern" and ":" not in error.instance:
        return (
            f"settings: model.reference: {error.instance!r} has no prefix; for a model of Hugging Face write"
            f" hub:{error.instance}, for a folder on this machine folder:{error.instance}"
        )
    if error.instance is None and error.validator_value == "object":
        return f"settings: {place} is empty; delete the line, or give it keys"
    if isinstance(error.instance, str) and _is_number(error.instance):
        how = "with a point, as in 1.0e-5" if "e" in error.instance.lower() else "without quotes"
        return f"settings: {place}: YAML reads {error.instance} as text; write the number {how}"
    wanted = error.schema.get("description", "")
    return f"settings: {place or 'the file'}: {error.message}; {wanted or 'see config/schema.yaml'}"


def _renamed(path: Iterable[str | int], key: str) -> str | None:
    """Return the new name of a setting that `key` below `path` once was, None where it never was one."""
    parts = [str(part) for part in path]
    if parts[:1] == ["chains"] and len(parts) == 2:
        return RENAMED.get(key) if key == "seed" else None
    # Below a chain or one of its cycles a section has the keys that it has at the top.
    return RENAMED.get(".".join([*parts[-1:], key]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_folders(settings: dict) -> None:
    """Refuse what names no folder before the first job runs."""
    for name, chain in settings["chains"].items():
        if chain["dataset"] == "folder" and settings["data"]["folder"] is None:
            raise InputError(
                f"settings: chains.{name}.dataset: folder wants the path of your images in data.folder"
            )
    if (
        settings["seed_corpus"]["source"] == "lemur"
        and settings["seed_corpus"]["lemur_folder"] is None
    ):
        raise InputError(
            "settings: seed_corpus.source: lemur wants the path of a checkout in seed_corpus.lemur_folder"
        )
