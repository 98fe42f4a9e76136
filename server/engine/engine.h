// The registry of collections: the one door of this folder for the RPC layer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "encoder/encoder.h"
#include "server/engine/alias_info.h"
#include "server/engine/document_stream.h"
#include "server/engine/event_bus.h"
#include "server/engine/index_export.h"
#include "server/engine/ingest.h"
#include "server/engine/maintenance_policy.h"
#include "server/engine/migration_info.h"
#include "server/engine/operation.h"
#include "server/engine/operation_estimate.h"
#include "server/engine/recall_evaluation.h"
#include "server/engine/recall_options.h"
#include "server/engine/retrain_hooks.h"
#include "server/engine/snapshots.h"
#include "server/engine/tuning_info.h"
#include "server/engine/types.h"
#include "server/metrics.h"
#include "storage/store.h"

namespace vecino::engine {

// Of the passages that one write call has embedded in a chunked collection; documents beyond are
// refused. A text of a megabyte may have 4,096 passages, so the text of a call says little of the
// memory that it takes, which is about four times this: as made, as written, in the store's batch
// and in the index. It is 174,000 passages of 384 floats.
inline constexpr size_t kCallVectorBytes = size_t{256} << 20;

struct EngineOptions {
  int tail_capacity = 2048;     // rows of one tail; a full one is drained into a segment
  int maintenance_threads = 1;  // drains and merges, at low priority
  int load_threads = 0;         // shards loaded at once at start; 0: one per core
  // Where index files stand, a cache of the store; empty: indexes live in memory and are made again
  // at each start.
  std::string index_folder;
  size_t head_cache_bytes = size_t{64} << 20;  // of ids and times of documents found lately
  // Of what filters let pass, for those that come again; and of codes of their rows (PassingRows),
  // at most a 32nd of MachineMemory.
  size_t filter_cache_bytes = size_t{64} << 20;
  int64_t filter_code_bytes = int64_t{128} << 20;
  // Of where documents stand in segments, for filters that are new (SlotMaps); at most a 16th of
  // MachineMemory.
  int64_t slot_map_bytes = int64_t{256} << 20;
  int64_t index_memory_bytes = 0;  // that indexes may take; builds beyond are refused. 0: no limit
  // Of MachineMemory, that index files are kept in (SegmentFile::KeepInMemory); 0: none are.
  int index_locked_percent = 0;
  std::string snapshot_folder;  // where snapshots stand; empty: there can be none
  std::string server_version;   // that snapshots tell of
  MaintenancePolicy maintenance;
  RetrainHooks hooks;  // for tests
  // Tells update times and what has expired; tests have one of their own. Called from any thread.
  std::function<absl::Time()> clock = absl::Now;
  absl::Duration reap_interval = absl::Seconds(1);      // between looks for what has expired
  int document_streams = 16;                            // that may be open at once
  absl::Duration document_stream_age = absl::Hours(1);  // at most; infinite: no limit
  RecallOptions recall;
  size_t call_vector_bytes = kCallVectorBytes;
};

struct IdPage {
  std::vector<storage::Document> documents;
  // Where the next page starts; absent after the last.
  struct Position {
    int shard = 0;
    std::string after_id;
  };
  std::optional<Position> next;
};

struct EmbedRequest {
  std::string model;  // name without `models/`; empty: the only one
  std::span<const std::string> texts;
  encoder::InputType input_type = encoder::InputType::kDocument;
  std::string prompt;  // see encoder::EmbedOptions
  Truncate truncate = Truncate::kAuto;
  int dimensions = 0;  // see encoder::EmbedOptions
};

struct RerankRequest {
  std::string model;  // name without `models/`; empty: the only reranker
  std::string_view query;
  std::span<const std::string> texts;
  Truncate truncate = Truncate::kAuto;
};

// One for each search, in order.
using SearchBatchResult = std::vector<absl::StatusOr<SearchResult>>;

struct Embedded {
  encoder::ModelInfo model;
  std::vector<encoder::EmbedResult> results;  // one for each text, in order
  encoder::EmbedTimings timings;
};

struct RerankedTexts {
  encoder::ModelInfo model;
  std::vector<encoder::RerankResult> results;  // one for each text, in order
  encoder::EmbedTimings timings;
};

// Thread safety: all methods are safe from any thread. Those that take a CallContext may block on
// the encoder, on disk and on a shard's write queue; they give up with DEADLINE_EXCEEDED or
// CANCELLED between stages, but a write that has reached the log is finished and reported. Errors
// that any of them may return: NOT_FOUND (unknown collection, naming it), UNAVAILABLE (stopping),
// DATA_LOSS.
class Engine {
 public:
  // Longest that a call waits for an operation.
  static constexpr absl::Duration kMaxOperationWait = absl::Seconds(30);
  static constexpr int kModifyAttempts = 32;

