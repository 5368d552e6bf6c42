"""The hyperparameters of a program: which it declares, and the values that it gets as `prm`."""

import ast

from archloop.settings.sections import Evaluation
from archloop.texts import parsed

# LEMUR's names of what happens to an image, by evaluation.protocol.
TRANSFORMS: dict[str | None, str] = {"resize256_flip": "norm_256_flip", "native": "norm_32"}
PLAIN_TRANSFORM = "norm_32"
# Of a hyperparameter that a program declares and nobody here knows: the middle of the range that
# LEMUR draws it from.
UNKNOWN = 0.5
# What a program gets as `prm`, by LEMUR's names: numbers, and the name of a transform.
Hyperparameters = dict[str, float | str]


def hyperparameters(program: str, settings: Evaluation) -> Hyperparameters:
    """Return what a program gets as `prm`: what LEMUR gives to all, and the names it declares.

    settings: how the judge trains it, which decides the values.
    """
    given: Hyperparameters = {
        "lr": settings.learning_rate,
        "batch": settings.batch_size,
        "epoch": settings.epochs,
        "epoch_max": settings.epochs,
        "momentum": settings.momentum,
        "dropout": settings.dropout,
        "transform": TRANSFORMS.get(settings.protocol, PLAIN_TRANSFORM),
    }

    known: Hyperparameters = {
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "num_epochs": settings.epochs,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "pretrained": 0.0,
    }

    for name in sorted(declared_names(program) - given.keys()):
        unknown = settings.dropout if "drop" in name else UNKNOWN
        given[name] = known.get(name, unknown)

    return given


def declared_names(program: str) -> set[str]:
    """Return the names that supported_hyperparameters returns, as far as the source shows them."""
    tree = parsed(program)
    if tree is None:
        return set()

    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "supported_hyperparameters":
            return {text for text in _texts_in(node) if text.isidentifier()}
    return set()


def _texts_in(function: ast.FunctionDef) -> set[str]:
    """Return the texts that a function's source holds."""
    texts = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return texts
