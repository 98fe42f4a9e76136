#!/usr/bin/env python3
"""Compares Vecino's Unigram tokenizer with Hugging Face `tokenizers`, id by id.

Usage: check_unigram.py --tool TOKENIZE_LINES [--data FOLDER]

Trains a model of 8,000 pieces on a share of this machine's texts, with sentencepiece's own rules of
normalisation (nmt_nfkc), and puts it together as transformers does for XLM-R. Then come small models
made here, of random pieces or with random charsmaps. FOLDER holds stsb/ and cranfield/. Prints for
each corpus the texts, their tokens and how many texts differ. Exit status: 0 all the same, 1 some
differ, 77 nothing could be compared because a package is missing.
"""

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time

from check_parity import (
    SURROGATES,
    Comparison,
    Ours,
    code_points,
    cranfield,
    mixed_texts,
    packages,
    stsb,
    words,
)
from edge_texts import SPACES, edge_texts

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

try:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
except ImportError:
    print("SKIPPED: the Python package `sentencepiece` is not installed for", sys.executable)
    sys.exit(77)

ENCODER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "encoder")
sys.path += [os.path.join(ENCODER, "export"), os.path.join(ENCODER, "unicode")]
from build_tables import GRAPHEME_BITS, read  # noqa: E402
from charsmap import build  # noqa: E402
from golden_sentences import GOLDEN_SENTENCES  # noqa: E402
from reference_unigram import ReferenceUnigram  # noqa: E402
from tokenizer_source import read_tokenizer  # noqa: E402
from unigram_source import MARK, convert  # noqa: E402

PIECES = 8000
REPLACE = (Regex(" {2,}"), MARK)


