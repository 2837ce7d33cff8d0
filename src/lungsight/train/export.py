"""A trained network as ONNX with its card: what Lungsight runs, and what is known of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lungsight.detect.windows import MARGIN_PX, WINDOW_PX
from lungsight.runtime import DENSE, WINDOW_BY_WINDOW
from lungsight.train.networks import WindowModule

__all__ = ["export_windows", "form_of", "write_networks"]

OPSET = 17


def export_windows(network: WindowModule, *, half: bool = True) -> onnx.ModelProto:
    """What :meth:`WindowModule.dense` does, with its softmax, as ONNX; window by window for one that pads with zeros.

    Written node by node rather than traced: the graph is short, and its weights can be stored in float16, to be cast to
    float32 when a session loads them.

    Parameters
    ----------
    network
        Any window network. The card must tell its form, see :func:`form_of`.
    half
        Store the weights in float16.

    Returns
    -------
    onnx.ModelProto
        Input ``field`` ``(n, 1, h, w)`` float32, output ``scores`` ``(n, 3, rows, columns)`` float32. Window by window,
        ``h`` and ``w`` are 68 and the output has one row and column: the margin is cut off inside.
    """
    dense = form_of(network) == DENSE
    graph = _Graph(half=half)
    last = "field" if dense else graph.cut("field")
    pads = [0 if dense else 1] * 4
    for number, layer in enumerate(network.convolutions, 1):
        values = layer.state_dict()
        last = graph.rectify(graph.convolve(f"conv{number}", last, values["weight"], values["bias"], pads=pads))
        if number in network.pooled_after:
            # The last pooling of a dense network runs at stride 1, the dense layer then takes every second pixel.
            stride = 1 if dense and number == network.pooled_after[-1] else 2
            last = graph.pool(f"pool{number}", last, stride, ceil_mode=0 if dense else 1)
    channels = len(values["bias"])
    side = math.isqrt(network.hidden.in_features // channels)
    hidden = network.hidden.weight.detach().view(-1, channels, side, side)
    steps = {"strides": [5, 5], "dilations": [2, 2]} if dense else {}
    last = graph.rectify(graph.convolve("hidden", last, hidden, network.hidden.bias.detach(), **steps))
    output = network.output.weight.detach()[:, :, None, None]
    last = graph.convolve("output", last, output, network.output.bias.detach())
    return graph.finish(last)


def form_of(network: WindowModule) -> str:
    """How an exported network must be run: ``"dense"``, or ``"window by window"``."""
    return DENSE if network.padding == "context" else WINDOW_BY_WINDOW


class _Graph:
    """An ONNX graph, node by node; each method takes names of tensors and gives the new one's."""

    def __init__(self, *, half: bool) -> None:
        self._half = half
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def _constant(self, name: str, values: np.ndarray[Any, np.dtype[np.float32]]) -> str:
        stored = name + "_stored" if self._half else name
        self._weights.append(numpy_helper.from_array(values.astype(np.float16 if self._half else np.float32), stored))
        if self._half:
            self._nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
        return name

    def convolve(self, name: str, source: str, weight: Any, bias: Any, **attributes: Any) -> str:
        names = [source, self._constant(name + "_weight", weight.numpy()), self._constant(name + "_bias", bias.numpy())]
        self._nodes.append(helper.make_node("Conv", names, [name], **attributes))
        return name

    def rectify(self, source: str) -> str:
        self._nodes.append(helper.make_node("Relu", [source], [source + "_relu"]))
        return source + "_relu"

    def pool(self, name: str, source: str, stride: int, ceil_mode: int) -> str:
        strides = [stride, stride]
        self._nodes.append(
            helper.make_node("MaxPool", [source], [name], kernel_shape=[2, 2], strides=strides, ceil_mode=ceil_mode)
        )
        return name

    def cut(self, source: str) -> str:
        """The window without its margin."""
        for name, values in (("first", [MARGIN_PX] * 2), ("end", [MARGIN_PX + WINDOW_PX] * 2), ("axes", [2, 3])):
            self._weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        self._nodes.append(helper.make_node("Slice", [source, "first", "end", "axes"], ["window"]))
        return "window"

    def finish(self, logits: str) -> onnx.ModelProto:
        self._nodes.append(helper.make_node("Softmax", [logits], ["scores"], axis=1))
        graph = helper.make_graph(
            self._nodes,
            "windows",
            [helper.make_tensor_value_info("field", TensorProto.FLOAT, ["n", 1, "h", "w"])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, "rows", "columns"])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


def write_networks(folder: Path, networks: Mapping[str, onnx.ModelProto], card: Mapping[str, Any]) -> dict[str, str]:
    """Write ``<name>.onnx`` of each and then ``card.json``, each file whole or not at all.

    Parameters
    ----------
    folder
        Made if it is not there.
    networks
        By name, see :mod:`lungsight.runtime` for the names.
    card
        What is known of them.

    Returns
    -------
    dict
        SHA-256 of each, which the card gets as its ``networks``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: model.SerializeToString(deterministic=True) for name, model in networks.items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    text = json.dumps({**card, "networks": hashes}, indent=1, ensure_ascii=False) + "\n"
    for name, data in (
        *((f"{name}.onnx", content) for name, content in contents.items()),
        ("card.json", text.encode()),
    ):
        temporary = folder / (name + ".part")
        temporary.write_bytes(data)
        temporary.replace(folder / name)
    return hashes
