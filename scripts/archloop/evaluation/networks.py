"""From a program to a network: run it, build it, check it without memory, count its weights. Nothing is trusted."""

import collections
import contextlib
import random
import sys
import types

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from archloop.evaluation.faults import is_device, is_memory, line

_ATTRIBUTES = torch.nn.Module.__dict__["__dict__"].__get__


# What errors say that a real device may not raise: attention, say, has other strides there, and autocast its formats.
NOT_ON_META = ("meta", "data-dependent", "view size is not compatible", "autocast", "scalartype")


class Stop(Exception):
    """The end of a candidate with an outcome of the funnel."""

    def __init__(self, outcome: str, detail: str):
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def builder(program: str, in_shape: tuple, out_shape: tuple, prm: dict):
    """Run the program and return a function of a device that makes its Net there; raise Stop when it has none.

    The program is a module like any other: dataclasses and annotations look it up by its name.
    """
    module = sys.modules["candidate"] = types.ModuleType("candidate")
    try:
        exec(compile(program, "<program>", "exec"), vars(module))
        network = vars(module)["Net"]
    except BaseException as error:
        raise_memory(error)
        raise Stop("construct", line(error)) from None
    return lambda device: network(in_shape, out_shape, dict(prm), torch.device(device))


def checked(build, in_shape: tuple, classes: int, facts: dict):
    """Return the model after one forward pass and put its parameters into facts; raise Stop when either fails.

    On the meta device: shapes alone, no memory. A program that looks at values (`tensor.item()`) cannot live there, nor
    one that needs the strides or the number formats of a real device; it is tried once more with real numbers, inside
    the limits on memory.
    """
    outcome = "construct"
    for device in ("meta", "cpu"):
        try:
            outcome = "construct"
            with torch.device(device):
                model = build(device)
            if not isinstance(model, torch.nn.Module):
                raise Stop("construct", f"Net makes a {type(model).__name__}, no torch.nn.Module")
            outcome = "forward"
            model.train()
            with torch.no_grad():
                answer = torch.nn.Module.__call__(model, torch.zeros(in_shape, device=device))
            break
        except Stop:
            raise
        except BaseException as error:
            raise_memory(error)
            if device == "cpu" or not _needs_values(error):
                raise Stop(outcome, line(error)) from None
    if type(answer) is not torch.Tensor or not answer.is_floating_point():
        raise Stop(
            "forward", f"returns a {type(answer).__name__}, no tensor of floating point numbers"
        )
    if tuple(answer.shape) != (in_shape[0], classes):
        raise Stop("forward", f"returns {tuple(answer.shape)}, not {(in_shape[0], classes)}")
    facts["parameters"] = sum(weight.numel() for weight in parameters_of(model))
    return model


def without_numbers(model: torch.nn.Module) -> torch.nn.Module:
    """Move a model that had to be built with real numbers to the meta device; what was shared in it stays shared."""
    held = [(holder, _held(holder, "_parameters")) for holder in model.modules()]
    shared = [
        (holder, name, id(weight)) for holder, weights in held for name, weight in weights.items()
    ]
    if all(weight.is_meta for weight in parameters_of(model)):
        return model
    model.to("meta")
    first = {}
    for holder, name, identity in shared:
        holder._parameters[name] = first.setdefault(identity, holder._parameters[name])
    return model


def _needs_values(error: BaseException) -> bool:
    text = line(error).lower()
    return isinstance(error, NotImplementedError) or any(sign in text for sign in NOT_ON_META)


def parameters_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return every registered parameter once, frozen ones too, whatever the program overrides."""
    found, todo, seen = {}, [model], set()
    while todo:
        module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found |= {
            id(weight): weight
            for weight in _held(module, "_parameters").values()
            if weight is not None
        }
        todo += [child for child in _held(module, "_modules").values() if child is not None]
    return list(found.values())


def _held(module: torch.nn.Module, name: str) -> dict:
    """Return what a module holds under a name; raise Stop for what only looks like a dictionary."""
    # The class of a program may have a __dict__ of its own; this is where PyTorch keeps its own things.
    held = _ATTRIBUTES(module)[name]
    if type(held) not in (dict, collections.OrderedDict):
        raise Stop("construct", f"its {name} is a {type(held).__name__}, no dict")
    return held


def unregistered(value: torch.Tensor, model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the tensors that a result can be differentiated by and that are no registered parameter of the model."""
    known = {id(weight) for weight in parameters_of(model)}
    todo, seen, found = [value.grad_fn], set(), {}
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch._C._functions.AccumulateGrad) and id(node.variable) not in known:
            found[id(node.variable)] = node.variable
        todo += [before for before, _ in node.next_functions]
    return list(found.values())


def trainable(model: torch.nn.Module) -> list[torch.Tensor]:
    return [weight for weight in parameters_of(model) if weight.requires_grad]


def multiply_adds(model: torch.nn.Module, in_shape: tuple) -> int:
    """Return the multiply-adds of one image: half the floating point operations that torch's own counter finds."""
    device = next(iter(parameters_of(model)), torch.empty((), device="meta")).device
    for batch in (2, in_shape[0]):  # some programs fix the size of a batch
        with (
            contextlib.suppress(RuntimeError),
            FlopCounterMode(display=False) as counter,
            torch.no_grad(),
        ):
            model(torch.zeros((batch, *in_shape[1:]), device=device))
            return counter.get_total_flops() // (2 * batch)
    raise ValueError("it runs with no batch")


def or_none(function, *arguments):
    try:
        return function(*arguments)
    except Exception:
        return None


def built_to_train(build, seed: int, device: str, in_shape: tuple) -> torch.nn.Module:
    """Return the model on the device, its weights from the seed; memory that it does not initialise reads as NaN."""
    seed_everything(seed)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        model = build(device).to(device)
        if any(is_lazy(weight) for weight in parameters_of(model)):
            model(torch.zeros(in_shape, device=device))
    except Exception as error:
        raise_memory(error)
        if is_device(line(error)):
            raise
        raise Stop("construct", line(error)) from None
    finally:
        torch.use_deterministic_algorithms(deterministic)
    return model


def within_budget(facts: dict, settings: dict) -> None:
    if facts["parameters"] > settings["parameter_budget"]:
        raise Stop(
            "over_budget",
            f"{facts['parameters']:,} parameters, {settings['parameter_budget']:,} allowed",
        )


def raise_memory(error: BaseException) -> None:
    if is_memory(error):
        raise Stop("out_of_memory", line(error)) from None
