"""What a person is told of settings that do not fit the schema: one line, with the remedy."""

import difflib
from collections.abc import Iterable
from typing import Any

import jsonschema

from archloop.settings.schema import Rule, schema, section_names

# Keys of a chain that the workflow fills in itself.
INTERNAL = ("repeat_of",)
# Who may have sections of its own, by the depth of its path: chains.main, chains.main.at.2.
OWNERS = {2: "a chain", 4: "a cycle"}

SEE = "see config/schema.yaml"
STANDS_ALONE = (
    "model is missing; a file that is given alone stands alone, and one that adds to another is"
    " given after it: --configfile config/config.yaml config/ablations.yaml"
)
NO_SEED_CHAIN = (
    "chains.seed is missing; it names the data set of cycle 0, usually that of your main chain:"
    " add seed: {dataset: cifar10}"
)


def remedy_of(error: jsonschema.ValidationError) -> str:
    """Return the line for one error of the schema's validator, without `settings:` in front."""
    path = [str(part) for part in error.absolute_path]
    setting = ".".join(path)
    value: Any = error.instance
    rule: Any = error.schema

    # What a person most likely did comes first; the validator's own words are the last resort.
    if error.validator == "additionalProperties":
        return _unknown_key(value, rule, path)
    if error.validator == "required":
        return _missing_key(value, rule["required"], path)
    if "propertyNames" in error.absolute_schema_path:
        return _bad_name(value, path)

    is_pattern = error.validator == "pattern"
    if setting == "model.reference" and is_pattern and ":" not in value:
        return (
            f"model.reference: {value!r} has no prefix; for a model of Hugging Face write"
            f" hub:{value}, for a folder on this machine folder:{value}"
        )
    if value is None and error.validator_value == "object":
        return f"{setting} is empty; delete the line, or give it keys"
    if isinstance(value, str) and _is_number(value):
        how = "with a point, as in 1.0e-5" if "e" in value.lower() else "without quotes"
        return f"{setting}: YAML reads {value} as text; write the number {how}"
    where = setting or "the file"
    help_line = rule.get("description", SEE)
    return f"{where}: {error.message}; {help_line}"


def _unknown_key(given: Iterable[str], rule: Rule, path: list[str]) -> str:
    """Return what to write instead of a key that is no setting, or not one of this place."""
    settable = rule.get("properties", {})
    known = [key for key in settable if key not in INTERNAL]
    unknown = min(set(given).difference(known, INTERNAL))
    full = ".".join([*path, unknown])

    sections = section_names()
    owner = OWNERS.get(len(path)) if path[:1] == ["chains"] else None
    if owner is not None and unknown in sections:
        allowed = ", ".join(key for key in known if key in sections)
        return (
            f"{full}: {owner} cannot have its own `{unknown}`; of the sections it can set {allowed}"
        )

    near = difflib.get_close_matches(unknown, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
    return f"{full} is no setting; {hint}"


def _missing_key(given: Iterable[str], required: list[str], path: list[str]) -> str:
    missing = next(key for key in required if key not in given)
    if not path and missing == "model":
        return STANDS_ALONE
    if path == ["chains"] and missing == "seed":
        return NO_SEED_CHAIN
    full = ".".join([*path, missing])
    return f"{full} is missing; {SEE}"


def _bad_name(name: str, path: list[str]) -> str:
    """Return what is allowed where a person chooses a name: of chains, and numbers of cycles."""
    if path == ["chains"]:
        names = schema()["properties"]["chains"]["propertyNames"]
        reserved = ", ".join(names["not"]["enum"])
        return (
            f"chains.{name}: not a valid name of a chain; use lower-case letters, digits and _,"
            f" beginning with a letter, 31 characters at most, and none of {reserved}"
        )
    owner = ".".join(path)
    return f"{owner}: {name!r} is not the number of a cycle; write 1, 2, ..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
