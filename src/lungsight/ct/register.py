"""Two CTs of one patient: the rigid motion that takes a place in the one to the same place in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError

__all__ = ["Rigid", "register_rigid"]

_GRID_MM = 4.0
"""Both CTs are thinned to about this; the lungs' and ribs' borders place it to a fraction."""
_AIR_HU, _BONE_HU = -1000.0, 300.0
_LEAST_CORRELATION = 0.5
"""Of HU on the overlap; two CTs of one chest reach 0.9, unlike bodies less than this."""
_SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Rigid:
    """A rotation and a shift of LPS points.

    Attributes
    ----------
    rotation
        Shape ``(3, 3)``.
    shift_mm
        Shape ``(3,)``: ``point -> rotation @ point + shift_mm``.
    """

    rotation: NDArray[np.float64]
    shift_mm: NDArray[np.float64]

    def __call__(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """The points, shape ``(..., 3)``, where they lie in the other CT."""
        moved: NDArray[np.float64] = np.asarray(points_lps, np.float64) @ self.rotation.T + self.shift_mm
        return moved


def register_rigid(fixed: CTVolume, moving: CTVolume) -> Rigid:
    """The motion from places in one CT to the same places in another.

    Parameters
    ----------
    fixed, moving
        Two CTs of one chest, on any grids.

    Returns
    -------
    Rigid
        Takes LPS points of `fixed` to LPS points of `moving`. Lungs breathe: a rigid motion fits the ribs and spine
        best, and leaves some mm at the diaphragm.

    Raises
    ------
    InputError
        If SimpleITK is not installed, or the two do not show the same body.

    Notes
    -----
    SimpleITK: Euler angles, started at the centres of mass, mutual information (Mattes) on three resolutions.
    """
    try:
        import SimpleITK  # noqa: PLC0415 - 264 MB that few need
    except ImportError as error:
        raise InputError(
            "an earlier CT to compare with, which needs SimpleITK", "SimpleITK", "pip install 'lungsight[registration]'"
        ) from error
    sitk: Any = SimpleITK  # its functions carry no types
    target, source = _image(sitk, fixed), _image(sitk, moving)
    start = sitk.CenteredTransformInitializer(
        target, source, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(learningRate=2.0, minStep=1e-3, numberOfIterations=100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(target, source)
    except RuntimeError as error:
        raise _unlike(f"they do not overlap ({str(error).splitlines()[-1].strip()})") from error
    correlation = _correlation(sitk, target, source, start)
    if not correlation >= _LEAST_CORRELATION:
        raise _unlike(f"after registration their HU correlate by {correlation:.2f}")
    euler = sitk.Euler3DTransform(start)
    rotation = np.array(euler.GetMatrix()).reshape(3, 3)
    centre = np.array(euler.GetCenter())
    return Rigid(rotation, centre + np.array(euler.GetTranslation()) - rotation @ centre)


def _unlike(what: str) -> InputError:
    return InputError(
        f"two CTs that are not alike: {what}",
        f"two CTs of one patient's chest (a correlation of {_LEAST_CORRELATION} or more)",
        "Check that --prior names an earlier chest CT of the same patient.",
    )


def _image(sitk: Any, ct: CTVolume) -> Any:
    """The CT, thinned by means over blocks, as SimpleITK's image in LPS."""
    spacing = np.array(ct.spacing_zyx_mm)
    factors = np.clip(np.rint(_GRID_MM / spacing).astype(int), 1, np.array(ct.shape))
    counts = np.array(ct.shape) // factors
    cut = ct.hu[tuple(slice(0, n * f) for n, f in zip(counts, factors, strict=True))]
    blocks = cut.reshape([size for pair in zip(counts, factors, strict=True) for size in pair])
    hu = np.clip(blocks.mean((1, 3, 5), dtype=np.float32), _AIR_HU, _BONE_HU)
    # Air counts as nothing, so that the centre of mass is that of the body.
    image = sitk.GetImageFromArray(hu - np.float32(_AIR_HU))
    steps = ct.affine[:3, :3] * factors
    lengths = np.linalg.norm(steps, axis=0)
    image.SetSpacing(lengths[::-1].tolist())
    image.SetDirection((steps / lengths)[:, ::-1].ravel().tolist())
    image.SetOrigin(ct.to_lps((factors - 1) / 2).tolist())
    return image


def _correlation(sitk: Any, target: Any, source: Any, transform: Any) -> float:
    outside = -1.0
    moved = sitk.GetArrayFromImage(sitk.Resample(source, target, transform, sitk.sitkLinear, outside))
    inside = moved > outside / 2
    if inside.mean() < 0.1:
        return 0.0
    return float(np.corrcoef(sitk.GetArrayFromImage(target)[inside], moved[inside])[0, 1])
