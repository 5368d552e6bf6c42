"""Settings spelt as command line options of the scripts."""

import json
import shlex
from collections.abc import Mapping


def options(values: Mapping[str, object], prefix: str = "") -> str:
    """Return settings as options, in the order of their names: `--temperature 0.7 --top-k 50`."""
    spelt = []
    # Sorted, for these texts are params of rules: another order would run jobs again.
    for key in sorted(values):
        name = f"{prefix}{key}".replace("_", "-")
        value = shlex.quote(_spell(values[key]))
        spelt.append(f"--{name} {value}")
    return " ".join(spelt)


def _spell(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True)
