"""Reads an engine's entry and its table of flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

SWITCH = "switch"


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What of a layout an engine can say, as data that the solver's rule reads.

    Attributes
    ----------
    ring : str
        Where context parallel ranks share the KV cache: ``never``, or ``mla`` models with experts.
    attention_dp : str
        ``any`` number of attention groups in a stage, or ``whole_stage``: one, or as many as ranks.
    dense_attention_dp : bool
        Whether a dense model's FFN can be split over all attention groups.
    mixed_experts : bool
        Whether ep and etp can both exceed 1.
    stages_inside_dp : bool
        Whether ranks are numbered with dp outside pp, so that a data parallel rank's stages are
        neighbours, not the ranks of a stage.
    decode_context : bool
        Whether ranks of a tp group can share a KV cache in decode.
    """

    ring: str
    attention_dp: str
    dense_attention_dp: bool
    mixed_experts: bool
    stages_inside_dp: bool
    decode_context: bool


@dataclass(frozen=True, kw_only=True)
class EngineRule:
    """One limit of an engine, as a sentence, and where it was read."""

    sentence: str
    source: str


@dataclass(frozen=True, kw_only=True)
class OnlineWeights:
    """Formats that an engine makes of weights of 16 or 32 bits while it loads them.

    Attributes
    ----------
    formats : mapping of str to str
        Format to the value of ``--quantization``.
    loads_whole : bool
        Whether all weights of a GPU are there as they are stored before the first is converted.
    """

    formats: Mapping[str, str]
    loads_whole: bool
    source: str


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of a program: its other names, the value it takes, and the switch that it turns off."""

    name: str
    value: str
    also: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    negates: str | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One version of a serving engine.

    Attributes
    ----------
    memory_fraction : float
        The engine's own default share of memory, of what differs between engines; 0 where it derives one.
    flags : mapping of str to mapping
        Program (``serve``, ``bench``, ``config``) to its flags, by every name that they have.
    """

    name: str
    title: str
    version: str
    image: str
    port: int
    abilities: Abilities
    online_weights: OnlineWeights
    rules: Mapping[str, EngineRule]
    flags: Mapping[str, Mapping[str, Flag]]
    memory_fraction: float = 0.0

    def __str__(self) -> str:
        return f"{self.title} {self.version}"


@cache
def load_engine(name: str) -> Engine:
    """The catalog's entry of an engine, one of :data:`~autoparallel.domain.engine.ENGINES`."""
    folder = resources.files("autoparallel.catalog.engines")
    entry = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    flags = tomllib.loads((folder / "flags" / f"{name}.toml").read_text(encoding="utf-8"))
    return Engine(
        name=name,
        abilities=Abilities(**entry.pop("abilities")),
        online_weights=OnlineWeights(**entry.pop("online_weights")),
        rules={rule: EngineRule(**fields) for rule, fields in entry.pop("rules").items()},
        flags={program: _by_every_name(table) for program, table in flags.items()},
        **entry,
    )


def _by_every_name(table: Mapping[str, Mapping[str, object]]) -> dict[str, Flag]:
    flags: dict[str, Flag] = {}
    for name, fields in table.items():
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        flag = Flag(name=name, **lists)  # type: ignore[arg-type]
        flags |= dict.fromkeys((name, *flag.also), flag)
    return flags
