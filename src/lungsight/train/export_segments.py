"""The networks of `segments` as ONNX, in one folder with one card."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from lungsight.diagnose.cuts import BLOCK_SLICES, CUT_PX, SHEAF_PLACES
from lungsight.train.export import OPSET
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.unet import UNet

__all__ = ["export_nodule_network", "export_unet"]

_STORED_WHOLE = 64
"""Weights of fewer numbers stay float32: biases, which weigh nothing on disk."""


def export_unet(network: UNet) -> onnx.ModelProto:
    """Fields ``(n, 1, h, w)`` in, scores ``(n, 1, h, w)`` out; rows and columns multiples of 16."""
    free = {0: "n", 2: "h", 3: "w"}
    return _export(_Scores(network), torch.zeros(1, 1, 64, 96), free, free)


def export_nodule_network(network: NoduleNetwork) -> onnx.ModelProto:
    """Cuts ``(n, slices, 64, 64)`` in, scores ``(n, 1)`` out: the first of what the network says."""
    slices = len(SHEAF_PLACES) if network.slices is None else BLOCK_SLICES
    return _export(_FirstScore(network), torch.zeros(2, slices, CUT_PX, CUT_PX), {0: "n"}, {0: "n"})


class _Scores(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, field: Tensor) -> Tensor:
        scores: Tensor = self.network(field).sigmoid()
        return scores


class _FirstScore(_Scores):
    def forward(self, field: Tensor) -> Tensor:
        return self.network(field)[:, :1].sigmoid()  # type: ignore[no-any-return]


def _export(network: nn.Module, example: Tensor, free_in: dict[int, str], free_out: dict[int, str]) -> onnx.ModelProto:
    """Traced, batch normalisation folded into the convolutions, weights stored in float16."""
    content = BytesIO()
    with warnings.catch_warnings():
        # The newer exporter writes more nodes for the same network and takes a minute for it.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Uneven padding is left to the engines to fold.
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
        torch.onnx.export(
            network.eval(),
            (example.contiguous(),),
            content,  # type: ignore[arg-type]  # a file-like object will do
            input_names=["field"],
            output_names=["scores"],
            dynamic_axes={"field": free_in, "scores": free_out},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(content.getvalue())
    model.producer_name, model.producer_version, model.doc_string = "", "", ""
    _halve(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def _halve(graph: onnx.GraphProto) -> None:
    """Store weights in float16, to be cast to float32 when a session loads them."""
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= _STORED_WHOLE:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_stored"))
            casts.append(helper.make_node("Cast", [name + "_stored"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
