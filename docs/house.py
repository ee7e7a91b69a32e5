"""The house: which room stands on which floor, what imports what, and the picture of both (docs/house.svg).

Rooms are the folders and single modules of `src/calprune`. A room may import rooms of lower floors, never of its own
floor or a higher one. Imports inside functions and under TYPE_CHECKING count.
"""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "calprune"
FLOORS: list[dict[str, str]] = [  # from the ground up: the rooms of each floor and what is in them
    {"base": "plain data and names, the grammar of calls, files that are whole or absent, progress"},
    {
        "pages": "tables, charts and pages as text, Markdown, HTML, CSV and JSON",
        "pattern": "which weights may be zero",
        "uncertainty": "intervals and tests",
    },
    {"layers": "a model's blocks and linears, the walk through them, the sums at their inputs"},
    {"refine": "training a whole block after its linears are pruned"},
    {"methods": "one pruning method a file; their compiled kernels"},
    {
        "allocation": "how much of a pattern's sparsity each linear gets",
        "models": "loading, saving and identity of models; what a model says of text",
    },
    {
        "deployment": "what a pruned model is worth where it runs: speed, archive, 2:4 on a GPU",
        "pruning": "the loop, its report, permutation, the pruned checkpoint",
        "text": "sources, files, formats and filters: from a name to documents",
    },
    {"writing": "text that a model writes itself", "quantisation": "codes of few bits under the mask, and their files"},
    {"calibration": "recipes, drawing, layouts, and the calibration set"},
    {
        "likeness": "text against text, set against set",
        "evaluation": "perplexity, divergence from the dense model, tasks",
    },
    {"removal": "blocks, heads, neurons and experts taken out; the smaller checkpoint"},
    {
        "studies": "a grid of trials, the bench that runs them, and the rows that come of it",
        "recovery": "training a pruned model towards the dense one, and low-rank adapters without training",
    },
    {"report": "from rows to findings, sections and one page; papers' claims judged"},
    {"choosing": "calprune choose: from the question to the pruned model"},
    {
        "api": "the public functions, which take text or objects",
        "starting": "calprune start and demo: the first model and the first table",
    },
    {"cli": "the commands"},
]
CORE = {
    "base",
    "layers",
    "pattern",
    "methods",
    "allocation",
    "refine",
    "pruning",
    "uncertainty",
}  # torch, and nothing heavier


def modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Iterable[str]) -> set[str]:
    """What a module imports anywhere: of this package the full module, of others the top name."""
    known = set(known)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "calprune":
                found.add(name.split(".")[0])
            else:
                found.add(name if name in known else name.rpartition(".")[0] or name)
    return found


def imports() -> dict[str, set[str]]:
    """For every module, the modules of this package that it imports."""
    files = modules()
    return {name: (imported(path, files) & set(files)) - {name} for name, path in files.items()}


def room(module: str) -> str:
    """The room that a module stands in; the package's doors are the room "calprune"."""
    inside = module.split(".")[1:2]
    return inside[0] if inside and inside != ["__main__"] else "calprune"


def between_rooms(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """For every room, the rooms that it imports."""
    rooms: dict[str, set[str]] = {room(module): set() for module in graph}
    for module, others in graph.items():
        rooms[room(module)] |= {room(other) for other in others}
    return {name: others - {name, "calprune"} for name, others in rooms.items()}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, each group sorted."""
    reach = {node: _reached(graph, node) for node in graph}
    groups = {
        tuple(sorted({node} | {o for o in reach[node] if node in reach[o]})) for node in graph if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    open_ = list(graph[start])
    while open_:
        if (node := open_.pop()) not in found:
            found.add(node)
            open_ += graph.get(node, ())
    return found


def floor_of() -> dict[str, int]:
    """The floor of each room, counted from 0 at the ground."""
    return {name: i for i, floor in enumerate(FLOORS) for name in floor}


def direct(rooms: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """The arrows that no chain of other arrows implies: what the picture draws."""
    return {
        (name, other)
        for name, others in rooms.items()
        for other in others
        if not any(other in _reached(rooms, between) for between in others - {other})
    }


WIDTH, HEIGHT, GAP, RISE, LEFT = 150, 52, 18, 96, 40


def picture() -> str:
    """The rooms on their floors as an SVG; an arrow leads from a room to one that it imports."""
    files = modules()
    rooms = between_rooms(imports())
    size = {name: [p for m, p in files.items() if room(m) == name] for name in rooms}
    widest = max(len(floor) for floor in FLOORS)
    width = LEFT * 2 + widest * (WIDTH + GAP) - GAP
    place = {}
    for i, floor in enumerate(FLOORS):
        left = (width - len(floor) * (WIDTH + GAP) + GAP) / 2
        for j, name in enumerate(floor):
            place[name] = (left + j * (WIDTH + GAP), (len(FLOORS) - 1 - i) * RISE + 20)
    height = len(FLOORS) * RISE + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="system-ui, sans-serif" role="img" aria-label="Rooms and floors">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for name, other in sorted(direct(rooms)):
        if name in place and other in place:
            (x, y), (u, v) = place[name], place[other]
            a, b, c, d = x + WIDTH / 2, y + HEIGHT, u + WIDTH / 2, v
            lines.append(
                f'<path d="M{a:g} {b:g}C{a:g} {b + 24:g} {c:g} {d - 24:g} {c:g} {d:g}" fill="none" stroke="#9bb" '
                f'stroke-width="1.2"><title>{name} imports {other}</title></path>'
            )
    for name, (x, y) in place.items():
        count = sum(len(path.read_text().splitlines()) for path in size[name])
        lines.append(
            f'<g><rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eef5f7" stroke="#357"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 22:g}" text-anchor="middle" font-size="15" fill="#123">{name}</text>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 40:g}" text-anchor="middle" font-size="11" fill="#456">'
            f"{_files(len(size[name]))}, {_rounded(count)} lines</text></g>"
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


def _rounded(count: int) -> str:
    """To 100 lines, so that the picture changes when the house does and not with every commit."""
    return f"{max(1, round(count / 100)) * 100:,}"


def table() -> str:
    """The rooms from the top floor down, as Markdown."""
    rows = [
        f"| {len(FLOORS) - i} | `{name}` | {what} |"
        for i, floor in enumerate(reversed(FLOORS))
        for name, what in floor.items()
    ]
    return "\n".join(["| floor | room | what is in it |", "|---|---|---|", *rows])
