"""What the readers of a sentence-transformers directory share: its JSON files, and refusing."""

import json
import os


class SourceError(Exception):
    """The directory is missing something or asks for something that is not supported."""


def read_json(directory, name, required=True):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        if required:
            raise SourceError(f"{directory}: {name} is missing; a sentence-transformers directory has it")
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error


def require(config, key, supported, where):
    if config.get(key, supported[0]) not in supported:
        raise SourceError(
            f"{where}: {key} is {config[key]!r}; supported: {', '.join(map(repr, supported))}"
        )
