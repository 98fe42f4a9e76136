#!/usr/bin/env python3
"""Turns a file of this folder into C++ tables: bert_unicode.tsv into those that
encoder/unicode_tables.cc includes, gpt2_unicode.tsv into those of encoder/gpt2_words.cc, grapheme_unicode.tsv
into those of encoder/grapheme_clusters.cc.

Usage: build_tables.py INPUT.tsv OUTPUT.inc      (standard library only; run by the build)
"""

import os
import sys

BLOCK_BITS, COMBINING_SHIFT = 7, 9  # as in encoder/unicode_tables.h
BERT_BITS = {
    "removed": 0,
    "space": 1,
    "chinese": 2,
    "mark": 3,
    "white": 4,
    "punct": 5,
    "nfd": 6,
    "hangul": 7,
    "lower": 8,
}
GPT2_BITS = {"letter": 0, "number": 1, "space": 2}  # as in encoder/gpt2_words.cc
GRAPHEME_BITS = {  # as in encoder/grapheme_clusters.cc
    "attach": 0,
    "extend": 1,
    "control": 2,
    "prepend": 3,
    "pictograph": 4,
    "l": 5,
    "v": 6,
    "t": 7,
    "lv": 8,
    "lvt": 9,
    "consonant": 10,
    "linker": 11,
    "incb": 12,
}


def read(path, names):
    """(code point → bits, code point → class, nfd, lower)"""
    bits, classes, maps = {}, {}, {"nfd": {}, "lower": {}}
    with open(path, encoding="ascii") as f:
        for number, line in enumerate(f, 1):
            if line.startswith("#"):
                continue
            try:
                name, where, *value = line.rstrip("\n").split("\t")
                where, _, step = where.partition("/")
                first, _, last = where.partition("..")
                for c in range(int(first, 16), int(last or first, 16) + 1, int(step or 1)):
                    if name == "class":
                        classes[c] = int(value[0])
                        continue
                    bits[c] = bits.get(c, 0) | 1 << names[name]
                    if name in maps:
                        shift = value[0][0] in "+-"
                        maps[name][c] = (
                            [c + int(value[0], 16)]
                            if shift
                            else [int(x, 16) for x in value[0].split()]
                        )
            except (KeyError, ValueError, IndexError):
                sys.exit(f"{path}:{number}: not understood: {line!r}")
    return bits, classes, maps["nfd"], maps["lower"]


def array(kind, name, values, show=str):
    rows = [", ".join(map(show, values[i : i + 16])) for i in range(0, len(values), 16)]
    return f"const {kind} {name}[] = {{\n    " + ",\n    ".join(rows) + "};\n"


def mappings(name, table):
    codes, starts, pool = sorted(table), [0], []
    for c in codes:
        pool += table[c]
        starts.append(len(pool))
    assert len(pool) < 1 << 16
    return (
        array("char32_t", f"k{name}Codes", codes, hex)
        + array("uint16_t", f"k{name}Starts", starts)
        + array("char32_t", f"k{name}Pool", pool, hex)
    )


def blocks(bits):
    """(code point >> BLOCK_BITS → block, the blocks' values); the first block is that of ASCII."""
    size = 1 << BLOCK_BITS
    known, index = {}, []
    for start in range(0, 0x110000, size):
        block = tuple(bits.get(c, 0) for c in range(start, start + size))
        index.append(known.setdefault(block, len(known)))
    assert len(known) <= 256, len(known)
    return index, [v for block in known for v in block]


def bert(source):
    bits, classes, nfd, lower = read(source, BERT_BITS)
    ranks = {value: rank for rank, value in enumerate(sorted(set(classes.values())), 1)}
    assert len(ranks) < 1 << 16 - COMBINING_SHIFT
    for c, value in classes.items():
        bits[c] = bits.get(c, 0) | ranks[value] << COMBINING_SHIFT
    index, flat = blocks(bits)
    return (
        "namespace vecino::encoder::internal {\n"
        + array("uint8_t", "kCharBlock", index)
        + array("uint16_t", "kCharProperties", flat)
        + "}  // namespace vecino::encoder::internal\n"
        "namespace vecino::encoder {\nnamespace {\n"
        + mappings("Decomposition", nfd)
        + mappings("Lowercase", lower)
        + "}  // namespace\n}  // namespace vecino::encoder\n"
    )


def gpt2(source):
    index, flat = blocks(read(source, GPT2_BITS)[0])
    return (
        "namespace vecino::encoder {\nnamespace {\n"
        + array("uint8_t", "kGpt2Block", index)
        + array("uint8_t", "kGpt2Kinds", flat)
        + "}  // namespace\n}  // namespace vecino::encoder\n"
    )


def grapheme(source):
    index, flat = blocks(read(source, GRAPHEME_BITS)[0])
    return (
        "namespace vecino::encoder {\nnamespace {\n"
        + array("uint8_t", "kGraphemeBlock", index)
        + array("uint16_t", "kGraphemeProperties", flat)
        + "}  // namespace\n}  // namespace vecino::encoder\n"
    )


TABLES = {"bert_unicode.tsv": bert, "gpt2_unicode.tsv": gpt2, "grapheme_unicode.tsv": grapheme}


def main():
    source, target = sys.argv[1:]
    tables = TABLES[os.path.basename(source)](source)
    with open(target, "w", encoding="ascii") as f:
        f.write(tables)


if __name__ == "__main__":
    main()
