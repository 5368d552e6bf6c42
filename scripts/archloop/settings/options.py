"""Settings as options of the scripts: the schema of each key, and values spelt for a command line."""

import json
import math
import shlex
from functools import cache

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
Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=TYPES)


@cache
def schema() -> dict:
    """Return the schema of the settings as plain data."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def section(name: str) -> dict[str, dict]:
    """Return key -> JSON schema (with description and default) of one section."""
    return schema()["$defs"][name]["properties"]


def options(values: dict, prefix: str = "") -> str:
    """Return settings as command line options, in the order of their names: `--temperature 0.7 --top-k 50`."""
    names = {key: f"--{prefix}{key}".replace("_", "-") for key in values}
    return " ".join(f"{names[key]} {shlex.quote(_spell(values[key]))}" for key in sorted(values))


def _spell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
