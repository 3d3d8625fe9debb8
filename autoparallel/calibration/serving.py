"""Whole engines, predicted row by row as they were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autoparallel.calibration.serving_models import Formats, gpu_names, measured_model
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import Lengths, Workload
from autoparallel.errors import ProblemError
from autoparallel.performance.degrees import PlanTable, even_stages
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import (
    EngineConstants,
    Load,
    as_in_engine,
    load_engine_constants,
    serve,
)
from autoparallel.performance.serving.engine import engine_names
from autoparallel.performance.serving.length_mix import LengthMix, length_mix
from autoparallel.performance.serving.load import CLOSED, OPEN, SATURATED
from autoparallel.problem_file.hardware_section import catalog_hardware

if TYPE_CHECKING:
    import pandas as pd

LOADS = (CLOSED, OPEN, SATURATED)
MEASURED = ("ttft_ms", "tpot_ms", "output_tokens_per_s_per_gpu")
# Requests that every slot of a closed loop serves while it is measured: no table says. First tokens of
# vLLM's and TensorRT-LLM's closed loops fit best with about six; SGLang's do not tell.
ROUNDS = 6.0
# Share of a prompt in the cache where a row states a shared prefix. A supposition, from ten rows: there
# first tokens come as fast for long prompts as for short ones, and decoding sequences hardly notice 20
# prompts a second, which would take 0.4 of the GPUs' peak if all their tokens were computed. The source
# itself says that a tenth of the requests share a prefix.
PREFIX_HIT = 0.9
# Tokens of a step where a row of a saturated engine states none: benchmarks of the highest throughput are run
# with steps as large as pay, and rows with long prompts are faster than the engine's default would allow.
SATURATED_STEP_TOKENS = 16384
# Lengths of open loads: their means are no whole numbers, so they differ, and no row says how. Even ones from
# none to twice the mean are supposed.
OPEN_LENGTHS = Lengths(kind="uniform", min=0, max=2000)
_KEYS = ("engine", "model", "gpu", "weights_dtype", "kv_cache_dtype", "load")
_DEGREES = ("tp", "pp", "dp", "ep", "etp")

HardwareOf = Callable[[str, str], Hardware]
EngineOf = Callable[[str], EngineConstants]


class Group(NamedTuple):
    """Rows of one model on one GPU in one engine: what they are predicted with."""

    machine: Machine
    engine: EngineConstants
    table: PlanTable
    load: Load


class Prediction(NamedTuple):
    """One row a row: the measured columns as predicted, and why a row has no prediction."""

    values: pd.DataFrame
    skipped: pd.Series[str]


def predict(
    rows: pd.DataFrame,
    hardware_of: HardwareOf | None = None,
    *,
    engines: EngineOf = load_engine_constants,
    bare: bool = False,
) -> Prediction:
    """Predict every row of a table of engines under load.

    Parameters
    ----------
    rows : DataFrame
        Columns of the tables in measured/serving.
    hardware_of : callable, optional
        GPU of the catalog and backend to hardware; by default with the catalog's calibration.
    engines : callable
        Constants of an engine by its name; by default the catalog's.
    bare : bool
        As if engines cost nothing beside their kernels.
    """
    import pandas as pd

    values = pd.DataFrame(np.nan, index=rows.index, columns=list(MEASURED))
    skipped = _unusable(rows)
    usable = rows[skipped == ""]
    for part in groups(usable):
        try:
            engine = engines(part.engine.iloc[0])
            group = group_of(
                part, hardware_of or calibrated_hardware, without_costs(engine) if bare else engine
            )
        except KeyError as error:
            skipped[part.index] = f"not in the catalog, or not its format: {error.args[0]}"
            continue
        except ProblemError as error:
            skipped[part.index] = str(error)
            continue
        split = part.tp.to_numpy() <= group.machine.model.num_attention_heads
        split &= group.machine.model.num_attention_heads % part.tp.to_numpy() == 0
        split &= group.machine.model.routed_experts % part.ep.to_numpy() == 0
        estimates = serve(*group)
        room = estimates.capacity >= 1.0
        fits = room & split
        values.loc[part.index, "ttft_ms"] = np.where(fits, estimates.ttft_s * 1e3, np.nan)
        values.loc[part.index, "tpot_ms"] = np.where(fits, estimates.tpot_s * 1e3, np.nan)
        per_gpu = np.where(fits, estimates.output_tokens_per_s_per_gpu, np.nan)
        values.loc[part.index, "output_tokens_per_s_per_gpu"] = per_gpu
        skipped[part.index[~room]] = "the KV space holds no request of this length"
        skipped[part.index[~split]] = "tp does not split the heads, or ep the experts"
        endless = fits & ~np.isfinite(estimates.ttft_s)
        skipped[part.index[endless]] = "the rate is beyond saturation"
    return Prediction(values.where(np.isfinite(values)), skipped)


def _unusable(rows: pd.DataFrame) -> pd.Series[str]:
    """Why a row cannot be predicted, whatever its model; empty where it can."""
    import pandas as pd

    reasons = pd.Series("", index=rows.index, dtype=object)
    reasons[~rows.load.isin(LOADS)] = "static batches are not predicted here"
    reasons[~rows.engine.isin(engine_names())] = "no constants of this engine"
    unknown = ~rows.gpu.isin(gpu_names())
    reasons[unknown] = "GPU not in the catalog: " + rows.gpu[unknown].astype(str)
    lengths = (rows.isl > 0) & (rows.osl > 0)
    reasons[~lengths] = "no prompt or output length"
    given = rows[list(_DEGREES)]
    degrees = ((given >= 1) & (given % 1 == 0)).all(axis=1)
    reasons[~degrees] = "no layout"
    stage = rows.tp * rows.dp
    reasons[degrees & rows.gpus.notna() & (stage * rows.pp != rows.gpus)] = (
        "tp, pp and dp do not make the number of gpus"
    )
    reasons[degrees & (stage % (rows.ep * rows.etp) != 0)] = "a layout that does not hang together"
    reasons[(rows.load == CLOSED) & ~(rows.concurrency > 0)] = "no concurrency"
    reasons[(rows.load == OPEN) & ~(rows.request_rate_per_s > 0)] = "no request rate"
    return reasons


def group_of(rows: pd.DataFrame, hardware_of: HardwareOf, engine: EngineConstants | None = None) -> Group:
    """Build what a group of rows is predicted with.

    Raises
    ------
    KeyError
        The model, or its format, is not in the catalog or not on this GPU.
    """
    first = rows.iloc[0]
    constants = (engine or load_engine_constants(first.engine)).of_version(version_of(rows))
    gpu = gpu_names()[first.gpu]
    other = {"vllm": "trtllm", "trtllm": "vllm"}[constants.backend]
    borrowed = hardware_of(gpu, other).kernels
    hardware = as_in_engine(hardware_of(gpu, constants.backend), constants, borrowed)
    formats = Formats(_text(first.weights_dtype), _text(first.kv_cache_dtype), _text(first.engine))
    model = measured_model(first.model, formats)
    workload = Workload(
        prompt_tokens=Lengths.fixed(round(first.isl)), output_tokens=Lengths.fixed(round(first.osl))
    )
    problem = Problem(name=first.model, model=model, hardware=hardware, workload=workload)
    return Group(Machine(problem), constants, _table(rows), _load(rows, constants))


def _table(rows: pd.DataFrame) -> PlanTable:
    degrees = {name: rows[name].to_numpy(dtype=np.float64) for name in _DEGREES}
    one = np.ones(len(rows))
    none = np.zeros(len(rows), dtype=np.int8)
    layers = even_stages(len(rows))
    return PlanTable(
        sp=one, sp_kind=none, replicas=one, redundant_experts=0.0 * one, batch=one, microbatch=one,
        layers=layers, order=none, **degrees,
    )  # fmt: skip


def _load(rows: pd.DataFrame, engine: EngineConstants) -> Load:
    def column(name: str, otherwise: float) -> Any:
        return rows[name].astype(float).fillna(otherwise).to_numpy()

    kind = rows.load.iloc[0]
    step_tokens = SATURATED_STEP_TOKENS if kind == SATURATED else engine.max_num_batched_tokens
    return Load(
        kind=kind,
        isl=column("isl", 1.0),
        osl=column("osl", 1.0),
        concurrency=column("concurrency", 1.0),
        rate_per_s=column("request_rate_per_s", 0.0),
        arrival_scv=0.0,
        mix=_open_mix() if kind == OPEN else LengthMix(),
        requests_per_slot=ROUNDS,
        cached_share=np.where(column("shared_prefix_tokens", 0.0) > 0, PREFIX_HIT, 0.0),
        max_num_seqs=column("max_num_seqs", engine.max_num_seqs),
        max_num_batched_tokens=column(
            "max_num_batched_tokens", max(step_tokens, engine.max_num_batched_tokens)
        ),
    )


@cache
def _open_mix() -> LengthMix:
    return length_mix(Workload(prompt_tokens=OPEN_LENGTHS, output_tokens=OPEN_LENGTHS))


def version_of(rows: pd.DataFrame) -> str:
    """Version of the engine that a group of rows ran; empty where they do not say."""
    return _text(rows.engine_version.iloc[0])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@cache
def calibrated_hardware(gpu: str, backend: str) -> Hardware:
    """A GPU of the catalog with the constants that it has there."""
    return catalog_hardware(gpu, backend)


def without_costs(engine: EngineConstants) -> EngineConstants:
    """The engine as if it cost nothing beside its kernels."""
    none = dict.fromkeys(
        ("layer_s", "sequence_s", "eager_layer_s", "base_ttft_s", "expert_launch_hidden"), 0.0
    )
    return with_constants(engine, {**none, "interference": 1.0, "expert_prefill_factor": 1.0})


def with_constants(engine: EngineConstants, values: dict[str, float]) -> EngineConstants:
    """The engine with other constants."""
    return replace(engine, **values)  # type: ignore[arg-type]


def groups(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows that are predicted together."""
    keys = [rows[name] for name in _KEYS]
    for _, part in rows.groupby([*keys, _schedules_ahead(rows)], dropna=False, sort=False):
        yield part


def _schedules_ahead(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row's version of its engine schedules steps ahead."""
    import pandas as pd

    engines = {name: load_engine_constants(name) for name in set(rows.engine)}
    pairs = zip(rows.engine, rows.engine_version, strict=True)
    ahead = [engines[name].of_version(_text(version)) is engines[name] for name, version in pairs]
    return pd.Series(ahead, index=rows.index, dtype=bool)
