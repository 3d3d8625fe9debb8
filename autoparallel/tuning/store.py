"""The trials of one study, in memory or in a storage that several processes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoparallel.tuning.failures import failures, patiently
from autoparallel.tuning.owner import BEAT_S, Owner
from autoparallel.tuning.storage import between_tries
from autoparallel.tuning.urls import shown

T = TypeVar("T")
DIRECTIONS = (StudyDirection.MINIMIZE,) * 3
PAIR, RESULT, OWNER, REQUIREMENTS = "pair", "result", "owner", "requirements"


class Store:
    """What a search does with its trials: add, claim, finish, hand back.

    Parameters
    ----------
    study : optuna.Study
        With one trial a pair, or several of which the one with the lowest number counts.
    storage : optuna.storages.BaseStorage
        Where the study is.
    url : str
        The storage as the user named it; empty where it is this process's memory.
    notice : callable, optional
        Called with what people should know meanwhile.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.BaseStorage,
        *,
        url: str = "",
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.url, self.study, self._storage = url, study, storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._notice = notice or (lambda _: None)
        self._failures = failures() if url else ()
        self._owner = Owner.this_process()
        self._claimed: int | None = None
        self._ended = threading.Event()
        # Whether nothing is left to do, and what is saved by now, in words.
        self.finished = False
        self.saved = ""
        if url:
            threading.Thread(target=self._beat, daemon=True).start()

    @property
    def shared(self) -> bool:
        """Whether other processes may work on the study."""
        return bool(self.url)

    @property
    def place(self) -> str:
        """The storage for people, without secrets."""
        return shown(self.url)

    def say(self, message: str) -> None:
        """Tell people something."""
        self._notice(message)

    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        return self._do(lambda: self.study.get_trials(deepcopy=False))

    def now(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial as it is now."""
        return self._do(lambda: self._storage.get_trial(trial._trial_id))

    def add(self, pair: str, params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> None:
        """Queue a pair."""
        template = optuna.create_trial(
            state=TrialState.WAITING,
            params=dict(params),
            distributions={name: space[name] for name in params},
            user_attrs={PAIR: pair},
        )
        self._do(lambda: self._storage.create_new_trial(self._study_id, template))

    def ask(self, space: Mapping[str, BaseDistribution]) -> optuna.Trial:
        """A new trial of the sampler's, or one that was queued meanwhile; not held yet."""
        return self._do(lambda: self.study.ask(fixed_distributions=dict(space)))

    def tell(self, trial: optuna.Trial, values: Sequence[float] | None, violation: float) -> None:
        """Finish a proposed trial that repeats a pair, without values where they are not known."""
        if values is None:
            self._do(lambda: self.study.tell(trial, state=TrialState.FAIL))
        else:
            self._do(lambda: trial.set_constraint(REQUIREMENTS, violation))
            self._do(lambda: self.study.tell(trial, list(values)))

    def claim(self, trial: FrozenTrial) -> bool:
        """Take a waiting trial; false where another process was faster."""

        def take() -> bool:
            try:
                return self._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
            except UpdateFinishedTrialError:
                return False

        taken = self._do(take)
        if taken:
            self.hold(trial)
        return taken

    def hold(self, trial: FrozenTrial | optuna.Trial, pair: str = "") -> None:
        """Sign a trial that runs here, and say which pair it is where it does not yet."""
        trial_id = self._claimed = trial._trial_id
        if pair:
            self._do(lambda: self._storage.set_trial_user_attr(trial_id, PAIR, pair))
        if self.shared:
            self._do(lambda: self._sign(trial_id))

    def finish(self, values: Sequence[float], violation: float | None, result: str) -> None:
        """Record the held trial; where somebody else has meanwhile, theirs stands."""
        trial_id = self._held()

        def record() -> None:
            with suppress(UpdateFinishedTrialError):
                # Whoever was stopped between the two records has set it already.
                if violation is not None and not self._storage.get_trial(trial_id).constraints:
                    optuna.Trial(self.study, trial_id).set_constraint(REQUIREMENTS, violation)
                if result:
                    self._storage.set_trial_user_attr(trial_id, RESULT, result)
                self._storage.set_trial_state_values(trial_id, state=TrialState.COMPLETE, values=values)

        self._do(record)
        self._claimed = None

    def hand_back(self, trial: FrozenTrial) -> None:
        """Let a running trial wait again for whoever comes."""
        self._do(lambda: self._let_wait(trial._trial_id))

    def close(self, *, hand_back: bool) -> None:
        """End; what is held may be handed back, if the storage still answers."""
        self._ended.set()
        if hand_back and self._claimed is not None and self.shared:
            with suppress(*self._failures):  # else others see that its owner is gone
                self._let_wait(self._claimed)
        self._claimed = None

    def _held(self) -> int:
        if self._claimed is None:
            raise RuntimeError("a result without a claimed trial")
        return self._claimed

    def _let_wait(self, trial_id: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(trial_id, OWNER, None)
            self._storage.set_trial_state_values(trial_id, state=TrialState.WAITING)

    def _sign(self, trial_id: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(trial_id, OWNER, list(self._owner))

    def _beat(self) -> None:
        """Show, while a trial lasts, that somebody works on it."""
        while not self._ended.wait(BEAT_S):
            trial_id = self._claimed
            self._owner = self._owner._replace(beat=self._owner.beat + 1)
            if trial_id is not None:
                try:
                    self._sign(trial_id)
                except self._failures:
                    continue  # the search itself will meet it

    def _do(self, work: Callable[[], T]) -> T:
        """Do it, in a storage again and again while that is away for a moment."""
        if not self.url:
            return work()
        return patiently(work, self.url, self._notice, between=between_tries(self._storage))


def in_memory(seed: int) -> Store:
    """A study of this process alone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    sampler = optuna.samplers.TPESampler(seed=seed)
    return Store(optuna.create_study(storage=storage, directions=DIRECTIONS, sampler=sampler), storage)


def owner_of(trial: FrozenTrial) -> Owner | None:
    """Who works on a running trial, as far as they have said."""
    match trial.user_attrs.get(OWNER):
        case [str() as place, int() as process, int() as beat]:
            return Owner(place, process, beat)
    return None
