"""A trained network as ONNX with its card: what Lungsight runs, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lungsight.train.networks import PatchCNN

__all__ = ["export_windows", "write_weights"]

OPSET = 17


def export_windows(network: PatchCNN, *, half: bool = True) -> onnx.ModelProto:
    """The dense form of a window network (:meth:`PatchCNN.dense`) with its softmax, as ONNX.

    Written node by node rather than traced: the graph is short, and its weights can be stored in float16, to be cast to
    float32 when a session loads them.

    Parameters
    ----------
    network
        With context padding.
    half
        Store the weights in float16.

    Returns
    -------
    onnx.ModelProto
        Input ``field`` ``(n, 1, h, w)`` float32, output ``scores`` ``(n, 3, rows, columns)`` float32.

    Raises
    ------
    ValueError
        If the network pads with zeros: it sees its windows one by one and has no dense form.
    """
    if network.padding != "context":
        raise ValueError("only the network with context padding has a dense form")
    nodes, weights = [], []

    def constant(name: str, values: np.ndarray[Any, np.dtype[np.float32]]) -> str:
        stored = name + "_stored" if half else name
        weights.append(numpy_helper.from_array(values.astype(np.float16 if half else np.float32), stored))
        if half:
            nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
        return name

    def convolve(name: str, source: str, weight: Any, bias: Any, **attributes: Any) -> str:
        names = [source, constant(name + "_weight", weight.numpy()), constant(name + "_bias", bias.numpy())]
        nodes.append(helper.make_node("Conv", names, [name], **attributes))
        return name

    def rectify(source: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [source + "_relu"]))
        return source + "_relu"

    last = "field"
    for number, layer in enumerate(network.convolutions, 1):
        values = layer.state_dict()
        last = rectify(convolve(f"conv{number}", last, values["weight"], values["bias"]))
        if number in (2, 5):
            step = 2 if number == 2 else 1
            nodes.append(
                helper.make_node("MaxPool", [last], [f"pool{number}"], kernel_shape=[2, 2], strides=[step, step])
            )
            last = f"pool{number}"
    hidden = network.hidden.weight.detach().view(432, 108, 13, 13)
    last = rectify(convolve("hidden", last, hidden, network.hidden.bias.detach(), strides=[5, 5], dilations=[2, 2]))
    output = network.output.weight.detach()[:, :, None, None]
    last = convolve("output", last, output, network.output.bias.detach())
    nodes.append(helper.make_node("Softmax", [last], ["scores"], axis=1))
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("field", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, "rows", "columns"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_weights(folder: Path, model: onnx.ModelProto, card: Mapping[str, Any]) -> str:
    """Write ``model.onnx`` and ``card.json`` (with the hash), whole or not at all; gives the SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(content).hexdigest()
    text = json.dumps({**card, "sha256": sha256}, indent=1, ensure_ascii=False) + "\n"
    for name, data in (("model.onnx", content), ("card.json", text.encode())):
        temporary = folder / (name + ".part")
        temporary.write_bytes(data)
        temporary.replace(folder / name)
    return sha256
