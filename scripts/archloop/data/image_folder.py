"""A user's own images: one folder a class, its name the class's name; divided into train and test, or not yet.

Two layouts: FOLDER/CLASS/IMAGE, and FOLDER/train/CLASS/IMAGE beside FOLDER/test and, where there is one,
FOLDER/validation. What is no image, and what of an image is not kept, is counted, so that nothing is lost unseen.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from archloop.errors import InputError, one_line
from archloop.progress import Progress

# Names of the folders of an own division.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
# Pillow opens these, too, but they are no pictures: programs, films, tables.
NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
# Formats that a file without a telling name is tried for: their first bytes are unlike those of anything else.
SIGNED = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"]
TURNS = {
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

Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ImageFolder:
    """What a folder holds.

    splits: train, and of validation and test those that have a folder of their own: (images uint8 (n, 3, size, size),
    labels int64 (n,)). notes: one line for each kind of file or content that is left out.
    """

    splits: dict[str, Split]
    class_names: list[str]
    notes: list[str]


def read_image_folder(folder: str | None, size: int, maximum_classes: int) -> ImageFolder:
    """Read all images of a folder; order is that of the names, so it does not depend on the file system.

    Images of more than 8 bits are brought to 8 together, by the highest value that any of them has. Raises InputError
    naming the folder or all images that are wrong.
    """
    if not folder:
        raise InputError(
            "data.folder: names no folder; set it to the path of your images, one folder a class"
        )
    root = Path(folder).expanduser()
    left_out: dict[str, list[Path]] = defaultdict(list)
    found = _find_images(root, maximum_classes, left_out)
    class_names = list(found["train"])

    paths = [path for classes in found.values() for files in classes.values() for path in files]
    images, seen = _read_images(root, paths, size)
    notes = _left_out_line(root, left_out) + [
        f"{what}: {count:,}" for what, count in sorted(seen.items())
    ]

    splits, start = {}, 0
    for split, classes in found.items():
        counts = [len(files) for files in classes.values()]
        labels = np.repeat([class_names.index(name) for name in classes], counts).astype(np.int64)
        splits[split] = images[start : start + len(labels)], labels
        start += len(labels)
    return ImageFolder(splits, class_names, notes)


def read_image(path: Path, size: int, seen: Counter[str] | None = None) -> np.ndarray:
    """Return (3, size, size), upright, RGB, its middle square resized: uint8, or uint16 where it has more bits.

    seen: counts what of the image is not kept (TRANSPARENT, FRAMES). Raises InputError when it is unreadable.
    """
    seen = Counter() if seen is None else seen
    try:
        with Image.open(path, formats=_picture_formats()) as opened:
            opened.load()
            image = _upright(opened)
            # The further frames of a photograph (MPO) are its previews.
            seen[FRAMES] += getattr(opened, "is_animated", False) and opened.format != "MPO"
            if image.mode.startswith("I") or image.mode == "F":
                return _deep_pixels(image, size)
            image = _on_white(image, seen).convert("RGB")
            return np.asarray(
                ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
            ).transpose(2, 0, 1)
    except MemoryError:  # no fault of the image
        raise
    except (
        Exception
    ) as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        why = one_line(error) or type(error).__name__
        raise InputError(f"{path}: cannot be read as an image ({why}); mend or remove it") from None


def _read_images(root: Path, paths: list[Path], size: int) -> tuple[np.ndarray, Counter[str]]:
    """Return (uint8 (n, 3, size, size), what of how many images is not kept); raise InputError for all broken ones."""
    images = np.empty((len(paths), 3, size, size), np.uint8)
    deep: dict[int, np.ndarray] = {}
    broken, seen = [], Counter()
    with Progress(len(paths), "image", "reading") as progress:
        for place, path in enumerate(paths):
            try:
                pixels = read_image(path, size, seen)
            except InputError as error:
                broken.append(str(error))
                continue
            if pixels.dtype == np.uint16:
                deep[place] = pixels
            else:
                images[place] = pixels
            progress.step()
    if len(broken) == 1:
        raise InputError(broken[0])
    if broken:
        more = f"; and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise InputError(
            f"{root}: {len(broken)} of {len(paths)} images: {'; '.join(broken[:LISTED])}{more}"
        )

    bits = max(8, *(int(pixels.max()).bit_length() for pixels in deep.values())) if deep else 8
    for place, pixels in deep.items():
        images[place] = pixels >> (bits - 8)
    if deep:
        seen[
            f"images of more than 8 bits, of which {bits} are in use and the upper 8 of these kept"
        ] = len(deep)
    return images, +seen


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image by its orientation and nothing else: Pillow's own function fails where any other tag is odd."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # a damaged block of tags tells of no orientation; the picture is whole
        return image
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image, seen: Counter[str]) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    if image.getextrema()[3][0] == 255:
        return image
    seen[TRANSPARENT] += 1
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _deep_pixels(image: Image.Image, size: int) -> np.ndarray:
    """Return uint16 (3, size, size) of a grey image of up to 16 bits; Pillow itself would cut values off at 255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() >= 2**16:
        raise ValueError(
            "its pixels have 32 bits, whose range is unknown; save it with 8 or 16 bits"
        )
    exact = Image.fromarray(values.astype(np.float32))
    square = np.asarray(ImageOps.fit(exact, (size, size), Image.Resampling.BILINEAR))
    return np.repeat(square.round().astype(np.uint16)[None], 3, axis=0)


