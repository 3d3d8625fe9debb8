"""Many plans at once: one array a degree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import ORDERS, RING, TENSOR, ULYSSES, Layout, even_layers
from autoparallel.domain.pair import Pair
from autoparallel.performance.operators.cost import Quantity


class AttentionDegrees(NamedTuple):
    """How attention is laid out over a stage, and the sequences it works on.

    ``tensor_sp`` and ``ring`` are Booleans: sequence parallel inside the tp group; context parallel
    by a ring, as against Ulysses.
    """

    tp: Quantity
    cp: Quantity
    dp: Quantity
    tensor_sp: npt.NDArray[np.bool_] | bool
    ring: npt.NDArray[np.bool_] | bool
    microbatch: Quantity
    batch: Quantity

    @property
    def gpus_per_stage(self) -> Quantity:
        """GPUs of a pipeline stage."""
        return self.tp * self.cp * self.dp


class ExpertDegrees(NamedTuple):
    """How the routed experts are laid out over a stage of ``ep * etp * edp`` GPUs."""

    ep: Quantity
    etp: Quantity
    edp: Quantity
    microbatch: Quantity
    redundant_experts: Quantity = 0.0

    @property
    def gpus_per_stage(self) -> Quantity:
        """GPUs of a pipeline stage."""
        return self.ep * self.etp * self.edp


class PlanTable(NamedTuple):
    """Plans by column: what :func:`~autoparallel.performance.estimate.estimate` takes. All float64 or bool.

    ``sp_kind`` 0 is none, 1 tensor, 2 ring, 3 Ulysses. ``layers`` are objects, those of a layout's stages or
    ``None`` where they are as even as can be. ``order`` has a bit for each of ``ORDERS``. ``chunk`` is
    ``None`` for static batches.
    """

    tp: npt.NDArray[np.float64]
    sp: npt.NDArray[np.float64]
    sp_kind: npt.NDArray[np.int8]
    dp: npt.NDArray[np.float64]
    pp: npt.NDArray[np.float64]
    ep: npt.NDArray[np.float64]
    etp: npt.NDArray[np.float64]
    replicas: npt.NDArray[np.float64]
    redundant_experts: npt.NDArray[np.float64]
    batch: npt.NDArray[np.float64]
    microbatch: npt.NDArray[np.float64]
    layers: npt.NDArray[np.object_]
    order: npt.NDArray[np.int8]
    chunk: npt.NDArray[np.float64] | None = None

    def rows(self, index: slice | npt.NDArray[np.int64]) -> PlanTable:
        """Some of the plans."""
        return self._mapped(lambda column: column[index])

    def _mapped(self, change: Callable[[Any], Any]) -> PlanTable:
        changed: dict[str, Any] = {
            name: None if column is None else change(column) for name, column in self._asdict().items()
        }
        return PlanTable(**changed)

    @property
    def gpus_per_instance(self) -> npt.NDArray[np.float64]:
        """GPUs of one instance."""
        attention, _ = self.split()
        return np.asarray(attention.gpus_per_stage * self.pp)

    @classmethod
    def joined(cls, tables: Sequence[PlanTable]) -> PlanTable:
        """The plans of several tables, one after the other."""
        columns: Iterator[tuple[Any, ...]] = zip(*tables, strict=True)
        joined: list[Any] = [None if parts[0] is None else np.concatenate(parts) for parts in columns]
        return cls(*joined)

    def pair(self, row: int) -> Pair:
        """Batch, microbatch and chunk of one plan."""
        chunk = None if self.chunk is None else int(self.chunk[row])
        return Pair(int(self.batch[row]), int(self.microbatch[row]), chunk)

    def layout(self, row: int) -> Layout:
        """The layout of one plan."""
        kind = SP_KIND_NAMES[int(self.sp_kind[row])]
        degrees = {name: int(getattr(self, name)[row]) for name in _DEGREES}
        return Layout(sp_kind=kind, layers=self.layers[row], order=_order(self.order[row]), **degrees)

    def alike(
        self, num_hidden_layers: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[str, ...], npt.NDArray[np.int64]]]:
        """Layers of every stage, order on the network, and the plans that have these."""
        first = self.order[:1]
        if (self.order == first).all():
            # Nearly always: nothing has to be copied.
            for layers, rows in self.by_stages(num_hidden_layers):
                yield layers, _order(first[0]), rows
            return
        for bits in np.unique(self.order):
            rows = np.flatnonzero(self.order == bits)
            for layers, part in self.rows(rows).by_stages(num_hidden_layers):
                yield layers, _order(bits), rows[part]

    def by_stages(self, num_hidden_layers: int) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.int64]]]:
        """Layers of every stage, and the plans that have these, in the table's order."""
        even = np.array([layers is None for layers in self.layers], dtype=bool)
        for pp in np.unique(self.pp[even]):
            yield even_layers(num_hidden_layers, int(pp)), np.flatnonzero(even & (self.pp == pp))
        uneven: dict[tuple[int, ...], list[int]] = {}
        for row in np.flatnonzero(~even):
            uneven.setdefault(self.layers[row], []).append(int(row))
        for layers, rows in uneven.items():
            yield layers, np.array(rows, dtype=np.int64)

    @classmethod
    def of(
        cls,
        layouts: Sequence[Layout],
        batch: Sequence[int],
        microbatch: Sequence[int],
        chunk: Sequence[int] = (),
    ) -> PlanTable:
        """From layouts with their batches and microbatches, and chunks where they are served."""
        columns = {
            name: np.array([getattr(layout, name) for layout in layouts], dtype=np.float64)
            for name in _DEGREES
        }
        layers = even_stages(len(layouts))
        for row, layout in enumerate(layouts):
            layers[row] = layout.layers
        kinds = [SP_KIND_NAMES.index(layout.sp_kind if layout.sp > 1 else None) for layout in layouts]
        return cls(
            sp_kind=np.array(kinds, dtype=np.int8),
            batch=np.array(batch, dtype=np.float64),
            microbatch=np.array(microbatch, dtype=np.float64),
            layers=layers,
            order=np.array([order_bits(layout.order) for layout in layouts], dtype=np.int8),
            chunk=np.array(chunk, dtype=np.float64) if chunk else None,
            **columns,
        )

    def split(self) -> tuple[AttentionDegrees, ExpertDegrees]:
        """The two halves of the layouts."""
        context_parallel = self.sp_kind >= SP_KIND_NAMES.index(RING)
        cp = np.where(context_parallel, self.sp, 1.0)
        attention = AttentionDegrees(
            self.tp,
            cp,
            self.dp,
            self.sp_kind == SP_KIND_NAMES.index(TENSOR),
            self.sp_kind == SP_KIND_NAMES.index(RING),
            self.microbatch,
            self.batch,
        )
        edp = self.tp * cp * self.dp / (self.ep * self.etp)
        return attention, ExpertDegrees(self.ep, self.etp, edp, self.microbatch, self.redundant_experts)


def even_stages(size: int) -> npt.NDArray[np.object_]:
    """The column ``layers`` of plans whose stages are as even as can be."""
    return np.full(size, None, dtype=object)


def order_bits(order: tuple[str, ...]) -> int:
    """What the column ``order`` holds for an order."""
    return sum(1 << ORDERS.index(name) for name in order)


def _order(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(ORDERS) if bits >> bit & 1)


SP_KIND_NAMES = (None, TENSOR, RING, ULYSSES)
_DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp", "replicas", "redundant_experts")
