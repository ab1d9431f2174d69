"""A run is a directory: run.json, log.jsonl, trials.jsonl and checkpoints; every write is atomic or can be cut off."""

import contextlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_suite.disk import ELSEWHERE, PART, alive, as_json, digest, of_disk, sync, write_atomic, write_new, writing
from nas_suite.errors import BadInput, Missing, suggest

RECORD, LOG, TRIALS, ROWS, JOBS, CHECKPOINT = "run.json", "log.jsonl", "trials.jsonl", "rows.jsonl", "jobs.jsonl", "checkpoint-"
KEPT = 2  # checkpoints: the newest and the one before it
WRITTEN = re.compile(
    r"(run|arch|networks|statistics|latency|curves|sizes)\.json|(log|trials|rows|scores|jobs)\.jsonl|checkpoint-\d+|\.training-.*|"
    r"(network|learned|images|embeddings-[0-9a-f]{16})\.safetensors|learned\.json|load\.py|__pycache__|.*\.html|\.lock|\.part-.*|\..*\.part"
)
"""What runs of all kinds write into their folders."""
PATIENCE = 1.0  # seconds; whoever looks at a run's state holds its lock for a moment
STATUSES = ("running", "interrupted", "failed", "done")
NEEDED = {  # of a record, by its kind
    "supernet": (),
    "search": ("supernet", "objectives", "limits"),
    "bilevel": ("table", "measure"),
    "direct": ("objectives", "limits", "design"),
    "retrain": ("arch",),
    "rank": ("bench", "runs"),
    "table": ("bench", "archs", "repeats", "workers"),
    "compare": ("bench", "searchers", "budget", "seeds", "ground"),
    "meta": ("asked", "history"),
    "tune": ("asked", "history", "trials"),
}


def fault(record: Mapping[str, Any]) -> str:
    """What is wrong with a record of a run, in words; nothing where it can be worked with."""
    kind, status, plan = (record.get(key) for key in ("kind", "status", "plan"))
    if not isinstance(kind, str) or kind not in NEEDED:
        return f"kind is {kind!r}; there are: {', '.join(NEEDED)}"
    if status not in STATUSES:
        return f"status is {status!r}; there are: {', '.join(STATUSES)}"
    if not isinstance(record.get("created"), str):
        return "created is no text"
    if not isinstance(plan, dict) or not all(isinstance(plan.get(name), str) for name in ("method", "space", "data")):
        return "plan names no method, space and data"
    if not isinstance(parts := plan.get("settings"), dict) or not all(isinstance(part, dict) for part in parts.values()):
        return "plan has no settings by part"
    lacking = [key for key in NEEDED[kind] if key not in record]
    return f"it has no {lacking[0]}, which a {kind} run needs" if lacking else ""


def recorded(path: Path) -> tuple[dict[str, Any], str]:
    """The record of a run's folder, and what is wrong with it in words; nothing where it can be worked with."""
    try:
        record = json.loads((path / RECORD).read_bytes())
    except FileNotFoundError:
        return {}, f"is not there: {path} is no run"
    except OSError as error:
        return {}, f"cannot be read ({(error.strerror or str(error)).lower()})"
    except (ValueError, RecursionError):
        return {}, "cannot be read (it is no JSON: cut short or damaged)"
    if not isinstance(record, dict) or record.get("schema") != 1:
        return {}, "is not a run record of this version (schema 1)"
    wrong = fault(record)
    return record, f"is not a run record of ours: {wrong}" if wrong else ""


def vacant(path: Path) -> None:
    """BadInput where something is at a path that a new run would take; files that are not whole do not count."""
    with writing(path, elsewhere(path)):
        if path.exists() and (not path.is_dir() or any(not p.name.endswith(PART) for p in path.iterdir())):
            raise taken(path)


def taken(path: Path) -> BadInput:
    """What is said of a path at which something is."""
    hint = f"`nas runs resume {quoted(str(path))}` goes on with it, " if (path / RECORD).exists() else ""
    return BadInput(f"{path} is already there; {hint}--out names another folder")


