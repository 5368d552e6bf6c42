"""One seed program through the real judge here: nothing else shows that candidates can be judged.

Run as a program by the preflight's job on a node: a TrialRequest as JSON on standard input, a
TrialResult as one line of JSON on standard output. `trials_by_part` asks which part of the sandbox
is in the way of a driver.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from archloop.data.dataset_file import HEADER_KEY, SPLITS, DatasetMetadata, tensors_written
from archloop.errors import InputError, one_line
from archloop.evaluation import judge
from archloop.evaluation.devices import judging_device
from archloop.families.programs import family_programs
from archloop.preflight.node_report import TrialRequest, TrialResult
from archloop.sandbox import isolation as sandbox
from archloop.settings import schema
from archloop.settings.sections import Evaluation, Section

IMAGES, SIZE, CLASSES = 64, 32, 10
WHOLE = "nothing"
DRIVER_CALLS = "the list of the driver's ioctls"
# What is changed in the judge's server to leave one part of the sandbox out, for this trusted
# program alone.
LEFT_OUT = {
    WHOLE: "",
    "Landlock": """
from archloop.sandbox import landlock
landlock.restrict = lambda grants: None
""",
    "the list of system calls": """
from archloop.sandbox import seccomp
seccomp.install = lambda *arguments: None
""",
    DRIVER_CALLS: """
from archloop.sandbox import seccomp
install = seccomp.install
seccomp.install = lambda gpu, removing, starting, log: install(gpu, removing, starting, True)
""",
    "the closing": """
from archloop.sandbox import isolation
confine = isolation.confine
isolation.confine = lambda order: (confine(order), lambda: None)[1]
""",
    "the loss of capabilities": """
from archloop.sandbox import namespaces
namespaces.drop_capabilities = lambda: None
""",
    "the limits": """
from archloop.sandbox import isolation
isolation.set_limits = lambda wanted: None
""",
}


def judge_seed_program(
    device: str,
    isolation: str,
    settings: Evaluation,
    left_out: str = WHOLE,
    as_gpu: bool = False,
    driver_calls: str = "refuse",
) -> TrialResult:
    """Return one judgement of a seed program.

    settings: section evaluation. left_out: of LEFT_OUT. as_gpu: the sandbox for a GPU, whatever the
    device is. driver_calls: as execution.driver_calls.
    """
    started, program = time.monotonic(), family_programs("plain")[0].program
    # The sandbox is built by the server, a process of its own, so it is its code that changes.
    server = judge.SERVER
    changed = f"\n{LEFT_OUT[left_out]}\nfork_server.main()"
    try:
        judge.SERVER = server.replace("; fork_server.main()", changed)
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / "images.safetensors"
            write_images(images)
            with judge.Judge(images, device, isolation, driver_calls) as opened:
                # That sandbox can be tried without a GPU, too.
                opened.gpu = opened.gpu or as_gpu
                record = opened.judge(program, replace(settings, epochs=1, repeats=1), 1)
    except (InputError, RuntimeError, OSError) as error:
        return TrialResult(trouble=one_line(error))
    finally:
        judge.SERVER = server

    trouble = None
    if record["outcome"] != "trained":
        trouble = f"a seed program ends as {record['outcome']}: {record['detail']}"
    return TrialResult(
        trouble=trouble,
        isolation=opened.level,
        device=opened.device_name,
        seconds=round(time.monotonic() - started, 1),
        outcome=record["outcome"],
        accuracy=record["accuracy"],
    )


def trial_protocol() -> Evaluation:
    """Return the protocol of a trial by hand: the schema's, with limits that suffice for it."""
    rules = schema.section("evaluation")
    settings: Section = {name: rule.get("default") for name, rule in rules.items()}
    settings |= {"parameter_budget": 10**6, "memory_mb": 16000, "timeout_s": 120}
    return Evaluation(**settings)


def in_words(trial: TrialResult, left_out: str) -> str:
    """Return what a trial says for a person, with what to set where that would help."""
    if trial.trouble is not None:
        return trial.trouble
    text = f"trained on {trial.device} in {trial.seconds} s"
    if left_out == DRIVER_CALLS:
        text += ": set execution.driver_calls to log"
    return text


def write_images(path: Path) -> None:
    """Write a data set of a few random images, in the form that prepare_dataset gives."""
    rng = np.random.default_rng(1)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for split in SPLITS:
        shape = (IMAGES, 1, SIZE, SIZE)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(IMAGES) % CLASSES
    metadata = DatasetMetadata(
        name="trial",
        classes=CLASSES,
        class_names=[str(number) for number in range(CLASSES)],
        channels=1,
        size=SIZE,
        chance=1 / CLASSES,
        mean=[0.5],
        std=[0.29],
        images=dict.fromkeys(SPLITS, IMAGES),
        notes=[],
        seed=1,
    )
    with tensors_written(path):
        save_file(arrays, path, metadata={HEADER_KEY: json.dumps(asdict(metadata))})


def trials_by_part(
    device: str, settings: Evaluation, levels: tuple[str, ...], as_gpu: bool
) -> Iterator[tuple[str, str, TrialResult]]:
    """Yield (level, what is left out, the trial) for each level of isolation.

    A level that fails is tried again with each part of the sandbox left out. Raises InputError for
    a device that is not there: no part of the sandbox would be in its way.
    """
    judging_device(device)
    for level in levels:
        reason = sandbox.obstacle(level, gpu=True)
        if reason:
            yield level, WHOLE, TrialResult(trouble=reason)
            continue

        trial = judge_seed_program(device, level, settings, as_gpu=as_gpu)
        yield level, WHOLE, trial
        if trial.trouble is None:
            continue

        for part in LEFT_OUT:
            if part != WHOLE:
                yield level, part, judge_seed_program(device, level, settings, part, as_gpu)


def main() -> None:
    """Answer one request."""
    request = TrialRequest.from_json(sys.stdin.read())
    trial = judge_seed_program(
        request.device,
        request.isolation,
        request.evaluation,
        driver_calls=request.driver_calls,
    )
    print(json.dumps(asdict(trial)), flush=True)


if __name__ == "__main__":
    main()