class UnigramOurs(Ours):
    """What stands between the special tokens of a text."""

    def __init__(self, tool, folder, reference):
        self.options, self.vocabulary = convert(json.loads(reference.to_str()))
        special = {"begin": 0, "end": 0, "pad": 0, "two_between": False, "added_tokens": []}
        path = os.path.join(folder, "vocabulary.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(self.vocabulary, f)
        super().__init__(tool, self.options | special, path)

    def encode(self, texts, max_tokens):
        return [(count - 2, 0, ids[4:-4]) for count, _, ids in super().encode(texts, max_tokens)]


def train(texts):
    """The sentencepiece model, and (pieces, charsmap) as transformers' XLMRobertaConverter has them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=PIECES,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        character_coverage=0.998,
        num_threads=2,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(p.piece, p.score) for p in proto.pieces[3:]] + [("<mask>", 0.0)]
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return processor, pieces, proto.normalizer_spec.precompiled_charsmap


def make(pieces, unk_id, steps, whitespace_split=True, scheme="always"):
    t = Tokenizer(models.Unigram(pieces, unk_id, False))
    if steps:
        t.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    metaspace = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme=scheme)
    t.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
        if whitespace_split
        else metaspace
    )
    return t


def unigram_edges():
    """What edge_texts(), made for BERT, lacks."""
    parts = [MARK, " ", "  ", "a", "the", "\r\n", "\n", "\u0301", "<s>", "<unk>", "<mask>", "\uff1cs\uff1e",
             "\u0600", "\u200d", "\u00a9", "\0", "\u3000", "\u1100", "\u1161", "\u0915", "\u094d"]  # fmt: skip
    rng = random.Random(11)
    texts = ["".join(rng.choices(parts, k=rng.randint(1, 8))) for _ in range(20000)]
    texts += [a + b + c for a in SPACES for b in (MARK, " ", "x", "") for c in SPACES]
    texts += ["ab" * 100000, " " * 100000, MARK * 50000, "\u0301" * 50000, "\u4e2d" * 50000]
    return [t.encode() for t in texts]


def grapheme_kinds():
    """Two code points of each set of properties and length; see generate_grapheme_tables.py."""
    bits, *_ = read(os.path.join(ENCODER, "unicode", "grapheme_unicode.tsv"), GRAPHEME_BITS)
    kinds = {}
    for c in range(0x110000):
        if c not in SURROGATES:
            kinds.setdefault((bits.get(c, 0), len(chr(c).encode())), []).append(chr(c))
    return [x for points in kinds.values() for x in (points[0], points[-1])] + ["\r", "\n", "\u200d"]


def with_random_charsmaps(compare, tool, folder, count=40):
    rng, points = random.Random(13), grapheme_kinds()
    pieces = {x: -1.0 - i / 64 for i, x in enumerate(["<unk>", MARK, "x", "y", "\u4e2d", *points])}
    for number in range(count):
        keys = {"".join(rng.choices(points, k=rng.choice((1, 1, 2, 3)))) for _ in range(80)}
        keys |= {"\r\n"} if number % 4 < 2 else set()
        values = ("x", "xy", "", "\u4e2d")
        charsmap = build({key: rng.choice(values) for key in keys if "\0" not in key})
        reference = make(list(pieces.items()), 0, [normalizers.Precompiled(charsmap)], number % 2 == 0)
        few = rng.choices(points, k=10)
        texts = [
            "".join(rng.choices(rng.choice((points, few)), k=rng.randint(1, 9))).encode()
            for _ in range(5000)
        ]
        ours = UnigramOurs(tool, folder, reference)
        compare.run(f"random charsmap {number}", ours, reference, texts, brief=True)


def with_random_pieces(compare, tool, folder, count=150):
    """Ties, positive scores, pieces that stand twice, characters that no piece has."""
    rng, letters = random.Random(17), ["a", "b", "c", "\u00e9", "\u4e2d", MARK]
    for number in range(count):
        scores = rng.choice(([-1, -2, -3], [-0.5, -1.25, -7], [0, 1, 2], [30, 40, 100], [-1e9, 1e9]))
        pieces = [("<unk>", float(rng.choice((0, *scores))))]
        for _ in range(rng.randint(1, 60)):
            piece = "".join(rng.choices(letters, k=rng.randint(1, 4)))
            pieces.append((piece, float(rng.choice(scores))))
        reference = make(
            pieces, 0, [], number % 3 == 0, rng.choice(("always", "never")) if number % 3 else "always"
        )
        texts = [
            "".join(rng.choices([*letters, " ", "d"], k=rng.randint(0, 14))).encode() for _ in range(4000)
        ]
        ours = UnigramOurs(tool, folder, reference)
        compare.run(f"random pieces {number}", ours, reference, texts, brief=True)


def compare_reference(compare, reference, ours):
    """The exporter's small tokenizer on the golden sentences."""
    small = ReferenceUnigram(ours.options, ours.vocabulary)
    differ = [s for s in GOLDEN_SENTENCES if small.encode(s) != reference.encode(s).ids]
    print(f"golden sentences by reference_unigram.py: {len(GOLDEN_SENTENCES)} texts, {len(differ)} differ")
    for s in differ[:3]:
        print(f"  {ascii(s)[:300]}\n    {reference.encode(s).tokens}\n    {small.encode(s)}")
    compare.different += len(differ)


def tell_library(processor, reference, label, texts):
    """For information: how often sentencepiece itself differs from Hugging Face."""
    if texts is None:
        return
    decoded = [t.decode("utf-8", "replace") for t in texts]
    theirs = processor.encode(decoded)
    differ = sum(
        [3 if i == 0 else i + 1 for i in ids] != e.ids
        for ids, e in zip(theirs, reference.encode_batch_fast(decoded))
    )
    print(f"for information: libsentencepiece differs from Hugging Face on {differ} of {len(texts)}, {label}")


def tell_speed(ours, reference, texts):
    if not texts:
        return
    decoded = [t.decode("utf-8", "replace") for t in texts]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    start = time.monotonic()
    ids = sum(len(e.ids) for e in reference.encode_batch_fast(decoded))
    theirs = ids / (time.monotonic() - start)
    del os.environ["TOKENIZERS_PARALLELISM"]
    ours.encode(texts, 1 << 30)
    print(f"tokens/s on one core, WordNet: ours {ids / ours.seconds:.3g}, tokenizers {theirs:.3g}")


def whole(compare, tool, folder, pieces, charsmap, corpora):
    """With the special tokens of XLM-R, read as the exporter reads a directory."""
    reference = make(pieces, 3, [normalizers.Precompiled(charsmap)])
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    reference.add_special_tokens([AddedToken(n, lstrip=n == "<mask>", normalized=False) for n in names])
    reference.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    reference.save(os.path.join(folder, "tokenizer.json"))
    source = read_tokenizer(folder, {})
    path = os.path.join(folder, source.file)
    with open(path, "w", encoding="utf-8") as f:
        f.write(source.text)
    ours = Ours(tool, source.options, path, source.size)
    for name in ("edge set", "mixed", "Cranfield"):
        compare.run(f"whole: {name}", ours, reference, corpora[name])
        compare.run(f"whole, cut to 16: {name}", ours, reference, corpora[name], 16)
        compare.run_pairs(f"pairs cut to 17: {name}", ours, reference, corpora[name], 17)
    reference.no_truncation()
    differ = sum(source.reference.encode(t, 1 << 30) != reference.encode(t).ids for t in GOLDEN_SENTENCES)
    print(f"whole, the exporter's reference: {len(GOLDEN_SENTENCES)} golden sentences, {differ} differ")
    compare.different += differ


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", required=True)
    parser.add_argument("--data", default="")
    args = parser.parse_args()
    print(f"reference: tokenizers {tokenizers.__version__}; sentencepiece {sentencepiece.__version__}")
    compare, edges, mixtures = Comparison(), edge_texts() + unigram_edges(), mixed_texts(20000)
    described, glosses = packages(), words()
    share = (described or [])[::8] + (glosses or [])[::8] + mixtures[::8]
    processor, pieces, charsmap = train([t.decode("utf-8", "replace") for t in share])
    precompiled = normalizers.Precompiled(charsmap)
    points = [chr(c) for c in range(0x110000) if c not in SURROGATES]
    corpora = {
        "Debian packages": described,
        "WordNet": glosses,
        "STS-B": stsb(args.data),
        "Cranfield": cranfield(args.data),
        "code points": code_points(),
        "code points alone": [x.encode() for x in points],
        "code points with a mark": [(x + "\u0301").encode() for x in points],
        "code points with two marks after e": [("e" + x + "\u0301\u0323").encode() for x in points],
        "edge set": edges,
        "mixed": mixtures,
    }
    few = ("edge set", "mixed", "Cranfield")
    strip, replace = normalizers.Strip(left=False, right=True), normalizers.Replace(*REPLACE)
    with tempfile.TemporaryDirectory() as folder:
        for label, names, reference in (
            ("WhitespaceSplit", corpora, make(pieces, 3, [precompiled])),
            ("Metaspace alone", corpora, make(pieces, 3, [precompiled], False)),
            ("never a mark in front", few, make(pieces, 3, [precompiled], False, "never")),
            ("Strip, Replace", few, make(pieces, 3, [precompiled, strip, replace], False)),
            ("Replace", few, make(pieces, 3, [precompiled, normalizers.Replace(REPLACE[0], " ")], False)),
            ("Strip both, no charsmap", few, make(pieces, 3, [normalizers.Strip()], False)),
        ):
            reference.add_special_tokens([AddedToken("<extra>", special=True, normalized=False)])
            ours = UnigramOurs(args.tool, folder, reference)
            for name in names:
                compare.run(f"{label}: {name}", ours, reference, corpora[name])
            compare_reference(compare, reference, ours)
            if label == "WhitespaceSplit":
                tell_library(processor, reference, "WordNet", glosses)
                tell_library(processor, reference, "edge set", edges)
                tell_speed(ours, reference, glosses)
        whole(compare, args.tool, folder, pieces, charsmap, corpora)
        for label, run in (("charsmaps", with_random_charsmaps), ("pieces", with_random_pieces)):
            before = (compare.compared, compare.different)
            run(compare, args.tool, folder)
            print(
                f"random {label}: {compare.compared - before[0]} texts, "
                f"{compare.different - before[1]} differ"
            )
    print("all the same" if compare.different == 0 else f"{compare.different} texts DIFFER")
    sys.exit(compare.different != 0)


if __name__ == "__main__":
    main()
