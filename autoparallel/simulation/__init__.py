"""An engine's scheduler, request by request, with the step times of the analysis it checks."""

from autoparallel.simulation.beside import simulated
from autoparallel.simulation.run import Simulation, require_simulable, simulate
from autoparallel.simulation.uncertainty import T95

__all__ = ["T95", "Simulation", "require_simulable", "simulate", "simulated"]
