"""What `--help` says: the values that an option takes, and plain words."""

import ast

import pytest
from doc_blocks import ROOT

from archloop.workflow.cli import value_of


@pytest.mark.parametrize(
    ("section", "key", "shown"),
    [
        ("loading", "quantization", "[none|nf4]"),
        ("generation", "temperature", "FLOAT"),
        ("finetuning", "epochs", "INTEGER"),
        ("finetuning", "replay", "INTEGER|null"),
        ("finetuning", "targets", "JSON"),
        ("admission", "relative_to_chance", "true|false"),
    ],
)
def test_an_option_shows_what_it_takes(section, key, shown):
    assert value_of(section, key).get_metavar(None, None) == shown


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_option_of_a_script_has_a_help_text(path):
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "click.option":
            assert "help" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)[:80]
