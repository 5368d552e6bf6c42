"""What judging costs beside the training itself, and how fast the training's own parts are.

python benchmarks/judge.py --dataset resources/datasets/digits.safetensors

Every pair is measured in turn (A B A B ...), and the median of the rounds is printed, with the
extremes: ratios. Any prepared data set will do. This makes digits:
`python scripts/prepare_dataset.py --dataset digits --output FILE --seed 1`
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
import yaml
from safetensors.torch import load_file, safe_open, save_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.data.dataset_file import read_metadata  # noqa: E402
from archloop.evaluation import epochs  # noqa: E402
from archloop.evaluation.evaluate import JobResources, evaluate  # noqa: E402
from archloop.evaluation.judge import Judge  # noqa: E402
from archloop.evaluation.networks import seed_everything  # noqa: E402
from archloop.evaluation.protocol import PROTOCOLS, Plan, preparer  # noqa: E402
from archloop.evaluation.train_candidate import CandidateData  # noqa: E402
from archloop.families.programs import family_programs  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402
from archloop.settings.sections import Evaluation  # noqa: E402

PROGRAM = family_programs("plain")[0].program
BATCH = 16


def spread(values: list[float], unit: str) -> str:
    """Return the median of values with their number and extremes."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.4g} {unit} (of {len(values)}: {low:.4g} to {high:.4g})"


