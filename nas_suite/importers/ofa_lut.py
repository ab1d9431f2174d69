"""Once-for-all's latency tables, YAML of each block's mean latency at one resolution, into points of a latency table."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nas_suite.errors import BadInput
from nas_suite.importers.luts import Told
from nas_suite.latency.table import Curve, Point
from nas_suite.words import plural

ORIGIN = "once-for-all (github.com/mit-han-lab/once-for-all), MIT"
FIELDS = ("count", "mean", "std")
SHAPE = r"(\d+)x\d+x(\d+)"
BLOCK = re.compile(
    rf"expanded_conv-input:{SHAPE}-output:{SHAPE}-expand:(\d+)-kernel:(\d+)-stride:(\d+)-idskip:[01]-se:([01])-hs:([01])"
)
LAYER = re.compile(rf"(Conv|Conv_1|Conv_2|AvgPool2D)-input:{SHAPE}-output:{SHAPE}")
LOGITS = re.compile(r"Logits-input:1x1x(\d+)-output:(\d+)")
FIRST = "Conv"


def read(file: Path, factor: float, partial: bool) -> Told:
    """Families and blocks in ms, `factor` being the file's unit in ms; means stand for medians.

    A squeeze-excite of once-for-all has a quarter of the width inside, which families call `sew4`; `hswish` is the hard swish.
    The last convolution has no batch norm and is named `pointwise`.
    BadInput names the line that is not understood.
    """
    entries = dict(parsed(file))
    sides = [int(told[2]) for key in entries if (told := LAYER.fullmatch(key)) and told[1] == FIRST]
    if len(sides) != 1:
        raise BadInput(f"{file} is no latency table of once-for-all: it has {len(sides)} entries Conv-input:…, not one")
    blocks: dict[str, Point] = {}
    families: dict[str, dict[int, Point]] = {}
    for key, fields in entries.items():
        point = Point(factor * fields["mean"], factor * fields["std"], int(fields["count"]))
        name, width = named(file, key)
        if width:
            families.setdefault(name, {})[width] = point
        else:
            blocks[name] = point
    return Told(ORIGIN, sides[0], {name: curve(points) for name, points in families.items()}, blocks, spread="std")


def curve(points: Mapping[int, Point]) -> Curve:
    row = [points[width] for width in sorted(points)]
    spreads, runs = [p.spread_ms for p in row if p.spread_ms is not None], [p.runs for p in row if p.runs is not None]
    return Curve(tuple(sorted(points)), tuple(p.ms for p in row), tuple(spreads), tuple(runs))


def named(file: Path, key: str) -> tuple[str, int]:
    """The suite's name of what a key stands for, and its width where that is a family's; 0 where it is a block's."""
    if told := BLOCK.fullmatch(key):
        side, c_in, _, c_out, width, kernel, stride, se, hs = told.groups()
        tail = f"i{c_in}_o{c_out}_k{kernel}_s{stride}_r{side}_se{'w4' if se == '1' else '0'}_{('relu', 'hswish')[int(hs)]}"
        return (f"mb_{tail}", int(width)) if width != c_in else (f"separable_{tail}", 0)
    if told := LAYER.fullmatch(key):
        layer, side, c_in, _, c_out = told.groups()
        if layer == "AvgPool2D":
            return f"pool_i{c_in}_r{side}", 0
        if layer == "Conv_2":
            return f"pointwise_i{c_in}_o{c_out}_r{side}_hswish", 0
        kernel, stride = (3, 2) if layer == FIRST else (1, 1)
        return f"conv_i{c_in}_o{c_out}_k{kernel}_s{stride}_r{side}_hswish", 0
    if told := LOGITS.fullmatch(key):
        return f"linear_i{told[1]}_o{told[2]}", 0
    raise BadInput(f"{file} has a key {key!r}, which no latency table of once-for-all has")


def parsed(file: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """The entries of a file that has nothing but keys with three numbers each."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is no latency table of once-for-all, which is text: {error}") from None
    if not lines or len(lines) % (1 + len(FIELDS)):
        raise BadInput(
            f"{file} is cut short or no latency table: {plural(len(lines), 'line')}, where a key "
            f"has {', '.join(FIELDS)} in three more"
        )
    seen = set()
    for at in range(0, len(lines), 1 + len(FIELDS)):
        key = lines[at].removesuffix(":")
        if key == lines[at] or key.startswith(" ") or key in seen:
            raise BadInput(f"{file}, line {at + 1}: {lines[at][:80]!r} is no key, or one that was there before")
        seen.add(key)
        yield key, {name: number(file, at + 1 + i, lines[at + 1 + i], name) for i, name in enumerate(FIELDS)}


def number(file: Path, at: int, line: str, name: str) -> float:
    """The number of a line `  name: number`."""
    told = re.fullmatch(rf"  {name}: ([-+.\w]+)", line)
    try:
        value = float(told[1]) if told else math.nan
    except ValueError:
        value = math.nan
    least = 0.0 if name == "std" else 1e-12
    if not least <= value < math.inf:
        raise BadInput(f"{file}, line {at + 1}: {line[:80]!r} is not '  {name}: ' and a number above 0")
    return value
