"""Training computes in bfloat16 only where the processor does so itself: elsewhere it would be many times slower."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lungsight.train.fit import FitConfig, fit
from lungsight.train.networks import Learner
from lungsight.train.precision import computing, has_bfloat16

OLD, NEW_X86, NEW_ARM = {"avx2": True, "avx512_bf16": False}, {"avx2": True, "avx512_bf16": True}, {"bf16": True}


class Telling(Learner):
    """Remembers in what its product was computed."""

    measured = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2))
        self.computed: set[torch.dtype] = set()

    def losses(self, field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        product = field @ self.weight
        self.computed.add(product.dtype)
        return product.float().sum(), torch.tensor(0.0), torch.tensor(1.0)


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: request.param)


@pytest.mark.parametrize(
    ("capabilities", "there"), [(OLD, False), (NEW_X86, True), (NEW_ARM, True), ({}, False)], indirect=["capabilities"]
)
@pytest.mark.usefixtures("capabilities")
def test_a_processor_has_bfloat16_if_it_says_so(there: bool) -> None:
    assert has_bfloat16() is there
    expected = torch.bfloat16 if there else torch.float32
    with computing():
        assert functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype is expected


@pytest.mark.parametrize(
    ("capabilities", "wanted", "computed"),
    [(NEW_X86, True, torch.bfloat16), (NEW_X86, False, torch.float32), (OLD, True, torch.float32)],
    indirect=["capabilities"],
)
@pytest.mark.usefixtures("capabilities")
def test_a_fit_computes_in_bfloat16_if_wanted_and_there(
    wanted: bool, computed: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    network = Telling()
    config = FitConfig(batches=1, warm_up=1, bfloat16=wanted)
    fit(network, lambda _step, _network: (torch.ones(1, 2),), config, tmp_path_factory.mktemp("run"), lambda _: None)
    assert network.computed == {computed}
