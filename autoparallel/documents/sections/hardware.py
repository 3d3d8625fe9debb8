"""Hardware Environment: the GPU, what share of it programs reach, and the links."""

from __future__ import annotations

from autoparallel.documents.blocks import Facts, Section
from autoparallel.documents.subject import Subject
from autoparallel.domain.hardware import Hardware, Link
from autoparallel.report.wording import count, given, number, percent


def section(subject: Subject) -> Section:
    """The data sheet as the problem states it."""
    problem, hardware = subject.problem, subject.problem.hardware
    limit = problem.requirements.max_gpus
    rows = (
        ("GPU", hardware.name),
        (
            "Peak",
            ", ".join(f"{given(peak, 'TFLOP/s')} in {name}" for name, peak in hardware.peak_tflops.items()),
        ),
        ("Reached of it", f"{percent(hardware.compute_efficiency)}{_kernels(hardware)}"),
        (
            "Memory",
            f"{given(hardware.memory_gb, 'GB')}, {given(hardware.reserved_gb, 'GB')} of it reserved for "
            "driver, runtime and engine",
        ),
        (
            "Memory bandwidth",
            f"{given(hardware.memory_bandwidth_gb_per_s, 'GB/s')}, {percent(hardware.memory_efficiency)} "
            "reached: "
            f"{number(hardware.memory_bandwidth_gb_per_s * hardware.memory_efficiency)} GB/s",
        ),
        (f"Links inside a node of {count(hardware.gpus_per_node, 'GPU')}", _link(hardware.scale_up)),
        ("Links between nodes", _link(hardware.scale_out)),
        (
            "GPUs available",
            f"at most {limit:,}"
            if limit
            else f"no limit asked for; the search looks at up to {problem.max_gpus:,}",
        ),
    )
    return Section(title="Hardware Environment", blocks=(Facts(rows=rows),))


def _kernels(hardware: Hardware) -> str:
    if not hardware.kernels:
        return " in every operator"
    return f" where no kernel is calibrated; the others by constants of {hardware.calibration}"


def _link(link: Link) -> str:
    mesh = ", shared by all pairs of a mesh" if link.topology == "mesh" else ""
    of = f"NIC and direction, {link.nics_per_node} NICs a node" if link.nics_per_node else "GPU and direction"
    return (
        f"{given(link.bandwidth_gb_per_s, 'GB/s')} for a {of}{mesh}, "
        f"{percent(link.efficiency)} reached: "
        f"{number(link.bandwidth_gb_per_s * link.efficiency)} GB/s; {given(link.latency_us, 'µs')} of latency"
    )
