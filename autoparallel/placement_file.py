"""Experts on ranks as files: every placement of a result, a table of one, and what an engine reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from autoparallel.domain.expert_loads import (
    ExpertBalance,
    ExpertGroup,
    ExpertLoads,
    ExpertPlacement,
    PlacedLayer,
)
from autoparallel.domain.model import Model
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.expert_copies import slot_loads
from autoparallel.reading import read_text

PLACEMENTS_SCHEMA = "autoparallel.placements/1"
PLACEMENTS_FILE, EXPERTS_FILE = "placements.json", "experts.json"
_NUMBERS = ("imbalance", "bound", "greedy_imbalance", "nodes_per_token", "greedy_nodes_per_token")


def placement_document(placement: ExpertPlacement) -> dict[str, Any]:
    """A placement as JSON-compatible data: a line of experts for every rank of every layer."""
    layers = [
        {
            "layer": layer.layer,
            **{name: getattr(layer, name) for name in _NUMBERS},
            "gap": layer.gap,
            "ranks": [" ".join(map(str, rank)) for rank in layer.slots],
        }
        for layer in placement.layers
    ]
    return {**asdict(placement.balance), "proven_layers": placement.proven, "layers": layers}


def placements_document(placements: Sequence[ExpertPlacement]) -> dict[str, Any]:
    """All placements of a result, the best plan's first."""
    return {"schema": PLACEMENTS_SCHEMA, "placements": [placement_document(each) for each in placements]}


def engine_document(placement: ExpertPlacement, model: Model) -> dict[str, Any]:
    """The expert of every slot of every layer, as SGLang's ``--init-expert-location`` reads it.

    A layer without routed experts has them in turn, as the engine's own default does.
    """
    placed = {layer.layer: [expert for rank in layer.slots for expert in rank] for layer in placement.layers}
    slots = model.num_experts + placement.balance.redundant
    in_turn = [slot % model.num_experts for slot in range(slots)]
    layers = [placed.get(layer, in_turn) for layer in range(model.num_hidden_layers)]
    return {"physical_to_logical_map": layers}


def engine_text(placement: ExpertPlacement, model: Model) -> str:
    """The same as JSON text, a line for each layer."""
    rows = engine_document(placement, model)["physical_to_logical_map"]
    return '{"physical_to_logical_map": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]}\n"


def placement_table(placement: ExpertPlacement, loads: ExpertLoads) -> str:
    """A placement as CSV: every slot with its rank, node, expert and share of the layer's load."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("layer", "slot", "rank", "node", "expert", "load"))
    for layer, shares in zip(placement.layers, loads.shares, strict=True):
        held = slot_loads(np.array(shares), np.array(layer.slots))
        size = held.shape[1]
        for slot, (expert, load) in enumerate(zip(np.ravel(layer.slots), held.ravel(), strict=True)):
            rank = slot // size
            node = rank // placement.balance.ranks_per_node
            writer.writerow((layer.layer, slot, rank, node, int(expert), f"{load:.9g}"))
    return out.getvalue()


def read_placements(path: Path, loads: ExpertLoads) -> tuple[ExpertPlacement, ...]:
    """The placements of a result.

    Raises
    ------
    ProblemError
        The file cannot be read, or holds what no search writes for these loads; whether the slots make sense
        is for who checks them.
    """
    file = str(path)
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", file)]) from error
    if not isinstance(document, dict) or document.get("schema") != PLACEMENTS_SCHEMA:
        fault = Fault(f"holds no placements: its schema is not {PLACEMENTS_SCHEMA!r}", file, key="schema")
        raise ProblemError([fault])
    found = []
    for index, row in enumerate(document.get("placements") or ()):
        try:
            found.append(_placement(row, loads))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProblemError(
                [Fault(f"is no placement: {error}", file, key=f"placements[{index}]")]
            ) from error
    return tuple(found)


def _placement(row: Mapping[str, Any], loads: ExpertLoads) -> ExpertPlacement:
    balance = ExpertBalance(
        **ExpertGroup(*(int(row[name]) for name in ExpertGroup._fields))._asdict(),
        imbalance=float(row["imbalance"]),
        worst_imbalance=float(row["worst_imbalance"]),
        ranks_per_token=float(row["ranks_per_token"]),
        nodes_per_token=float(row["nodes_per_token"]),
        touched_fullest=tuple(map(float, row["touched_fullest"])),
        touched_most=tuple(map(float, row["touched_most"])),
    )
    layers = tuple(_layer(layer) for layer in row["layers"])
    if tuple(layer.layer for layer in layers) != loads.layers:
        raise ValueError("its layers are not those with routed experts")
    return ExpertPlacement(balance=balance, layers=layers)


def _layer(row: Mapping[str, Any]) -> PlacedLayer:
    if not isinstance(row["ranks"], list):
        raise TypeError("ranks is a list, a text for each rank")
    slots = tuple(tuple(int(expert) for expert in rank.split()) for rank in row["ranks"])
    return PlacedLayer(layer=int(row["layer"]), slots=slots, **{name: float(row[name]) for name in _NUMBERS})
