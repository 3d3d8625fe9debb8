"""A calibration of one's own engine: read, checked, part of the fingerprint and of a resolved problem."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from autoparallel.errors import ProblemError
from autoparallel.performance.serving import engine_of, load_engine_constants
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.engine_calibration import QUANTILES
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.results_folder import json_text

Write = Callable[[str], Path]
SHIPPED = resources.files("autoparallel.catalog") / "serving_engines" / "vllm.toml"


def shipped() -> str:
    """The constants that the catalog has of vLLM, as a file of one's own."""
    constants = SHIPPED.read_text(encoding="utf-8").partition("[constants]")[2].partition("[provenance]")[0]
    return f'engine = "vllm"\n[constants]{constants}'


@pytest.fixture
def own(write: Write, small_problem: str, tmp_path: Path) -> Callable[..., Path]:
    """A problem beside a calibration of its engine, with something changed."""

    def make(text: str, engine: str = "vllm") -> Path:
        path = write(f'{small_problem}\n[engine]\nname = "{engine}"\ncalibration = "my.toml"\n')
        path.with_name("my.toml").write_text(text, encoding="utf-8")
        return path

    return make


def test_its_constants_are_the_engines(own: Callable[..., Path], write: Write, small_problem: str) -> None:
    problem = load_problem(own(shipped().replace("step_s = ", "step_s = 1", 1) + "kernel_factor = 1.25\n"))
    assert engine_of(problem).kernel_factor == 1.25
    assert engine_of(problem, "trtllm") == load_engine_constants("trtllm")
    plain = load_problem(write(f'{small_problem}\n[engine]\nname = "vllm"\n'))
    assert engine_of(plain) == load_engine_constants("vllm")
    assert plain.fingerprint != problem.fingerprint


def test_a_share_of_memory_goes_before_it(own: Callable[..., Path]) -> None:
    path = own(shipped())
    path.write_text(path.read_text(encoding="utf-8") + "gpu_memory_utilization = 0.5\n", encoding="utf-8")
    assert engine_of(load_problem(path)).memory_fraction == 0.5


def test_a_resolved_problem_keeps_them(own: Callable[..., Path]) -> None:
    problem = load_problem(own(shipped().replace("expert_load_shape = 0.7", "expert_load_shape = inf")))
    again = read_resolved(json_text(resolved_document(problem)))
    assert engine_of(again) == engine_of(problem)
    assert math.isinf(engine_of(again).expert_load_shape)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("step_s = ", "step_sec = "), 'did you mean "step_s"?'),
        (("memory_fraction = 0.9", "memory_fraction = 1.9"), "at most 1"),
        (("max_num_seqs = 1024", "max_num_seqs = 10.5"), "a whole number"),
        (("max_num_seqs = 1024", "max_num_seqs = 0"), "greater than 0"),
        (("interference = ", "interference = -"), "greater than 0"),
        (("interference = 1.12", "interference = true"), "a number, not true"),
        (("interference = 1.12", "interference = nan"), "a number"),
        (("layer_s = ", "layer_s = inf #"), "a number"),
        (('"total"', '"all"'), "one of total, free_after_weights"),
        (('backend = "vllm"', ""), "lacks backend"),
        (('overlapped_from = "0.14"', "overlapped_from = 0.14"), "a version in quotes"),
        (('engine = "vllm"', 'engine = "vlm"'), "must name an engine"),
        (('engine = "vllm"', 'engine = "sglang"'), "is of sglang, and the engine is vllm"),
        (("[constants]", "[residuals]\nclosed = { tpot_s = [1.0] }\n[constants]"), f"{QUANTILES} rising"),
        (("[constants]", "[constant]"), "is missing: the constants of an engine"),
    ],
)
def test_faults(own: Callable[..., Path], change: tuple[str, str], says: str) -> None:
    assert change[0] in shipped()
    with pytest.raises(ProblemError) as raised:
        load_problem(own(shipped().replace(*change, 1)))
    assert says in str(raised.value)
    assert len(raised.value.faults) == 1


def test_a_missing_file_is_named(write: Write, small_problem: str) -> None:
    with pytest.raises(ProblemError, match=r"nowhere\.toml"):
        load_problem(write(f'{small_problem}\n[engine]\nname = "vllm"\ncalibration = "nowhere.toml"\n'))


def test_only_engines_that_can_share_a_cache(write: Write, small_problem: str) -> None:
    text = f'{small_problem}\n[engine]\nname = "NAME"\ndecode_context_parallel = 2\n'
    assert load_problem(write(text.replace("NAME", "vllm"))).engine_options.decode_context_parallel == 2
    with pytest.raises(ProblemError, match="do not share a KV cache"):
        load_problem(write(text.replace("NAME", "trtllm")))
