"""A drawing of a network: its parts from top to bottom as outlines as wide as their channels, and its cell as a graph."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from nas_suite.report.words import Number, number
from nas_suite.space import Part, Shape, Sketch

WIDTH = 340
NAMES, PIPE, HALF, CHANNELS, OPERATIONS = 0, 112, 56, 188, 222  # columns: names, the outline's middle and half width, …
TALL, LOW, GAP = 34, 26, 22
PITCH = 29  # from one operation's square to the next
KERNEL = re.compile(r"(\d+)×\1")


def drawing(sketch: Sketch, title: str) -> Markup:
    """The network as an SVG that is legible at 340 pixels' width."""
    rows, height = part_rows(sketch.parts)
    graph, tall = cell(sketch, height + 12) if sketch.nodes else ([], 0)
    frame = (
        f'viewBox="0 0 {WIDTH} {height + (tall + 12 if tall else 0)}" role="img" aria-label="{escape(spoken(sketch, title))}"'
    )
    return Markup(f'<svg class="drawing" {frame}>{"".join([*rows, *graph])}</svg>')


def spoken(sketch: Sketch, title: str) -> str:
    """The drawing in words."""
    rows = [f"{part.name} {' + '.join(part.operations)}".strip() for part in sketch.parts]
    cell = f"; its cell runs {', '.join(sketch.nodes)}" if sketch.nodes else ""
    return f"{title}: {'; '.join(rows)}{cell}"


def caption(sketch: Sketch) -> str:
    """How to read the drawing."""
    says = []
    if any(part.input for part in sketch.parts):
        says.append("the outline is as wide as the square root of the number of channels, which stands beside it")
    if any(part.expansion for part in sketch.parts):
        says.append("× is a block's expansion")
    if any(part.residual for part in sketch.parts):
        says.append("an arc its residual connection")
    if any(part.added for part in sketch.parts):
        says.append("full squares are the depthwise kernels that run side by side and are summed, faint ones were not chosen")
    elif any(len(part.operations) > 1 for part in sketch.parts):
        says.append("squares are the depthwise kernels of its channel groups")
    if sketch.nodes:
        says.append("the cell is drawn below, from its input to its output")
    text = "; ".join(says)
    return text[:1].upper() + text[1:] + ("." if text else "")


def part_rows(parts: Sequence[Part]) -> tuple[list[str], Number]:
    """All parts below each other, a line where the images' side changes; and the height of it all."""
    inside = [c for part in parts if part.input and part.output for c in channels(part)]
    widest = max(inside, default=1)
    out: list[str] = []
    top, side = 0.0, 0
    for part in parts:
        after = part.output[1:] if part.output else None
        if part.input and after and part.input[1] != side:
            out += stage(part.input, top, first=not side)
            top, side = top + GAP, part.input[1]
        tall = TALL if part.operations else LOW
        out += row(part, top, tall, widest)
        top += tall
    return out, top + 2


def channels(part: Part) -> tuple[Number, Number, Number]:
    """Before, inside and after a part with shapes."""
    before, after = (part.input or (1,))[0], (part.output or (1,))[0]
    return before, part.expansion * before if part.expansion else (before + after) / 2, after


def stage(shape: Shape, top: Number, first: bool) -> list[str]:
    """The line above the first part that sees images of another side."""
    word = "" if first else "↓ "
    rule = f'<path class="rule" d="M0,{top + GAP / 2}H{PIPE - HALF - 2}M{PIPE + HALF + 2},{top + GAP / 2}H{WIDTH}"/>'
    label = f"{word}{shape[1]} × {shape[2]} px"
    return [rule, f'<text class="stage" x="{PIPE}" y="{top + GAP / 2}" dy=".35em">{label}</text>']


def row(part: Part, top: Number, tall: Number, widest: Number) -> list[str]:
    middle = top + tall / 2
    texts = [f'<text class="name" x="{NAMES}" y="{middle}" dy=".35em">{escape(part.name)}</text>']
    if part.input and part.output:
        texts += outline(part, top + 2, tall - 4, widest)
        texts.append(f'<text class="channels" x="{CHANNELS}" y="{middle}" dy=".35em">{part.output[0]}</text>')
    if part.repeats > 1:
        texts.append(f'<text class="name" x="{OPERATIONS}" y="{middle}" dy=".35em">{part.repeats} × the cell</text>')
    return texts + operations(part, middle)


