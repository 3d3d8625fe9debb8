"""``--layout tp=2,dp=4``: degrees as people write them."""

from __future__ import annotations

from typing import Any

import click

from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.layout import ORDERS
from autoparallel.domain.search_space import DEGREES, SP_KINDS

KEYS = (*DEGREES, "sp_kind", "replicas", "layers", "order", "redundant_experts")
LARGEST = 2**20
_FOLLOWS = {
    "cp": "cp follows from sp with sp_kind=ring or ulysses",
    "edp": "edp follows from the other degrees",
    "gpus": "the GPUs follow from the degrees",
}


_WORDS = {"sp_kind": SP_KINDS, "order": ORDERS}
Degree = int | str | tuple[int, ...] | tuple[str, ...]


class LayoutOption(click.ParamType[dict[str, Degree]]):
    """Degrees by name; every fault is named at once."""

    name = "layout"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Degree]:
        """Read ``tp=2,sp=2,sp_kind=tensor``; what is not named stays 1, or 0 copies of experts.

        ``layers=16+15+15+15`` are the layers of every stage, ``order=cp+pp`` groups that lie closer together
        than usual.
        """
        if isinstance(value, dict):
            return value
        degrees: dict[str, Degree] = {}
        faults = []
        for part in str(value).split(","):
            key, equals, text = (piece.strip() for piece in part.partition("="))
            fault = _fault(key, bool(equals), text) or ("given twice" if key in degrees else "")
            if fault:
                faults.append(f"{part.strip()!r}: {fault}")
            else:
                degrees[key] = _value(key, text)
        if faults:
            self.fail("; ".join(faults), param, ctx)
        if isinstance(layers := degrees.get("layers"), tuple):
            degrees.setdefault("pp", len(layers))
        return degrees


def _fault(key: str, has_value: bool, text: str) -> str:
    if key in _FOLLOWS:
        return _FOLLOWS[key]
    if key not in KEYS:
        return f"there is no degree {key!r}; {did_you_mean(key, KEYS)}"
    if not has_value or not text:
        return f"write it as {key}=2"
    if key in _WORDS:
        given = text.split("+") if key == "order" else [text]
        return next((did_you_mean(word, _WORDS[key]) for word in given if word not in _WORDS[key]), "")
    counts = text.split("+") if key == "layers" else [text]
    if all(map(_is_count, counts)):
        return ""
    several = "layers are whole numbers with a plus between them, 16+15+15+15"
    return several if key == "layers" else f"a degree is a whole number from 1 to {LARGEST:,}"


def _value(key: str, text: str) -> Degree:
    if key == "layers":
        return tuple(map(int, text.split("+")))
    if key == "order":
        return tuple(name for name in ORDERS if name in text.split("+"))
    return text if key == "sp_kind" else int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LARGEST


LAYOUT = LayoutOption()
