"""Writes the catalog's calibrations from a folder of measured tables.

python -m benchmarks.calibrate_all OPS_DIR [--only h100_sxm]
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from autoparallel.calibration.defaults import default_text, pcie_text
from autoparallel.calibration.fits import calibrate
from autoparallel.calibration.toml_text import calibration_text
from autoparallel.problem_file.calibration_choice import constants_in

SYSTEMS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "gb200", "l40s")
BACKENDS = ("trtllm", "vllm")
FOLDER = Path(__file__).resolve().parent.parent / "autoparallel" / "catalog" / "calibration"
SOURCE = "NVIDIA AIConfigurator 0.12's measured tables (Apache-2.0), thinned; constants fitted to them here"
DATE = "2025-2026 (AIConfigurator 0.12)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ops_dir", type=Path)
    parser.add_argument("--only", nargs="*", default=SYSTEMS, metavar="SYSTEM")
    options = parser.parse_args()
    for backend in BACKENDS:
        for system in options.only:
            result = calibrate(options.ops_dir, system=system, backend=backend)
            text = calibration_text(result, source=SOURCE, date=DATE)
            (FOLDER / f"{system}.{backend}.toml").write_text(text, encoding="utf-8")
        shipped = {system: FOLDER / f"{system}.{backend}.toml" for system in SYSTEMS}
        tables = {
            system: constants_in(tomllib.loads(path.read_text(encoding="utf-8")))
            for system, path in shipped.items()
            if path.exists()
        }
        (FOLDER / f"default.{backend}.toml").write_text(default_text(tables, backend), encoding="utf-8")
        (FOLDER / f"default_pcie.{backend}.toml").write_text(pcie_text(tables, backend), encoding="utf-8")


if __name__ == "__main__":
    main()
