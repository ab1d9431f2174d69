"""The choices of a search for a latency as pictures: shares as squares, and widths within their bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from nas_suite.report.derived import Derived, running, split, top
from nas_suite.report.words import Number, count, percent

WIDTH, NAMES, ROW = 340, 54, 19  # of a picture, of its column of names, of a row's height
STAGE = 7  # of the gap between two stages


class Frame(NamedTuple):
    """The width of a picture, of its column of names, the height of a row, and what its style goes by."""

    width: Number
    names: Number
    row: Number
    look: str


FULL, FLAT = Frame(WIDTH, NAMES, ROW, "squares"), Frame(500, 66, 14, "squares flat")


@dataclass(frozen=True)
class Grid:
    """A picture with its title, how to read it, and its SVG."""

    title: str
    about: str
    svg: Markup


@dataclass(frozen=True)
class Row:
    """A row of squares: its name, its group (a stage), shares 0 … 1, the words in and over the squares, which are marked."""

    name: str
    group: int
    shares: Sequence[Number]
    words: Sequence[str]
    notes: Sequence[str]
    marked: frozenset[int] = frozenset()


def grids(found: Derived) -> list[Grid]:
    """All pictures of a search whose space is at hand."""
    return [grid for grid in (widths(found), depths(found), operations(found), trained(found)) if grid]


def widths(found: Derived) -> Grid | None:
    """The operation of each block that runs, and its width between the least and the most that it may have."""
    if (network := split(found)) is None or found.space is None:
        return None
    chosen, depths, rows = network
    run, parts, said, y, before = running(found, depths), [], [], 4.0, 0
    left, right = NAMES + 52, WIDTH - 46
    for at, stage, name in found.places():
        op = chosen[at]
        bounds = found.space.widths(at, op)
        if at not in run or not bounds:
            continue
        y += STAGE * (stage != before)
        before, width, middle = stage, rows[at][op], y + ROW / 2
        least, most, word = bounds[0], bounds[-1], found.space.operations[op]
        place, start = (left + (right - left) * (w - least) / (most - least or 1) for w in (width, found.space.start(at, op)))
        parts.append(f'<text class="name" x="0" y="{middle:.1f}" dy=".35em">{name}</text>')
        parts.append(f'<text class="word" x="{NAMES}" y="{middle:.1f}" dy=".35em">{escape(word)}</text>')
        parts.append(f'<path class="rule" d="M{left},{middle:.1f}H{right}M{start:.1f},{middle - 4:.1f}v8"/>')
        parts.append(f'<path class="span" d="M{start:.1f},{middle:.1f}H{place:.1f}"/>')
        note = f"{name} {word}: {width} channels of {least} to {most}"
        parts.append(
            f'<circle class="mark blue" cx="{place:.1f}" cy="{middle:.1f}" r="4.5"><title>{escape(note)}</title></circle>'
        )
        parts.append(f'<text class="value" x="{WIDTH}" y="{middle:.1f}" dy=".35em">{width}</text>')
        said.append(note)
        y += ROW
    frame = f'viewBox="0 0 {WIDTH} {y + 4:.0f}" role="img" aria-label="{escape("; ".join(said))}"'
    about = "Inner channels of each block, from the least to the most that its operation may have; the notch is where it began."
    return Grid("Operations and widths", about, Markup(f'<svg class="drawing squares" {frame}>{"".join(parts)}</svg>'))


def operations(found: Derived) -> Grid | None:
    """The probabilities that α holds after the last epoch."""
    held = found.last.get("operations")
    if not held or found.space is None:
        return None
    names, network = found.space.operations, split(found)
    framed = {at: network[0][at] for at in running(found, network[1])} if network else {}
    rows = []
    for at, stage, name in found.places():
        notes = [f"{name} {op}: {percent(p)}" for op, p in zip(names, held[at], strict=False)]
        marked = frozenset({framed[at]} if at in framed else ())
        rows.append(Row(name, stage, held[at], [f"{100 * p:.0f}" for p in held[at]], notes, marked))
    alt = "The likeliest operation of each block: " + "; ".join(row.notes[top(row.shares)] for row in rows)
    about = "Probability by α of each operation of each block after the last epoch, in percent; the network’s are framed."
    return Grid("Operations by block", about, picture(rows, list(map(head, names)), alt))


def trained(found: Derived) -> Grid | None:
    """How many steps trained each operation."""
    counts = found.last.get("trained")
    if not counts or found.space is None:
        return None
    names, most = found.space.operations, max(map(max, counts)) or 1
    starved = set(found.last["starved"])
    rows = []
    for at, stage, name in found.places():
        marked = frozenset(k for k in range(len(counts[at])) if f"block{at}.{names[k]}" in starved)
        notes = [f"{name} {op}: {n:,} steps" for op, n in zip(names, counts[at], strict=False)]
        rows.append(Row(name, stage, [n / most for n in counts[at]], list(map(count, counts[at])), notes, marked))
    least = min(map(min, counts))
    alt = f"Steps that trained each operation: {least:,} to {most:,}; {len(starved)} starved."
    about = "Steps that trained each operation of each block so far" + ("; dots mark those that starved." if starved else ".")
    return Grid("Training of the operations", about, picture(rows, list(map(head, names)), alt, dots=True))


def course(found: Derived) -> Grid | None:
    """How likely the likeliest operation of each block was held to be, epoch by epoch, and when it changed."""
    log = found.choosing
    if len(log) < 2 or "operations" not in log[0] or found.space is None:
        return None
    names, rows, changes = found.space.operations, [], 0
    for at, stage, name in found.places():
        held = [line["operations"][at] for line in log]
        first = list(map(top, held))
        changed = frozenset(k for k in range(1, len(first)) if first[k] != first[k - 1])
        notes = [
            f"{name}, epoch {line['epoch'] + 1}: {names[op]} {percent(line['operations'][at][op])}"
            for line, op in zip(log, first, strict=True)
        ]
        rows.append(Row(name, stage, [max(shares) for shares in held], [], notes, changed))
        changes += len(changed)
    heads = [str(line["epoch"] + 1) if k in (0, len(log) - 1) else "" for k, line in enumerate(log)]
    alt = f"Probability of the likeliest operation of each block by epoch; it changed {changes} times in all."
    about = "How likely the likeliest operation of each block is, epoch by epoch; a dot where it became another."
    return Grid("Operations over the epochs", about, picture(rows, heads, alt, dots=True, of=FLAT))


def depths(found: Derived) -> Grid | None:
    """The probabilities that β holds after the last epoch."""
    held = found.last.get("depths")
    if not held:
        return None
    network = split(found)
    rows = []
    for stage, shares in enumerate(held):
        notes = [f"stage{stage}, {k + 1} blocks: {percent(p)}" for k, p in enumerate(shares)]
        marked = frozenset({network[1][stage]} if network and len(shares) > network[1][stage] else ())
        rows.append(Row(f"stage{stage}", 0, shares, [f"{100 * p:.0f}" for p in shares], notes, marked))
    alt = "The likeliest depth of each stage: " + "; ".join(row.notes[top(row.shares)] for row in rows)
    about = "Probability by β of each number of blocks after the last epoch, in percent; the network’s are framed."
    heads = [str(k + 1) for k in range(max(map(len, held)))]
    return Grid("Depth of the stages", about, picture(rows, heads, alt))


def head(operation: str) -> str:
    """An operation's name in two lines where it excites."""
    return operation.removesuffix("se") + " se" if operation.endswith("se") else operation


