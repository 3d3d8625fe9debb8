"""The Optuna study that proposes batches and microbatches, asked and told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import optuna

from autoparallel.pareto import Objectives
from autoparallel.tuning.space import Pair, PairSpace

# How often the sampler may propose a pair that was visited before, per trial that is left.
PATIENCE = 8


class Study:
    """A seeded, multi-objective study over a :class:`PairSpace`.

    Where the domain is no larger than ``trials`` all of it is visited, in the order of ``ranking``;
    otherwise TPE proposes pairs, starting from the best-ranked ones.

    Parameters
    ----------
    ranking : sequence of Pair
        All pairs, the most promising first.
    """

    def __init__(self, space: PairSpace, ranking: Sequence[Pair], *, trials: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.trials = space, trials
        self.exhaustive = len(space.pairs) <= trials
        self.size = len(space.pairs) if self.exhaustive else trials
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
        for pair in ranking if self.exhaustive else ranking[: max(trials // 4, 1)]:
            index, level = space.position_of(pair)
            self._study.enqueue_trial({"batch_index": index, "microbatch_level": level})
        self._told: dict[Pair, tuple[Objectives, bool]] = {}
        self._trial: optuna.Trial | None = None

    def pairs(self) -> Iterator[Pair]:
        """Pairs to solve, each once; :meth:`tell` has to follow every one."""
        patience = PATIENCE * self.size
        while len(self._told) < self.size and patience:
            patience -= 1
            self._trial = self._study.ask()
            index = self._trial.suggest_int("batch_index", 0, len(self.space.batches) - 1)
            pair = self.space.pair_at(index, self._trial.suggest_float("microbatch_level", 0.0, 1.0))
            if pair in self._told:
                self.tell(pair, *self._told[pair])
            else:
                yield pair

    def tell(self, pair: Pair, objectives: Objectives, feasible: bool) -> None:
        """What was found for the pair that was proposed last: its best objectives, or a bound of them."""
        if self._trial is None:
            raise RuntimeError("tell without a proposed pair")
        self._trial.set_constraint("requirements", 0.0 if feasible else 1.0)
        self._study.tell(self._trial, list(objectives.costs()))
        self._told[pair] = (objectives, feasible)
