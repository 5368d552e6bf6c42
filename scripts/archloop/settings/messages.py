"""What a person is told of settings that do not fit config/schema.yaml: one line, with what to write instead."""

import difflib
from typing import Any

import jsonschema

from archloop.settings.schema import schema, section_names

# Old names of settings -> what they are called now.
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
# Who may have sections of its own, by the depth of its path: chains.main, chains.main.at.2.
OWNERS = {2: "a chain", 4: "a cycle"}

SEE = "see config/schema.yaml"
STANDS_ALONE = (
    "model is missing; a file that is given alone stands alone, and one that adds to another is given after it:"
    " --configfile config/config.yaml config/ablations.yaml"
)
NO_SEED_CHAIN = (
    "chains.seed is missing; it names the data set of cycle 0, usually that of your main chain:"
    " add seed: {dataset: cifar10}"
)


def explain(error: jsonschema.ValidationError) -> str:
    """Return the line for one error of the schema's validator, without what it is about in front."""
    path = [str(part) for part in error.absolute_path]
    place = ".".join(path)
    value: Any = error.instance
    rule: Any = error.schema

    if error.validator == "additionalProperties":
        return _unknown_key(value, rule, path)
    if error.validator == "required":
        return _missing_key(value, rule["required"], path)
    if "propertyNames" in error.absolute_schema_path:
        return _bad_name(value, path)

    if place == "model.reference" and error.validator == "pattern" and ":" not in value:
        return (
            f"model.reference: {value!r} has no prefix; for a model of Hugging Face write"
            f" hub:{value}, for a folder on this machine folder:{value}"
        )
    if value is None and error.validator_value == "object":
        return f"{place} is empty; delete the line, or give it keys"
    if isinstance(value, str) and _is_number(value):
        how = "with a point, as in 1.0e-5" if "e" in value.lower() else "without quotes"
        return f"{place}: YAML reads {value} as text; write the number {how}"
    return f"{place or 'the file'}: {error.message}; {rule.get('description', SEE)}"


def _unknown_key(value: dict[str, Any], rule: dict[str, Any], path: list[str]) -> str:
    """Return what to write instead of a key that is no setting, or not one of this place."""
    known = [key for key in rule.get("properties", {}) if key not in INTERNAL]
    unknown = min(key for key in value if key not in known and key not in INTERNAL)
    full = ".".join([*path, unknown])

    new = _new_name(path, unknown)
    if new is not None:
        return f"{full} has another name now: {new}"

    sections = section_names()
    if path[:1] == ["chains"] and len(path) in OWNERS and unknown in sections:
        allowed = ", ".join(key for key in known if key in sections)
        return (
            f"{full}: {OWNERS[len(path)]} cannot have its own `{unknown}`;"
            f" of the sections it can set {allowed}"
        )

    near = difflib.get_close_matches(unknown, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{full} is no setting; {hint}"


def _new_name(path: list[str], key: str) -> str | None:
    """Return the new name of a setting that was once called `key` here, None where none ever was."""
    if path[:1] == ["chains"] and len(path) == 2:  # of the keys of a chain one alone was renamed
        return RENAMED["seed"] if key == "seed" else None
    # Below a chain, or one of its cycles, a section has the keys that it has at the top.
    return RENAMED.get(".".join([*path[-1:], key]))


def _missing_key(value: dict[str, Any], required: list[str], path: list[str]) -> str:
    missing = next(key for key in required if key not in value)
    if not path and missing == "model":
        return STANDS_ALONE
    if path == ["chains"] and missing == "seed":
        return NO_SEED_CHAIN
    return f"{'.'.join([*path, missing])} is missing; {SEE}"


def _bad_name(name: str, path: list[str]) -> str:
    """Return what names are allowed where a person chooses them: of chains, and numbers of cycles."""
    if path == ["chains"]:
        reserved = ", ".join(schema()["properties"]["chains"]["propertyNames"]["not"]["enum"])
        return (
            f"chains.{name}: not a valid name of a chain; use lower-case letters, digits and _, beginning with a"
            f" letter, 31 characters at most, and none of {reserved}"
        )
    return f"{'.'.join(path)}: {name!r} is not the number of a cycle; write 1, 2, ..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
