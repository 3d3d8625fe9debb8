"""The search for a fleet: instances are rated, then counted out exactly."""

from autoparallel.fleet_planner.search import fleet

__all__ = ["fleet"]
