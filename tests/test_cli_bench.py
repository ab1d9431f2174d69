"""`nas bench`: listed, looked into, imported, asked, verified, removed, downloaded from a server on this machine."""

import hashlib
import http.server
import itertools
import lzma
import re
import shlex
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Said, nas
from test_ranking import toy

from nas_suite import importers, tables
from nas_suite.data.download import Attempts
from nas_suite.edgecells import numbered
from nas_suite.errors import Missing
from nas_suite.importers import Original
from nas_suite.pipeline import benches
from nas_suite.space import Arch
from nas_suite.tables import Column, Draft, accuracy

DIGITS = [f"{a}{b}{c}{d}{e}{f}{g}{h}" for a, b, c, d, e, f, g, h in itertools.product("012", repeat=8)]


def macro_csv(rows: int = 6561) -> str:
    """A file of NAS-Bench-Macro's format with made-up accuracies."""
    lines = ["arch,params,flops,mean_acc,std,acc0,acc1,acc2"]
    for text in DIGITS[:rows]:
        accuracy = 80 + 0.5 * sum(map(int, text))
        lines.append(f"{text},1000,2000,{accuracy},0.0,{accuracy},{accuracy},{accuracy}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nas_bench_macro.csv"
    path.write_text(macro_csv())
    return path


def test_lists_what_is_there_and_what_could_be() -> None:
    toy()
    found = {b["name"]: b for b in nas("bench", "list", "--json").data}
    assert found["toy"]["present"]
    assert found["toy"]["rows"] == 34
    assert not found["macro"]["present"]
    said = nas("bench", "list").out
    assert "toy" in said
    assert "macro" in said


def test_a_damaged_table_is_listed_with_its_fault() -> None:
    (toy().path / "manifest.json").write_text("{")
    found = {b["name"]: b for b in nas("bench", "list", "--json").data}
    assert found["toy"]["rows"] is None
    assert "damaged" in found["toy"]["about"]
    assert re.search(r"^toy +damaged", nas("bench", "list").out, re.MULTILINE)


def test_info_tells_columns_and_the_metric_that_is_meant() -> None:
    toy()
    data = nas("bench", "info", "toy", "--json").data
    assert data["metric"] == "digits/val@9"
    assert {c["name"]: c["repeats"] for c in data["columns"]} == {
        "digits/val@9": 3, "digits/test@9": 3, "letters/val@9": 3, "energy": 1,
    }  # fmt: skip
    assert "mixpath-s4" in nas("bench", "info", "toy").out


def test_query_takes_any_spelling() -> None:
    table = toy()
    first, other = (nas("bench", "query", "toy", "--arch", text, "--json").data for text in ("31P", "P.13"))
    assert first == other
    assert first["arch"] == "31P"
    assert first["values"]["digits/val@9"] == pytest.approx(table.values("digits/val@9")[first["row"]].tolist())
    assert nas("bench", "query", "toy", "--arch", "7").code == 2


def test_verify_and_rm() -> None:
    table = toy()
    assert nas("bench", "verify", "toy").code == 0
    data = bytearray((table.path / "archs.npy").read_bytes())
    data[-1] ^= 1
    (table.path / "archs.npy").write_bytes(data)
    said = nas("bench", "verify", "toy")
    assert said.code == 2
    assert "archs.npy" in said.error
    assert nas("bench", "rm", "toy", answer="n\n").code == 2
    assert "toy" in tables.there()
    assert nas("bench", "rm", "toy", answer="y\n").code == 0
    assert "toy" not in tables.there()
    assert nas("bench", "rm", "toy", "--yes").code == 2


def test_import_makes_a_table_that_can_be_ranked(file: Path) -> None:
    said = nas("bench", "import", "macro", file, "--json")
    assert said.data["rows"] == 6561
    ranked = nas("rank", "--bench", "macro", "--sample", 200, "--json").data
    assert (ranked["n"], ranked["of"], ranked["metric"]) == (200, 6561, "cifar10/test@50")


def test_what_is_not_whole_needs_partial_and_says_so_ever_after(file: Path) -> None:
    file.write_text(macro_csv(300))
    said = nas("bench", "import", "macro", file)
    assert said.code == 2
    assert "--partial" in said.error
    assert "macro" not in tables.there()
    assert nas("bench", "import", "macro", file, "--partial").code == 0
    assert ", partial" in nas("rank", "--bench", "macro").out


def pasted(said: Said) -> list[Said]:
    """What the `next:` lines of a command answer when they are pasted."""
    lines = [line.removeprefix("next: ") for line in said.err.splitlines() if line.startswith("next: ")]
    assert said.code == 0, said.err
    assert len(lines) == 1, said.err
    assert lines[0].startswith("nas ")
    return [nas(*shlex.split(line)[1:]) for line in lines]


def hardware(folder: Path, none: Arch | None = None) -> Path:
    """An npz file of HW-NAS-Bench's numbers, made up, of all cells; the device cannot run `none`."""
    values = np.random.default_rng(0).uniform(0.1, 9, (1, 15_625, 1))
    if none is not None:
        values[0, numbered().index(none)] = -1
    np.savez(folder / "hw.npz", values=values, datasets=np.array(["cifar10"]), metrics=np.array(["raspi4_latency"]))
    return folder / "hw.npz"


def test_what_else_was_measured_of_a_benchmarks_networks_is_told_beside_it(tmp_path: Path) -> None:
    cells = np.array([(3, 3, 3, 1, 3, 3), (0, 0, 0, 0, 0, 0), (1, 2, 3, 4, 0, 1)])
    columns = [(accuracy("cifar10", "val", 200), np.array([0.9, 0.1, 0.5])), (Column("train_time", "s"), np.array([2e6, 2, 3]))]
    tables.write(Draft("nb201", "nasbench201", cells, columns))
    alone = nas("bench", "query", "nb201", "--arch", "333133", "--json").data
    assert alone["beside"] == nas("bench", "info", "nb201", "--json").data["beside"] == {}
    assert "beside" not in nas("bench", "info", "nb201").out
    file = hardware(tmp_path, none=(0, 0, 0, 0, 0, 0))
    assert nas("bench", "import", "hw-nas-bench", file).code == 0
    data = nas("bench", "query", "nb201", "--arch", "333133", "--json").data
    assert {key: data[key] for key in ("values", "row", "arch")} == {key: alone[key] for key in ("values", "row", "arch")}
    known = np.load(file)["values"][0, numbered().index((3, 3, 3, 1, 3, 3)), 0]
    wanted = {"values": {"cifar10/raspi4_latency": pytest.approx(known)}, "units": {"cifar10/raspi4_latency": "ms"}}
    assert {key: data["beside"]["hw-nas-bench"][key] for key in wanted} == wanted
    said = nas("bench", "query", "nb201", "--arch", "333133").out.splitlines()
    assert said[1:] == [
        "cifar10/val@200  0.9", "train_time       2000000 s", "",
        "hw-nas-bench, of the same network", f"cifar10/raspi4_latency  {known:.6g} ms",
    ]  # fmt: skip
    assert nas("bench", "query", "nb201", "--arch", "000000").out.splitlines()[-1] == "cifar10/raspi4_latency  –"
    said = nas("bench", "info", "nb201")
    assert "hw-nas-bench measured the same networks: 1 column, such as cifar10/raspi4_latency" in said.out
    assert nas("bench", "query", "hw-nas-bench", "--arch", "333133", "--json").data["beside"] == {}
    (tables.tables_folder() / "hw-nas-bench" / "archs.npy").write_bytes(b"")
    for words in (("query", "nb201", "--arch", "333133"), ("info", "nb201")):
        said = nas("bench", *words, "--json")
        assert (said.code, said.data["beside"]) == (0, {})
        assert "archs.npy has 0 bytes" in said.data["damaged"]["hw-nas-bench"]
        assert said.err.startswith("hw-nas-bench is left out: ")


def test_a_table_without_accuracies_asks_for_a_column(tmp_path: Path) -> None:
    assert nas("bench", "import", "hw-nas-bench", hardware(tmp_path)).code == 0
    said = nas("rank", "--bench", "hw-nas-bench")
    assert said.code == 2
    message = "table hw-nas-bench holds no accuracies: name the column that is meant; there are: cifar10/raspi4_latency"
    assert said.error == message


def test_the_next_line_of_an_import_can_be_pasted(file: Path, tmp_path: Path) -> None:
    said = nas("bench", "import", "macro", file)
    assert "macro is on this machine now: 6,561 networks" in said.out
    assert "next: nas rank --bench macro\n" in said.err
    assert [found.code for found in pasted(said)] == [0]
    said = nas("bench", "import", "hw-nas-bench", hardware(tmp_path))
    assert "next: nas rank --bench hw-nas-bench --metric cifar10/raspi4_latency\n" in said.err
    assert [found.code for found in pasted(said)] == [0]


def test_a_table_that_is_too_small_says_so_and_what_to_do_next(file: Path) -> None:
    file.write_text(macro_csv(1))
    said = nas("bench", "import", "macro", file, "--partial")
    assert "1 network," in said.out
    assert "not to be ranked yet: macro has 1 network, 1 of them distinct, with a cifar10/test@50" in said.err
    assert [found.code for found in pasted(said)] == [0]
    assert "nas rank" not in said.err


def test_the_next_line_of_what_was_downloaded_can_be_pasted(served: Original) -> None:
    assert [found.code for found in pasted(nas("bench", "get", "macro", "--yes"))] == [0]


@pytest.mark.parametrize("words", [("import", "s4-digits", "x"), ("get", "s4-digits")])
def test_what_comes_with_the_package_needs_neither_get_nor_import(words: tuple[str, ...]) -> None:
    said = nas("bench", *words)
    assert said.code == 2
    assert said.error == (
        "s4-digits comes with the package and needs neither get nor import: nas bench info s4-digits shows it"
    )
    toy()
    assert "toy was made on this machine" in nas("bench", words[0], "toy", *words[2:]).error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "macro", "nowhere.csv"), "there is no nowhere.csv"),
        (("import", "makro", "x"), "unknown benchmark 'makro'; did you mean 'macro'?"),
        (("info", "toi"), "unknown benchmark 'toi'"),
        (("get", "makro"), "unknown benchmark 'makro'"),
    ],
)
def test_bad_words_are_refused_in_one_line(words: tuple[str, ...], message: str) -> None:
    said = nas("bench", *words)
    assert said.code == 2
    assert message in said.error


