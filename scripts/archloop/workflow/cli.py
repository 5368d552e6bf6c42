"""What all scripts share.

Options made from the settings' schema, logging, one clear line for a user's mistake, and the
provenance that a stage leaves.
"""

import contextlib
import errno
import functools
import inspect
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

from archloop import site_limits
from archloop.errors import InputError, one_line
from archloop.files import parse_json
from archloop.logs import get_logger, start_logging
from archloop.settings import schema
from archloop.settings.sections import SECTION_NAMES
from archloop.texts import visible
from archloop.workflow.provenance import Call, Extras, Options, Stage, leave_provenance

# What a path that a user names can be: not there, not to be written, another kind, full.
UNUSABLE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOSPC,
    errno.EDQUOT,
}

# What a decorator takes and gives: a function of a script, whatever options it has.
Callback = Callable[..., Any]


# Types of JSON schema -> how --help shows them.
METAVARS = {
    "integer": "INTEGER",
    "number": "FLOAT",
    "string": "TEXT",
    "boolean": "true|false",
    "array": "JSON",
    "object": "JSON",
    "null": "null",
}


class SettingValue(click.ParamType[Any]):
    """A JSON value (`0.7`, `null`, `[0, 24]`) or plain text that the schema of its key allows."""

    name = "value"

    def __init__(self, rule: schema.Rule):
        self.rule = rule
        self.validator = schema.Validator(rule)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what --help shows as the value: the words of an enum, or the types allowed."""
        if "enum" in self.rule:
            return f"[{'|'.join(map(str, self.rule['enum']))}]"
        kinds = self.rule.get("type", "string")
        if isinstance(kinds, str):
            kinds = [kinds]
        return "|".join(METAVARS[kind] for kind in kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parsed = parse_json(value)
        except ValueError:
            parsed = value

        # A number or `true`, where the schema wants a text.
        if self.validator.is_valid(value) and not self.validator.is_valid(parsed):
            return value
        for error in self.validator.iter_errors(parsed):
            self.fail(error.message, param, ctx)
        return parsed


class SettingOption(click.Option):
    """An option that takes one key of a section of the settings."""

    def __init__(self, *arguments: Any, section: str, key: str, **attributes: Any):
        super().__init__(*arguments, **attributes)
        self.section, self.key = section, key


def setting_option(
    section: str, key: str, help: str, required: bool = False
) -> Callable[[Callback], Callback]:
    """Give a click command the option of one setting, named as its key.

    Without it the value is the schema's default, unless it is required. The value is no setting in
    the provenance: it is one of how a job runs, or of another stage.
    """
    rule = schema.section(section)[key]
    words = key.replace("_", "-")
    kind = SettingValue(rule)
    if required:
        return click.option(f"--{words}", key, type=kind, required=True, help=help)

    default = rule.get("default")
    return click.option(f"--{words}", key, type=kind, default=default, help=help)


def device_option(function: Callback) -> Callback:
    """Give a click command `--device`, as execution.device."""
    return setting_option("execution", "device", "auto, cpu, cuda or cuda:N.")(function)


def path_option(
    flag: str, help: str, required: bool = True, **attributes: Any
) -> Callable[[Callback], Callback]:
    """Give a click command the option of a file or a folder, which its function gets as a Path."""
    kind: Any = click.Path(path_type=Path)
    return click.option(flag, type=kind, help=help, required=required, **attributes)


def settings_options(section: type, parameter: str = "settings") -> Callable[[Callback], Callback]:
    """Give a click command one option for each key of a section of config/schema.yaml.

    section: its type (archloop.settings.sections). The command's function gets one value of that
    type, named `parameter`. A name other than `settings` goes before the options too
    (`--novelty-threshold`), so that a script can take several sections.
    """
    name = SECTION_NAMES[section]
    prefix = "" if parameter == "settings" else f"{parameter}_"
    keys = schema.section(name)

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def gathered(**arguments: Any) -> Any:
            values = {key: arguments.pop(prefix + key) for key in keys}
            return function(**arguments, **{parameter: section(**values)})

        # The option that is added last comes first in --help.
        for key, rule in reversed(keys.items()):
            option = prefix + key
            gathered = click.option(
                f"--{option.replace('_', '-')}",
                option,
                cls=SettingOption,
                section=name,
                key=key,
                type=SettingValue(rule),
                default=rule.get("default"),
                required="default" not in rule,
                help=rule["description"],
            )(gathered)
        return gathered

    return decorate


def command(function: Callback) -> click.Command:
    """Make a click command with `--log`, which ends a user's mistake with one line, status 1."""
    return _command(function)


