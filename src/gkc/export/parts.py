"""ONNX loops that work on many classes a few at a time, as `torch.split` and a loop of Python do."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, compose, helper

_AXIS = 1
"""Of classes, in all that is split."""


def split(value: str, size: int) -> list[NodeProto]:
    """Nodes that make the parts of `value`: its classes, `size` at a time; the last part may be smaller."""
    return [
        helper.make_node("Constant", [], [f"{value}_size"], value_int=size),
        helper.make_node("SplitToSequence", [value, f"{value}_size"], [_parts(value)], axis=_AXIS),
    ]


def join(value: str) -> list[NodeProto]:
    """Nodes that make `value` of its parts."""
    return [helper.make_node("ConcatFromSequence", [_parts(value)], [value], axis=_AXIS)]


def loop(step: GraphProto, parts: Sequence[str], made: str, sums: Sequence[tuple[str, str]]) -> list[NodeProto]:
    """Nodes that run a step for every part.

    Args:
        step: its first inputs are a part of each of `parts`; the others are values around the loop, by their names. Its
            first output is a part of `made`, the others are summands.
        parts: values of which there are parts.
        made: the value of which the loop makes the parts, and the loop's own name.
        sums: for each summand, the value that its sum begins with, and the name of the sum.
    """
    inner = compose.add_prefix_graph(step, f"{made}/", rename_inputs=False, rename_outputs=False)
    taken, (result, *summands) = inner.input[: len(parts)], [output.name for output in inner.output]
    before, after = f"{made}/before", f"{made}/after"
    totals = [(f"{before}/{summand}", f"{after}/{summand}") for summand in summands]
    nodes = [
        *(
            helper.make_node("SequenceAt", [_parts(part), "turn"], [own.name])
            for part, own in zip(parts, taken, strict=True)
        ),
        *inner.node,
        helper.make_node("SequenceInsert", [before, result], [after]),
        *(helper.make_node("Add", [old, summand], [new]) for (old, new), summand in zip(totals, summands, strict=True)),
        helper.make_node("Identity", ["on"], ["still_on"]),
    ]
    body = helper.make_graph(
        nodes,
        made,
        [_scalar("turn", TensorProto.INT64), _scalar("on", TensorProto.BOOL), _sequence(before)]
        + [_tensor(old) for old, _ in totals],
        [_scalar("still_on", TensorProto.BOOL), _sequence(after), *(_tensor(new) for _, new in totals)],
        initializer=inner.initializer,
        value_info=[*inner.value_info, *taken],
    )
    turns, none = f"{made}_turns", f"{made}_none"
    starts, ends = [start for start, _ in sums], [end for _, end in sums]
    return [
        helper.make_node("SequenceLength", [_parts(parts[0])], [turns]),
        helper.make_node("SequenceEmpty", [], [none]),
        helper.make_node("Loop", [turns, "", none, *starts], [_parts(made), *ends], name=made, body=body),
    ]


def _parts(value: str) -> str:
    return f"{value}_parts"


def _scalar(name: str, kind: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [])


def _tensor(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _sequence(name: str) -> ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None)
