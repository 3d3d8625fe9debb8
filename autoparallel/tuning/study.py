"""The study of a search: which pair comes next, and what was found for each, by whoever solved it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from autoparallel.errors import StorageError
from autoparallel.pareto import Objectives
from autoparallel.solver.answers import PairFront
from autoparallel.tuning.owner import Watch
from autoparallel.tuning.space import Pair, PairSpace
from autoparallel.tuning.store import PAIR, RESULT, Store, in_memory, owner_of

# How often the sampler may propose a pair that was visited before, per trial that is left.
PATIENCE = 8
# How often other processes' trials are looked at where there is something to do, and where there is not. [s]
LOOK_S, IDLE_S = 5.0, 0.1
_FRONTS = TypeAdapter(PairFront)


class _Told(NamedTuple):
    """What the sampler learned of a pair."""

    values: tuple[float, ...]
    violation: float


class Study:
    """A multi-objective study over a :class:`PairSpace`, whose pairs are solved here or elsewhere.

    Where the domain is no larger than ``trials`` all of it is visited, in the order of ``ranking``;
    otherwise TPE proposes pairs, starting from the best-ranked ones. Use it as a context: a pair that
    was taken and not told is handed back at its end.

    Parameters
    ----------
    ranking : sequence of Pair
        All pairs, the most promising first.
    store : Store, optional
        The trials; by default in memory, with a sampler of this ``seed``.
    """

    def __init__(
        self,
        space: PairSpace,
        ranking: Sequence[Pair],
        *,
        trials: int,
        seed: int = 0,
        store: Store | None = None,
    ) -> None:
        self.space, self.trials = space, trials
        self.exhaustive = len(space.pairs) <= trials
        self.size = len(space.pairs) if self.exhaustive else trials
        self._rank = {pair: rank for rank, pair in enumerate(ranking)}
        self._first = tuple(ranking) if self.exhaustive else tuple(ranking[: max(trials // 4, 1)])
        self._store = store or in_memory(seed)
        self._named = {_name(pair): pair for pair in space.pairs}
        self._fronts: dict[Pair, PairFront] = {}
        self._told: dict[Pair, _Told] = {}
        # Trials of pairs that nobody has solved yet: those that wait, and those that others work on.
        self._waiting: dict[Pair, FrozenTrial] = {}
        self._elsewhere: dict[Pair, FrozenTrial] = {}
        self._watch = Watch()
        self._looked = 0.0
        self._mine: Pair | None = None
        self.solved_here = 0

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close(hand_back=not isinstance(error, StorageError))
        if self._store.shared:
            self._store.saved = self._saved()

    @property
    def fronts(self) -> dict[Pair, PairFront]:
        """What was found for every pair that was solved, in the order of rank, not of time."""
        return {pair: self._fronts[pair] for pair in sorted(self._fronts, key=self._rank.__getitem__)}

    def incumbents(self, pair: Pair) -> list[Objectives]:
        """Plans that the pair's have to beat.

        Where the whole domain is visited they are of pairs ranked before it: of equal plans the front
        then keeps the first-ranked one, whoever solved what when.
        """
        return [
            point.objectives
            for other, front in self.fronts.items()
            if not self.exhaustive or self._rank[other] < self._rank[pair]
            for point in front.points
        ]

    def pairs(self, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Pair]:
        """Pairs to solve, each once; :meth:`tell` has to follow every one.

        Ends when all are solved; waits for those that other processes work on until ``stop`` says so.
        """
        self._look()
        self._fill()
        if self._fronts:
            self._store.say(f"going on with {len(self._fronts)} of {self.size} pairs solved before")
        patience = PATIENCE * self.size
        while len(self._fronts) < self.size and patience:
            pair = self._take()
            if pair is None and not self.exhaustive and self._is_room():
                patience -= 1
                pair = self._propose()
            elif pair is None:
                if stop():
                    return
                self._wait()
            if pair is not None:
                self._mine = pair
                yield pair
        self._store.finished = True

    def tell(self, pair: Pair, front: PairFront, objectives: Objectives, feasible: bool) -> None:
        """What was found for the pair that was proposed last: its front, and its best or a bound of it."""
        if self._mine != pair:
            raise RuntimeError("tell without a proposed pair")
        told = _Told(objectives.costs(), 0.0 if feasible else 1.0)
        result = _FRONTS.dump_json(front).decode() if self._store.shared else ""
        self._store.finish(told.values, None if self.exhaustive else told.violation, result)
        self._fronts[pair], self._told[pair] = front, told
        self._mine = None
        self.solved_here += 1

    def _take(self) -> Pair | None:
        """Claim the first pair in line that nobody has."""
        if self._store.shared:
            for trial in tuple(self._elsewhere.values()):
                self._note(self._store.now(trial))
            if time.monotonic() - self._looked > LOOK_S:
                self._look()
        while self._waiting:
            pair = next(iter(self._waiting))
            trial = self._waiting.pop(pair)
            if self._store.claim(trial):
                return pair
            self._note(self._store.now(trial))
        return None

    def _is_room(self) -> bool:
        """Whether the sampler may propose one more."""
        return len(self._fronts) + len(self._elsewhere) < self.size

    def _propose(self) -> Pair | None:
        """A pair of the sampler's; ``None`` where it is known already."""
        trial = self._store.ask(self._distributions)
        pair = self.space.pair_at(trial.params["batch_index"], trial.params["microbatch_level"])
        if told := self._told.get(pair):
            self._store.tell(trial, told.values, told.violation)
        elif pair in self._elsewhere:
            self._store.tell(trial, None, 0.0)
        else:
            self._store.hold(trial, _name(pair))
            return pair
        return None

    def _wait(self) -> None:
        """Others work on what is left: look whether they do."""
        self._look()
        if not self._waiting and not self._elsewhere:
            self._fill()
        elif not self._waiting:
            time.sleep(IDLE_S)

    def _fill(self) -> None:
        """Queue what is not there yet; also where another process died, or does the same, meanwhile."""
        for pair in self._first:
            if not (pair in self._fronts or pair in self._waiting or pair in self._elsewhere):
                params = {} if self.exhaustive else self._params(pair)
                self._store.add(_name(pair), params, self._distributions)
        self._look()

    def _params(self, pair: Pair) -> dict[str, float]:
        """A pair in the sampler's terms."""
        return dict(zip(self._distributions, self.space.position_of(pair), strict=True))

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {
            "batch_index": IntDistribution(0, max(len(self.space.batches) - 1, 0)),
            "microbatch_level": FloatDistribution(0.0, 1.0),
        }

    def _look(self) -> None:
        """Read the study: of several trials of a pair the one with the lowest number counts."""
        self._looked = time.monotonic()
        self._waiting.clear()
        seen: set[Pair] = set()
        for trial in self._store.trials():
            pair = self._pair_of(trial)
            if pair is not None and pair not in seen and trial.state is not TrialState.FAIL:
                seen.add(pair)
                self._note(trial)

    def _note(self, trial: FrozenTrial) -> None:
        """Remember what a trial says; hand it back where nobody works on it any more."""
        pair = self._pair_of(trial)
        if pair is None or pair in self._fronts:
            return
        self._elsewhere.pop(pair, None)
        if trial.state is TrialState.COMPLETE:
            self._fronts[pair] = _read_front(trial)
            self._told[pair] = _Told(tuple(trial.values), next(iter(trial.constraints.values()), 0.0))
        elif trial.state is TrialState.WAITING:
            self._waiting[pair] = trial
        elif self._watch.is_given_up(trial.number, owner_of(trial)):
            self._store.say(f"taking over {pair} from a worker that is gone")
            self._store.hand_back(trial)
            self._waiting[pair] = trial
        else:
            self._elsewhere[pair] = trial

    def _pair_of(self, trial: FrozenTrial) -> Pair | None:
        return self._named.get(trial.user_attrs.get(PAIR, ""))

    def _saved(self) -> str:
        return (
            f"{len(self._fronts)} of {self.size} pairs are saved in {self._store.place}: "
            "the same command goes on from there"
        )


def queued(store: Store, space: PairSpace) -> tuple[Pair, ...]:
    """The pairs in the order in which a search has queued them; none unless it has queued them all."""
    named = {_name(pair): pair for pair in space.pairs}
    order = dict.fromkeys(trial.user_attrs.get(PAIR, "") for trial in store.trials())
    pairs = tuple(named[name] for name in order if name in named)
    return pairs if len(pairs) == len(space.pairs) else ()


def _name(pair: Pair) -> str:
    """A pair by its fields, whatever they are."""
    return json.dumps(list(pair))


def _read_front(trial: FrozenTrial) -> PairFront:
    try:
        front = _FRONTS.validate_json(trial.user_attrs[RESULT])
    except (KeyError, ValueError):
        front = None
    if front is None or not all(0 < value < math.inf for point in front.points for value in point.objectives):
        raise StorageError(f"trial {trial.number} of the study holds no result of a search")
    return front
