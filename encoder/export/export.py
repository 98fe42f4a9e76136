#!/usr/bin/env python3
"""Turns a sentence-transformers directory of BERT, RoBERTa, XLM-R or MPNet into a model folder for vecinod: an embedding
model, or a cross-encoder (BertForSequenceClassification and its like, with one label) to rerank with.

Needs Python 3 with torch and numpy (Debian: python3-torch, python3-numpy). docs/encoder.md describes the folder.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile

import torch

from bert_module import build_module, script_module
from eager_bert import eager_model
from golden_sentences import GOLDEN_PAIRS, GOLDEN_SENTENCES
from source_folder import SourceError, check_prompts, read_source
from weights import WeightsError, read_weights

FORMAT_VERSION = 1
RERANK_FORMAT_VERSION = 2  # so that servers which know no rerankers say so
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# The exported graph against the eager model, per float; far above rounding, far below a wrong weight.
TOLERANCE = 1e-5


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _write(path, text):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _make_golden(source, weights, scripted):
    """Ids and vectors of the golden sentences by the reference tokenizer and the eager model."""
    eager = eager_model(source.config, weights, source.pooling, source.normalize)
    golden = []
    for text in GOLDEN_SENTENCES:
        ids = source.tokenizer.reference.encode(text, source.max_tokens)
        vector = eager.embed(ids)
        with torch.no_grad():
            ours = scripted(torch.tensor([ids]), torch.tensor([len(ids)]))[0]
        difference = (ours - vector).abs().max().item()
        if not difference <= TOLERANCE:
            raise SourceError(f"the exported graph differs from the eager model by {difference} on {text[:40]!r}")
        golden.append({"text": text, "ids": ids, "vector": [float(f"{x:.9g}") for x in vector.tolist()]})
    return golden


def _make_golden_pairs(source, weights, scripted):
    """Ids, token types, logits and scores of the golden pairs by the reference tokenizer and the eager model."""
    eager = eager_model(source.config, weights, source.pooling, source.normalize)
    golden = []
    for query, text in GOLDEN_PAIRS:
        ids, second = source.tokenizer.reference.encode_pair(query, text, source.max_tokens)
        types = [int(source.token_types == 2 and place >= second) for place in range(len(ids))]
        logit = eager.logit(ids, types)
        with torch.no_grad():
            ours = scripted(torch.tensor([ids]), torch.tensor([len(ids)]), torch.tensor([second])).item()
        if not abs(ours - logit) <= TOLERANCE * max(1, abs(logit)):
            raise SourceError(f"the exported graph gives {ours}, the eager model {logit} on {(query[:40], text[:40])}")
        score = torch.sigmoid(torch.tensor(logit)).item() if source.activation == "sigmoid" else logit
        golden.append({"query": query, "text": text, "ids": ids, "types": types, "logit": float(f"{logit:.9g}"),
                       "score": float(f"{score:.9g}")})
    return golden


def _task(source):
    """What the manifest says of what the model is for."""
    if source.task == "rerank":
        return {"format_version": RERANK_FORMAT_VERSION, "task": "rerank", "activation": source.activation,
                "token_types": source.token_types}
    return {"format_version": FORMAT_VERSION, "dimension": source.config["hidden_size"], "pooling": source.pooling,
            "normalize": source.normalize, "prompts": source.prompts}


def _fill(folder, name, source, weights_sha256):
    weights = read_weights(source.weights_path)
    try:
        scripted = script_module(build_module(source, weights))
    except (KeyError, RuntimeError) as error:
        raise SourceError(f"{source.weights_path}: the weights do not fit config.json: {error}") from error
    scripted.save(os.path.join(folder, "model.pt"))
    _write(os.path.join(folder, source.tokenizer.file), source.tokenizer.text)
    if source.task == "rerank":
        golden = {"pairs": _make_golden_pairs(source, weights, scripted)}
    else:
        golden = {"sentences": _make_golden(source, weights, scripted)}
    _write(os.path.join(folder, "golden.json"), json.dumps(golden) + "\n")
    manifest = {
        **_task(source),
        "name": name,
        "architecture": source.config["model_type"],
        "max_tokens": source.max_tokens,
        "precision": "fp32",
        "tokenizer": source.tokenizer.options,
        "vocab_size": source.config["vocab_size"],
        "files": {
            file: {
                "sha256": _sha256(os.path.join(folder, file)),
                "bytes": os.path.getsize(os.path.join(folder, file)),
            }
            for file in ("model.pt", source.tokenizer.file, "golden.json")
        },
        **({"matryoshka": source.matryoshka} if source.matryoshka else {}),
        "source": {"weights_file": os.path.basename(source.weights_path), "weights_sha256": weights_sha256},
    }
    _write(os.path.join(folder, "manifest.json"), json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    for file in os.listdir(folder):
        _sync(os.path.join(folder, file))


def export(source_directory, out_directory, sha256=None, replace=False, prompts=None, matryoshka=()):
    """Writes the model folder `out_directory`, whole or not at all; raises SourceError or WeightsError.

    prompts: {name: text} beside the source's own, and instead of those of the same name. matryoshka: fewer dimensions
    that the model was trained to be cut to; no file of a sentence-transformers directory says them.
    """
    out_directory = os.path.abspath(out_directory)
    parent, name = os.path.split(out_directory)
    if not NAME.fullmatch(name):
        raise SourceError(f"{name!r} cannot name a model: letters, digits, '.', '_' and '-', at most 128")
    if os.path.exists(out_directory) and not replace:
        raise SourceError(f"{out_directory} exists; remove it or pass --replace")
    source = read_source(source_directory)
    if source.task == "rerank" and (prompts or matryoshka):
        raise SourceError(f"{source_directory} is a cross-encoder, which has neither prompts nor dimensions")
    source.prompts.update(prompts or {})
    check_prompts(source.prompts, source_directory)
    source.matryoshka = sorted(set(matryoshka))
    if any(not 0 < n < source.config["hidden_size"] for n in source.matryoshka):
        raise SourceError(f"matryoshka is {source.matryoshka}; the model has {source.config['hidden_size']} dimensions")
    weights_sha256 = _sha256(source.weights_path)
    if sha256 is not None and sha256.lower() != weights_sha256:
        raise SourceError(f"{source.weights_path}: SHA-256 is {weights_sha256}, expected {sha256.lower()}")
    os.makedirs(parent, exist_ok=True)
    # A leading dot keeps the server from taking a half-written folder for a model.
    work = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    try:
        os.chmod(work, 0o755)
        _fill(work, name, source, weights_sha256)
        _sync(work)
        if os.path.exists(out_directory):
            old = tempfile.mkdtemp(prefix=f".{name}.old.", dir=parent)
            os.rename(out_directory, os.path.join(old, name))
            os.rename(work, out_directory)
            shutil.rmtree(old)
        else:
            os.rename(work, out_directory)
        _sync(parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_prompt_options(options):
    given = [(name, text) for name, text in (("query", options.query_prompt), ("document", options.document_prompt))
             if text is not None]
    for option in options.prompt:
        name, equals, text = option.partition("=")
        if not name or not equals:
            raise SourceError(f"--prompt {option!r}: NAME=TEXT is expected")
        given.append((name, text))
    prompts = dict(given)
    if len(prompts) < len(given):
        raise SourceError("a prompt is given twice; --query-prompt is that of the name query, --document-prompt of document")
    return prompts


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a sentence-transformers directory, or one of a CrossEncoder")
    parser.add_argument("out", help="the model folder to write; its last part is the model's name")
    parser.add_argument("--sha256", help="what the SHA-256 of the weights file must be")
    parser.add_argument("--replace", action="store_true", help="replace the model folder if it exists")
    for name in ("query", "document"):
        parser.add_argument(f"--{name}-prompt", metavar="TEXT", help=f"put before every {name}, where the source says"
                            " none or another: 'query: ' and 'passage: ' for E5")
    parser.add_argument("--prompt", metavar="NAME=TEXT", action="append", default=[], help="a prompt that collections"
                        " may choose by its name, beside those the source says; may be given several times")
    parser.add_argument("--matryoshka", metavar="N,N,...", default="", help="fewer dimensions that the model was"
                        " trained to be cut to; collections may then have as many")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        try:
            matryoshka = [int(n) for n in options.matryoshka.split(",") if n]
        except ValueError as error:
            raise SourceError(f"--matryoshka {options.matryoshka!r}: numbers, with commas between them") from error
        export(options.source, options.out, options.sha256, options.replace, _read_prompt_options(options), matryoshka)
    except (SourceError, WeightsError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"Model folder written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
