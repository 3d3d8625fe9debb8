"""One instance's scheduler: admits, computes prompts in pieces, decodes, preempts."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from autoparallel.simulation.requests import Requests
from autoparallel.simulation.step_table import StepTable

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds an instance.

    Attributes
    ----------
    sequences : int
        In service at once.
    step_tokens, piece_tokens : int
        Of one step, all its data parallel ranks and pipeline slots together, and of one prompt in it.
    kv_tokens : float
        Room of the KV cache. [tokens]
    longest_tokens : float
        The longest request that is not rejected: what a data parallel rank has room for. [tokens]
    reserves_longest : bool
        Whether a request holds its longest state from the start; else it grows, and where the room ends
        the newest gives way and is computed again.
    prompts_alone : bool
        Whether sequences do not decode in a step with prompts.
    concurrency : int or None
        Requests in the instance at any time, as one leaves the next comes; ``None``: they come by
        themselves.
    delay_s : float
        Mean time from the end of a request to the next one's arrival in a closed loop. It varies, as a
        network's does, and so takes apart what started together. [s]
    """

    sequences: int
    step_tokens: int
    piece_tokens: int
    kv_tokens: float
    reserves_longest: bool
    prompts_alone: bool
    concurrency: int | None = None
    longest_tokens: float = math.inf
    delay_s: float = 0.0


@dataclass
class Outcome:
    """Times of every request, not a number where it was rejected. [s]"""

    arrival_s: Array
    first_s: Array
    end_s: Array
    rejected: int = 0
    preempted: int = 0
    steps: int = 0


@dataclass
class _Running:
    """A request whose prompt is being computed."""

    index: int
    target: int
    done: int


