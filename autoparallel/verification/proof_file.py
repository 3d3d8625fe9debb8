"""proof.json, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoparallel.domain.layout import Layout
from autoparallel.domain.result import Proof
from autoparallel.errors import Fault, ProblemError
from autoparallel.reading import read_text
from autoparallel.results_folder import size_faults
from autoparallel.verification.faults import MOST_FAULTS, faults_of

# Requests that are simulated again at most.
_MOST_REQUESTS = 10**6


class ProofFile:
    """What proof.json says.

    Attributes
    ----------
    proof : Proof
        The proof.
    fingerprint : str
        Of the problem.
    simulated : int or None
        Requests that were simulated beside the analysis, where that was asked for.

    Raises
    ------
    ProblemError
        The file cannot be read, or holds what no search writes; every fault names its key.
    """

    def __init__(self, path: Path) -> None:
        # Imported here: it takes a while to load.
        import pydantic

        file = str(path)
        try:
            self.text = read_text(path)
            document = pydantic.TypeAdapter(dict[str, Any]).validate_json(self.text)
            self.proof = pydantic.TypeAdapter(Proof).validate_json(self.text, strict=True)
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError([Fault(f"cannot be read: {error}", file)]) from error
        except pydantic.ValidationError as error:
            raise ProblemError(faults_of(error, file, "is no proof of a search")) from None
        wrong = [
            fault
            for index, solve in enumerate(self.proof.solves)
            for fault in size_faults(
                solve.layout or Layout(), solve.batch, solve.microbatch, file, f"solves[{index}]."
            )
        ]
        if not 0 <= self.proof.seed < 1 << 31:
            wrong.append(Fault(f"must be from 0 to {(1 << 31) - 1}", file, key="seed"))
        self.fingerprint = document.get("fingerprint")
        self.simulated = self._requests(document.get("simulated"), file, wrong)
        if not isinstance(self.fingerprint, str):
            wrong.append(Fault("must be the problem's fingerprint", file, key="fingerprint"))
        if wrong:
            raise ProblemError(wrong[:MOST_FAULTS])

    @staticmethod
    def _requests(simulated: Any, file: str, wrong: list[Fault]) -> int | None:
        """Requests of the simulations, which all have the same number."""
        if simulated is None:
            return None
        first = simulated[0] if isinstance(simulated, list) and simulated else None
        requests = first.get("requests") if isinstance(first, dict) else None
        if isinstance(requests, int) and not isinstance(requests, bool) and 0 < requests <= _MOST_REQUESTS:
            return requests
        wrong.append(Fault("is no list of simulations of so many requests", file, key="simulated"))
        return None
