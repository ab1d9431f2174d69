"""Batches: an order that can be entered anywhere, and augmentation of every image by itself."""

from collections import Counter
from typing import Any

import pytest
import torch
from pictures import MEAN, STD, pictures

from nas_suite.data import Augment, Batches, Images, clean
from nas_suite.data import batches as batches_module
from nas_suite.errors import BadInput


def augmented(augment: Augment, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    mean, std = (0.0,) * x.shape[1], (1 / 255,) * x.shape[1]
    return augment(x, torch.Generator().manual_seed(seed), mean, std)


def test_nothing_is_augmented_where_nothing_is_set() -> None:
    images = pictures(5, 8, 6)
    x = Augment(0, False, 0)(images.x, torch.Generator(), MEAN, STD)
    expected = (images.x / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(x, expected, atol=1e-6)
    assert torch.equal(x, next(clean(images, 5, MEAN, STD))[0])


def test_every_image_gets_its_own_crop_of_the_padded_image() -> None:
    one = pictures(1, 8, 6)
    out = augmented(Augment(2, False, 0), one.x.expand(200, -1, -1, -1))
    padded = torch.nn.functional.pad(one.x, (2, 2, 2, 2))[0]
    crops = {padded[:, y : y + 8, x : x + 6].contiguous().numpy().tobytes() for y in range(5) for x in range(5)}
    seen = Counter(image.round().byte().contiguous().numpy().tobytes() for image in out)
    assert seen.keys() <= crops
    assert len(seen) == 25
    assert max(seen.values()) < 30


def test_padding_is_black_before_normalising() -> None:
    out = Augment(3, False, 0)(torch.full((50, 3, 4, 4), 255, dtype=torch.uint8), torch.Generator(), MEAN, STD)
    values = {round(v, 4) for v in out[:, 0].unique().tolist()}
    assert values == {round((1 - 0.5) / 0.2, 4), round(-0.5 / 0.2, 4)}


def test_about_half_of_the_images_are_flipped() -> None:
    one = pictures(1, 4, 6)
    out = augmented(Augment(0, True, 0), one.x.expand(400, -1, -1, -1)).round()
    same, turned = (out == one.x).all((1, 2, 3)), (out == one.x.flip(3)).all((1, 2, 3))
    assert bool((same ^ turned).all())
    assert 150 < int(turned.sum()) < 250


def test_cutout_is_one_clipped_square_an_image_of_exactly_zero() -> None:
    white = torch.full((2000, 1, 10, 12), 200, dtype=torch.uint8)
    out = Augment(0, False, 4)(white, torch.Generator(), (0.1,), (0.3,))[:, 0]
    hidden = out == 0
    assert len(set(out[~hidden].tolist())) == 1
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), heights * widths), "a rectangle"
    assert heights.unique().tolist() == widths.unique().tolist() == [2, 3, 4]
    corner = hidden[:, 0, 0].float().mean().item()
    centre = hidden[:, 5, 6].float().mean().item()
    assert corner == pytest.approx(9 / 120, abs=0.02)
    assert centre == pytest.approx(16 / 120, abs=0.03)
    assert not bool((Augment(0, False, 0)(white, torch.Generator(), (0.1,), (0.3,)) == 0).any())


def test_a_square_that_could_hide_a_whole_image_is_half_its_side() -> None:
    white = torch.full((200, 1, 6, 6), 255, dtype=torch.uint8)
    large, half = (augmented(Augment(0, False, cutout), white) for cutout in (6, 3))
    assert torch.equal(large, half)
    assert (large != 0).flatten(1).any(1).all()
    assert not torch.equal(augmented(Augment(0, False, 5), white), half)


def test_augmentation_is_a_pure_function_in_the_type_and_layout_asked() -> None:
    x = pictures(16, 24, 24).x
    one, two = augmented(Augment(), x, 5), augmented(Augment(), x, 5)
    assert torch.equal(one, two)
    assert not torch.equal(one, augmented(Augment(), x, 6))
    assert one.is_contiguous(memory_format=torch.channels_last)
    contiguous = Augment()(x, torch.Generator().manual_seed(5), (0.0,) * 3, (1 / 255,) * 3, torch.bfloat16, channels_last=False)
    assert contiguous.is_contiguous()
    assert contiguous.dtype == torch.bfloat16
    assert torch.equal(contiguous, one.bfloat16())
    assert torch.equal(augmented(Augment(), x.contiguous(), 5), one), "the layout of the input does not matter"


