"""Neural architecture search: MixPath, TF-NAS and TNAS on one set of spaces, one engine and one ranking."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public names and where they live; imported on first use, so that `import nas_suite` costs nothing.
_PUBLIC = {
    "Plan": "nas_suite.plan",
    "SPACES": "nas_suite.spaces",
    "METHODS": "nas_suite.methods",
    "DATA": "nas_suite.data",
    "BadInput": "nas_suite.errors",
    "compose": "nas_suite.plan",
    "load": "nas_suite.pipeline",
    "Request": "nas_suite.pipeline",
    "Table": "nas_suite.tables",
    "LatencyTable": "nas_suite.latency.table",
    "bench": "nas_suite.pipeline",
    "rank_networks": "nas_suite.pipeline",
    "train_supernet": "nas_suite.pipeline",
    "search_supernet": "nas_suite.pipeline",
    "latency_table": "nas_suite.pipeline",
    "derive": "nas_suite.pipeline",
    "front": "nas_suite.pipeline",
    "retrain": "nas_suite.pipeline",
    "resume": "nas_suite.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nas_suite' has no attribute {name!r}; there are: {', '.join(_PUBLIC)}")
