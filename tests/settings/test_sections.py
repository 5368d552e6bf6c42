"""The types of the settings' sections say what config/schema.yaml says."""

import dataclasses
import types
import typing

import pytest

from archloop.settings.schema import schema
from archloop.settings.sections import SECTION_NAMES, ChainSettings, Settings

OF_JSON = {"string": str, "integer": int, "number": float, "boolean": bool, "null": types.NoneType}


def types_of(hint: object) -> set:
    """Return what a value may be: types, list[...], or the very values."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}


def types_in(rule: dict) -> set:
    """Return the same of a key of the schema."""
    if "enum" in rule:
        return set(rule["enum"])
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    allowed = {OF_JSON[kind] for kind in kinds if kind != "array"}
    if "array" in kinds:
        items = rule["items"]
        allowed.add(list[OF_JSON[items.get("type", "string")]])
    return allowed


def test_every_section_of_the_settings_has_a_type():
    sections = {name for name, rule in schema()["properties"].items() if rule.get("$ref", "").startswith("#/$defs/")}
    assert set(SECTION_NAMES.values()) == sections | {"scratch_model"}  # the last is a file by itself


@pytest.mark.parametrize("section", SECTION_NAMES, ids=SECTION_NAMES.get)
def test_its_fields_are_those_of_the_schema(section):
    rules = schema()["$defs"][SECTION_NAMES[section]]["properties"]
    hints = typing.get_type_hints(section)

    assert [field.name for field in dataclasses.fields(section)] == list(rules)
    for key, rule in rules.items():
        assert types_of(hints[key]) == types_in(rule), key


def test_the_settings_of_a_run_and_of_a_chain_have_the_keys_of_the_schema():
    assert set(Settings.__annotations__) == set(schema()["properties"])
    assert set(ChainSettings.__annotations__) == set(schema()["$defs"]["chain"]["properties"])
