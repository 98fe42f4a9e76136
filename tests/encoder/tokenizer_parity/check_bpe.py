#!/usr/bin/env python3
"""Compares Vecino's byte-level BPE with that of Hugging Face `tokenizers`, id by id.

Usage: check_bpe.py --tool TOKENIZE_LINES [--data FOLDER]

A BPE of 8,000 tokens is trained on a fixed share of the texts, converted by encoder/export/bpe_source.py
and compared over all of them, without and with ByteLevel's add_prefix_space; the exporter's reference
is compared over the golden sentences. FOLDER of --data holds stsb/ and cranfield/. Prints for each
corpus the texts, their tokens and how many texts differ, and how fast both are on one core. Exit
status: 0 all the same, 1 some differ, 77 the reference is missing.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time

from check_parity import Comparison, Ours, code_points, cranfield, mixed_texts, packages, stsb, words
from edge_texts import edge_texts
from tokenizers import AddedToken, Tokenizer, __version__, models, pre_tokenizers, processors, trainers

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "encoder", "export"))

from golden_sentences import GOLDEN_SENTENCES  # noqa: E402
from tokenizer_source import read_tokenizer  # noqa: E402

TOKENS = 8000
SHARE = 8  # one text of so many is trained on
PIECES = "' s t re ve m ll d S x 7 ½ é ! - 中 \u0301 😀 _".split() + [
    *" \n\t\r\v\f\x1c\x85\xa0\u200a\u200b\u2028\u3000",
    *("  ", "   ", " \n", "'", "'"),
]


def gpt2_texts(count=50000):
    """Texts in which the parts of the expression meet."""
    rng = random.Random(3)
    return ["".join(rng.choices(PIECES, k=rng.randint(1, 12))).encode() for _ in range(count)]


def long_texts():
    """Words of any length, merged in many ways."""
    rng = random.Random(4)
    texts = ["".join(rng.choices("etaoinsr", k=n)) for n in [*range(1, 200), 1000, 10000]]
    return [t.encode() for t in texts + [" " * n + end for n in range(200) for end in ("", "x", "\n")]]


def train(corpora):
    """A parsed tokenizer.json, with a special token that is not in the model's vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (t.decode("utf-8", "replace") for texts in corpora if texts for t in texts[::SHARE])
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return json.loads(tokenizer.to_str())


def special_texts(count=5000):
    """Special tokens between white space and letters."""
    rng = random.Random(6)
    pieces = ["<s>", "</s>", "<mask>", "<pad>", "<", "mask>", " ", "\n", "\u3000", "a", "é"]
    return ["".join(rng.choices(pieces, k=rng.randint(1, 9))).encode() for _ in range(count)]


def both(tool, fast, add_prefix_space, folder):
    """Ours, the exporter's reference and Hugging Face's."""
    pre_tokenizer = {**fast["pre_tokenizer"], "add_prefix_space": add_prefix_space}
    text = json.dumps({**fast, "pre_tokenizer": pre_tokenizer})
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="ascii") as f:
        f.write(text)
    source = read_tokenizer(folder, {})
    path = os.path.join(folder, source.file)
    with open(path, "w", encoding="utf-8") as f:
        f.write(source.text)
    return Ours(tool, source.options, path, source.size), source.reference, Tokenizer.from_str(text)


def compare_golden(compare, ours, reference):
    reference.no_truncation()
    differ = sum(ours.encode(s, 1 << 30) != reference.encode(s).ids for s in GOLDEN_SENTENCES)
    print(f"the exporter's reference: {len(GOLDEN_SENTENCES)} golden sentences, {differ} differ")
    compare.different += differ


def print_speed(label, ours, reference, texts):
    if not texts:
        return
    ours.encode(texts, 1 << 30)
    reference.no_truncation()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core
    decoded, start = [t.decode("utf-8", "replace") for t in texts], time.monotonic()
    tokens = sum(len(e.ids) for e in reference.encode_batch_fast(decoded))
    seconds = time.monotonic() - start
    del os.environ["TOKENIZERS_PARALLELISM"]
    print(
        f"speed, {label}: {tokens} tokens, ours {tokens / ours.seconds / 1e6:.1f} million/s,"
        f" reference {tokens / seconds / 1e6:.1f} million/s"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", required=True)
    parser.add_argument("--data", default="")
    args = parser.parse_args()
    print("reference: tokenizers", __version__, flush=True)
    corpora = {
        "Debian packages": packages(),
        "WordNet": words(),
        "STS-B": stsb(args.data),
        "Cranfield": cranfield(args.data),
        "mixed": mixed_texts(20000),
    }
    fast = train(corpora.values())
    compare = Comparison()
    with tempfile.TemporaryDirectory() as folder:
        corpora |= {
            "code points": code_points(),
            "edge set": edge_texts(),
            "words of GPT-2": gpt2_texts(),
            "long words": long_texts(),
            "special tokens": special_texts(),
        }
        for space in (False, True):
            ours, exporters, reference = both(args.tool, fast, space, folder)
            if space:  # the class of a character is no other than without
                corpora["code points"] = corpora["code points"][::SHARE]
            for label, texts in corpora.items():
                compare.run(label + ", prefix space" * space, ours, reference, texts)
            for window in (128, 5):
                compare.run_pairs(f"pairs cut to {window}", ours, reference, corpora["STS-B"], window)
            compare_golden(compare, exporters, reference)
            if not space:
                for label in ("Debian packages", "WordNet"):
                    print_speed(label, ours, reference, corpora[label])
    print("all the same" if compare.different == 0 else f"{compare.different} texts DIFFER")
    sys.exit(compare.different != 0)


if __name__ == "__main__":
    main()
