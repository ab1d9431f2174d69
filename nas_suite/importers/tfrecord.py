"""TFRecord files and the protobuf messages in them, read by hand: framing, checksums, wire format."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from nas_suite.errors import BadInput
from nas_suite.importers import Progress

HEAD = struct.Struct("<QI")
"""Length of the data, and the masked CRC of these eight bytes."""

LARGEST = 1 << 20
"""Bytes of a record beyond which a file is taken for something else."""

EVERY = 4096
"""Records between two calls of a progress."""

VARINT, I64, LEN, I32 = 0, 1, 2, 5
"""Protobuf's wire types; 3 and 4, groups, are not used any more."""


def records(path: Path, progress: Progress) -> Iterator[tuple[int, bytes]]:
    """Where each record of a file begins, in bytes, and its data; BadInput where the file is cut, damaged or another kind."""
    try:
        with open(path, "rb") as file:
            at, size, number = 0, os.fstat(file.fileno()).st_size, 0
            while head := file.read(HEAD.size):
                number += 1
                where = f"record {number:,} at byte {at:,}"
                if len(head) < HEAD.size:
                    raise damaged(path, f"the file ends within {where}")
                length, check = HEAD.unpack(head)
                if masked(head[:8]) != check:
                    fault = f"the checksum of the length of {where} does not fit" if at else "it is no TFRecord file"
                    raise damaged(path, fault)
                if length > LARGEST:
                    raise damaged(path, f"{where} has {length:,} bytes, where some hundred are usual")
                body = file.read(length + 4)
                if len(body) < length + 4:
                    raise damaged(path, f"the file ends within {where}")
                data = body[:-4]
                if masked(data) != int.from_bytes(body[-4:], "little"):
                    raise damaged(path, f"the checksum of {where} does not fit")
                yield at, data
                at += HEAD.size + length + 4
                if number % EVERY == 0 or at == size:
                    progress(at, size)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}); name the file that was downloaded") from None


def damaged(path: Path, fault: str) -> BadInput:
    return BadInput(f"{path} is damaged or not what was published: {fault}; get it again")


def masked(data: bytes) -> int:
    """The CRC-32C of some bytes as TFRecord files keep it: turned right by 15 bits, a constant added."""
    crc = google_crc32c.value(data)
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


def fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, Any]]:
    """Tag (field number × 8 + wire type) and value of each field of a message: a varint's number, the 8 or 4 bytes of a fixed
    one, where the bytes of one with a length begin and end. BadInput says at which byte the message is none."""
    end = len(data) if end is None else end
    while at < end:
        begin, tag = at, data[at]
        tag, at = (tag, at + 1) if tag < 128 else varint(data, at, end)
        kind = tag & 7
        if kind == I64:
            value, at = data[at : at + 8], at + 8
        elif kind == LEN:
            length, at = varint(data, at, end)
            value, at = (at, at + length), at + length
        elif kind == VARINT:
            value, at = varint(data, at, end)
        elif kind == I32:
            value, at = data[at : at + 4], at + 4
        else:
            raise BadInput(f"its metrics have wire type {kind} at byte {begin}, which is none")
        if tag < 8 or at > end:
            raise BadInput(f"its metrics have a field at byte {begin} that {'has no number' if tag < 8 else 'is cut short'}")
        yield tag, value


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = 0
    for shift, byte in enumerate(data[at : min(end, at + 10)]):
        number |= (byte & 127) << 7 * shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, at + shift + 1
    raise BadInput(f"its metrics have a number at byte {at} that does not end")
