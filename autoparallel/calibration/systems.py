"""GPUs by the name that measured tables give them."""

from __future__ import annotations

from functools import cache

from autoparallel.catalog import gpu_names, load_gpu
from autoparallel.domain.hardware import Hardware
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.hardware_section import catalog_hardware


@cache
def gpu_of_system() -> dict[str, str]:
    """Catalog names by system."""
    named = {load_gpu(name).get("system"): name for name in gpu_names()}
    return {str(system): name for system, name in named.items() if system}


def hardware_of(system: str, backend: str = "none") -> Hardware:
    """The catalog's GPU of a system, with the calibration for a backend.

    Raises
    ------
    ProblemError
        No GPU of the catalog has this system.
    """
    names = gpu_of_system()
    if system not in names:
        message = f'no GPU of the catalog has system = "{system}"; there are {", ".join(sorted(names))}'
        raise ProblemError([Fault(message)])
    return catalog_hardware(names[system], backend)
