#!/usr/bin/python3
"""Writes the demo collection `words` as JSONL: every synset of WordNet 3.0 (Debian package wordnet-base).

    make_words.py OUTPUT [FOLDER]

One line a synset: id (part of speech and WordNet's offset, such as n-14385830), text (`lemma, lemma: gloss`)
and metadata: pos, lemmas (a list) and lexname (WordNet's topic, such as noun.animal). FOLDER holds the data.*
files; default /usr/share/wordnet. Needs nothing but Python's standard library.
"""

import json
import os
import re
import sys

SYNSETS = 117_659  # of WordNet 3.0: 82,115 nouns, 13,767 verbs, 18,156 adjectives, 3,621 adverbs
FILES = [("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")]
POS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
# Lexicographer files, lexnames(5WN), by number.
LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body"
    " noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location"
    " noun.motive noun.object noun.person noun.phenomenon noun.plant noun.possession noun.process"
    " noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body verb.change"
    " verb.cognition verb.communication verb.competition verb.consumption verb.contact verb.creation"
    " verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather"
    " adj.ppl"
).split()
# Where an adjective may stand: (p)redicate, (a)ttribute, (ip) after the noun. No part of the word.
MARKER = re.compile(r"\((?:p|a|ip)\)$")


def synsets(folder):
    """Yields a document for each synset. The format is wndb(5WN)'s."""
    for name, letter in FILES:
        with open(os.path.join(folder, "data." + name), encoding="ascii") as file:
            for line in file:
                if line.startswith("  "):  # the licence, at the top
                    continue
                data, _, gloss = line.partition(" | ")
                fields = data.split(" ")
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                lemmas = [MARKER.sub("", word).replace("_", " ") for word in words]
                yield {
                    "id": f"{letter}-{fields[0]}",
                    "text": f"{', '.join(lemmas)}: {gloss.strip()}",
                    "metadata": {
                        "pos": POS[name],
                        "lemmas": lemmas,
                        "lexname": LEXNAMES[int(fields[1])],
                    },
                }


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: make_words.py OUTPUT [FOLDER]")
    output = sys.argv[1]
    folder = sys.argv[2] if len(sys.argv) == 3 else "/usr/share/wordnet"
    if not os.path.exists(os.path.join(folder, "data.noun")):
        sys.exit(f"make_words.py: no WordNet in {folder}; install the package wordnet-base")
    count = 0
    partial = output + ".part"
    with open(partial, "w", encoding="utf-8") as file:
        for item in synsets(folder):
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    if count != SYNSETS:
        os.unlink(partial)
        sys.exit(f"make_words.py: {count:,} synsets in {folder}; WordNet 3.0 has {SYNSETS:,}")
    os.replace(partial, output)
    print(f"{output}: {count:,} synsets")


if __name__ == "__main__":
    main()
