"""A study in a storage: the problem travels with it, and who joins has to be of the same version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError, StorageError
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.tuning.failures import patiently
from autoparallel.tuning.storage import between_tries, opened
from autoparallel.tuning.store import DIRECTIONS, Store
from autoparallel.tuning.urls import shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

STUDY_SCHEMA = "autoparallel.study/1"
SPEC, DONE = "autoparallel", "autoparallel_done"


@dataclass
class Shared:
    """Where a search is kept, so that it can be shared and resumed.

    Attributes
    ----------
    url : str
        A journal file's path, ``sqlite:///FILE``, ``postgresql://USER@HOST/DATABASE`` or
        ``grpc://HOST:PORT``.
    study : str
        Name of the study in there; by default made of the problem's name and fingerprint.
    notice : callable, optional
        Called with what people should know meanwhile.
    saved : str
        What is saved there, in words, once a search has been at work on it.
    """

    url: str
    study: str = ""
    notice: Callable[[str], None] | None = None
    saved: str = ""


@dataclass(frozen=True)
class Spec:
    """What a study is about."""

    problem: Problem
    trials: int
    seed: int
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the study."""
        problem = self.problem
        return f"{problem.name}-{problem.fingerprint[:12]}-seed{self.seed}-trials{self.trials}"

    def to_json(self) -> str:
        """As it is kept in the study."""
        return json.dumps(
            {
                "schema": STUDY_SCHEMA,
                "fingerprint": self.problem.fingerprint,
                "trials": self.trials,
                "seed": self.seed,
                "versions": dict(self.versions),
                "problem": resolved_document(self.problem),
            }
        )


@contextmanager
def started(shared: Shared, spec: Spec) -> Iterator[Store]:
    """Open the study of a search; made where there is none yet, and marked when all is done.

    Raises
    ------
    StorageError
        The storage cannot be opened, or the study there is of another problem or version.
    """
    with opened(shared.url, make=True, notice=shared.notice) as storage:
        again = between_tries(storage)
        study, kept = patiently(
            lambda: _begun(storage, shared.study or spec.name, spec),
            shared.url,
            shared.notice,
            between=again,
        )
        _same_search(study.study_name, _document(study.study_name, kept), spec)
        store = Store(study, storage, url=shared.url, notice=shared.notice)
        with _remembered(shared, store):
            yield store
        if store.finished:
            try:
                patiently(lambda: study.set_user_attr(DONE, True), shared.url, shared.notice, between=again)
            except StorageError as error:
                # Workers look once more in vain: no reason to lose the answer.
                store.say(str(error))


def _begun(storage: BaseStorage, name: str, spec: Spec) -> tuple[optuna.Study, Any]:
    """The study of a name, and what it says that it is about."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=DIRECTIONS,
        sampler=optuna.samplers.TPESampler(seed=spec.seed),
        load_if_exists=True,
    )
    if SPEC not in study.user_attrs:
        study.set_user_attr(SPEC, spec.to_json())
    return study, study.user_attrs[SPEC]


@contextmanager
def joined(shared: Shared, versions: Mapping[str, str]) -> Iterator[tuple[Store, Spec]]:
    """Open a study that a search has started, the only unfinished one where none is named.

    Raises
    ------
    StorageError
        The storage cannot be opened, there is no such study or more than one, or it was started by
        another version.
    """
    with opened(shared.url, make=False, notice=shared.notice) as storage:

        def find() -> tuple[optuna.Study, Any]:
            specs = {
                study.study_name: study.user_attrs[SPEC]
                for study in optuna.get_all_study_summaries(storage, include_best_trial=False)
                if SPEC in study.user_attrs and (shared.study or DONE not in study.user_attrs)
            }
            name = _choose(specs, shared)
            sampler = optuna.samplers.TPESampler()
            return optuna.load_study(storage=storage, study_name=name, sampler=sampler), specs[name]

        study, kept = patiently(find, shared.url, shared.notice, between=between_tries(storage))
        name = study.study_name
        document = _document(name, kept)
        _same_versions(name, document, versions)
        store = Store(study, storage, url=shared.url, notice=shared.notice)
        with _remembered(shared, store):
            yield store, _spec(name, document)


@contextmanager
def _remembered(shared: Shared, store: Store) -> Iterator[None]:
    """Let whoever named the storage know what it holds, however the work on it ends."""
    try:
        yield
    finally:
        shared.saved = store.saved or shared.saved


def _spec(name: str, document: Mapping[str, Any]) -> Spec:
    try:
        problem = read_resolved(json.dumps(document["problem"]), file=f"study {name}")
        return Spec(problem, int(document["trials"]), int(document["seed"]), document["versions"])
    except (KeyError, TypeError, ValueError, ProblemError) as error:
        raise StorageError(f"the study {name} holds no problem that this version reads: {error}") from None


def _choose(specs: Mapping[str, Any], shared: Shared) -> str:
    """The study that is meant."""
    place = shown(shared.url)
    if shared.study in specs:
        return shared.study
    if shared.study:
        raise StorageError(f"{place} holds no search named {shared.study}")
    if not specs:
        raise StorageError(
            f"{place} holds no unfinished search: start one with `autoparallel search PROBLEM --storage ...`"
        )
    if len(specs) > 1:
        raise StorageError(
            f"{place} holds several searches: name one with --study: {', '.join(sorted(specs))}"
        )
    return next(iter(specs))


def _document(name: str, kept: object) -> dict[str, Any]:
    try:
        document = json.loads(kept) if isinstance(kept, str) else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != STUDY_SCHEMA:
        raise StorageError(f"the study {name} is no search: its schema is not {STUDY_SCHEMA!r}")
    return document


def _same_search(name: str, document: Mapping[str, Any], spec: Spec) -> None:
    """Refuse a study that a search of another problem has left."""
    _same_versions(name, document, spec.versions)
    mine = json.loads(spec.to_json())
    for key, what in (
        ("fingerprint", "another problem"),
        ("trials", "other trials"),
        ("seed", "another seed"),
    ):
        if document.get(key) != mine[key]:
            raise StorageError(
                f"the study {name} is of {what}: its {key} is {document.get(key)}, "
                f"not {mine[key]}; name another with --study"
            )


def _same_versions(name: str, document: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Refuse to mix answers of several versions; Python's own does not matter."""
    kept = document.get("versions")
    kept = kept if isinstance(kept, dict) else {}
    other = [
        f"{package} {kept.get(package)}, here {version}"
        for package, version in versions.items()
        if package != "python" and kept.get(package) != version
    ]
    if other:
        raise StorageError(
            f"the study {name} was started with {'; '.join(other)}: "
            "install those versions, or start a study of your own"
        )
