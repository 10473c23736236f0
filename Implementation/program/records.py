"""The records beside the models, and what is said of a model that cannot be used."""

import json
from pathlib import Path


class ModelError(ValueError):
    """A model file is missing or not what the program needs; the message is one line."""


def read_record(path: Path, kind: str) -> dict:
    """Return the record beside a model, {} if there is none; kind: of the model, for messages."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text("utf-8"))
    except ValueError:  # neither JSON nor UTF-8
        record = None
    if not isinstance(record, dict):
        raise ModelError(f"{kind}: {path} is not a model's record; restore it or remove it")
    return record
