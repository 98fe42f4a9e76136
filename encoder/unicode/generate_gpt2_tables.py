#!/usr/bin/env python3
"""Records what Hugging Face `tokenizers` takes each code point for, as gpt2_unicode.tsv.

Usage: generate_gpt2_tables.py [OUTPUT]       (needs the PyPI package `tokenizers`)

The pre-tokenizer ByteLevel is asked, never a Unicode database, whose version would differ. At the end
the recorded classes, put into its expression, must split every code point as the reference does, with
each kind of neighbour (those that are "other" with fewer of them).

Properties, one range a line, sorted by name and then by code point; what has none is "other":
  letter       joins letters: \\p{L} of the expression
  number       joins numbers: \\p{N}
  space        white space: \\s
"""

import re
import sys

import tokenizers
from generate_tables import ALL, ranges, record, span
from tokenizers import pre_tokenizers

WORDS = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)
STAND_IN = {"letter": "x", "number": "1", "space": "\t", "other": "!"}  # read alike by WORDS
FULL = "a{0}a1{0}1!{0}! {0}  {0} {0}{0} \n{0}{0}a'{0}s'{0} '{0}e{0}\n "


def words():
    """The reference: text → where its words begin and end."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    return lambda text: [where for _, where in split(text)]


def ask():
    """code point → property, of those that are not "other"."""
    split, kinds = words(), {}
    joins = {"other": "!", "letter": "a", "number": "1"}
    for c in ALL:
        kind = next((k for k, s in joins.items() if split(s + chr(c)) == [(0, 2)]), "space")
        if kind != "other":
            kinds[c] = kind
    return kinds


def verify(kinds):
    split = words()
    for c in ALL:
        s, stand_in = chr(c), STAND_IN[kinds.get(c, "other")]
        if c < 0x80 and (s == " " or s == "'" or s.isalpha()):
            stand_in = s  # the expression names it
        text = FULL if c in kinds or c < 0x80 else "a{0}1 {0}!{0}a"
        expected = [m.span() for m in WORDS.finditer(text.format(stand_in))]
        if split(text.format(s)) != expected:
            sys.exit(f"U+{c:04X}: the classes do not give the reference's words")


def render(kinds):
    lines = [
        "# What ByteLevel of Hugging Face takes each code point for.",
        f"# Recorded from tokenizers {tokenizers.__version__} by generate_gpt2_tables.py beside this file,",
        "# which tells what the properties mean. Do not edit: record again.",
    ]
    for name in ("letter", "number", "space"):
        lines += [
            f"{name}\t{span(a, b)}" for a, b in ranges(c for c, k in kinds.items() if k == name)
        ]
    return "\n".join(lines) + "\n"


def main():
    kinds = ask()
    verify(kinds)
    record("gpt2_unicode.tsv", render(kinds))


if __name__ == "__main__":
    main()
