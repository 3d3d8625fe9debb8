"""Texts that have the form of an input: known keys with likely, unlikely and impossible values."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from autoparallel.audit.schema import ClaimSection, LayoutSection, PlanSection
from autoparallel.calibration.tables import KINDS, LATENCY
from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES
from autoparallel.domain.layout import ORDERS
from autoparallel.domain.search_space import SP_KINDS
from autoparallel.problem_file.constraint import GROUPS, NAMES
from autoparallel.problem_file.hf_config_names import SYNONYMS
from autoparallel.problem_file.schema import NESTED, SECTIONS
from tests.fuzz.mutations import VALUES, words
from tests.fuzz.seeds import LAUNCHES, PROBLEM, SECRET, seeds

_KNOWN = """static closed open saturated trace uniform lognormal fixed zipf fp8 bfloat16 mxfp4 tensor ring
ulysses optimal any vllm sglang trtllm full_attention dense sparse deepseek-v3 mixtral-8x7b
h100-sxm b200-sxm gpus rate a<b> é"""
_SIZES = st.sampled_from((0, 1, 2, 3, 4, 8, 16, 64, 128, 1000, 4096, 10**6, 10**7, 10**9, 2**63, -1))
_NUMBERS = st.one_of(_SIZES, st.integers(0, 300), st.floats(width=32))
_WORDS = st.sampled_from([*words(_KNOWN), "", "\u0000"])
_SCALARS = st.one_of(_NUMBERS, _WORDS, st.booleans())
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=5), st.dictionaries(_WORDS, _SCALARS, max_size=3))


@cache
def texts() -> dict[str, st.SearchStrategy[str]]:
    """A strategy for each kind of input that has a grammar."""
    return {
        "problem": _problem(),
        "config": _config(),
        "operators": _table([(*kind.numbers, *kind.words, *kind.optional, LATENCY) for kind in KINDS]),
        "engines": _table([tuple(seeds()["engines"][0].partition("\n")[0].split(","))]),
        "expert_loads": _table([("layer", "expert", "load")]),
        "coactivation": _table([("layer", "expert_a", "expert_b", "count")]),
        "trace": st.one_of(_table([("TIMESTAMP", "ContextTokens", "GeneratedTokens")]), _json_lines()),
        "plan": _plan(),
        "launch": _launch(),
        "constraint": _constraint(),
        "storage": _storage(),
        "layout": _layout(),
        "override": st.builds("{}={}".format, st.sampled_from(_keys()), st.one_of(_toml_text(), _any_text())),
    }


def _any_text() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(VALUES), st.text(max_size=20))


def toml(value: Any) -> str:
    """Write a value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _toml_text() -> st.SearchStrategy[str]:
    return _VALUES.map(toml)


def _keys() -> list[str]:
    nested = [f"{name}.{key}" for name, section in NESTED.items() for key in section.model_fields]
    flat = [f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields]
    return [*flat, *(f"workload.{key}" for key in nested), *(f"hardware.{key}" for key in nested)]


