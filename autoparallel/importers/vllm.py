"""Reads ``vllm serve``."""

from __future__ import annotations

from autoparallel.domain.layout import RING, Layout
from autoparallel.domain.problem import Problem
from autoparallel.importers.flags import Values
from autoparallel.importers.imported import Reading, partition_of

TP, PP, DP = "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"
PCP, DCP = "--prefill-context-parallel-size", "--decode-context-parallel-size"
PARTITION = "VLLM_PP_LAYER_PARTITION"
SEQUENCES, TOKENS = "--max-num-seqs", "--max-num-batched-tokens"


def read(values: Values, problem: Problem) -> Reading:
    """The layout of the flags; everything contradictory becomes a fault of ``values``."""
    model = problem.model
    tp, pp, dp, pcp, dcp = (values.count(name) for name in (TP, PP, DP, PCP, DCP))
    _check(values, problem, tp, pcp, dcp)
    notes = _notes(values, tp, pcp, dcp)
    count = model.num_hidden_layers
    layers = partition_of(values, PARTITION, pp, count, _default_layers(count, pp))
    if not model.is_moe:
        if dp > 1:
            notes.append(f"dp {dp} of a dense model are independent instances: replicas = {dp}.")
        layout = Layout(
            tp=tp, sp=pcp, sp_kind=RING if pcp > 1 else None, pp=pp, etp=tp, replicas=dp, layers=layers
        )
        ranks = 1
    else:
        stage, spread = tp * pcp * dp, values.switch("--enable-expert-parallel")
        layout = Layout(
            tp=tp, sp=pcp, sp_kind=RING if pcp > 1 else None, dp=dp, pp=pp,
            ep=stage if spread else 1, etp=1 if spread else stage, layers=layers,
        )  # fmt: skip
        ranks = dp
    sequences = values.count(SEQUENCES) * ranks if SEQUENCES in values.given else None
    chunk = values.count(TOKENS) if TOKENS in values.given else None
    prefill = None if chunk is None else chunk // problem.workload.prompt_tokens.max * ranks
    return Reading(
        layout=layout, sequences=sequences, prefill_sequences=prefill, chunk=chunk, notes=tuple(notes)
    )


def _default_layers(layers: int, pp: int) -> tuple[int, ...]:
    """How vLLM splits layers by itself: the remainder goes to the stages before the last."""
    sizes = [layers // pp] * pp
    for stage in range(layers % pp):
        sizes[-2 - stage] += 1
    return tuple(sizes)


def _check(values: Values, problem: Problem, tp: int, pcp: int, dcp: int) -> None:
    """What vLLM refuses at the start."""
    model = problem.model
    values.check_share("--gpu-memory-utilization")
    if pcp == 1 and tp % dcp:
        values.fault(f"tp {tp} and dcp {dcp} contradict each other: dcp divides tp")
    elif pcp > 1 and dcp not in (1, pcp, tp * pcp):
        values.fault(f"tp {tp}, pcp {pcp} and dcp {dcp} contradict each other: dcp is 1, {pcp} or {tp * pcp}")
    elif dcp > 1 and pcp == 1 and not model.is_mla and dcp * model.num_key_value_heads > tp:
        values.fault(
            f"tp {tp} and dcp {dcp} contradict the model's {model.num_key_value_heads} KV heads: dcp is at "
            "most tp / KV heads"
        )
    world = tp * pcp * values.count(PP) * values.count(DP)
    nodes = values.count("--nnodes")
    if world % nodes:
        values.fault(f"--nnodes {nodes} does not divide the {world} GPUs of the command")
    elif values.given.get("--node-rank", 0) not in range(nodes):
        values.fault(f"--node-rank {values.given['--node-rank']} is not one of --nnodes {nodes}")
    sequences, tokens = values.given.get(SEQUENCES), values.given.get(TOKENS)
    if sequences is not None and tokens is not None and tokens < sequences:
        values.fault(f"{TOKENS} {tokens} is less than {SEQUENCES} {sequences}")
    longest = values.given.get("--max-model-len")
    chunked = values.given.get("--enable-chunked-prefill", True)
    if not chunked and tokens is not None and isinstance(longest, str) and longest.isdecimal():
        _check_whole_prompts(values, tokens, int(longest))
    local, dp = values.given.get("--data-parallel-size-local", 0), values.count(DP)
    if local > dp:
        values.fault(f"--data-parallel-size-local {local} is more than {DP} {dp}")
    _check_experts(values, has_experts=model.is_moe)


def _check_experts(values: Values, *, has_experts: bool) -> None:
    spread = values.switch("--enable-expert-parallel")
    if spread and not has_experts:
        values.fault("--enable-expert-parallel: vLLM refuses it for a model without experts")
    if values.switch("--enable-eplb") and not spread:
        values.fault("--enable-eplb needs --enable-expert-parallel")


def _check_whole_prompts(values: Values, tokens: int, longest: int) -> None:
    if tokens < longest:
        values.fault(f"without chunked prefill {TOKENS} {tokens} has to reach --max-model-len {longest}")


def _notes(values: Values, tp: int, pcp: int, dcp: int) -> list[str]:
    notes = []
    if pcp > 1 and dcp == 1:
        notes.append(
            f"Without dcp the KV cache is whole on each of {pcp} pcp ranks: the plan's is too small."
        )
    if values.switch("--enable-expert-parallel") and tp * pcp * values.count(DP) == 1:
        notes.append("--enable-expert-parallel on one rank changes nothing.")
    if values.switch("--enable-eplb"):
        notes.append(
            "--enable-eplb: vLLM arranges experts by the loads that it counts; a plan knows those of "
            "[workload] expert_loads."
        )
    return notes
