// One collection: its definition, its shards, and what callers do with its documents.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "encoder/encoder.h"
#include "server/engine/engine.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/event_bus.h"
#include "server/engine/filter_cache.h"
#include "server/engine/filter_texts.h"
#include "server/engine/head_cache.h"
#include "server/engine/index_folders.h"
#include "server/engine/ingest.h"
#include "server/engine/ingest_tokens.h"
#include "server/engine/live_index_spec.h"
#include "server/engine/maintenance.h"
#include "server/engine/memory_budget.h"
#include "server/engine/operation.h"
#include "server/engine/operation_estimate.h"
#include "server/engine/recall_evaluation.h"
#include "server/engine/recall_sampler.h"
#include "server/engine/retrain_hooks.h"
#include "server/engine/search_trace.h"
#include "server/engine/shard.h"
#include "server/engine/slot_maps.h"
#include "server/engine/token_waits.h"
#include "server/engine/tuning.h"
#include "server/engine/types.h"
#include "server/engine/write_gate.h"
#include "server/fields/filter.h"
#include "storage/collection_record.h"
#include "storage/store.h"

namespace vecino::engine {

// What a collection needs from outside; all of it must outlive the collection.
struct CollectionContext {
  storage::Store* store = nullptr;
  encoder::Encoder* encoder = nullptr;
  EngineMetrics* metrics = nullptr;
  Maintenance* maintenance = nullptr;
  TokenWaits* token_waits = nullptr;
  int tail_capacity = 0;
  std::string index_folder;  // of all collections' index files; empty: in memory
  MemoryBudget* budget = nullptr;
  MaintenancePolicy policy;
  int build_threads = 1;  // see ShardOptions
  HeadCache* heads = nullptr;
  FilterCache* filters = nullptr;
  FilterTexts* filter_texts = nullptr;
  SlotMaps* slot_maps = nullptr;
  std::function<absl::Time()> clock = absl::Now;  // see EngineOptions
  EventBus* events = nullptr;
  RetrainHooks hooks;
  RecallSampler* sampler = nullptr;  // null: nothing is measured
  RecallWindowLimits recall_window;
  SwapThread* swaps = nullptr;  // see ShardOptions
  size_t call_vector_bytes = kCallVectorBytes;
};

// A write of the collection's other side.
struct CarriedWrite {
  enum class Kind {
    kPut,
    kDelete,
    kNothing
  };  // kNothing: the other side has nothing of it any more
  Kind kind = Kind::kNothing;
  uint64_t sequence = 0;       // on that side
  storage::Document document;  // kPut: whole but for the vector; kDelete: its id
};

// Thread safety: after every shard was loaded, all methods are safe from any thread. They do what
// those of Engine with the same names say, and return the errors named there.
class Collection {
 public:
  // Knows its definition only; LoadShard must be called for each shard before anything else.
  // other: the other side of a migration, whose streams go on here; null: none.
  Collection(const storage::CollectionRecord& record, const CollectionContext& context,
             const Collection* other = nullptr);

  int shard_count() const { return info_.spec.shard_count; }
  uint32_t uid() const { return uid_; }
  const std::string& id() const { return info_.spec.id; }
  // Deletes the index files of a collection that is gone, and what is written to them yet.
  void RemoveFiles() { files_->Remove(); }
  bool chunked() const { return info_.spec.chunking.has_value(); }
  // SearchParams::aim_k for an answer of k documents. Passages are searched for until there are
  // enough.
  int AimedAt(int k) const {
    return chunked() || shard_count() == 1 ? 0 : index::RowsOfShard(k, shard_count());
  }
  // As it is defined now: all of it, its etag too, of one moment.
  CollectionInfo info() const;
  // How it is indexed now. Takes no lock.
  IndexSpec index_spec() const { return index_.Get(); }
  // collection_update.cc: searches and maintenance go by what may change of `spec`, which has been
  // checked and stored, from now on; see Shard::SetIndex. One call at a time.
  void SetIndex(const IndexSpec& spec);
  int64_t NowUs() const { return absl::ToUnixMicros(context_.clock()); }
  const storage::ShardLog& log(int shard) const { return shards_[shard]->log(); }
  // The filter that `text` says, or null when it lets every document pass. INVALID_ARGUMENT naming
  // `filter`.
  absl::StatusOr<std::shared_ptr<const fields::Filter>> ReadFilter(std::string_view text) const;
  // Whether which rows it lets pass is known, and there are few enough; see Engine::IsSearchShort.
  bool IsFilterAtHand(std::string_view text) const;

