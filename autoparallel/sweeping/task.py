"""One cell as it travels to whoever searches it, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autoparallel import planner, proof
from autoparallel.domain.problem import Problem
from autoparallel.errors import AutoparallelError, InfeasibleError, SweepError
from autoparallel.problem_file.resolved import read_resolved, resolved_document

CELL_SCHEMA = "autoparallel.cell/1"
PLAN, INFEASIBLE, FAULT, FAILED = "plan", "infeasible", "fault", "failed"
# What says that two answers are of the same question.
_QUESTION = ("schema", "fingerprint", "trials", "seed", "versions")


@dataclass(frozen=True)
class Task:
    """A problem to search, with the trials and seed of the search."""

    problem: Problem
    trials: int
    seed: int

    @property
    def question(self) -> dict[str, Any]:
        """What the answer has to be of."""
        versions = {name: number for name, number in proof.versions().items() if name != "python"}
        return {
            "schema": CELL_SCHEMA,
            "fingerprint": self.problem.fingerprint,
            "trials": self.trials,
            "seed": self.seed,
            "versions": versions,
        }

    @property
    def name(self) -> str:
        """Name of the answer's file."""
        return f"{self.problem.fingerprint[:20]}-seed{self.seed}-trials{self.trials}.json"

    def to_json(self) -> str:
        """As a text that :func:`solve` takes."""
        return json.dumps({**self.question, "problem": resolved_document(self.problem)})

    def answers(self, document: Any) -> bool:
        """Whether a document is the answer to this task, by this version."""
        mine = self.question
        return isinstance(document, dict) and all(document.get(key) == mine[key] for key in _QUESTION)


def solve(text: str) -> str:
    """Search a task's problem; the answer as JSON, the same wherever it is computed.

    Raises
    ------
    SweepError
        This process has other versions than the one that sent the task.
    """
    document = json.loads(text)
    task = Task(read_resolved(json.dumps(document.pop("problem"))), document["trials"], document["seed"])
    if task.question != document:
        raise SweepError(
            f"a worker has other versions: {task.question['versions']}, not {document['versions']}"
        )
    return json.dumps({**task.question, **_answer(task)}, indent=1) + "\n"


def _answer(task: Task) -> dict[str, Any]:
    try:
        result = planner.search(task.problem, trials=task.trials, seed=task.seed)
    except InfeasibleError as error:
        return {"status": INFEASIBLE, "reason": str(error), "best": None}
    except AutoparallelError as error:
        return {"status": FAULT, "reason": str(error), "best": None}
    return {
        "status": PLAN,
        "reason": "",
        "best": result.best.to_dict(),
        "front": len(result.front),
        "complete": result.proof.complete,
    }
