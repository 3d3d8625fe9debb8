"""Writes docs/accuracy.md: errors recorded in the catalog's calibrations, of transfers and static batches.

python docs/make_accuracy.py MEASURED_DIR      (with ops/ and serving/static.csv in it)
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import StrictUndefined, Template

from autoparallel.calibration.accuracy import Accuracy, accuracy
from autoparallel.calibration.defaults import median_constants
from autoparallel.calibration.operators import OPERATORS
from autoparallel.calibration.published import predict_published
from autoparallel.calibration.recipe import Entry
from autoparallel.calibration.serving_rows import predict_serving
from autoparallel.calibration.systems import hardware_of
from autoparallel.calibration.tables import Table, read_csv, read_table
from autoparallel.calibration.traits import traits_of
from autoparallel.catalog import calibration_names, load_calibration, load_residuals
from autoparallel.performance.collectives import Collective
from autoparallel.performance.kernels import Kernels
from autoparallel.performance.links import Fabric, Group
from autoparallel.performance.serving.engine import engine_names, engine_provenance
from autoparallel.problem_file.calibration_choice import constants_in
from autoparallel.problem_file.hardware_section import catalog_hardware

OUT = Path(__file__).resolve().parent / "accuracy.md"
TEMPLATE = Path(__file__).resolve().parent / "accuracy.md.jinja"
SYSTEMS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "gb200", "l40s")
TWINS = {"h100_sxm": "h200_sxm", "h200_sxm": "h100_sxm", "b200_sxm": "gb200", "gb200": "b200_sxm"}
Rows = Iterator[Sequence[object]]

# operator, format, backend, target, what a prototype reached on H100 / H200 / B200 (measured/README.md).
TARGETS = (
    ("gemm", "bfloat16", "trtllm", 9, "8 / 9 / 12"),
    ("gemm", "bfloat16", "vllm", 9, "8 / 9 / 12"),
    ("gemm", "fp8", "trtllm", 6, "5 / 5 / 6"),
    ("prefill_attention", "bfloat16/bfloat16", "trtllm", 12, "12 / 12 / 14"),
    ("prefill_attention", "bfloat16/bfloat16", "vllm", 12, "12 / 12 / 14"),
    ("decode_attention", "bfloat16/bfloat16", "vllm", 10, "10.5 / 9.5 / 10"),
    ("decode_attention", "bfloat16/bfloat16", "trtllm", 14, "14.6 / 14.6 / 10.5"),
    ("decode_attention", "bfloat16/fp8", "trtllm", 14, "17.7 / 19.1 / 10.5"),
    ("prefill_mla", "bfloat16/bfloat16", "trtllm", "", "8-13"),
    ("decode_mla", "bfloat16/bfloat16", "trtllm", "", "8-13"),
    ("all_gather", "half", "trtllm", 10, "5-12"),
    ("all_reduce", "half", "trtllm", 10, "5-12"),
    ("reduce_scatter", "half", "trtllm", 10, "5-12"),
    ("all_to_all", "half", "trtllm", 10, "5-12"),
    ("all_reduce_engine", "half", "trtllm", "", "11-18"),
    ("dispatch_high_throughput", "fp8", "trtllm", 15, "3-20"),
    ("combine_high_throughput", "bfloat16", "trtllm", 15, "3-20"),
    ("dispatch_low_latency", "fp8", "trtllm", 15, "3-20"),
    ("combine_low_latency", "bfloat16", "trtllm", 15, "3-20"),
)

TARGET_COLUMNS = (
    "operator",
    "format",
    "kernels",
    "target",
    "H100",
    "H200",
    "B200",
    "roofline, H100",
    "prototype",
)
EXPERT_COLUMNS = ("GPU", "format", "balanced", "skewed", "roofline, balanced", "rows")
ALL_COLUMNS = (
    "GPU",
    "kernels",
    "operator",
    "format",
    "rows",
    "constants",
    "fitted",
    "unseen rows",
    "unseen shapes",
    "roofline",
)
TRANSFER_COLUMNS = ("operator", "format", "kernels", "GPU", "own", "H100's", "others'", "roofline")
LOAD_COLUMNS = ("engine", "load", "measured", "rows", "fitted", "unseen")
COVERAGE_COLUMNS = ("load", "quantity", "rows", "within, %", "half width, median, %")
STATIC_COLUMNS = ("", "rows", "mean", "median", "90th percentile", "bias", "roofline, mean")
PUBLISHED_COLUMNS = ("", "rows", "mean", "median", "90th percentile", "bias")
OVER_NODES_COLUMNS = ("GPUs", "nodes x GPUs", "collective", "bytes", "printed, us", "ours, us", "where")
# Printed times of NCCL over InfiniBand.
OVER_NODES = Path(__file__).resolve().parent / "nccl_over_nodes.csv"
LOW_LATENCY_COLUMNS = ("", "EP 8", "EP 16", "EP 32", "EP 64", "EP 128", "EP 256")


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path)
    measured = parser.parse_args().measured
    tables = [read_table(path) for path in sorted((measured / "ops").glob("*.csv.gz"))]
    printed, _ = predict_published(read_csv(measured / "ops" / "published_communication.csv"))
    template = Template(
        TEMPLATE.read_text(encoding="utf-8"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    text = template.render(
        targets=markdown(TARGET_COLUMNS, target_rows()),
        experts=markdown(EXPERT_COLUMNS, expert_rows()),
        pooled=pooled(),
        all=markdown(ALL_COLUMNS, all_rows()),
        transfer=markdown(TRANSFER_COLUMNS, transfer_rows(tables)),
        static=markdown(STATIC_COLUMNS, static_rows(measured / "serving" / "static.csv")),
        loads=markdown(LOAD_COLUMNS, load_rows()),
        coverage=markdown(COVERAGE_COLUMNS, coverage_rows()),
        published=markdown(PUBLISHED_COLUMNS, published_rows(printed)),
        over_nodes=markdown(OVER_NODES_COLUMNS, over_nodes_rows()),
        low_latency=markdown(LOW_LATENCY_COLUMNS, low_latency_rows(printed)),
    )
    OUT.write_text(text, encoding="utf-8")


def markdown(columns: Sequence[str], rows: Rows) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def errors_of(name: str) -> Mapping[str, Any]:
    """Recorded errors of a shipped calibration, none where there is no such file."""
    return load_calibration(name)["errors"] if name in calibration_names() else {}


def shares(values: Sequence[float] | None) -> str:
    """Mean, median and 90th percentile."""
    return "-" if values is None else " / ".join(f"{value:.1f}" for value in values[:3])


def target_rows() -> Rows:
    """Unseen shapes against the targets."""
    for operator, form, backend, target, prototype in TARGETS:
        found = [
            errors_of(f"{system}.{backend}").get(operator, {}).get(form, {})
            for system in ("h100_sxm", "h200_sxm", "b200_sxm")
        ]
        means = [f"{errors['held_shapes'][0]:.1f}" if errors else "-" for errors in found]
        yield operator, form, backend, target, *means, f"{found[0]['roofline'][0]:.0f}", prototype


def expert_rows() -> Rows:
    """Expert blocks, models that were not fitted."""
    for system in ("h100_sxm", "h200_sxm", "b200_sxm"):
        for form, errors in errors_of(f"{system}.trtllm")["experts"].items():
            unseen = [shares(errors[f"held_shapes_{load}"]) for load in ("balanced", "skewed")]
            yield system, form, *unseen, f"{errors['roofline_balanced'][0]:.0f}", errors["rows"]


def pooled() -> str:
    """Mean error of expert blocks over all formats."""
    parts = []
    for system in ("h100_sxm", "h200_sxm"):
        formats = errors_of(f"{system}.trtllm")["experts"].values()
        rows = sum(errors["rows"] for errors in formats)
        means = [
            sum(errors[f"held_shapes_{load}"][0] * errors["rows"] for errors in formats) / rows
            for load in ("balanced", "skewed")
        ]
        parts.append(f"{system} {means[0]:.1f} balanced and {means[1]:.1f} skewed")
    return ", ".join(parts)


def all_rows() -> Rows:
    """Every entry of every calibration."""
    for system in SYSTEMS:
        for backend in ("trtllm", "vllm"):
            for operator, formats in errors_of(f"{system}.{backend}").items():
                for form, errors in formats.items():
                    names = ("fit", "held_rows", "held_shapes", "roofline")
                    values = [shares(errors.get(name)) for name in names]
                    table = load_calibration(f"{system}.{backend}")[operator][form]
                    known = ", ".join(traits_of(table, errors["fitted"]))
                    count = f"{len(errors['fitted'])}{' + ' + known if known else ''}"
                    yield system, backend, operator, form, errors["rows"], count, *values


def transfer_rows(tables: Sequence[Table]) -> Rows:
    """Constants carried from GPU to GPU."""
    for table in tables:
        operator = OPERATORS[table.kind]
        if table.kind in ("exchange", "collectives", "all_reduce_engine"):
            continue
        for (backend, system), rows in table.rows.groupby(["backend", "system"], sort=True):
            prepared = operator.prepared(rows)
            for (name, form), part in prepared.groupby(["operator", "format"], sort=True):
                yield from _transfer(Entry(str(name), str(form)), part, str(system), str(backend), operator)


def _transfer(entry: Entry, part: Any, system: str, backend: str, operator: Any) -> Rows:
    def fitted(other: str) -> dict[str, Any] | None:
        tables = constants_in(load_calibration(f"{other}.{backend}"))
        values = tables.get(entry.operator, {}).get(entry.format)
        return None if values is None else dict(values)

    own = fitted(system)
    others = [fitted(other) for other in SYSTEMS if other not in (system, TWINS.get(system), "l40s")]
    known = [values for values in others if values is not None]
    if own is None or not known:
        return
    hardware = hardware_of(system)
    predict = operator.predictor(entry, part, hardware)
    measured_s = part["latency_us"].to_numpy(float) * 1e-6
    cache = {"l2_bytes": hardware.l2_cache_mb * 1e6} if "l2_bytes" in own else {}

    def mean(values: Mapping[str, Any]) -> str:
        constants = _constants(operator.constants, {**values, **cache})
        return f"{accuracy(predict(constants), measured_s).mape:.1f}"

    from_h100 = fitted("h100_sxm")
    carried = mean(from_h100) if from_h100 and system != "h100_sxm" else "-"
    roofline = accuracy(predict(operator.constants()), measured_s).mape
    yield *entry, backend, system, mean(own), carried, mean(median_constants(known)), f"{roofline:.0f}"


def _constants(kind: Any, values: Mapping[str, Any]) -> Any:
    names = {field.name for field in fields(kind)}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if n in names})


def static_rows(path: Path) -> Rows:
    """Static batches of whole engines."""
    frame = read_csv(path)
    values, _ = predict_serving(frame, None)
    plain, _ = predict_serving(frame, None, backend="none")
    values["plain"] = plain["predicted"]
    for key, part in values.groupby("key", sort=True):
        for group, some in [*part.groupby("group", sort=True), ("all", part)]:
            found, roofline = _accuracy(some, "predicted"), _accuracy(some, "plain")
            cells = (f"{value:.1f}" for value in found[:4])
            yield f"{key}: {group}", found.n, *cells, f"{roofline.mape:.1f}"


def load_rows() -> Rows:
    """Engines under load, as their files record."""
    for engine in engine_names():
        about = engine_provenance(engine)
        for name, errors in about["errors"].items():
            if name != "note":
                load, column = name.split(".")
                cells = (shares(errors.get(kind)) for kind in ("fit", "unseen"))
                yield engine, load, column, about["rows"][load], *cells


def coverage_rows() -> Rows:
    """How often intervals held, as the catalog's residuals record."""
    for name, found in load_residuals()["provenance"]["coverage"].items():
        if name != "note":
            yield *name.split("."), *found