def outline(part: Part, top: Number, tall: Number, widest: Number) -> list[str]:
    """Narrow to wide to narrow, as the channels go."""
    before, inside, after = (4 + (HALF - 4) * (c / widest) ** 0.5 for c in channels(part))
    y1, y2, y3 = top + 0.28 * tall, top + 0.72 * tall, top + tall
    ys = (top, y1, y2, y3)
    halves = (before, inside, inside, after)
    right = [f"{PIPE + h:.1f},{y:.1f}" for h, y in zip(halves, ys, strict=True)]
    left = [f"{PIPE - h:.1f},{y:.1f}" for h, y in zip(halves, ys, strict=True)]
    parts = [f'<path class="{"block" if part.operations else "fixed"}" d="M{"L".join([*right, *reversed(left)])}Z"/>']
    if part.expansion:
        parts.append(f'<text class="inner" x="{PIPE}" y="{top + tall / 2}" dy=".35em">×{number(part.expansion)}</text>')
    if part.residual:
        x = PIPE + HALF + 2
        parts.append(f'<path class="arc" d="M{x},{top + 2}c11,0 11,{tall - 4} 0,{tall - 4}"/>')
    return parts


def operations(part: Part, middle: Number) -> list[str]:
    """Squares for kernels, boxes for other words; those on offer that were not chosen are faint."""
    offered = part.offered or part.operations
    return [
        operation(name, OPERATIONS + PITCH * (at + 0.5), middle, name in part.operations) for at, name in enumerate(offered)
    ]


def operation(name: str, x: Number, y: Number, chosen: bool) -> str:
    kernel = KERNEL.fullmatch(name)
    size = 9 + 2 * int(kernel[1]) if kernel else 20
    width = size if kernel else 12 + 6.2 * len(name)
    left = x - size / 2 if kernel else x - PITCH / 2
    look = "chosen" if chosen else "offered"
    box = f'<rect class="{look}" x="{left:.1f}" y="{y - size / 2:.1f}" width="{width:.1f}" height="{size}" rx="3"/>'
    text = kernel[1] if kernel else escape(name)
    return f'{box}<text class="{look}" x="{left + width / 2:.1f}" y="{y}" dy=".35em">{text}</text>'


@dataclass(frozen=True)
class Node:
    """A box of a cell's graph: its middle and its width."""

    name: str
    x: Number
    y: Number
    width: Number


def cell(sketch: Sketch, top: Number) -> tuple[list[str], Number]:
    """The cell's graph, a layer of nodes for each distance from its input; and its height."""
    depth = [0] * len(sketch.nodes)
    for u, v in sorted(sketch.edges):
        depth[v] = max(depth[v], depth[u] + 1)
    layers = [[v for v in range(len(depth)) if depth[v] == d] for d in range(max(depth) + 1)]
    nodes: dict[int, Node] = {}
    for d, layer in enumerate(layers):
        for at, v in enumerate(layer):
            x = WIDTH * (at + 0.5) / len(layer)
            nodes[v] = Node(sketch.nodes[v], x, top + 16 + 52 * d, min(84.0, WIDTH / len(layer) - 6))
    edges = [edge(nodes[u], nodes[v], depth[v] - depth[u]) for u, v in sketch.edges]
    ends = {0, len(sketch.nodes) - 1}
    return edges + [box(node, v in ends) for v, node in nodes.items()], 52 * (len(layers) - 1) + 34


def edge(a: Node, b: Node, layers: int) -> str:
    """A curve from below one box to above another; one that passes a layer bends aside."""
    start, end = a.y + 14, b.y - 14
    bend = 0.0 if layers == 1 else (90.0 if a.x <= WIDTH / 2 else -90.0)
    middle = (end - start) / 2
    return (
        f'<path class="arc" d="M{a.x:.1f},{start:.1f}C{a.x + bend:.1f},{start + middle:.1f} '
        f'{b.x + bend:.1f},{end - middle:.1f} {b.x:.1f},{end:.1f}"/>'
    )


def box(node: Node, is_end: bool) -> str:
    look = "fixed" if is_end else "block"
    shape = f'x="{node.x - node.width / 2:.1f}" y="{node.y - 14:.1f}" width="{node.width:.1f}" height="28" rx="6"'
    text = f'<text class="node" x="{node.x:.1f}" y="{node.y:.1f}" dy=".35em">{escape(node.name)}</text>'
    return f'<rect class="{look}" {shape}/>{text}'
