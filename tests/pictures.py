"""Pictures of noise for the tests of data, and what they ask of an error."""

import re
from pathlib import Path

import numpy as np
import pytest

from nas_suite.data import DataSet, Images
from nas_suite.errors import BadInput

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def pictures(n: int, height: int = 8, width: int = 8, channels: int = 3, classes: int = 4) -> Images:
    """Random images, no two alike, with labels 0, 1, 2, … in turn."""
    x = np.random.default_rng(0).integers(0, 256, (n, height, width, channels), np.uint8)
    return Images.of(x, np.arange(n) % classes)


def rows(images: Images) -> set[bytes]:
    """Every image as bytes, plane by plane."""
    return {x.contiguous().numpy().tobytes() for x in images.x}


def refused(said: str, make: DataSet) -> None:
    """`splits` refuses with one line that has these words, those between … in this order."""
    with pytest.raises(BadInput) as caught:
        make.splits()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(".*".join(re.escape(words) for words in said.split(" … ")), message), message


def mapped(name: str) -> bool:
    """Whether a file of this name is mapped into this process."""
    return any(name in line for line in Path("/proc/self/maps").read_text().splitlines())
