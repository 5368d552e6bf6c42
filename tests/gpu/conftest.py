"""Tests for a machine with a GPU; elsewhere they are skipped. `DEVICE=cpu` runs them on a processor, as sandboxed.

There the programs that need CUDA fail, so that only the tests' own logic is tried.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from archloop.evaluation.judge import Judge

DEVICE = os.environ.get("DEVICE") or ("cuda" if Path("/dev/nvidiactl").exists() else "")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("gpu")
            if not DEVICE:
                item.add_marker(
                    pytest.mark.skip(reason="no GPU here (/dev/nvidiactl); DEVICE=cpu tries the tests themselves")
                )


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE


@pytest.fixture(scope="session")
def settings(settings):
    return replace(settings, memory_mb=16000)


@pytest.fixture(scope="module")
def judge(digits, device):
    """A judge at the strongest level that works, in the sandbox for a GPU."""
    with Judge(digits, device, "auto") as opened:
        opened.gpu = True
        yield opened
