"""A router in ONNX, written with ``onnx.helper``: inputs features [N, D] and cost_weight [], any number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxroute._lazy import install
from jaxroute.serving.exports import program
from jaxroute.serving.portable import Portable
from jaxroute.system.wording import here
from jaxroute.types import InputError

OPSET, IR_VERSION = 18, 8
HALVED = 64
"""Arrays of as many numbers or more are stored as float16 where that is asked for; smaller ones save nothing."""


def model(router: Portable, metadata: dict[str, str], half: bool = False) -> bytes:
    """The serialised model, checked by ``onnx.checker``.

    Args:
        router: any. metadata: of the model, by name. half: whether constants that float16 holds exactly, such as
            weights that were rounded (``writing.rounded``), are stored as float16; they are computed with as float32.

    Raises:
        InputError: the package ``onnx`` is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ModuleNotFoundError:
        raise InputError(f"{here('form onnx', '--format onnx')} needs the package onnx; {install('onnx')}") from None
    graph = Graph(helper, half)
    x, weight = Value(graph, "features"), Value(graph, "cost_weight")
    named = program.outputs(graph, router, router.kind, router.arrays, router.settings, x, weight)
    for name, value in named.items():
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
    shape = ["N", len(router.models)]
    inputs = [("features", ["N", router.num_features]), ("cost_weight", [])]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "router",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in named],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxroute",
    )
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


class Graph:
    """Nodes and constants, made by operations that have the names and the meaning of ``jax.numpy``'s."""

    def __init__(self, helper: Any, half: bool) -> None:
        self.helper, self.half = helper, half
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.known: dict[tuple[bytes, Any, Any], Value] = {}

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> Value:
        names = [self.value(one).name for one in inputs]  # first: a constant of float16 adds a node of its own
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, names, [name], **attributes))
        return Value(self, name)

    def value(self, one: Any) -> Value:
        """A value of the graph: itself, or an array as a constant, each stored once."""
        if isinstance(one, Value):
            return one
        array = np.ascontiguousarray(one) if np.ndim(one) else np.asarray(one)
        key = array.tobytes(), array.dtype, array.shape
        if key not in self.known:
            self.known[key] = self._constant(array)
        return self.known[key]

    def _constant(self, array: np.ndarray) -> Value:
        from onnx import TensorProto, numpy_helper

        name = f"c{len(self.constants)}"
        halved = self.half and array.dtype == np.float32 and array.size >= HALVED
        halved = halved and bool((np.abs(array) <= float(np.finfo(np.float16).max)).all())
        halved = halved and bool((array.astype(np.float16) == array).all())
        self.constants.append(numpy_helper.from_array(array.astype(np.float16) if halved else array, name))
        stored = Value(self, name)
        return self.node("Cast", stored, to=TensorProto.FLOAT) if halved else stored

    def abs(self, x: Any) -> Value:
        return self.node("Abs", x)

    def exp(self, x: Any) -> Value:
        return self.node("Exp", x)

    def log(self, x: Any) -> Value:
        return self.node("Log", x)

    def tanh(self, x: Any) -> Value:
        return self.node("Tanh", x)

    def maximum(self, x: Any, y: Any) -> Value:
        return self.node("Max", x, y)

    def minimum(self, x: Any, y: Any) -> Value:
        return self.node("Min", x, y)

    def where(self, condition: Any, x: Any, y: Any) -> Value:
        return self.node("Where", condition, x, y)

    def take(self, x: Any, index: Any, axis: int) -> Value:
        return self.node("Gather", x, index, axis=axis)

    def argmin(self, x: Any, axis: int) -> Value:
        return self.node("ArgMin", x, axis=axis, keepdims=0)

    def sum(self, x: Any, axis: int) -> Value:
        return self.node("ReduceSum", x, np.array([axis]), keepdims=0)


class Value:
    """An output of a node, with Python's operators."""

    __array_ufunc__ = None  # NumPy leaves array + Value to Value

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Value:
        return self.graph.node("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self if isinstance(other, int) and other == 0 else self.graph.node("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.graph.node("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self.graph.node("Div", self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.graph.node("MatMul", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.graph.node("GreaterOrEqual", self, other)

    def astype(self, dtype: Any) -> Value:
        return self.graph.node("Cast", self, to=self.graph.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
