"""A user's own images: one folder a class, its name the class's name; divided already, or not yet.

Two layouts: FOLDER/CLASS/IMAGE, and FOLDER/train/CLASS/IMAGE beside FOLDER/test and, where there is
one, FOLDER/validation. What is no image, and what of an image is not kept, is counted, so that
nothing is lost unseen.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from archloop.data.dataset_checks import Split
from archloop.errors import InputError, one_line
from archloop.progress import Progress

# Names of the folders of a user's own division.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
# Pillow opens these, too, but they are no pictures: programs, films, tables.
NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
# Formats that a file without a telling name is tried for: their first bytes are unlike those of
# anything else.
SIGNED = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"]
# How the orientation that a camera writes is undone.
TURNS: dict[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TRANSPARENT = "images that are transparent in part, drawn on white"
FRAMES = "images of several frames, of which the first is taken"
# Messages about broken images that one line may hold.
LISTED = 30

# Class -> its images; and by split.
Classes = dict[str, list[Path]]
# Kind of file -> the files that are left out as such.
LeftOut = dict[str, list[Path]]


@dataclass(frozen=True)
class ImageFolder:
    """What a folder holds.

    splits: train, and of validation and test those that have a folder of their own: (images uint8
    (n, 3, size, size), labels int64 (n,)). notes: one line for each kind of file or content that is
    left out.
    """

    splits: dict[str, Split]
    class_names: list[str]
    notes: list[str]


def read_image_folder(folder: str | None, size: int, maximum_classes: int) -> ImageFolder:
    """Read all images of a folder, in the order of their names, whatever the file system's is.

    Images of more than 8 bits are brought to 8 alike, by the highest value that any of them has.
    Raises InputError naming the folder or all images that are wrong.
    """
    if not folder:
        raise InputError(
            "data.folder: names no folder; set it to the path of your images, one folder a class"
        )

    root = Path(folder).expanduser()
    left_out: LeftOut = defaultdict(list)
    classes_of = _find_images(root, maximum_classes, left_out)
    class_names = list(classes_of["train"])

    paths: list[Path] = []
    for classes in classes_of.values():
        for files in classes.values():
            paths += files

    images, losses = _read_images(root, paths, size)

    notes = _left_out_line(root, left_out)
    for loss, count in sorted(losses.items()):
        notes.append(f"{loss}: {count:,}")

    splits, start = {}, 0
    for split, classes in classes_of.items():
        indices = [class_names.index(name) for name in classes]
        counts = [len(files) for files in classes.values()]
        labels = np.repeat(indices, counts).astype(np.int64)
        end = start + len(labels)
        splits[split] = images[start:end], labels
        start = end

    return ImageFolder(splits, class_names, notes)


def read_image(path: Path, size: int, losses: Counter[str] | None = None) -> np.ndarray:
    """Return (3, size, size): upright, RGB, the middle square, resized; uint8, or uint16 if deeper.

    losses: counts what of the image is not kept (TRANSPARENT, FRAMES). Raises InputError when it is
    unreadable.
    """
    losses = Counter() if losses is None else losses
    try:
        with Image.open(path, formats=_picture_formats()) as opened:
            opened.load()
            image = _upright(opened)

            # The further frames of a photograph (MPO) are its previews.
            animated = getattr(opened, "is_animated", False)
            losses[FRAMES] += animated and opened.format != "MPO"

            if image.mode.startswith("I") or image.mode == "F":
                return _deep_pixels(image, size)
            image = _on_white(image, losses).convert("RGB")
            square = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
            return np.asarray(square).transpose(2, 0, 1)
    except MemoryError:  # no fault of the image
        raise
    # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        why = one_line(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read as an image ({why}); repair or remove it"
        ) from None


def _read_images(root: Path, paths: list[Path], size: int) -> tuple[np.ndarray, Counter[str]]:
    """Return (uint8 (n, 3, size, size), what of how many images is not kept).

    Raises InputError for all broken ones.
    """
    images = np.empty((len(paths), 3, size, size), np.uint8)
    deep: dict[int, np.ndarray] = {}
    broken: list[str] = []
    losses: Counter[str] = Counter()
    with Progress(len(paths), "image", "reading") as progress:
        for index, path in enumerate(paths):
            try:
                pixels = read_image(path, size, losses)
            except InputError as error:
                broken.append(str(error))
                continue

            if pixels.dtype == np.uint16:
                deep[index] = pixels
            else:
                images[index] = pixels

            progress.step()

    _refuse(root, broken, len(paths))

    if deep:
        brightest = max(int(pixels.max()) for pixels in deep.values())
        bits = max(8, brightest.bit_length())
        # One shift for all: images of one set stay as bright beside each other as they were.
        for index, pixels in deep.items():
            images[index] = pixels >> (bits - 8)
        loss = (
            f"images of more than 8 bits, of which {bits} are in use and the upper 8 of these kept"
        )
        losses[loss] = len(deep)

    return images, +losses


def _refuse(root: Path, broken: list[str], count: int) -> None:
    """Raise InputError for the broken ones of `count` images, if there are any."""
    if not broken:
        return
    if len(broken) == 1:
        raise InputError(broken[0])
    parts = broken[:LISTED]
    more = len(broken) - LISTED
    if more > 0:
        parts.append(f"and {more} more")
    listed = "; ".join(parts)
    raise InputError(f"{root}: {len(broken)} of {count} images: {listed}")


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image by its orientation alone: Pillow's own function fails where any tag is odd."""
    try:
        tags = image.getexif()
        turn = TURNS.get(tags.get(ExifTags.Base.Orientation))
    except Exception:  # a damaged block of tags tells of no orientation; the picture is whole
        return image
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image, losses: Counter[str]) -> Image.Image:
    """Return an image without transparency."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    least_opaque, _ = image.getchannel("A").getextrema()
    if least_opaque == 255:
        return image
    losses[TRANSPARENT] += 1
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _deep_pixels(image: Image.Image, size: int) -> np.ndarray:
    """Return uint16 (3, size, size) of a grey image of up to 16 bits.

    Pillow itself would cut values off at 255.
    """
    values = np.asarray(image)
    fits = values.min() >= 0 and values.max() < 2**16
    if image.mode == "F" or not fits:
        raise ValueError(
            "its pixels have 32 bits, whose range is unknown; save it with 8 or 16 bits"
        )

    exact = Image.fromarray(values.astype(np.float32))
    square = ImageOps.fit(exact, (size, size), Image.Resampling.BILINEAR)
    grey = np.asarray(square).round().astype(np.uint16)
    return np.repeat(grey[None], 3, axis=0)


def _find_images(root: Path, maximum_classes: int, left_out: LeftOut) -> dict[str, Classes]:
    """Return split -> class -> its images; all other files go into left_out."""
    layout = (
        f"images lie at {root}/CLASS/IMAGE, or at {root}/train/CLASS/IMAGE and"
        f" {root}/test/CLASS/IMAGE"
    )
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; data.folder is the path of your images, one folder a class"
        )

    folders = _divided(root, left_out) or {"train": root}
    classes_of = {}
    for split, folder in folders.items():
        classes_of[split] = _list_classes(folder, left_out)

    _check_training(folders, classes_of["train"], maximum_classes, layout)
    for split, classes in classes_of.items():
        for name in classes:
            if name not in classes_of["train"]:
                raise InputError(
                    f"{folders[split] / name}: {folders['train']} has no class of that name"
                )

        if not any(classes.values()):
            raise InputError(f"{folders[split]}: no image; {layout}")

    return classes_of


def _check_training(
    folders: dict[str, Path], classes: Classes, maximum_classes: int, layout: str
) -> None:
    """Raise InputError unless there are classes to train on, and images enough of each."""
    folder = folders["train"]
    if len(classes) < 2:
        fault = "no class"
        for name in classes:
            fault = f"only one class, {name}"
        raise InputError(f"{folder}: {fault}; a data set has two or more, and {layout}")
    if len(classes) > maximum_classes:
        raise InputError(
            f"{folder}: {len(classes)} classes; at most {maximum_classes} can be told apart"
        )

    # One to train on, and one for each split that has no folder of its own.
    fewest = 4 - len(folders)
    for name, files in classes.items():
        if not files:
            raise InputError(f"{folder / name}: no image; {layout}")
        if len(files) < fewest:
            raise InputError(
                f"{folder / name}: {len(files)} images; a class needs at least {fewest}"
            )


def _divided(root: Path, left_out: LeftOut) -> dict[str, Path]:
    """Return split -> its folder where one is divided, nothing where its folders are classes."""
    inside = [path for path in _seen_in(root) if path.is_dir()]
    folders = {}
    for split, names in SPLIT_FOLDERS.items():
        for path in inside:
            if path.name.lower() in names:
                folders[split] = path

    if "train" not in folders or (len(folders) == 1 and len(inside) > 1):
        return {}
    # A class may be named train: then images lie there, no classes.
    if not any(path.is_dir() for path in _seen_in(folders["train"])):
        return {}

    for path in _sorted(root):
        if path not in folders.values():
            left_out["beside the folders of the splits"] += _files_in(path)

    return folders


def _list_classes(folder: Path, left_out: LeftOut) -> Classes:
    classes = {}
    for path in _sorted(folder):
        if _passed_over(path):
            left_out["hidden or of __MACOSX"] += _files_in(path)
        elif path.is_dir():
            classes[path.name] = _list_images(path, left_out)
        else:
            left_out["beside the folders of the classes"].append(path)

    return classes


def _list_images(folder: Path, left_out: LeftOut) -> list[Path]:
    images = []
    for path in _sorted(folder):
        if _passed_over(path):
            left_out["hidden or of __MACOSX"] += _files_in(path)
        elif path.is_dir():
            left_out["in a folder inside the folder of a class"] += _files_in(path)
        elif path.is_file() and _is_image(path):
            images.append(path)
        else:
            suffix = path.suffix.lower() or "without a suffix"
            left_out[f"no image ({suffix})"].append(path)

    return images


def _left_out_line(root: Path, left_out: LeftOut) -> list[str]:
    """Return one line with the number of files of each kind and an example, or none."""
    kinds = [(kind, paths) for kind, paths in left_out.items() if paths]
    if not kinds:
        return []
    kinds.sort(key=lambda kind: -len(kind[1]))

    parts = []
    count = 0
    for kind, paths in kinds:
        example = paths[0].relative_to(root)
        parts.append(f"{len(paths):,} {kind}, such as {example}")
        count += len(paths)
    listed = "; ".join(parts)
    return [f"files left out: {count:,} ({listed})"]


def _is_image(path: Path) -> bool:
    """Say whether a file's name tells so or, where its suffix is no image's, its first bytes."""
    formats = _picture_formats()
    if Image.EXTENSION.get(path.suffix.lower()) in formats:
        return True
    try:
        with Image.open(path, formats=SIGNED):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # an image, but one with a fault, which reading it will tell
        return True


@cache
def _picture_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.OPEN if name not in NO_PICTURES)


def _passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _files_in(path: Path) -> list[Path]:
    """Return a file, or all files of a folder and its folders, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(inner for inner in path.rglob("*") if not inner.is_dir())


def _seen_in(folder: Path) -> list[Path]:
    """Return what lies in a folder and is not passed over, sorted by name."""
    return [path for path in _sorted(folder) if not _passed_over(path)]


def _sorted(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name)
