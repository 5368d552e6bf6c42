"""Where data sets come from: one reader a name, each giving whole arrays as the makers of the data set divide them.

The files of CIFAR, SVHN and MNIST are found, checked, downloaded and parsed by torchvision. A reader gets the settings
of section `data` and nothing else.
"""

import contextlib
import gzip
import math
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archloop.data.image_folder import read_image_folder
from archloop.errors import InputError, kind_and_line

# Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DIGITS = [str(digit) for digit in range(10)]
DOWNLOAD_SILENCE_S = 60
MAXIMUM_CLASSES = 256

Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Source:
    """A data set as its makers divide it.

    train, test, validation: (images uint8 (n, channels, size, size), labels int64 (n,) from 0); None where there is no
    official one. class_names: the name of label i at place i. notes: what was left out on reading, one line each.
    """

    train: Split
    test: Split | None
    class_names: list[str]
    validation: Split | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """A file that torchvision reads, and the download it comes from. md5: None where torchvision checks none."""

    path: Path
    md5: str | None
    download: Path
    url: str


def read_source(name: str, settings: dict) -> Source:
    """Return a data set of SOURCES; settings: section data.

    Raises InputError when files are missing and cannot be downloaded, are broken, or do not fit each other.
    """
    source = SOURCES[name](settings)
    classes = len(source.class_names)
    where = settings["folder"] if name == "folder" else settings["root"]
    if classes > MAXIMUM_CLASSES:  # a prediction is one byte
        raise InputError(f"{where}: {classes} classes; at most {MAXIMUM_CLASSES} can be told apart")
    for split, part in (
        ("training", source.train),
        ("validation", source.validation),
        ("test", source.test),
    ):
        if part is None:
            continue
        images, labels = part
        if len(images) != len(labels) or not len(labels):
            raise InputError(
                f"{where}: {name} has {len(images)} {split} images and {len(labels)} labels; get it anew"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"{where}: {name} has a {split} label outside 0 to {classes - 1}; get it anew"
            )
    return source


def _cifar(name: str) -> Callable[[dict], Source]:
    def read(settings: dict) -> Source:
        from torchvision import datasets

        kind, root = getattr(datasets, name), _root(settings)
        archive = root / kind.filename
        files = [
            (root / kind.base_folder / file, md5) for file, md5 in kind.train_list + kind.test_list
        ]
        files.append((root / kind.base_folder / kind.meta["filename"], kind.meta["md5"]))
        with _one_line(name, [Wanted(path, md5, archive, kind.url) for path, md5 in files]):
            train, test = (kind(root, train=train, download=True) for train in (True, False))
        parts = [
            (each.data.transpose(0, 3, 1, 2), np.array(each.targets, np.int64))
            for each in (train, test)
        ]
        return Source(*parts, list(train.classes))

    return read


def _svhn(settings: dict) -> Source:
    from torchvision.datasets import SVHN

    root = _root(settings)
    files = [SVHN.split_list[split] for split in ("train", "test")]
    with _one_line(
        "SVHN", [Wanted(root / file, md5, root / file, url) for url, file, md5 in files]
    ):
        train, test = (SVHN(root, split=split, download=True) for split in ("train", "test"))
    # In the file the image is the fastest index; everything after this goes image by image.
    parts = [
        (np.ascontiguousarray(each.data), np.atleast_1d(each.labels)) for each in (train, test)
    ]
    return Source(*parts, DIGITS)


def _mnist(settings: dict) -> Source:
    return _read_idx("MNIST", _root(settings))


def _fashion_mnist(settings: dict) -> Source:
    root = _root(settings)
    raw = root / "FashionMNIST" / "raw"
    packed = _idx_files("FashionMNIST")
    own = all((raw / file).is_file() or (raw / file).with_suffix("").is_file() for file in packed)
    if own or not DEBIAN_FASHION_MNIST.is_dir():
        return _read_idx("FashionMNIST", root)
    with tempfile.TemporaryDirectory(prefix="archloop-") as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for file in packed:
            _unpack(DEBIAN_FASHION_MNIST / file, (raw / file).with_suffix(""))
        return _read_idx("FashionMNIST", Path(folder))


def _unpack(packed: Path, plain: Path) -> None:
    try:
        with gzip.open(packed) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target)
    except (OSError, EOFError) as error:
        raise InputError(
            f"{packed}: no whole gzip file ({error}); reinstall dataset-fashion-mnist"
        ) from None


