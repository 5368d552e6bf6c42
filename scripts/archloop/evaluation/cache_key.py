"""The key that a score is kept under: all that it is a function of."""

import json
from collections.abc import Mapping

from archloop.files import sha256_text
from archloop.layout import SCRIPTS
from archloop.workflow.code_digest import code_digest

# The judge's own code, as far as it can change a score.
JUDGE = ("evaluation/fork_server", "evaluation/score", "evaluation/static_checks")
# What runs a program and what it may import.
PACKAGES = ("python", "torch", "torchvision", "numpy")


def protocol_digest(
    settings: Mapping[str, object],
    dataset: str,
    seed: int,
    device: str,
    versions: Mapping[str, str],
) -> str:
    """Return the part of a key that all programs share.

    settings: section evaluation as a record has it (`protocol`), its precision resolved. dataset:
    sha256 of its file. seed: of the judge. device: its name. versions: as a `Judge` has them. A
    GPU's scores do not depend on the kind of processor beside it.
    """
    code = []
    for name in JUDGE:
        module = SCRIPTS / "archloop" / f"{name}.py"
        code.append(code_digest(module, SCRIPTS))

    names = list(PACKAGES)
    if device == "cpu":
        names.append("cpu")
    used = [versions.get(name) for name in names]

    parts = [settings, dataset, seed, device, code, used]
    return sha256_text(json.dumps(parts, sort_keys=True))


def score_key(protocol: str, program: str | None) -> str:
    """Return the key of a program's score under a protocol."""
    return sha256_text(f"{protocol} {json.dumps(program)}")
