"""Data sets: every source in its own format on disk, the splits, the statistics, and one line for what is wrong."""

import gzip
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from small_data import data_settings
from torchvision import datasets
from workflow import snakemake

from archloop.data import image_folder, sources
from archloop.data.dataset_file import read_metadata, read_split
from archloop.data.prepare_dataset import channel_statistics, prepare_dataset, stratified_sample, stratified_split
from archloop.errors import InputError
from archloop.families.programs import family_names, family_programs
from archloop.settings.schema import schema
from archloop.settings.sections import Data

CIFAR10_FILES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Data:
    """Section data with its defaults and a root of the test's own; nothing can be downloaded, Debian has nothing."""

    def no_network(*_, **__):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "no package")
    (tmp_path / "root").mkdir()
    return data_settings(root=str(tmp_path / "root"))


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar(folder: Path, files: dict[str, dict], kind, monkeypatch) -> None:
    """Write the pickles of CIFAR and let torchvision's class expect them: file -> its entries; meta last."""
    folder.mkdir()
    for name, entries in files.items():
        (folder / name).write_bytes(pickle.dumps(entries, protocol=2))
    sums = [[name, md5(folder / name)] for name in files]
    monkeypatch.setattr(kind, "train_list", sums[:-2])
    monkeypatch.setattr(kind, "test_list", sums[-2:-1])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[-1][1]})


@pytest.fixture
def cifar10(settings, monkeypatch) -> np.ndarray:
    """CIFAR-10 with 20 images a batch, two a class; returns the rows of all six batches as they lie in the files."""
    rows = pixels(120, 3072)
    labels = [k % 10 for k in range(20)]
    files = {
        name: {"batch_label": name, "data": rows[20 * k : 20 * k + 20], "labels": labels, "filenames": ["x.png"] * 20}
        for k, name in enumerate(CIFAR10_FILES)
    }
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files["batches.meta"] = {"num_cases_per_batch": 20, "label_names": names, "num_vis": 3072}
    write_cifar(Path(settings.root) / "cifar-10-batches-py", files, datasets.CIFAR10, monkeypatch)
    return rows