def _accuracy(some: Any, column: str) -> Accuracy:
    return accuracy(some[column].to_numpy(float), some["measured"].to_numpy(float))


def published_rows(values: Any) -> Rows:
    """Errors by source and operation of printed figures."""
    for group, some in values.groupby("group", sort=True):
        found = _accuracy(some, "predicted")
        yield group, found.n, *(f"{value:.1f}" for value in found[:4])


def over_nodes_rows() -> Rows:
    """NCCL over nodes as others print it."""
    for row in csv.DictReader(OVER_NODES.read_text(encoding="utf-8").splitlines()):
        hardware = catalog_hardware(row["gpu"], "vllm")
        fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)
        group = Group(np.float64(row["gpus_of_a_node"]), np.float64(row["nodes"]))
        collective = Collective(group, fabric, Kernels(hardware).collectives)
        ours = float(getattr(collective, row["collective"])(float(row["bytes"])).time_s) * 1e6
        size, printed = int(row["bytes"]), float(row["latency_us"])
        yield (
            row["gpu"],
            f"{row['nodes']} x {row['gpus_of_a_node']}",
            row["collective"],
            f"{size:,}",
            f"{printed:,.4g}",
            f"{ours:,.1f}",
            row["source"],
        )


def low_latency_rows(values: Any) -> Rows:
    """DeepEP's printed latencies of 128 tokens a rank beside the predicted ones. [us]"""
    for direction in ("dispatch", "combine"):
        some = values[values["group"].str.startswith(f"moe_{direction} (DeepEP V1 low-latency")]
        for column, word in (("measured", "printed"), ("predicted", "predicted")):
            yield f"{direction}, {word}", *(f"{value:.0f}" for value in some[column])


if __name__ == "__main__":
    main()