def measured(kinds: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each function in each round, in turn; a first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, function in kinds.items():
            started = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of each round."""
    return [one / two for one, two in zip(above, below)]


def small_copy(dataset: Path, folder: Path, images: int) -> Path:
    """Write the first images of each split, and return the file."""
    with safe_open(dataset, "pt") as opened:
        metadata = opened.metadata()
    tensors = {name: values[:images].clone() for name, values in load_file(dataset).items()}
    save_file(tensors, folder / "small.safetensors", metadata=metadata)
    return folder / "small.safetensors"


def judging(dataset: Path, settings: Evaluation, rounds: int, folder: Path) -> None:
    """Processor seconds of a judgement with two training steps, against one import of torch."""
    ours, imports = [], []
    with Judge(small_copy(dataset, folder, 2 * BATCH), "cpu", "auto") as judge:
        judge.judge(PROGRAM, settings, 0)
        server = judge.server.process.pid
        for seed in range(rounds):
            before = _cpu_s(server) + time.process_time()
            record = judge.judge(PROGRAM, settings, seed)
            assert record["outcome"] == "trained", record
            spent = _cpu_s(server) + time.process_time() - before
            ours.append(spent + record["cpu_s"])
            imports.append(_cpu_s_of_import())

    print(
        f"judging a candidate, level {judge.level}, two training steps included: "
        f"{spread(ours, 'CPU s')}"
    )
    print(f'a new python -c "import torch, torchvision": {spread(imports, "CPU s")}')
    print(f"ratio: {statistics.median(imports) / statistics.median(ours):.1f}x less")


def _cpu_s(process: int) -> float:
    """Return the processor seconds that a process has used, its children aside."""
    # The name, in brackets, may hold spaces; user and system time are fields 14 and 15 of proc(5).
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_s_of_import() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def known_programs(dataset: Path, settings: Evaluation, folder: Path, count: int = 3000) -> None:
    """Programs a second that are answered from the store."""
    # No class Net: nothing is trained.
    rows = [{"id": str(number), "program": f"x = {number}\n"} for number in range(count)]
    resources = JobResources("cpu", workers=1)
    for _ in range(2):
        _, record = evaluate(rows, dataset, settings, 1, folder / "store", resources)
    assert record["reused"] == count
    print(f"known programs answered: {count / record['seconds']:.0f} a second, start included")


def pipeline(dataset: Path, settings: Evaluation, rounds: int) -> None:
    """Images a second of resident tensors against torchvision's DataLoader with PIL transforms."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms
    from torchvision.transforms.functional import to_pil_image

    data = candidate_data(dataset)
    images = data.train_images.expand(-1, 3, -1, -1).contiguous()
    labels = data.train_labels
    mean, std = [0.5] * 3, [0.25] * 3
    transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    pictures = [(to_pil_image(image), int(label)) for image, label in zip(images, labels)]

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            picture, label = pictures[index]
            return transform(picture), label

    prepare = preparer(mean, std, plan_of(settings))
    loader = DataLoader(Pictures(), batch_size=BATCH, shuffle=True, num_workers=0)
    workers = DataLoader(
        Pictures(), batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )

    def resident() -> None:
        for batch in torch.randperm(len(pictures)).split(BATCH):
            prepare(images[batch], torch.rand(len(batch)) < 0.5)
            labels[batch]

    kinds = {
        "resident tensors": resident,
        "DataLoader": lambda: list(loader),
        "2 workers": lambda: list(workers),
    }
    rates = {}
    for name, seconds in measured(kinds, rounds).items():
        rates[name] = [len(pictures) / each for each in seconds]
        print(f"input pipeline, flips, {name}: {spread(rates[name], 'images/s')}")
    best = max(statistics.median(rates[name]) for name in ("DataLoader", "2 workers"))
    print(f"ratio to the faster loader: {statistics.median(rates['resident tensors']) / best:.1f}x")


def training(dataset: Path, settings: Evaluation, rounds: int) -> None:
    """The judge's training against a bare loop over resident tensors, and one in channels_last."""
    data, plan = candidate_data(dataset), plan_of(settings)
    images, labels = data.train_images, data.train_labels
    prepare = preparer(data.mean, data.std, plan)
    namespace: dict[str, Any] = {}
    exec(PROGRAM, namespace)

    def net(layout: torch.memory_format) -> torch.nn.Module:
        seed_everything(0)
        in_shape = (BATCH, *images.shape[1:])
        network = namespace["Net"](in_shape, (data.classes,), {}, "cpu")
        return network.to(memory_format=layout)

    def judged() -> None:
        model = net(torch.contiguous_format)
        epochs.epoch_trainer(model, images, labels, prepare, plan)()

    def bare(layout: torch.memory_format = torch.contiguous_format) -> None:
        model = net(layout)
        mean, std = data.mean[0], data.std[0]
        ready = ((images.float() / 255 - mean) / std).to(memory_format=layout)
        optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=0.9)
        for batch in torch.randperm(len(labels)).split(BATCH):
            if len(batch) < 2:
                continue
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(ready[batch]), labels[batch]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            optimizer.step()

    kinds = {"judge": judged, "bare loop": bare, "channels_last": lambda: bare(torch.channels_last)}
    seconds = measured(kinds, rounds)
    for name, values in seconds.items():
        print(f"an epoch, {name}: {spread(values, 's')}")
    pairs = ratios(seconds["judge"], seconds["bare loop"])
    layouts = ratios(seconds["channels_last"], seconds["bare loop"])
    print(f"judge / bare loop, pair by pair: {spread(pairs, 'x')}")
    print(f"channels_last / contiguous on this processor, pair by pair: {spread(layouts, 'x')}")


def candidate_data(dataset: Path) -> CandidateData:
    """Return what a candidate has of a data set."""
    metadata, tensors = read_metadata(dataset), load_file(dataset)
    splits = {name: values for name, values in tensors.items() if name.endswith("_images")}
    return CandidateData(
        train_labels=tensors["train_labels"],
        mean=metadata.mean,
        std=metadata.std,
        classes=metadata.classes,
        **splits,
    )


def plan_of(settings: Evaluation) -> Plan:
    return Plan(settings, PROTOCOLS["native"], 0, "cpu")


@click.command()
@click.option(
    "--dataset",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Prepared data set.",
)
@click.option("--rounds", default=7, type=click.IntRange(min=5), help="Rounds that are counted.")
@click.option("--threads", default=2, help="Processor threads of the training.")
def main(dataset: Path, rounds: int, threads: int) -> None:
    """Print all measurements."""
    config = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))
    settings = Evaluation(**config["evaluation"])
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        judging(dataset, replace(settings, batch_size=BATCH), rounds, Path(folder))
        known_programs(dataset, settings, Path(folder))
    pipeline(dataset, settings, rounds)
    training(dataset, settings, rounds)


if __name__ == "__main__":
    main()
