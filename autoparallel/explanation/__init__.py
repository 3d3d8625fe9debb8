"""Why nothing fits and what would have to give, or what binds and what one step more would buy.

Every number is the answer of a search of its own, made as the search for the problem's plan is made.
"""

from autoparallel.explanation.explain import explain
from autoparallel.explanation.explained import Change, Explanation, Gain, Relaxation
from autoparallel.explanation.feasible import moved
from autoparallel.explanation.scales import outward

__all__ = ["Change", "Explanation", "Gain", "Relaxation", "explain", "moved", "outward"]
