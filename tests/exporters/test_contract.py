"""What every exporter keeps: known flags, every GPU once, and an import that gives the same layout."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES
from autoparallel.exporters import exporters
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.export import Export, InexpressibleError, export
from autoparallel.importers.flags import read_flags
from autoparallel.importers.plan import import_plan
from autoparallel.solver.rules.engine import engine_faults

KINDS = ("sparse", "dense", "latent")
EXPORTERS = exporters()


def test_every_engine_has_an_exporter() -> None:
    assert sorted(EXPORTERS) == sorted(ENGINES)


def made(cases: Any, data: st.DataObject, engine: str) -> tuple[Any, Any, Export]:
    """Any plan that the engine can launch, exported."""
    kind, node = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from((4, 8)))
    layout = data.draw(st.sampled_from(cases.layouts(kind, engine, node)))
    problem = cases.problem(kind, node)
    plan = cases.plan(problem, layout)
    return problem, plan, export(problem, plan, EXPORTERS[engine])


def arguments(command: Command) -> list[str]:
    """The words after the program."""
    first = next(index for index, word in enumerate(command.words) if word.startswith("--"))
    return list(command.words[first:])


@pytest.mark.parametrize("engine", ENGINES)
class TestEveryExporter:
    @settings(max_examples=40)
    @given(data=st.data())
    def test_import_gives_the_same_plan(self, cases: Any, engine: str, data: st.DataObject) -> None:
        problem, plan, result = made(cases, data, engine)
        if engine == "trtllm":
            with_config = result.files["config.yaml"]
            found = import_yaml(with_config, problem)
        else:
            found = import_plan(result.files["instance-0.node-0.sh"], problem)
        assert found.layout == plan.layout
        # Pipeline batches of TensorRT-LLM are equal: 16 / (dp x pp) has to be whole.
        if engine != "trtllm" or plan.batch % (plan.layout.dp * plan.layout.pp) == 0:
            assert found.batch == plan.batch
            assert found.microbatch == plan.microbatch

    @settings(max_examples=40)
    @given(data=st.data())
    def test_every_flag_is_in_the_shipped_table(self, cases: Any, engine: str, data: st.DataObject) -> None:
        _, _, result = made(cases, data, engine)
        for command in (*result.commands, result.benchmark):
            words = arguments(command)
            if engine == "trtllm" and "mpirun" in command.words:
                program = command.words.index("trtllm-llmapi-launch") + 1
                serves = command.words[program] == "trtllm-serve"
                words = list(command.words[program + (2 if serves else 1) :])
            values = read_flags(words, load_engine(engine).flags[command.program])
            assert values.faults == []
            assert [word for word in values.positional if word not in ("throughput",)] == []

    @settings(max_examples=40)
    @given(data=st.data())
    def test_every_gpu_is_used_once(self, cases: Any, engine: str, data: st.DataObject) -> None:
        _, plan, result = made(cases, data, engine)
        rows = list(csv.DictReader(io.StringIO(result.files["rank_map.csv"])))
        assert len({(row["node"], row["gpu"]) for row in rows}) == plan.gpus
        assert [int(row["engine_rank"]) for row in rows] == list(range(plan.layout.gpus_per_instance))
        started = {command.node: command.environment["CUDA_VISIBLE_DEVICES"] for command in result.commands}
        for node, visible in started.items():
            assert visible.split(",") == [row["gpu"] for row in rows if int(row["node"]) == node]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_layout_is_refused_or_exported(self, cases: Any, engine: str, kind: str) -> None:
        problem = cases.problem(kind)
        launched = set(cases.layouts(kind, engine))
        assert launched
        for layout in cases.layouts(kind, None):
            assert bool(engine_faults(load_engine(engine), problem, layout)) == (layout not in launched)

    def test_versions_are_pinned(self, cases: Any, engine: str) -> None:
        layout = cases.layouts("sparse", engine)[0]
        problem = cases.problem("sparse")
        result = export(problem, cases.plan(problem, layout), EXPORTERS[engine])
        assert result.version == load_engine(engine).version
        assert result.version in result.files["instance-0.node-0.sh"]
        assert f"image: {load_engine(engine).image}" in result.files["kubernetes.yaml"]
        assert result.version in load_engine(engine).image

    def test_what_it_cannot_express_names_rule_and_nearest(self, cases: Any, engine: str) -> None:
        problem, launched = cases.problem("sparse"), set(cases.layouts("sparse", engine))
        layout = next(layout for layout in cases.layouts("sparse", None) if layout not in launched)
        with pytest.raises(InexpressibleError) as raised:
            export(problem, cases.plan(problem, layout), EXPORTERS[engine])
        assert raised.value.faults
        assert raised.value.nearest is not None
        assert raised.value.nearest.layout in launched
        assert raised.value.nearest.feasible


def import_yaml(text: str, problem: Any) -> Any:
    """Import a configuration by way of a file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return import_plan(str(path), problem)


def test_variables_are_left_to_the_shell_and_named() -> None:
    command = Command(program="serve", words=("a", Variable("$NODE_0:8,$NODE_12:8")))
    assert command.variables == ("NODE_0", "NODE_12")
