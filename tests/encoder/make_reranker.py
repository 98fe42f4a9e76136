#!/usr/bin/python3
"""Makes a small random cross-encoder and exports it, for tests that drive real servers, or says what it scores.

    make_reranker.py OUT                   writes the model folder OUT, with a window of 128 tokens
    make_reranker.py --score < pairs       for each line, a JSON array [query, text], the logit by eager PyTorch

Needs Debian's python3-torch; exit status 77 without. Its vocabulary has letters, digits and few words (tiny_source.py).
"""

import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True
try:
    import torch  # noqa: F401
except ImportError:
    print("no torch")
    sys.exit(77)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from tiny_cross_encoder import CrossEncoder  # noqa: E402
from tiny_source import exporter  # noqa: E402

from eager_bert import eager_model  # noqa: E402
from source_folder import read_source  # noqa: E402


def main():
    made = CrossEncoder("bert", positions=128)
    with tempfile.TemporaryDirectory() as folder:
        made.write(folder)
        if sys.argv[1:] != ["--score"]:
            exporter.export(folder, sys.argv[1])
            return
        encode = read_source(folder).tokenizer.reference.encode_pair
    eager = eager_model(made.config, made.weights, "cls", False)
    for line in sys.stdin:
        ids, second = encode(*json.loads(line), 128)
        print(eager.logit(ids, [int(place >= second) for place in range(len(ids))]))


if __name__ == "__main__":
    main()
