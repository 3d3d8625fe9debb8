"""``python -m autoparallel.cli``."""

from autoparallel.cli.application import main

main()