def _idx_files(name: str) -> list[str]:
    from torchvision import datasets

    return [file for file, _ in getattr(datasets, name).resources]


def _read_idx(name: str, root: Path) -> Source:
    from torchvision import datasets

    kind, raw = getattr(datasets, name), root / name / "raw"
    packed = [(raw / file, f"{kind.mirrors[0]}{file}") for file in _idx_files(name)]
    with _one_line(name, [Wanted(path.with_suffix(""), None, path, url) for path, url in packed]):
        train, test = (kind(root, train=train, download=True) for train in (True, False))
    parts = [(each.data.numpy()[:, None], each.targets.numpy()) for each in (train, test)]
    return Source(*parts, list(kind.classes))


def _whole_idx(path: Path) -> bool:
    """Whether a file is as long as its idx header says: bytes 0, 0, 8 (uint8), number of sizes; the sizes; the data."""
    with open(path, "rb") as opened:
        start = opened.read(4)
        if start[:3] != b"\0\0\x08" or len(start) < 4:
            return False
        header = opened.read(4 * start[3])
    sizes = [int.from_bytes(header[at : at + 4], "big") for at in range(0, len(header), 4)]
    return path.stat().st_size == 4 + 4 * start[3] + math.prod(sizes)


def _digits(settings: dict) -> Source:
    import torch
    from sklearn.datasets import load_digits

    raw = load_digits()
    size = (settings["digits_pixels"], settings["digits_pixels"])
    images = torch.from_numpy(raw.images * (255 / 16)).float()[:, None]
    images = torch.nn.functional.interpolate(
        images, size=size, mode="bilinear", align_corners=False
    )
    images = images.round().clamp(0, 255).to(torch.uint8).numpy()
    return Source((images, raw.target.astype(np.int64)), None, DIGITS)


def _folder(settings: dict) -> Source:
    found = read_image_folder(settings["folder"], settings["folder_pixels"], MAXIMUM_CLASSES)
    splits = found.splits
    return Source(
        splits["train"],
        splits.get("test"),
        found.class_names,
        splits.get("validation"),
        found.notes,
    )


def _root(settings: dict) -> Path:
    return Path(settings["root"]).expanduser()


@contextlib.contextmanager
def _one_line(name: str, files: list[Wanted]) -> Iterator[None]:
    """Turn whatever torchvision raises while it downloads and parses into one line that names the file at fault."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(
        DOWNLOAD_SILENCE_S
    )  # torchvision sets none: behind a firewall it would wait for hours
    try:
        yield
    except (
        Exception
    ) as error:  # its parsers raise EOFError, ValueError, AssertionError, KeyError and more
        raise InputError(_complaint(name, files, error)) from None
    finally:
        socket.setdefaulttimeout(timeout)


def _complaint(name: str, files: list[Wanted], error: Exception) -> str:
    why = kind_and_line(error)
    faults = {file.path: fault for file in files if (fault := _fault(file))}
    if not faults:
        return f"{files[0].path.parent}: {name} cannot be read from there ({why}); delete its files and run again"
    # With one plain file missing, torchvision asks for all packed ones.
    needed = dict.fromkeys(
        file.download for file in files if file.path in faults or file.md5 is None
    )
    names, site = ", ".join(path.name for path in needed), files[0].url.rpartition("/")[0]
    mend = f"put {names} from {site}/ into {files[0].download.parent} and run again"
    if name == "FashionMNIST":
        mend += ", or install Debian's dataset-fashion-mnist"
    path, fault = next(iter(faults.items()))
    if fault == "shorter or longer than its header says":
        return f"{path}: {fault}; delete it and run again; without a network, {mend}"
    return f"{path}: {fault}, and the download of {name} failed ({why}); {mend}"


def _fault(file: Wanted) -> str:
    """Return what is wrong with a file, nothing when it is whole."""
    from torchvision.datasets.utils import check_integrity

    if not file.path.is_file():
        return "missing"
    if file.md5:
        return "" if check_integrity(file.path, file.md5) else "damaged (its md5 is wrong)"
    return "" if _whole_idx(file.path) else "shorter or longer than its header says"


SOURCES: dict[str, Callable[[dict], Source]] = {
    "cifar10": _cifar("CIFAR10"),
    "cifar100": _cifar("CIFAR100"),
    "svhn": _svhn,
    "fashion_mnist": _fashion_mnist,
    "mnist": _mnist,
    "digits": _digits,
    "folder": _folder,
}
