"""The record of what a network computes, as fingerprints give it and evaluations on disk hold it.

Apart from the tracing, so that those who read records need no torch.
"""

from typing import Any, TypedDict

MAXIMUM_NODES = 500  # of a graph, that are listed

# An operation as JSON has it: [operation, settings, inputs, shape].
NodeRecord = list[Any]


class GraphRecord(TypedDict):
    """What a network computes.

    digest: sha256 in hexadecimal. method: `trace`. operations: how many remain. nodes: the first
    MAXIMUM_NODES in canonical order; an input is the index of an earlier node, or [index, output]
    where it has several.
    """

    digest: str
    method: str
    operations: int
    nodes: list[NodeRecord]
