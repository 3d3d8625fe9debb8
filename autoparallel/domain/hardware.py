"""One kind of GPU and the links between its copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoparallel.domain.dtypes import WIDER


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link of one GPU to others, counted one way.

    ``topology`` is ``"switch"`` (any pair gets the whole bandwidth), ``"rail"`` (between nodes: only the
    NICs of equal GPUs reach each other) or ``"mesh"`` (inside a node: the bandwidth is
    the sum over all peers, each pair has its share).

    ``nics_per_node`` is for links between nodes: the NICs that all GPUs of a node share, the bandwidth
    that of one NIC. ``None`` is a NIC for each GPU.
    """

    bandwidth_gb_per_s: float
    latency_us: float
    efficiency: float = 1.0
    topology: str = "switch"
    nics_per_node: int | None = None


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A GPU, the node it sits in, and what share of its data sheet programs reach.

    Attributes
    ----------
    memory_gb : float
        Physical memory. [1e9 bytes]
    reserved_gb : float
        Memory that the driver, the runtime and the engine's own graphs take. [1e9 bytes]
    peak_tflops : mapping of str to float
        Dense peak by number format (:class:`~autoparallel.domain.dtypes.Dtype`.compute). [1e12 FLOP/s]
    compute_efficiency, memory_efficiency : float
        Share of peak and bandwidth that a large operator reaches. [1]
    gpus_per_node : int
        GPUs of one scale-up domain.
    scale_up, scale_out : Link
        Links inside a node and between nodes, per GPU.
    streaming_multiprocessors : int
        Compute units, 0 where unknown.
    kernels : mapping
        Constants fitted to measurements, by operator and number format (see ``performance.kernels``);
        empty where every operator is a roofline with the two efficiencies.
    calibration : str
        Where ``kernels`` come from: ``"h100_sxm trtllm"`` was measured on this GPU, ``"default vllm"``
        on others, empty where there are none.
    own_calibration : bool
        Whether the user measured them, on servers like those that are planned for.
    system : str
        Name of the GPU in measured tables, such as ``"h100_sxm"``.
    l2_cache_mb : float
        Last-level cache, 0 where unknown; matters to benchmarks that repeat themselves only. [1e6 bytes]
    """

    name: str
    memory_gb: float
    memory_bandwidth_gb_per_s: float
    peak_tflops: Mapping[str, float]
    gpus_per_node: int
    scale_up: Link
    scale_out: Link
    compute_efficiency: float = 0.6
    memory_efficiency: float = 0.8
    reserved_gb: float = 2.0
    streaming_multiprocessors: int = 0
    power_w: float | None = None
    usd_per_gpu_hour: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    calibration: str = ""
    own_calibration: bool = False
    system: str = ""
    l2_cache_mb: float = 0.0

    def compute_dtype(self, dtype: str) -> str:
        """The format in which this GPU multiplies values of ``dtype``.

        Raises
        ------
        KeyError
            The GPU has no peak for the format nor for any wider one.
        """
        for candidate in (dtype, *WIDER[dtype]):
            if candidate in self.peak_tflops:
                return candidate
        raise KeyError(dtype)
