"""In which numbers training computes: bfloat16 where the processor has instructions for it, else float32."""

from __future__ import annotations

import torch

__all__ = ["computing", "has_bfloat16"]

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""As :func:`torch.cpu.get_capabilities` names them: two of x86-64, one of arm64."""


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16 itself.

    On one that does not, PyTorch's convolutions in bfloat16 are many times slower than in float32.
    """
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in _INSTRUCTIONS)


def computing(bfloat16: bool = True) -> torch.autocast:
    """Within it convolutions and products are computed in bfloat16, if that is wanted and the processor has it.

    Weights stay float32.

    Examples
    --------
    >>> image, filters = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    >>> with computing(bfloat16=False):
    ...     print(torch.nn.functional.conv2d(image, filters).dtype)
    torch.float32
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and has_bfloat16())
