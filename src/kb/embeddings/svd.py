"""The largest singular values of a large sparse matrix, by subspace iteration from random vectors.

Unusual: signs are fixed (the largest component of each left vector is positive), so that the result is one.

Source: Halko, Martinsson and Tropp 2011, Finding Structure with Randomness, algorithms 4.4 and 5.1.
Shapes: A rows, B columns, K components, L = K + oversampling.
"""

import numpy as np
from scipy import sparse

from kb.arguments import require_count


def truncated_svd(
    matrix_AB: sparse.spmatrix | np.ndarray, size: int, *, iterations: int = 5, oversampling: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left vectors (A, K), falling singular values (K,), right vectors (K, B): nearly the best product of rank K.

    Args:
        matrix_AB: Anything that multiplies dense matrices; float32 stays float32, and takes half the time.
        size: K.
        iterations: More of them bring slowly falling singular values nearer to the truth.
        oversampling: Directions followed beyond K.
        seed: Of the first directions.

    Raises:
        ValueError: not a matrix, or not finite; ``size`` is not from 1 to the shorter side, or another count is none.
    """
    if len(matrix_AB.shape) != 2:
        raise ValueError(f"matrix_AB must have two axes, got shape {matrix_AB.shape}")
    if not np.isfinite(matrix_AB.data if sparse.issparse(matrix_AB) else matrix_AB).all():
        raise ValueError("matrix_AB must be finite")
    A, B = matrix_AB.shape
    require_count("size", size)
    require_count("iterations", iterations)
    require_count("oversampling", oversampling, least=0)
    if size > min(A, B):
        raise ValueError(f"size must be at most {min(A, B)}, the shorter side of the matrix, got {size}")
    L = min(size + oversampling, A, B)
    dtype = np.result_type(matrix_AB.dtype, np.float32)
    basis_AL = matrix_AB @ np.random.default_rng(seed).standard_normal((B, L)).astype(dtype)
    for _ in range(iterations):
        basis_AL = np.linalg.qr(basis_AL)[0]
        basis_BL = np.linalg.qr(matrix_AB.T @ basis_AL)[0]
        basis_AL = matrix_AB @ basis_BL
    basis_AL = np.linalg.qr(basis_AL)[0]
    small_LB = np.asarray((matrix_AB.T @ basis_AL).T)
    left_LL, singular_L, right_LB = np.linalg.svd(small_LB, full_matrices=False)
    left_AK = basis_AL @ left_LL[:, :size]
    signs_K = np.sign(left_AK[np.abs(left_AK).argmax(axis=0), np.arange(size)])
    return left_AK * signs_K, singular_L[:size], right_LB[:size] * signs_K[:, None]
