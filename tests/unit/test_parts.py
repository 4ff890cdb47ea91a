from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gkc.export.parts import join, loop, split


def tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.fixture(scope="module")
def graph():
    """Rows [1, T, 3] plus others, times 10; with the sum of all rows and two runs of one step."""
    step = helper.make_graph(
        [
            helper.make_node("Add", ["row", "other"], ["both"]),
            helper.make_node("Mul", ["both", "ten"], ["scaled"]),
            helper.make_node("ReduceSum", ["row", "axes"], ["summand"]),
        ],
        "step",
        [tensor("row", [1, "t", 3]), tensor("other", [1, "t", 3])],
        [tensor("scaled", [1, "t", 3]), tensor("summand", [1, 1, 3])],
        initializer=[
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    whole = helper.make_graph(
        [
            *split("rows", 4), *split("others", 4),
            *loop(step, ["rows", "others"], "once", [("start", "sum")]),
            *loop(step, ["once", "others"], "twice", [("sum", "sum_of_both")]),
            *join("twice"),
        ],
        "graph",
        [tensor("rows", [1, "T", 3]), tensor("others", [1, "T", 3]), tensor("start", [1, 1, 3])],
        [tensor("twice", [1, "T", 3]), tensor("sum", [1, 1, 3]), tensor("sum_of_both", [1, 1, 3])],
        initializer=[helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])],
    )  # fmt: skip
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_parts_of_any_number_make_what_all_make_together(graph, count):
    rows, others, start = (np.random.default_rng(0).random((1, n, 3), dtype=np.float32) for n in (count, count, 1))
    twice, total, of_both = graph.run(None, {"rows": rows, "others": others, "start": start})
    once = (rows + others) * 10
    np.testing.assert_allclose(twice, (once + others) * 10, rtol=1e-6)
    np.testing.assert_allclose(total, start + rows.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(of_both, start + (rows + once).sum(1, keepdims=True), rtol=1e-5)
