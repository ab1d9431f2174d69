"""What all tests share: two threads at most, no run or data of the user's, and the tiny settings of spaces and methods."""

import os
from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, data and history of a test live in its own folder."""
    monkeypatch.setenv("NAS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "history.sqlite"))


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["COLUMNS"] = "200"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables and images beside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data folder is not on this machine")
    return SHARED_DATA
