"""Waits within steps: by hand, in their limits, and against steps that are counted one by one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel.performance.serving.open_waits import Arrivals, met_decoding, open_waits

Array = npt.NDArray[np.float64]
AMPLE = 1e9


def to_first_token(
    arrivals: Arrivals, decode_s: float, prompt_s: float, room: float, *, alone: bool = False
) -> float:
    waits = open_waits(arrivals, decode_s, prompt_s, room, alone=alone)
    own_s = (1.0 + float(waits.beside)) * prompt_s
    if not alone:
        own_s += decode_s * max(1.0, 1.0 / room)
    return 0.5 * float(waits.found_s) + float(waits.full_s) + own_s


def counted(times_s: Array, decode_s: float, prompt_s: float, room: float, *, alone: bool = False) -> float:
    """Mean time to the end of a prompt's last step, one step after the other: a reference of its own."""
    left = np.ones(len(times_s))
    done = np.empty(len(times_s))
    now, first, arrived = 0.0, 0, 0
    while first < len(times_s):
        while arrived < len(times_s) and times_s[arrived] <= now:
            arrived += 1
        free, begun = room, first
        while first < arrived and free > 1e-12:
            part = min(free, left[first])
            left[first] -= part
            free -= part
            if left[first] > 1e-12:
                break
            first += 1
        prompts_s = prompt_s * (room - free)
        now += prompts_s if alone and prompts_s else decode_s + prompts_s
        done[begun:first] = now
    return float((done - times_s)[len(times_s) // 20 :].mean())


def test_by_hand() -> None:
    # d = 1, delta = 3, 0.1 prompts a second: rho 0.3, steps of 1 / 0.7 = 1.4286; an arrival finds
    # 1.4286 + 9 x 0.1 / (1 - 0.09) = 2.4176, and 0.24176 others come meanwhile.
    waits = open_waits(Arrivals(0.1, 1.0, 0.0), 1.0, 3.0, AMPLE)
    assert float(waits.step_s) == pytest.approx(1.0 / 0.7)
    assert float(waits.found_s) == pytest.approx(1.0 / 0.7 + 0.9 / 0.91)
    assert float(waits.beside) == pytest.approx(0.1 * float(waits.found_s))
    assert float(waits.full_s) == pytest.approx(0.0, abs=1e-9)


def test_nobody_else_comes() -> None:
    waits = open_waits(Arrivals(0.0, 1.0, 0.0), 1.0, 3.0, AMPLE)
    assert (float(waits.found_s), float(waits.beside), float(waits.met)) == (1.0, 0.0, 0.0)


def test_room_for_one_prompt_is_the_queue_of_one_server_with_vacations() -> None:
    # Pollaczek and Khinchine: rho = 0.6 of services of 4 s wait 0.6 x 4 / (2 x 0.4) = 3 s, and half of d.
    waits = open_waits(Arrivals(0.15, 1.0, 0.0), 1.0, 3.0, 1.0)
    assert 0.5 * float(waits.found_s) + float(waits.full_s) == pytest.approx(0.5 + 3.0)
    assert float(waits.beside) == 0.0


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(("prompt_s", "room"), [(0.3, 1.0), (0.3, 20.0), (3.0, 20.0), (15.0, 8.0)])
def test_steps_counted_one_by_one(load: float, prompt_s: float, room: float) -> None:
    rate = load / (prompt_s + 1.0 / room)
    times_s = np.cumsum(np.random.default_rng(0).exponential(1.0 / rate, 20_000))
    found = counted(times_s, 1.0, prompt_s, room)
    assert to_first_token(Arrivals(rate, 1.0, 0.0), 1.0, prompt_s, room) == pytest.approx(found, rel=0.05)


def test_prompts_alone_by_hand() -> None:
    # d = 1, delta = 3, 0.1 prompts a second: 0.3 of the requests find a prompt's step. R = 0.7 x 1
    # + 0.3 x 3 x (1 + 0.1 R) = 1.6 / 0.91.
    waits = open_waits(Arrivals(0.1, 1.0, 0.0), 1.0, 3.0, AMPLE, alone=True)
    assert float(waits.met) == pytest.approx(0.3)
    assert float(waits.found_s) == pytest.approx(1.6 / 0.91)
    assert float(waits.beside) == pytest.approx(0.16 / 0.91)
    # The queue of one server again, whose services are 3 s now: 0.3 x 3 / (2 x 0.7).
    one = open_waits(Arrivals(0.1, 1.0, 0.0), 1.0, 3.0, 1.0, alone=True)
    assert 0.5 * float(one.found_s) + float(one.full_s) == pytest.approx(0.5 + 0.45 / 0.7)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(("prompt_s", "room"), [(0.3, 1.0), (0.3, 20.0), (3.0, 20.0), (3.0, 0.25)])
def test_steps_of_prompts_alone_counted_one_by_one(load: float, prompt_s: float, room: float) -> None:
    rate = load / prompt_s
    times_s = np.cumsum(np.random.default_rng(0).exponential(1.0 / rate, 20_000))
    found = counted(times_s, 1.0, prompt_s, room, alone=True)
    known = to_first_token(Arrivals(rate, 1.0, 0.0), 1.0, prompt_s, room, alone=True)
    assert known == pytest.approx(found, rel=0.05)


def test_even_arrivals_do_not_meet() -> None:
    rate = 0.6 / 3.05
    found = counted(np.arange(2000) / rate, 1.0, 3.0, 20.0)
    assert to_first_token(Arrivals(rate, 0.0, 0.0), 1.0, 3.0, 20.0) == pytest.approx(found, rel=0.05)


def test_more_arrivals_never_wait_less() -> None:
    for room in (0.4, 1.0, 3.0, AMPLE):
        rates = np.linspace(0.0, 0.95, 100) / (3.0 + 1.0 / room)
        waits = open_waits(Arrivals(rates, 1.0, 0.5), 1.0, 3.0, room)
        assert (np.diff(0.5 * waits.found_s + waits.full_s + waits.beside * 3.0) > 0.0).all()


def test_sequences_that_begin_in_clumps() -> None:
    poisson = Arrivals(1.0, 1.0, 0.0)
    # Alone, a sequence finds itself beside the mean; with steps held up half of the time four of its clump.
    assert float(met_decoding(poisson, 0.0, np.float64(0.0))) == 1.0
    assert float(met_decoding(poisson, 0.0, np.float64(0.5))) == 4.0
    assert math.isclose(float(met_decoding(Arrivals(1.0, 0.0, 0.0), 0.0, np.float64(0.5))), 0.0)
