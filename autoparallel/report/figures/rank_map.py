"""Where every GPU of the best plan is, and what it does and holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.layout import Layout
from autoparallel.domain.rank_map import RankedGpu, RankMap, rank_map
from autoparallel.domain.result import SearchResult
from autoparallel.report.figures.drawing import Drawing, axis, base_layout, figure
from autoparallel.report.wording import count

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Beyond this, only the first instance is drawn.
MOST_GPUS = 256
# GPUs of a node in one row; a larger node takes several.
COLUMNS = 8
# Light tints of the Okabe-Ito colours, dark text reads on all of them; the first is an empty slot.
_TINTS = (
    "rgba(128,128,128,0.10)",
    "#A9D3F2",
    "#F6D08A",
    "#93D5BF",
    "#EBC3D7",
    "#F5B48C",
    "#C9C9C9",
    "#F4EC9B",
    "#8FBBD9",
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One slot of a node: column and row of the drawing, the tint's number, its text and hover."""

    column: int
    row: int
    tint: int
    label: str
    hover: str


@dataclass(frozen=True, kw_only=True)
class RankMapInfo:
    """The cells that are drawn, empty slots of used nodes included, and the names of the rows."""

    cells: tuple[Cell, ...]
    rows: tuple[str, ...]
    columns: int
    gpus: int
    gpus_drawn: int
    nodes: int
    empty: int


def draw(result: SearchResult) -> Drawing:
    """The rank map of the best plan."""
    info = _get_info(result)
    return Drawing(
        name="rank-map",
        title="Which GPU does what",
        summary=_summary(info, result),
        plot=_get_plot(info),
        alt=f"Grid of nodes and their GPUs. {_summary(info, result)}",
    )


def _get_info(result: SearchResult) -> RankMapInfo:
    model, layout = result.problem.model, result.best.layout
    placed = rank_map(
        layout,
        gpus_per_node=result.problem.hardware.gpus_per_node,
        layers=model.num_hidden_layers,
        experts=model.routed_experts,
    )
    shown = [gpu for gpu in placed.gpus if layout.gpus <= MOST_GPUS or gpu.replica == 0]
    shown = shown[: max(MOST_GPUS, layout.gpus_per_instance if layout.gpus > MOST_GPUS else 0)]
    experts = "experts" if result.problem.workload.expert_loads is None else "expert slots"
    columns = min(placed.gpus_per_node, COLUMNS)
    rows_of_node = -(-placed.gpus_per_node // columns)
    used = sorted({gpu.node * rows_of_node + gpu.slot // columns for gpu in shown})
    row_of = {line: row for row, line in enumerate(used)}
    cells = tuple(
        _cell(
            gpu,
            placed,
            gpu.slot % columns,
            row_of[gpu.node * rows_of_node + gpu.slot // columns],
            experts if model.is_moe else "",
        )
        for gpu in shown
    )
    empty = _empty_cells(cells, len(used), columns, placed.gpus_per_node, used)
    return RankMapInfo(
        cells=(*cells, *empty),
        rows=tuple(_row_name(line, rows_of_node, columns) for line in used),
        columns=columns,
        gpus=layout.gpus,
        gpus_drawn=len(shown),
        nodes=placed.nodes,
        empty=len(empty),
    )


def _cell(gpu: RankedGpu, placed: RankMap, column: int, row: int, experts: str) -> Cell:
    """A GPU of the grid; ``experts`` is what its experts are called, empty in a dense model."""
    layout = placed.layout
    lines = (_coordinates(gpu, layout, names) for names in (("tp", "cp", "dp"), ("pp", "ep", "etp")))
    label = "<br>".join(line for line in lines if line) or f"GPU {gpu.rank}"
    share = f", 1/{layout.etp} of each" if layout.etp > 1 else ""
    held = f"<br>{experts} {_span(gpu.experts)}{share}" if experts else f"<br>FFN{share or ', whole'}"
    hover = (
        f"<b>rank {gpu.rank}</b>, node {gpu.node}, GPU {gpu.slot}<br>"
        f"replica {gpu.replica}, stage {gpu.pp}<br>"
        f"attention tp {gpu.tp}, cp {gpu.cp}, dp {gpu.dp}<br>"
        f"experts ep {gpu.ep}, etp {gpu.etp}, edp {gpu.edp}<br>layers {_span(gpu.layers)}{held}"
    )
    tint = 1 + (gpu.replica * layout.pp + gpu.pp) % (len(_TINTS) - 1)
    return Cell(column=column, row=row, tint=tint, label=label, hover=hover)


def _coordinates(gpu: RankedGpu, layout: Layout, names: tuple[str, ...]) -> str:
    """Where a GPU is on the axes that are longer than 1."""
    return " ".join(f"{name}{getattr(gpu, name)}" for name in names if getattr(layout, name) > 1)


def _span(held: range) -> str:
    return str(held.start) if len(held) == 1 else f"{held.start}–{held.stop - 1}"


def _empty_cells(
    cells: tuple[Cell, ...], rows: int, columns: int, node_size: int, lines: list[int]
) -> tuple[Cell, ...]:
    """Slots of the drawn rows that the deployment leaves free."""
    taken = {(cell.column, cell.row) for cell in cells}
    rows_of_node = -(-node_size // columns)
    return tuple(
        Cell(column=column, row=row, tint=0, label="", hover="not used by this deployment")
        for row in range(rows)
        for column in range(columns)
        if (column, row) not in taken and lines[row] % rows_of_node * columns + column < node_size
    )


def _row_name(line: int, rows_of_node: int, columns: int) -> str:
    node, part = divmod(line, rows_of_node)
    return f"node {node}" if rows_of_node == 1 else f"node {node}, {part * columns}+"


def _summary(info: RankMapInfo, result: SearchResult) -> str:
    layout = result.best.layout
    whole = f"{count(info.gpus, 'GPU')} on {count(info.nodes, 'node')}; a colour is one stage of one replica."
    if info.gpus_drawn < info.gpus:
        return (
            f"{whole} Only the first of {layout.replicas} equal instances is drawn ({info.gpus_drawn} GPUs)."
        )
    return whole


def _get_plot(info: RankMapInfo) -> go.Figure:
    grid: dict[str, list[list[Any]]] = {
        name: [[None] * info.columns for _ in info.rows] for name in ("z", "text", "hovertext")
    }
    for cell in info.cells:
        grid["z"][cell.row][cell.column] = cell.tint
        grid["text"][cell.row][cell.column] = cell.label
        grid["hovertext"][cell.row][cell.column] = cell.hover
    height = 58 if len(info.rows) <= 8 else 40
    layout = base_layout(
        60 + height * len(info.rows),
        xaxis=axis("GPU of the node", dtick=1, showgrid=False, side="bottom"),
        yaxis=axis(autorange="reversed", showgrid=False, ticksuffix="  ", type="category"),
    )
    return figure([_trace(info, grid)], layout)


def _trace(info: RankMapInfo, grid: dict[str, list[list[Any]]]) -> dict[str, Any]:
    steps = len(_TINTS)
    scale = [[edge / steps, tint] for number, tint in enumerate(_TINTS) for edge in (number, number + 1)]
    return {
        "type": "heatmap",
        **grid,
        "x": list(range(info.columns)),
        "y": list(info.rows),
        "zmin": -0.5,
        "zmax": steps - 0.5,
        "colorscale": scale,
        "showscale": False,
        "xgap": 4,
        "ygap": 4,
        "texttemplate": "%{text}",
        "textfont": {"size": 11, "color": "#1b1b1b"},
        "hoverinfo": "text",
    }