def picture(rows: Sequence[Row], heads: Sequence[str], alt: str, dots: bool = False, of: Frame = FULL) -> Markup:
    """Rows of squares below each other, apart where the group changes; `dots` marks by a dot, else by a frame."""
    size = (of.width - of.names) / max(len(row.shares) for row in rows)
    lines = max((len(head.split()) for head in heads), default=0)
    y = 13.0 * lines + 4
    parts = []
    for at, head in enumerate(heads):
        for line, word in enumerate(head.split()):
            parts.append(
                f'<text class="node" x="{of.names + size * (at + 0.5):.1f}" y="{11 + 13 * line}">{escape(word)}</text>'
            )
    for before, row in zip((None, *rows), rows, strict=False):
        y += STAGE if before and before.group != row.group else 0
        parts.append(f'<text class="name" x="0" y="{y + of.row / 2:.1f}" dy=".35em">{escape(row.name)}</text>')
        for at, share in enumerate(row.shares):
            parts += square(row, at, share, of.names + size * at, y, (size, of.row), dots)
        y += of.row
    frame = f'viewBox="0 0 {of.width} {y + 2:.0f}" role="img" aria-label="{escape(alt)}"'
    return Markup(f'<svg class="drawing {of.look}" {frame}>{"".join(parts)}</svg>')


def square(row: Row, at: int, share: Number, x: Number, y: Number, size: tuple[Number, Number], dots: bool) -> list[str]:
    wide, tall = size
    gap = 1.5 if wide > 8 else 0.0
    place = f'x="{x + gap / 2:.1f}" y="{y + 0.75:.1f}" width="{wide - gap:.1f}" height="{tall - 1.5}" rx="{min(3.0, gap)}"'
    parts = [f'<rect class="floor" {place}/>', f'<rect class="share" style="fill-opacity:{min(1.0, share):.3f}" {place}>']
    parts.append(f"<title>{escape(row.notes[at])}</title></rect>")
    if at in row.marked and not dots:
        parts.append(f'<rect class="frame" {place}/>')
    middle = f'x="{x + wide / 2:.1f}" y="{y + tall / 2:.1f}" dy=".35em"'
    if row.words:
        look = "bright" if share > 0.55 else "dark"
        parts.append(f'<text class="{look}" {middle}>{escape(row.words[at])}</text>')
    if at in row.marked and dots:
        aside = (x + wide - 5, y + 5) if row.words else (x + wide / 2, y + tall / 2)
        parts.append(f'<circle class="dot" cx="{aside[0]:.1f}" cy="{aside[1]:.1f}" r="{min(2.4, wide / 2):.1f}"/>')
    return parts
