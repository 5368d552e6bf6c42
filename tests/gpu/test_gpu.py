"""What only hardware shows: the judge trains at every level, and no program harms the card for the next one."""

import concurrent.futures
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from plain_user import ROOT, as_plain_user

from archloop.evaluation.judge import Judge
from archloop.families.programs import family_names, family_programs
from archloop.sandbox import isolation
from archloop.sandbox.gpu_memory import shares
from archloop.settings.sections import Evaluation

HONEST = family_programs("plain")[0].program
NET = """
import torch
import torch.nn as nn

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2] * in_shape[3], out_shape[0])
        self.forwards = 0

    def forward(self, x):
        self.forwards += not x.is_meta
        if not x.is_meta and self.forwards > AFTER:
            ATTACK
        return self.head(x.flatten(1))
"""
ELEMENT_WISE = "torch.cuda.jiterator._create_jit_fn('template <typename T> T f(T a) { %s return a; }')(x); "
ELEMENT_WISE += "torch.cuda.synchronize()"
# A program -> (what it does in a forward pass on the device, outcomes that it may have). With `crashed` goes whatever
# the device says: it is not kept, for it may be the device's fault.
ATTACKS = {
    "a kernel that never ends": ("torch.cuda._sleep(2**40); torch.cuda.synchronize()", {"timeout", "crashed"}),
    "own code that never ends": (
        "torch.cuda._compile_kernel('__global__ void f(int* p) { while (true) atomicAdd(p, 1); }', 'f')"
        "((1, 1, 1), (1, 1, 1), (torch.zeros(1, dtype=torch.int32, device=x.device),)); torch.cuda.synchronize()",
        {"timeout", "crashed"},
    ),
    "own code that writes out of bounds": (
        "torch.cuda._compile_kernel('__global__ void f(int* p) { p[(1ll << 40) + threadIdx.x] = 1; }', 'f')"
        "((1, 1, 1), (1, 1, 1), (torch.zeros(1, dtype=torch.int32, device=x.device),)); torch.cuda.synchronize()",
        {"crashed"},
    ),
    "an element-wise kernel that writes out of bounds": (
        ELEMENT_WISE % "*(T*) (1ull << 60) = a;",
        {"crashed"},
    ),
    "a flood of text from the card": (
        "torch.cuda._compile_kernel('__global__ void f() { while (true) printf(\"flood\\\\n\"); }', 'f')"
        "((64, 1, 1), (64, 1, 1), ()); torch.cuda.synchronize()",
        {"timeout", "crashed", "trained"},
    ),
    "an element-wise kernel that never ends": (
        ELEMENT_WISE % "volatile T b = a; while (true) b = b + 1;",
        {"timeout", "crashed"},
    ),
    "an index out of range": ("x[torch.tensor([10**9], device=x.device)].sum().item()", {"crashed"}),
    "all memory of the card": (
        "torch.cuda.synchronize(); size = 2**33; "
        "self.kept = [torch.empty(size, dtype=torch.uint8, device=x.device) for _ in range(64)]",
        {"out_of_memory", "crashed"},
    ),
    # More than twice what the candidate may have, and less than the machine has.
    "pinned memory beyond the candidate's": (
        "self.kept = [torch.empty(2**31, dtype=torch.uint8).pin_memory() for _ in range(20)]",
        # Pages of the driver are no memory of the process: nobody counts them, and the time ends it.
        {"out_of_memory", "crashed", "timeout"},
    ),
}
# A tenth of a second a GiB, for the supervisor looks every 50 ms.
SLOWLY = "self.kept = getattr(self, 'kept', []) + [torch.ones(2**30, dtype=torch.uint8, device=x.device)]; "
SLOWLY += "__import__('time').sleep(0.1)"
# Programs that behave for some forward passes first.
LATE = [("a kernel that never ends", 3), ("own code that writes out of bounds", 3), ("an index out of range", 10)]
LATE += [("an element-wise kernel that writes out of bounds", 100)]


def trained(judge: Judge, settings: Evaluation) -> bool:
    return judge.judge(HONEST, settings, 1)["outcome"] == "trained"


@pytest.mark.parametrize("level", isolation.LEVELS)
def test_the_judge_trains_at_every_level(digits, device, settings, level):
    if isolation.obstacle(level, gpu=True):
        pytest.skip(f"{level}: {isolation.obstacle(level, gpu=True)}")
    with Judge(digits, device, level) as judge:
        judge.gpu = True
        record = judge.judge(HONEST, settings, 1)
    assert (record["outcome"], record["isolation"]) == ("trained", level), record


@pytest.mark.parametrize("level", isolation.LEVELS)
def test_the_judge_trains_as_a_plain_user(device, level, tmp_path):
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    form = ["--as-gpu"] if device == "cpu" else []
    script = [str(ROOT / "scripts" / "try_isolation.py"), "--device", device, "--level", level, *form]
    command = as_plain_user([sys.executable, "-B", *script], tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", sorted(family_names())[::3])
def test_seed_programs_of_many_kinds_train(judge, settings, family):
    record = judge.judge(family_programs(family)[0].program, replace(settings, parameter_budget=10**7), 1)
    assert record["outcome"] == "trained", record


@pytest.mark.parametrize(("name", "after"), [*((name, 0) for name in ATTACKS), *LATE])
def test_a_program_that_attacks_the_card_harms_itself_alone(judge, settings, name, after):
    attack, outcomes = ATTACKS[name]
    program = NET.replace("ATTACK", attack).replace("AFTER", str(after))
    started = time.monotonic()
    # Of one image a batch, so that there are more than a hundred.
    record = judge.judge(program, replace(settings, timeout_s=10, batch_size=1), 1, static=False)
    assert record["outcome"] in outcomes, record
    assert time.monotonic() - started < 10 + 60
    assert trained(judge, settings), "the next program found no sound card"


def test_a_neighbour_of_an_endless_kernel_gets_no_timeout(judge, settings):
    attack, outcomes = ATTACKS["a kernel that never ends"]
    endless = NET.replace("ATTACK", attack).replace("AFTER", "0")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        beside = pool.submit(judge.judge, endless, replace(settings, timeout_s=10), 1, static=False)
        record = judge.judge(HONEST, settings, 1)
    assert beside.result()["outcome"] in outcomes
    assert record["outcome"] == "trained", json.dumps(record["detail"])


def test_a_candidate_beyond_its_share_of_a_card_is_stopped(judge, device, settings, monkeypatch):
    """The supervisor measures from outside; on a processor tests/sandbox/test_gpu_memory.py has a stand-in for NVML."""
    if device == "cpu":
        pytest.skip("no GPU here: nothing measures its memory")
    share = next(iter(shares([judge.device], 8).values()))
    monkeypatch.setattr(judge, "shares", {judge.device: share})
    # Of one image a batch, so that it asks for more than there is.
    slowly = replace(settings, batch_size=1)
    record = judge.judge(NET.replace("ATTACK", SLOWLY).replace("AFTER", "0"), slowly, 1, static=False)
    assert (record["outcome"], record["detail"]) == (
        "out_of_memory",
        f"more than {share.memory_mb} MB of the GPU in use, its share",
    )
    assert trained(judge, settings)
