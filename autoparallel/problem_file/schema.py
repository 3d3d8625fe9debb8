"""The form of a problem file.

Nearly every field is optional here, since a catalog entry, a ``config.json`` or a default may give it;
the builders of each section say what is missing. A field that is absent is ``None``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from autoparallel.domain.engine import ENGINES
from autoparallel.domain.fleet import FLEET_OBJECTIVES, REDUNDANCIES, ROLES
from autoparallel.domain.model import (
    CHUNKED,
    DENSE,
    FULL,
    FULL_NORM,
    HEAD_NORM,
    LINEAR,
    NO_NORM,
    SLIDING,
    SPARSE,
)
from autoparallel.domain.requirements import PHASES
from autoparallel.domain.search_space import OBJECTIVES, SP_KINDS, STAGES
from autoparallel.problem_file import fields
from autoparallel.problem_file.section import Section
from autoparallel.problem_file.workload_schema import (
    ExpertLoadsSection,
    LengthsSection,
    SpeculationSection,
    WorkloadSection,
)

COMPUTE_FORMATS = ("float32", "float16", "bfloat16", "fp8", "int8", "int4", "fp4")
BASES = ("derived", "declared")
TOPOLOGIES = ("switch", "mesh", "rail")
BACKENDS = ("vllm", "trtllm", "none")


class ModelSection(Section):
    """A transformer decoder, in the field names of Hugging Face's config.json."""

    name: fields.Name | None = Field(None, description="A name of your own, or a model of the catalog.")
    config: fields.Name | None = Field(None, description="Path of a config.json, relative to this file.")
    num_hidden_layers: fields.Layers | None = None
    hidden_size: fields.Width | None = None
    num_attention_heads: fields.Heads | None = None
    num_key_value_heads: fields.Heads | None = Field(None, description="Default: num_attention_heads.")
    head_dim: fields.Width | None = Field(None, description="Default: hidden_size / num_attention_heads.")
    layer_types: list[Annotated[str, fields.OneOf((FULL, SLIDING, CHUNKED, LINEAR))]] | None = None
    sliding_window: fields.Tokens | None = None
    attention_bias: bool | None = None
    q_lora_rank: fields.OptionalWidth | None = None
    kv_lora_rank: fields.OptionalWidth | None = None
    qk_nope_head_dim: fields.OptionalWidth | None = None
    qk_rope_head_dim: fields.OptionalWidth | None = None
    v_head_dim: fields.OptionalWidth | None = None
    attention_output_bias: bool | None = Field(None, description="Default: as attention_bias.")
    attention_output_gate: bool | None = None
    attention_sinks: bool | None = None
    attention_k_eq_v: bool | None = None
    sliding_num_attention_heads: fields.HeadCount | None = None
    sliding_num_key_value_heads: fields.HeadCount | None = None
    sliding_head_dim: fields.OptionalWidth | None = None
    sliding_v_head_dim: fields.OptionalWidth | None = None
    index_n_heads: fields.HeadCount | None = Field(None, description="Heads of a sparse attention's indexer.")
    index_head_dim: fields.OptionalWidth | None = None
    index_topk: fields.Tokens | None = None
    indexer_layers: fields.LayerCount | None = Field(None, description="Default: all, with an indexer.")
    linear_num_key_heads: fields.HeadCount | None = None
    linear_num_value_heads: fields.HeadCount | None = None
    linear_key_head_dim: fields.OptionalWidth | None = None
    linear_value_head_dim: fields.OptionalWidth | None = None
    linear_conv_kernel_dim: fields.OptionalWidth | None = None
    qk_norm: Annotated[str, fields.OneOf((NO_NORM, HEAD_NORM, FULL_NORM))] | None = None
    norms_per_layer: fields.LayerCount | None = None
    norm_bias: bool | None = None
    mlp_bias: bool | None = None
    router_bias: bool | None = None
    shared_expert_gate: bool | None = None
    head_bias: bool | None = None
    num_nextn_predict_layers: fields.LayerCount | None = Field(None, description="Counted apart.")
    intermediate_size: fields.OptionalWidth | None = Field(None, description="FFN width of a dense layer.")
    ffn_matrices: Annotated[int, Field(ge=2, le=3)] | None = Field(None, description="3 if gated, else 2.")
    num_experts: fields.Experts | None = Field(None, description="Routed experts of a layer; 0: dense model.")
    num_experts_per_tok: fields.Experts | None = None
    moe_intermediate_size: fields.OptionalWidth | None = Field(None, description="Width of an expert.")
    n_shared_experts: fields.Experts | None = None
    shared_expert_intermediate_size: fields.OptionalWidth | None = None
    first_k_dense_replace: fields.LayerCount | None = Field(None, description="Dense layers at the start.")
    moe_layer_freq: fields.Layers | None = Field(None, description="Every how many layers has experts.")
    mlp_only_layers: list[fields.LayerCount] | None = Field(
        None, description="Layers without experts, from 0."
    )
    mlp_layer_types: list[Annotated[str, fields.OneOf((DENSE, SPARSE))]] | None = None
    vocab_size: fields.Vocabulary | None = None
    tie_word_embeddings: bool | None = None
    learned_position_embeddings: fields.Tokens | None = Field(
        None, description="Rows of a learned embedding of positions (GPT-2); rotated positions have none."
    )
    weights_dtype: fields.DtypeName | None = None
    expert_weights_dtype: fields.DtypeName | None = None
    attention_weights_dtype: fields.DtypeName | None = None
    embedding_dtype: fields.DtypeName | None = None
    kv_cache_dtype: fields.DtypeName | None = None
    activation_dtype: fields.DtypeName | None = None
    declared_parameters: fields.Parameters | None = None
    parameter_basis: Annotated[str, fields.OneOf(BASES)] | None = None


