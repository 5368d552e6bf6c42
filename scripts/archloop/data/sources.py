"""Where data sets come from: one reader a name, each giving whole arrays as the makers divide them.

The files of CIFAR, SVHN and MNIST are found, checked, downloaded and parsed by torchvision. A
reader gets the settings of section `data` and nothing else.
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
from typing import Any

import numpy as np

from archloop.data.dataset_checks import Split
from archloop.data.image_folder import read_image_folder
from archloop.errors import InputError, kind_and_line
from archloop.settings.sections import Data

# Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DIGITS = [str(digit) for digit in range(10)]
# torchvision sets no limit: behind a firewall it would wait for hours.
DOWNLOAD_SILENCE_S = 60
# A prediction is one byte.
MAXIMUM_CLASSES = 256
MISSING = "missing"
DAMAGED = "damaged (its md5 is wrong)"
OTHER_LENGTH = "shorter or longer than its header says"


@dataclass(frozen=True)
class Source:
    """A data set as its makers divide it.

    train, test, validation: None where there is no official one. class_names: the name of label i
    at index i. notes: what was left out on reading, one line each.
    """

    train: Split
    test: Split | None
    class_names: list[str]
    validation: Split | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """A file that torchvision reads, and the download it comes from.

    md5: None where torchvision checks none.
    """

    path: Path
    md5: str | None
    download: Path
    url: str


def read_source(name: str, settings: Data) -> Source:
    """Return a data set of SOURCES.

    Raises InputError when files are missing and cannot be downloaded, are broken, or do not fit
    each other.
    """
    source = SOURCES[name](settings)
    classes = len(source.class_names)
    where = settings.folder if name == "folder" else settings.root
    if classes > MAXIMUM_CLASSES:
        raise InputError(f"{where}: {classes} classes; at most {MAXIMUM_CLASSES} can be told apart")

    splits = {"training": source.train, "validation": source.validation, "test": source.test}
    for split, part in splits.items():
        if part is None:
            continue
        images, labels = part
        count, labelled = len(images), len(labels)
        if count != labelled or not labelled:
            raise InputError(
                f"{where}: {name} has {count} {split} images and {labelled} labels; get it again"
            )

        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"{where}: {name} has a {split} label outside 0 to {classes - 1}; get it again"
            )

    return source


def _cifar10(settings: Data) -> Source:
    return _cifar("CIFAR10", settings)


def _cifar100(settings: Data) -> Source:
    return _cifar("CIFAR100", settings)


def _cifar(name: str, settings: Data) -> Source:
    from torchvision import datasets

    reader = getattr(datasets, name)
    root = _root(settings)
    folder = root / reader.base_folder
    listed = [
        *reader.train_list,
        *reader.test_list,
        (reader.meta["filename"], reader.meta["md5"]),
    ]

    archive = root / reader.filename
    files = []
    for file, md5 in listed:
        files.append(Wanted(folder / file, md5, archive, reader.url))

    with _one_line(name, files):
        train = reader(root, train=True, download=True)
        test = reader(root, train=False, download=True)

    return Source(_cifar_split(train), _cifar_split(test), list(train.classes))


def _cifar_split(read: Any) -> Split:
    channels_first = read.data.transpose(0, 3, 1, 2)
    return channels_first, np.array(read.targets, np.int64)


def _svhn(settings: Data) -> Source:
    from torchvision.datasets import SVHN

    root = _root(settings)
    files = []
    for split in ("train", "test"):
        url, file, md5 = SVHN.split_list[split]
        files.append(Wanted(root / file, md5, root / file, url))

    with _one_line("SVHN", files):
        train = SVHN(root, split="train", download=True)
        test = SVHN(root, split="test", download=True)

    return Source(_svhn_split(train), _svhn_split(test), DIGITS)


def _svhn_split(read: Any) -> Split:
    # In the file the image is the fastest index; everything after this goes image by image.
    return np.ascontiguousarray(read.data), np.atleast_1d(read.labels)


def _mnist(settings: Data) -> Source:
    return _read_idx("MNIST", _root(settings))


def _fashion_mnist(settings: Data) -> Source:
    root = _root(settings)
    packed = _idx_files("FashionMNIST")
    raw = root / "FashionMNIST" / "raw"
    downloaded = all(_is_there(raw / file) for file in packed)
    if downloaded or not DEBIAN_FASHION_MNIST.is_dir():
        return _read_idx("FashionMNIST", root)

    with tempfile.TemporaryDirectory(prefix="archloop-") as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for file in packed:
            plain = (raw / file).with_suffix("")
            _unpack(DEBIAN_FASHION_MNIST / file, plain)
        return _read_idx("FashionMNIST", Path(folder))


def _is_there(packed: Path) -> bool:
    """Say whether a file is there, as it was downloaded or unpacked."""
    return packed.is_file() or packed.with_suffix("").is_file()


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

    reader = getattr(datasets, name)
    files = []
    for file in _idx_files(name):
        packed = root / name / "raw" / file
        url = f"{reader.mirrors[0]}{file}"
        files.append(Wanted(packed.with_suffix(""), None, packed, url))

    with _one_line(name, files):
        train = reader(root, train=True, download=True)
        test = reader(root, train=False, download=True)

    return Source(_idx_split(train), _idx_split(test), list(reader.classes))


def _idx_split(read: Any) -> Split:
    images = read.data.numpy()
    return images[:, None], read.targets.numpy()


def _whole_idx(path: Path) -> bool:
    """Say whether a file is as long as its idx header says.

    The format: bytes 0, 0, 8 (uint8) and the number of sizes; the sizes, 4 bytes each, the highest
    first; the data.
    """
    with open(path, "rb") as opened:
        start = opened.read(4)
        if start[:3] != b"\0\0\x08" or len(start) < 4:
            return False
        header = opened.read(4 * start[3])

    # Of a header that is cut off the whole sizes alone; the file is shorter than they say.
    whole_bytes = len(header) // 4 * 4
    sizes: list[int] = np.frombuffer(header[:whole_bytes], ">u4").tolist()
    header_bytes = len(start) + 4 * start[3]
    return path.stat().st_size == header_bytes + math.prod(sizes)


def _digits(settings: Data) -> Source:
    import torch
    from sklearn.datasets import load_digits

    raw = load_digits()
    size = (settings.digits_pixels, settings.digits_pixels)
    grey = torch.from_numpy(raw.images * (255 / 16)).float()
    resized = torch.nn.functional.interpolate(
        grey[:, None], size=size, mode="bilinear", align_corners=False
    )
    images = resized.round().clamp(0, 255).to(torch.uint8)
    labels = raw.target.astype(np.int64)
    return Source((images.numpy(), labels), None, DIGITS)


def _folder(settings: Data) -> Source:
    read = read_image_folder(settings.folder, settings.folder_pixels, MAXIMUM_CLASSES)
    return Source(
        train=read.splits["train"],
        test=read.splits.get("test"),
        class_names=read.class_names,
        validation=read.splits.get("validation"),
        notes=read.notes,
    )


def _root(settings: Data) -> Path:
    return Path(settings.root).expanduser()


@contextlib.contextmanager
def _one_line(name: str, files: list[Wanted]) -> Iterator[None]:
    """Turn whatever torchvision raises while it reads into a line that names the file at fault."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SILENCE_S)
    try:
        yield
    # Its parsers raise EOFError, ValueError, AssertionError, KeyError and more.
    except Exception as error:
        raise InputError(_complaint(name, files, error)) from None
    finally:
        socket.setdefaulttimeout(timeout)


