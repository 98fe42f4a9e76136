#!/usr/bin/env python3
"""Compares Vecino's tokenizer with Hugging Face `tokenizers`, id by id.

Usage: check_parity.py model --tool TOKENIZE_LINES --model FOLDER [--data FOLDER]
       check_parity.py options --tool TOKENIZE_LINES

"model" compares the model's own tokenizer over all corpora, "options" every combination of options
with a vocabulary made here. FOLDER of --model holds vocab.txt and tokenizer.json or manifest.json,
that of --data stsb/ and cranfield/. Prints for each corpus the texts, their tokens and how many texts
differ. Exit status: 0 all the same, 1 some differ, 77 nothing could be compared because the
reference or the model is missing.
"""

import argparse
import array
import gzip
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

from edge_texts import SPECIAL, edge_texts, mixed

try:
    import tokenizers
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
except ImportError:
    print("SKIPPED: the Python package `tokenizers` is not installed for", sys.executable)
    sys.exit(77)

CHUNK = 20000
# Options (lowercase, strip accents, Chinese, clean) under which every code point is taken too.
WITH_CODE_POINTS = {
    (True, None, True, True),
    (True, False, True, True),
    (False, None, False, False),
}
SURROGATES = range(0xD800, 0xE000)


def packages():
    """Name and short description of each package in apt's lists, and the long ones there are."""
    try:
        lists = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    texts = []
    for record in lists.decode("utf-8", "replace").split("\n\n"):
        name = re.search(r"^Package: (.*)", record, re.M)
        about = re.search(r"^Description(?:-en)?: (.*(?:\n .*)*)", record, re.M)
        if name and about:
            short, _, long = about[1].partition("\n")
            texts.append(f"{name[1]}: {short}".encode())
            if long:
                texts.append(long.encode())
    return texts


def words():
    """Lemmas and gloss of each WordNet synset."""
    texts = []
    for part in ("noun", "verb", "adj", "adv"):
        path = f"/usr/share/wordnet/data.{part}"
        if not os.path.exists(path):
            return None
        with open(path, "rb") as f:
            for line in f:
                if line.startswith(b"  "):
                    continue  # the licence
                fields, _, gloss = line.partition(b"| ")
                fields = fields.split(b" ")
                lemmas = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                texts.append(b", ".join(lemmas).replace(b"_", b" ") + b": " + gloss.strip())
    return texts


def stsb(data):
    path = os.path.join(data, "stsb/stsbenchmark.tsv.gz")
    if not os.path.exists(path):
        return None
    with gzip.open(path) as f:
        return [s for line in f for s in line.rstrip(b"\n").split(b"\t")[6:8]]


def cranfield(data):
    texts = []
    for name in ("cran.all.1400", "cran.qry"):
        path = os.path.join(data, "cranfield", name)
        if not os.path.exists(path):
            return None
        with open(path, "rb") as f:
            texts += [t for t in re.split(rb"^\.[IWTAB].*\n", f.read(), flags=re.M) if t]
    return texts


def code_points():
    return [f"a{chr(c)}b".encode() for c in range(0x110000) if c not in SURROGATES]


def mixed_texts(count):
    rng = random.Random(7)
    return [mixed(rng, rng.randint(1, 40)).encode() for _ in range(count)]


def to_records(texts):
    return b"".join(part for t in texts for part in (struct.pack("I", len(t)), t))