  // Opens the log of one shard and rebuilds its index. May run for several shards at once. Blocks.
  absl::Status LoadShard(int number);

  absl::StatusOr<std::vector<WriteResult>> Upsert(std::vector<DocumentWrite> writes,
                                                  Truncate truncate, const CallContext& context);
  absl::StatusOr<std::vector<WriteResult>> Delete(std::span<const std::string> ids,
                                                  const CallContext& context);
  absl::StatusOr<WriteResult> DeleteVersion(const std::string& id, const std::string& etag,
                                            const CallContext& context);
  // A shard's part of Engine::ChangeDocuments; reports to `operation`, whose cancelling ends it.
  absl::Status ChangeShard(int number, std::string_view filter, const PatchFn& patch,
                           Operation& operation, std::stop_token stop);
  absl::StatusOr<WriteResult> Modify(const std::string& id, const ModifyFn& fn, Truncate truncate,
                                     const CallContext& context);
  absl::StatusOr<std::vector<std::optional<storage::Document>>> Get(
      std::span<const std::string> ids, const storage::DocumentParts& parts,
      size_t max_bytes) const;
  absl::StatusOr<IdPage> List(const IdPage::Position& from, int limit, size_t max_bytes,
                              const storage::DocumentParts& parts, std::string_view filter) const;
  absl::StatusOr<SearchResult> Search(const SearchRequest& request,
                                      const CallContext& context) const;
  absl::StatusOr<SearchBatchResult> SearchBatch(std::span<const SearchRequest> requests,
                                                size_t max_bytes, const CallContext& context) const;
  absl::StatusOr<std::unique_ptr<IndexExport>> ExportIndex(const ExportRequest& request,
                                                           const CallContext& context);
  absl::StatusOr<RecallEvaluation> EvaluateRecall(const RecallRequest& request,
                                                  const CallContext& context) const;
  // collection_tune.cc: Engine::TuneIndex. All that can be said of the request before the work; its
  // texts are embedded.
  absl::StatusOr<Tuning> PrepareTuning(const TuneRequest& request,
                                       const CallContext& context) const;
  absl::StatusOr<OperationEstimate> EstimateTuning(const TuneRequest& request,
                                                   const CallContext& context) const;
  // ABORTED when callers see another collection, or other embeddings, than this one now; errors of
  // tuning.find.
  absl::Status CheckInUse(const Tuning& tuning) const;
  // Measures, stores what was measured with each shard, and ends the operation's parts, with
  // ABORTED when it is stopped or not in use any more. Blocks for as long as it takes; gives way to
  // searches.
  void Tune(const Tuning& tuning, Operation* operation, std::stop_token stop) const;
  RecallStats Recall() const { return recall_->Stats(absl::Now()); }
  // Searches for a stored document and measures it, if there are too few measurements of callers'
  // searches, and of probes, and if the index may miss something. Whether it did.
  bool ProbeRecall(absl::FunctionRef<absl::Status()> checkpoint) const;
  int64_t LiveDocuments() const;
  absl::StatusOr<int64_t> Count(std::string_view filter) const;
  absl::StatusOr<std::vector<Facet>> CountValues(std::span<const std::string> fields,
                                                 std::string_view filter, int limit) const;
  absl::StatusOr<int> CountTokens(std::string_view text) const;
  static absl::StatusOr<std::unique_ptr<IngestStream>> OpenIngest(
      const std::shared_ptr<Collection>& collection, std::string_view token, Truncate truncate);
  // Goes on with a stream, which OpenIngest or this opened on the other side and nobody uses now.
  static std::unique_ptr<IngestStream> MoveIngest(IngestStream* stream,
                                                  const std::shared_ptr<Collection>& collection);
  CollectionStats Stats() const;
  // Deletes what has expired, in small batches, until nothing is due or `stop` is requested. An
  // error leaves the rest for the next time.
  absl::Status ReapExpired(std::stop_token stop);
  // Has every shard of the operation do its part.
  void Request(const std::shared_ptr<Operation>& operation);

