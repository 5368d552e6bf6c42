"""A user's own images: one folder a class, its name the class's name."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from archloop.errors import InputError
from archloop.progress import Progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# One to train on, one to select with, one to test.
FEWEST_IMAGES = 3


def read_image_folder(folder: str | None, size: int, maximum_classes: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return (images uint8 (n, 3, size, size), labels int64 (n,), class names in order).

    Images lie at folder/CLASS/IMAGE; names that begin with a dot are passed over. Order is that of the names, so it
    does not depend on the file system. Raises InputError naming the folder or the image that is wrong.
    """
    if not folder:
        raise InputError("data.folder: names no folder; set it to the path of your images, one folder a class")
    files = _list_images(Path(folder).expanduser(), maximum_classes)
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(paths) for paths in files.values()])
    images = np.empty((len(labels), 3, size, size), np.uint8)
    with Progress(len(labels), "image", "reading") as progress:
        for place, path in enumerate(path for paths in files.values() for path in paths):
            images[place] = read_image(path, size)
            progress.step()
    return images, labels, list(files)


def read_image(path: Path, size: int) -> np.ndarray:
    """Return uint8 (3, size, size): upright, RGB, its middle square resized; raise InputError when it is unreadable."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        why = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an image ({why}); mend or remove it") from None
    if image.mode.startswith("I;16"):  # Pillow would cut 16-bit values off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise InputError(f"{path}: its pixels have 32 bits, whose range is unknown; save it with 8 or 16 bits")
    square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1)


def _list_images(folder: Path, maximum_classes: int) -> dict[str, list[Path]]:
    layout = f"images lie at {folder}/CLASS/IMAGE"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.folder is the path of your images, one folder a class")
    classes = sorted(path.name for path in _visible(folder) if path.is_dir())
    if len(classes) < 2:
        found = f"only one class, {classes[0]}" if classes else "no class"
        raise InputError(f"{folder}: {found}; a data set has two or more, and {layout}")
    if len(classes) > maximum_classes:
        raise InputError(f"{folder}: {len(classes)} classes; at most {maximum_classes} can be told apart")
    files = {}
    for name in classes:
        paths = [path for path in _visible(folder / name) if path.suffix.lower() in SUFFIXES and path.is_file()]
        files[name] = sorted(paths, key=lambda path: path.name)
        if not paths:
            raise InputError(f"{folder / name}: no image; {layout}, of type {', '.join(s[1:] for s in SUFFIXES)}")
        if len(paths) < FEWEST_IMAGES:
            raise InputError(f"{folder / name}: {len(paths)} images; a class needs at least {FEWEST_IMAGES}")
    return files


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
