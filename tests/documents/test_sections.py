"""What the document says, checked against hand-worked numbers and the domain's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoparallel.documents.blocks import Document, Facts, Heading, Listing, Table
from autoparallel.documents.breakdown import WAITING_OF_STAGES, largest_difference
from autoparallel.documents.markdown import markdown
from autoparallel.documents.subject import Subject
from autoparallel.documents.writer import write_document
from autoparallel.domain import Layout
from autoparallel.performance.architecture import active_parameters, expert_scale
from autoparallel.planner import evaluate

TITLES = [
    "Model Analysis", "Hardware Environment", "Performance Requirements", "Parallel Strategy Design",
    "GPU Allocation Matrix", "Memory Requirements", "Performance Analysis", "Communication Strategy",
    "Load Balancing", "Deployment Configuration", "Validation Metrics", "Risk Mitigation", "Conclusion",
]  # fmt: skip


def table(document: Document, title: str, first_column: str) -> Table:
    (section,) = (section for section in document.sections if section.title == title)
    return next(
        block for block in section.blocks if isinstance(block, Table) and block.columns[0] == first_column
    )


@pytest.mark.parametrize("fixture", ["best", "pipeline", "dense"])
def test_the_sections_of_the_original_plan(fixture: str, request: pytest.FixtureRequest) -> None:
    document = write_document(request.getfixturevalue(fixture))
    assert [section.title for section in document.sections] == TITLES
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                assert {len(row) for row in block.rows} == {len(block.columns)}


def test_numbers_of_the_model(best: Subject) -> None:
    text = markdown(write_document(best))
    # 16 layers x 16 experts x 3 matrices x 512 x 1024 = 402.7 million.
    assert "| Routed experts | 402.7 | 9,950 | 100 % |" in text
    assert "It leaves 32.8 kB of KV cache over all layers" in text
    assert "22.1 times apart from the count" in text


def test_every_requirement_is_judged(best: Subject, pipeline: Subject) -> None:
    rows = table(write_document(best), "Validation Metrics", "Requirement").rows
    assert [row[0] for row in rows] == [
        "Time to first token", "Throughput, tokens/ms/GPU (total)", "Memory of the fullest GPU",
        "Sequences in service",
    ]  # fmt: skip
    assert {row[-1] for row in rows} == {"✓ met"}
    missed = table(write_document(pipeline), "Validation Metrics", "Requirement").rows[1]
    assert missed[1:] == ("≥ 15", "8.65", "−73 %", "✗ missed")


def test_memory_adds_up(pipeline: Subject) -> None:
    *parts, total = table(write_document(pipeline), "Memory Requirements", "Part").rows
    assert sum(float(row[2].split()[0]) for row in parts) == pytest.approx(
        float(total[2].split()[0]), rel=5e-3
    )


def test_the_matrix_has_every_gpu_of_an_instance(pipeline: Subject) -> None:
    rows = table(write_document(pipeline), "GPU Allocation Matrix", "GPU").rows
    assert [row[0] for row in rows] == [str(rank) for rank in range(64)]
    # Rank 29 = 16 + 13: stage 1, second dp rank, cp 1, tp 1; expert rank 13 = ep 6, etp 1: experts 12 13.
    assert rows[29] == ("29", "3", "5", "0", "1", "1", "1", "1", "6", "1", "4–7", "12 13, 1/2 of each")


def test_the_tree_names_ranks_layers_and_experts(pipeline: Subject) -> None:
    (section,) = (it for it in write_document(pipeline).sections if it.title == "GPU Allocation Matrix")
    (tree,) = (block.text for block in section.blocks if isinstance(block, Listing))
    lines = tree.splitlines()
    assert lines[0] == "deployment: 128 GPUs on 16 nodes"
    assert lines[1] == "├── instance 0: GPUs 0–63, nodes 0–7, 64 sequences"
    assert lines[-1] == "└── instance 1: the same on GPUs 64–127, nodes 8–15"
    assert "│   ├── stage 1: layers 4–7, GPUs 16–31, nodes 2 3" in lines
    assert "│   │       ├── ep 6: GPUs 28 29, experts 12 13, 1/2 of each" in lines


def test_communication_says_which_link(pipeline: Subject, best: Subject) -> None:
    links = {
        row[0]: row[1] for row in table(write_document(pipeline), "Communication Strategy", "Dimension").rows
    }
    assert links == {
        "tensor parallel": "inside a node", "sequence parallel": "inside a node",
        "expert parallel": "between nodes", "pipeline": "between nodes",
    }  # fmt: skip
    text = markdown(write_document(pipeline))
    assert "In prefill, context parallel exchange hides behind compute." in text
    assert "no group leaves a node" in markdown(write_document(best))


def test_a_plan_that_sends_nothing(dense: Subject, best: Subject) -> None:
    assert "all-reduce" in markdown(write_document(dense))
    assert "Expert Parallel" not in markdown(write_document(dense))
    assert "FFN Tensor Parallel" in markdown(write_document(dense))


def test_waiting_is_a_cause(best: Subject) -> None:
    """Two stages without a second microbatch: each works half the time."""
    two = evaluate(best.problem, Layout(pp=2), batch=128, microbatch=128)
    found = largest_difference(best.plan, two)
    assert found is not None
    phase, name, gpu_s = found
    assert (phase, name) == ("prefill", WAITING_OF_STAGES)
    served = two.metrics.requests_per_s * two.metrics.run_s
    assert gpu_s == pytest.approx(two.metrics.prefill_s / served, rel=0.02)


def test_dimensions_are_numbered_without_gaps(dense: Subject) -> None:
    (section,) = (it for it in write_document(dense).sections if it.title == "Parallel Strategy Design")
    numbers = [block.text.split(".")[0] for block in section.blocks if isinstance(block, Heading)]
    assert numbers == [str(number) for number in range(1, 8)]


def test_both_ways_to_count_expert_utilisation(best: Subject) -> None:
    (section,) = (it for it in write_document(best).sections if it.title == "Load Balancing")
    facts = dict(next(block for block in section.blocks if isinstance(block, Facts)).rows)
    # Both experts of a token on one of two ranks of 8: 2 x (8/16 x 7/15) = 47 %, so 77 % of the ranks.
    assert "on 77 % of the 2 expert ranks on the mean: 23 %" in facts["One token"]
    assert "busy 100 %" in facts["A decode step"]


def test_parameters_are_those_of_the_basis(best: Subject) -> None:
    """The table, the parameters a token uses and the bytes of a GPU speak of one model."""
    document, model = write_document(best), best.problem.model
    parts = table(document, "Model Analysis", "Part")
    assert parts.columns == ("Part", "Counted, millions", "Declared basis, millions", "Share")
    assert parts.rows[-1] == ("Total", "452.3", "10,000", "100 %")
    experts = float({row[0]: row[2] for row in parts.rows}["Routed experts"].replace(",", ""))
    # Two bytes a parameter, half of the experts on each of the two GPUs.
    assert experts * 1e6 == pytest.approx(best.plan.memory.expert_weights_bytes, rel=1e-3)
    # Of 9,950.1 million in experts an eighth, and the other 49.9 without 16.4 of the embedding.
    used = active_parameters(model, scale=expert_scale(model))
    assert used == pytest.approx(9950.1e6 / 8 + 49.9e6 - 16.4e6, rel=1e-3)
    assert "- **Parameters a token uses**: 1.28 billion" in markdown(document)
    counted = replace(best.problem, model=replace(model, parameter_basis="derived"))
    parts = table(write_document(replace(best, problem=counted)), "Model Analysis", "Part")
    assert (parts.columns[1:], parts.rows[-1][1]) == (("Millions of parameters", "Share"), "452.3")


def test_a_dense_model_has_an_ffn_and_no_experts(dense: Subject) -> None:
    text = markdown(write_document(dense))
    assert "The FFN takes" in text
    assert "The FFN takes 0 %" not in text
    assert "the FFN is laid over the same: 2 (ETP) x 1 (FFN groups)" in text
    assert "GPU 0" in text
    assert "experts" not in text.replace("expert shard", "").split("## Deployment Configuration")[1]