@pytest.mark.parametrize(
    ("name", "whence"),
    [
        ("macro", "nas-bench-macro_cifar10.json from https://github.com/xiusu/NAS-Bench-Macro"),
        ("hw-nas-bench", "HW-NAS-Bench-v1_0.pickle from https://github.com/GATECH-EIC/HW-NAS-Bench"),
    ],
)
def test_a_benchmark_that_cannot_be_downloaded_says_what_its_makers_have(name: str, whence: str) -> None:
    for words in ((), ("--yes",), ("--file", "other.csv")):
        said = nas("bench", "get", name, *words)
        assert said.code == 3
        assert said.error == f"{name} cannot be downloaded by itself: bring {whence}, then: nas bench import {name} FILE"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Original]:
    """NAS-Bench-Macro's file on a server of this machine."""
    root = tmp_path / "server"
    root.mkdir()
    content = lzma.compress(macro_csv().encode())
    (root / "nas_bench_macro.csv.xz").write_bytes(content)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Quiet(*args, directory=str(root)))  # type: ignore[misc]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/nas_bench_macro.csv.xz"
    original = Original("nas_bench_macro.csv.xz", url, hashlib.sha256(content).hexdigest(), len(content))
    offer(monkeypatch, original)
    yield original
    server.shutdown()


