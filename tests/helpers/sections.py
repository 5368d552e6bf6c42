"""Sections of the settings for tests: the defaults of config/schema.yaml, with what a test changes of them."""

from typing import Any, TypeVar

from archloop.settings import schema
from archloop.settings.sections import SECTION_NAMES, Loading

# How the tests load a model: no rounding but that of a CPU.
LOADING = Loading(dtype="float32", quantization="none")

Section = TypeVar("Section")


def defaults(section: type[Section], **changes: Any) -> Section:
    """Return a section as it is without a settings file; a key without a default is None until it is given."""
    values = {key: rule.get("default") for key, rule in schema.section(SECTION_NAMES[section]).items()}
    return section(**{**values, **changes})
