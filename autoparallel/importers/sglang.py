"""Reads ``sglang.launch_server``."""

from __future__ import annotations

from autoparallel.domain.layout import RING, TENSOR, Layout, even_layers
from autoparallel.domain.problem import Problem
from autoparallel.importers.flags import Values
from autoparallel.importers.imported import Reading, partition_of

PARTITION = "SGLANG_PP_LAYER_PARTITION"
# These take all ranks of a stage for experts, whatever --ep-size says (sglang 0.5.23,
# srt/arg_groups/overrides.py, _a2a_ep_size).
WHOLE_STAGE = (
    "deepep", "deepep_v2", "mooncake", "nixl", "mori", "pplx", "flashinfer", "flashinfer_megamoe", "megamoe",
    "ascend_fuseep",
)  # fmt: skip


def read(values: Values, problem: Problem) -> Reading:
    """The layout of the flags; everything contradictory becomes a fault of ``values``."""
    world, pp, cp = values.count("--tp-size"), values.count("--pp-size"), values.count("--attn-cp-size")
    replicas, dp = _data_parallel(values)
    ep, moe_dp = values.count("--ep-size"), values.count("--moe-dp-size")
    notes = []
    backend = values.given.get("--moe-a2a-backend")
    if backend in WHOLE_STAGE and ep != world:
        notes.append(f"--moe-a2a-backend {backend} makes ep the whole --tp-size: {world}, not {ep}.")
        ep = world
    _check(values, world, dp, cp, ep, moe_dp)
    if values.faults:
        return Reading(layout=Layout())
    tp = world // (dp * cp)
    notes += _notes(values, cp, moe_dp)
    kind, sp = (RING, cp) if cp > 1 else (None, 1)
    if values.switch("--enable-layernorm-sp") and tp > 1 and cp == 1:
        kind, sp = TENSOR, tp
    count = problem.model.num_hidden_layers
    # By itself SGLang gives the remainder to the last stages.
    layers = partition_of(values, PARTITION, pp, count, even_layers(count, pp)[::-1])
    layout = Layout(
        tp=tp, sp=sp, sp_kind=kind, dp=dp, pp=pp, ep=ep, etp=world // (ep * moe_dp), replicas=replicas,
        layers=layers,
    )  # fmt: skip
    given = values.given
    running = values.count("--max-running-requests") if "--max-running-requests" in given else None
    return Reading(
        layout=layout, sequences=running, prefill_sequences=_prefill(values, problem, dp),
        chunk=_chunk(values, dp), notes=tuple(notes),
    )  # fmt: skip


def _data_parallel(values: Values) -> tuple[int, int]:
    """Replicas, and attention groups inside --tp-size; the deprecated spelling too."""
    replicas, dp = values.count("--dp-size"), values.count("--attn-dp-size")
    if values.switch("--enable-dp-attention") and dp == 1:
        return 1, replicas
    return replicas, dp


def _check(values: Values, world: int, dp: int, cp: int, ep: int, moe_dp: int) -> None:
    """What SGLang refuses at the start."""
    replicas = _data_parallel(values)[0]
    nodes, pp = values.count("--nnodes"), values.count("--pp-size")
    values.check_share("--mem-fraction-static")
    if world % (dp * cp):
        values.fault(f"--attn-dp-size {dp} x --attn-cp-size {cp} does not divide --tp-size {world}")
    if world % (ep * moe_dp):
        values.fault(f"--ep-size {ep} x --moe-dp-size {moe_dp} does not divide --tp-size {world}")
    if replicas > 1 and dp > 1:
        values.fault(f"--dp-size {replicas} and --attn-dp-size {dp} contradict each other: one of them is 1")
    if replicas > 1 and nodes > 1:
        values.fault(
            f"--dp-size {replicas} and --nnodes {nodes} contradict each other: replicas are of one node"
        )
    if (world * pp) % nodes:
        values.fault(f"--nnodes {nodes} does not divide --tp-size {world} x --pp-size {pp}")
    if moe_dp > 1 and (pp > 1 or cp != moe_dp or (ep > 1 and ep * moe_dp != world)):
        values.fault(
            f"--moe-dp-size {moe_dp} needs --pp-size 1, --attn-cp-size {moe_dp}, and --ep-size 1 or "
            f"{world // moe_dp}"
        )
    if values.given.get("--moe-dense-tp-size") not in (None, 1, world):
        values.fault(f"--moe-dense-tp-size is 1 or --tp-size {world}")
    if values.count("--dcp-size") > 1 and cp > 1:
        values.fault("--dcp-size and --attn-cp-size contradict each other: one of them is 1")
    if values.count("--dcp-size") > 1 and world % values.count("--dcp-size"):
        values.fault(f"--dcp-size {values.count('--dcp-size')} does not divide --tp-size {world}")


def _prefill(values: Values, problem: Problem, dp: int) -> int | None:
    """Sequences of the longest prompts in one step, over all attention groups: they divide the chunk."""
    chunk = _chunk(values, dp)
    if chunk is not None:
        return chunk // problem.workload.prompt_tokens.max * dp
    if "--pp-max-micro-batch-size" in values.given:
        return values.count("--pp-max-micro-batch-size") * dp
    return None


def _chunk(values: Values, dp: int) -> int | None:
    """Tokens of a step of one attention group, where the command bounds them."""
    chunk = values.given.get("--chunked-prefill-size")
    return max(chunk // dp, 1) if isinstance(chunk, int) and chunk > 0 else None


def _notes(values: Values, cp: int, moe_dp: int) -> list[str]:
    notes = []
    if cp > 1:
        notes.append(f"The KV cache is whole on each of {cp} context ranks: the plan's is too small.")
    if values.switch("--enable-layernorm-sp"):
        notes.append("--enable-layernorm-sp works in prefill only: the plan's decode steps are not SGLang's.")
    if values.switch("--enable-dp-attention"):
        notes.append("--enable-dp-attention is deprecated: --attn-dp-size says the same.")
    if moe_dp > 1:
        notes.append(f"--moe-dp-size {moe_dp} are the copies of the experts (edp).")
    return notes
