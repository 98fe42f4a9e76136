#!/usr/bin/env python3
"""chunk_quality.py [TOKENS ...]: how well searches by meaning rank on Cranfield with one vector a document and with passages.

Prints nDCG@10 (225 queries, 1,400 abstracts of 170 words on the average; see hybrid_quality.py) and the number of passages: whole
abstracts, then passages of each number of tokens (default 256, the model's window, 128 and 64), overlap 32 or what fits.
Needs what hybrid_quality.py needs; 77: something is missing.
"""

import json
import sys

from hybrid_quality import Cranfield

import client_support
import grpc_stubs
import grpc


def main():
    models = client_support.need_model_root()
    cranfield = Cranfield()
    grpc_stubs.generate()
    pb = grpc_stubs.load("search_service_pb2")
    stub_of = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub
    lines = [json.dumps({"id": str(i + 1), "text": text}) for i, text in enumerate(cranfield.abstracts) if text]
    sizes = [int(one) for one in sys.argv[1:]] or [256, 128, 64]
    with client_support.Workspace(models) as workspace, grpc.insecure_channel(workspace.server.address) as channel:
        searches = stub_of(channel)
        for tokens in [0, *sizes]:
            name = f"cran-{tokens}"
            options = ["--chunk-tokens", tokens] if tokens else []
            for arguments, stdin in (
                (("collection", "create", name, "--model", client_support.MODEL, "--index", "flat", *options), None),
                (("load", name, "-"), "\n".join(lines) + "\n"),
            ):
                done = client_support.vecino(workspace.server.address, *arguments, stdin=stdin)
                assert done.returncode == 0, done.stderr
            stats = json.loads(client_support.vecino(workspace.server.address, "--json", "collection", "stats", name).stdout)
            request = lambda text: pb.SearchDocumentsRequest(parent=f"collections/{name}", text=text, top_k=10)
            found = [[hit.document.id for hit in searches.SearchDocuments(request(query)).hits] for query in cranfield.queries]
            assert all(len(set(ids)) == 10 for ids in found)
            what = f"passages of {tokens} tokens" if tokens else "whole abstracts, cut at the window"
            print(f"{what}: nDCG@10 {cranfield.mean(found):.4f}, {stats['live_documents']} documents, {rows_of(stats)} rows", flush=True)


def rows_of(stats):
    return stats["tail_rows"] + sum(one["rows"] for shard in stats["shards"] for one in shard.get("segment_stats", []))


if __name__ == "__main__":
    main()
