#!/usr/bin/env python3
"""hybrid_quality.py [--chosen]: how well searches by meaning, by words and by both rank on Cranfield, through a real server.

Prints nDCG@10 over the queries with a relevant document (225 queries, 1,400 abstracts, judgements as gains 4 to 1):
dense (exact), lexical, hybrid at the defaults of both methods, and hybrid at the weight that is best on the odd-numbered
queries (--chosen prints the whole table), with its figure on the even-numbered ones, which had no say in it.

Exit status 1 unless hybrid at the defaults is at least the better of the two rankings less .005, and hybrid at the chosen
weight is above both. Needs VECINO_BINARY_DIR, VECINO_MODEL_ROOT and tests/requirements.txt as the tests in
tests/integration do; data in VECINO_SHARED_DATA, or ../shared/data beside the source tree. 77: something is missing.
"""

import json
import math
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import client_support  # noqa: E402
import grpc_stubs  # noqa: E402
import grpc  # noqa: E402

WEIGHTS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5]


def cran_fields(path, field):
    """The texts of field `field` of each document of a file in Cranfield's form."""
    with open(path, encoding="latin-1") as file:
        documents = re.split(r"^\.I .*$", file.read(), flags=re.M)[1:]
    return [" ".join(re.split(r"^\.[A-Z]$", one.split(f"\n.{field}\n", 1)[1], flags=re.M)[0].split()) for one in documents]


class Cranfield:
    def __init__(self):
        data = os.environ.get("VECINO_SHARED_DATA") or client_support.SOURCE.parent / "shared" / "data"
        folder = pathlib.Path(data) / "cranfield"
        if not folder.exists():
            client_support.skip(f"no Cranfield collection at {folder}; set VECINO_SHARED_DATA")
        self.abstracts = cran_fields(folder / "cran.all.1400", "W")
        self.queries = cran_fields(folder / "cran.qry", "W")
        assert (len(self.abstracts), len(self.queries)) == (1400, 225)
        self.gains = [{} for _ in self.queries]
        with open(folder / "cranqrel", encoding="ascii") as file:
            for query, document, code in (map(int, line.split()) for line in file if line.strip()):
                if code > 0:  # 1 is a complete answer, 4 of little interest, -1 of none
                    self.gains[query - 1][str(document)] = 5 - code
        self.judged = [i for i, gains in enumerate(self.gains) if gains]

    def ndcg(self, query, ids):
        gains = self.gains[query]
        sum_up = lambda values: sum(gain / math.log2(rank + 2) for rank, gain in enumerate(values))
        return sum_up([gains.get(one, 0) for one in ids[:10]]) / sum_up(sorted(gains.values(), reverse=True)[:10])

    def mean(self, rankings, which=None):
        queries = [i for i in self.judged if which is None or which(i + 1)]
        return sum(self.ndcg(i, rankings[i]) for i in queries) / len(queries)


def main():
    models = client_support.need_model_root()
    cranfield = Cranfield()
    grpc_stubs.generate()
    pb = grpc_stubs.load("search_service_pb2")
    stub_of = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub
    with client_support.Workspace(models) as workspace:
        address = workspace.server.address
        made = client_support.vecino(address, "collection", "create", "cran", "--model", client_support.MODEL)
        assert made.returncode == 0, made.stderr
        # Two abstracts are empty.
        lines = [json.dumps({"id": str(i + 1), "text": text}) for i, text in enumerate(cranfield.abstracts) if text]
        loaded = client_support.vecino(address, "load", "cran", "-", stdin="\n".join(lines) + "\n")
        assert loaded.returncode == 0, loaded.stderr
        with grpc.insecure_channel(address) as channel:
            searches = stub_of(channel)
            ids = lambda reply: [hit.document.id for hit in reply.hits]
            mask = {"paths": ["id"]}

            def plain(**query):
                return ids(searches.SearchDocuments(
                    pb.SearchDocumentsRequest(parent="collections/cran", read_mask=mask, **query)))  # fmt: skip

            def hybrid(text, **fusion):
                return ids(searches.HybridSearchDocuments(pb.HybridSearchDocumentsRequest(
                    parent="collections/cran", read_mask=mask, text=text, fusion=pb.Fusion(**fusion))))  # fmt: skip

            every = lambda search: [search(text) for text in cranfield.queries]
            dense = cranfield.mean(every(lambda text: plain(text=text, parameters={"exact": True})))
            lexical = cranfield.mean(every(lambda text: plain(lexical={"text": text})))
            print(f"Cranfield nDCG@10: dense {dense:.4f}, lexical {lexical:.4f}")
            good = True
            for name in ("METHOD_RRF", "METHOD_WEIGHTED_SCORES"):
                method = pb.Fusion.Method.Value(name)
                default = cranfield.mean(every(lambda text: hybrid(text, method=method)))
                print(f"{name}: hybrid at the defaults {default:.4f}")
                good &= default >= max(dense, lexical) - 0.005
                table = {w: every(lambda text: hybrid(text, method=method, lexical_weight=w)) for w in WEIGHTS}
                odd = {w: cranfield.mean(found, lambda number: number % 2 == 1) for w, found in table.items()}
                even = {w: cranfield.mean(found, lambda number: number % 2 == 0) for w, found in table.items()}
                best = max(WEIGHTS, key=odd.get)
                print(f"{name}: best lexical weight on odd queries {best}: {odd[best]:.4f} there, {even[best]:.4f} on even ones, "
                      f"{cranfield.mean(table[best]):.4f} on all")  # fmt: skip
                good &= cranfield.mean(table[best]) > max(dense, lexical)
                if "--chosen" in sys.argv[1:]:
                    for w in WEIGHTS:
                        print(f"  {w}: all {cranfield.mean(table[w]):.4f}, odd {odd[w]:.4f}, even {even[w]:.4f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
