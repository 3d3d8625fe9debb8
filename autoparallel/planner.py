"""The search: a problem becomes tuned batches, solved layouts, a front, and an answer with its proof."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.errors import LayoutError, noting
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.engine import own_pair
from autoparallel.proof import versions
from autoparallel.searching import Progress, Search, evaluated
from autoparallel.simulation import require_simulable, simulated
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.recorded import Recorded
from autoparallel.solver.sweep import pair_solver
from autoparallel.tuning.shared import Shared, joined
from autoparallel.tuning.study import queued


def best_plan(problem: Problem) -> Plan:
    """The preferred plan of a problem.

    Raises
    ------
    InfeasibleError
        No plan meets the requirements; says which rules conflict.

    Examples
    --------
    >>> import autoparallel as ap
    >>> problem = ap.load_problem("problems/moe10b.toml")
    >>> ap.best_plan(problem).gpus
    2
    """
    return search(problem).best


def evaluate(
    problem: Problem,
    layout: Layout,
    *,
    batch: int | None = None,
    microbatch: int | None = None,
    chunk: int | None = None,
    launched: bool = True,
) -> Plan:
    """Estimate a plan, also one that misses a requirement.

    Parameters
    ----------
    batch, microbatch : int
        Sequences in service in one instance, in continuous batching at most and by default the engine's;
        and in one of its pipeline slots, by default the batch, as always in continuous batching.
    chunk : int, optional
        Tokens of a step of a data parallel rank, in continuous batching; by default the engine's.
    launched : bool
        Whether the problem's engine has to be able to launch the layout.

    Raises
    ------
    LayoutError
        The layout, batch, microbatch or chunk is impossible; ``violations`` lists every rule it breaks.
    """
    machine = Machine(problem)
    pair = _pair(machine, layout, batch, microbatch, chunk)
    return evaluated(pair_solver(machine), layout, pair, launched=launched)


def _pair(
    machine: Machine, layout: Layout, batch: int | None, microbatch: int | None, chunk: int | None
) -> Pair:
    """Sizes with what is not given filled in."""
    if machine.engine is not None:
        pair = own_pair(machine.problem, layout, batch, chunk)
        if microbatch not in (None, pair.batch):
            raise LayoutError(["microbatch: continuous batching has none; the engine fills pipeline slots"])
        return pair
    if batch is None or chunk is not None:
        raise LayoutError(["a static batch has a batch and a microbatch, and no chunk"])
    return Pair(batch, batch if microbatch is None else microbatch)


def search(
    problem: Problem,
    *,
    trials: int | None = None,
    seed: int | None = None,
    time_limit_s: float | None = None,
    progress: Progress | None = None,
    shared: Shared | None = None,
    verify_requests: int | None = None,
) -> SearchResult:
    """Find the plans of a problem that no other plan beats, and the preferred one among them.

    Parameters
    ----------
    trials : int, optional
        Batch and microbatch pairs to visit at most; by default the problem's.
    seed : int, optional
        Seed of tuner and solver; by default the problem's. The same seed gives the same answer.
    time_limit_s : float, optional
        Time after which the best plans so far are the answer, with their gap. [s]
    progress : callable, optional
        Called with pairs done, pairs in all, and a message.
    shared : Shared, optional
        The storage in which the search is kept, shared with workers and resumed; by default in memory.
    verify_requests : int, optional
        Serve so many requests with the best plan and the runner-up in the event simulation, and keep what
        it says beside the analysis; only in continuous batching.

    Raises
    ------
    ValueError
        ``trials`` is less than 1, or the time limit not above 0.
    TimeLimitError
        The time was over before there was a plan.
    StorageError
        The storage cannot be used (any more), or its study is not this search. Like whatever else ends
        a search, it has a note of what the storage holds.
    InfeasibleError
        No plan meets the requirements; ``conflicts`` names the rules, what each asks for and the best
        that can be had when it alone gives way.
    """
    if verify_requests is not None:
        require_simulable(problem)
    seed = problem.search.seed if seed is None else seed
    trials = problem.search.trials if trials is None else trials
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"time_limit_s must be above 0, not {time_limit_s}")
    with noting(lambda: shared.saved if shared else ""):
        result = Search(problem, trials, seed, Deadline(time_limit_s)).run(progress, shared)
    return simulated(result, problem, verify_requests, seed)


def search_again(
    problem: Problem, recorded: Recorded, *, trials: int, seed: int, verify_requests: int | None = None
) -> SearchResult:
    """Go through an earlier search again, with its answers in the place of the solver's.

    A model that is not the recorded one, or whose answer cannot be one, is solved.

    Raises
    ------
    InfeasibleError, TimeLimitError
        There is no plan, as far as the record goes.
    """
    result = Search(problem, trials, seed, recorded=recorded).run(None, None)
    return simulated(result, problem, verify_requests, seed)


@dataclass(frozen=True)
class Work:
    """What a worker did: pairs that it solved, of those of the study."""

    study: str
    problem: str
    solved: int
    pairs: int


def work(shared: Shared, *, progress: Progress | None = None) -> Work:
    """Help with a search that another process has started, until nothing of it is left.

    Raises
    ------
    StorageError
        The storage cannot be used (any more), holds no such search, or that is of another version.
    """
    with noting(lambda: shared.saved), joined(shared, versions()) as (store, spec):
        helper = Search(spec.problem, spec.trials, spec.seed)
        study = helper.visit(progress, store, queued(store, helper.space))
    return Work(store.study.study_name, spec.problem.name, study.solved_here, study.size)