def _find_images(
    folder: Path, maximum_classes: int, left_out: dict
) -> dict[str, dict[str, list[Path]]]:
    """Return split -> class -> its images; all other files go into left_out, kind -> paths."""
    layout = f"images lie at {folder}/CLASS/IMAGE, or at {folder}/train/CLASS/IMAGE and {folder}/test/CLASS/IMAGE"
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; data.folder is the path of your images, one folder a class"
        )
    places = _divided(folder, left_out) or {"train": folder}
    found = {split: _list_classes(place, left_out) for split, place in places.items()}

    place, train = places["train"], found["train"]
    if len(train) < 2:
        only = f"only one class, {next(iter(train))}" if train else "no class"
        raise InputError(f"{place}: {only}; a data set has two or more, and {layout}")
    if len(train) > maximum_classes:
        raise InputError(
            f"{place}: {len(train)} classes; at most {maximum_classes} can be told apart"
        )
    # One to train on, and one for each split that has no folder of its own.
    fewest = 4 - len(places)
    for name, files in train.items():
        if not files:
            raise InputError(f"{place / name}: no image; {layout}")
        if len(files) < fewest:
            raise InputError(
                f"{place / name}: {len(files)} images; a class needs at least {fewest}"
            )
    for split, classes in found.items():
        for name in classes:
            if name not in train:
                raise InputError(f"{places[split] / name}: {place} has no class of that name")
        if not any(classes.values()):
            raise InputError(f"{places[split]}: no image; {layout}")
    return found


def _divided(folder: Path, left_out: dict) -> dict[str, Path]:
    """Return split -> its folder where a folder is divided already, nothing where its folders are classes."""
    inside = [path for path in _sorted(folder) if path.is_dir() and not _passed_over(path)]
    places = {
        split: path
        for split, names in SPLIT_FOLDERS.items()
        for path in inside
        if path.name.lower() in names
    }
    if "train" not in places or (len(places) == 1 and len(inside) > 1):
        return {}
    # A class may be named train: then images lie there, no classes.
    if not any(path.is_dir() for path in _sorted(places["train"]) if not _passed_over(path)):
        return {}
    for path in _sorted(folder):
        if path not in places.values():
            left_out["beside the folders of the splits"] += _files_in(path)
    return places


def _list_classes(folder: Path, left_out: dict) -> dict[str, list[Path]]:
    classes = {}
    for path in _sorted(folder):
        if _passed_over(path):
            left_out["hidden or of __MACOSX"] += _files_in(path)
        elif path.is_dir():
            classes[path.name] = _list_images(path, left_out)
        else:
            left_out["beside the folders of the classes"].append(path)
    return classes


def _list_images(folder: Path, left_out: dict) -> list[Path]:
    images = []
    for path in _sorted(folder):
        if _passed_over(path):
            left_out["hidden or of __MACOSX"] += _files_in(path)
        elif path.is_dir():
            left_out["in a folder inside the folder of a class"] += _files_in(path)
        elif path.is_file() and _is_image(path):
            images.append(path)
        else:
            left_out[f"no image ({path.suffix.lower() or 'without a suffix'})"].append(path)
    return images


def _left_out_line(root: Path, left_out: dict[str, list[Path]]) -> list[str]:
    """Return one line with the number of files of each kind and an example, or none."""
    kinds = sorted(
        ((kind, paths) for kind, paths in left_out.items() if paths), key=lambda each: -len(each[1])
    )
    if not kinds:
        return []
    told = [f"{len(paths):,} {kind}, such as {paths[0].relative_to(root)}" for kind, paths in kinds]
    return [f"files left out: {sum(len(paths) for _, paths in kinds):,} ({'; '.join(told)})"]


def _is_image(path: Path) -> bool:
    """Tell whether a file's name says so or, where its suffix is no image's, its first bytes."""
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
    return (
        sorted(each for each in path.rglob("*") if not each.is_dir()) if path.is_dir() else [path]
    )


def _sorted(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name)
