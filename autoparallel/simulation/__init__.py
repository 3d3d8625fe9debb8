"""An engine's scheduler, request by request, with the step times of the analysis it checks."""

from autoparallel.simulation.beside import simulated
from autoparallel.simulation.run import Simulation, require_simulable, simulate

__all__ = ["Simulation", "require_simulable", "simulate", "simulated"]
