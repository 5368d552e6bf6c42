"""The fingerprint of the computed graph: what it tells apart beyond the table of edits, and its bounds."""

import json
import subprocess
import sys

import pytest
import torch
from computed_graphs import graph
from edit_pairs import RESIDUAL
from torch import nn

from archloop.novelty.graph_fingerprint import fingerprint
from archloop.novelty.graph_record import MAXIMUM_NODES

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


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


def test_a_digest_is_the_one_that_corpora_hold():
    """Whoever moves it raises VERSION of the corpus, or new programs are compared with digests of another kind."""
    with torch.device("meta"):
        small = fingerprint(Small(), (16, 3, 8, 8))
    assert small["digest"] == "d33b42c988a0f174c1e4c11ad21650208bc6e5abc69908fe85c9419b27d80d83"
    assert [(node[0], node[2], node[3]) for node in small["nodes"]] == [
        ("=parameter", [], [10]),
        ("=image", [], [2, 3, 8, 8]),
        ("=parameter", [], [4, 3, 3, 3]),
        ("=parameter", [], [4]),
        ("convolution", [1, 2, 3], [2, 4, 8, 8]),
        ("relu", [4], [2, 4, 8, 8]),
        ("mean", [5], [2, 4]),
        ("=parameter", [], [10, 4]),
        ("t", [7], [4, 10]),
        ("addmm", [0, 6, 8], [2, 10]),
    ]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda net, x: x + 1, lambda net, x: x + 1.0),
        (lambda net, x: x * 2, lambda net, x: 2.0 * x),
        (lambda net, x: x + 0, lambda net, x: x),
        (lambda net, x: x / 1, lambda net, x: x - 0.0),
        (lambda net, x: x.relu() + x.tanh(), lambda net, x: x.tanh() + x.relu()),
        (lambda net, x: x.amax(-1, keepdim=True).flatten(1), lambda net, x: x.amax(3).flatten(1)),
        (lambda net, x: x.mean((2, 3), keepdim=True).flatten(1), lambda net, x: x.mean((3, 2))),
        (lambda net, x: x.flatten(1).unsqueeze(2), lambda net, x: x.view(x.shape[0], -1, 1)),
        (lambda net, x: x.squeeze(0).clone().contiguous(), lambda net, x: x),
        (lambda net, x: (x.tanh(), x.relu())[1], lambda net, x: x.relu_()),
        (lambda net, x: torch.unsafe_chunk(x, 3, 1)[1], lambda net, x: x.chunk(3, 1)[1]),
        (torch.inference_mode()(lambda net, x: x.reshape(2, -1)), lambda net, x: x.view(2, -1)),
    ],
    ids=range(12),
)
def test_what_computes_the_same_in_other_words_has_one_digest(one, two):
    assert traced(one) == traced(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda net, x: x + 1, lambda net, x: x + True * 2),
        (lambda net, x: x + 0.5, lambda net, x: x - 0.5),
        (lambda net, x: x.relu() - x.tanh(), lambda net, x: x.tanh() - x.relu()),
        (lambda net, x: torch.add(x, x.tanh(), alpha=2), lambda net, x: torch.add(x.tanh(), x, alpha=2)),
        (lambda net, x: x.split(1, 1)[0], lambda net, x: x.split(1, 1)[1]),
        (lambda net, x: x.sum(2), lambda net, x: x.sum(3)),
        (lambda net, x: x.var((2, 3)), lambda net, x: x.var((2, 3), unbiased=False)),
        (lambda net, x: x.double().float(), lambda net, x: x),
        (lambda net, x: x.transpose(2, 3), lambda net, x: x),
    ],
    ids=range(9),
)
def test_what_computes_something_else_has_another_digest(one, two):
    assert traced(one) != traced(two)


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

    expected = traced(lambda net, x: net.b(net.a(x)), a=conv, b=conv)  # the first number of seed 0 is 0.84
    for seed in (1, 5):  # states of their own, with 0.13 and 0.62 to come
        random.seed(seed)
        state = random.getstate()
        assert {traced(forward, a=conv, b=conv) for _ in range(4)} == {expected}
        assert random.getstate() == state


def test_the_batch_size_leaves_no_trace():
    assert graph(RESIDUAL, (16, 3, 32, 32))["digest"] == graph(RESIDUAL, (64, 3, 32, 32))["digest"]


def test_a_network_that_wants_its_own_batch_size_is_traced_with_it():
    digest = traced(lambda net, x: net.a(x).view(16, -1), a=conv)
    assert len(digest) == 64


def test_it_does_not_depend_on_hash_seeds_or_the_process():
    code = "from computed_graphs import graph; from edit_pairs import RESIDUAL; print(graph(RESIDUAL)['digest'])"
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == graph(RESIDUAL)["digest"], done.stderr[-500:]


def test_nodes_are_plain_data_in_an_order_in_which_inputs_come_first():
    residual = graph(RESIDUAL)
    assert json.loads(json.dumps(residual)) == residual
    for index, (_, _, inputs, _) in enumerate(residual["nodes"]):
        assert all((source[0] if isinstance(source, list) else source) < index for source in inputs)
    assert residual["operations"] == sum(not node[0].startswith("=") for node in residual["nodes"]) == 21


def test_a_long_graph_is_listed_in_part_and_an_endless_one_is_refused():
    def steps(count):
        def forward(net, x):
            for _ in range(count):
                x = (x + 1).relu()
            return x

        return forward

    with torch.device("meta"):
        network = type("Long", (nn.Module,), {"forward": lambda self, x: steps(600)(self, x)})()
    assert len(fingerprint(network, SHAPE)["nodes"]) == MAXIMUM_NODES
    with pytest.raises(OverflowError):
        traced(steps(5000))


@pytest.mark.parametrize(
    ("forward", "error", "says"),
    [
        (lambda net, x: (x, x), ValueError, "does not return one row for each image"),
        (lambda net, x: x.sum(), ValueError, "does not return one row for each image"),
        (lambda net, x: x[:1], ValueError, "does not return one row for each image"),
        (lambda net, x: x if x.sum() else 0, RuntimeError, "meta tensors"),
    ],
)
def test_what_cannot_be_traced_raises(forward, error, says):
    with pytest.raises(error, match=says):
        traced(forward)


def test_a_fingerprint_has_these_fields():
    with torch.device("meta"):
        small = fingerprint(Small(), SHAPE)
    assert set(small) == {"digest", "method", "operations", "nodes"}
    assert (small["method"], small["operations"], len(small["nodes"])) == ("trace", 5, 10)


def test_what_an_operation_writes_beside_its_result_is_an_output_of_it():
    """The noise of a random leaky ReLU is made before it and written in it."""
    with torch.device("meta"):
        network = nn.Sequential(nn.RReLU())
    last = fingerprint(network, (16, 3, 8, 8))["nodes"][-1]
    assert (last[0], last[3]) == ("rrelu_with_noise", [[2, 3, 8, 8], [2, 3, 8, 8]])


def test_a_tensor_that_another_one_is_made_of_without_an_operation_comes_from_the_same_place():
    plain = traced(lambda net, x: net.a(x), a=conv)
    assert (
        traced(lambda net, x: nn.Parameter(net.a(x)), a=conv) == plain == traced(lambda net, x: net.a(x).data, a=conv)
    )
