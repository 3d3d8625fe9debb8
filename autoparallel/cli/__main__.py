"""``python -m autoparallel.cli``."""

from autoparallel.cli import main

main()
