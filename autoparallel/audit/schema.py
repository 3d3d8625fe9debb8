"""The form of a plan file. As in a problem file, what is missing is said by the builder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from autoparallel.audit.written import BASELINE, PLAN
from autoparallel.problem_file import fields
from autoparallel.problem_file.schema import SpKind
from autoparallel.problem_file.section import Section

Text = Annotated[str, Field(max_length=2000)]
# Nothing that is counted or measured here is larger, and sums of such numbers stay finite.
Number = Annotated[float, Field(ge=-1e30, le=1e30)]


class PlanSection(Section):
    """What stands at the top of a plan file."""

    title: fields.Name | None = Field(None, description="Name of the plan.")
    model: fields.Name | None = Field(None, description="The model that it is for, as the problem names it.")
    batch: fields.Sequences | None = Field(None, description="Sequences in service at once in one instance.")
    microbatch: fields.Sequences | None = Field(None, description="Sequences in one pipeline slot.")
    chunk: fields.Tokens | None = Field(
        None, description="Continuous batching: tokens of a step of a data parallel rank."
    )


class LayoutSection(Section):
    """Degrees that the plan names; those that it does not name are free."""

    tp: fields.Gpus | None = None
    sp: fields.Gpus | None = None
    sp_kind: SpKind | None = None
    dp: fields.Gpus | None = None
    pp: fields.Gpus | None = None
    ep: fields.Gpus | None = None
    etp: fields.Gpus | None = None
    replicas: fields.Gpus | None = None
    layers: tuple[fields.Layers, ...] | None = Field(None, description="Layers of every pipeline stage.")


class BaselineSection(Section):
    """The plan that this one is compared with."""

    plan: fields.Name | None = Field(None, description="Its plan file, relative to this one.")


class ClaimSection(Section):
    """One sentence of the plan."""

    quantity: fields.Name | None = Field(None, description="What it is about.")
    value: Number | None = Field(None, description="The number it states.")
    range: list[Number] | None = Field(None, description="The two numbers it lies between.")
    at_most: Number | None = None
    at_least: Number | None = None
    unit: fields.Name | None = Field(None, description="Unit of the number.")
    tolerance: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description='Share by which a computed number may pass it; 0.1 for "about".',
    )
    says: Text = Field("", description="The sentence it stands for.")
    section: Text = Field("", description="Where the sentence stands.")
    of: Annotated[str, fields.OneOf((PLAN, BASELINE))] = PLAN
