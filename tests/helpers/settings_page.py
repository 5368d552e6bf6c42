"""The tables of docs/settings.md, made of config/schema.yaml."""

import json
import re

from doc_blocks import table

HEAD = ("key", "values", "default", "meaning")
# Where a section stands in a settings file, beyond those at its top.
MORE = {
    "seed_chain": ("chains.seed", "Cycle 0."),
    "chain": ("chains.NAME", "A chain; NAME is its name."),
    "scratch_model": ("The file of `model.reference: scratch:FILE`", ""),
}


def lines(schema: dict) -> list[str]:
    """Return the lines of all tables, in the order of the schema."""
    sections = {key: rule["$ref"].split("/")[-1] for key, rule in schema["properties"].items() if "$ref" in rule}
    top = {key: rule for key, rule in schema["properties"].items() if "$ref" not in rule and key != "chains"}

    found = ["## At the top", "", *table(HEAD, _rows(top, schema))]
    for key, name in sections.items():
        rules = schema["$defs"][name]
        found += ["", f"## {key}", "", *_described(rules["description"], rules, schema)]
    for name, (heading, description) in MORE.items():
        rules = schema["$defs"][name]
        found += ["", f"## {heading}", "", *_described(description or rules["description"], rules, schema)]
    return found


def _described(description: str, section: dict, schema: dict) -> list[str]:
    return [_text(description), "", *table(HEAD, _rows(section["properties"], schema))]


def _rows(rules: dict[str, dict], schema: dict) -> list[tuple[str, str, str, str]]:
    rows = []
    for key, rule in rules.items():
        name = rule["$ref"].split("/")[-1] if "$ref" in rule else ""
        if name and "properties" in schema["$defs"][name]:
            rows.append((f"`{key}`", "as above", "", f"What differs from section `{name}`."))
            continue
        rule = schema["$defs"][name] if name else rule
        default = f"`{json.dumps(rule['default'])}`" if "default" in rule else "required"
        rows.append((f"`{key}`", _values(rule), default.replace('"', ""), _text(rule["description"])))
    return rows


def _text(description: str) -> str:
    return re.sub(r"\s+", " ", description).replace("|", "\\|")


def _values(rule: dict) -> str:
    """Return what a key may be, in words."""
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])

    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    words = []
    for kind in kinds:
        if kind in ("integer", "number"):
            words.append(kind + _bounds(rule))
        elif kind == "array":
            words.append("list of " + ("integers" if rule["items"].get("type") == "integer" else "names"))
        elif kind == "string" and rule.get("pattern", "").startswith("^") and rule["pattern"][1:-1].isalpha():
            words.append(f"`{rule['pattern'][1:-1]}`")
        else:
            words.append({"boolean": "`true`, `false`", "string": "text", "object": "by name", "null": "`null`"}[kind])
    return " or ".join(words)


def _bounds(rule: dict) -> str:
    low = f" from {rule['minimum']:g}" if "minimum" in rule else ""
    low = f" above {rule['exclusiveMinimum']:g}" if "exclusiveMinimum" in rule else low
    high = f" to {rule['maximum']:g}" if rule.get("maximum", 1e9) < 1e9 else ""
    high = f" below {rule['exclusiveMaximum']:g}" if "exclusiveMaximum" in rule else high
    return low + high
