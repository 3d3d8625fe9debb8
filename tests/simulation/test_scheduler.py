"""The scheduler of the simulation, step by step by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoparallel.simulation.requests import Requests
from autoparallel.simulation.scheduler import Limits, Outcome, Scheduler
from autoparallel.simulation.step_table import MixedStep, StepTable


class OneSecondSteps(StepTable):
    """Every step takes a second, whatever is in it."""

    def __init__(self) -> None:
        self.eager_s = 0.0

    def decode_run_s(self, sequences: int, context: float, steps: int) -> float:
        return float(steps)

    def mixed(self, sequences: int, context: float, pieces: list[tuple[int, int]]) -> MixedStep:
        return MixedStep(1.0, 1.0)


LIMITS = Limits(
    sequences=10,
    step_tokens=100,
    piece_tokens=100,
    kv_tokens=1000.0,
    reserves_longest=False,
    prompts_alone=False,
)


def serve(arrivals: list[float], prompts: list[int], outputs: list[int], limits: Limits = LIMITS) -> Outcome:
    none = np.zeros(len(prompts), dtype=np.int64)
    requests = Requests(np.array(arrivals), np.array(prompts), np.array(outputs), none)
    return Scheduler(OneSecondSteps(), limits, requests).run()


def test_one_request_by_hand() -> None:
    # 250 tokens in pieces of 100: three steps to the first token, then 4 more.
    outcome = serve([2.0], [250], [5])
    assert outcome.first_s.tolist() == [5.0]
    assert outcome.end_s.tolist() == [9.0]
    assert outcome.steps == 7


def test_two_requests_share_steps_by_hand() -> None:
    # Step 1: 60 + 40 tokens, first token of the first. Step 2: the first decodes, the other 20 tokens of
    # the second. Both end after their second token.
    outcome = serve([0.0, 0.0], [60, 60], [2, 2])
    assert outcome.first_s.tolist() == [1.0, 2.0]
    assert outcome.end_s.tolist() == [2.0, 3.0]


def test_prompts_first_lets_others_wait() -> None:
    mixed = serve([0.0, 2.5], [50, 300], [10, 1])
    alone = serve([0.0, 2.5], [50, 300], [10, 1], replace(LIMITS, prompts_alone=True))
    assert mixed.end_s[0] == 10.0
    # Three steps of the second prompt, in which the first does not decode.
    assert alone.end_s[0] == 13.0


def test_a_request_waits_for_a_slot() -> None:
    outcome = serve([0.0, 0.0], [10, 10], [5, 5], replace(LIMITS, sequences=1))
    assert outcome.end_s.tolist() == [5.0, 10.0]


def test_reserved_room_admits_one_at_a_time() -> None:
    limits = replace(LIMITS, kv_tokens=100.0, reserves_longest=True)
    outcome = serve([0.0, 0.0], [50, 50], [20, 20], limits)
    assert outcome.first_s.tolist() == [1.0, 21.0]
    assert outcome.preempted == 0


def test_growing_requests_are_preempted_and_still_end() -> None:
    limits = replace(LIMITS, kv_tokens=110.0)
    outcome = serve([0.0, 0.0], [40, 40], [40, 40], limits)
    assert outcome.preempted >= 1
    assert np.isfinite(outcome.end_s).all()
    assert outcome.end_s[0] == 40.0
    assert outcome.end_s[1] > 60.0


def test_what_can_never_fit_is_rejected_and_counted() -> None:
    outcome = serve([0.0, 0.0, 0.0], [10, 990, 10], [5, 20, 5])
    assert outcome.rejected == 1
    assert np.isnan(outcome.end_s).tolist() == [False, True, False]


def test_a_closed_loop_keeps_its_concurrency() -> None:
    limits = replace(LIMITS, concurrency=2)
    outcome = serve([0.0] * 6, [10] * 6, [5] * 6, limits)
    for moment in (0.5, 4.5, 9.5):
        inside = (outcome.arrival_s <= moment) & (outcome.end_s > moment)
        assert inside.sum() == 2
