"""Serving engines: version, what of a layout they can say, their flags, each rule with its source."""

from autoparallel.catalog.engines.entry import Abilities, Engine, EngineRule, Flag, load_engine

__all__ = ["Abilities", "Engine", "EngineRule", "Flag", "load_engine"]
