"""An engine's scheduler, request by request, with the step times of the analysis it checks."""

from autoparallel.simulation.run import Simulation, simulate

__all__ = ["Simulation", "simulate"]
