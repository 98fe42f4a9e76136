"""A client in Python from nothing but the .proto files: stock grpcio, generated stubs, create, load, search, delete."""

import unittest

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip


class PythonClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        grpc_stubs.generate()
        for name in ("collection", "document", "search"):
            setattr(cls, name, grpc_stubs.load(f"{name}_service_pb2"))
            setattr(cls, name + "_grpc", grpc_stubs.load(f"{name}_service_pb2_grpc"))
        cls.values = grpc_stubs.load("document_pb2")
        cls.collections_pb = grpc_stubs.load("collection_pb2")

    def run_against(self, models, check):
        with client_support.Workspace(models) as workspace:
            with grpc.insecure_channel(workspace.server.address) as channel:
                self.collections = self.collection_grpc.CollectionServiceStub(channel)
                self.documents = self.document_grpc.DocumentServiceStub(channel)
                self.searches = self.search_grpc.SearchServiceStub(channel)
                check()

    def create(self, name, **fields):
        return self.collections.CreateCollection(
            self.collection.CreateCollectionRequest(
                collection_id=name, collection=self.collections_pb.Collection(**fields)
            )
        ).collection

    def upsert(self, name, documents):
        reply = self.documents.BatchUpsertDocuments(
            self.document.BatchUpsertDocumentsRequest(parent=f"collections/{name}", documents=documents)
        )
        self.assertEqual([result.status.code for result in reply.results], [0] * len(documents))
        return reply.results

    def count(self, name):
        return self.documents.CountDocuments(self.document.CountDocumentsRequest(parent=f"collections/{name}")).count

    def test_vectors(self):
        self.run_against(None, self.check_vectors)

    def check_vectors(self):
        made = self.create("points", dimension=2, metric=self.collections_pb.METRIC_L2)
        self.assertEqual(made.name, "collections/points")
        documents = []
        for i in range(20):
            document = self.values.Document(id=f"p/{i}", vector=self.values.Vector(values=[i, -i]))
            document.metadata.update({"even": i % 2 == 0, "number": i})
            documents.append(document)
        results = self.upsert("points", documents)
        self.assertEqual(self.count("points"), 20)

        reply = self.searches.SearchDocuments(
            self.search.SearchDocumentsRequest(
                parent="collections/points",
                vector=self.values.Vector(values=[7.2, -7.2]),
                top_k=3,
                write_tokens=[results[-1].write_token],
            )
        )
        self.assertEqual([hit.document.id for hit in reply.hits], ["p/7", "p/8", "p/6"])
        self.assertFalse(reply.higher_is_better)
        self.assertAlmostEqual(reply.hits[0].score, 2 * 0.2**2, places=5)
        self.assertEqual(dict(reply.hits[0].document.metadata), {"even": False, "number": 7})

        name = "collections/points/documents/p/7"
        self.documents.DeleteDocument(self.document.DeleteDocumentRequest(name=name))
        with self.assertRaises(grpc.RpcError) as caught:
            self.documents.GetDocument(self.document.GetDocumentRequest(name=name))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertEqual(self.count("points"), 19)
        self.collections.DeleteCollection(self.collection.DeleteCollectionRequest(name="collections/points"))
        with self.assertRaises(grpc.RpcError) as caught:
            self.count("points")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_text(self):
        models = client_support.model_root()
        if models is None:
            self.skipTest(f"no {client_support.MODEL} in VECINO_MODEL_ROOT")
        self.run_against(models, self.check_text)

    def check_text(self):
        config = self.collections_pb.EmbeddingConfig(model=f"models/{client_support.MODEL}")
        self.assertEqual(self.create("notes", embedding=config).dimension, 384)
        texts = {"cat": "a small domesticated animal that purrs", "ship": "a large vessel for the sea"}
        self.upsert("notes", [self.values.Document(id=key, text=text) for key, text in texts.items()])
        for query, nearest in (("kitten", "cat"), ("boat", "ship")):
            reply = self.searches.SearchDocuments(
                self.search.SearchDocumentsRequest(parent="collections/notes", text=query, top_k=1)
            )
            self.assertEqual([hit.document.id for hit in reply.hits], [nearest])


if __name__ == "__main__":
    unittest.main(verbosity=2)
