"""The run record of a job of the language model: what it did, how long, and with which versions."""

from collections.abc import Mapping
from pathlib import Path

from archloop.files import write_json
from archloop.machine import versions_with_kernel

PACKAGES = ("torch", "transformers", "peft")


def write_run_record(path: Path, counts: Mapping[str, object], seconds: float) -> None:
    """Write what a job did, its seconds and the versions of what it ran with."""
    installed = versions_with_kernel(PACKAGES)
    write_json(path, {**counts, "seconds": round(seconds, 2), "versions": installed})
