"""Evaluating many: one function over many tasks, in this process or in several local ones, with one interface."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from nas_suite.disk import of_disk
from nas_suite.errors import Interrupted

T = TypeVar("T")
R = TypeVar("R")
TICK = 0.2  # seconds between looks for a signal
FAILURES = (RuntimeError, MemoryError, ArithmeticError, ValueError)  # of one task, which are not the end of the others


@dataclass(frozen=True)
class Done(Generic[T, R]):
    """A task and what came of it: a result, or why there is none; `refused` is the number of the error with which the disk, and
    not the task, ended it."""

    task: T
    result: R | None
    error: str = ""
    refused: int = 0


def attempted(function: Callable[[T], R], task: T) -> Done[T, R]:
    """The task done in this process; one that fails by itself is no end of the others."""
    try:
        return Done(task, function(task))
    except FAILURES as error:
        disk, why = of_disk(error), f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Done(task, None, why, (disk.errno or 0) if disk else 0)


def unchecked() -> None: ...


def evaluate(
    function: Callable[[T], R], tasks: Iterable[T], workers: int = 1, check: Callable[[], None] = unchecked
) -> Iterator[Done[T, R]]:
    """Each task's result as soon as it is there, in the order of the tasks where there is one worker.

    With several, `function` and tasks are sent to processes: they must be importable and picklable. A process that dies fails
    its task and is replaced. `check` is called all the while; where it raises, the caller stops listening or a signal stops a
    worker, all are asked to stop as a signal does, and waited for.
    """
    if workers == 1:
        for task in tasks:
            yield attempted(function, task)
        return
    with contextlib.closing(Team(function, workers, check)) as team:
        yield from team.work(tasks)


class Team(Generic[T, R]):
    """Processes that each take a task, send back what came of it, and take the next."""

    def __init__(self, function: Callable[[T], R], size: int, check: Callable[[], None]) -> None:
        self.function, self.size, self.check = function, size, check
        self.members: dict[Connection, tuple[SpawnProcess, T]] = {}
        self.idle: list[tuple[Connection, SpawnProcess]] = []

    def hire(self) -> tuple[Connection, SpawnProcess]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, self.function), daemon=True)
        process.start()
        there.close()
        return here, process

    def give(self, task: T) -> None:
        here, process = self.idle.pop() if self.idle else self.hire()
        here.send(task)
        self.members[here] = (process, task)

    def work(self, tasks: Iterable[T]) -> Iterator[Done[T, R]]:
        for task in tasks:
            self.give(task)
            if len(self.members) == self.size:
                yield from self.answers()
        while self.members:
            yield from self.answers()

    def answers(self) -> Iterator[Done[T, R]]:
        """Waits for at least one."""
        while not (there := wait(list(self.members), TICK)):
            self.check()
        for ready in there:
            assert isinstance(ready, Connection)
            process, task = self.members.pop(ready)
            try:
                answer = ready.recv()
            except (EOFError, ConnectionError):
                process.join()
                yield Done(task, None, f"its process died (exit code {process.exitcode}); there may be too little memory")
                continue
            if isinstance(answer, int):
                raise Interrupted(answer)
            self.idle.append((ready, process))
            yield answer

    def close(self) -> None:
        """Asks all to stop, as a signal does, and waits for them."""
        processes = [*(process for process, _ in self.members.values()), *(process for _, process in self.idle)]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def serve(there: Connection, function: Callable[[Any], Any]) -> None:
    """The life of a worker: it ends with its parent, at a signal between tasks, and tells of a signal within one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's, which the parent gets too and passes on
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            task = there.recv()
            try:
                answer: Any = attempted(function, task)
            except Interrupted as stop:
                there.send(stop.number)
                return
            there.send(answer)