class LinkSection(Section):
    """A link of one GPU, or one NIC where a node has fewer of them, counted one way."""

    bandwidth_gb_per_s: fields.Rate
    latency_us: fields.Microseconds | None = Field(None, description="Default: that of h100-sxm, and told.")
    efficiency: fields.Share | None = None
    topology: Annotated[str, fields.OneOf(TOPOLOGIES)] | None = None
    nics_per_node: fields.Gpus | None = Field(
        None, description="Between nodes: NICs that all GPUs of a node share; default one a GPU."
    )


class HardwareSection(Section):
    """A GPU and the links between its copies; 1 GB = 1e9 bytes."""

    gpu: fields.Name | None = Field(None, description="A GPU of the catalog; other fields override it.")
    name: fields.Name | None = None
    memory_gb: fields.Gigabytes | None = Field(None, description="Physical memory.")
    memory_bandwidth_gb_per_s: fields.Rate | None = None
    memory_efficiency: fields.Share | None = None
    peak_tflops: dict[Annotated[str, fields.OneOf(COMPUTE_FORMATS)], fields.Rate] | None = Field(
        None, min_length=1, description="Dense peak by number format."
    )
    compute_efficiency: fields.Share | None = None
    gpus_per_node: fields.Gpus | None = Field(None, description="GPUs of one scale-up domain.")
    scale_up: LinkSection | None = None
    scale_out: LinkSection | None = None
    reserved_gb: Annotated[float, Field(ge=0, le=1e6)] | None = None
    streaming_multiprocessors: Annotated[int, Field(ge=0, le=100_000)] | None = None
    l2_cache_mb: Annotated[float, Field(ge=0, le=1e5)] | None = Field(
        None, description="Only for benchmarks, whose repetitions find it warm."
    )
    system: fields.Name | None = Field(None, description="Name of this GPU in measured tables.")
    kin: fields.Name | None = Field(
        None, description="System of a measured GPU of the same generation, where this one was not measured."
    )
    backend: Annotated[str, fields.OneOf(BACKENDS)] | None = Field(
        None,
        description='Default "trtllm", on AMD "vllm". "none": a roofline with the two efficiencies.',
    )
    calibration: fields.Name | None = Field(
        None, description="A file of your own from `autoparallel calibrate`, relative to this file."
    )
    power_w: fields.Rate | None = None
    usd_per_gpu_hour: fields.Rate | None = None
    sources: dict[str, str] | None = None


class RequirementsSection(Section):
    """What a plan has to reach; all optional."""

    ttft_s: fields.Seconds | None = None
    tpot_s: fields.Seconds | None = None
    throughput_tokens_per_ms_per_gpu: fields.Rate | None = None
    throughput_phase: Annotated[str, fields.OneOf(PHASES)] = "total"
    max_gpus: fields.Gpus | None = None
    ttft_p50_s: fields.Seconds | None = Field(None, description="Continuous batching: half the requests.")
    ttft_p90_s: fields.Seconds | None = None
    ttft_p99_s: fields.Seconds | None = None
    tpot_p50_s: fields.Seconds | None = None
    tpot_p90_s: fields.Seconds | None = None
    tpot_p99_s: fields.Seconds | None = None
    e2e_s: fields.Seconds | None = Field(None, description="Mean time to the last token.")
    e2e_p50_s: fields.Seconds | None = None
    e2e_p90_s: fields.Seconds | None = None
    e2e_p99_s: fields.Seconds | None = None
    goodput_fraction: fields.Share | None = Field(
        None, description="Share of the requests that meet every required time."
    )
    request_rate_per_s: fields.Rate | None = Field(None, description="Requests served by the deployment.")


SpKind = Annotated[str, fields.OneOf(SP_KINDS)]
SpKinds = Annotated[
    list[SpKind],
    Field(min_length=1),
    BeforeValidator(fields.listed, json_schema_input_type=SpKind | list[SpKind]),
]
Objective = Annotated[str, fields.OneOf(OBJECTIVES)]
Objectives = Annotated[
    list[Objective], BeforeValidator(fields.listed, json_schema_input_type=Objective | list[Objective])
]


