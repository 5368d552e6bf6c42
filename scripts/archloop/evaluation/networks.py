"""From a program to a network: run it, build it, check it without memory, count its weights.

Nothing is trusted.
"""

import collections
import contextlib
import random
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from archloop.evaluation.faults import is_device, is_memory, line
from archloop.lemur.hyperparameters import Hyperparameters

# What makes a Net on a device.
Builder = Callable[[str], torch.nn.Module]
# What a network returns: anything, until it is looked at.
Answer = Any
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

# The class of a program may have a __dict__ of its own; this is where PyTorch keeps its own things.
_attributes = torch.nn.Module.__dict__["__dict__"].__get__

# What errors say that a real device may not raise: attention, say, has other strides there, and
# autocast its formats.
NOT_ON_META = ("meta", "data-dependent", "view size is not compatible", "autocast", "scalartype")


class Stop(Exception):
    """The end of a candidate with an outcome of the funnel."""

    def __init__(self, outcome: str, detail: str):
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # it takes no more bits
    torch.manual_seed(seed)


def builder(
    program: str, in_shape: tuple[int, ...], out_shape: tuple[int, ...], prm: Hyperparameters
) -> Builder:
    """Run the program and return a function of a device that makes its Net there.

    Raise Stop when it has none. The program is a module like any other: dataclasses and annotations
    look it up by its name.
    """
    module = sys.modules["candidate"] = types.ModuleType("candidate")
    try:
        exec(compile(program, "<program>", "exec"), vars(module))
        network = vars(module)["Net"]
    except BaseException as error:
        raise_fault(error)
        raise Stop("construct", line(error)) from None
    return lambda device: network(in_shape, out_shape, dict(prm), torch.device(device))


def checked(build: Builder, in_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return the model after one forward pass; raise Stop when building or the pass fails.

    On the meta device: shapes alone, no memory. A program that looks at values (`tensor.item()`)
    cannot live there, nor one that needs the strides or the number formats of a real device; it is
    tried once more with real numbers, inside the limits on memory.
    """
    tried = _try_forward(build, in_shape, "meta")
    if tried is None:
        tried = _try_forward(build, in_shape, "cpu")
    assert tried is not None  # on a real device it raises
    model, answer = tried

    # A subclass of Tensor could say anything of itself.
    if type(answer) is not torch.Tensor or not answer.is_floating_point():
        kind = type(answer).__name__
        raise Stop("forward", f"returns a {kind}, no tensor of floating point numbers")
    if tuple(answer.shape) != (in_shape[0], classes):
        raise Stop("forward", f"returns {tuple(answer.shape)}, not {(in_shape[0], classes)}")
    return model


def _try_forward(
    build: Builder, in_shape: tuple[int, ...], device: str
) -> tuple[torch.nn.Module, Answer] | None:
    """Return (model, its answer to images of zeros) on a device.

    None where only the device `meta` is in its way. Raises Stop where the program fails.
    """
    outcome = "construct"
    try:
        with torch.device(device):
            model = build(device)
        if not isinstance(model, torch.nn.Module):
            raise Stop("construct", f"Net makes a {type(model).__name__}, no torch.nn.Module")

        outcome = "forward"
        model.train()
        with torch.no_grad():
            # Not by the class of the program, whose __call__ may be anything.
            answer = torch.nn.Module.__call__(model, torch.zeros(in_shape, device=device))
        return model, answer
    except Stop:
        raise
    except BaseException as error:
        raise_fault(error)
        if device == "meta" and _needs_values(error):
            return None
        raise Stop(outcome, line(error)) from None


def _needs_values(error: BaseException) -> bool:
    text = line(error).lower()
    return isinstance(error, NotImplementedError) or any(sign in text for sign in NOT_ON_META)


def without_numbers(model: torch.nn.Module) -> torch.nn.Module:
    """Move a model that had to be built with real numbers to the meta device.

    What was shared in it stays shared.
    """
    before = []
    for module in model.modules():
        for name, weight in _own_parameters(module).items():
            before.append((module, name, id(weight)))

    if all(weight.is_meta for weight in parameters_of(model)):
        return model

    # This gives each place a parameter of its own, also where several share one.
    model.to("meta")
    first: dict[int, torch.nn.Parameter | None] = {}
    for module, name, identity in before:
        moved = module._parameters[name]
        module._parameters[name] = first.setdefault(identity, moved)
    return model


def parameters_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return every registered parameter once, frozen ones too, whatever the program overrides."""
    parameters: dict[int, torch.Tensor] = {}
    seen: set[int] = set()
    to_do = [model]

    while to_do:
        module = to_do.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))

        for weight in _own_parameters(module).values():
            if weight is not None:
                parameters[id(weight)] = weight
        for child in _own_modules(module).values():
            if child is not None:
                to_do.append(child)
    return list(parameters.values())


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of all registered parameters."""
    return sum(weight.numel() for weight in parameters_of(model))


def _own_parameters(module: torch.nn.Module) -> Mapping[str, torch.nn.Parameter | None]:
    """Return the parameters that a module itself registers; None for one that it left out."""
    return cast(Mapping[str, torch.nn.Parameter | None], _registered(module, "_parameters"))


def _own_modules(module: torch.nn.Module) -> Mapping[str, torch.nn.Module | None]:
    """Return the modules that a module itself registers; None for one that it left out."""
    return cast(Mapping[str, torch.nn.Module | None], _registered(module, "_modules"))


def _registered(module: torch.nn.Module, name: str) -> Mapping[str, object]:
    """Return a register of a module; raise Stop for what only looks like a dictionary."""
    register: Mapping[str, object] = _attributes(module)[name]
    if type(register) not in (dict, collections.OrderedDict):
        raise Stop("construct", f"its {name} is a {type(register).__name__}, no dict")
    return register


def unregistered(value: torch.Tensor, model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the tensors that a result can be differentiated by and that are no registered
    parameter of the model.
    """
    registered = {id(weight) for weight in parameters_of(model)}
    leaves: dict[int, torch.Tensor] = {}
    seen = set()
    to_do = [value.grad_fn]

    # The graph is as deep as the network, so without recursion.
    while to_do:
        node = to_do.pop()
        if node is None or node in seen:
            continue
        seen.add(node)

        if isinstance(node, torch._C._functions.AccumulateGrad):
            leaf = node.variable
            if id(leaf) not in registered:
                leaves[id(leaf)] = leaf
        to_do += [before for before, _ in node.next_functions]
    return list(leaves.values())


