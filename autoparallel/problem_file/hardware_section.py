"""Builds the hardware from its table."""

from __future__ import annotations

from autoparallel.catalog import load_gpu
from autoparallel.catalog.loader import ABOUT
from autoparallel.domain.hardware import Hardware, Link
from autoparallel.errors import ProblemError
from autoparallel.problem_file.calibration_choice import Calibration, choose_calibration
from autoparallel.problem_file.document import Document
from autoparallel.problem_file.faults import Faults, checked
from autoparallel.problem_file.schema import HardwareSection, LinkSection

REQUIRED = (
    "memory_gb",
    "memory_bandwidth_gb_per_s",
    "peak_tflops",
    "gpus_per_node",
    "scale_up",
    "scale_out",
)
# The GPU whose latencies a link takes that states none, as those of the catalog do.
LATENCIES_OF = "h100-sxm"


def build_hardware(section: HardwareSection, bad: frozenset[str], faults: Faults) -> Hardware | None:
    """Build the hardware, or note why it cannot be and return ``None``."""
    before = len(faults.found)
    missing = [key for key in REQUIRED if getattr(section, key) is None and key not in bad]
    for key in missing:
        faults.add(("hardware", key), "is missing; give it, or name a GPU of the catalog: gpu = ...")
    if section.name is None and section.gpu is None and not bad & {"name", "gpu"}:
        faults.add(("hardware", "name"), "is missing: name the card, or take one of the catalog: gpu = ...")
    if section.memory_gb is not None and (section.reserved_gb or 0) >= section.memory_gb:
        faults.add(
            ("hardware", "reserved_gb"),
            f"{section.reserved_gb:g} GB reserved leave nothing of {section.memory_gb:g} GB: reserve less",
        )
    _check_links(section, faults)
    if bad or len(faults.found) > before:
        return None
    calibration = choose_calibration(section, faults)
    return None if len(faults.found) > before else _hardware(section, calibration)


def _check_links(section: HardwareSection, faults: Faults) -> None:
    """A mesh is one of GPUs inside a node, a rail one of NICs between nodes."""
    if section.scale_up is not None and section.scale_up.nics_per_node is not None:
        faults.add(("hardware", "scale_up", "nics_per_node"), "is of the links between nodes: scale_out")
    for key, wrong, where in (("scale_up", "rail", "between nodes"), ("scale_out", "mesh", "inside a node")):
        link: LinkSection | None = getattr(section, key)
        if link is not None and link.topology == wrong:
            faults.add(("hardware", key, "topology"), f'"{wrong}" is a topology {where}; use "switch"')


def _hardware(section: HardwareSection, calibration: Calibration) -> Hardware:
    optional = (
        "compute_efficiency",
        "memory_efficiency",
        "reserved_gb",
        "streaming_multiprocessors",
        "l2_cache_mb",
        "system",
    )
    given = {key: getattr(section, key) for key in optional if getattr(section, key) is not None}
    return Hardware(
        name=section.name or section.gpu or "gpu",
        memory_gb=section.memory_gb or 0.0,
        memory_bandwidth_gb_per_s=section.memory_bandwidth_gb_per_s or 0.0,
        peak_tflops=dict(sorted((section.peak_tflops or {}).items())),
        gpus_per_node=section.gpus_per_node or 1,
        scale_up=_link(section.scale_up, "scale_up"),
        scale_out=_link(section.scale_out, "scale_out"),
        power_w=section.power_w,
        usd_per_gpu_hour=section.usd_per_gpu_hour,
        sources=dict(section.sources or {}),
        kernels=calibration.kernels,
        calibration=calibration.label,
        own_calibration=calibration.own,
        **given,
    )


def _link(section: LinkSection | None, key: str) -> Link:
    if section is None:
        raise ValueError("checked before: links are there")
    given = section.model_dump(exclude_none=True)
    # No data sheet has a latency.
    return Link(**{"latency_us": load_gpu(LATENCIES_OF)[key]["latency_us"], **given})


def catalog_hardware(gpu: str, backend: str) -> Hardware:
    """A GPU of the catalog with the constants that its kernels take for a backend.

    Raises
    ------
    ProblemError
        The catalog has no such GPU.
    """
    document = Document(gpu, {"hardware": {"gpu": gpu, "backend": backend}}, {})
    faults = Faults(document)
    entry = {key: value for key, value in load_gpu(gpu).items() if key not in ABOUT}
    faults.inherited.update({("hardware", key): f"from {gpu}" for key in entry})
    section, bad = checked(HardwareSection, {**entry, "gpu": gpu, "backend": backend}, ("hardware",), faults)
    hardware = build_hardware(section, bad, faults)
    if hardware is None:
        raise ProblemError(faults.found)
    return hardware
