"""config/schema.yaml as data, and the validator that reads it."""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema
import yaml

from archloop.layout import SCHEMA

# To jsonschema alone 2.0 is an integer and NaN a number.
TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
        "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
    }
)
_extend: Any = jsonschema.validators.extend  # which has no types of its own
Validator: Any = _extend(jsonschema.Draft202012Validator, type_checker=TYPES)

REFERENCE = "#/$defs/"


@cache
def schema() -> dict[str, Any]:
    """Return the schema of the settings as plain data."""
    read: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return read


def section(name: str) -> dict[str, dict[str, Any]]:
    """Return key -> JSON schema (with description and default) of one section."""
    keys: dict[str, dict[str, Any]] = schema()["$defs"][name]["properties"]
    return keys


def section_names() -> list[str]:
    """Return the names of the sections at the top of the settings, in the schema's order."""
    return [
        key
        for key, rule in schema()["properties"].items()
        if rule.get("$ref", "").startswith(REFERENCE)
    ]


def with_defaults(given: dict[str, Any], rules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a value for each of the keys that the rules name: the one given, or the schema's default."""
    return {key: given.get(key, rule.get("default")) for key, rule in rules.items()}


def first_error(rule: dict[str, Any], value: object) -> jsonschema.ValidationError | None:
    """Return the error that stands first in a value, by the path of its key; None where it fits the schema."""
    errors: Iterable[jsonschema.ValidationError] = Validator(rule).iter_errors(value)
    return min(errors, key=_path_of, default=None)


def _path_of(error: jsonschema.ValidationError) -> list[str]:
    return [str(part) for part in error.absolute_path]
