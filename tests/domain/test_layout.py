"""The arithmetic of folded layouts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Layout
from autoparallel.domain.layout import RING, TENSOR, ULYSSES

DEGREE = st.integers(1, 16)


def test_the_plan_of_sixteen_gpus() -> None:
    # tp 2 x dp 4 = 8 GPUs a stage = etp 2 x ep 4 x edp 1; two stages make 16.
    layout = Layout(tp=2, sp=2, sp_kind=TENSOR, dp=4, pp=2, ep=4, etp=2)
    assert (layout.cp, layout.gpus_per_stage, layout.edp) == (1, 8, 1)
    assert (layout.gpus_per_instance, layout.gpus) == (16, 16)


def test_degrees_multiply_to_more_than_the_plan_has() -> None:
    assert Layout(tp=2, dp=8, pp=2).gpus == 32


@pytest.mark.parametrize(("kind", "cp"), [(TENSOR, 1), (RING, 4), (ULYSSES, 4), (None, 1)])
def test_only_context_parallelism_costs_gpus(kind: str | None, cp: int) -> None:
    layout = Layout(tp=4, sp=4, sp_kind=kind)
    assert layout.cp == cp
    assert layout.gpus == 4 * cp


@given(DEGREE, DEGREE, DEGREE, DEGREE, DEGREE)
def test_gpus_are_the_product(tp: int, sp: int, dp: int, pp: int, replicas: int) -> None:
    layout = Layout(tp=tp, sp=sp, sp_kind=RING, dp=dp, pp=pp, replicas=replicas)
    assert layout.gpus == tp * sp * dp * pp * replicas
    assert layout.gpus == layout.gpus_per_stage * pp * replicas


@given(DEGREE, DEGREE, DEGREE, DEGREE)
def test_attention_and_experts_fold_over_the_same_gpus(etp: int, ep: int, edp: int, pp: int) -> None:
    layout = Layout(dp=etp * ep * edp, etp=etp, ep=ep, pp=pp)
    assert layout.edp == edp
    assert layout.etp * layout.ep * layout.edp == layout.gpus_per_stage


def test_dictionary_and_text() -> None:
    layout = Layout(tp=2, sp=2, sp_kind=RING, ep=4)
    assert Layout(**layout.to_dict()) == layout
    assert str(layout) == "tp=2 sp=2 (ring) dp=1 pp=1 ep=4 etp=1 replicas=1"
    assert str(Layout()) == "tp=1 dp=1 pp=1 ep=1 etp=1 replicas=1"