def _complaint(name: str, files: list[Wanted], error: Exception) -> str:
    """Return what is wrong with which file, and how to fix it."""
    why = kind_and_line(error)
    faults = _faults(files)
    if not faults:
        folder = files[0].path.parent
        return f"{folder}: {name} cannot be read from there ({why}); delete its files and run again"

    remedy = _remedy(name, files, faults)
    path, fault = next(iter(faults.items()))
    if fault == OTHER_LENGTH:
        return f"{path}: {fault}; delete it and run again; without a network, {remedy}"
    return f"{path}: {fault}, and the download of {name} failed ({why}); {remedy}"


def _remedy(name: str, files: list[Wanted], faults: dict[Path, str]) -> str:
    """Return what to put where: with one plain file missing, torchvision asks for all packed."""
    needed: dict[str, None] = {}
    for file in files:
        if file.path in faults or file.md5 is None:
            needed[file.download.name] = None

    first = files[0]
    site, _, _ = first.url.rpartition("/")
    names = ", ".join(needed)
    remedy = f"put {names} from {site}/ into {first.download.parent} and run again"
    if name == "FashionMNIST":
        remedy += ", or install Debian's dataset-fashion-mnist"
    return remedy


def _faults(files: list[Wanted]) -> dict[Path, str]:
    """Return the files that are not whole, and what is wrong with each."""
    faults = {}
    for file in files:
        fault = _fault(file)
        if fault is not None:
            faults[file.path] = fault

    return faults


def _fault(file: Wanted) -> str | None:
    """Return what is wrong with a file, None when it is whole."""
    from torchvision.datasets.utils import check_integrity

    if not file.path.is_file():
        return MISSING
    if file.md5:
        return None if check_integrity(file.path, file.md5) else DAMAGED
    return None if _whole_idx(file.path) else OTHER_LENGTH


SOURCES: dict[str, Callable[[Data], Source]] = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "fashion_mnist": _fashion_mnist,
    "mnist": _mnist,
    "digits": _digits,
    "folder": _folder,
}
