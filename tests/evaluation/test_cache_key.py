"""The key that a score is kept under: it changes with all that decides a score, and with nothing else."""

import hashlib
import json
from dataclasses import asdict

import pytest

from archloop.evaluation import cache_key
from archloop.evaluation.cache_key import protocol_digest, score_key

VERSIONS = {"python": "3", "torch": "2", "torchvision": "1", "numpy": "2", "cpu": "x86_64 AVX2", "kernel": "6"}


def test_a_key_depends_on_all_that_a_program_runs_with(settings):
    def key(device="cpu", precision="float32", **other) -> str:
        return protocol_digest(asdict(settings) | {"precision": precision}, "data", 1, device, VERSIONS | other)

    for name in ("python", "torch", "torchvision", "numpy", "cpu"):
        assert key(**{name: "other"}) != key()
    assert key(precision="bfloat16") != key()
    assert key(kernel="other") == key()
    assert key("H100", cpu="other") == key("H100")


def test_a_key_is_the_digest_of_its_parts(monkeypatch):
    asked = []
    monkeypatch.setattr(
        cache_key, "code_digest", lambda path, root: asked.append((str(path.relative_to(root)), root.name)) or "code"
    )
    parts = [{"a": 1, "b": 2}, "data", 7, "cpu", ["code"] * 3, ["3", "2", "1", "2", "x86_64 AVX2"]]
    whole = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    assert protocol_digest({"b": 2, "a": 1}, "data", 7, "cpu", VERSIONS) == whole
    assert asked == [
        (f"archloop/{name}.py", "scripts")
        for name in ("evaluation/fork_server", "evaluation/score", "evaluation/static_checks")
    ]
    parts[3:] = "H100", ["code"] * 3, ["3", None, "1", "2"]
    whole = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    versions = {name: value for name, value in VERSIONS.items() if name != "torch"}
    assert protocol_digest({"a": 1, "b": 2}, "data", 7, "H100", versions) == whole


@pytest.mark.parametrize(("program", "text"), [("x = 1\n", 'p "x = 1\\n"'), (None, "p null")])
def test_a_score_has_the_digest_of_its_protocol_and_its_program(program, text):
    assert score_key("p", program) == hashlib.sha256(text.encode()).hexdigest()
