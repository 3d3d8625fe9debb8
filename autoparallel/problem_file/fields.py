"""The kinds of value that a problem file has, each with its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.layout import ORDERS

# Far beyond any machine, near enough that no product of them overflows a 64-bit integer table.
MAX_LAYERS = 10_000
# Where to cut a pipeline takes the square of the layers.
MAX_SPLIT_LAYERS = 512
MAX_WIDTH = 1_000_000
MAX_EXPERTS = 100_000
MAX_TOKENS = 1_000_000_000
MAX_SEQUENCES = 10_000_000
MAX_GPUS = 1_000_000


@dataclass(frozen=True)
class OneOf:
    """A string that is one of ``choices``."""

    choices: tuple[str, ...]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.choices))


def listed(value: Any) -> Any:
    """Take a single value for a list of one."""
    return value if isinstance(value, list) else [value]


DtypeName = Annotated[str, OneOf(tuple(DTYPES))]
Name = Annotated[str, Field(min_length=1, max_length=200)]

Layers = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
LayerCount = Annotated[int, Field(ge=0, le=MAX_LAYERS)]
Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
OptionalWidth = Annotated[int, Field(ge=0, le=MAX_WIDTH)]
Heads = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
HeadCount = Annotated[int, Field(ge=0, le=MAX_LAYERS)]
Experts = Annotated[int, Field(ge=0, le=MAX_EXPERTS)]
Vocabulary = Annotated[int, Field(ge=0, le=100_000_000)]
Parameters = Annotated[float, Field(gt=0, le=1e16)]

Tokens = Annotated[int, Field(gt=0, le=MAX_TOKENS)]
MeanTokens = Annotated[float, Field(gt=0, le=MAX_TOKENS)]
Sigma = Annotated[float, Field(gt=0, le=5)]
Sequences = Annotated[int, Field(gt=0, le=MAX_SEQUENCES)]
Gpus = Annotated[int, Field(gt=0, le=MAX_GPUS)]

Gigabytes = Annotated[float, Field(gt=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=1e8)]
Share = Annotated[float, Field(gt=0, le=1)]
Microseconds = Annotated[float, Field(ge=0, le=1e7)]
Seconds = Annotated[float, Field(gt=0, le=1e7)]
Imbalance = Annotated[float, Field(ge=1, le=MAX_EXPERTS)]

Degrees = Annotated[
    list[Gpus],
    Field(min_length=1, max_length=1000),
    BeforeValidator(listed, json_schema_input_type=Gpus | list[Gpus]),
]
Redundant = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_EXPERTS)]],
    Field(min_length=1, max_length=1000),
    BeforeValidator(listed, json_schema_input_type=Experts | list[Experts]),
]
Batches = Annotated[
    list[Sequences],
    Field(min_length=1, max_length=1000),
    BeforeValidator(listed, json_schema_input_type=Sequences | list[Sequences]),
]

USUAL_ORDER, ANY_ORDER = "usual", "any"
Orders = Annotated[
    list[Annotated[str, OneOf((USUAL_ORDER, ANY_ORDER, *ORDERS))]],
    Field(min_length=1),
    BeforeValidator(listed, json_schema_input_type=Annotated[str, OneOf((USUAL_ORDER, ANY_ORDER, *ORDERS))]),
]
