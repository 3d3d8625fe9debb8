"""Matrix products with a weight matrix."""

from __future__ import annotations

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Quantity, Roofline, roofline

GemmConstants = Roofline


def gemm(
    m: Quantity,
    k: Quantity,
    n: Quantity,
    *,
    gpu: Gpu,
    constants: GemmConstants,
    weight_bytes: float,
    activation_bytes: float,
) -> OperatorCost:
    """Cost of ``C[m, n] = A[m, k] B[k, n]`` with a weight ``B``.

    Parameters
    ----------
    m, k, n : array_like
        Tokens, inputs and outputs on this GPU. [1]
    weight_bytes, activation_bytes : float
        Bytes per value of ``B``, and of ``A`` and ``C``. [bytes]

    Notes
    -----
    ``2 m k n`` FLOPs; every matrix is read or written once.
    """
    flops = 2.0 * m * k * n
    moved = (k + n) * activation_bytes * m + k * weight_bytes * n
    return roofline(flops, moved, gpu, constants)