def write_svhn(settings: Data, monkeypatch, labels: list[int], images: np.ndarray) -> None:
    """Write train and test alike: X is (row, column, channel, image), y is (image, 1) with 10 for the digit 0."""
    files = {}
    for split in ("train", "test"):
        path = Path(settings.root) / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images, "y": np.array(labels, np.uint8)[:, None]}, do_compression=True)
        files[split] = [f"http://nowhere/{path.name}", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", files)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file: 0, 0, 8 for uint8, the number of sizes, the sizes as big-endian 32 bits, the data."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(folder: Path, packed: bool = False) -> np.ndarray:
    """Write the four files of MNIST or Fashion-MNIST, 40 images each; return the training images."""
    folder.mkdir(parents=True)
    images, labels = pixels(40, 28, 28), np.arange(40, dtype=np.uint8) % 10
    for split in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            plain = idx(array)
            path = folder / f"{split}-{name}-ubyte"
            path.with_suffix(".gz").write_bytes(gzip.compress(plain)) if packed else path.write_bytes(plain)
    return images


def write_images(folder: Path, classes: dict[str, int], size: tuple[int, int] = (12, 10)) -> None:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(pixels(1, *size, 3, seed=k)[0]).save(folder / name / f"{k:03}.png")


def refusal(name: str, settings: Data, tmp_path: Path) -> str:
    with pytest.raises(InputError) as caught:
        prepare_dataset(name, tmp_path / "out.safetensors", settings, 1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()
    return str(caught.value)


def test_the_settings_offer_exactly_the_data_sets_that_can_be_read():
    assert schema()["$defs"]["dataset"]["enum"] == list(sources.SOURCES)


def test_cifar10_is_read_from_its_pickled_batches(settings, cifar10):
    source = sources.read_source("cifar10", settings)
    assert np.array_equal(source.train[0], cifar10[:100].reshape(-1, 3, 32, 32))
    assert np.array_equal(source.test[0], cifar10[100:].reshape(-1, 3, 32, 32))
    assert source.train[1].tolist() == [k % 10 for k in range(20)] * 5
    assert source.class_names[3] == "cat"


def test_cifar10_is_unpacked_from_the_archive_that_the_message_asks_for(settings, cifar10, tmp_path, monkeypatch):
    folder = Path(settings.root) / "cifar-10-batches-py"
    folder.rename(tmp_path / folder.name)
    asked = refusal("cifar10", settings, tmp_path)
    archive = Path(settings.root) / "cifar-10-python.tar.gz"
    assert f"put {archive.name} from " in asked and f"into {archive.parent} " in asked
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(tmp_path / folder.name, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    assert len(sources.read_source("cifar10", settings).train[1]) == 100


def test_cifar100_is_read_with_its_fine_labels(settings, monkeypatch):
    rows, fine = pixels(200, 3072), [k % 100 for k in range(200)]
    files = {
        name: {"data": rows, "fine_labels": fine, "coarse_labels": [k // 5 for k in fine], "filenames": ["x"] * 200}
        for name in ("train", "test")
    }
    files["meta"] = {"fine_label_names": [f"f{k}" for k in range(100)], "coarse_label_names": ["c"] * 20}
    write_cifar(Path(settings.root) / "cifar-100-python", files, datasets.CIFAR100, monkeypatch)
    source = sources.read_source("cifar100", settings)
    assert source.train[1].tolist() == fine
    assert np.array_equal(source.train[0], rows.reshape(-1, 3, 32, 32))
    assert len(source.class_names) == 100


def test_svhn_is_read_with_label_10_as_the_digit_0(settings, monkeypatch):
    images = pixels(32, 32, 3, 20)
    write_svhn(settings, monkeypatch, [*range(1, 11)] * 2, images)
    source = sources.read_source("svhn", settings)
    assert source.train[1].tolist() == [*range(1, 10), 0] * 2
    assert np.array_equal(source.train[0][7], images[..., 7].transpose(2, 0, 1))
    assert source.class_names[0] == "0"


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_are_read_at_their_own_28_pixels(settings, tmp_path, name, folder):
    images = write_idx(Path(settings.root) / folder / "raw")
    metadata = prepare_dataset(name, tmp_path / "out", settings, 1)
    assert (metadata.channels, metadata.size, metadata.classes) == (1, 28, 10)
    assert sorted(map(bytes, read_split(tmp_path / "out", "test")[0])) == sorted(map(bytes, images))


def test_fashion_mnist_is_unpacked_from_debians_folder(settings, tmp_path, monkeypatch):
    images = write_idx(tmp_path / "package", packed=True)
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "package")
    assert np.array_equal(sources.read_source("fashion_mnist", settings).train[0][:, 0], images)
    assert not any(Path(settings.root).iterdir())


def test_fashion_mnist_of_the_users_own_root_goes_before_debians(settings, tmp_path, monkeypatch):
    write_idx(tmp_path / "package", packed=True)
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "package")
    write_idx(Path(settings.root) / "FashionMNIST" / "raw")
    own = Path(settings.root) / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    own.write_bytes(idx(np.zeros((40, 28, 28), np.uint8)))
    assert sources.read_source("fashion_mnist", settings).train[0].max() == 0


# CI installs the package, so there this fails without it instead of being skipped.
@pytest.mark.skipif(
    not sources.DEBIAN_FASHION_MNIST.is_dir() and not os.environ.get("CI"),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_the_real_fashion_mnist_has_its_published_numbers(tmp_path):
    metadata = prepare_dataset("fashion_mnist", tmp_path / "out", data_settings(root=str(tmp_path)), 1)
    assert metadata.images == {"train": 54000, "validation": 6000, "test": 10000}
    assert metadata.class_names[9] == "Ankle boot"
    # Commonly stated for all 60,000 training images: 0.2860 and 0.3530.
    assert metadata.mean == [pytest.approx(0.2860, abs=0.001)]
    assert metadata.std == [pytest.approx(0.3530, abs=0.001)]
    assert np.bincount(read_split(tmp_path / "out", "validation")[1]).tolist() == [600] * 10


def test_digits_have_a_seeded_test_set_of_their_own(settings, tmp_path):
    metadata = prepare_dataset("digits", tmp_path / "out", settings, 1)
    assert metadata.images == {"train": 1295, "validation": 143, "test": 359}
    assert (metadata.channels, metadata.size, metadata.classes) == (1, 32, 10)
    labels = read_split(tmp_path / "out", "validation")[1]
    assert metadata.chance == np.bincount(labels).max() / len(labels) == pytest.approx(0.1, abs=0.01)
    assert metadata.notes == []


@pytest.mark.parametrize("size", [8, 16, 32])
def test_digits_come_at_the_size_that_is_set(settings, tmp_path, size):
    assert prepare_dataset("digits", tmp_path / "out", replace(settings, digits_pixels=size), 1).size == size


def test_digits_at_eight_pixels_are_the_images_themselves(settings):
    images = sources.read_source("digits", replace(settings, digits_pixels=8)).train[0]
    assert np.array_equal(images[:, 0], np.round(load_digits().images * 255 / 16))


@pytest.mark.parametrize("family", family_names())
def test_a_family_of_seed_programs_builds_on_digits_at_eight_pixels(family):
    namespace: dict = {}
    exec(family_programs(family)[0].program, namespace)
    with torch.device("meta"):
        network = namespace["Net"]((4, 1, 8, 8), (10,), {"dropout": 0.2}, torch.device("meta"))
        assert network(torch.zeros(4, 1, 8, 8)).shape == (4, 10)


def test_fewer_training_images_leave_validation_and_test_as_they_are(settings, tmp_path):
    prepare_dataset("digits", tmp_path / "all", replace(settings, digits_pixels=8), 1)
    metadata = prepare_dataset("digits", tmp_path / "few", replace(settings, digits_pixels=8, train_images=200), 1)
    every, few = load_file(tmp_path / "all"), load_file(tmp_path / "few")
    for name in ("validation_images", "validation_labels", "test_images", "test_labels"):
        assert np.array_equal(every[name], few[name])
    assert metadata.images["train"] == len(few["train_labels"]) == 200
    assert metadata.mean == channel_statistics(few["train_images"])[0] != channel_statistics(every["train_images"])[0]
    assert {bytes(image) for image in few["train_images"]} < {bytes(image) for image in every["train_images"]}


def test_more_training_images_than_there_are_change_no_byte(settings, tmp_path):
    prepare_dataset("digits", tmp_path / "all", settings, 1)
    prepare_dataset("digits", tmp_path / "bound", replace(settings, train_images=1295), 1)
    assert (tmp_path / "all").read_bytes() == (tmp_path / "bound").read_bytes()


def test_fewer_training_images_than_classes_are_refused(settings, tmp_path):
    line = refusal("digits", replace(settings, train_images=9), tmp_path)
    assert line == "data.train_images: 9 for 10 classes; at least one of each is needed"


def test_a_sample_keeps_the_proportions_of_the_classes_and_one_of_each():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    kept = stratified_sample(labels, 90, 5)
    assert np.bincount(labels[kept]).tolist() == [59, 30, 1]
    assert set(kept) < set(stratified_sample(labels, 200, 5))
    assert kept.tolist() != stratified_sample(labels, 90, 6).tolist()


def test_as_many_images_as_classes_are_one_of_each():
    labels = np.repeat([0, 1, 2], [5, 1, 9])
    assert np.bincount(labels[stratified_sample(labels, 3, 5)]).tolist() == [1, 1, 1]


def test_of_equal_remainders_the_first_classes_have_one_more():
    labels = np.repeat(np.arange(20), [11, 10] * 10)
    counts = np.bincount(labels[stratified_sample(labels, 25, 5)])
    assert counts.tolist() == [2, 1] * 5 + [1] * 10


def test_a_folder_of_images_gives_rgb_and_sorted_class_names(settings, tmp_path):
    write_images(tmp_path / "photos", {"wolf": 10, "cat": 10, "dog": 10})
    Image.new("L", (9, 9), 200).save(tmp_path / "photos" / "cat" / "grey.jpg")
    (tmp_path / "photos" / ".cache").mkdir()
    settings = replace(settings, folder=str(tmp_path / "photos"), folder_pixels=16)
    metadata = prepare_dataset("folder", tmp_path / "out", settings, 1)
    assert metadata.class_names == ["cat", "dog", "wolf"]
    assert (metadata.channels, metadata.size) == (3, 16)
    assert metadata.images == {"train": 22, "validation": 3, "test": 6}
    assert read_metadata(tmp_path / "out") == metadata


def test_an_image_is_turned_upright_and_its_middle_square_is_taken(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(wide).save(tmp_path / "wide.png", exif=exif)
    assert image_folder.read_image(tmp_path / "wide.png", 10).min() == 255


def test_the_official_test_set_stays_and_the_rest_is_divided(settings, cifar10, tmp_path):
    prepare_dataset("cifar10", tmp_path / "out", settings, 1)
    parts = load_file(tmp_path / "out")
    assert sorted(map(bytes, parts["test_images"])) == sorted(map(bytes, cifar10[100:]))
    images = np.concatenate([parts["train_images"], parts["validation_images"]]).reshape(-1, 3072)
    assert sorted(map(bytes, images)) == sorted(map(bytes, cifar10[:100]))


def test_the_metadata_of_a_data_set_are_those_of_its_images(settings, cifar10, tmp_path):
    metadata = prepare_dataset("cifar10", tmp_path / "out", settings, 1)
    assert read_metadata(tmp_path / "out") == metadata
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    expected = {"name": "cifar10", "classes": 10, "class_names": names, "channels": 3, "size": 32, "seed": 1}
    expected |= {"chance": 0.1, "images": {"train": 90, "validation": 10, "test": 20}}
    assert {key: getattr(metadata, key) for key in expected} == expected
    assert len(metadata.mean) == len(metadata.std) == 3


def test_every_image_keeps_its_label(settings, cifar10, tmp_path):
    prepare_dataset("cifar10", tmp_path / "out", settings, 1)
    parts = load_file(tmp_path / "out")
    label = {bytes(row): k % 10 for k, row in enumerate(cifar10)}
    for split in ("train", "validation", "test"):
        rows = parts[f"{split}_images"].reshape(-1, 3072)
        assert [label[bytes(row)] for row in rows] == parts[f"{split}_labels"].tolist()


def test_validation_and_test_are_shuffled_by_the_seed(settings, cifar10, tmp_path):
    for seed in (1, 2):
        prepare_dataset("cifar10", tmp_path / str(seed), settings, seed)
    orders = [load_file(tmp_path / str(seed))["test_images"] for seed in (1, 2)]
    assert not np.array_equal(orders[0].reshape(-1, 3072), cifar10[100:])
    assert not np.array_equal(*orders)


def test_a_split_takes_the_same_share_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    kept, held = stratified_split(labels, 0.1, 5)
    assert np.bincount(labels[held]).tolist() == [10, 4, 1]
    assert sorted([*kept, *held]) == list(range(143))


def test_a_split_leaves_an_image_of_every_class_to_train_on():
    kept, _ = stratified_split(np.repeat([0, 1], 2), 0.9, 5)
    assert len(kept) == 2


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(InputError, match="class 1 has one image only"):
        stratified_split(np.array([0, 0, 1]), 0.5, 5)
    with pytest.raises(InputError, match="class roses has one image only"):
        stratified_split(np.array([0, 0, 1]), 0.5, 5, ["tulips", "roses"])


def test_another_seed_gives_another_split():
    labels = np.repeat([0, 1], 50)
    assert stratified_split(labels, 0.2, 1)[1].tolist() == stratified_split(labels, 0.2, 1)[1].tolist()
    assert stratified_split(labels, 0.2, 1)[1].tolist() != stratified_split(labels, 0.2, 2)[1].tolist()


def test_statistics_are_those_of_the_training_split_alone(settings, cifar10, tmp_path):
    metadata = prepare_dataset("cifar10", tmp_path / "out", settings, 1)
    train = load_file(tmp_path / "out")["train_images"] / 255
    assert metadata.mean == pytest.approx(train.mean(axis=(0, 2, 3)), abs=1e-6)
    assert metadata.std == pytest.approx(train.std(axis=(0, 2, 3)), abs=1e-6)


def test_statistics_do_not_depend_on_the_size_of_chunks(monkeypatch):
    images = pixels(50, 3, 8, 8)
    whole = channel_statistics(images)
    assert all(round(value, 6) == value for values in whole for value in values)
    monkeypatch.setattr("archloop.data.prepare_dataset.CHUNK", 7)
    assert channel_statistics(images) == whole


def test_a_channel_that_never_varies_can_be_divided_by_its_std():
    assert channel_statistics(np.full((4, 1, 2, 2), 51, np.uint8)) == ([0.2], [1.0])


def test_two_runs_give_equal_bytes(settings, cifar10, tmp_path):
    for name in ("a", "b"):
        prepare_dataset("cifar10", tmp_path / name, settings, 1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_1: missing"),
        ("cifar100", "cifar-100-python/train: missing"),
        ("svhn", "train_32x32.mat: missing"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte: missing"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte: missing"),
    ],
)
def test_without_a_network_the_line_says_what_to_put_where(settings, tmp_path, name, file):
    line = refusal(name, settings, tmp_path)
    assert line.startswith(f"{settings.root}/{file}")
    assert "no network in this test" in line
    assert "; put " in line and f" into {settings.root}" in line


def test_a_truncated_batch_of_cifar_is_named(settings, cifar10, tmp_path):
    path = Path(settings.root) / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:1000])
    assert refusal("cifar10", settings, tmp_path).startswith(f"{path}: damaged (its md5 is wrong)")


def test_a_truncated_file_of_svhn_is_named(settings, monkeypatch, tmp_path):
    write_svhn(settings, monkeypatch, [1, 2] * 4, pixels(32, 32, 3, 8))
    path = Path(settings.root) / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:500])
    assert refusal("svhn", settings, tmp_path).startswith(f"{path}: damaged (its md5 is wrong)")


