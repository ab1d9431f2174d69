"""Published file formats into arrays: CIFAR-10's binary batches and MNIST's idx files."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from nas_suite.data.images import check_labels
from nas_suite.errors import BadInput
from nas_suite.words import plural

RECORD = 1 + 3 * 32 * 32
"""Bytes of one CIFAR-10 image: its label, then 32 × 32 red, green and blue values."""


def read_cifar(files: Sequence[Path]) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int64[np.ndarray, " n"]]:
    """Images and labels 0 … 9 of binary batches, in order; BadInput unless all are equally many whole records."""
    records = []
    for file in files:
        data = np.fromfile(file, np.uint8)
        whole = records[0].size if records else max(RECORD, len(data) // RECORD * RECORD)
        if len(data) != whole:
            raise BadInput(
                f"{file} has {len(data):,} bytes, not {whole:,} (the official one 30,730,000): it is cut short or no "
                f"CIFAR-10 binary batch; remove it and get it again"
            )
        records.append(data.reshape(-1, RECORD))
        check_labels(str(file), records[-1][:, 0], len(records[-1]), 10)
    every = np.concatenate(records)
    planes = every[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), every[:, 0].astype(np.int64)


def read_idx(file: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """An array of bytes of an idx file, gzipped or not; BadInput where it is no such file or cut short."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{file} is damaged ({str(error).rstrip('.')}): remove it and get it again") from None
    magic, header = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    if data[:4] != magic or len(data) < header:
        raise BadInput(f"{file} starts with {data[:4].hex() or 'nothing'}, not with {magic.hex()}: it is no such idx file")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, 4))
    if len(data) != header + math.prod(shape):
        raise BadInput(
            f"{file} has {len(data):,} bytes, not {header + math.prod(shape):,} as its header says (shape {shape}): "
            "it is cut short or damaged; remove it and get it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def read_mnist(images: Path, labels: Path) -> tuple[UInt8[np.ndarray, "n h w 1"], Int64[np.ndarray, " n"]]:
    """Images and labels 0 … 9 of a pair of idx files."""
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise BadInput(
            f"{images} holds {plural(len(x), 'image')} and {labels} {plural(len(y), 'label')}: they do not belong together"
        )
    check_labels(str(labels), y, len(x), 10)
    return x[..., None], y.astype(np.int64)
