"""A user's own images: what is read, what is left out and counted, and what is odd about them."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from small_data import data_settings

from archloop.corpus.admit import accuracy_threshold
from archloop.data.image_folder import read_image, read_image_folder
from archloop.data.prepare_dataset import prepare_dataset
from archloop.errors import InputError
from archloop.generation.prompts import read_template, task_of, write_prompt
from archloop.report.results import read_chains
from archloop.settings.sections import Admission

LABELS = ("a", "b")


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def heard(caplog):
    """Let pytest hear what is no warning, too."""
    caplog.set_level(logging.INFO, "archloop")


def noise(seed: object, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (16, 16, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format=kind)


def fill(folder: Path, count: int = 6, first: int = 0) -> None:
    """Write images of two classes, all of them different."""
    for label in LABELS:
        for n in range(first, first + count):
            save(folder / label / f"{n:02}.png", noise([n, ord(label)]))


def prepare(root: Path, **changed) -> tuple[dict, dict[str, np.ndarray]]:
    output = root.parent / "out.safetensors"
    metadata = prepare_dataset("folder", output, data_settings(folder=str(root), folder_pixels=16, **changed), 1)
    return metadata, load_file(output)


def test_of_a_class_the_files_that_are_images_by_name_are_read(root):
    fill(root)
    for name in ("notes.txt", "Thumbs.db", "00"):
        (root / "a" / name).write_bytes(b"no image")
    (root / "a" / "folder.png").mkdir()
    save(root / "b" / "PHOTO.PNG", noise(99))
    found = read_image_folder(str(root), 16, 256)
    assert found.class_names == ["a", "b"] and len(found.splits["train"][1]) == 13


def test_as_many_classes_as_fit_are_read_and_one_more_is_refused(root):
    fill(root, 3)
    assert read_image_folder(str(root), 8, 2).class_names == ["a", "b"]
    with pytest.raises(InputError, match="2 classes"):
        read_image_folder(str(root), 8, 1)


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        prepare(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_with_another_suffix_or_none_are_read(root):
    fill(root)
    for label in LABELS:
        for n in range(20):
            save(root / label / f"{n}.jfif", noise([100 + n, ord(label)]), "JPEG")
            save(root / label / f"img_{n}", noise([200 + n, ord(label)]), "JPEG")
            save(root / label / f"{n}.2024-01-02", noise([300 + n, ord(label)]), "WEBP")
    metadata, _ = prepare(root)
    assert sum(metadata.images.values()) == 2 * 66
    assert metadata.notes == []


def test_all_that_is_left_out_is_counted_and_named(root, caplog):
    fill(root)
    (root / "readme.txt").write_text("who took them")
    (root / "a" / "notes.csv").write_text("1,2")
    (root / "a" / "Thumbs.db").write_bytes(bytes(512))
    save(root / "b" / "old" / "1.png", noise(1))
    save(root / "b" / "old" / "deep" / "2.png", noise(2))
    save(root / "__MACOSX" / "a" / "._00.png", noise(3))
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "a" / "drawing.svg").write_text("<svg/>")
    metadata, _ = prepare(root)
    (line,) = metadata.notes
    assert line.startswith("files left out: 8 (")
    for part in (
        "2 in a folder inside the folder of a class, such as b/old/1.png",
        "2 hidden or of __MACOSX, such as",
        "1 beside the folders of the classes, such as readme.txt",
        "1 no image (.csv), such as a/notes.csv",
        "1 no image (.db), such as a/Thumbs.db",
        "1 no image (.svg), such as a/drawing.svg",
    ):
        assert part in line
    assert f"note: {line}" in caplog.text
    assert sum(metadata.images.values()) == 12


def test_drawings_on_a_transparent_ground_are_drawn_on_white(root):
    for label in LABELS:
        for n in range(10):
            whole = np.zeros((16, 16, 4), np.uint8)
            whole[..., 3] = np.random.default_rng([n, ord(label)]).integers(0, 2, (16, 16)) * 255
            save(root / label / f"{n}.png", whole)
    metadata, data = prepare(root)
    assert metadata.notes == ["images that are transparent in part, drawn on white: 20"]
    assert set(np.unique(data["train_images"])) == {0, 255}


def test_a_palette_with_a_transparent_colour_is_drawn_on_white(root):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    picture.putpalette([9, 9, 9, 200, 0, 0])
    root.mkdir()
    picture.save(root / "icon.gif", transparency=0)
    assert read_image(root / "icon.gif", 2)[:, 0].tolist() == [[255, 200], [255, 0], [255, 0]]


def test_images_that_are_all_the_same_are_refused(root):
    for label in LABELS:
        for n in range(10):
            whole = np.full((16, 16, 4), 255, np.uint8)
            whole[..., 3] = noise([n, ord(label)], 16, 16)
            save(root / label / f"{n}.png", whole)
    assert "all 14 images to train on are one and the same; drawings on a transparent ground" in refusal(root)


def test_the_same_image_in_two_splits_or_classes_is_said(root):
    for label in LABELS:
        for n in range(20):
            save(root / label / f"{n}.png", noise(n % 3))
    metadata, _ = prepare(root)
    assert metadata.notes == [
        "4 of 4 images of validation are in train, too, so scores mislead",
        "8 of 8 images of test are in train or validation, too, so scores mislead",
        "3 images lie in two classes or more, such as a and b",
    ]


def test_chance_is_the_share_of_the_commonest_class_of_validation(root, caplog):
    for n in range(190):
        save(root / "ok" / f"{n}.png", noise(n))
    for n in range(10):
        save(root / "defect" / f"{n}.png", noise(1000 + n))
    metadata, data = prepare(root)
    constant_answer = (data["validation_labels"] == 1).mean()
    assert metadata.chance == constant_answer == 15 / 16
    assert "chance, the share of the commonest class of validation: 93.8 %" in caplog.text
    assert metadata.notes[0].startswith("the classes are uneven: ok is 95.1% of the images to train on")
    relative = Admission(0.0, relative_to_chance=True, measure="accuracy", minimum_admitted=0, fill_accuracy=None)
    assert accuracy_threshold(relative, metadata) == constant_answer


def test_a_folder_that_is_divided_already_keeps_its_division(root):
    fill(root / "train", 8)
    fill(root / "test", 4, first=20)
    fill(root / "extra", 1)
    metadata, data = prepare(root)
    assert metadata.images == {"train": 14, "validation": 2, "test": 8}
    given = {bytes(read_image(path, 16)) for path in root.glob("test/*/*.png")}
    assert {bytes(image) for image in data["test_images"]} == given
    assert metadata.notes == ["files left out: 2 (2 beside the folders of the splits, such as extra/a/00.png)"]


def test_a_validation_folder_is_taken_too_by_any_of_its_names(root):
    for split, first in (("Train", 0), ("val", 10), ("Test", 20)):
        fill(root / split, 3, first)
    metadata, _ = prepare(root)
    assert metadata.images == {"train": 6, "validation": 6, "test": 6}


def test_a_class_may_be_called_train(root):
    for label in ("train", "test"):
        for n in range(5):
            save(root / label / f"{n}.png", noise([n, len(label)]))
    assert prepare(root)[0].class_names == ["test", "train"]


def test_a_class_that_only_the_test_folder_has_is_named(root):
    fill(root / "train")
    fill(root / "test", 2, first=20)
    save(root / "test" / "c" / "1.png", noise(99))
    assert refusal(root) == f"{root}/test/c: {root}/train has no class of that name"


def test_a_split_without_a_class_is_said(root):
    fill(root / "train")
    save(root / "test" / "a" / "1.png", noise(99))
    metadata, _ = prepare(root)
    assert "test lacks 1 of 2 classes: b" in metadata.notes


def test_all_broken_images_are_in_one_message(root):
    fill(root, 10)
    for n in range(3):
        (root / "a" / f"0{n}.png").write_bytes(b"no image")
    line = refusal(root)
    assert line.startswith(f"{root}: 3 of 20 images: ")
    assert all(f"{root}/a/0{n}.png: cannot be read as an image" in line for n in range(3))


@pytest.mark.parametrize(("broken", "end"), [(30, "repair or remove it"), (35, "; and 5 more")])
def test_the_line_about_many_broken_images_has_a_bound(root, broken, end):
    fill(root, 40)
    for n in range(broken):
        (root / "a" / f"{n:02}.png").write_bytes(b"")
    line = refusal(root)
    assert line.count("cannot be read") == 30 and line.endswith(end)


def test_an_image_that_is_too_large_to_open_is_not_left_out_in_silence(root):
    """A PNG of 100,000 pixels a side, by its header, with a name that says nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    picture += bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    fill(root)
    (root / "a" / "photo").write_bytes(picture)
    assert "photo" in refusal(root)


