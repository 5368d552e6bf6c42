"""Settings spelt as command line options of the scripts."""

import json
import shlex
from collections.abc import Mapping


def options(values: Mapping[str, object], prefix: str = "") -> str:
    """Return settings as options, in the order of their names: `--temperature 0.7 --top-k 50`."""
    spelt = []
    for key in sorted(values):
        name = f"{prefix}{key}".replace("_", "-")
        spelt.append(f"--{name} {shlex.quote(_spell(values[key]))}")
    return " ".join(spelt)


def _spell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