@dataclass
class Scheduler:
    """Continuous batching of one instance, first come, first served.

    Between two events (a request that comes, one that ends, a prompt that waits) every step is alike,
    so a run of them is one event.
    """

    table: StepTable
    limits: Limits
    requests: Requests
    seed: int = 0
    now: float = 0.0
    _steps: int = 0
    _context: float = 0.0
    _held: float = 0.0
    _next: int = 0
    _waiting: deque[int] = field(default_factory=deque)
    _prefilling: deque[_Running] = field(default_factory=deque)
    _ends: list[tuple[int, int]] = field(default_factory=list)
    _order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = self.requests.size
        self._coming: list[float] = self.requests.arrival_s.tolist()
        if self.limits.concurrency is not None:
            self._coming = [0.0] * min(self.limits.concurrency, count)
        # Sorted times are a heap.
        self._delays = self._drawn_delays(count)
        self._prompts = self.requests.prompt_tokens.tolist()
        self._outputs = self.requests.output_tokens.tolist()
        self._cached = self.requests.cached_tokens.tolist()
        self._arrived = [0.0] * count
        self._first = [float("nan")] * count
        self._end = [float("nan")] * count
        self._late_s = [0.0] * count
        self._made = [0] * count
        self._joined = [0] * count
        self._decoding: set[int] = set()
        self._rejected = self._preempted = 0

    def run(self) -> Outcome:
        """Serve all requests."""
        while True:
            self._arrive()
            self._admit()
            if self._prefilling:
                self._mixed_step()
            elif self._decoding:
                self._decode_run()
            elif not self._sleep():
                break
        arrived, begun, ended = (np.array(times) for times in (self._arrived, self._first, self._end))
        return Outcome(arrived, begun, ended, self._rejected, self._preempted, self._steps)

    def _drawn_delays(self, count: int) -> list[float]:
        if self.limits.concurrency is None or not self.limits.delay_s:
            return [0.0] * count
        random = np.random.default_rng(self.seed)
        drawn: list[float] = random.exponential(self.limits.delay_s, size=count).tolist()
        return drawn

    def _arrive(self) -> None:
        """Whoever has come by now waits, unless no room will ever hold it."""
        longest = min(self.limits.longest_tokens, self.limits.kv_tokens)
        while self._coming and self._coming[0] <= self.now and self._next < len(self._prompts):
            time_s = heapq.heappop(self._coming)
            index, self._next = self._next, self._next + 1
            self._arrived[index] = time_s
            if self._prompts[index] + self._outputs[index] <= longest:
                self._waiting.append(index)
            else:
                self._rejected += 1
                self._leave(index)

    def _leave(self, index: int) -> None:
        """In a closed loop the next request comes after a while."""
        if self.limits.concurrency is not None:
            heapq.heappush(self._coming, self.now + self._late_s[index] + self._delays[index])

    def _sleep(self) -> bool:
        """Wait for the next arrival; false where none is left."""
        if not self._coming or self._next >= len(self._prompts):
            return False
        self.now = max(self.now, self._coming[0])
        return True

    def _admit(self) -> None:
        limits = self.limits
        while self._waiting and len(self._decoding) + len(self._prefilling) < limits.sequences:
            index = self._waiting[0]
            # A preempted request computes again what it had made.
            target = self._prompts[index] + self._made[index]
            held = self._prompts[index] + self._outputs[index] if limits.reserves_longest else target + 1
            if self._held + held > limits.kv_tokens:
                return
            self._waiting.popleft()
            self._held += held
            cached = self._cached[index] if not self._made[index] else 0
            self._prefilling.append(_Running(index, target, cached))

    def _mixed_step(self) -> None:
        alone = self.limits.prompts_alone
        decoding = 0 if alone else len(self._decoding)
        budget = max(self.limits.step_tokens - decoding, 1)
        pieces: list[tuple[int, int]] = []
        finished: list[_Running] = []
        for prompt in self._prefilling:
            piece = min(budget, self.limits.piece_tokens, prompt.target - prompt.done)
            pieces.append((prompt.done, piece))
            prompt.done += piece
            budget -= piece
            if prompt.done == prompt.target:
                finished.append(prompt)
            if budget <= 0:
                break
        step = self.table.mixed(decoding, self._context, pieces)
        first_s, self.now = self.now + step.first_s, self.now + step.next_s
        if decoding:
            self._advance(1)
        else:
            self._steps += 1
            self._shift(1)
        for prompt in finished:
            self._prefilling.remove(prompt)
            self._start(prompt, first_s)

    def _shift(self, steps: int) -> None:
        """Let running sequences sit out steps: their ends move on."""
        self._ends = [(end + steps, index) for end, index in self._ends]
        for index in self._decoding:
            self._joined[index] += steps

    def _start(self, prompt: _Running, first_s: float) -> None:
        """The prompt is done, and gives its first token (or the next, where it was computed again).

        Where it is still on its way through the stages as the next step starts, its tokens stay as late.
        """
        index = prompt.index
        self._late_s[index] = max(first_s - self.now, 0.0)
        if not self._made[index]:
            self._first[index] = first_s
        self._made[index] += 1
        left = self._outputs[index] - self._made[index]
        self._decoding.add(index)
        self._order.append(index)
        self._joined[index] = self._steps
        self._context += prompt.target + 1
        heapq.heappush(self._ends, (self._steps + left, index))
        if left <= 0:
            self._finish()

    def _decode_run(self) -> None:
        """Steps until something happens."""
        running = len(self._decoding)
        steps = max(self._ends[0][0] - self._steps, 1)
        if not self.limits.reserves_longest:
            steps = min(steps, max(int((self.limits.kv_tokens - self._held) // running), 1))
        if self._coming and self._next < len(self._prompts) and not self._waiting:
            one = self.table.decode_run_s(running, self._context, 1)
            steps = min(steps, max(math.ceil((self._coming[0] - self.now) / one), 1))
        self.now += self.table.decode_run_s(running, self._context, steps)
        self._advance(steps)

    def _advance(self, steps: int) -> None:
        """All decoding sequences have made ``steps`` more tokens."""
        self._steps += steps
        self._context += steps * len(self._decoding)
        if not self.limits.reserves_longest:
            self._held += steps * len(self._decoding)
        self._finish()
        while not self.limits.reserves_longest and self._held > self.limits.kv_tokens:
            if not self._preempt():
                break

    def _finish(self) -> None:
        while self._ends and self._ends[0][0] <= self._steps:
            _, index = heapq.heappop(self._ends)
            if index not in self._decoding:
                continue
            self._decoding.remove(index)
            whole = self._prompts[index] + self._outputs[index]
            self._context -= whole
            self._held -= whole
            self._end[index] = self.now + self._late_s[index]
            self._leave(index)

    def _preempt(self) -> bool:
        """The newest sequence gives its room back and waits again; false where it is the only one."""
        while self._order and self._order[-1] not in self._decoding:
            self._order.pop()
        if len(self._decoding) < 2:
            return False
        index = self._order.pop()
        self._decoding.remove(index)
        self._ends = [entry for entry in self._ends if entry[1] != index]
        heapq.heapify(self._ends)
        self._made[index] += self._steps - self._joined[index]
        state = self._prompts[index] + self._made[index]
        self._context -= state
        self._held -= state
        self._waiting.appendleft(index)
        self._preempted += 1
        return True
