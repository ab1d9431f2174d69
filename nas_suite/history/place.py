"""Where the history is: the environment variable NAS_HISTORY, else a file in the user's data folder."""

import os
from pathlib import Path

from nas_suite.data.place import data_folder
from nas_suite.errors import BadInput

VARIABLE, OFF = "NAS_HISTORY", "off"


def switched_off() -> bool:
    """Whether the user wants no history: NAS_HISTORY=off."""
    return os.environ.get(VARIABLE, "").strip().lower() == OFF


def address(given: str = "") -> str:
    """The URL of a database, as SQLAlchemy writes it, of what was given: a URL, the path of a SQLite file, or nothing, which
    means NAS_HISTORY and else the user's own; BadInput where that is switched off."""
    text = given.strip()
    if not text:
        if switched_off():
            raise BadInput(f"the history is switched off ({VARIABLE}={OFF}): name one, or unset {VARIABLE}")
        text = os.environ.get(VARIABLE, "").strip() or str(data_folder() / "history.sqlite")
    if "://" in text:
        return text
    return f"sqlite:///{Path(text).expanduser().absolute()}"
