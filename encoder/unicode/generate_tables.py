#!/usr/bin/env python3
"""Records what Hugging Face `tokenizers` does to every code point as bert_unicode.tsv.

Usage: generate_tables.py [OUTPUT]       (needs the PyPI package `tokenizers`)

The reference is asked, never a Unicode database, whose version would differ: BertNormalizer with
one option on at a time, NFD, and BertPreTokenizer. Combining classes come from how NFD orders pairs
of marks. At the end the recorded properties, put together the way encoder/bert_words.cc does, must
give the reference's own result for every code point, with every combination of options where the
code point has a property, and for strings of surviving marks in every order.

Properties, one range or mapping a line, sorted by name and then by code point:
  removed      clean_text drops it
  space        clean_text makes it U+0020
  chinese      gets a space on either side
  mark         dropped after NFD when accents are stripped
  white        splits words
  punct        is a word of its own
  class V      canonical combining class V
  nfd X Y      full canonical decomposition
  hangul       decomposes by the arithmetic of the Unicode standard, section 3.12
  lower +D     lower-case is D code points up (-D: down); A..B/2 is every other one from A to B
  lower X Y    lower-case is this sequence
"""

import functools
import itertools
import os
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
L, V, T, S = 0x1100, 0x1161, 0x11A7, 0xAC00  # of Hangul


def bert(clean=False, chinese=False, strip=False, lower=False):
    return normalizers.BertNormalizer(
        clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower
    ).normalize_str


