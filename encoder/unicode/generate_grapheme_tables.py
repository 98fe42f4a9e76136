#!/usr/bin/env python3
"""Records how Hugging Face `tokenizers` cuts text into grapheme clusters as grapheme_unicode.tsv.

Usage: generate_grapheme_tables.py [OUTPUT]       (needs the PyPI package `tokenizers`)

As generate_tables.py beside it: the reference is asked, by normalizers.Precompiled, which replaces a
cluster of fewer than 6 bytes as a whole when a key of its charsmap begins it. So with the key X, the
accent of X + accent is lost where X begins a cluster and stays where X continues one. At the end the
recorded properties, put together the way encoder/grapheme_clusters.cc does, must give the reference's
own result for random strings of code points of every kind.

Properties (the rules are those of Unicode's Annex 29):
  attach       belongs to what stands before: Extend, ZWJ or SpacingMark
  consonant    InCB=Consonant
  control      stands alone: Control, CR or LF
  extend       attaches and may stand between a pictograph and the ZWJ after it: Extend
  incb         may stand between consonants of a conjunct: InCB=Extend or Linker
  l v t lv lvt Hangul_Syllable_Type
  linker       InCB=Linker
  pictograph   Extended_Pictographic
  prepend      Prepend
Regional indicators are not recorded: grapheme_clusters.h says why.
"""

import random
import sys

import tokenizers
from tokenizers import normalizers

from charsmap import build
from generate_tables import ALL, ranges, record, span

ACCENT, ZWJ, PREPEND = "\u0301", "\u200d", "\u0600"
COPYRIGHT, UMBRELLA = "\u00a9", "\u2602"  # pictographs
KA, KHA, VIRAMA = "\u0915", "\u0916", "\u094d"  # consonants and a linker
L, V, T = "\u1100", "\u1161", "\u11a8"  # of Hangul
NAMES = ("attach", "consonant", "control", "extend", "incb", "l", "linker", "lv", "lvt", "pictograph",
         "prepend", "t", "v")  # fmt: skip


def precompiled(mapping):
    return normalizers.Precompiled(build(mapping)).normalize_str


def ask():
    """property → set of code points."""
    keys = {x: precompiled({x: "x"}) for x in ("a", ACCENT, PREPEND, L, V, T, KA, UMBRELLA)}

    def continues(before, key):  # `key` does not begin a cluster after `before`
        return keys[key](before + key + ACCENT).endswith("x" + ACCENT)

    t = {name: set() for name in NAMES}
    for c in ALL:
        s = chr(c)
        if keys["a"]("a" + s) == "x":
            t["attach"].add(c)
        if keys[ACCENT](s + ACCENT + ACCENT) == s + "x":
            t["control"].add(c)
        if continues(s, "a"):
            t["prepend"].add(c)
            continue  # joins whatever follows: nothing else can be asked of it, nor matters
        if continues(s + ZWJ, UMBRELLA):
            t["pictograph"].add(c)
        if continues(COPYRIGHT + s + ZWJ, UMBRELLA) and c not in t["pictograph"]:
            t["extend"].add(c)
        if continues(s + VIRAMA, KA):
            t["consonant"].add(c)
        if continues(KHA + s, KA):
            t["linker"].add(c)
        if continues(KHA + VIRAMA + s, KA) and c not in t["consonant"]:
            t["incb"].add(c)
        # What it may be followed by tells the type of a syllable, but for V and LV, T and LVT.
        follows = tuple(continues(s, x) for x in (L, V, T))
        kinds = {(True, True, False): "l", (False, True, True): "lv", (False, False, True): "lvt"}
        if any(follows):
            kind = kinds[follows]
            if kind != "l" and keys[PREPEND](PREPEND + V + s) == "x" + V + s:  # too long as a whole
                kind = {"lv": "v", "lvt": "t"}[kind]
            t[kind].add(c)
    for name in ("extend", "linker", "incb"):
        assert t[name] <= t["attach"], (name, t[name] - t["attach"])
    return t


def clusters(t, text):
    """The clusters of `text` by the recorded properties, as encoder/grapheme_clusters.cc finds them."""
    out = []
    before = pictograph = conjunct = None
    for s in text:
        c = ord(s)
        has = {name for name in NAMES if c in t[name]}
        if not out:
            joins = False
        elif "control" in before[1] or "control" in has:
            joins = before[0] == "\r" and s == "\n"
        else:
            joins = (
                "attach" in has
                or "prepend" in before[1]
                or ("l" in before[1] and has & {"l", "v", "lv", "lvt"})
                or (before[1] & {"v", "lv"} and has & {"v", "t"})
                or (before[1] & {"t", "lvt"} and "t" in has)
                or (before[0] == ZWJ and pictograph == "joiner" and "pictograph" in has)
                or (conjunct == "linked" and "consonant" in has)
            )
        if joins:
            out[-1] += s
        else:
            out.append(s)
        if "pictograph" in has:
            pictograph = "open"
        elif pictograph == "open" and s == ZWJ:
            pictograph = "joiner"
        elif pictograph != "open" or "extend" not in has:
            pictograph = None
        if "consonant" in has:
            conjunct = "consonant"
        elif conjunct and "linker" in has:
            conjunct = "linked"
        elif "incb" not in has:
            conjunct = None
        before = (s, has)
    return out


def normalize(t, mapping, text):
    def find(part):
        return next((mapping[part[:n]] for n in range(1, len(part) + 1) if part[:n] in mapping), None)

    out = ""
    for cluster in clusters(t, text):
        whole = find(cluster) if len(cluster.encode()) < 6 else None
        if whole is not None:
            out += whole
        else:
            out += "".join(x if find(x) is None else find(x) for x in cluster)
    return out


def representatives(t):
    """Code points of every set of properties, of one to four bytes where there are such."""
    kinds = {}
    for c in ALL:
        kind = (tuple(c in t[name] for name in NAMES), len(chr(c).encode()))
        kinds.setdefault(kind, []).append(c)
    found = [x for points in kinds.values() for x in (points[0], points[-1])]
    return [chr(c) for c in found] + ["\r", "\n", ZWJ, "\U0001f1e6", "\U0001f1e7"]


def verify(t, rounds=60, texts=4000):
    rng, points = random.Random(3), representatives(t)
    for _ in range(rounds):
        keys = {"".join(rng.choices(points, k=rng.choice((1, 1, 1, 2, 3)))) for _ in range(60)}
        mapping = {key: rng.choice(("x", "yz", "", "\u4e2d")) for key in keys if "\0" not in key}
        reference = precompiled(mapping)
        few = rng.choices(points, k=12)
        for _ in range(texts):
            s = "".join(rng.choices(rng.choice((points, few)), k=rng.randint(1, 8)))
            if reference(s) != normalize(t, mapping, s):
                sys.exit(f"{ascii(s)}: the properties do not give the reference's {reference(s)!a}")


def render(t):
    lines = [
        "# Where the grapheme clusters of Hugging Face's Precompiled normalizer begin and end.",
        f"# Recorded from tokenizers {tokenizers.__version__} by generate_grapheme_tables.py beside this",
        "# file, which tells what the properties mean. Do not edit: record again.",
    ]
    lines += [f"{name}\t{span(a, b)}" for name in NAMES for a, b in ranges(t[name])]
    return "\n".join(lines) + "\n"


def main():
    tables = ask()
    verify(tables)
    record("grapheme_unicode.tsv", render(tables))


if __name__ == "__main__":
    main()
