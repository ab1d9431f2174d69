"""Feature extractors and banks: what they tell apart, what they refuse, weights from a server on this machine."""

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_suite.data import DATA, download
from nas_suite.data.download import Archive, Source, get
from nas_suite.data.images import Images
from nas_suite.encoders.banks import CODE, CODES, MOST, USED, Bank, bank, coded
from nas_suite.encoders.features import RandomConvolutions, extractor, pixels
from nas_suite.encoders.resnet import ResNet18, Trunk
from nas_suite.errors import BadInput, Missing


@pytest.fixture(scope="module")
def digits() -> Bank:
    splits = DATA.build("digits", {}).splits()
    return bank(splits.train, splits.mean, splits.std, RandomConvolutions(), len(splits.classes))


def test_random_convolutions_tell_digits_apart(digits: Bank) -> None:
    """Nearest mean of a class, with each class's second half of images held out: far above a chance of 0.1."""
    means = np.stack([rows[: len(rows) // 2].mean(0) for rows in digits.classes])
    right = total = 0
    for at, rows in enumerate(digits.classes):
        held = rows[len(rows) // 2 :]
        right += int((np.linalg.norm(held[:, None] - means, axis=2).argmin(1) == at).sum())
        total += len(held)
    assert right / total > 0.8


def test_a_bank_holds_up_to_64_images_of_each_class(digits: Bank) -> None:
    assert digits.extractor == "conv-1"
    assert len(digits.classes) == 10
    assert all(rows.shape == (MOST, 512) for rows in digits.classes)
    assert all((rows == rows.astype(np.float16)).all() for rows in digits.classes), "as a history keeps them"
    few = Images.of(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8), np.array([0, 1, 0, 1, 1]))
    small = bank(few, (0.5,), (0.2,), RandomConvolutions(), 2)
    assert [len(rows) for rows in small.classes] == [2, 3]
    assert [len(rows) for rows in small.draw((0,), 2)] == [2, 2]
    with pytest.raises(BadInput, match="class 2 has no training image"):
        bank(few, (0.5,), (0.2,), RandomConvolutions(), 3)


def test_what_random_convolutions_compute_never_changes_under_one_id() -> None:
    x = torch.arange(3 * 32 * 32, dtype=torch.float32).reshape(1, 3, 32, 32) % 97 / 97 - 0.5
    found = RandomConvolutions()(x)[0]
    assert found.shape == (512,)
    frozen = torch.tensor([0.13611, 0.07787, 0.10431, 0.05565, 0.01806, 0.05737])  # when version 1 was made
    assert torch.allclose(found[[0, 100, 200, 300, 400, 511]], frozen, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_size_and_channels_are_seen(channels: int) -> None:
    x = torch.randint(0, 256, (2, channels, 17, 45), dtype=torch.uint8)
    seen = pixels(x, (0.4,) * channels, (0.3,) * channels)
    assert seen.shape == (2, 3, 32, 32)
    assert RandomConvolutions()(seen).isfinite().all()


def test_a_draw_is_a_function_of_its_seed(digits: Bank) -> None:
    one, same, other = digits.draw((1, 2)), digits.draw((1, 2)), digits.draw((1, 3))
    assert all(len(rows) == USED for rows in one)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


def test_a_class_has_one_code_in_every_data_set() -> None:
    one, other = coded(("cat", "dog")), coded(("dog", "ship"))
    assert one.extractor == CODES
    assert np.array_equal(one.classes[1], other.classes[0])
    assert one.classes[0].shape == (USED, CODE)
    means = np.stack([rows.mean(0) for rows in (*one.classes, other.classes[1])])
    likeness = np.corrcoef(means)
    assert np.abs(likeness[~np.eye(3, dtype=bool)]).max() < 0.2
    assert np.corrcoef(one.classes[0][0], one.classes[0][1])[0, 1] == pytest.approx(0.8, abs=0.1)  # 1 / (1 + 0.5²)


def test_an_unknown_extractor_is_answered_with_the_near_word() -> None:
    with pytest.raises(BadInput, match="did you mean 'conv'"):
        extractor("convs")


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Trunk]]:
    """A file of random weights, as torchvision writes it, and a server that has it."""
    torch.manual_seed(3)
    trunk = Trunk()
    buffer = io.BytesIO()
    torch.save({**trunk.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, buffer)
    content = buffer.getvalue()
    archive = Archive("resnet18-f37072fd.pth", len(content), hashlib.sha256(content).hexdigest())

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setitem(download.WEIGHTS, "resnet18", Source(url, (archive,)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield url, trunk
        server.shutdown()
        thread.join()


def test_resnet18_is_downloaded_on_request_and_checked(weights: tuple[str, Trunk]) -> None:
    with pytest.raises(Missing, match="nas data get resnet18"):
        extractor("resnet18")
    folder = get("resnet18", wait=0.0)
    network = extractor("resnet18")
    assert network.id == "resnet18-imagenet1k_v1"
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(x), weights[1].eval()(x))
    file = folder / "resnet18-f37072fd.pth"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="has the sha256"):
        extractor("resnet18")


def test_weights_that_are_none_are_refused_and_nothing_in_them_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (ran,))  # type: ignore[return-value]

    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    file = tmp_path / "resnet18-f37072fd.pth"
    file.write_bytes(buffer.getvalue())
    archive = Archive(file.name, file.stat().st_size, hashlib.sha256(buffer.getvalue()).hexdigest())
    monkeypatch.setitem(download.WEIGHTS, "resnet18", Source("http://127.0.0.1:9", (archive,)))
    with pytest.raises(BadInput, match="does not hold resnet18's weights"):
        ResNet18.load(file)
    assert not ran.exists()


def test_resnet18_has_the_published_parameters() -> None:
    """11,689,512 with the classifier of 1,000 classes (torchvision's documentation of resnet18)."""
    assert sum(p.numel() for p in Trunk().parameters()) + 512 * 1000 + 1000 == 11_689_512