def hangul(c):
    i = c - S
    parts = [L + i // 588, V + i % 588 // 28]
    return parts + [T + i % 28] if i % 28 else parts


def combining_classes(nfd):
    """The class of each code point whose class is not 0, from the order of pairs of marks."""

    def swaps(a, b):  # both are marks and class(a) > class(b)
        return a != b and nfd("x" + a + b) == "x" + b + a

    low, high = "\u0334", "\u0345"  # of the lowest class, 1, and the highest, 240
    marks = [s for s in map(chr, ALL) if nfd(s) == s and (swaps(s, low) or swaps(high, s))]
    marks.sort(
        key=functools.cmp_to_key(lambda a, b: swaps(a, b) - swaps(b, a))
    )  # stable: groups ascend
    groups = []
    for mark in marks:
        if not groups or swaps(mark, groups[-1][0]):
            groups.append([])
        groups[-1].append(mark)
    for before, after in itertools.pairwise(groups):
        assert all(swaps(b, before[0]) and not swaps(before[0], b) for b in after), after
    # Only the order matters; the number in the standard, which never changes, is for the reader.
    names = [unicodedata.combining(group[0]) for group in groups]
    assert names == sorted(set(names)) and names[0] > 0, names
    return {ord(mark): name for name, group in zip(names, groups) for mark in group}


def ask():
    """property → set of code points, or → dict code point → value."""
    clean, chinese, strip, lower = (
        bert(clean=True),
        bert(chinese=True),
        bert(strip=True),
        bert(lower=True),
    )
    nfd, pre = normalizers.NFD().normalize_str, pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    t = {
        name: set() for name in ("removed", "space", "chinese", "mark", "white", "punct", "hangul")
    }
    t["nfd"], t["lower"] = {}, {}
    for c in ALL:
        s = chr(c)
        got = clean(s)
        if got == "":
            t["removed"].add(c)
        elif got != s or s == " ":
            assert got == " ", hex(c)
            t["space"].add(c)
        got = chinese(s)
        if got != s:
            assert got == " " + s + " ", hex(c)
            t["chinese"].add(c)
        got = nfd(s)
        if got == s:
            if strip(s) != s:
                assert strip(s) == "", hex(c)
                t["mark"].add(c)
        elif S <= c < S + 11172:
            assert [ord(x) for x in got] == hangul(c), hex(c)
            t["hangul"].add(c)
        else:
            t["nfd"][c] = [ord(x) for x in got]
        got = lower(s)
        if got != s:
            t["lower"][c] = [ord(x) for x in got]
        pieces = [piece for piece, _ in pre("a" + s + "b")]
        if pieces == ["a", "b"]:
            t["white"].add(c)
        elif pieces == ["a", s, "b"]:
            t["punct"].add(c)
        else:
            assert pieces == ["a" + s + "b"], hex(c)
    t["class"] = combining_classes(nfd)
    return t


def normalize(t, text, clean, chinese, strip, lower):
    """What the tokenizer makes of `text` from the recorded properties."""
    cps = [ord(x) for x in text]
    if clean:
        cps = [0x20 if c in t["space"] else c for c in cps if c not in t["removed"]]
    if chinese:
        cps = [x for c in cps for x in ((0x20, c, 0x20) if c in t["chinese"] else (c,))]
    if strip:
        cps = [x for c in cps for x in (hangul(c) if c in t["hangul"] else t["nfd"].get(c, (c,)))]
        out, run = [], []
        for c in cps + [None]:
            if c in t["class"]:
                run.append(c)
                continue
            out += sorted(run, key=t["class"].get)
            run = []
            out.append(c)
        cps = [c for c in out[:-1] if c not in t["mark"]]
    if lower:
        cps = [x for c in cps for x in t["lower"].get(c, (c,))]
    return "".join(map(chr, cps))


def verify(t):
    special = sorted(set().union(*t.values()))
    plain = sorted(set(ALL).difference(special))
    for options in itertools.product((False, True), repeat=4):
        reference = bert(*options)
        for c in special + (plain if all(options) else []):
            s = chr(c)
            if reference(s) != normalize(t, s, *options):
                sys.exit(
                    f"U+{c:04X} with {options}: the properties do not give the reference's result"
                )
    reference = bert(True, True, True, True)
    survivors = sorted(c for c in t["class"] if c not in t["mark"])
    for a, b in itertools.product(survivors, repeat=2):
        for middle in ("", "\u0301", "\u0001", "\u0902", "\u0f71"):
            s = "x" + chr(a) + middle + chr(b) + "y"
            if reference(s) != normalize(t, s, True, True, True, True):
                sys.exit(f"{ascii(s)}: marks are ordered differently by the reference")


def ranges(points):
    """Sorted code points as (first, last) runs."""
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def span(a, b, step=1):
    return f"{a:04X}" if a == b else f"{a:04X}..{b:04X}" + ("/2" if step == 2 else "")


def lower_lines(mapping):
    shifts = {c: m[0] - c for c, m in mapping.items() if len(m) == 1}
    done, lines = set(), []
    for c in sorted(mapping):
        if c in done:
            continue
        if c not in shifts:
            lines.append(f"lower\t{c:04X}\t" + " ".join(f"{x:04X}" for x in mapping[c]))
            continue
        best = (c, 1)
        for step in (1, 2):
            last = c
            while shifts.get(last + step) == shifts[c] and (step == 1 or last + 1 not in mapping):
                last += step
            if last > best[0]:
                best = (last, step)
        last, step = best
        done.update(range(c, last + 1, step))
        sign = "-" if shifts[c] < 0 else "+"
        lines.append(f"lower\t{span(c, last, step)}\t{sign}{abs(shifts[c]):X}")
    return lines


def render(t):
    lines = [
        "# What BertNormalizer and BertPreTokenizer of Hugging Face do to each code point.",
        f"# Recorded from tokenizers {tokenizers.__version__} by generate_tables.py beside this file,",
        "# which tells what the properties mean. Do not edit: record again.",
    ]
    for name in (
        "chinese",
        "class",
        "hangul",
        "lower",
        "mark",
        "nfd",
        "punct",
        "removed",
        "space",
        "white",
    ):
        if name == "lower":
            lines += lower_lines(t[name])
        elif name == "nfd":
            for c, parts in sorted(t[name].items()):
                lines.append(f"nfd\t{c:04X}\t" + " ".join(f"{x:04X}" for x in parts))
        elif name == "class":
            rows = [
                (a, b, v)
                for v in set(t[name].values())
                for a, b in ranges(c for c, w in t[name].items() if w == v)
            ]
            lines += [f"class\t{span(a, b)}\t{v}" for a, b, v in sorted(rows)]
        else:
            lines += [f"{name}\t{span(a, b)}" for a, b in ranges(t[name])]
    return "\n".join(lines) + "\n"


def record(name, text):
    """Writes what was recorded: to the file that the command line names, or to `name` beside this one."""
    output = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), name)
    with open(output, "w", encoding="ascii") as f:
        f.write(text)


def main():
    tables = ask()
    verify(tables)
    record("bert_unicode.tsv", render(tables))


if __name__ == "__main__":
    main()
