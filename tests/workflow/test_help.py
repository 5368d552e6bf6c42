"""What `--help` says: the values that an option takes, and plain words."""

import ast

import click
import pytest
from click.testing import CliRunner
from doc_blocks import ROOT

from archloop.settings.schema import section as keys_of
from archloop.workflow.cli import SettingValue, setting_option


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
    assert SettingValue(keys_of(section)[key]).get_metavar(None, None) == shown


@pytest.mark.parametrize("required", [True, False])
def test_only_a_setting_that_is_not_required_has_the_default_of_the_schema(required):
    @click.command()
    @setting_option("cycle", "shards", "Jobs.", required=required)
    def main(shards):
        click.echo(shards)

    default = str(keys_of("cycle")["shards"]["default"])
    result = CliRunner().invoke(main, [])
    assert result.exit_code == (2 if required else 0)
    assert ("Missing option '--shards'" if required else default) in result.output


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_option_of_a_script_has_a_help_text(path):
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "click.option":
            assert "help" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)[:80]