def test_how_many_images_are_worked_on_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures(7, 12, 10).x
    at_once = augmented(Augment(2, True, 5), x)
    for images in (1, 3):
        monkeypatch.setattr(batches_module, "SERIAL", images * 360)
        assert torch.equal(augmented(Augment(2, True, 5), x), at_once)


@pytest.mark.parametrize(
    ("setting", "value"), [("pad", -1), ("cutout", -1), ("jitter", -0.1), ("jitter", 1.1), ("hue", -0.1), ("hue", 0.6)]
)
def test_augmentation_refuses_what_is_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(BadInput, match="must be"):
        Augment(**{setting: value})


def batches(n: int = 50, size: int = 8, seed: int = 0, augment: Augment | None = None) -> Batches:
    return Batches(pictures(n), size, MEAN, STD, augment, seed)


def test_an_epoch_has_every_image_at_most_once_and_no_incomplete_batch() -> None:
    data = batches()
    seen = [x for x, _ in data.epoch(0)]
    assert len(seen) == len(data) == 6
    assert {len(x) for x in seen} == {8}
    assert len({x.numpy().tobytes() for x in torch.cat(seen)}) == 48
    assert [len(x) for x, _ in batches(5).epoch(0)] == [5]
    assert len(batches(5)) == 1


def test_labels_stay_with_their_images() -> None:
    data = batches()
    known = {
        x.numpy().tobytes(): y for xs, ys in clean(data.images, 50, MEAN, STD) for x, y in zip(xs, ys.tolist(), strict=True)
    }
    for xs, ys in data.epoch(3):
        assert [known[x.numpy().tobytes()] for x in xs] == ys.tolist()


def test_an_epoch_is_a_function_of_seed_and_epoch_alone() -> None:
    def epoch(seed: int, number: int) -> torch.Tensor:
        return torch.cat([x for x, _ in batches(seed=seed, augment=Augment(2, cutout=3)).epoch(number)])

    assert torch.equal(epoch(1, 4), epoch(1, 4))
    assert not torch.equal(epoch(1, 4), epoch(2, 4))
    assert not torch.equal(epoch(1, 4), epoch(1, 5))


@pytest.mark.parametrize("start", range(7))
def test_an_epoch_entered_midway_is_its_tail(start: int) -> None:
    data = batches(augment=Augment(2, True, 3))
    whole, tail = list(data.epoch(2)), list(data.epoch(2, start))
    assert len(tail) == 6 - start
    for (x, y), (tail_x, tail_y) in zip(whole[start:], tail, strict=True):
        assert torch.equal(x, tail_x)
        assert torch.equal(y, tail_y)


def test_the_same_images_are_augmented_anew_in_every_batch_and_epoch() -> None:
    data = Batches(
        Images(pictures(1).x.expand(32, -1, -1, -1), torch.zeros(32, dtype=torch.long)), 16, MEAN, STD, Augment(2, cutout=3)
    )
    (a, _), (b, _) = data.epoch(0)
    (c, _), _ = data.epoch(1)
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)


def test_batches_come_in_the_type_layout_and_place_asked() -> None:
    data = Batches(pictures(8), 4, MEAN, STD, device="meta")
    assert next(iter(data.epoch(0)))[0].device.type == "meta"
    x, _ = next(iter(Batches(pictures(8), 4, MEAN, STD, dtype=torch.bfloat16, channels_last=False).epoch(0)))
    assert x.dtype == torch.bfloat16
    assert x.is_contiguous()
    x, _ = next(clean(pictures(8), 4, MEAN, STD, dtype=torch.bfloat16, channels_last=False))
    assert x.dtype == torch.bfloat16
    assert x.is_contiguous()


def test_clean_batches_are_all_images_in_order() -> None:
    images = pictures(10)
    seen = list(clean(images, 4, MEAN, STD))
    assert [len(x) for x, _ in seen] == [4, 4, 2]
    assert torch.equal(torch.cat([y for _, y in seen]), images.y)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(torch.cat([x for x, _ in seen]), (images.x / 255 - mean) / std, atol=1e-6)


@pytest.mark.parametrize(("n", "size", "seed"), [(0, 4, 0), (4, 0, 0), (4, 4, -1)])
def test_batches_of_nothing_are_refused(n: int, size: int, seed: int) -> None:
    with pytest.raises(BadInput, match="batch size"):
        Batches(Images(pictures(4).x[:n], pictures(4).y[:n]), size, MEAN, STD, seed=seed)
