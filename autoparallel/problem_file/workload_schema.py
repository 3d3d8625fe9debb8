"""The form of a problem file's workload."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from autoparallel.domain.workload import ARRIVALS, MODES, STATIC
from autoparallel.problem_file import fields
from autoparallel.problem_file.section import Section

LENGTH_KINDS = ("fixed", "uniform", "lognormal", "quantiles")
LOAD_KINDS = ("file", "zipf")


class LengthsSection(Section):
    """Token counts: fixed (tokens), uniform between min and max, lognormal, or by quantiles (p10 to p99)."""

    kind: Annotated[str, fields.OneOf(LENGTH_KINDS)]
    tokens: fields.Tokens | None = None
    min: fields.Tokens | None = None
    max: fields.Tokens | None = None
    mean: fields.MeanTokens | None = None
    sigma: fields.Sigma | None = Field(None, description="Standard deviation of a lognormal's logarithm.")
    p10: fields.Tokens | None = None
    p25: fields.Tokens | None = None
    p50: fields.Tokens | None = None
    p75: fields.Tokens | None = None
    p90: fields.Tokens | None = None
    p95: fields.Tokens | None = None
    p99: fields.Tokens | None = None


def _length_table(value: Any) -> Any:
    """Take a plain number of tokens for a fixed length."""
    return value if isinstance(value, dict) else {"kind": "fixed", "tokens": value}


LengthsField = Annotated[
    LengthsSection, BeforeValidator(_length_table, json_schema_input_type=fields.Tokens | LengthsSection)
]


class ExpertLoadsSection(Section):
    """Loads of the experts of a layer: a CSV file, or Zipf's law over experts in a random order."""

    kind: Annotated[str, fields.OneOf(LOAD_KINDS)]
    file: fields.Name | None = None
    exponent: Annotated[float, Field(ge=0, le=10)] | None = Field(
        None,
        description="Of Zipf's law: the n-th expert has n^-exponent of the first one's load.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="Which experts of a layer are which.")


def _load_table(value: Any) -> Any:
    """Take a plain name for that of a file."""
    return value if isinstance(value, dict) else {"kind": "file", "file": value}


ExpertLoadsField = Annotated[
    ExpertLoadsSection, BeforeValidator(_load_table, json_schema_input_type=fields.Name | ExpertLoadsSection)
]


class SpeculationSection(Section):
    """Speculative decoding: a draft proposes tokens, the model checks them in one step."""

    draft_tokens: Annotated[int, Field(ge=1, le=64)] = Field(description="Proposed in every step.")
    acceptance: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Chance that a proposed token is accepted where all before it were."
    )
    draft_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Time, weights and KV cache of the draft over the model's; "
        "default: the model's own prediction layers over its layers.",
    )
    draft: fields.Name | None = Field(None, description='"mtp" (default), or a draft model to load.')


class WorkloadSection(Section):
    """Requests and how they arrive."""

    mode: Annotated[str, fields.OneOf(MODES)] = Field(
        STATIC,
        description="static: a batch enters and leaves together; the others are batched continuously. "
        "Default: static, of a fleet saturated.",
    )
    concurrency: fields.Sequences | None = Field(None, description="Sequences in service at once.")
    prompt_tokens: LengthsField | None = None
    output_tokens: LengthsField | None = None
    expert_imbalance: fields.Imbalance | None = Field(None, description="Fullest expert rank over the mean.")
    request_rate_per_s: fields.Rate | None = Field(None, description="Arrivals of an open load.")
    arrivals: Annotated[str, fields.OneOf(ARRIVALS)] | None = Field(None, description="Default: poisson.")
    trace: fields.Name | None = Field(
        None, description="Recorded requests, relative to this file: Azure's CSV or Mooncake's JSON lines."
    )
    max_model_len: fields.Tokens | None = Field(
        None,
        description="Prompt and output of the longest request that the engine takes: memory is kept for it, "
        "longer requests of a trace are rejected.",
    )
    cached_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Share of a prompt that a prefix cache holds."
    )
    speculation: SpeculationSection | None = Field(None, description="Default: none, a token a step.")
    expert_loads: ExpertLoadsField | None = Field(
        None, description="Load of every expert: a CSV (layer, expert, load) relative to this file, or a law."
    )
    expert_coactivation: fields.Name | None = Field(
        None, description="A CSV (layer, expert_a, expert_b, count): which experts tokens use together."
    )
