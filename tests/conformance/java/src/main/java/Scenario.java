// SCENARIO.md in Java: grpc-java, stubs of protobuf-maven-plugin.

import com.google.longrunning.Operation;
import com.google.longrunning.OperationsGrpc;
import com.google.longrunning.WaitOperationRequest;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.FieldMask;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.BadRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import io.vecino.v1.Alias;
import io.vecino.v1.BatchDeleteDocumentsRequest;
import io.vecino.v1.BatchSearchDocumentsRequest;
import io.vecino.v1.BatchSearchResult;
import io.vecino.v1.BatchUpsertDocumentsRequest;
import io.vecino.v1.BatchWriteResult;
import io.vecino.v1.Collection;
import io.vecino.v1.CollectionServiceGrpc;
import io.vecino.v1.CompactIndexRequest;
import io.vecino.v1.CompactIndexResponse;
import io.vecino.v1.CountDocumentsRequest;
import io.vecino.v1.CreateAliasRequest;
import io.vecino.v1.CreateCollectionRequest;
import io.vecino.v1.DeleteAliasRequest;
import io.vecino.v1.DeleteCollectionRequest;
import io.vecino.v1.DeleteDocumentRequest;
import io.vecino.v1.Document;
import io.vecino.v1.DocumentServiceGrpc;
import io.vecino.v1.GetCollectionRequest;
import io.vecino.v1.GetDocumentRequest;
import io.vecino.v1.IndexOperationMetadata;
import io.vecino.v1.IndexPolicy;
import io.vecino.v1.IngestDocument;
import io.vecino.v1.IngestDocumentsRequest;
import io.vecino.v1.IngestDocumentsResponse;
import io.vecino.v1.IngestFinish;
import io.vecino.v1.IngestResult;
import io.vecino.v1.IngestStart;
import io.vecino.v1.ListDocumentsRequest;
import io.vecino.v1.ListDocumentsResponse;
import io.vecino.v1.Metric;
import io.vecino.v1.PurgeDocumentsRequest;
import io.vecino.v1.PurgeDocumentsResponse;
import io.vecino.v1.SearchDocumentsRequest;
import io.vecino.v1.SearchDocumentsResponse;
import io.vecino.v1.SearchServiceGrpc;
import io.vecino.v1.StreamDocumentsRequest;
import io.vecino.v1.UpdateDocumentRequest;
import io.vecino.v1.Vector;
import io.vecino.v1.WriteToken;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public final class Scenario {
  private static final String POINTS = "collections/points";
  private static int steps;

  private static void done(String name) {
    System.out.println(++steps + " " + name);
  }

  private static void expect(Object expected, Object came, String what) {
    if (!Objects.equals(expected, came)) {
      throw new AssertionError(what + ": expected " + expected + ", came " + came);
    }
  }

  private static StatusRuntimeException refused(Status.Code code, Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      expect(code, error.getStatus().getCode(), "code");
      return error;
    }
    throw new AssertionError("expected " + code + ", came OK");
  }

  private static Vector vector(float... values) {
    Vector.Builder made = Vector.newBuilder();
    for (float value : values) {
      made.addValues(value);
    }
    return made.build();
  }

  private static FieldMask mask(String... paths) {
    return FieldMask.newBuilder().addAllPaths(List.of(paths)).build();
  }

  private static Document.Builder point(int i) {
    String color = List.of("red", "green", "blue").get(i % 3);
    Struct metadata = Struct.newBuilder()
        .putFields("number", Value.newBuilder().setNumberValue(i).build())
        .putFields("even", Value.newBuilder().setBoolValue(i % 2 == 0).build())
        .putFields("color", Value.newBuilder().setStringValue(color).build())
        .build();
    return Document.newBuilder().setId("p" + i).setText("point " + i).setMetadata(metadata).setVector(vector(i, 0, 1));
  }

  private static List<String> ids(SearchDocumentsResponse found) {
    return found.getHitsList().stream().map(hit -> hit.getDocument().getId()).collect(Collectors.toList());
  }

  // How the end of a stream stands in the queue of its replies.
  private record End(Throwable error) {}

  // Sends 1,000 documents within the window; puts into `answered` how often each was answered. Returns done_through.
  private static long ingest(DocumentServiceGrpc.DocumentServiceStub documents, Map<Long, Integer> answered)
      throws InterruptedException {
    LinkedBlockingQueue<Object> replies = new LinkedBlockingQueue<>();
    StreamObserver<IngestDocumentsRequest> requests =
        documents.withDeadlineAfter(120, TimeUnit.SECONDS).ingestDocuments(new StreamObserver<>() {
          @Override
          public void onNext(IngestDocumentsResponse reply) {
            replies.add(reply);
          }

          @Override
          public void onError(Throwable error) {
            replies.add(new End(error));
          }

          @Override
          public void onCompleted() {
            replies.add(new End(null));
          }
        });
    requests.onNext(IngestDocumentsRequest.newBuilder()
        .setStart(IngestStart.newBuilder().setParent(POINTS).setResumeToken("load")).build());
    long sent = 0;
    long doneThrough = 0;
    long window = 0;
    while (true) {
      Object next = replies.take();
      if (next instanceof End end) {
        expect(null, end.error(), "end of the stream");
        return doneThrough;
      }
      IngestDocumentsResponse reply = (IngestDocumentsResponse) next;
      if (reply.hasWindow()) {
        window = reply.getWindow().getDocuments();
      }
      doneThrough = Math.max(doneThrough, reply.getDoneThrough());
      for (IngestResult result : reply.getResultsList()) {
        expect(0, result.getStatus().getCode(), "item " + result.getSeq() + ": " + result.getStatus().getMessage());
        answered.merge(result.getSeq(), 1, Integer::sum);
      }
      while (sent < 1000 && sent - answered.size() < window) {
        sent++;
        Document document = Document.newBuilder().setId("i" + sent).setVector(vector(-sent, 0, 1)).build();
        requests.onNext(IngestDocumentsRequest.newBuilder()
            .setDocument(IngestDocument.newBuilder().setSeq(sent).setDocument(document)).build());
        if (sent == 1000) {
          requests.onNext(IngestDocumentsRequest.newBuilder().setFinish(IngestFinish.getDefaultInstance()).build());
          requests.onCompleted();
        }
      }
    }
  }

  private static void run(ManagedChannel channel) throws Exception {
    var collections = CollectionServiceGrpc.newBlockingStub(channel);
    var documents = DocumentServiceGrpc.newBlockingStub(channel);
    var searches = SearchServiceGrpc.newBlockingStub(channel);
    var operations = OperationsGrpc.newBlockingStub(channel);

    Collection made = collections.createCollection(CreateCollectionRequest.newBuilder()
        .setCollectionId("points")
        .setCollection(Collection.newBuilder().setDimension(3).setMetric(Metric.METRIC_L2).setShardCount(2))
        .build()).getCollection();
    expect(POINTS, made.getName(), "name");
    expect(3, made.getDimension(), "dimension");
    expect(IndexPolicy.Kind.KIND_AUTO, made.getIndexPolicy().getKind(), "kind");
    expect(false, made.getEtag().isEmpty(), "has no etag");
    done("create");

    BatchUpsertDocumentsRequest.Builder batch = BatchUpsertDocumentsRequest.newBuilder().setParent(POINTS);
    IntStream.range(0, 100).forEach(i -> batch.addDocuments(point(i)));
    List<BatchWriteResult> upserted = documents.batchUpsertDocuments(batch.build()).getResultsList();
    expect(Collections.nCopies(100, 0), upserted.stream().map(result -> result.getStatus().getCode()).toList(), "statuses");
    done("upsert");

    ByteBuffer bytes = ByteBuffer.allocate(12).order(ByteOrder.LITTLE_ENDIAN).putFloat(100).putFloat(0).putFloat(1).flip();
    WriteToken token = documents.updateDocument(UpdateDocumentRequest.newBuilder()
        .setDocument(point(100).setName(POINTS + "/documents/p100")
            .setVector(Vector.newBuilder().setFloat32Le(ByteString.copyFrom(bytes))))
        .setAllowMissing(true).build()).getWriteToken();
    expect(true, token.getSequenceNumber() > 0, "sequence number above 0");
    done("upsert one");

    Document got = documents.getDocument(GetDocumentRequest.newBuilder().setName(POINTS + "/documents/p7")
        .setReadMask(mask("text", "metadata", "vector")).build()).getDocument();
    expect("point 7", got.getText(), "text");
    expect(point(7).getMetadata(), got.getMetadata(), "metadata");
    expect(List.of(7f, 0f, 1f), got.getVector().getValuesList(), "vector");
    expect(true, got.getCreateTime().getSeconds() > 0, "has a create time");
    done("get");

    SearchDocumentsResponse found = searches.searchDocuments(SearchDocumentsRequest.newBuilder()
        .setParent(POINTS).setVector(vector(50.2f, 0, 1)).setTopK(3).addWriteTokens(token)
        .setFilter("even = true AND color = \"red\"").build());
    expect(List.of("p48", "p54", "p42"), ids(found), "hits");
    expect(true, Math.abs(found.getHits(0).getScore() - 4.84) < 1e-3, "the first score is 4.84");
    expect(Metric.METRIC_L2, found.getMetric(), "metric");
    expect(false, found.getHigherIsBetter(), "higher_is_better");
    done("search");

    List<BatchSearchResult> results = searches.batchSearchDocuments(BatchSearchDocumentsRequest.newBuilder()
        .setParent(POINTS)
        .addRequests(SearchDocumentsRequest.newBuilder().setVector(vector(0, 0, 1)).setTopK(2))
        .addRequests(SearchDocumentsRequest.newBuilder().setVector(vector(10.1f, 0, 1)).setTopK(2))
        .addRequests(SearchDocumentsRequest.newBuilder().setVector(vector(0, 0, 1)).setTopK(0))
        .build()).getResultsList();
    expect(3, results.size(), "results");
    expect(List.of("p0", "p1"), ids(results.get(0).getResponse()), "hits");
    expect(List.of("p10", "p11"), ids(results.get(1).getResponse()), "hits");
    expect(Status.Code.INVALID_ARGUMENT.value(), results.get(2).getStatus().getCode(), "status");
    done("batch search");

    List<String> seen = new ArrayList<>();
    int pages = 0;
    String pageToken = "";
    do {
      ListDocumentsResponse page = documents.listDocuments(ListDocumentsRequest.newBuilder()
          .setParent(POINTS).setPageSize(40).setPageToken(pageToken).setReadMask(mask("id")).build());
      page.getDocumentsList().forEach(one -> seen.add(one.getId()));
      pages++;
      pageToken = page.getNextPageToken();
    } while (!pageToken.isEmpty());
    expect(3, pages, "pages");
    expect(101, seen.size(), "ids");
    expect(101, new HashSet<>(seen).size(), "different ids");
    done("pages");

    StatusRuntimeException error = refused(Status.Code.INVALID_ARGUMENT, () -> documents.updateDocument(
        UpdateDocumentRequest.newBuilder().setDocument(
            Document.newBuilder().setName(POINTS + "/documents/p0").setVector(vector(1, 2))).build()));
    expect(false, error.getStatus().getDescription().isEmpty(), "has no message");
    BadRequest badRequest = null;
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(BadRequest.class)) {
        badRequest = detail.unpack(BadRequest.class);
      }
    }
    expect("document.vector", badRequest == null ? null : badRequest.getFieldViolations(0).getField(), "field");
    done("error details");

    Map<Long, Integer> answered = new HashMap<>();
    long doneThrough = ingest(DocumentServiceGrpc.newStub(channel), answered);
    expect(1000, answered.size(), "items answered");
    answered.forEach((seq, times) -> expect(1, times, "answers to " + seq));
    expect(1000L, doneThrough, "done_through");
    done("ingest");

    expect(1101L, documents.countDocuments(CountDocumentsRequest.newBuilder().setParent(POINTS).build()).getCount(), "count");
    expect(33L, documents.countDocuments(CountDocumentsRequest.newBuilder().setParent(POINTS)
        .setFilter("color = \"blue\"").build()).getCount(), "blue ones");
    done("count");

    List<String> streamed = new ArrayList<>();
    documents.streamDocuments(StreamDocumentsRequest.newBuilder().setParent(POINTS).setReadMask(mask("id")).build())
        .forEachRemaining(message -> {
          expect(false, message.getResumeToken().isEmpty(), "has no resume token");
          message.getDocumentsList().forEach(one -> streamed.add(one.getId()));
        });
    expect(1101, streamed.size(), "ids");
    expect(1101, new HashSet<>(streamed).size(), "different ids");
    done("stream");

    collections.createAlias(CreateAliasRequest.newBuilder().setAliasId("pts")
        .setAlias(Alias.newBuilder().setTarget(POINTS)).build());
    expect(POINTS, collections.getCollection(GetCollectionRequest.newBuilder().setName("collections/pts").build())
        .getCollection().getName(), "name through the alias");
    got = documents.getDocument(GetDocumentRequest.newBuilder().setName("collections/pts/documents/p7").build()).getDocument();
    expect("point 7", got.getText(), "text through the alias");
    done("alias");

    documents.deleteDocument(DeleteDocumentRequest.newBuilder().setName(POINTS + "/documents/p7").build());
    refused(Status.Code.NOT_FOUND, () -> documents.getDocument(
        GetDocumentRequest.newBuilder().setName(POINTS + "/documents/p7").build()));
    List<BatchWriteResult> deleted = documents.batchDeleteDocuments(BatchDeleteDocumentsRequest.newBuilder()
        .setParent(POINTS).addIds("p8").addIds("p7").build()).getResultsList();
    expect(List.of(0, Status.Code.NOT_FOUND.value()),
        deleted.stream().map(result -> result.getStatus().getCode()).toList(), "statuses");
    done("delete");

    Operation operation = collections.compactIndex(CompactIndexRequest.newBuilder().setName(POINTS).build());
    while (!operation.getDone()) {
      operation = operations.waitOperation(WaitOperationRequest.newBuilder().setName(operation.getName())
          .setTimeout(Duration.newBuilder().setSeconds(20)).build());
    }
    expect(Operation.ResultCase.RESPONSE, operation.getResultCase(), "result");
    operation.getResponse().unpack(CompactIndexResponse.class);
    expect(POINTS, operation.getMetadata().unpack(IndexOperationMetadata.class).getCollection(), "collection");
    done("operation");

    operation = documents.purgeDocuments(PurgeDocumentsRequest.newBuilder().setParent(POINTS)
        .setFilter("color = \"blue\"").build());
    expect(true, operation.getDone(), "is done");
    expect(32L, operation.getResponse().unpack(PurgeDocumentsResponse.class).getPurgeCount(), "purge_count");
    done("purge");

    collections.deleteAlias(DeleteAliasRequest.newBuilder().setName("aliases/pts").build());
    collections.deleteCollection(DeleteCollectionRequest.newBuilder().setName(POINTS).build());
    refused(Status.Code.NOT_FOUND, () -> collections.getCollection(
        GetCollectionRequest.newBuilder().setName(POINTS).build()));
    done("clean up");
  }

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    try {
      run(channel);
      System.out.println("ok " + steps + " steps");
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