  // Loads every collection of `store`. `store`, `encoder` and `metrics` must outlive the engine.
  // A collection whose model is missing is loaded all the same; its texts are refused later.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(const EngineOptions& options,
                                                      storage::Store* store,
                                                      encoder::Encoder* encoder, Metrics* metrics);
  virtual ~Engine() = default;

  // INVALID_ARGUMENT (see FieldOf), ALREADY_EXISTS, NOT_FOUND (model). validate_only: checks only.
  virtual absl::StatusOr<CollectionInfo> CreateCollection(const CollectionSpec& spec,
                                                          bool validate_only) = 0;
  virtual absl::StatusOr<CollectionInfo> GetCollection(std::string_view id) const = 0;
  // In order of id.
  virtual std::vector<CollectionInfo> ListCollections() const = 0;
  // Changes how its searches and its maintenance go about it, for the hidden side of a migration
  // too: in the store before it returns, and for every search that begins after. Nothing is built
  // anew. Calls wait for each other. ABORTED when update.etag is not the current one;
  // INVALID_ARGUMENT (see FieldOf), also for a parameter that the kind of index does not have.
  // Nothing has changed then. The reply to validate_only has no etag. Blocks on the disk, and while
  // another collection is made, deleted or switched.
  virtual absl::StatusOr<CollectionInfo> UpdateCollection(const CollectionUpdate& update) = 0;
  // `etag` empty: any; otherwise ABORTED when it is not the current one. FAILED_PRECONDITION naming
  // them while aliases point to it.
  virtual absl::Status DeleteCollection(std::string_view id, std::string_view etag) = 0;
  virtual absl::StatusOr<CollectionStats> GetCollectionStats(std::string_view id) const = 0;

  // Aliases can stand for the id of a collection in every method but these and those that create
  // and delete collections. They do what those of Aliases say.
  virtual absl::StatusOr<AliasInfo> CreateAlias(std::string_view id, std::string_view target) = 0;
  virtual absl::StatusOr<AliasInfo> UpdateAlias(const AliasUpdate& update) = 0;
  virtual absl::StatusOr<AliasInfo> GetAlias(std::string_view id) const = 0;
  virtual std::vector<AliasInfo> ListAliases() const = 0;
  virtual absl::Status DeleteAlias(std::string_view id) = 0;
  // The id of the collection that an alias points to now; nullopt: it is no alias. Takes no time.
  virtual std::optional<std::string> AliasTarget(std::string_view id) const = 0;

  // The documents of a collection as they are now. INVALID_ARGUMENT for a slice, a place or a
  // filter that is none; RESOURCE_EXHAUSTED when EngineOptions::document_streams are open.
  virtual absl::StatusOr<std::unique_ptr<DocumentStream>> OpenDocumentStream(
      std::string_view collection, const DocumentStreamRequest& request) = 0;
  // What maintenance and administration do from now on, of a collection or, with an empty id, of
  // all. RESOURCE_EXHAUSTED. The watcher must not outlive the engine.
  virtual absl::StatusOr<std::unique_ptr<EventBus::Watcher>> WatchEvents(
      std::string_view collection) = 0;

