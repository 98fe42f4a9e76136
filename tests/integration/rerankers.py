"""A small random reranker for real servers, and what it must score."""

import json
import math
import pathlib
import subprocess

import client_support

NAME = "tiny-reranker"
SCRIPT = client_support.SOURCE / "tests" / "encoder" / "make_reranker.py"


def run(*arguments, stdin=""):
    """Debian's interpreter is the one that has torch."""
    return subprocess.run(["/usr/bin/python3", "-B", str(SCRIPT), *arguments], input=stdin, capture_output=True,
                          encoding="utf-8", check=False)  # fmt: skip


def make(root, models=None, name=NAME):
    """Fills the folder `root` with the reranker and the models of the folder `models`; None where there is no torch."""
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for folder in pathlib.Path(models).iterdir() if models else ():
        if (folder / "manifest.json").exists():
            (root / folder.name).symlink_to(folder.resolve())
    made = run(str(root / name))
    if made.returncode == client_support.SKIPPED:
        return None
    assert made.returncode == 0, made.stderr
    return str(root)


def scores(query, texts):
    """By eager PyTorch, with the model's sigmoid."""
    lines = "".join(json.dumps([query, text]) + "\n" for text in texts)
    run_ = run("--score", stdin=lines)
    assert run_.returncode == 0, run_.stderr
    return [1 / (1 + math.exp(-float(logit))) for logit in run_.stdout.split()]
