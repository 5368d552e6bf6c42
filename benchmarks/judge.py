"""What judging costs beside the training itself, and how fast the training's own parts are. Prints ratios.

python benchmarks/judge.py --dataset resources/datasets/digits.safetensors

Every pair is measured in turn (A B A B ...), and the median of the rounds is printed, with the extremes. Any prepared
data set will do; `python scripts/prepare_dataset.py --dataset digits --output FILE --seed 1` makes digits.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import torch
import yaml
from safetensors.torch import load_file, safe_open, save_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from archloop.evaluation import train_candidate  # noqa: E402
from archloop.evaluation.evaluate import evaluate  # noqa: E402
from archloop.evaluation.judge import Judge  # noqa: E402
from archloop.families.programs import family_programs  # noqa: E402
from archloop.settings.complete import complete  # noqa: E402

PROGRAM = family_programs("plain")[0].program
BATCH = 16


def spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.4g} {unit} (of {len(values)}: {min(values):.4g} to {max(values):.4g})"


def small_copy(dataset: Path, folder: Path, images: int) -> Path:
    with safe_open(dataset, "pt") as opened:
        metadata = opened.metadata()
    tensors = {name: values[:images].clone() for name, values in load_file(dataset).items()}
    save_file(tensors, folder / "small.safetensors", metadata=metadata)
    return folder / "small.safetensors"


def judging(dataset: Path, settings: dict, rounds: int, folder: Path) -> None:
    """Processor seconds of a whole judgement with two training steps, against one fresh import of torch."""
    ours, fresh = [], []
    with Judge(small_copy(dataset, folder, 2 * BATCH), "cpu", "auto") as judge:
        judge.judge(PROGRAM, settings, 0)
        server = Path(f"/proc/{judge.server.process.pid}/stat")
        ticks = os.sysconf("SC_CLK_TCK")

        def of_server() -> float:
            fields = server.read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        for seed in range(rounds):
            before, own = of_server(), time.process_time()
            record = judge.judge(PROGRAM, settings, seed)
            assert record["outcome"] == "trained", record
            ours.append(of_server() - before + time.process_time() - own + record["cpu_s"])
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            fresh.append(after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime)
        print(
            f"judging a candidate, level {judge.level}, two training steps included: {spread(ours, 'CPU s')}"
        )
    print(f'a fresh python -c "import torch, torchvision": {spread(fresh, "CPU s")}')
    print(f"ratio: {statistics.median(fresh) / statistics.median(ours):.1f}x less")


def known_programs(dataset: Path, settings: dict, folder: Path, count: int = 3000) -> None:
    """Programs a second that are answered from the store."""
    rows = [
        {"id": str(at), "program": f"x = {at}\n"} for at in range(count)
    ]  # no class Net: nothing is trained
    run = {
        "device": "cpu",
        "isolation": "auto",
        "workers": 1,
        "gpus": 1,
        "cores": None,
        "memory_mb": None,
    }
    for _ in range(2):
        _, record = evaluate(rows, dataset, settings, 1, folder / "store", run)
    assert record["reused"] == count
    print(f"known programs answered: {count / record['seconds']:.0f} a second, start included")


def pipeline(dataset: Path, rounds: int) -> None:
    """Images a second of the resident tensors against torchvision's DataLoader with PIL transforms, both in batches."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms
    from torchvision.transforms.functional import to_pil_image

    data, protocol = _data(dataset)
    data["train_images"] = data["train_images"].expand(-1, 3, -1, -1).contiguous()
    mean, std = [0.5] * 3, [0.25] * 3
    pictures = [
        (to_pil_image(image), int(label))
        for image, label in zip(data["train_images"], data["train_labels"])
    ]
    steps = [
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    transform = transforms.Compose(steps)

    class Pictures(Dataset):
        def __len__(self):
            return len(pictures)

        def __getitem__(self, at):
            return transform(pictures[at][0]), pictures[at][1]

    prepare = train_candidate._preparer(data | {"mean": mean, "std": std}, protocol, "cpu")
    loader = DataLoader(Pictures(), batch_size=BATCH, shuffle=True, num_workers=0)
    workers = DataLoader(
        Pictures(), batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )

    def resident() -> None:
        order = torch.randperm(len(pictures))
        for places in order.split(BATCH):
            (
                prepare(data["train_images"][places], torch.rand(len(places)) < 0.5),
                data["train_labels"][places],
            )

    kinds = {
        "resident tensors": resident,
        "DataLoader": lambda: list(loader),
        "2 workers": lambda: list(workers),
    }
    rates = {name: [] for name in kinds}
    for at in range(rounds + 1):
        for name, epoch in kinds.items():
            started = time.perf_counter()
            epoch()
            if at:
                rates[name].append(len(pictures) / (time.perf_counter() - started))
    for name, values in rates.items():
        print(f"input pipeline, flips, {name}: {spread(values, 'images/s')}")
    best = max(statistics.median(rates[name]) for name in ("DataLoader", "2 workers"))
    print(f"ratio to the faster loader: {statistics.median(rates['resident tensors']) / best:.1f}x")


def training(dataset: Path, settings: dict, rounds: int) -> None:
    """The judge's training against a bare loop over resident tensors, and against the same in channels_last."""
    data, protocol = _data(dataset)
    images, labels = data["train_images"], data["train_labels"]
    prepare = train_candidate._preparer(data, protocol, "cpu")
    namespace = {}
    exec(PROGRAM, namespace)

    def net(layout=torch.contiguous_format):
        train_candidate.seed_everything(0)
        return namespace["Net"]((BATCH, *images.shape[1:]), (data["classes"],), {}, "cpu").to(
            memory_format=layout
        )

    def judged() -> None:
        next(train_candidate._epochs(net(), images, labels, prepare, settings, 0, "cpu", protocol))

    def bare(layout=torch.contiguous_format) -> None:
        model = net(layout)
        mean, std = data["mean"][0], data["std"][0]
        ready = ((images.float() / 255 - mean) / std).to(memory_format=layout)
        optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"], momentum=0.9)
        for places in torch.randperm(len(labels)).split(BATCH):
            if len(places) > 1:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(ready[places]), labels[places]).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings["gradient_clip"])
                optimizer.step()

    kinds = {"judge": judged, "bare loop": bare, "channels_last": lambda: bare(torch.channels_last)}
    seconds = {name: [] for name in kinds}
    for at in range(rounds + 1):
        for name, epoch in kinds.items():
            started = time.perf_counter()
            epoch()
            if at:
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"an epoch, {name}: {spread(values, 's')}")
    pairs = [one / two for one, two in zip(seconds["judge"], seconds["bare loop"])]
    layouts = [one / two for one, two in zip(seconds["channels_last"], seconds["bare loop"])]
    print(f"judge / bare loop, pair by pair: {spread(pairs, 'x')}")
    print(f"channels_last / contiguous on this processor, pair by pair: {spread(layouts, 'x')}")


def _data(dataset: Path) -> tuple[dict, train_candidate.Protocol]:
    import json

    with safe_open(dataset, "pt") as opened:
        facts = json.loads(opened.metadata()["facts"])
    return load_file(dataset) | facts, train_candidate.PROTOCOLS["native"]


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
    settings = complete(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()))["evaluation"]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as place:
        judging(dataset, settings | {"batch_size": BATCH}, rounds, Path(place))
        known_programs(dataset, settings, Path(place))
    pipeline(dataset, rounds)
    training(dataset, settings, rounds)


if __name__ == "__main__":
    main()
