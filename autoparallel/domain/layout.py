"""A layout: the degrees of every parallel dimension."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

RING, ULYSSES, TENSOR = "ring", "ulysses", "tensor"


@dataclass(frozen=True, kw_only=True, order=True)
class Layout:
    """Degrees of a deployment, attention and experts folded over the same GPUs.

    Attributes
    ----------
    tp : int
        Tensor parallel ranks of attention.
    sp, sp_kind : int, str or None
        Sequence parallel degree, and ``"tensor"`` (inside the tp group), ``"ring"`` or ``"ulysses"``
        (context parallel, an axis of its own).
    dp : int
        Data parallel attention ranks inside an instance.
    pp : int
        Pipeline stages.
    ep, etp : int
        Expert parallel ranks, and tensor parallel ranks inside an expert.
    replicas : int
        Instances of the deployment.

    Examples
    --------
    >>> Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2).gpus
    16
    """

    tp: int = 1
    sp: int = 1
    sp_kind: str | None = None
    dp: int = 1
    pp: int = 1
    ep: int = 1
    etp: int = 1
    replicas: int = 1

    @property
    def cp(self) -> int:
        """Context parallel ranks: ``sp`` where it is an axis of its own, else 1."""
        return self.sp if self.sp_kind in (RING, ULYSSES) else 1

    @property
    def gpus_per_stage(self) -> int:
        """GPUs of one pipeline stage."""
        return self.tp * self.cp * self.dp

    @property
    def edp(self) -> int:
        """Expert groups that share the tokens of a stage."""
        return self.gpus_per_stage // (self.etp * self.ep)

    @property
    def gpus_per_instance(self) -> int:
        """GPUs that serve together."""
        return self.gpus_per_stage * self.pp

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return self.gpus_per_instance * self.replicas

    def to_dict(self) -> dict[str, Any]:
        """The degrees by name."""
        return asdict(self)

    def __str__(self) -> str:
        sequence = f" sp={self.sp} ({self.sp_kind})" if self.sp > 1 else ""
        return (
            f"tp={self.tp}{sequence} dp={self.dp} pp={self.pp} "
            f"ep={self.ep} etp={self.etp} replicas={self.replicas}"
        )
