"""The computed graph of a program, for tests."""

import torch

from archloop.novelty.graph_fingerprint import fingerprint

SHAPE = (16, 3, 32, 32)


def graph(program: str, in_shape=SHAPE) -> dict:
    namespace = {"__name__": "candidate"}
    exec(compile(program, "<program>", "exec"), namespace)
    with torch.device("meta"):
        model = namespace["Net"](in_shape, (10,), {"lr": 0.01, "momentum": 0.9, "dropout": 0.2}, torch.device("meta"))
    return fingerprint(model, in_shape)
