"""``python -m autoparallel`` is the command ``autoparallel``."""

from autoparallel.cli import main

if __name__ == "__main__":
    main()
