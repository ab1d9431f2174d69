"""Images a second of the augmenting data pipeline, beside the straightforward one: a Python loop over images.

    python benchmarks/speed_data.py [--threads 2] [--batch 96] [--batches 60] [--repeats 5]

Both pad by 4, crop, flip, normalise and cut out 16, per image, on 32-pixel RGB images of noise, and hand over float32
batches; the rival does it with Pillow and torch operations image by image, as a loader without worker processes does.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image, ImageOps

from nas_suite.data import Augment, Batches, Images

MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)


def one_by_one(images: Images, batch: int, batches: int) -> Iterator[torch.Tensor]:
    """The rival: every image through Pillow and a few torch operations, then stacked."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pictures = images.x.permute(0, 2, 3, 1).numpy()
    order = random.sample(range(len(images)), len(images))
    for number in range(batches):
        done = []
        for index in order[number * batch : (number + 1) * batch]:
            picture = ImageOps.expand(Image.fromarray(pictures[index]), 4)
            left, top = random.randrange(9), random.randrange(9)
            picture = picture.crop((left, top, left + 32, top + 32))
            if random.random() < 0.5:
                picture = ImageOps.mirror(picture)
            x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255).sub(mean).div(std)
            y, z = random.randrange(32), random.randrange(32)
            x[:, max(0, y - 8) : y + 8, max(0, z - 8) : z + 8] = 0
            done.append(x)
        yield torch.stack(done)


def rate(epoch: Callable[[], Iterator[object]], images: int) -> float:
    """Images a second of one pass."""
    start = time.perf_counter()
    for _ in epoch():
        pass
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("threads", 2), ("batch", 96), ("batches", 60), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    n = given.batch * given.batches
    x = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    images = Images.of(x, np.zeros(n, np.int64))
    ours = Batches(images, given.batch, MEAN, STD, Augment())
    rates: dict[str, list[float]] = {"batched": [], "one by one": []}
    for number in range(given.repeats + 1):
        pair = (
            rate(lambda number=number: ours.epoch(number), n),
            rate(lambda: one_by_one(images, given.batch, given.batches), n),
        )
        if number:  # the first pass warms up
            for name, value in zip(rates, pair, strict=True):
                rates[name].append(value)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in middle.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:12s} {value:10,.0f} images/s (median of {given.repeats}, {spread})")
    print(f"ratio        {middle['batched'] / middle['one by one']:10.1f}")


if __name__ == "__main__":
    main()