  // Refuses writes with `why` and waits for those under way; readers go on, except that none waits
  // for a write token any more.
  void Close(const absl::Status& why);
  void Reopen();

  // collection_sides.cc: for migrations (docs/migration.md).
  // Whoever writes documents holds a pass, but for Carry.
  WriteGate& gate() { return gate_; }
  // Before LoadShard: change logs keep all they have, until Shard::HoldChanges says otherwise.
  void HoldChangesOnLoad() { hold_changes_ = true; }
  // Whether this is the other side of `other`, or itself.
  bool SharesStreams(const Collection& other) const {
    return ingest_tokens_ == other.ingest_tokens_;
  }
  Shard& shard(int number) { return *shards_[static_cast<size_t>(number)]; }
  // Documents that are stored without a vector.
  int64_t WithoutVector() const;
  // Write tokens of ranges up to this one that are not this side's are of a side whose writes this
  // one has.
  void set_last_range(uint64_t range) { last_range_.store(range); }
  // Applies writes of the other side to a shard, in order, and remembers with them how far it came.
  // Texts are embedded, unless the version there is has the vector of the same text; a document
  // without text is stored without vector, or with the one there is where the other side has none
  // either. All or nothing of it is done. Errors as of Upsert. Blocks.
  absl::Status Carry(int number, std::vector<CarriedWrite> writes, const CallContext& context);
  // The other side's write up to which Carry came.
  uint64_t CarriedThrough(int number) { return shard(number).marks().Get(kFollowerToken).through; }
  // In memory what Store::SwitchMigration did to the marks, when this side was put in the place of
  // `other`.
  void TakeMarks(Collection* other, std::span<const uint64_t> through);

 private:
  struct Query;
  struct Candidate;
  struct Fetched;
  class Ingest;  // collection_ingest.cc

  // Has store and shards forget how far the stream `token` has come.
  absl::Status ForgetMarks(std::string_view token);

  const Shard& ShardFor(std::string_view document_id) const;
  // The model, if texts can be embedded: FAILED_PRECONDITION when there is none, when the server
  // does not have it any more, or when it is not the one that made the stored vectors.
  absl::Status CheckModel() const;

  absl::Status ReuseVectors(int number, std::span<const CarriedWrite> writes,
                            std::vector<DocumentWrite>* documents) const;
  // INVALID_ARGUMENT for a place in the hits of another side, whose scores are others.
  absl::Status CheckPosition(const SearchRequest& request) const;

  // collection_change.cc
  // What became of these versions of one shard: how many were deleted, patched.
  absl::StatusOr<int64_t> DeleteVersions(int number, std::span<const uint64_t> sequences,
                                         std::stop_token stop);
  absl::StatusOr<int64_t> PatchVersions(int number, std::span<const uint64_t> sequences,
                                        const fields::Filter& filter, const PatchFn& patch,
                                        std::stop_token stop);

  // collection_embed.cc
  // Fills in the vectors of writes that have none, and the results of those that cannot be written.
  absl::Status EmbedWrites(Truncate truncate, const CallContext& context,
                           std::vector<DocumentWrite>* writes, std::vector<WriteResult>* results,
                           size_t most_vector_bytes = ~size_t{0});
  absl::Status AppendPassages(std::span<const size_t> places, const CallContext& context,
                              size_t most_vector_bytes, std::vector<DocumentWrite>* writes,
                              std::vector<WriteResult>* results,
                              std::vector<std::string_view>* texts,
                              std::vector<size_t>* owners) const;
  // Commits the writes, shard by shard. places: where in `results` each one's result belongs.
  void Commit(std::vector<std::vector<ShardWrite>> by_shard,
              const std::vector<std::vector<size_t>>& places, const CallContext& context,
              std::vector<WriteResult>* results);

