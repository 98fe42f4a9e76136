// SCENARIO.md in Go: grpc-go, stubs of protoc-gen-go and protoc-gen-go-grpc in ./vecino/v1.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/vecino/vecino/gen/go/vecino/v1"
)

const points = "collections/points"

var steps int

func done(name string) {
	steps++
	fmt.Println(steps, name)
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func expect(expected, came any, what string) {
	if !reflect.DeepEqual(expected, came) {
		fail("%s: expected %#v, came %#v", what, expected, came)
	}
}

// ok returns the reply of a call that must not fail.
func ok[T any](reply T, err error) T {
	if err != nil {
		fail("step %d: %v", steps+1, err)
	}
	return reply
}

func refused(code codes.Code, err error) *status.Status {
	expect(code, status.Code(err), "code")
	return status.Convert(err)
}

func vector(values ...float32) *pb.Vector {
	return &pb.Vector{Values: values}
}

func point(i int) *pb.Document {
	color := []string{"red", "green", "blue"}[i%3]
	metadata := ok(structpb.NewStruct(map[string]any{"number": i, "even": i%2 == 0, "color": color}))
	return &pb.Document{Id: fmt.Sprintf("p%d", i), Text: fmt.Sprintf("point %d", i), Metadata: metadata,
		Vector: vector(float32(i), 0, 1)}
}

func ids(hits []*pb.SearchHit) []string {
	var found []string
	for _, hit := range hits {
		found = append(found, hit.GetDocument().GetId())
	}
	return found
}

// ingest sends 1,000 documents within the window; it returns how often each number was answered, and done_through.
func ingest(ctx context.Context, documents pb.DocumentServiceClient) (map[int64]int, int64) {
	stream := ok(documents.IngestDocuments(ctx))
	send := func(request *pb.IngestDocumentsRequest) {
		if err := stream.Send(request); err != nil {
			_, err = stream.Recv()
			fail("send: %v", err)
		}
	}
	send(&pb.IngestDocumentsRequest{Message: &pb.IngestDocumentsRequest_Start{
		Start: &pb.IngestStart{Parent: points, ResumeToken: "load"}}})
	answered := map[int64]int{}
	var sent, doneThrough int64
	var window *pb.IngestWindow
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answered, doneThrough
		}
		ok(reply, err)
		if reply.GetWindow() != nil {
			window = reply.GetWindow()
		}
		doneThrough = max(doneThrough, reply.GetDoneThrough())
		for _, result := range reply.GetResults() {
			expect(int32(0), result.GetStatus().GetCode(), fmt.Sprintf("item %d: %s", result.GetSeq(), result.GetStatus().GetMessage()))
			answered[result.GetSeq()]++
		}
		for sent < 1000 && sent-int64(len(answered)) < int64(window.GetDocuments()) {
			sent++
			document := &pb.Document{Id: fmt.Sprintf("i%d", sent), Vector: vector(float32(-sent), 0, 1)}
			send(&pb.IngestDocumentsRequest{Message: &pb.IngestDocumentsRequest_Document{
				Document: &pb.IngestDocument{Seq: sent, Document: document}}})
			if sent == 1000 {
				send(&pb.IngestDocumentsRequest{Message: &pb.IngestDocumentsRequest_Finish{Finish: &pb.IngestFinish{}}})
				if err := stream.CloseSend(); err != nil {
					fail("close: %v", err)
				}
			}
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		fail("usage: conformance HOST:PORT")
	}
	connection := ok(grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	collections := pb.NewCollectionServiceClient(connection)
	documents := pb.NewDocumentServiceClient(connection)
	searches := pb.NewSearchServiceClient(connection)
	operations := longrunningpb.NewOperationsClient(connection)

	made := ok(collections.CreateCollection(ctx, &pb.CreateCollectionRequest{CollectionId: "points",
		Collection: &pb.Collection{Dimension: 3, Metric: pb.Metric_METRIC_L2, ShardCount: 2}})).GetCollection()
	expect(points, made.GetName(), "name")
	expect(int32(3), made.GetDimension(), "dimension")
	expect(pb.IndexPolicy_KIND_AUTO, made.GetIndexPolicy().GetKind(), "kind")
	expect(true, made.GetEtag() != "", "has an etag")
	done("create")

	batch := &pb.BatchUpsertDocumentsRequest{Parent: points}
	for i := range 100 {
		batch.Documents = append(batch.Documents, point(i))
	}
	upserted := ok(documents.BatchUpsertDocuments(ctx, batch)).GetResults()
	expect(100, len(upserted), "results")
	for i, result := range upserted {
		expect(int32(0), result.GetStatus().GetCode(), fmt.Sprintf("status of p%d", i))
	}
	done("upsert")

	document := point(100)
	document.Name = points + "/documents/p100"
	var bytes []byte
	for _, value := range []float32{100, 0, 1} {
		bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(value))
	}
	document.Vector = &pb.Vector{Float32Le: bytes}
	token := ok(documents.UpdateDocument(ctx, &pb.UpdateDocumentRequest{Document: document, AllowMissing: true})).GetWriteToken()
	expect(true, token.GetSequenceNumber() > 0, "sequence number above 0")
	done("upsert one")

	got := ok(documents.GetDocument(ctx, &pb.GetDocumentRequest{Name: points + "/documents/p7",
		ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"text", "metadata", "vector"}}})).GetDocument()
	expect("point 7", got.GetText(), "text")
	expect(map[string]any{"number": 7.0, "even": false, "color": "green"}, got.GetMetadata().AsMap(), "metadata")
	expect([]float32{7, 0, 1}, got.GetVector().GetValues(), "vector")
	expect(true, got.GetCreateTime().GetSeconds() > 0, "has a create time")
	done("get")

	found := ok(searches.SearchDocuments(ctx, &pb.SearchDocumentsRequest{Parent: points,
		Query: &pb.SearchDocumentsRequest_Vector{Vector: vector(50.2, 0, 1)}, TopK: proto.Int32(3),
		WriteTokens: []*pb.WriteToken{token}, Filter: `even = true AND color = "red"`}))
	expect([]string{"p48", "p54", "p42"}, ids(found.GetHits()), "hits")
	expect(true, math.Abs(float64(found.GetHits()[0].GetScore())-4.84) < 1e-3, "the first score is 4.84")
	expect(pb.Metric_METRIC_L2, found.GetMetric(), "metric")
	expect(false, found.GetHigherIsBetter(), "higher_is_better")
	done("search")

	near := func(x float32, k int32) *pb.SearchDocumentsRequest {
		return &pb.SearchDocumentsRequest{Query: &pb.SearchDocumentsRequest_Vector{Vector: vector(x, 0, 1)}, TopK: proto.Int32(k)}
	}
	results := ok(searches.BatchSearchDocuments(ctx, &pb.BatchSearchDocumentsRequest{Parent: points,
		Requests: []*pb.SearchDocumentsRequest{near(0, 2), near(10.1, 2), near(0, 0)}})).GetResults()
	expect(3, len(results), "results")
	expect([]string{"p0", "p1"}, ids(results[0].GetResponse().GetHits()), "hits")
	expect([]string{"p10", "p11"}, ids(results[1].GetResponse().GetHits()), "hits")
	expect(int32(codes.InvalidArgument), results[2].GetStatus().GetCode(), "status")
	done("batch search")

	idOnly := &fieldmaskpb.FieldMask{Paths: []string{"id"}}
	seen := map[string]int{}
	pages := 0
	for pageToken := ""; pages == 0 || pageToken != ""; pages++ {
		page := ok(documents.ListDocuments(ctx, &pb.ListDocumentsRequest{Parent: points, PageSize: 40, PageToken: pageToken,
			ReadMask: idOnly}))
		for _, one := range page.GetDocuments() {
			seen[one.GetId()]++
			expect(1, seen[one.GetId()], "times of "+one.GetId())
		}
		pageToken = page.GetNextPageToken()
	}
	expect(3, pages, "pages")
	expect(101, len(seen), "different ids")
	done("pages")

	_, err := documents.UpdateDocument(ctx, &pb.UpdateDocumentRequest{
		Document: &pb.Document{Name: points + "/documents/p0", Vector: vector(1, 2)}})
	bad := refused(codes.InvalidArgument, err)
	expect(true, bad.Message() != "", "has a message")
	field := ""
	for _, detail := range bad.Details() {
		if badRequest, is := detail.(*errdetails.BadRequest); is {
			field = badRequest.GetFieldViolations()[0].GetField()
		}
	}
	expect("document.vector", field, "field of the BadRequest")
	done("error details")

	answered, doneThrough := ingest(ctx, documents)
	expect(1000, len(answered), "items answered")
	for seq, times := range answered {
		expect(1, times, fmt.Sprintf("answers to %d", seq))
	}
	expect(int64(1000), doneThrough, "done_through")
	done("ingest")

	expect(int64(1101), ok(documents.CountDocuments(ctx, &pb.CountDocumentsRequest{Parent: points})).GetCount(), "count")
	expect(int64(33), ok(documents.CountDocuments(ctx, &pb.CountDocumentsRequest{Parent: points,
		Filter: `color = "blue"`})).GetCount(), "blue ones")
	done("count")

	seen = map[string]int{}
	stream := ok(documents.StreamDocuments(ctx, &pb.StreamDocumentsRequest{Parent: points, ReadMask: idOnly}))
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		expect(true, ok(message, err).GetResumeToken() != "", "has a resume token")
		for _, one := range message.GetDocuments() {
			seen[one.GetId()]++
			expect(1, seen[one.GetId()], "times of "+one.GetId())
		}
	}
	expect(1101, len(seen), "different ids")
	done("stream")

	ok(collections.CreateAlias(ctx, &pb.CreateAliasRequest{AliasId: "pts", Alias: &pb.Alias{Target: points}}))
	real := ok(collections.GetCollection(ctx, &pb.GetCollectionRequest{Name: "collections/pts"})).GetCollection()
	expect(points, real.GetName(), "name through the alias")
	got = ok(documents.GetDocument(ctx, &pb.GetDocumentRequest{Name: "collections/pts/documents/p7"})).GetDocument()
	expect("point 7", got.GetText(), "text through the alias")
	done("alias")

	ok(documents.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Name: points + "/documents/p7"}))
	_, err = documents.GetDocument(ctx, &pb.GetDocumentRequest{Name: points + "/documents/p7"})
	refused(codes.NotFound, err)
	deleted := ok(documents.BatchDeleteDocuments(ctx, &pb.BatchDeleteDocumentsRequest{Parent: points,
		Ids: []string{"p8", "p7"}})).GetResults()
	expect(2, len(deleted), "results")
	expect(int32(0), deleted[0].GetStatus().GetCode(), "status of p8")
	expect(int32(codes.NotFound), deleted[1].GetStatus().GetCode(), "status of p7")
	done("delete")

	operation := ok(collections.CompactIndex(ctx, &pb.CompactIndexRequest{Name: points}))
	for !operation.GetDone() {
		operation = ok(operations.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: operation.GetName(),
			Timeout: durationpb.New(20 * time.Second)}))
	}
	expect((*status.Status)(nil).Proto(), operation.GetError(), "error")
	if err := operation.GetResponse().UnmarshalTo(&pb.CompactIndexResponse{}); err != nil {
		fail("response: %v", err)
	}
	metadata := &pb.IndexOperationMetadata{}
	if err := operation.GetMetadata().UnmarshalTo(metadata); err != nil {
		fail("metadata: %v", err)
	}
	expect(points, metadata.GetCollection(), "collection")
	done("operation")

	operation = ok(documents.PurgeDocuments(ctx, &pb.PurgeDocumentsRequest{Parent: points, Filter: `color = "blue"`}))
	expect(true, operation.GetDone(), "is done")
	purged := &pb.PurgeDocumentsResponse{}
	if err := operation.GetResponse().UnmarshalTo(purged); err != nil {
		fail("response: %v", err)
	}
	expect(int64(32), purged.GetPurgeCount(), "purge_count")
	done("purge")

	ok(collections.DeleteAlias(ctx, &pb.DeleteAliasRequest{Name: "aliases/pts"}))
	ok(collections.DeleteCollection(ctx, &pb.DeleteCollectionRequest{Name: points}))
	_, err = collections.GetCollection(ctx, &pb.GetCollectionRequest{Name: points})
	refused(codes.NotFound, err)
	done("clean up")
	fmt.Printf("ok %d steps\n", steps)
}