def offer(monkeypatch: pytest.MonkeyPatch, original: Original) -> None:
    monkeypatch.setitem(importers.PUBLISHED, "macro", replace(importers.PUBLISHED["macro"], files=(original,)))


@pytest.mark.parametrize("told", [True, False])
def test_get_asks_downloads_checks_imports_and_cleans_up(served: Original, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    offer(monkeypatch, served if told else replace(served, bytes=0))
    said = nas("bench", "get", "macro", answer="n\n")
    assert said.code == 2
    assert "MB to download" in said.err
    said = nas("bench", "get", "macro", "--yes", "--json")
    assert said.data["rows"] == 6561
    assert not list(tables.tables_folder().glob(".official*"))
    assert nas("bench", "get", "macro", "--yes").code == 2


def test_get_brings_the_file_that_is_named_from_the_mirror_that_is_named(
    served: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = served.url.rpartition("/")[0]
    offer(monkeypatch, replace(served, url=f"http://127.0.0.1:9/{served.file}", bytes=0))
    said = nas("bench", "get", "macro", "--file", "macro.csv")
    assert "macro has no file 'macro.csv' to download" in said.error
    assert nas("bench", "get", "macro", "--file", served.file, "--mirror", folder, "--yes").code == 0


def test_a_download_with_a_wrong_sum_is_refused_and_says_what_to_bring(
    served: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, replace(served, sha256="0" * 64))
    said = nas("bench", "get", "macro", "--yes")
    assert said.code == 3
    assert "has the sha256" in said.error
    assert "nas bench import macro FILE" in said.error
    assert "macro" not in tables.there()


@pytest.mark.parametrize("size", [1000, 0])
def test_without_a_network_it_says_which_file_to_bring(served: Original, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    offered = f"http://127.0.0.1:9/{served.file}"
    offer(monkeypatch, replace(served, url=offered, bytes=size))
    with pytest.raises(Missing, match=rf"; (or )?bring {re.escape(offered)}, then: nas bench import macro FILE"):
        benches.get(benches.download("macro"), attempts=Attempts(1, 0.0))
