"""What all scripts share: options made from the settings' schema, logging, one clear line for a user's mistake, and the
provenance that a stage leaves."""

import contextlib
import errno
import functools
import inspect
import sys
from collections.abc import Callable, Iterable

import click

from archloop import site_limits
from archloop.errors import InputError, one_line
from archloop.files import parse_json
from archloop.progress import get_logger, start_logging
from archloop.settings import schema
from archloop.settings.sections import SECTIONS
from archloop.texts import visible
from archloop.workflow.provenance import leave_provenance

# What a place that a user names can be: not there, not to be written, another kind, full.
UNUSABLE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
}
UNUSABLE |= {errno.ENOSPC, errno.EDQUOT}


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


class Value(click.ParamType):
    """A JSON value (`0.7`, `null`, `[0, 24]`) or plain text, checked against the schema of its key."""

    name = "value"

    def __init__(self, rule: dict):
        self.rule = rule
        self.validator = schema.Validator(rule)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what --help shows as the value: the words of an enum, or the types that the schema allows."""
        if "enum" in self.rule:
            return f"[{'|'.join(map(str, self.rule['enum']))}]"
        kinds = self.rule.get("type", "string")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return "|".join(METAVARS[kind] for kind in kinds)

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            parsed = parse_json(value)
        except ValueError:
            parsed = value
        if self.validator.is_valid(value) and not self.validator.is_valid(parsed):
            return value
        for error in self.validator.iter_errors(parsed):
            self.fail(error.message, param, ctx)
        return parsed


def value_of(section: str, key: str) -> Value:
    """Return the type of an option that takes one setting."""
    return Value(schema.section(section)[key])


def settings_options(section: str | type, parameter: str = "settings") -> Callable:
    """Give a click command one option for each key of a section of config/schema.yaml.

    section: its type (archloop.settings.sections). The command's function gets one value of that type, named
    `parameter`. A name other than `settings` goes before the options too (`--novelty-threshold`), so that a script can
    take several sections.
    """
    name = section if isinstance(section, str) else SECTIONS[section]
    make = dict if isinstance(section, str) else section
    keys = schema.section(name)
    prefix = "" if parameter == "settings" else f"{parameter}_"

    def decorate(function):
        @functools.wraps(function)
        def gathered(**arguments):
            values = {key: arguments.pop(prefix + key) for key in keys}
            return function(**arguments, **{parameter: make(**values)})

        for key, rule in reversed(keys.items()):
            gathered = click.option(
                f"--{(prefix + key).replace('_', '-')}",
                prefix + key,
                type=Value(rule),
                default=rule.get("default"),
                required="default" not in rule,
                help=rule["description"],
            )(gathered)
        gathered.sections = {name: dict(zip(keys, map(prefix.__add__, keys)))} | getattr(
            function, "sections", {}
        )
        return gathered

    return decorate


def command(function: Callable) -> Callable:
    """Make a click command that has `--log`, and that ends a user's mistake with one line and status 1."""
    return _command(function)


def stage(*outputs: str, packages: Iterable[str] = ()) -> Callable:
    """Make a click command as `command` does, of a script that a rule runs: it leaves the provenance of its outputs.

    outputs: the options that name them, the first one first; the function may return what no option names: a dict with
    the paths of more `outputs` and `inputs`, of the file `spent`, which goes once all is written, and `host`, where
    other processes computed. packages: whose versions shape the outputs. After `--` come the params of the rule, after
    a second `--` its inputs; by hand there is nothing of the kind.
    """

    def decorate(function: Callable) -> Callable:
        script = inspect.getfile(inspect.unwrap(function))

        @functools.wraps(function)
        def with_provenance(**arguments):
            more = function(**arguments) or {}
            context, sections = click.get_current_context(), getattr(function, "sections", {})
            leave_provenance(script, context, arguments, sections, outputs, more, packages)
            if "spent" in more:
                with contextlib.suppress(
                    OSError
                ):  # all is written; in a shared folder it may be another user's
                    more["spent"].unlink(missing_ok=True)
                    more["spent"].parent.rmdir()

        return _command(with_provenance, allow_extra_args=True)

    return decorate


def _command(function: Callable, **settings: object) -> Callable:
    @functools.wraps(function)
    def guarded(log, **arguments):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # as stderr is: names and programs hold any character
        start_logging()
        try:
            start_logging(log)
            return function(**arguments)
        except InputError as error:
            told = visible(str(error)).replace("\n", "\\n")  # a file's name may hold a line feed
            get_logger("error").error("error: %s", told)
        except OSError as error:
            if error.errno not in UNUSABLE or error.filename is None:
                raise
            get_logger("error").error(
                "error: %s: %s", error.filename2 or error.filename, error.strerror
            )
        except (
            ImportError,
            MemoryError,
        ) as error:  # the libraries of tensors want gigabytes of addresses at once
            bound = site_limits.of_memory()
            if bound is None:
                raise
            get_logger("error").error("error: %s; %s", one_line(error) or "memory is full", bound)
        sys.exit(1)

    wrapped = click.option(
        "--log", type=click.Path(dir_okay=False), help="Also write messages here, with the time."
    )
    return click.command(
        context_settings={"show_default": True, "max_content_width": 120} | settings
    )(wrapped(guarded))