  // collection_search.cc
  // The rest of a search whose filter is read and whose texts are embedded: one result for each, in
  // order of AppendTexts.
  absl::StatusOr<SearchResult> SearchEmbedded(const SearchRequest& request,
                                              std::shared_ptr<const fields::Filter> filter,
                                              std::span<encoder::EmbedResult> embedded,
                                              absl::Duration embed_time, size_t max_bytes,
                                              const CallContext& context) const;
  absl::StatusOr<Query> MakeQuery(const SearchRequest& request,
                                  std::shared_ptr<const fields::Filter> filter,
                                  std::span<encoder::EmbedResult> embedded) const;
  absl::Status WaitForTokens(const std::vector<WriteToken>& tokens,
                             const CallContext& context) const;
  absl::StatusOr<std::vector<Candidate>> Scan(const Query& query, int k,
                                              const CallContext& context) const;
  absl::StatusOr<std::vector<Candidate>> ScanVectors(const Query& query, int k,
                                                     const CallContext& context) const;
  // What `scan` finds in a shard with params and the filter (null: none), if need be by an exact
  // scan: params.k documents, if so many exist. The filter's own time is added to *filter_time.
  using ScanFn =
      absl::FunctionRef<absl::StatusOr<std::vector<ShardHit>>(const index::SearchParams&)>;
  absl::StatusOr<std::vector<ShardHit>> SearchFiltered(const Shard& shard,
                                                       const fields::Filter* filter,
                                                       index::SearchParams params,
                                                       const ScanFn& scan,
                                                       absl::Duration* filter_time = nullptr) const;
  // Sorts the candidates, best first, and keeps k.
  static void KeepBest(index::Metric metric, int k, std::vector<Candidate>* candidates);
  absl::StatusOr<std::vector<Candidate>> Rank(const Query& query, int k, const CallContext& context,
                                              bool* complete) const;
  bool FetchHeads(const Query& query, const std::vector<Candidate>& candidates,
                  Fetched* fetched) const;
  absl::Status Fetch(const Query& query, const std::vector<Candidate>& candidates, bool fill,
                     Fetched* fetched) const;
  absl::Status SearchQuietly(const Query& query, int shard, const CallContext& context,
                             Fetched* fetched) const;

  // collection_query.cc
  // Embeds texts of queries, all in one call for each way to truncate; in order. The outer status
  // is the encoder's own.
  absl::StatusOr<std::vector<encoder::EmbedResult>> EmbedQueries(
      std::span<const TextQuery* const> texts, const CallContext& context) const;
  // How hard the request says to look, or else the collection.
  void SetEffort(const SearchRequest& request, Query* query) const;
  absl::Status ReadExpression(const ExpressionQuery& expression,
                              std::span<encoder::EmbedResult> embedded, Query* query) const;

  // collection_explain.cc
  // found: hits, or groups; exact: whether every row that may be found was compared.
  Shortfall ShortfallOf(const Query& query, const Fetched& fetched, size_t found, bool exact) const;
  // result: with its times. details: of its search; used up.
  absl::StatusOr<SearchExplanation> MakeExplanation(const SearchRequest& request,
                                                    const Query& query, const SearchResult& result,
                                                    SearchTrace::Details* details,
                                                    const CallContext& context) const;

