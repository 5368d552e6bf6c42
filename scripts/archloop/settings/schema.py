"""config/schema.yaml as data, and the validator that reads it."""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias

import jsonschema
import yaml

from archloop.layout import SCHEMA

# A JSON schema, or a part of one: of a section, or of a single setting. What it may hold is the
# standard's affair.
Rule: TypeAlias = dict[str, Any]
# Key -> the schema of its value.
Rules: TypeAlias = dict[str, Rule]


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


# To jsonschema alone 2.0 is an integer and NaN a number.
TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {"integer": _is_integer, "number": _is_finite}
)
_extend: Any = jsonschema.validators.extend  # which has no types of its own
Validator: Any = _extend(jsonschema.Draft202012Validator, type_checker=TYPES)

REFERENCE = "#/$defs/"
# Every script reads the schema when it starts: with libyaml, where PyYAML was built with it, that
# takes 7 ms instead of 60.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def schema() -> Rule:
    """Return the schema of the settings as plain data."""
    text = SCHEMA.read_text(encoding="utf-8")
    read: Rule = yaml.load(text, Loader=Loader)
    return read


def section(name: str) -> Rules:
    """Return key -> JSON schema (with description and default) of one section."""
    definitions: Rules = schema()["$defs"]
    keys: Rules = definitions[name]["properties"]
    return keys


def section_names() -> list[str]:
    """Return the names of the sections at the top of the settings, in the schema's order."""
    names = []
    for key, rule in schema()["properties"].items():
        reference: str = rule.get("$ref", "")
        if reference.startswith(REFERENCE):
            names.append(key)
    return names


def with_defaults(given: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return a value for each key of the rules: the one given, or the schema's default.

    The values are of whatever types the rules allow.
    """
    values = {}
    for key, rule in rules.items():
        values[key] = given.get(key, rule.get("default"))
    return values


def first_error(rule: Rule, value: object) -> jsonschema.ValidationError | None:
    """Return the first error in a value, by the path of its key; None where it fits the schema."""
    # The validator goes by the order of the schema's rules, not by that of the keys.
    errors: Iterable[jsonschema.ValidationError]
    errors = Validator(rule).iter_errors(value)
    return min(errors, key=_path_of, default=None)


def _path_of(error: jsonschema.ValidationError) -> list[str]:
    return [str(part) for part in error.absolute_path]
