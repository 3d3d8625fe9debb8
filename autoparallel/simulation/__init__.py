"""An engine's scheduler, request by request, with the step times of the analysis it checks."""

from autoparallel.simulation.beside import beside_analysis
from autoparallel.simulation.run import Simulation, require_simulable, simulate

__all__ = ["Simulation", "beside_analysis", "require_simulable", "simulate"]
