"""What a language model is trained on from scratch: programs of the seed families with the prompts
that ask for them.

The programs of the seed corpus are not among them, neither their text nor any other text of the
same graph: cycle 0 has to train on what the model has never seen.
"""

import itertools
import random
from collections import defaultdict
from typing import Any

import jinja2
import torch

from archloop.errors import InputError
from archloop.families.programs import AXES, family_names, render, seed_programs, variant_of
from archloop.generation.prompts import PromptTexts, Task, write_prompt
from archloop.novelty.graph_fingerprint import fingerprint
from archloop.progress import Progress
from archloop.random_seeds import generator

# The shapes of a network's weights, sorted.
Shapes = tuple[tuple[int, ...], ...]

# What prompts name: (data set, channels, pixels, classes). The programs take all of these from
# their arguments.
SHAPES = [
    ("mnist", 1, 28, 10),
    ("fashion_mnist", 1, 28, 10),
    ("digits", 1, 32, 10),
    ("digits", 1, 16, 10),
    ("digits", 1, 8, 10),
    ("cifar10", 3, 32, 10),
    ("cifar100", 3, 32, 100),
    ("svhn", 3, 32, 10),
]
BUDGETS = [100_000, 200_000, 300_000, 500_000, 1_000_000]
EPOCHS = [1, 2, 3, 5]
# The shape that graphs are compared at: (batch, channels, height, width).
IN_SHAPE, CLASSES = (2, 3, 32, 32), 10
PRM = {"lr": 0.01, "momentum": 0.9, "dropout": 0.2, "batch": 16}


def training_pairs(count: int, seed: int, texts: PromptTexts) -> list[tuple[str, str]]:
    """Return `count` different (prompt, program), in random order.

    Programs are of the families that the hints name, of all where they name none, with settings
    drawn as random search draws them. Each prompt is the run's own template about a data set, a
    goal and a hint, without references. Raises InputError when the families have fewer programs.
    """
    families = [name for name in family_names() if name in texts.hints]
    combinations = itertools.product(families or family_names(), *AXES.values())
    variants = list(combinations)
    if count > len(variants):
        raise _too_few(count, f"fewer than {len(variants)}")
    # A value that stands twice in AXES is twice as likely to come early, as in random search.
    rng = generator(seed, "scratch programs")
    rng.shuffle(variants)

    held_out = HeldOut()
    prompts: dict[str, str] = {}
    with Progress(count, "program", "drawing") as progress:
        for variant in variants:
            if len(prompts) == count:
                break

            family, values = str(variant[0]), variant[1:]
            program = render(family, variant_of(values))
            if program in prompts or program in held_out:
                continue

            hint = texts.hints.get(family, "")
            prompts[program] = _prompt(texts.template, hint, rng)
            progress.step()

    if len(prompts) < count:
        raise _too_few(count, str(len(prompts)))
    return [(prompt, program) for program, prompt in prompts.items()]


def _too_few(count: int, available: str) -> InputError:
    return InputError(
        f"programs: {count} are asked for; the families have {available} outside the seed corpus"
    )


class HeldOut:
    """The programs that any seed corpus of the families may hold; `in` asks for text and graph."""

    def __init__(self) -> None:
        self.texts = {seed.program for seed in seed_programs()}
        self.by_shapes: dict[Shapes, list[torch.nn.Module]] = defaultdict(list)
        self.graphs: dict[Shapes, set[str]] = {}
        for text in sorted(self.texts):
            network = _network(text)
            self.by_shapes[_weight_shapes(network)].append(network)

    def __contains__(self, program: str) -> bool:
        if program in self.texts:
            return True

        # Every weight of a family's program is part of its graph, so equal graphs have weights of
        # equal shapes. To compare shapes first saves most of the tracing.
        network = _network(program)
        shapes = _weight_shapes(network)
        if shapes not in self.by_shapes:
            return False

        if shapes not in self.graphs:
            alike = self.by_shapes[shapes]
            self.graphs[shapes] = set(map(_graph, alike))
        return _graph(network) in self.graphs[shapes]


def _prompt(template: jinja2.Template, hint: str, rng: random.Random) -> str:
    dataset, channels, size, classes = rng.choice(SHAPES)
    epochs, parameter_budget = rng.choice(EPOCHS), rng.choice(BUDGETS)

    task = Task(dataset, channels, size, classes, epochs, parameter_budget)
    return write_prompt(template, task, hint, [])


def _network(program: str) -> torch.nn.Module:
    """Build a program of the families, which are this project's own and need no sandbox, on the
    meta device."""
    namespace: dict[str, Any] = {"__name__": "family"}
    exec(compile(program, "<family>", "exec"), namespace)
    device = torch.device("meta")
    with device:
        network: torch.nn.Module = namespace["Net"](IN_SHAPE, (CLASSES,), PRM, device)
    return network


def _weight_shapes(network: torch.nn.Module) -> Shapes:
    shapes = []
    for weight in network.parameters():
        shapes.append(tuple(weight.shape))
    return tuple(sorted(shapes))


def _graph(network: torch.nn.Module) -> str:
    return str(fingerprint(network, IN_SHAPE)["digest"])