@dataclass(frozen=True)
class Run:
    """One training, search or retraining on disk. `path` is its directory, `record` what run.json says."""

    path: Path
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @classmethod
    def create(cls, path: Path, record: Mapping[str, Any]) -> "Run":
        """A new run; BadInput where something is there already or nothing can be written.

        Of several processes that ask for one path at a time, one gets it.
        """
        vacant(path)
        with writing(path, elsewhere(path)):
            path.mkdir(parents=True, exist_ok=True)
            if not write_new(path / RECORD, as_json(record)):
                raise taken(path)
        return cls(path, dict(record))

    @classmethod
    def numbered(cls, stem: str, record: Mapping[str, Any]) -> "Run":
        """A new run under `runs_root` with the next free number; a number is never given to two processes."""
        root = runs_root()
        with writing(root / f"{stem}-1", elsewhere(root / stem)):
            root.mkdir(parents=True, exist_ok=True)
            matches = (re.fullmatch(rf"{re.escape(stem)}-(\d+)", p.name) for p in root.glob(f"{stem}-*"))
            number = max((int(m[1]) for m in matches if m), default=0) + 1
            while True:
                try:
                    (root / f"{stem}-{number}").mkdir()
                    break
                except FileExistsError:
                    number += 1
        try:
            return cls.create(root / f"{stem}-{number}", record)
        except BadInput:
            with contextlib.suppress(OSError):
                (root / f"{stem}-{number}").rmdir()  # where nothing could be written the number stays free
            raise

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run; BadInput where there is none or its record cannot be worked with (`fault`)."""
        record, wrong = recorded(path)
        if wrong:
            held = path.resolve().parent == runs_root().resolve() and os.path.exists(path / RECORD)
            remedy = (
                f"restore it, or `nas runs rm {quoted(path.name)}` removes the run" if held else "`nas runs list` shows runs"
            )
            raise BadInput(f"{path / RECORD} {wrong}; {remedy}")
        return cls(path, record)

    def update(self, **fields: Any) -> "Run":
        """The run with these fields of its record changed, on disk too."""
        record = {**self.record, **fields}
        self.put(RECORD, as_json(record))
        return Run(self.path, record)

    def put(self, name: str, data: bytes) -> None:
        """Writes a file of the run, whole or not at all."""
        write_atomic(self.path / name, data, self.instead)

    @property
    def instead(self) -> str:
        """What else there is to do where the run cannot be written."""
        return f"{elsewhere(self.path)}; what was saved before is intact: nas runs resume {handle(self)} goes on with it"

    @contextlib.contextmanager
    def locked(self, patience: float = PATIENCE) -> Iterator[None]:
        """Holds the run for this process; BadInput where another process holds it for longer than `patience` seconds."""
        import fcntl

        with writing(self.path / ".lock", self.instead):
            lock = open(self.path / ".lock", "a+")  # noqa: SIM115
        with lock:
            until = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        said = f"{self.path} is being written by another process; wait for it or stop it"
                        raise BadInput(said) from None
                time.sleep(0.02)
            yield

    def tidy(self) -> None:
        """Removes what processes that were killed left half written. To be called with the run locked."""
        for part in self.path.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True)
        for part in self.path.glob(f".*{PART}"):
            pid = part.name.split(".")[-2]
            if not pid.isdigit() or int(pid) == os.getpid() or not alive(int(pid)):  # a report is written without the lock
                part.unlink(missing_ok=True)

    @property
    def state(self) -> str:
        """Its status; `stopped` where the record says running and no process is at work in it."""
        status = self.record["status"]
        if status != "running":
            return status
        try:
            with self.locked(patience=0.0):
                return "stopped"
        except BadInput:
            return status

    def remove(self) -> None:
        """Deletes the run; BadInput where a process is at work in it."""
        with self.locked(), writing(self.path, "remove it by hand"):
            (self.path / RECORD).unlink()  # first: what a kill leaves of it is no run any more
            shutil.rmtree(self.path)

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Adds one line to a .jsonl file; it is on the disk when this returns."""
        self.extend(name, [line])

    def extend(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines to a .jsonl file; they are on the disk when this returns."""
        with writing(self.path / name, self.instead), open(self.path / name, "a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a .jsonl file; a last line that was cut off by a kill does not count."""
        file = self.path / name
        if not file.exists():
            return []
        return [line for line in map(parsed, file.read_text(errors="replace").split("\n")[:-1]) if line is not None]

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl that tell of an epoch."""
        return [line for line in self.lines(LOG) if isinstance(line.get("epoch"), int)]

    def trials(self) -> list[dict[str, Any]]:
        """The lines of trials.jsonl that tell of a network, evaluated or failed."""
        fit = {"ok": dict, "failed": type(None)}
        lines = [line for line in self.lines(TRIALS) if isinstance(line.get("arch"), str)]
        return [line for line in lines if isinstance(line.get("values"), fit.get(str(line.get("status")), ()))]

    def rewrite(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Replaces a .jsonl file by exactly these lines."""
        self.put(name, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, newest first."""
        return sorted((p for p in self.path.glob(f"{CHECKPOINT}*") if p.name[len(CHECKPOINT) :].isdigit()), reverse=True)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint beside the last ones, then removes all but the newest two.

        The entry `weights` of `state` is a flat dict of tensors and is kept as safetensors; the rest is numbers, strings,
        tensors and containers of them. Nothing that was saved before is touched until the new one is whole.
        """
        import torch
        from safetensors.torch import save_file

        target = self.path / f"{CHECKPOINT}{step:09d}"
        part = self.path / f".part-{step:09d}"
        with writing(target, self.instead):
            try:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                save_file({k: v.detach().contiguous() for k, v in state["weights"].items()}, part / "weights.safetensors")
                with open(part / "state.pt", "wb") as file:  # of our own: torch's says not what the disk refused
                    torch.save({k: v for k, v in state.items() if k != "weights"}, file)
                sums = {name: digest(part / name) for name in ("weights.safetensors", "state.pt")}
                (part / "manifest.json").write_text(json.dumps({"schema": 1, "step": step, "sha256": sums}))
                for written in part.iterdir():
                    with open(written, "rb") as file:
                        os.fsync(file.fileno())
                if target.exists():
                    shutil.rmtree(target)
                os.replace(part, target)
            except Exception as error:
                shutil.rmtree(part, ignore_errors=True)
                raise of_disk(error) or error from error
        sync(self.path)
        for old in self.checkpoints()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that is whole; None where none was ever saved.

        Raises BadInput where there are checkpoints and none is whole.
        """
        faults = []
        for folder in self.checkpoints():
            try:
                return load_checkpoint(folder)
            except BadInput as error:
                faults.append(str(error))
        if faults:
            raise BadInput("; ".join(faults) + f"; start again with another --out, or remove {self.path}")
        return None


def parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]]:
    """Step and state of one checkpoint; BadInput where it is cut short, altered or foreign. Nothing is unpickled freely."""
    import torch
    from safetensors.torch import load_file

    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        for name, sum_ in manifest["sha256"].items():
            if digest(folder / name) != sum_:
                raise BadInput(f"{folder / name} is damaged (its checksum does not fit)")
        state = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
        state["weights"] = load_file(folder / "weights.safetensors")
        return manifest["step"], state
    except BadInput:
        raise
    except Exception as error:  # whatever a damaged or foreign file makes the readers say
        raise BadInput(f"{folder} is no checkpoint of ours or is damaged ({type(error).__name__}: {error})") from None


def runs_root() -> Path:
    """Where runs live: NAS_RUNS, or `runs` in the working directory."""
    return Path(os.environ.get("NAS_RUNS") or "runs").expanduser()


def elsewhere(path: Path) -> str:
    """Where else a run could go that cannot be written at a path, in words."""
    if path.parent != runs_root():
        return ELSEWHERE
    named = os.environ.get("NAS_RUNS")
    return f"set NAS_RUNS ({f'now {named}' if named else 'not set, so runs go to ./runs'}) to another folder, or give --out"


def quoted(word: str) -> str:
    """A name or path as a shell takes it, never for an option."""
    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def handle(run: Run) -> str:
    """How to name a run on a shell's command line: by its name where that finds it, else by its folder."""
    return quoted(run.name if run.path.resolve().parent == runs_root().resolve() else str(run.path))


def run_at(name: str) -> Run:
    """The run of a path or of a name under `runs_root`."""
    for path in (Path(name), runs_root() / name):
        if os.path.exists(path / RECORD):  # False, not an error, for a name that is too long
            return Run.open(path)
    known = [run.name for run in all_runs()]
    raise BadInput(f"no run {name!r} (looked at {name} and under {runs_root()}){suggest(name, known)}")


def all_runs() -> list[Run]:
    """The runs under `runs_root`, oldest first; folders that hold none, and unreadable ones, are passed over."""
    read = ((record.parent, *recorded(record.parent)) for record in runs_root().glob(f"*/{RECORD}"))
    found = [Run(path, record) for path, record, wrong in read if not wrong]
    return sorted(found, key=lambda run: (run.record["created"], run.name))


def unreadable_runs() -> dict[Path, str]:
    """The folders under `runs_root` whose record cannot be worked with, by name, and what is wrong with each."""
    read = {record.parent: recorded(record.parent)[1] for record in sorted(runs_root().glob(f"*/{RECORD}"))}
    return {path: f"{RECORD} {wrong}" for path, wrong in read.items() if wrong}


def doomed(name: str) -> tuple[Run, str]:
    """The run of this path or name, to be removed, and what is wrong with its record.

    BadInput where that cannot be worked with, unless the folder is evidently a run: directly under `runs_root`, with
    nothing in it that no run writes.
    """
    root = runs_root().resolve()
    held = (p for p in (Path(name), runs_root() / name) if p.parent.resolve() == root and os.path.exists(p / RECORD))
    path = next(held, None)
    wrong = recorded(path)[1] if path else ""
    if path is None or not wrong:
        return run_at(name), ""
    foreign = [entry.name for entry in sorted(path.iterdir()) if not WRITTEN.fullmatch(entry.name)]
    if foreign or path.is_symlink() or not (path / RECORD).is_file():
        odd = f"it holds {foreign[0]}, which no run writes" if foreign else "it is no folder of a run's making"
        raise BadInput(f"{path / RECORD} {wrong}, and {odd}: remove {path} by hand if it is to go")
    return Run(path, {}), f"{RECORD} {wrong}"


def newest(kind: str, method: str | None = None, space: str | None = None) -> Run:
    """The newest finished run of a kind that fits; Missing says how to make one."""
    for run in reversed(all_runs()):
        plan = run.record["plan"]
        fits = method in (None, plan["method"]) and space in (None, plan["space"])
        if run.record["kind"] == kind and run.record["status"] == "done" and fits:
            return run
    wanted = f"{kind} run of {method}" if method else f"{kind} run"
    raise Missing(f"no finished {wanted} under {runs_root()}: nas train-supernet {method or 'mixpath'}")