  // Has maintenance retrain or compact shards of a collection; empty: all. min_recall: of kRetrain,
  // 0 to 1; a build that finds less does not go live. While an operation of the same arguments
  // runs, that one is returned. INVALID_ARGUMENT for a shard that is none or a bad min_recall;
  // FAILED_PRECONDITION: kRetrain under FLAT; RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<Operation::Info> StartOperation(std::string_view collection,
                                                         Operation::Type type,
                                                         std::span<const int> shards,
                                                         double min_recall = 0) = 0;
  // What it would take. The same errors.
  virtual absl::StatusOr<OperationEstimate> EstimateOperation(
      std::string_view collection, Operation::Type type, std::span<const int> shards) const = 0;
  // Makes embeddings by another model beside those there are; docs/migration.md. INVALID_ARGUMENT;
  // NOT_FOUND (model); FAILED_PRECONDITION when the collection is in a migration or has these
  // embeddings; RESOURCE_EXHAUSTED. The operation ends with FAILED_PRECONDITION when documents
  // cannot be embedded and that is not allowed, or when the overlap is under min_overlap; cancelled
  // it drops what was made.
  virtual absl::StatusOr<Operation::Info> MigrateEmbeddings(std::string_view collection,
                                                            const MigrationRequest& request) = 0;
  // What it would take; embeds some documents with the new model to know. The same errors.
  virtual absl::StatusOr<OperationEstimate> EstimateMigration(std::string_view collection,
                                                              const MigrationRequest& request,
                                                              const CallContext& context) const = 0;
  // Has the collection use these embeddings from now on, with every write there is. Writes wait
  // meanwhile; searches do not. No effect when it uses them already. FAILED_PRECONDITION without a
  // migration, while the new ones are made, while a purge or a patch runs, or when documents would
  // lose their vector; UNAVAILABLE when the writes under way take too long, or when the other side
  // lacks too much: nothing has changed then.
  virtual absl::StatusOr<CollectionInfo> SwitchEmbeddings(std::string_view collection,
                                                          MigrationSide to,
                                                          const CallContext& context) = 0;
  // Removes the embeddings that the collection does not use. keep: those it does, or
  // FAILED_PRECONDITION; nullopt: whichever. FAILED_PRECONDITION without a migration and while the
  // new ones are made.
  virtual absl::StatusOr<CollectionInfo> FinishMigration(std::string_view collection,
                                                         std::optional<MigrationSide> keep) = 0;

  // The methods on operations return NOT_FOUND for an unknown collection or operation. Of
  // operations that are done the last 256 are kept, over restarts too; those of a deleted
  // collection are gone.
  virtual absl::StatusOr<Operation::Info> GetOperation(std::string_view collection,
                                                       std::string_view id) const = 0;
  // In order of creation, from behind the operation `after` on.
  virtual absl::StatusOr<std::vector<Operation::Info>> ListOperations(std::string_view collection,
                                                                      std::string_view after,
                                                                      int limit) const = 0;
  // Asks it to stop. No effect when it is done.
  virtual absl::Status CancelOperation(std::string_view collection, std::string_view id) = 0;
  // Forgets it. FAILED_PRECONDITION while it runs.
  virtual absl::Status DeleteOperation(std::string_view collection, std::string_view id) = 0;
  // Waits until it is done, for `timeout` and kMaxOperationWait at most, and returns how it stands.
  // Returns at once when kMaxTokenWaiters calls wait for operations already, or the engine stops.
  virtual absl::StatusOr<Operation::Info> WaitOperation(std::string_view collection,
                                                        std::string_view id, absl::Duration timeout,
                                                        const CallContext& context) const = 0;

  // Writes documents; one result each, in order. Durable and visible to every search on return. The
  // outer status is for faults of the whole call (unknown collection, queue full): then nothing was
  // written. When an id stands twice they are done one after the other. A result may be
  // ALREADY_EXISTS, NOT_FOUND or ABORTED as the write's mode and etag ask; that is decided in the
  // moment in which it is written, so of two inserts of an id one is done.
  virtual absl::StatusOr<std::vector<WriteResult>> Upsert(std::string_view collection,
                                                          std::vector<DocumentWrite> writes,
                                                          Truncate truncate,
                                                          const CallContext& context) = 0;
  // Deletes by id; a result is NOT_FOUND where there was nothing. Same length and order as `ids`.
  virtual absl::StatusOr<std::vector<WriteResult>> Delete(std::string_view collection,
                                                          std::span<const std::string> ids,
                                                          const CallContext& context) = 0;
  // Deletes a document if its etag is this one: ABORTED otherwise, NOT_FOUND when there is none.
  virtual absl::StatusOr<WriteResult> DeleteVersion(std::string_view collection,
                                                    const std::string& id, const std::string& etag,
                                                    const CallContext& context) = 0;
  // Reads a document, lets `fn` make its next version, and writes that unless another write came in
  // between; then again, kModifyAttempts times at most, and ABORTED.
  virtual absl::StatusOr<WriteResult> Modify(std::string_view collection, const std::string& id,
                                             const ModifyFn& fn, Truncate truncate,
                                             const CallContext& context) = 0;
  // Opens a stream of writes. resume_token: names it for being taken up again, at most 128 bytes;
  // empty: it cannot be. INVALID_ARGUMENT, ABORTED while a stream with the token is open,
  // RESOURCE_EXHAUSTED when too many are. Where too many could be taken up, the one used longest
  // ago is forgotten. The engine must outlive the stream.
  virtual absl::StatusOr<std::unique_ptr<IngestStream>> OpenIngest(std::string_view collection,
                                                                   std::string_view resume_token,
                                                                   Truncate truncate) = 0;
  // Deletes (patch null) or patches the documents that `filter` lets pass when the work begins, in
  // the background, one such operation after another. A document that is written anew meanwhile
  // stays, or is patched if its new version passes, too. INVALID_ARGUMENT naming `filter`;
  // RESOURCE_EXHAUSTED when many wait.
  virtual absl::StatusOr<Operation::Info> ChangeDocuments(std::string_view collection,
                                                          std::string_view filter,
                                                          PatchFn patch) = 0;
  // nullopt where an id does not exist or has expired, as of all reads. Same length and order as
  // `ids`; an id that stands several times is read once. max_bytes: the caller's limit on its
  // reply. When the documents take more, copies included, reading stops with RESOURCE_EXHAUSTED
  // (IsOverBudget), with at most 64 documents read beyond the limit.
  virtual absl::StatusOr<std::vector<std::optional<storage::Document>>> Get(
      std::string_view collection, std::span<const std::string> ids,
      const storage::DocumentParts& parts, size_t max_bytes) const = 0;
  // Up to `limit` documents from `from` on, by shard, then id; stops early before about
  // `max_bytes`. filter: docs/filters.md; empty: all. INVALID_ARGUMENT naming `filter` and the
  // column, as in the methods below.
  virtual absl::StatusOr<IdPage> List(std::string_view collection, const IdPage::Position& from,
                                      int limit, size_t max_bytes,
                                      const storage::DocumentParts& parts,
                                      std::string_view filter = "") const = 0;
  virtual absl::StatusOr<int64_t> Count(std::string_view collection,
                                        std::string_view filter = "") const = 0;
  // For each of `fields`, which are paths of metadata, its values among the documents that `filter`
  // lets pass, `limit` of each at most.
  virtual absl::StatusOr<std::vector<Facet>> CountValues(std::string_view collection,
                                                         std::span<const std::string> fields,
                                                         std::string_view filter,
                                                         int limit) const = 0;

  // Waits for request.tokens, 30 seconds at most. At most kMaxTokenWaiters calls wait at once;
  // others get RESOURCE_EXHAUSTED. NOT_FOUND when the collection is deleted meanwhile, UNAVAILABLE
  // when the engine stops. IsOverBudget as Get.
  virtual absl::StatusOr<SearchResult> Search(std::string_view collection,
                                              const SearchRequest& request,
                                              const CallContext& context) const = 0;
  // Up to kMaxSearches searches, one after another; what each becomes, in order. Their texts are
  // embedded in one call. max_bytes: what the documents of all replies may take together; a search
  // whose documents do not fit beside those before it is IsOverBudget, and the others go on. The
  // outer status is for faults of the whole call: the collection, the number of searches or texts,
  // the encoder, the deadline.
  virtual absl::StatusOr<SearchBatchResult> SearchBatch(std::string_view collection,
                                                        std::span<const SearchRequest> requests,
                                                        size_t max_bytes,
                                                        const CallContext& context) const = 0;

  // Measures how much of the true nearest documents searches find, now. INVALID_ARGUMENT naming the
  // field; FAILED_PRECONDITION: texts without a model. Blocks for as long as the exact searches
  // take.
  virtual absl::StatusOr<RecallEvaluation> EvaluateRecall(std::string_view collection,
                                                          const RecallRequest& request,
                                                          const CallContext& context) const = 0;

  // Measures recall, time and rows of searches over settings of the index, from narrow to wide,
  // against brute force, and has the shards go by what was measured: searches for as many
  // documents, under filters of the same share, reach recall targets by it from then on, until the
  // next training or calibration. In the background, one such operation after another; cancelled it
  // changes nothing. INVALID_ARGUMENT naming the field; FAILED_PRECONDITION: texts without a model,
  // no documents; RESOURCE_EXHAUSTED. Blocks until texts are embedded. The operation ends with
  // FAILED_PRECONDITION when no document may be found, and with ABORTED when a shard was trained or
  // calibrated, or the policy's nprobe or ef_search changed, meanwhile.
  virtual absl::StatusOr<Operation::Info> TuneIndex(std::string_view collection,
                                                    const TuneRequest& request,
                                                    const CallContext& context) = 0;
  // What it would take. The same errors.
  virtual absl::StatusOr<OperationEstimate> EstimateTuning(std::string_view collection,
                                                           const TuneRequest& request,
                                                           const CallContext& context) const = 0;

  // Copies of collections, and checks of what is stored. It lives as long as the engine.
  virtual Snapshots& snapshots() = 0;

  // The index of one shard as a file for FAISS. INVALID_ARGUMENT for a shard that is none;
  // RESOURCE_EXHAUSTED while another IndexExport of the collection lives, or when memory or disk do
  // not suffice. Blocks until the file is made.
  virtual absl::StatusOr<std::unique_ptr<IndexExport>> ExportIndex(std::string_view collection,
                                                                   const ExportRequest& request,
                                                                   const CallContext& context) = 0;

  // Embeds texts with a model by name; an empty name means the only one (INVALID_ARGUMENT when
  // there are several, and for a reranker).
  virtual absl::StatusOr<Embedded> Embed(const EmbedRequest& request,
                                         const CallContext& context) = 0;
  // Scores texts against a query. Of a text's own fault the result says it. INVALID_ARGUMENT
  // (query, number of texts, an embedding model; several rerankers and none named);
  // FAILED_PRECONDITION: no model named, and there is no reranker.
  virtual absl::StatusOr<RerankedTexts> Rerank(const RerankRequest& request,
                                               const CallContext& context) = 0;
  // Tokens of `text` by the tokenizer of the collection's model; see encoder::Encoder::CountTokens.
  // FAILED_PRECONDITION where a search by text has it: no model, or another than it was made with.
  virtual absl::StatusOr<int> CountTokens(std::string_view collection,
                                          std::string_view text) const = 0;
  // Whether a search by a vector that asks for ids alone takes some hundred microseconds at most:
  // its documents are not split into passages, which are read from the store, and which rows the
  // filter lets pass is known from a search before. True for a collection that does not exist: it
  // fails soon. Look-ups only.
  virtual bool IsSearchShort(std::string_view collection, std::string_view filter) const = 0;
  virtual std::vector<encoder::ModelInfo> Models() const = 0;
  virtual encoder::EncoderStats EncoderStats() const = 0;

  // Wakes the calls that wait for write tokens, with UNAVAILABLE, and lets no more wait. All else
  // goes on. For a server that is about to wait for the calls under way. Idempotent. Does not
  // block.
  virtual void BeginShutdown() = 0;

  // As BeginShutdown; then stops maintenance, refuses new calls, flushes the store. Idempotent.
  // Blocks.
  virtual void Shutdown() = 0;
};

}  // namespace vecino::engine
