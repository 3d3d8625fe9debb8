"""A layout: the degrees of every parallel dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

RING, ULYSSES, TENSOR = "ring", "ulysses", "tensor"
# Groups that may change places with the one that usually lies closer together: cp with tp, ep with etp, pp
# with a whole stage.
ORDERS = ("cp", "ep", "pp")


def even_layers(layers: int, stages: int) -> tuple[int, ...]:
    """Layers of every stage: as even as can be, the remainder to the earliest.

    Examples
    --------
    >>> even_layers(10, 4)
    (3, 3, 2, 2)
    """
    size, larger = divmod(layers, stages)
    return tuple(size + (stage < larger) for stage in range(stages))


def spelled(layers: tuple[int, ...]) -> str:
    """Layers of stages as people write them: ``16+15+15+15``."""
    return "+".join(map(str, layers))


@dataclass(frozen=True, kw_only=True)
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
    layers : tuple of int or None
        Layers of every pipeline stage, in order; ``None`` where they are as even as can be.
    order : tuple of str
        Which of :data:`ORDERS` lie closer together on the network than usual: neighbouring GPUs are ``cp``
        ranks before ``tp`` ranks, ``ep`` before ``etp`` ranks, and a node holds a slice of every one of
        the ``pp`` stages. Empty for tp, cp, dp and etp, ep, edp, each stage on as few nodes as can be.
    redundant_experts : int
        Slots of a layer's experts beyond one for each, all ep ranks together, for copies of the heaviest.

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
    layers: tuple[int, ...] | None = None
    order: tuple[str, ...] = ()
    redundant_experts: int = 0

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

    def layers_of_stages(self, num_hidden_layers: int) -> tuple[int, ...]:
        """Layers of every pipeline stage, in order."""
        return even_layers(num_hidden_layers, self.pp) if self.layers is None else self.layers

    @property
    def sort_key(self) -> tuple[object, ...]:
        """The degrees in an order that any two layouts have."""
        absent = {"sp_kind": "", "layers": ()}
        return tuple(absent[name] if value is None else value for name, value in asdict(self).items())

    def to_dict(self) -> dict[str, Any]:
        """The degrees by name; layers, order and copies of experts only where they are unusual."""
        usual = {"layers": None, "order": (), "redundant_experts": 0}
        return {name: value for name, value in asdict(self).items() if usual.get(name, ...) != value}

    @classmethod
    def from_dict(cls, degrees: Mapping[str, Any]) -> Layout:
        """Inverse of :meth:`to_dict`; what follows from the degrees (``cp``, ``edp``) is left out."""
        known = {field.name: degrees[field.name] for field in fields(cls) if field.name in degrees}
        for name in ("layers", "order"):
            if isinstance(known.get(name), list):
                known[name] = tuple(known[name])
        return cls(**known)

    def __str__(self) -> str:
        sequence = f" sp={self.sp} ({self.sp_kind})" if self.sp > 1 else ""
        layers = f" layers={spelled(self.layers)}" if self.layers else ""
        redundant = f" redundant_experts={self.redundant_experts}" if self.redundant_experts else ""
        return (
            f"tp={self.tp}{sequence} dp={self.dp} pp={self.pp}{layers} "
            f"ep={self.ep} etp={self.etp} replicas={self.replicas}{redundant}"
            + (f" order={'+'.join(self.order)}" if self.order else "")
        )