@pytest.mark.parametrize("length", [0, 3, 9, 1000])
def test_a_truncated_idx_file_is_named(settings, tmp_path, length):
    raw = Path(settings.root) / "MNIST" / "raw"
    write_idx(raw)
    path = raw / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    assert refusal("mnist", settings, tmp_path).startswith(f"{path}: shorter or longer than its header says; delete it")


def test_a_truncated_file_of_the_package_is_named(settings, tmp_path, monkeypatch):
    write_idx(tmp_path / "package", packed=True)
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "package")
    path = tmp_path / "package" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:30])
    assert refusal("fashion_mnist", settings, tmp_path).startswith(f"{path}: no whole gzip file")


def test_images_and_labels_that_do_not_fit_are_refused(settings, tmp_path):
    raw = Path(settings.root) / "MNIST" / "raw"
    write_idx(raw)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(39, np.uint8)))
    assert "40 training images and 39 labels" in refusal("mnist", settings, tmp_path)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ({}, "photos: no class; a data set has two or more"),
        ({"cat": 5}, "photos: only one class, cat"),
        ({"cat": 5, "dog": 0}, "photos/dog: no image; images lie at"),
        ({"cat": 5, "dog": 2}, "photos/dog: 2 images; a class needs at least 3"),
        ({f"c{k}": 0 for k in range(257)}, "photos: 257 classes; at most 256"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(settings, tmp_path, classes, says):
    (tmp_path / "photos").mkdir()
    write_images(tmp_path / "photos", classes)
    assert f"{tmp_path}/{says}" in refusal("folder", replace(settings, folder=str(tmp_path / "photos")), tmp_path)


def test_a_folder_that_is_missing_or_not_set_is_named(settings, tmp_path):
    assert "data.folder: names no folder" in refusal("folder", settings, tmp_path)
    assert "gone: no such folder" in refusal("folder", replace(settings, folder=str(tmp_path / "gone")), tmp_path)


@pytest.mark.parametrize("length", [0, 200])
def test_an_unreadable_image_is_named(settings, tmp_path, length):
    write_images(tmp_path / "photos", {"cat": 5, "dog": 5})
    path = tmp_path / "photos" / "dog" / "003.png"
    path.write_bytes(path.read_bytes()[:length])
    line = refusal("folder", replace(settings, folder=str(tmp_path / "photos")), tmp_path)
    assert line.startswith(f"{path}: cannot be read as an image")


def test_a_prepared_file_that_is_cut_is_named(settings, tmp_path):
    prepare_dataset("digits", tmp_path / "out", settings, 1)
    (tmp_path / "out").write_bytes((tmp_path / "out").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"out: no whole data set"):
        read_metadata(tmp_path / "out")


def test_metadata_of_another_version_are_one_line(tmp_path):
    head = {"facts": json.dumps({"name": "digits", "colours": 3})}
    save_file({"test_labels": np.zeros(1)}, tmp_path / "out", head)
    with pytest.raises(InputError, match=r"out: no whole data set .*; delete the file and run again"):
        read_metadata(tmp_path / "out")


def test_the_script_ends_bad_input_with_one_line_and_status_1(root, tmp_path):
    arguments = ["--dataset", "folder", "--seed", "1", "--folder", str(tmp_path / "gone"), "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "prepare_dataset.py"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "gone: no such folder" in done.stderr


@pytest.mark.workflow
def test_a_setting_of_your_own_images_rebuilds_no_other_data_set(root, config, tmp_path):
    write_images(tmp_path / "photos", {"cat": 5, "dog": 5})
    targets = [f"resources/datasets/{name}.safetensors" for name in ("digits", "folder")]
    for size in (16, 24):
        config["data"] = {"folder": "photos", "folder_pixels": size}
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(config))
        done = snakemake(tmp_path, *targets, "--configfile", str(tmp_path / "settings.yaml"))
        assert done.returncode == 0, done.stderr[-3000:]
    assert "Preparing the data set folder" in done.stdout + done.stderr
    assert "Preparing the data set digits" not in done.stdout + done.stderr
    assert read_metadata(tmp_path / targets[1]).size == 24
    config["data"] |= {"digits_pixels": 8}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, *targets, "-n", "--configfile", str(tmp_path / "settings.yaml"))
    assert "Preparing the data set digits" in done.stdout + done.stderr
    assert "Preparing the data set folder" not in done.stdout + done.stderr


@pytest.mark.workflow
def test_a_data_set_that_there_is_not_is_no_target(root, tmp_path):
    done = snakemake(tmp_path, "resources/datasets/mnist9.safetensors", "-n", "--configfile", root / "tests/test.yaml")
    assert done.returncode and "No rule to produce resources/datasets/mnist9.safetensors" in done.stdout + done.stderr
