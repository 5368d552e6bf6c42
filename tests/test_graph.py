"""The fingerprint of the computed graph: what it tells apart beyond the table of edits, and its bounds."""

import json
import subprocess
import sys

import pytest
import torch
from edit_pairs import RESIDUAL
from test_edit_pairs import graph
from torch import nn

from archloop.graph import MAXIMUM_NODES_LISTED, fingerprint

SHAPE = (16, 3, 32, 32)


def traced(forward, **modules) -> str:
    """Return the digest of a network with these modules and this function of (modules, image)."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            for name, module in modules.items():
                setattr(self, name, module())

        def forward(self, x):
            return forward(self, x)

    with torch.device("meta"):
        network = Network()
    return fingerprint(network, SHAPE)["digest"]


def conv():
    return nn.Conv2d(3, 3, 3, padding=1)


def test_two_layers_are_not_one_layer_used_twice():
    two = traced(lambda net, x: torch.cat([net.a(x), net.b(x)], 1), a=conv, b=conv)
    one = traced(lambda net, x: torch.cat([net.a(x), net.a(x)], 1), a=conv, b=conv)
    assert one != two


def test_a_write_through_a_view_is_part_of_the_graph():
    def written(net, x):
        x = net.a(x)
        x.view(x.size(0), -1).relu_()
        return x

    assert traced(written, a=conv) != traced(lambda net, x: net.a(x), a=conv)


def test_a_frozen_layer_is_another_network():
    def frozen():
        return conv().requires_grad_(False)

    assert traced(lambda net, x: net.a(x), a=frozen) != traced(lambda net, x: net.a(x), a=conv)


def test_a_constant_in_forward_is_part_of_the_graph():
    one, two = (traced(lambda net, x, c=c: net.a(x) * torch.tensor(c), a=conv) for c in (0.5, 0.25))
    assert one != two


def test_random_branches_are_taken_the_same_way_every_time():
    import random

    def forward(net, x):
        return net.a(x) if random.random() < 0.5 else net.b(net.a(x))

    state = random.getstate()
    digests = {traced(forward, a=conv, b=conv) for _ in range(8)}
    assert len(digests) == 1
    assert random.getstate() == state


def test_the_batch_size_leaves_no_trace():
    assert graph(RESIDUAL, (16, 3, 32, 32))["digest"] == graph(RESIDUAL, (64, 3, 32, 32))["digest"]


def test_a_network_that_wants_its_own_batch_size_is_traced_with_it():
    digest = traced(lambda net, x: net.a(x).view(16, -1), a=conv)
    assert len(digest) == 64


def test_it_does_not_depend_on_hash_seeds_or_the_process():
    code = "from test_edit_pairs import graph; from edit_pairs import RESIDUAL; print(graph(RESIDUAL)['digest'])"
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == graph(RESIDUAL)["digest"], done.stderr[-500:]


def test_nodes_are_plain_data_in_an_order_in_which_inputs_come_first():
    found = graph(RESIDUAL)
    assert json.loads(json.dumps(found)) == found
    for place, (_, _, inputs, _) in enumerate(found["nodes"]):
        assert all((source[0] if isinstance(source, list) else source) < place for source in inputs)
    assert found["operations"] == sum(not node[0].startswith("=") for node in found["nodes"]) == 21


def test_a_long_graph_is_listed_in_part_and_an_endless_one_is_refused():
    def steps(count):
        def forward(net, x):
            for _ in range(count):
                x = (x + 1).relu()
            return x

        return forward

    with torch.device("meta"):
        network = type("Long", (nn.Module,), {"forward": lambda self, x: steps(600)(self, x)})()
    assert len(fingerprint(network, SHAPE)["nodes"]) == MAXIMUM_NODES_LISTED
    with pytest.raises(OverflowError):
        traced(steps(5000))


@pytest.mark.parametrize("forward", [lambda net, x: (x, x), lambda net, x: x.sum(), lambda net, x: x if x.sum() else 0])
def test_what_cannot_be_traced_raises(forward):
    with pytest.raises((ValueError, RuntimeError)):
        traced(forward)
