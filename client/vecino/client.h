// Vecino's C++ client: plain values (vecino/types.h) over one gRPC channel. No proto or gRPC type
// is in this header.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vecino/snapshot_types.h"
#include "vecino/types.h"

namespace vecino {

struct ClientOptions {
  std::string server = "127.0.0.1:7700";
  std::chrono::milliseconds timeout{30'000};  // deadline of each call, all its attempts together
  // Retries on UNAVAILABLE (and on RESOURCE_EXHAUSTED when the server says when to come back), with
  // exponential backoff and full jitter between these bounds. Every call here is safe to repeat.
  int max_attempts = 5;
  std::chrono::milliseconds initial_backoff{50};
  std::chrono::milliseconds max_backoff{2'000};
};

class Ingest;  // vecino/ingest.h

// Thread safety: all methods are safe from any thread at once and block until the reply, the
// deadline, or the last attempt. None throws.
class Client {
 public:
  // Does not connect yet; the first call does.
  explicit Client(ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Blocks until a server answers and its health is SERVING (a server without the health service
  // need only answer); UNAVAILABLE with the reason after `timeout`.
  Status WaitForReady(std::chrono::milliseconds timeout);
  // grpc.health.v1 for `service` ("" is the server as a whole): "SERVING", "NOT_SERVING",
  // "SERVICE_UNKNOWN".
  Result<std::string> Health(const std::string& service = "");
  Result<ServerStatus> GetServerStatus();

  Result<Collection> CreateCollection(const Collection& collection, bool validate_only = false);
  Result<Collection> GetCollection(const std::string& id);
  // All of them, through as many pages as it takes.
  Result<std::vector<Collection>> ListCollections();
  // Changes how a collection is searched, from its reply on; nothing is built anew.
  // INVALID_ARGUMENT without a call when nothing to change is named; NOT_FOUND; ABORTED when it has
  // another etag. validate_only: only checks; what is returned has no etag then.
  Result<Collection> UpdateCollection(const std::string& id, const CollectionUpdate& update,
                                      bool validate_only = false);
  Status DeleteCollection(const std::string& id, const std::string& etag = {});
  Result<CollectionStats> GetCollectionStats(const std::string& id);
  // Measures recall now: searches as they would be answered, and exactly, and compares. Takes as
  // long as so many exact searches, so give the client a timeout to match. RESOURCE_EXHAUSTED while
  // two of these calls run.
  Result<RecallEvaluation> EvaluateRecall(const std::string& id, const RecallQueries& queries = {},
                                          const RecallOptions& options = {});

  // ALREADY_EXISTS when an alias or a collection has the id, NOT_FOUND when there is no such
  // target.
  Result<Alias> CreateAlias(const std::string& id, const std::string& target);
  // Points it elsewhere, at once for all callers. expected_target: only if it points there now
  // (ABORTED otherwise); empty: in any case. allow_missing: created if it does not exist.
  Result<Alias> UpdateAlias(const std::string& id, const std::string& target,
                            const std::string& expected_target = {}, bool allow_missing = false);
  Result<Alias> GetAlias(const std::string& id);
  // All of them, in order of id.
  Result<std::vector<Alias>> ListAliases();
  // The collection stays. NOT_FOUND; OK when it is gone after more than one attempt.
  Status DeleteAlias(const std::string& id);

  // Gives `take` what happens from now on, in one collection or, with an empty id, in all, until it
  // returns an error or the call ends. Not tried again, and without a deadline: the client's
  // timeout is not for it.
  Status WatchEvents(const std::string& collection, const EventFn& take);

  // Deletes, or changes the metadata of, every document that `filter` lets pass (`*`: all), in the
  // background; see docs/documents.md. patch_json: an object, merged into the metadata (RFC 7396).
  // Without `force` nothing is changed, and the result says what would be.
  Result<DocumentChange> PurgeDocuments(const std::string& collection, const std::string& filter,
                                        bool force);
  Result<DocumentChange> PatchDocuments(const std::string& collection, const std::string& filter,
                                        const std::string& patch_json, bool force);
  // Retrain: new centroids and codebooks from the rows that are there now, and all rows encoded
  // anew. Compact: the segments of each shard become one, without deleted rows. Both run in the
  // background; the operation that is returned runs already when one of the same kind over the same
  // shards did. shards: empty for all. validate_only: the estimate, and nothing is started. A new
  // build that is worse than the old index, or finds less than min_recall_gate, does not go live:
  // the shards' outcomes say so.
  Result<Operation> RetrainIndex(const std::string& collection, const std::vector<int>& shards = {},
                                 bool validate_only = false, double min_recall_gate = 0);
  Result<Operation> CompactIndex(const std::string& collection, const std::vector<int>& shards = {},
                                 bool validate_only = false);
  // Measures recall and time of searches from narrow to wide and has the index go by that; the
  // curve is in the operation when it is done. Tunings run one after another; called again after a
  // lost reply it measures again, which does no harm. FAILED_PRECONDITION where there is nothing to
  // find.
  Result<Operation> TuneIndex(const std::string& collection, const TuningOptions& options = {},
                              bool validate_only = false);
  // Makes embeddings by another model beside those there are; docs/migration.md. The operation is
  // done when they are ready, or with options.automatic, when the collection has gone over.
  Result<Operation> MigrateEmbeddings(const std::string& collection,
                                      const MigrationOptions& options, bool validate_only = false);
  // Has the collection use these embeddings from now on, and returns it. Back and forth, as often
  // as one likes. FAILED_PRECONDITION without a migration and before the new ones are ready.
  Result<Collection> SwitchEmbeddings(const std::string& collection, EmbeddingSide to);
  // Removes the embeddings not in use, for good. keep: FAILED_PRECONDITION unless these are in use.
  Result<Collection> FinishEmbeddingMigration(const std::string& collection,
                                              std::optional<EmbeddingSide> keep = std::nullopt);
  // The server keeps the last 256 operations that are done, over restarts too; others: NOT_FOUND.
  // One that was cut short by a restart is done, with ABORTED.
  Result<Operation> GetOperation(const std::string& collection, const std::string& id);
  // In order of creation, through as many pages as it takes.
  Result<std::vector<Operation>> ListOperations(const std::string& collection);
  // How it stands when it is done or after `timeout` (at most 30 s, and the client's own),
  // whichever is first; call again until it is done.
  Result<Operation> WaitOperation(const std::string& collection, const std::string& id,
                                  std::chrono::milliseconds timeout);
  // Asks it to stop, which takes a moment. OK also when it is done.
  Status CancelOperation(const std::string& collection, const std::string& id);
  // Forgets it. FAILED_PRECONDITION while it runs.
  Status DeleteOperation(const std::string& collection, const std::string& id);

  // Copies collections (none named: all) as they are at one moment. id empty: the time; then a call
  // that is tried again may make two. ALREADY_EXISTS, after a lost connection perhaps for this very
  // one. The operation goes on by itself.
  Result<SnapshotOperation> CreateSnapshot(const std::string& id,
                                           const std::vector<std::string>& collections = {});
  // By id, through as many pages as it takes.
  Result<std::vector<Snapshot>> ListSnapshots();
  // Makes collections of a snapshot, all at once: of `source` only, unless empty; under the id
  // `collection`, unless empty. ALREADY_EXISTS when there is one of the id.
  Result<SnapshotOperation> RestoreSnapshot(const std::string& id, const std::string& source = {},
                                            const std::string& collection = {});
  // FAILED_PRECONDITION while it is restored. OK when it is gone after more than one attempt.
  Status DeleteSnapshot(const std::string& id);
  // As WaitOperation and CancelOperation; a server knows them until it stops.
  Result<SnapshotOperation> WaitSnapshotOperation(const std::string& snapshot,
                                                  const std::string& id,
                                                  std::chrono::milliseconds timeout);
  Status CancelSnapshotOperation(const std::string& snapshot, const std::string& id);
  // Looks for damage of a collection, a snapshot, or, when both are empty, of everything, and hands
  // what is found to `take`, on the caller's thread. DATA_LOSS when anything was. The client's
  // timeout is not for this call; `take` can end it.
  Status VerifyIntegrity(const std::string& collection, const std::string& snapshot,
                         const IntegrityFn& take);

  // One shard's index as a file that stock FAISS opens, and the ids of its rows. OK only when the
  // sink got all of it. The server makes the index before anything is sent, which can take minutes,
  // and the client's timeout is for the whole call. Tried again before Begin, and after it when the
  // sink can begin anew (IndexExportSink::Restart), max_attempts - 1 times at most. vectors: false
  // leaves the full vectors out where the kind does without. RESOURCE_EXHAUSTED while another
  // export of the collection runs.
  Status ExportIndex(const std::string& collection, int shard, bool vectors, IndexExportSink& sink);

  // One document. INVALID_ARGUMENT without a call when a string is not UTF-8 or the metadata is no
  // JSON object; so in every method below.
  Result<WriteResult> Upsert(const std::string& collection, const Document& document,
                             Truncate truncate = Truncate::kAuto);
  // ALREADY_EXISTS when there is one of its id; after a lost connection that may be this very one.
  Result<WriteResult> Create(const std::string& collection, const Document& document,
                             Truncate truncate = Truncate::kAuto);
  // Changes the fields that `fields` names: "text", "metadata", "metadata.FIELD" (dots lead into
  // objects), "vector", "expire_time" (then expire_time or ttl holds). The others stay; one that is
  // named and not in `document` is cleared. NOT_FOUND when it does not exist, unless allow_missing.
  // INVALID_ARGUMENT when `fields` is empty.
  Result<WriteResult> Update(const std::string& collection, const Document& document,
                             const std::vector<std::string>& fields, bool allow_missing = false,
                             Truncate truncate = Truncate::kAuto);
  // At most 1,000 documents; one result each, in order. An error of one never stops the others: it
  // is in its result's status. The call itself fails only when nothing was judged.
  Result<std::vector<WriteResult>> UpsertBatch(const std::string& collection,
                                               const std::vector<Document>& documents,
                                               Truncate truncate = Truncate::kAuto,
                                               WriteMode mode = WriteMode::kUpsert);
  Result<Document> Get(const std::string& collection, const std::string& id,
                       const ReadMask& mask = {});
  // At most 1,000 ids; nullopt where one does not exist.
  Result<std::vector<std::optional<Document>>> GetBatch(const std::string& collection,
                                                        const std::vector<std::string>& ids,
                                                        const ReadMask& mask = {});
  // NOT_FOUND when it does not exist; OK when it is gone after more than one attempt. etag: not
  // empty: ABORTED when it is not the current one.
  Status Delete(const std::string& collection, const std::string& id, const std::string& etag = {});
  // At most 1,000 ids; one result each, in order: NOT_FOUND where there was nothing to delete.
  Result<std::vector<WriteResult>> DeleteBatch(const std::string& collection,
                                               const std::vector<std::string>& ids);
  Result<DocumentPage> List(const std::string& collection, int page_size,
                            const std::string& page_token = {}, const ReadMask& mask = {},
                            const std::string& filter = {});
  // filter: docs/filters.md; empty: every document. So above and below.
  Result<int64_t> Count(const std::string& collection, const std::string& filter = {});
  // How often the values of metadata fields (1 to 16) occur, the most frequent `limit` of each.
  Result<std::vector<Facet>> CountValues(const std::string& collection,
                                         const std::vector<std::string>& fields,
                                         const std::string& filter = {}, int limit = 10);
  // Every document there is at the moment of the call, by shard, then id. The client's timeout is
  // for each message. When the connection breaks or the server restarts the stream is taken up
  // behind what came, for as long as the timeout without a message: see StreamOptions::on_resume.
  Status StreamDocuments(const std::string& collection, const StreamOptions& options,
                         const DocumentsFn& take);

  Result<SearchResponse> Search(const std::string& collection, const Query& query,
                                const SearchOptions& options = {});
  // At most 100 searches in one call; what each becomes, in order. Their texts are embedded
  // together. A search that fails does not stop the others.
  Result<std::vector<Result<SearchResponse>>> SearchBatch(const std::string& collection,
                                                          const std::vector<SearchCall>& calls);

  // A search for meaning and one for words, merged. Of `options` top_k, read_mask, write_tokens,
  // truncate, filter, diversify, reranking, explain and verify; INVALID_ARGUMENT when another is
  // set.
  Result<SearchResponse> HybridSearch(const std::string& collection, const HybridQuery& query,
                                      const SearchOptions& options = {});

  // Finds what a question is about and has the server's generator answer it, if it has one. OK also
  // when the generator failed: that is in the result. The client's timeout is for the whole call.
  // Tried again only before Sources.
  Result<AnswerEnd> Answer(const std::string& collection, const std::string& question,
                           const AnswerOptions& options, AnswerSink& sink);

  // timings: filled on success, may be null. prompt: name of one of the model's; empty: that of
  // input_type.
  Result<std::vector<Embedding>> Embed(const std::string& model,
                                       const std::vector<std::string>& texts,
                                       InputType input_type = InputType::kDocument,
                                       Truncate truncate = Truncate::kAuto,
                                       EmbedTimings* timings = nullptr,
                                       const std::string& prompt = {});
  // Scores how relevant each of at most 1,000 texts is to the query, in their order. model: a
  // reranker; empty: the server's only one. timings: as in Embed.
  Result<std::vector<RerankedText>> Rerank(const std::string& model, const std::string& query,
                                           const std::vector<std::string>& texts,
                                           Truncate truncate = Truncate::kAuto,
                                           EmbedTimings* timings = nullptr);
  Result<std::vector<Model>> ListModels();

 private:
  friend class Ingest;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vecino
