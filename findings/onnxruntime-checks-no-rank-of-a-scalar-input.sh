#!/usr/bin/env bash
# onnxruntime==1.32.0: an input that a model declares as a scalar (shape []) takes an array of any rank, and the output
# then has another rank than the model declares. The rank of every other input is checked ("Invalid rank for input").
# A NumPy scalar, np.float32(2), is refused, as is a number of Python ("Unable to handle object of type"), but a list of
# one is taken. So whoever gives one weight a row to a model of one weight is told nothing and gets some other product:
# below, rows [3] times a declared scalar of shape [2, 3] give [2, 3], where the model declares [3]. Exits with 0 while
# this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2
"$folder/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

rows, scalar, product = (
    helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [3]), ("w", []), ("y", [3]))
)
graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "scaled", [rows, scalar], [product])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnxruntime.set_default_logger_severity(4)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
ones = np.ones(3, np.float32)


def given(x, w):
    """The shape of the product, or what onnxruntime says."""
    try:
        return session.run(None, {"x": x, "w": w})[0].shape
    except Exception as error:
        return str(error)


print("declared: w", session.get_inputs()[1].shape, "y", session.get_outputs()[0].shape)
found = {
    "w of shape []": given(ones, np.asarray(2, np.float32)),
    "w of shape [3]": given(ones, ones),
    "w of shape [2, 3]": given(ones, np.ones((2, 3), np.float32)),
    "w = [2.0], a list": given(ones, [2.0]),
    "w = np.float32(2)": given(ones, np.float32(2)),
    "x of shape [1, 3]": given(ones[None], np.asarray(2, np.float32)),
}
for case, said in found.items():
    print(f"{case}: {said}")
assert [found[f"w of shape {shape}"] for shape in ("[]", "[3]", "[2, 3]")] == [(3,), (3,), (2, 3)]
assert found["w = [2.0], a list"] == (3,) and "Unable to handle" in found["w = np.float32(2)"]
assert "Invalid rank" in found["x of shape [1, 3]"]
PY