Constraints = Annotated[
    list[fields.Name],
    Field(max_length=50),
    BeforeValidator(fields.listed, json_schema_input_type=fields.Name | list[fields.Name]),
]


class SearchSection(Section):
    """Candidates of every decision; a single value pins it."""

    tp: fields.Degrees | None = None
    sp: fields.Degrees | None = None
    sp_kind: SpKinds | None = None
    dp: fields.Degrees | None = None
    pp: fields.Degrees | None = None
    ep: fields.Degrees | None = None
    etp: fields.Degrees | None = None
    batch: fields.Batches | None = None
    microbatch: fields.Batches | None = None
    chunk: fields.Batches | None = Field(
        None, description="Continuous batching: tokens of a step of a data parallel rank."
    )
    replicas: fields.Gpus | None = None
    max_gpus: fields.Gpus | None = None
    even_stages: bool = False
    stages: Annotated[str, fields.OneOf(STAGES)] | None = Field(
        None,
        description='"even" (the default): layers over stages as even as can be; "optimal": the best split.',
    )
    trials: Annotated[int, Field(gt=0, le=1_000_000)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    prefer: Objectives | None = None
    order: fields.Orders | None = Field(
        None,
        description='Order of the groups on the network: "usual", "any", or those that lie closer together '
        "than usual, of cp, ep and pp.",
    )
    redundant_experts: fields.Redundant | None = Field(
        None, description="Slots of a layer for copies of its heaviest experts; needs workload.expert_loads."
    )
    constraints: Constraints | None = Field(
        None, description='Conditions on layouts: "tp * sp == 4", "ep in [8, 16]", "group ep inside a node".'
    )


class EngineSection(Section):
    """The serving engine that has to be able to launch every plan."""

    name: Annotated[str, fields.OneOf(ENGINES)] | None = None
    model_path: fields.Name | None = Field(
        None, description="Hugging Face name or folder; default: the catalog's repository, or model.name."
    )
    checkpoint_dtype: fields.DtypeName | None = Field(
        None, description="Format of the weights there; default: that of the model's own checkpoint."
    )
    gpu_memory_utilization: fields.Share | None = Field(
        None, description="Share of a GPU's memory that the engine may take."
    )
    calibration: fields.Name | None = Field(
        None, description="A file of your own from `autoparallel calibrate --serving`, relative to this file."
    )
    decode_context_parallel: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="tp ranks that share the KV cache of a sequence where tp would copy it; default 1."
    )


class PoolSection(HardwareSection):
    """GPUs of one kind in a fleet: those of [hardware] where nothing but a count is given."""

    count: fields.Gpus | None = Field(None, description="How many there are; default: as many as it takes.")


Role = Annotated[str, fields.OneOf(ROLES)]
Roles = Annotated[
    list[Role], Field(min_length=1), BeforeValidator(fields.listed, json_schema_input_type=Role | list[Role])
]


class FleetSection(Section):
    """Instances that serve side by side: as many requests as a budget can, or the cheapest for a rate."""

    gpus: fields.Gpus | None = Field(None, description="GPUs there are, of the kind in [hardware].")
    pool: list[PoolSection] | None = Field(None, min_length=1, description="GPUs of several kinds.")
    request_rate_per_s: fields.Rate | None = Field(None, description="Requests that have to be served.")
    objective: Annotated[str, fields.OneOf(FLEET_OBJECTIVES)] | None = Field(
        None, description='Default: "gpus" where a rate is asked for, else "rate".'
    )
    roles: Roles | None = Field(None, description="Kinds of instance that may be used; default: all.")
    redundancy: Annotated[str, fields.OneOf(REDUNDANCIES)] | None = Field(
        None, description='What may fail: "none" (default), "any_instance" or "one_of_each_role" at once.'
    )
    pipelines_across_pools: bool | None = Field(
        None, description="Whether stages of one instance may lie in two pools."
    )


class ProblemFile(Section):
    """A problem of autoparallel: which model, on which hardware, for what."""

    model: ModelSection
    hardware: HardwareSection
    workload: WorkloadSection
    requirements: RequirementsSection = RequirementsSection()
    search: SearchSection = SearchSection()
    engine: EngineSection | None = None
    fleet: FleetSection | None = None


# Tables inside sections, by their key.
NESTED: dict[str, type[Section]] = {
    "scale_up": LinkSection,
    "scale_out": LinkSection,
    "prompt_tokens": LengthsSection,
    "output_tokens": LengthsSection,
    "speculation": SpeculationSection,
    "expert_loads": ExpertLoadsSection,
    "pool": PoolSection,
}

SECTIONS: dict[str, type[Section]] = {
    "model": ModelSection,
    "hardware": HardwareSection,
    "workload": WorkloadSection,
    "requirements": RequirementsSection,
    "search": SearchSection,
    "engine": EngineSection,
    "fleet": FleetSection,
}