def jpeg_with_a_tag(tag: int, kind: int, count: int, value: int) -> bytes:
    """A JPEG of 60x40 pixels, its left half white, with Orientation 6 (turned to the right) and one more tag."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255
    entries = struct.pack("<HHII", 0x112, 3, 1, 6) + struct.pack("<HHII", tag, kind, count, value)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + struct.pack("<I", 0)
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "JPEG")
    jpeg = plain.getvalue()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("tag", [(0x11A, 2, 3, 0x3237), (0x11A, 3, 1, 72), (0x8769, 2, 3, 0x3237), (0x132, 5, 1, 9999)])
def test_an_image_is_turned_by_its_orientation_whatever_its_other_tags_hold(root, tag):
    root.mkdir()
    (root / "turned.jpg").write_bytes(jpeg_with_a_tag(*tag))
    image = read_image(root / "turned.jpg", 40)[0].astype(int)
    assert image[:15].mean() > 250 and image[25:].mean() < 5


def write_pgm(path: Path, values: np.ndarray, highest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"{values.shape[1]} {values.shape[0]}"
    path.write_bytes(f"P5\n{size}\n{highest}\n".encode() + values.astype(">u2").tobytes())


def test_a_grey_map_of_16_bits_is_read_as_the_png_of_the_same_values(root):
    values = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    write_pgm(root / "deep.pgm", values, 65535)
    save(root / "deep.png", values)
    assert np.array_equal(read_image(root / "deep.pgm", 16), read_image(root / "deep.png", 16))
    assert np.array_equal(read_image(root / "deep.pgm", 16)[0], values)


def test_a_grey_map_of_12_bits_is_read_by_its_highest_value(root):
    write_pgm(root / "deep.pgm", np.array([[0, 4095], [2048, 0]]), 4095)
    assert read_image(root / "deep.pgm", 2)[0].tolist() == [[0, 65535], [32776, 0]]


def test_images_that_use_all_16_bits_keep_their_upper_eight(root):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    for label in LABELS:
        for n in range(3):
            save(root / label / f"{n}.png", values)
    images, _ = read_image_folder(str(root), 16, 256).splits["train"]
    assert np.array_equal(images[0, 0], values >> 8)


def test_images_of_12_bits_in_files_of_16_fill_the_range(root):
    for label in LABELS:
        for n in range(5):
            values = np.random.default_rng([n, ord(label)]).integers(0, 4096, (16, 16)).astype(np.uint16)
            save(root / label / f"{n}.png", values)
    metadata, data = prepare(root)
    assert data["train_images"].max() == 255 and 0.45 < metadata.mean[0] < 0.55
    assert metadata.notes == ["images of more than 8 bits, of which 12 are in use and the upper 8 of these kept: 10"]


def test_all_deep_images_of_a_folder_are_brought_to_eight_bits_alike(root):
    for label, highest in (("a", 4095), ("b", 1000)):
        for n in range(3):
            save(root / label / f"{n}.png", np.full((16, 16), highest - n, np.uint16))
    images, labels = read_image_folder(str(root), 16, 256).splits["train"]
    assert images[labels == 0].max() == 255 and images[labels == 1].max() == 1000 >> 4


def test_images_that_are_nearly_black_are_said(root):
    for label in LABELS:
        for n in range(5):
            save(root / label / f"{n}.png", noise([n, ord(label)]) >> 4)
    assert "no pixel is brighter than 15 of 255; do the files use fewer bits than they have?" in prepare(root)[0].notes


def test_whole_numbers_of_32_bits_are_refused_by_name(root):
    root.mkdir()
    Image.fromarray(np.array([[0, 70000]], np.int32), "I").save(root / "deep.tif")
    with pytest.raises(InputError, match=r"deep.tif: cannot be read as an image \(its pixels have 32 bits"):
        read_image(root / "deep.tif", 1)


def test_the_first_frame_of_several_is_taken_and_said(root):
    fill(root)
    frames = [Image.fromarray(noise([n, 7])) for n in range(3)]
    frames[0].save(root / "a" / "film.gif", save_all=True, append_images=frames[1:])
    assert prepare(root)[0].notes == ["images of several frames, of which the first is taken: 1"]


def test_validation_and_test_are_no_longer_in_the_order_of_their_classes(root):
    fill(root, 60)
    _, data = prepare(root)
    for split in ("validation", "test"):
        labels = data[f"{split}_labels"].tolist()
        assert labels != sorted(labels)


def test_the_name_of_a_folder_stands_in_its_prompts(root, request):
    fill(root)
    metadata, _ = prepare(root, folder_name="Röntgen 2")
    template = read_template(request.config.rootpath / "config" / "prompts" / "design.md.j2")
    prompt = write_prompt(template, task_of(metadata, epochs=1, parameter_budget=1000), "", [])
    assert prompt.startswith("Design a PyTorch image classifier for Röntgen 2: 3x16x16 images")
    assert prepare(root)[0].name == "folder"


def test_the_name_of_a_folder_stands_in_its_report(tmp_path):
    chains = {"main": {"dataset": "folder", "cycles": 1}, "other": {"dataset": "digits", "cycles": 1}}
    found = read_chains(tmp_path, {"chains": chains, "data": {"folder_name": "flowers"}})
    assert {name: chain.dataset for name, chain in found.items()} == {"main": "flowers", "other": "digits"}


@pytest.mark.parametrize("name", ["a/b", "..", "two\nlines", "", "{x}", "_" * 61])
def test_a_name_that_would_not_stay_a_name_is_refused(name, config):
    from archloop.settings.complete import complete

    config["data"] = {"folder_name": name}
    with pytest.raises(InputError, match="folder_name"):
        complete(config)