def trainable(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the registered parameters that are not frozen."""
    return [weight for weight in parameters_of(model) if weight.requires_grad]


def multiply_adds(model: torch.nn.Module, in_shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of one image: half the floating point operations that torch's own
    counter finds.
    """
    parameters = parameters_of(model)
    device = parameters[0].device if parameters else "meta"
    for batch in (2, in_shape[0]):  # some programs fix the size of a batch
        counter = FlopCounterMode(display=False)
        with contextlib.suppress(RuntimeError), counter, torch.no_grad():
            model(torch.zeros((batch, *in_shape[1:]), device=device))
            operations: int = counter.get_total_flops()
            return operations // (2 * batch)
    raise ValueError("it runs with no batch")


def or_none(
    function: Callable[Arguments, Returned], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Returned | None:
    """Return what a function returns, None where it raises anything."""
    try:
        return function(*arguments, **named)
    except Exception:
        return None


def built_to_train(
    build: Builder, seed: int, device: str, in_shape: tuple[int, ...]
) -> torch.nn.Module:
    """Return the model on the device, its weights from the seed.

    Memory that it does not initialise reads as NaN.
    """
    seed_everything(seed)

    # Has torch fill new memory with NaN; some layers have no deterministic form, so it only warns.
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        model = build(device).to(device)
        if any(is_lazy(weight) for weight in parameters_of(model)):
            # Their shapes are known after a first pass.
            model(torch.zeros(in_shape, device=device))

    except Exception as error:
        raise_fault(error)
        raise Stop("construct", line(error)) from None
    finally:
        torch.use_deterministic_algorithms(deterministic)
    return model


def check_budget(parameters: int, budget: int) -> None:
    """Raise Stop where a network has more parameters than evaluation.parameter_budget allows."""
    if parameters > budget:
        raise Stop("over_budget", f"{parameters:,} parameters, {budget:,} allowed")


def raise_fault(error: BaseException) -> None:
    """Raise Stop where an error is one of memory that is missing, and the error itself where it is
    one of a device that fails: neither is a fault of what the program does just then.
    """
    if is_memory(error):
        raise Stop("out_of_memory", line(error)) from None
    if is_device(line(error)):
        raise error