def stage(*outputs: str, packages: Iterable[str] = ()) -> Callable[[Callback], click.Command]:
    """Make a click command, as `command` does, of a script that a rule runs.

    It leaves the provenance of its outputs. outputs: the options that name them, the first one
    first; the function may return Extras, which no option names. packages: whose versions shape
    the outputs. After `--` come the params of the rule, after a second `--` its inputs; by hand
    there is nothing of the kind.
    """

    def decorate(function: Callback) -> click.Command:
        script = inspect.getfile(inspect.unwrap(function))
        this = Stage(script, outputs, tuple(packages))

        @functools.wraps(function)
        def with_provenance(**arguments: Any) -> None:
            extras = cast(Extras, function(**arguments) or {})
            leave_provenance(this, _call(click.get_current_context(), arguments), extras)
            if "spent" in extras:
                _remove(extras["spent"])

        return _command(with_provenance, allow_extra_args=True)

    return decorate


def _call(context: click.Context, options: Options) -> Call:
    """Return how the script was called, as its provenance tells it."""
    given = set()
    for name in options:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            given.add(name)

    sections: dict[str, dict[str, str]] = {}
    for option in context.command.params:
        if isinstance(option, SettingOption) and option.name:
            sections.setdefault(option.section, {})[option.key] = option.name

    params, inputs = context.args, []
    if "--" in params:
        end = params.index("--")
        params, inputs = params[:end], params[end + 1 :]
    return Call(options, frozenset(given), sections, params, [Path(name) for name in inputs])


def _remove(spent: Path) -> None:
    """Remove work under way once all is written, and its folder where nothing else is in it."""
    with contextlib.suppress(OSError):  # in a shared folder it may be another user's
        spent.unlink(missing_ok=True)
        spent.parent.rmdir()


def _command(function: Callback, **settings: Any) -> click.Command:
    @functools.wraps(function)
    def guarded(log: str | None, **arguments: Any) -> Any:
        # As stderr is: names and programs hold any character.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        start_logging()  # before the log file is opened, for that may fail
        try:
            start_logging(log)
            return function(**arguments)
        except (InputError, OSError, ImportError, MemoryError) as error:
            line = mistake(error)
            if line is None:
                raise
        get_logger("error").error("error: %s", line)
        sys.exit(1)

    log = click.option(
        "--log", type=click.Path(dir_okay=False), help="Also write messages here, with the time."
    )
    shown = {"show_default": True, "max_content_width": 120}
    return click.command(context_settings={**shown, **settings})(log(guarded))


def cell_options(function: Callback) -> Callback:
    """Give a click command `--chain` and `--cycle`: the cycle that a job works for."""
    cycles = click.IntRange(min=1)
    cycle = click.option("--cycle", required=True, type=cycles, help="Number of the cycle.")
    chain = click.option("--chain", required=True, help="Name of the chain.")
    return chain(cycle(function))


def shard_options(function: Callback) -> Callback:
    """Give a click command `--shard` and `--shards`: the part of a cycle that a job makes."""
    numbers, counts = click.IntRange(min=0), click.IntRange(min=1)
    shards = click.option("--shards", default=1, type=counts, help="Number of shards of the cycle.")
    shard = click.option(
        "--shard", default=0, type=numbers, help="Which of the shards to make, from 0."
    )
    return shard(shards(function))


def mistake(error: BaseException) -> str | None:
    """Return the line for an error that a user can fix, None for a fault of the code."""
    if isinstance(error, InputError):
        return visible(str(error)).replace("\n", "\\n")  # a file's name may hold a line feed
    if isinstance(error, OSError):
        if error.errno not in UNUSABLE or error.filename is None:
            return None
        return f"{error.filename2 or error.filename}: {error.strerror}"

    # The libraries of tensors want gigabytes of addresses at once.
    bound = site_limits.of_memory()
    if bound is None:
        return None
    return f"{one_line(error) or 'memory is full'}; {bound}"
