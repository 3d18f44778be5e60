"""Two regressions whose likeness is a number: the experiment by which MMoE was introduced.

Both targets are the same bent function of one projection of the input each; the cosine between the two directions is
what is set, and the correlation of the targets follows it. Unusual: the paper leaves the frequencies and phases of its
sines open; here they are 1, 2, ..., m and 0, so that networks of a page's size can learn them.

Source: Ma et al. 2018, MMoE, section 3.2, equations 2-4.
Shapes: N rows, D width, m sines.
"""

import torch
from torch import Tensor

from kb.arguments import is_integer, is_number, require_count


def correlated_tasks(
    rows: int, width: int, cosine: float, *, seed: int, sines: int = 4, scale: float = 1.0, noise: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Inputs [N, D], each number normal, and two targets [N, 2].

    Args:
        rows: N.
        width: D, at least 2.
        cosine: Of the angle between the two directions, -1 to 1.
        seed: Of directions, inputs and noise. The same seed draws the same inputs and first target for every cosine.
        sines: m.
        scale: Length of both directions, c of the paper.
        noise: Standard deviation of what is added to each target.

    Raises:
        ValueError: a value is out of its range.
    """
    require_count("rows", rows)
    require_count("width", width, least=2)
    require_count("sines", sines, least=0)
    if not is_number(cosine) or not -1 <= cosine <= 1:
        raise ValueError(f"cosine must be a number of -1 to 1, got {cosine!r}")
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not is_number(scale) or scale <= 0 or not is_number(noise) or noise < 0:
        raise ValueError(f"scale must be above 0 and noise at least 0, got {scale!r} and {noise!r}")
    generator = torch.Generator().manual_seed(seed)
    basis_D2 = torch.linalg.qr(torch.randn(width, 2, generator=generator)).Q
    second_D = cosine * basis_D2[:, 0] + (1 - cosine**2) ** 0.5 * basis_D2[:, 1]
    x_ND = torch.randn(rows, width, generator=generator)
    along_N2 = scale * x_ND @ torch.stack([basis_D2[:, 0], second_D], 1)
    target_N2 = along_N2 + sum(torch.sin(i * along_N2) for i in range(1, sines + 1))
    return x_ND, target_N2 + noise * torch.randn(rows, 2, generator=generator)
