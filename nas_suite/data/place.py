"""Where data lie on this machine: the data folder, and official files in it or in a folder that was named."""

import os
from dataclasses import dataclass
from pathlib import Path

from nas_suite.errors import Missing


def data_folder() -> Path:
    """The folder of all data: the environment variable NAS_DATA, else the user's data folder as the system has it."""
    if os.environ.get("NAS_DATA"):
        return Path(os.environ["NAS_DATA"]).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("nas_suite", appauthor=False))


@dataclass(frozen=True)
class Official:
    """The files in which a data set is published; `inner` are the folders in which they usually come."""

    name: str
    files: tuple[str, ...]
    inner: tuple[str, ...] = ()

    def places(self, path: Path | None) -> list[Path]:
        """Where they are looked for: in and under `path` if one is named, else in the data folder."""
        if path is not None:
            return [path.expanduser(), *(path.expanduser() / folder for folder in self.inner)]
        own = data_folder() / self.name
        return [own, *(own / folder for folder in self.inner), *(data_folder() / folder for folder in self.inner)]

    def found(self, path: Path | None) -> list[Path]:
        """The files that are there, as they are named or with .gz, of the place that has most of them."""
        best: list[Path] = []
        for place in self.places(path):
            both = [(place / file, place / f"{file}.gz") for file in self.files]
            best = max(best, [next(f for f in pair if f.is_file()) for pair in both if any(f.is_file() for f in pair)], key=len)
        return best

    def where(self, path: Path | None) -> Path:
        """The folder that has them, else the one in which they are looked for first."""
        found = self.found(path)
        return found[0].parent if found else self.places(path)[0]

    def whole(self, path: Path | None) -> bool:
        return len(self.found(path)) == len(self.files)

    def require(self, path: Path | None) -> list[Path]:
        """All files, in order; Missing says where they were looked for and what gets them."""
        found = self.found(path)
        if len(found) == len(self.files):
            return found
        absent = [file for file in self.files if file not in {f.name.removesuffix(".gz") for f in found}]
        lack = f"whole: no {', '.join(absent)}" if found else "on this machine: looked"
        instead = "" if path is None else " and leave data.path out"
        raise Missing(
            f"{self.name} is not {lack} in {self.where(path)}: nas data get {self.name}{instead}, "
            "or put the official files there"
        )
