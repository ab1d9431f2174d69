"""Data: sets of images as uint8 tensors, their splits, and batched augmentation; listing them imports no torch."""

import importlib
from typing import TYPE_CHECKING, Any

from nas_suite.registry import Registry

if TYPE_CHECKING:
    from nas_suite.data.batches import Augment, Batches, Clean, clean
    from nas_suite.data.download import get
    from nas_suite.data.folder import Folder
    from nas_suite.data.images import Images, Splits
    from nas_suite.data.lists import Lists
    from nas_suite.data.npz import Npz
    from nas_suite.data.sets import Cifar10, DataSet, Digits, FashionMnist, Mnist
    from nas_suite.data.store import data_folder

DATA = Registry(
    "data",
    {
        "cifar10": "nas_suite.data.sets:Cifar10",
        "digits": "nas_suite.data.sets:Digits",
        "fashion-mnist": "nas_suite.data.sets:FashionMnist",
        "folder": "nas_suite.data.folder:Folder",
        "lists": "nas_suite.data.lists:Lists",
        "mnist": "nas_suite.data.sets:Mnist",
        "npz": "nas_suite.data.npz:Npz",
    },
    "nas_suite.data",
)

_HOMES = {
    "batches": ("Augment", "Batches", "Clean", "clean"),
    "download": ("get",),
    "folder": ("Folder",),
    "images": ("Images", "Splits"),
    "lists": ("Lists",),
    "npz": ("Npz",),
    "sets": ("Cifar10", "DataSet", "Digits", "FashionMnist", "Mnist"),
    "store": ("data_folder",),
}

__all__ = [
    "DATA",
    "Augment",
    "Batches",
    "Cifar10",
    "Clean",
    "DataSet",
    "Digits",
    "FashionMnist",
    "Folder",
    "Images",
    "Lists",
    "Mnist",
    "Npz",
    "Splits",
    "clean",
    "data_folder",
    "get",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
