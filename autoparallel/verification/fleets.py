"""A fleet's result, re-checked: every value from its instances alone, and its best by another solver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from autoparallel.domain.fleet import RATE, RATIOS
from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.fleet_planner.answer import MOST_ROWS as MOST_LISTED
from autoparallel.fleet_planner.recorded import WrittenFleet
from autoparallel.fleet_planner.search import Fleets, fleet
from autoparallel.fleet_planner.supply import cost_of
from autoparallel.problem_file.fingerprint import SILENT
from autoparallel.problem_file.resolved import read_resolved
from autoparallel.reading import read_text
from autoparallel.results_folder import FLEET_FILE, FLEET_PROBLEM_FILE, fleet_files
from autoparallel.solver.fleet.model import ROUNDED
from autoparallel.verification.check import Check
from autoparallel.verification.documents import file_check
from autoparallel.verification.faults import faults_of
from autoparallel.verification.second_fleet import Best, SecondFleet

# What nothing else in a result determines.
FREE = {FLEET_FILE: {"versions", "seed"}, FLEET_PROBLEM_FILE: set(SILENT) - {"balances"}}
# Fleets of the column that are solved again at most.
MOST_ROWS = 80


class Fleet:
    """The fleet in a folder."""

    def __init__(self, folder: Path, *, solve: bool = False) -> None:
        self.folder, self.solve = folder, solve
        self.problem = _problem(folder / FLEET_PROBLEM_FILE)
        self.written = read_fleet(folder / FLEET_FILE)

    def checks(self) -> Iterator[Check]:
        """Every check."""
        same = self.written.fingerprint == self.problem.fingerprint
        says = f"the fleet answers the problem with fingerprint {self.problem.fingerprint[:12]}"
        yield Check(name="fleet problem", holds=same, says=says)
        if not same:
            return
        for name, text in fleet_files(self.again).items():
            yield file_check(name, read_text(self.folder / name), text, self._free(name))
        yield self._placed()
        yield self._best()
        if self.written.column:
            yield self._column()

    @cached_property
    def fleets(self) -> Fleets:
        """Instances, rated by the performance core."""
        written = self.written
        return Fleets(self.problem, written.proof.seed, written.confidence, written=written)

    @cached_property
    def again(self) -> FleetResult:
        """The answer made again of nothing but the instances taken, or by the solver where it is asked."""
        if self.solve:
            written = self.written
            return fleet(
                self.problem,
                seed=written.proof.seed,
                column=bool(written.column),
                confidence=written.confidence,
            )
        return self.fleets.run(bool(self.written.column))

    @cached_property
    def second(self) -> SecondFleet:
        """Another model of the same instances."""
        self.fleets.run(column=False)
        return SecondFleet(self.fleets.table.kinds, self.fleets.space.pools, self.fleets.losses)

    def _free(self, name: str) -> set[str]:
        """What nothing else in the files determines."""
        by_ratio = self.problem.fleet is not None and self.problem.fleet.objective in RATIOS
        # Of fleets on the way to the least cost by what is served nothing is kept.
        return FREE[name] | ({"solves"} if by_ratio and name == FLEET_FILE else set())

    def _placed(self) -> Check:
        """Every instance stands on nodes that have room for it."""
        sizes, broken = self.fleets.sizes, []
        composition = self.written.fleet(self.fleets.table, sizes).composition
        for own, pool, nodes in zip(self.written.pools, sizes, composition.nodes, strict=True):
            taken = [sum(node) for node in nodes]
            broken += [f"a node of {own.name} holds {gpus} GPUs" for gpus in taken if gpus > pool.node]
            count = self._count(own.name)
            if count is not None and sum(taken) > count:
                broken.append(f"{own.name} has no {sum(taken)} GPUs")
        says = "; ".join(broken) or "every instance stands on nodes that have room for it"
        return Check(name="fleet nodes", holds=not broken, says=says)

    def _count(self, pool: str) -> int | None:
        options = self.problem.fleet
        return next((one.count for one in options.pools if one.name == pool), 0) if options else 0

    def _best(self) -> Check:
        """No fleet of these instances is better, by another solver."""
        name, options = "fleet optimality", self.problem.fleet
        if options is None or not self.second.is_small:
            return Check(name=name, holds=None, says="rests on the solver: too large for another one")
        rate, demand = self.again.requests_per_s, options.request_rate_per_s
        if demand is not None and rate < demand * (1.0 - ROUNDED):
            return Check(name=name, holds=False, says=f"serves {rate:.6g}, not {demand:.6g} requests/s")
        if options.objective == RATE:
            return self._compared(name, rate, self.second.highest_rate(self.fleets.gpus), "requests/s")
        costs = [cost_of(pool, options.objective) for pool in options.pools]
        taken = self.written.fleet(self.fleets.table, self.fleets.sizes).composition.taken
        kinds, most = self.fleets.table.kinds, self.problem.requirements.max_gpus
        own = sum(
            costs[part.pool] * part.gpus * one.instances for one in taken for part in kinds[one.kind].parts
        )
        enough = (demand or 0.0) * (1.0 + ROUNDED)
        if options.objective in RATIOS:
            # What a fleet saves of what it serves at this one's ratio: nothing, if none has a lower one.
            saved = self.second.lowest_cost(enough, costs, most, per_request=own / rate)
            return self._compared(name, own, Best(own - saved.value, own - saved.bound), "at this load")
        least = self.second.lowest_cost(enough, costs, most)
        return self._compared(name, -own, Best(-least.value, -least.bound), options.objective)

    def _compared(self, name: str, own: float, best: Best, unit: str) -> Check:
        """A value beside the best one and its bound, both the more the better."""
        room = abs(own) * 2 * ROUNDED
        holds = None if best.bound > own + room else True
        proven = self.again.proof.complete
        if proven and best.value > own + room:
            holds = False
        says = f"another solver's best fleet has {abs(best.value):.7g} {unit}, this one {abs(own):.7g}"
        if holds is None:
            says += f", and no fleet passes {abs(best.bound):.7g}: the rest rests on the solver"
        return Check(name=name, holds=holds, says=says)

    def _column(self) -> Check:
        """More GPUs never serve less; every fleet fits, and is the best of its GPUs by another solver."""
        name, options = "fleet column", self.problem.fleet
        rows = self.written.column
        falls = [f"{b.gpus} GPUs" for a, b in pairwise(rows) if b.requests_per_s < a.requests_per_s]
        if falls:
            return Check(name=name, holds=False, says=f"serves less with more: {', '.join(falls[:5])}")
        total = self.fleets.gpus
        if total <= MOST_LISTED and [row.gpus for row in rows] != list(range(1, total + 1)):
            return Check(name=name, holds=False, says=f"has not a row for each of {total} GPUs")
        smaller = list(self.written.smaller(self.fleets.table, self.fleets.losses))
        if (
            options is None
            or options.objective != RATE
            or not self.second.is_small
            or len(smaller) > MOST_ROWS
        ):
            return Check(name=name, holds=None, says=f"{len(rows)} rows rise; too many for another solver")
        wrong = []
        rates = {row.gpus: row.requests_per_s for row in rows}
        for one in smaller:
            if not self.second.fits(one.taken, one.gpus):
                wrong.append(f"what is said to fit onto {one.gpus} GPUs does not")
            best = self.second.highest_rate(one.limit).value
            if best > rates[one.limit] * (1.0 + 2 * ROUNDED):
                wrong.append(f"{one.limit} GPUs serve {best:.7g}, not {rates[one.limit]:.7g} requests/s")
        says = (
            "; ".join(wrong[:5]) or f"{len(rows)} rows, {len(smaller)} fleets: each is another solver's best"
        )
        return Check(name=name, holds=not wrong, says=says)


def read_fleet(path: Path) -> WrittenFleet:
    """What of a fleet.json decides about the rest of it.

    Raises
    ------
    ProblemError
        The file cannot be read, or holds what no search for a fleet writes; every fault names its key.
    """
    # Imported here: it takes a while to load.
    import pydantic

    try:
        found = pydantic.TypeAdapter(WrittenFleet).validate_json(read_text(path), strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    except pydantic.ValidationError as error:
        raise ProblemError(faults_of(error, str(path), "is no fleet")) from None
    if found.confidence is not None and not 0.5 <= found.confidence <= 0.99:
        raise ProblemError([Fault("must be from 0.5 to 0.99", str(path), key="confidence")])
    if not 0 <= found.proof.seed < 1 << 31:
        raise ProblemError([Fault(f"must be from 0 to {(1 << 31) - 1}", str(path), key="proof.seed")])
    return replace(found, file=str(path))


def _problem(path: Path) -> Problem:
    try:
        return read_resolved(read_text(path), file=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
