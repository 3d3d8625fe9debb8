"""Many hostile inputs in one process: ``python -m tests.fuzz.campaign 20000 --seed 1`` (``make fuzz``).

Most inputs are files that ship, damaged; the others come from a grammar. What is found is printed, one entry
for each place where it happens, with the shortest input that does it; the exit code is 1 where there is any.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.commands import KINDS, command_line, command_lines, prepare, restore, write_input
from tests.fuzz.grammar import texts
from tests.fuzz.mutations import CANARY, mutated
from tests.fuzz.seeds import seeds
from tests.fuzz.watch import Watch

BATCH = 500


class Case(NamedTuple):
    """One input: of what kind, its bytes, and a number that chooses the command that reads it."""

    kind: str
    data: bytes
    choice: int


class Campaign:
    """Inputs go in, findings stay.

    Parameters
    ----------
    folder : Path
        An empty folder, the working directory of every command.
    """

    def __init__(self, folder: Path) -> None:
        os.chdir(folder)
        self._folder = folder
        self.texts: Mapping[str, tuple[str, ...]] = {**seeds(), **prepare(folder)}
        self._watch = Watch(folder)
        self.findings: dict[str, tuple[Case, tuple[str, ...]]] = {}
        self.done = 0
        self._ends: dict[str, Counter[int]] = defaultdict(Counter)
        self.slowest_s: tuple[float, tuple[str, ...]] = (0.0, ())

    def examine(self, case: Case) -> None:
        """Run an input through a command that reads it."""
        place = write_input(self._folder, case.kind, case.data)
        argv = command_line(case.kind, place, Random(case.choice))
        # Where the interpreter itself dies, this is left to look at.
        (self._folder / "last.json").write_text(
            json.dumps([case.kind, repr(case.data), argv]), encoding="utf-8"
        )
        start = perf_counter()
        wrong = self._watch.run(argv, online=case.kind == "storage")
        self.slowest_s = max(self.slowest_s, (perf_counter() - start, argv))
        restore(self._folder, case.kind, self.texts)
        if (self._folder / CANARY).exists():
            wrong = "runs its input"
            (self._folder / CANARY).unlink()
        self.done += 1
        self._ends[case.kind][self._watch.exit_code] += 1
        if wrong and (wrong not in self.findings or len(case.data) < len(self.findings[wrong][0].data)):
            self.findings[wrong] = (case, argv)

    def unanswered(self) -> list[str]:
        """Kinds of which no input is answered, even undamaged: of those a campaign tests nothing."""
        return [kind for kind in KINDS if kind != "storage" and not self._is_answered(kind)]

    def _is_answered(self, kind: str) -> bool:
        for text in self.texts[kind]:
            place = write_input(self._folder, kind, text.encode())
            for argv in command_lines(kind, place):
                if not self._watch.run(argv) and self._watch.exit_code in (0, 1):
                    return True
        return False

    def cases(self, kinds: tuple[str, ...]) -> st.SearchStrategy[Case]:
        """Inputs of every kind, damaged or from the grammar."""
        grammar = texts()
        numbers = st.integers(0, 2**32)

        def of_kind(kind: str) -> st.SearchStrategy[Case]:
            known = st.sampled_from(self.texts[kind])
            data = st.builds(
                lambda one, other, number: mutated(one, other, Random(number)), known, known, numbers
            )
            if kind in grammar:
                written = grammar[kind].map(lambda text: text.encode("utf-8", "surrogatepass"))
                data = st.one_of(data, data, written)
            return st.builds(Case, st.just(kind), data, numbers)

        return st.sampled_from(kinds).flatmap(of_kind)

    def run(self, inputs: int, first_seed: int, kinds: tuple[str, ...], tell: Callable[[str], Any]) -> None:
        """Examine so many inputs; the same ones for the same seed."""
        steady = settings(
            database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        for number in range(0, inputs, BATCH):
            size = min(BATCH, inputs - number)
            body = given(self.cases(kinds))(self.examine)
            seed(first_seed + number)(settings(steady, max_examples=size)(body))()
            tell(f"{self.done} inputs, {len(self.findings)} findings")

    def report(self) -> str:
        """What was found, with inputs to see it again."""
        lines = [f"{self.done} inputs, {len(self.findings)} findings"]
        lines.append(f"slowest: {self.slowest_s[0]:.1f} s, {' '.join(self.slowest_s[1])[:100]}")
        lines += [
            f"{kind}: exit codes {dict(sorted(self._ends[kind].items()))}" for kind in sorted(self._ends)
        ]
        for wrong, (case, argv) in sorted(self.findings.items()):
            lines += [
                wrong,
                f"    autoparallel {' '.join(argv)[:300]}",
                f"    {case.kind}: {case.data!r:.1500}",
            ]
        return "\n".join(lines) + "\n"


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("inputs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "a" / "b"
        folder.mkdir(parents=True)
        campaign = Campaign(folder)
        if unanswered := campaign.unanswered():
            sys.exit(f"nothing answers: {', '.join(unanswered)}")
        campaign.run(
            asked.inputs, asked.seed, tuple(asked.kind or KINDS), lambda text: sys.stderr.write(f"{text}\n")
        )
        os.chdir(base)
    sys.stdout.write(campaign.report())
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
