"""Data sets: settings to splits; the test images come from a method of their own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Int64, UInt8

from nas_suite.data.formats import read_cifar, read_mnist
from nas_suite.data.images import Images, Splits, assemble, cut, resized
from nas_suite.data.place import Official
from nas_suite.errors import BadInput

LARGEST = 4096
DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MOMENTS = ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768))

BATCHES = Official(
    "cifar10", (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"), inner=("cifar-10-batches-bin",)
)
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MNIST = Official("mnist", IDX, inner=("MNIST/raw",))
FASHION_MNIST = Official("fashion-mnist", IDX, inner=("FashionMNIST/raw",))


@dataclass(frozen=True)
class DataSet(ABC):
    """Images with labels, by split. Implementations are frozen dataclasses whose fields are the settings.

    - `size`: pixels a side; images are cropped to the centre square and resized. None: as they are.
    - `val_fraction`: the part of the training images, of each class, that becomes validation where the data give
      none; as large a part becomes the test where they give none of that either.
    - `seed`: of those parts and of `limit`; not of training.
    - `limit`: at most so many training images, every class with its share. None: all.
    """

    size: int | None = None
    val_fraction: float = 0.2
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 0.5:
            raise BadInput(f"data.val_fraction = {self.val_fraction} must lie between 0 and 0.5")
        if self.seed < 0:
            raise BadInput(f"data.seed = {self.seed} must be at least 0")
        for name, value in (("size", self.size), ("limit", self.limit)):
            if value is not None and value < 1:
                raise BadInput(f"data.{name} = {value} must be at least 1")
        if self.size is not None and self.size > LARGEST:
            raise BadInput(f"data.size = {self.size} must be at most {LARGEST} pixels a side")

    @abstractmethod
    def splits(self) -> Splits:
        """Training and validation images; Missing where the data are not on this machine, BadInput where damaged."""

    @abstractmethod
    def test(self) -> Images:
        """The test images: for the last word on a network, never for choosing one."""

    def lacks_test(self) -> str:
        """Why there are no test images, and what to do; empty where there are. Nothing is opened for it."""
        return ""

    @abstractmethod
    def where(self) -> str:
        """Where the data are, or are looked for."""

    @abstractmethod
    def available(self) -> bool:
        """Whether they are there."""


def parted(
    data: DataSet, x: UInt8[np.ndarray, "n h w c"], y: Int64[np.ndarray, " n"], classes: tuple[str, ...], parts: int
) -> list[Images]:
    """Training images and `parts` parts cut from them, by the settings `size`, `val_fraction` and `seed`."""
    indices = cut(y, classes, data.val_fraction, parts, data.seed)
    return [Images.of(resized(x[index], data.size), y[index]) for index in indices]


@dataclass(frozen=True)
class Digits(DataSet):
    """scikit-learn's 1,797 handwritten digits, 8 × 8 and gray; 60 % train, 20 % validation, 20 % test.

    `noise` is the standard deviation, as a share of the brightest pixel, of Gaussian noise that is added once to every image,
    the same whatever is asked of them: the digits are so easy that without it all good networks are equal.
    """

    size: int | None = 32
    noise: Annotated[float, Ge(0), Le(10)] = 0.0

    def splits(self) -> Splits:
        train, val, _ = self.parts()
        return assemble("digits", DIGITS, train, val, self.limit, self.seed)

    def test(self) -> Images:
        return self.parts()[2]

    def where(self) -> str:
        return "scikit-learn"

    def available(self) -> bool:
        return True

    def parts(self) -> list[Images]:
        """Train, validation, test."""
        from sklearn.datasets import load_digits

        x, y = (np.asarray(array) for array in load_digits(return_X_y=True))
        shades = x * (255 / 16)
        if self.noise:
            shades = shades + 255 * self.noise * np.random.default_rng(0).standard_normal(x.shape)
        pixels = np.rint(shades.clip(0, 255)).astype(np.uint8).reshape(-1, 8, 8, 1)
        return parted(self, pixels, y.astype(np.int64), DIGITS, 2)


@dataclass(frozen=True)
class Cifar10(DataSet):
    """CIFAR-10 (Krizhevsky 2009), the official binary batches: 45,000 train, 5,000 validation, 10,000 test.

    `path`: the folder of the files or the one around it; None: the data folder. The moments are the usual constants
    of the 50,000 training images (as in DARTS).
    """

    val_fraction: float = 0.1
    path: Path | None = None

    def splits(self) -> Splits:
        train, val = parted(self, *read_cifar(BATCHES.require(self.path)[:5]), CIFAR10, 1)
        return assemble("cifar10", CIFAR10, train, val, self.limit, self.seed, CIFAR10_MOMENTS)

    def test(self) -> Images:
        x, y = read_cifar(BATCHES.require(self.path)[5:])
        return Images.of(resized(x, self.size), y)

    def where(self) -> str:
        return str(BATCHES.where(self.path))

    def available(self) -> bool:
        return BATCHES.whole(self.path)


@dataclass(frozen=True)
class Mnist(DataSet):
    """MNIST (LeCun et al. 1998), idx files, gzipped or not: 54,000 train, 6,000 validation, 10,000 test, 28 px, gray.

    `path`: the folder of the files; None: the data folder.
    """

    val_fraction: float = 0.1
    path: Path | None = None

    def splits(self) -> Splits:
        train, val = parted(self, *read_mnist(*MNIST.require(self.path)[:2]), DIGITS, 1)
        return assemble("mnist", DIGITS, train, val, self.limit, self.seed)

    def test(self) -> Images:
        x, y = read_mnist(*MNIST.require(self.path)[2:])
        return Images.of(resized(x, self.size), y)

    def where(self) -> str:
        return str(MNIST.where(self.path))

    def available(self) -> bool:
        return MNIST.whole(self.path)


@dataclass(frozen=True)
class FashionMnist(DataSet):
    """Fashion-MNIST (Xiao et al. 2017), in MNIST's format and sizes.

    `path`: the folder of the files; None: the data folder.
    """

    val_fraction: float = 0.1
    path: Path | None = None

    def splits(self) -> Splits:
        train, val = parted(self, *read_mnist(*FASHION_MNIST.require(self.path)[:2]), FASHION, 1)
        return assemble("fashion-mnist", FASHION, train, val, self.limit, self.seed)

    def test(self) -> Images:
        x, y = read_mnist(*FASHION_MNIST.require(self.path)[2:])
        return Images.of(resized(x, self.size), y)

    def where(self) -> str:
        return str(FASHION_MNIST.where(self.path))

    def available(self) -> bool:
        return FASHION_MNIST.whole(self.path)