class Ours:
    """The C++ tokenizer. options: a manifest's `tokenizer`; vocabulary: its file."""

    def __init__(self, tool, options, vocabulary, vocab_size=1 << 30):
        self.args = [tool, json.dumps(options), vocabulary, str(vocab_size)]
        self.seconds = 0  # of the last call

    def encode(self, texts, max_tokens, pairs=False):
        """(tokens before the cut, index of a pair's second text, ids as bytes) of each text or pair"""
        run = subprocess.run(
            self.args + [str(max_tokens)] + ["pairs"] * pairs,
            input=to_records(texts), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        assert run.returncode == 0, run.stderr
        self.seconds = float(run.stderr)
        at, results = 0, []
        while at < len(run.stdout):
            count, second, n = struct.unpack_from("III", run.stdout, at)
            results.append((count, second, run.stdout[at + 12 : at + 12 + 4 * n]))
            at += 12 + 4 * n
        return results


def wordpiece_options(lowercase=True, strip=None, chinese=True, clean=True):
    return {"type": "wordpiece", "lowercase": lowercase,
            "strip_accents": lowercase if strip is None else strip,
            "handle_chinese_chars": chinese, "clean_text": clean, "max_word_chars": 100}


class Comparison:
    def __init__(self):
        self.different = self.compared = 0

    def run(self, label, ours, reference, texts, window=None, brief=False):
        """Compares whole texts, or cut to `window` tokens by both. `brief`: prints only what differs."""
        if texts is None:
            print(f"{label}: SKIPPED, the texts are not on this machine")
            return
        start, tokens, differ = time.monotonic(), 0, 0
        answers = ours.encode(texts, window or 1 << 30)
        assert len(answers) == len(texts), f"{len(answers)} answers for {len(texts)} texts"
        for i in range(0, len(texts), CHUNK):
            chunk = texts[i : i + CHUNK]
            decoded = [t.decode("utf-8", "replace") for t in chunk]
            reference.no_truncation()
            counts = [len(e.ids) for e in reference.encode_batch_fast(decoded)] if window else None
            if window:
                reference.enable_truncation(window)
            expected = [e.ids for e in reference.encode_batch_fast(decoded)]
            for k, ids in enumerate(expected):
                tokens += len(ids)
                count, _, our_ids = answers[i + k]
                if (count, our_ids) != (
                    counts[k] if counts else len(ids),
                    array.array("i", ids).tobytes(),
                ):
                    differ += 1
                    if differ <= 3:
                        print(
                            f"  {ascii(decoded[k])[:300]}\n    reference {len(ids)}: {ids[:40]}"
                            f"\n    ours      {count}: {list(array.array('i', our_ids))[:40]}"
                        )
        self.different += differ
        self.compared += len(texts)
        if brief and not differ:
            return
        print(
            f"{label}: {len(texts)} texts, {tokens} tokens, {differ} differ "
            f"({time.monotonic() - start:.1f} s)",
            flush=True,
        )

    def run_pairs(self, label, ours, reference, texts, window):
        """Compares each text beside the next, cut to `window` tokens together."""
        if texts is None:
            print(f"{label}: SKIPPED, the texts are not on this machine")
            return
        # The reference keeps every combination of what it cuts off: of long texts more than fits into memory.
        texts = [t for t in texts if len(t) < 200]
        pairs = list(zip(texts[::2], texts[1::2]))
        answers = ours.encode([t for pair in pairs for t in pair], window, pairs=True)
        assert len(answers) == len(pairs), f"{len(answers)} answers for {len(pairs)} pairs"
        decoded = [tuple(t.decode("utf-8", "replace") for t in pair) for pair in pairs]
        reference.no_truncation()
        counts = [len(e.ids) for e in reference.encode_batch_fast(decoded)]
        reference.enable_truncation(window)
        differ = 0
        for pair, count, e, (our_count, second, our_ids) in zip(
            decoded, counts, reference.encode_batch(decoded), answers
        ):
            first_of_second = next((i for i, s in enumerate(e.sequence_ids) if s == 1), second)
            if (count, first_of_second, array.array("i", e.ids).tobytes()) != (our_count, second, our_ids):
                differ += 1
                if differ <= 3:
                    print(f"  {ascii(pair)[:300]}\n    reference {count}, {first_of_second}: {e.ids[:40]}"
                          f"\n    ours      {our_count}, {second}: {list(array.array('i', our_ids))[:40]}")
        self.different += differ
        print(f"{label}: {len(pairs)} pairs, {differ} differ", flush=True)


def reference_tokenizer(vocabulary):
    t = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[(s, vocabulary[s]) for s in ("[CLS]", "[SEP]")]
    )
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return t


def alphabet(folder):
    """A vocabulary where every code point is a token, so that nothing hides in [UNK]."""
    tokens = SPECIAL + [
        t
        for c in range(0x110000)
        if c not in SURROGATES and chr(c) not in "\r\n"
        for t in (chr(c), "##" + chr(c))
        if t not in SPECIAL
    ]
    tokens += [
        "the",
        "un",
        "##ing",
        "##able",
        "##e\u0301",
        "\u302e\U0001d165",
        "##中a",
        "[x",
        "naive",
        "na\u00efve",
        "Caf",
    ]
    path = os.path.join(folder, "alphabet.txt")
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("\n".join(tokens) + "\n")
    return path, {t: i for i, t in enumerate(tokens)}