def _document(tables: dict[str, Any]) -> str:
    """A problem of plain tables."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


@st.composite
def _problem(draw: Callable[..., Any]) -> str:
    """The small problem, some keys of which are others, gone or new."""
    tables = tomllib.loads(PROBLEM)
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(sorted(SECTIONS)))
        key = draw(st.sampled_from(sorted(SECTIONS[name].model_fields)))
        table = tables.setdefault(name, {})
        if draw(st.integers(0, 5)) == 0:
            table.pop(key, None)
        elif key in NESTED and draw(st.booleans()):
            inner = st.sampled_from(sorted(NESTED[key].model_fields))
            table[key] = draw(st.dictionaries(inner, _VALUES, max_size=4))
        else:
            table[key] = draw(_VALUES)
    return _document(tables)


@st.composite
def _config(draw: Callable[..., Any]) -> str:
    """A model that there is, some fields of which are others."""
    config = json.loads(draw(st.sampled_from(seeds()["config"])))
    known = [*SYNONYMS, *(other for others in SYNONYMS.values() for other in others)]
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(sorted({*config, *known})))
        if draw(st.booleans()):
            config[key] = draw(_VALUES)
        else:
            config.pop(key, None)
    return json.dumps(config)


@st.composite
def _table(draw: Callable[..., Any], headers: list[tuple[str, ...]]) -> str:
    """A CSV of a known kind with cells of any kind."""
    columns = list(draw(st.sampled_from(headers)))
    if draw(st.integers(0, 4)) == 0:
        columns.remove(draw(st.sampled_from(columns)))
    cell = st.one_of(_SIZES.map(str), _NUMBERS.map(str), _any_text())
    likely = {
        "system": "h100_sxm",
        "backend": "trtllm",
        "dtype": "bfloat16",
        "gpu": "H100-SXM-80GB",
        "op": "all_reduce",
    }
    rows = [columns]
    rows += [
        [likely[name] if name in likely and draw(st.booleans()) else draw(cell) for name in columns]
        for _ in range(draw(st.integers(0, 6)))
    ]
    return "\n".join(",".join(row) for row in rows)


def _json_lines() -> st.SearchStrategy[str]:
    fields = ("timestamp", "input_length", "output_length", "hash_ids")
    row = st.fixed_dictionaries(dict.fromkeys(fields[:3], _VALUES), optional={"hash_ids": _VALUES})
    near = st.fixed_dictionaries({name: st.integers(0, 9000) for name in fields[:3]})
    return st.lists(st.one_of(row, near), max_size=6).map(lambda rows: "\n".join(map(json.dumps, rows)))


@st.composite
def _plan(draw: Callable[..., Any]) -> str:
    from autoparallel.audit.checks import QUANTITIES

    layout = st.dictionaries(
        st.sampled_from(sorted(LayoutSection.model_fields)), st.one_of(_SIZES, _VALUES), max_size=5
    )
    top = st.dictionaries(st.sampled_from(sorted(PlanSection.model_fields)), _VALUES, max_size=1)
    claim_keys = st.sampled_from(sorted(ClaimSection.model_fields))
    lines = [f"{key} = {toml(value)}" for key, value in {"model": "small", "batch": 16, **draw(top)}.items()]
    lines += ["[layout]", *(f"{key} = {toml(value)}" for key, value in draw(layout).items())]
    for _ in range(draw(st.integers(0, 3))):
        claim = {
            "quantity": draw(st.sampled_from(sorted(QUANTITIES))),
            **draw(st.dictionaries(claim_keys, _VALUES)),
        }
        lines += ["[[claim]]", *(f"{key} = {toml(value)}" for key, value in claim.items())]
    return "\n".join(lines) + "\n"


@st.composite
def _launch(draw: Callable[..., Any]) -> str:
    words = [draw(st.sampled_from(LAUNCHES)).split("\n")[0]]
    tables = (table for name in ENGINES for table in load_engine(name).flags.values())
    flags = sorted({flag for table in tables for flag in table})
    value = st.one_of(_SIZES.map(str), _any_text())
    for _ in range(draw(st.integers(1, 5))):
        words.append(draw(st.sampled_from(flags)))
        words += [draw(value)] if draw(st.booleans()) else []
    return " ".join(words)


def _constraint() -> st.SearchStrategy[str]:
    numbers = st.one_of(st.sampled_from(NAMES), _SIZES.map(str))
    sums = st.recursive(
        numbers,
        lambda one: st.builds(
            "({} {} {})".format, one, st.sampled_from(("+", "-", "*", "//", "%", "/", "**")), one
        ),
        max_leaves=8,
    )
    compared = st.builds(
        "{} {} {}".format, sums, st.sampled_from(("==", "!=", "<=", ">=", "<", ">", "=")), sums
    )
    among = st.builds("{} in {}".format, sums, st.lists(_SIZES, max_size=4))
    inside = st.sampled_from(GROUPS).map("group {} inside a node".format)
    return st.recursive(
        st.one_of(compared, among, inside, _any_text()),
        lambda one: st.one_of(
            st.builds("({} {} {})".format, one, st.sampled_from(("and", "or", "+")), one),
            one.map("not {}".format),
        ),
        max_leaves=6,
    )


def _storage() -> st.SearchStrategy[str]:
    """URLs that nothing answers at, with a secret where one can be."""
    scheme = st.sampled_from(
        ("postgresql", "postgres", "postgresql+psycopg", "sqlite", "mysql", "http", "file", "redis")
    )
    people = st.sampled_from(
        ("", f"me:{SECRET}@", f"{SECRET}@", f":{SECRET}@", f"a@b:{SECRET}@", f"me:{SECRET}%40@")
    )
    host = st.sampled_from(("127.0.0.1:1", "", "[::1]:1", "127.0.0.1:99999", "127.0.0.1:x", "[", "/tmp"))
    path = st.sampled_from(
        ("", "/", "/db", "//", "/./x", f"/db?password={SECRET}", f"?sslkey={SECRET}&a=%zz", "/a b#c")
    )
    return st.builds("{}://{}{}{}".format, scheme, people, host, path)


def _layout() -> st.SearchStrategy[str]:
    names = (
        "tp",
        "sp",
        "sp_kind",
        "dp",
        "pp",
        "ep",
        "etp",
        "replicas",
        "redundant_experts",
        "layers",
        "order",
        "x",
    )
    value = st.one_of(
        _SIZES.map(str), st.sampled_from((*SP_KINDS, *ORDERS, "5+3", "1+" * 50 + "1", "", "=", "two"))
    )
    pair = st.builds("{}={}".format, st.sampled_from(names), value)
    return st.lists(pair, min_size=1, max_size=6).map(",".join)
