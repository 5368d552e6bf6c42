"""One seed program through the real judge on this machine: nothing else shows that candidates can be judged here.

Run as a program by the preflight's job on a node: JSON on standard input (device, isolation, driver_calls, evaluation),
one line of JSON on standard output. `which_wall` asks which wall is in the way of a driver.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from archloop.data.dataset_file import HEADER_KEY, SPLITS, DatasetMetadata
from archloop.errors import InputError
from archloop.evaluation import judge
from archloop.families.programs import family_programs
from archloop.sandbox import isolation as walls
from archloop.settings.sections import Evaluation

IMAGES, SIZE, CLASSES = 64, 32, 10
DRIVER_CALLS = "the list of the driver's ioctls"
# What is changed in the judge's server to leave one wall out, for this trusted program alone.
LEFT_OUT = {
    "no wall": "",
    "Landlock": "from archloop.sandbox import landlock; landlock.restrict = lambda grants: None",
    "the list of system calls": "from archloop.sandbox import seccomp; seccomp.install = lambda *arguments: None",
    DRIVER_CALLS: "from archloop.sandbox import seccomp; own = seccomp.install\n"
    "seccomp.install = lambda gpu, removing, starting, log: own(gpu, removing, starting, True)",
    "the closing": "from archloop.sandbox import isolation; own = isolation.confine\n"
    "isolation.confine = lambda order: (own(order), lambda: None)[1]",
    "the loss of capabilities": "from archloop.sandbox import namespaces; namespaces.drop_capabilities = lambda: None",
    "the limits": "from archloop.sandbox import isolation; isolation.set_limits = lambda wanted: None",
}


def judge_seed_program(
    device: str,
    isolation: str,
    settings: Evaluation,
    left_out: str = "no wall",
    as_gpu: bool = False,
    driver_calls: str = "refuse",
) -> dict:
    """Return outcome, isolation, device and seconds of one judgement, or trouble: one line that says why there is none.

    settings: section evaluation. left_out: of LEFT_OUT. as_gpu: the walls for a GPU, whatever the device is.
    driver_calls: as execution.driver_calls.
    """
    started, program = time.monotonic(), family_programs("plain")[0].program
    own = judge.SERVER
    try:
        judge.SERVER = own.replace(
            "; fork_server.main()", f"\n{LEFT_OUT[left_out]}\nfork_server.main()"
        )
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / "images.safetensors"
            write_images(images)
            with judge.Judge(images, device, isolation, driver_calls) as opened:
                opened.gpu = opened.gpu or as_gpu
                record = opened.judge(program, replace(settings, epochs=1, repeats=1), 1)
    except (InputError, RuntimeError, OSError) as error:
        return {"trouble": " ".join(str(error).split())}
    finally:
        judge.SERVER = own
    facts = {
        "isolation": opened.level,
        "device": opened.device_name,
        "seconds": round(time.monotonic() - started, 1),
    }
    if record["outcome"] != "trained":
        return facts | {
            "trouble": f"a seed program ends as {record['outcome']}: {record['detail']}"
        }
    return facts | {"outcome": record["outcome"], "accuracy": record["accuracy"]}


def write_images(path: Path) -> None:
    """Write a data set of a few random images, in the form that prepare_dataset gives."""
    rng, arrays = np.random.default_rng(1), {}
    for split in ("train", "validation", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (IMAGES, 1, SIZE, SIZE), dtype=np.uint8)
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
    save_file(arrays, path, metadata={HEADER_KEY: json.dumps(asdict(metadata))})


def which_wall(
    device: str, settings: Evaluation, levels: tuple[str, ...], as_gpu: bool
) -> Iterator[tuple[str, str, dict]]:
    """Yield (level, what is left out, the trial) for each level, and for one that fails with each wall left out."""
    for level in levels:
        reason = walls.obstacle(level, gpu=True)
        trial = (
            {"trouble": reason}
            if reason
            else judge_seed_program(device, level, settings, as_gpu=as_gpu)
        )
        yield level, "no wall", trial
        for left_out in list(LEFT_OUT)[1:] if "trouble" in trial and not reason else ():
            yield level, left_out, judge_seed_program(device, level, settings, left_out, as_gpu)


def main() -> None:
    """Answer one request."""
    asked = json.loads(sys.stdin.read())
    place = {name: asked[name] for name in ("device", "isolation", "driver_calls")}
    settings = Evaluation(**asked["evaluation"])
    print(json.dumps(judge_seed_program(settings=settings, **place)), flush=True)


if __name__ == "__main__":
    main()