def bert_normalizer(lowercase, strip, chinese, clean):
    return normalizers.BertNormalizer(
        clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lowercase
    )


def read_json(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def model_tokenizers(args):
    """Ours and the reference of the model in args.model, which has a tokenizer.json or a manifest."""
    vocab = os.path.join(args.model, "vocab.txt")
    fast, manifest = (read_json(args.model, name) for name in ("tokenizer.json", "manifest.json"))
    if not os.path.exists(vocab) or not (fast or manifest):
        print(f"SKIPPED: '{args.model}' lacks vocab.txt, or both tokenizer.json and manifest.json")
        sys.exit(77)
    with open(vocab, encoding="utf-8", newline="\n") as f:
        vocabulary = {t: i for i, t in enumerate(f.read().removesuffix("\n").split("\n"))}
    if fast:
        options, model = fast["normalizer"], fast["model"]
        assert model["vocab"] == vocabulary, "vocab.txt is not tokenizer.json's"
        assert model["max_input_chars_per_word"] == 100, model["max_input_chars_per_word"]
        reference = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
        reference.no_padding()
    else:
        options = manifest["tokenizer"]
        assert options["type"] == "wordpiece" and options["max_word_chars"] == 100, options
        reference = reference_tokenizer(vocabulary)
    names = ("lowercase", "strip_accents", "handle_chinese_chars", "clean_text")
    values = [options[name] for name in names]
    if not fast:
        reference.normalizer = bert_normalizer(*values)
    return Ours(args.tool, wordpiece_options(*values), vocab), reference


def compare_model(compare, args, edges, mixtures):
    """The model's own vocabulary and options, over every corpus."""
    ours, reference = model_tokenizers(args)
    abstracts = cranfield(args.data)
    compare.run("Debian packages", ours, reference, packages())
    compare.run("WordNet", ours, reference, words())
    compare.run("STS-B", ours, reference, stsb(args.data))
    compare.run("Cranfield", ours, reference, abstracts)
    compare.run("code points", ours, reference, code_points())
    compare.run("edge set", ours, reference, edges)
    compare.run("mixed", ours, reference, mixtures)
    for window in (256, 128, 16, 3, 2):
        compare.run(f"cut to {window}, edge set", ours, reference, edges, window)
        compare.run(f"cut to {window}, Cranfield", ours, reference, abstracts, window)
    for window in (256, 17, 16, 5, 4):
        compare.run_pairs(f"pairs cut to {window}, edge set", ours, reference, edges, window)
        compare.run_pairs(f"pairs cut to {window}, STS-B", ours, reference, stsb(args.data), window)


def compare_options(compare, args, edges, mixtures):
    """Every combination of options, with a vocabulary that tells all characters apart."""
    points = code_points()
    with tempfile.TemporaryDirectory() as folder:
        path, vocabulary = alphabet(folder)
        reference = reference_tokenizer(vocabulary)
        for options in itertools.product(
            (True, False), (None, True, False), (True, False), (True, False)
        ):
            lowercase, strip, chinese, clean = options
            reference.normalizer = bert_normalizer(*options)
            compare.run(
                f"lowercase {lowercase}, strip accents {strip}, Chinese {chinese}, clean {clean}",
                Ours(args.tool, wordpiece_options(*options), path),
                reference,
                edges + mixtures + (points if options in WITH_CODE_POINTS else []),
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["model", "options"])
    parser.add_argument("--tool", required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--data", default="")
    args = parser.parse_args()
    print("reference: tokenizers", tokenizers.__version__, flush=True)
    compare, edges, mixtures = Comparison(), edge_texts(), mixed_texts(20000)
    (compare_model if args.part == "model" else compare_options)(compare, args, edges, mixtures)
    print("all the same" if compare.different == 0 else f"{compare.different} texts DIFFER")
    sys.exit(compare.different != 0)


if __name__ == "__main__":
    main()
