"""The key that a score is kept under: all that it is a function of."""

import json
from pathlib import Path

from archloop.digest import code_digest
from archloop.files import sha256_text

# The judge's own code, as far as it can change a score.
JUDGE = ("judge_server", "result", "static_checks")


def protocol_digest(settings: dict, dataset: str, seed: int, device: str, versions: dict[str, str]) -> str:
    """Return the part of a key that all programs share.

    settings: section evaluation. dataset: sha256 of its file. seed: of the judge. device: its name. versions: of python
    and torch.
    """
    package = Path(__file__).parent
    code = [code_digest(package / f"{name}.py", package.parent) for name in JUDGE]
    parts = [settings, dataset, seed, device, code, versions["python"], versions["torch"]]
    return sha256_text(json.dumps(parts, sort_keys=True))


def score_key(protocol: str, program: str | None) -> str:
    """Return the key of a program's score under a protocol."""
    return sha256_text(f"{protocol} {json.dumps(program)}")