  // collection_recall.cc
  void BeginSample(const Query& query, int k, RecallTask* sample) const;
  struct StoredRow {
    AnsweredSearch::Itself itself;
    std::vector<float> vector;
  };
  // Live rows of the views, at random, `count` at most, no row twice. held_out: only rows that
  // training leaves out; where there are few of them, fewer are found.
  static std::vector<StoredRow> PickRows(absl::Span<const PinnedShard> shards, size_t count,
                                         bool held_out = false);
  // Checks all but the queries' own faults; sets filter and effort.
  absl::Status ReadRecallRequest(const RecallRequest& request, Query* query) const;
  // The vectors of the request, then its texts, embedded. Empty: it brings none.
  absl::StatusOr<std::vector<AnsweredSearch>> GivenSearches(const RecallRequest& request,
                                                            const CallContext& context) const;
  // Answers the search from what is pinned, as ScanVectors would. first: the place of shards[0]
  // among those that search->itself counts.
  absl::Status AnswerPinned(absl::Span<const PinnedShard> shards, size_t first, const Query& query,
                            absl::FunctionRef<absl::Status()> checkpoint,
                            AnsweredSearch* search) const;
  std::vector<PinnedShard> PinShards() const;

  // collection_tune.cc
  struct TuneRun;
  std::vector<PinnedShard> PinShards(absl::Span<const int> numbers) const;
  void ChooseQueries(const Tuning& tuning, TuneRun* run) const;
  absl::Status MeasureRungs(const Tuning& tuning, size_t first, size_t count,
                            absl::FunctionRef<absl::Status()> checkpoint, TuneRun* run) const;

  // collection_words.cc
  absl::StatusOr<std::vector<Candidate>> ScanWords(const Query& query, int k,
                                                   const CallContext& context) const;
  absl::StatusOr<std::vector<Candidate>> ScanBoth(const Query& query, int k,
                                                  const CallContext& context) const;

  // collection_rerank.cc
  // The name of the model that reranks, empty without reranking.
  absl::StatusOr<std::string> FindSearchReranker(const SearchRequest& request) const;
  absl::Status RerankHits(const SearchRequest& request, size_t max_bytes,
                          const CallContext& context, SearchResult* result) const;
  // collection_passages.cc
  // Sets the passages of the hits of a chunked collection, and takes away what was read for them
  // alone. passages: as Fetched has them.
  static void SetPassages(const Query& query, std::span<const int> passages,
                          std::vector<SearchHit>* hits);

  // collection_choice.cc
  absl::StatusOr<std::vector<Candidate>> Choose(const Query& query, int k, bool fill,
                                                const CallContext& context, Fetched* fetched) const;
  absl::StatusOr<std::vector<Candidate>> ChooseGroups(const Query& query, bool fill,
                                                      const CallContext& context,
                                                      Fetched* fetched) const;
  absl::StatusOr<std::vector<Candidate>> ChooseDiverse(const Query& query, bool fill,
                                                       const CallContext& context,
                                                       Fetched* fetched) const;
  absl::StatusOr<std::vector<std::optional<storage::Document>>> Peek(
      std::span<const Candidate> candidates, const storage::DocumentParts& parts,
      Fetched* fetched) const;

  const uint32_t uid_;
  // As it was loaded: of how it is indexed only what cannot change, and of the etag the identity.
  const CollectionInfo info_;
  LiveIndexSpec index_;
  const CollectionContext context_;
  const std::shared_ptr<IndexFolder> files_;  // the shards hold it, too
  std::vector<std::shared_ptr<Shard>> shards_;
  const std::shared_ptr<IngestTokens> ingest_tokens_;  // of both sides
  WriteGate gate_;
  bool hold_changes_ = false;
  std::atomic<uint64_t> range_{0};            // of this side's sequence numbers
  std::atomic<uint64_t> last_range_{0};       // see set_last_range
  const std::shared_ptr<RecallBook> recall_;  // of answers; tasks may outlive the collection
  // Whether an IndexExport of this collection is made or lives; it may outlive the collection.
  const std::shared_ptr<std::atomic<bool>> exporting_ = std::make_shared<std::atomic<bool>>(false);
};

// DEADLINE_EXCEEDED or CANCELLED when the call should stop. before: the stage that is not begun.
absl::Status CheckCall(const CallContext& context, std::string_view before);

}  // namespace vecino::engine
