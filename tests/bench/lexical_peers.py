#!/usr/bin/env python3
"""lexical_peers.py BUILD_DIR [--documents N] [--queries N] [-k K]: search by words beside tantivy and bm25s.

Documents: the descriptions of Debian's packages, as this machine's apt lists have them. Queries: 2 to 6 consecutive words
of short descriptions. Each on one thread, in this run. Agreement: the share of a peer's k hits that are ours too; other
rules for words and lengths make other rankings, so it says that we find the same things, not who is right.

Packages: pip install -r tests/bench/requirements.txt. A peer that is not installed is left out, and said so.
"""

import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time


def descriptions():
    """(short description, whole text) of each package, by name."""
    texts = {}
    paths = sorted(glob.glob("/var/lib/apt/lists/*_main_i18n_Translation-en*"))
    if not paths:
        sys.exit("lexical_peers.py: no descriptions in /var/lib/apt/lists; run apt-get update")
    for path in paths:
        command = {".lz4": ["lz4", "-dc"], ".gz": ["zcat"], ".xz": ["xzcat"]}.get(os.path.splitext(path)[1], ["cat"])
        output = subprocess.run([*command, path], capture_output=True, check=True).stdout.decode("utf-8")
        for record in output.split("\n\n"):
            fields = record.split("\nDescription-en: ", 1)
            if len(fields) != 2:
                continue
            name = fields[0].split("Package: ", 1)[1].split("\n", 1)[0]
            short, _, rest = fields[1].partition("\n")
            texts[name] = (short, " ".join(f"{name} {short} {rest}".split()))
    return [texts[name] for name in sorted(texts)]


def timed(search, queries):
    for query in queries[:100]:
        search(query)
    times, hits = [], []
    for query in queries:
        begin = time.perf_counter()
        hits.append(search(query))
        times.append((time.perf_counter() - begin) * 1e3)
    times.sort()
    return {"p50_ms": times[len(times) // 2], "p99_ms": times[len(times) * 99 // 100], "mean_ms": sum(times) / len(times)}, hits


def tantivy_peer(texts, queries, k):
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", stored=False, tokenizer_name="en_stem")
    builder.add_unsigned_field("number", stored=True)
    index = tantivy.Index(builder.build())
    begin = time.perf_counter()
    writer = index.writer(heap_size=256 << 20, num_threads=1)
    for number, text in enumerate(texts):
        writer.add_document(tantivy.Document(body=text, number=number))
    writer.commit()
    writer.wait_merging_threads()
    seconds = time.perf_counter() - begin
    index.reload()
    searcher = index.searcher()

    def search(query):
        found = searcher.search(index.parse_query(query, ["body"]), k)
        return [searcher.doc(address)["number"][0] for _, address in found.hits]

    return seconds, *timed(search, queries)


def bm25s_peer(texts, queries, k):
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    begin = time.perf_counter()
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(bm25s.tokenize(texts, stemmer=stemmer, stopwords=None, show_progress=False), show_progress=False)
    seconds = time.perf_counter() - begin

    def search(query):
        tokens = bm25s.tokenize([query], stemmer=stemmer, stopwords=None, show_progress=False)
        return index.retrieve(tokens, k=k, show_progress=False)[0][0].tolist()

    return seconds, *timed(search, queries)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="a build directory with tests/bench/lexical_bench")
    parser.add_argument("--documents", type=int, default=64_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("-k", type=int, default=10)
    options = parser.parse_args()
    found = descriptions()[: options.documents]
    rng = random.Random(1)
    queries = []
    while len(queries) < options.queries:
        words = "".join(c if c.isalnum() else " " for c in rng.choice(found)[0]).lower().split()
        length = rng.randint(2, 6)
        if len(words) >= length:
            at = rng.randint(0, len(words) - length)
            queries.append(" ".join(words[at : at + length]))
    texts = [text for _, text in found]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("texts", "queries")]
        for path, lines in zip(paths, (texts, queries)):
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)
        program = os.path.join(options.build, "tests", "bench", "lexical_bench")
        output = subprocess.run([program, *paths, str(options.k)], capture_output=True, text=True, check=True).stdout
    table, _, last = output.rstrip("\n").rpartition("\n")
    ours = json.loads(last)
    print(table)
    for name, peer in (("tantivy", tantivy_peer), ("bm25s", bm25s_peer)):
        try:
            seconds, times, hits = peer(texts, queries, options.k)
        except ImportError as error:
            print(f"{name}: left out ({error})")
            continue
        pairs = [({number for number, _ in a}, set(b)) for a, b in zip(ours["hits"], hits) if b]
        agreement = sum(len(a & b) / len(b) for a, b in pairs) / len(pairs)
        print(f"{name:8} search p50 {times['p50_ms']:.3f} ms, p99 {times['p99_ms']:.3f}, mean {times['mean_ms']:.3f}: "
              f"{times['p50_ms'] / ours['one']['p50_ms']:.1f} times ours at p50; indexing {seconds:.1f} s, ours {ours['index_s']:.1f}; "
              f"agreement {agreement:.2f}")


if __name__ == "__main__":
    main()
