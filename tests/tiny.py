"""Settings small enough for contract tests; a space or method that needs none is tested with its defaults."""

from typing import Any

SPACES: dict[str, dict[str, Any]] = {
    "macro": {"width": 0.125, "image_size": 16},
    "mixpath-s1": {"width": 0.1, "m": 2, "kernels": (3, 5), "image_size": 8},
    "mixpath-s2": {"width": 0.1, "m": 2, "kernels": (3, 5), "image_size": 32, "classes": 10},
    "mixpath-s3": {"width": 0.1, "kernels": (3, 5), "image_size": 32, "classes": 10},
    "mixpath-s4": {"width": 0.0625, "image_size": 8},
    "mobilenetv3": {"width": 0.25, "image_size": 16, "classes": 10, "small": True},
    "nasbench101": {"width": 0.0625, "image_size": 8},
    "nasbench201": {"width": 0.5, "cells": 1, "image_size": 8},
    "tfnas": {"width": 0.1, "image_size": 16, "classes": 10, "width_step": 4, "small": True},
}
METHODS: dict[str, dict[str, Any]] = {
    "mixpath": {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 2, "calib_images": 32, "population": 4, "budget": 10},
    "spos": {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 2, "calib_images": 32, "population": 4, "budget": 10},
    "fairnas": {"epochs": 2, "batch_size": 16, "pad": 1, "cutout": 2, "calib_images": 32, "population": 4, "budget": 10},
    "tfnas": {"epochs": 3, "warmup_epochs": 1, "batch_size": 16, "pad": 1, "latency": 1.5},
}
