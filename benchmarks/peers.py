"""``make bench-peers``: AIConfigurator's command line and ours, asked the same, one after the other.

Only its printed answer is read, and how long it took. ``python benchmarks/peers.py .venv-peers`` names the
environment that it is installed in.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speed_page import HERE, PEERS, machine, write

CONFIGS = HERE.parent / "tests" / "problem_file" / "configs"
FP8 = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
PROBLEM = """
[model]
{model}
[hardware]
gpu = "h200-sxm"
[engine]
name = "trtllm"
[workload]
prompt_tokens = 4000
output_tokens = 1000
[requirements]
ttft_s = 2.0
tpot_s = {tpot_s}
[search]
pp = 1
[fleet]
gpus = {gpus}
"""


class Case(NamedTuple):
    """A question: the model as ours and as a folder of theirs, GPUs, and the TPOT asked for in s."""

    asked: str
    model: str
    config: str
    gpus: int
    tpot_s: float
    quantized: bool = False


LLAMA = 'name = "llama-3.1-70b"\nweights_dtype = "fp8"\nkv_cache_dtype = "fp8"'
CASES = (
    Case(
        "Llama 3.1 70B fp8, 8 H200, TPOT 30 ms",
        LLAMA,
        "meta-llama--Meta-Llama-3.1-70B",
        8,
        0.03,
        quantized=True,
    ),
    Case(
        "Llama 3.1 70B fp8, 32 H200, TPOT 30 ms",
        LLAMA,
        "meta-llama--Meta-Llama-3.1-70B",
        32,
        0.03,
        quantized=True,
    ),
    Case("DeepSeek-V3, 32 H200, TPOT 50 ms", 'name = "deepseek-v3"', "deepseek-ai--DeepSeek-V3", 32, 0.05),
)


def timed(command: Sequence[str], folder: Path) -> tuple[dict[str, float], str]:
    """Wall and CPU time of a command with its children, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ends with {done.returncode}:\n{done.stderr[-2000:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2)}, done.stdout + done.stderr


def theirs(case: Case, program: str, folder: Path) -> dict[str, Any]:
    """Their answer and time."""
    model = folder / "model"
    model.mkdir()
    shutil.copy(CONFIGS / f"{case.config}_config.json", model / "config.json")
    if case.quantized:
        (model / "hf_quant_config.json").write_text(json.dumps(FP8), encoding="utf-8")
    question = f"cli default --model-path model --system h200_sxm --backend trtllm --total-gpus {case.gpus}"
    limits = f"--isl 4000 --osl 1000 --ttft 2000 --tpot {case.tpot_s * 1e3:g} --no-color"
    times, text = timed([program, *question.split(), *limits.split()], folder)
    rate, how = re.search(r"Request Rate: ([\d.]+) req/s", text), re.search(r"Experiment Chosen: (\w+)", text)
    if rate is None or how is None:
        sys.exit(f"no answer in:\n{text[-2000:]}")
    words = {"agg": "aggregated", "disagg": "prefill and decode apart"}
    return {**times, "requests_per_s": float(rate[1]), "how": words.get(how[1], how[1])}


def ours(case: Case, folder: Path) -> dict[str, Any]:
    """Our answer and time."""
    problem = folder / "problem.toml"
    problem.write_text(PROBLEM.format(**case._asdict()), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "autoparallel",
        "fleet",
        str(problem),
        "--no-column",
        "--json",
        "--quiet",
    ]
    times, text = timed([*command, "--out", "out"], folder)
    answer = json.loads(text)
    roles = [f"{member['instances']} {member['role']}" for member in answer["members"]]
    return {**times, "requests_per_s": answer["requests_per_s"], "how": ", ".join(roles)}


def main() -> None:
    """Ask everything, print, and keep."""
    binaries = Path(sys.argv[1]).resolve() / "bin"
    said = subprocess.run(
        [binaries / "pip", "show", "aiconfigurator"], capture_output=True, text=True, check=True
    )
    version = re.search(r"^Version: (\S+)$", said.stdout, re.MULTILINE)
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            row = {
                "asked": case.asked,
                "theirs": theirs(case, str(binaries / "aiconfigurator"), Path(folder)),
            }
            rows.append({**row, "ours": ours(case, Path(folder))})
        sys.stdout.write(f"{json.dumps(rows[-1])}\n")
    write(PEERS, {"about": machine(), "version": version[1] if version else "", "rows": rows})


if __name__ == "__main__":
    main()
