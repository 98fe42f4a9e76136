// One shard of a collection: its log, its index, and the order of its writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/engine/breadth_control.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/event_bus.h"
#include "server/engine/expiries.h"
#include "server/engine/head_cache.h"
#include "server/engine/index_export.h"
#include "server/engine/index_folders.h"
#include "server/engine/label_scheme.h"
#include "server/engine/live_index_spec.h"
#include "server/engine/maintenance_policy.h"
#include "server/engine/manifest.h"
#include "server/engine/memory_budget.h"
#include "server/engine/operation.h"
#include "server/engine/recall_window.h"
#include "server/engine/retrain_hooks.h"
#include "server/engine/shard_files.h"
#include "server/engine/shard_marks.h"
#include "server/engine/swap_thread.h"
#include "server/engine/token_waits.h"
#include "server/engine/types.h"
#include "server/engine/write_queue.h"
#include "server/fields/field_index.h"
#include "server/index/generation.h"
#include "server/index/ivf_segment.h"
#include "server/index/search_params.h"
#include "server/index/shard_index.h"
#include "storage/shard_log.h"

namespace vecino::index {
class Trial;
}  // namespace vecino::index

namespace vecino::engine {

struct TunedKind;

struct ShardOptions {
  std::string collection;  // id, for messages
  int number = 0;          // 0 to shard_count - 1
  index::Metric metric = index::Metric::kInnerProduct;
  int dimension = 0;
  bool unit = false;  // whether every vector has length 1 (COSINE)
  LabelScheme labels;
  int tail_capacity = 2048;  // rows; lowered so that a tail of long vectors stays under 64 MiB
  index::IndexSpec index;    // when it is loaded; Shard::SetIndex changes it
  MaintenancePolicy maintenance;
  int build_threads = 1;  // of a training while nobody searches; half of them while somebody does
  std::string folder;     // of its index files; "": none, everything in memory
  std::shared_ptr<IndexFolder> folder_of_collection;  // held as long as it may write; may be null
  MemoryBudget* budget = nullptr;                     // null: no limit. Outlives the shard
  // Where ids of what is written are kept for searches, under this uid; null: nowhere. Outlives it.
  HeadCache* heads = nullptr;
  uint32_t uid = 0;
  std::function<absl::Time()> clock = absl::Now;  // for update and expire times
  EventBus* events = nullptr;  // told what maintenance does; null: nobody is. Outlives it
  bool hold_changes = false;   // see HoldChanges
  // Does what needs the lock that writers need; null: who maintains does. Outlives the shard.
  SwapThread* swaps = nullptr;
  // Up to so many vectors that callers searched for lately, as they were searched for, one behind
  // the other: queries that a new build is measured on. Called with no lock held. Null: none.
  std::function<std::vector<float>(size_t most)> recent_queries;
  RetrainHooks hooks;  // for tests
  RecallWindowLimits recall_window;
};

// A document that a search for vectors found, by the nearest of its passages.
struct ShardHit {
  uint64_t sequence = 0;
  float score = 0;
  int passage = 0;
};

// Invariants:
//  D1. The log comes first: a write is applied to the index after Append returned OK, and before
//  its caller
//      hears of it. If the store refuses, the index is untouched.
//  D2. Applied changes are a prefix of the log, in order. Replay goes through the same Apply.
//  D3. appending_ is raised before the log is touched. So who finds in the store that a version is
//      gone can wait for the change that replaced it to reach the index.
//  D4. After Close no call changes the log.
//  D5. A file is deleted only when the manifest that is durable does not name it. So a crash at any
//  point leaves every file that the next start will want.
//
// Locks, in order: the queue's, index_mu_, applied_mu_, the index' own.
// Thread safety: all methods are safe from any thread once Load returned.
class Shard {
 public:
  // Maps the files that the manifest names, makes again from stored vectors what is missing or
  // damaged, and replays the change log after it. Blocks. `metrics` must outlive the shard.
  // DATA_LOSS.
  static absl::StatusOr<std::shared_ptr<Shard>> Load(const ShardOptions& options,
                                                     std::unique_ptr<storage::ShardLog> log,
                                                     EngineMetrics* metrics);

  ~Shard();

  // `fn` is called after a write that leaves work for Maintain, on the writer's thread. Call once,
  // before the first write.
  void OnMaintenanceDue(std::function<void()> fn) { maintenance_due_ = std::move(fn); }

  // Commits the writes and sets the result of each; together with those of other callers when they
  // come at once. Vectors must have the shard's dimension and be as they are to be indexed.
  void Write(absl::Span<ShardWrite> writes, const CallContext& context);

  // What a search looked at, so that it can be made again. Keeps memory that is replaced meanwhile.
  struct Pinned {
    std::shared_ptr<const index::View> view;
    std::vector<uint64_t> expired;  // labels that are left out, ascending
    uint64_t applied = 0;           // every write up to it is in the view
    uint64_t epoch = 0;             // of the corrections of breadth
  };
  Pinned Pin() const;
  // Of that, the rows alone.
  std::shared_ptr<const index::View> PinRows() const { return index_.Pin(); }

  // The best params.k live documents at this moment that have not expired. query: `dimension`
  // floats. Parameters that are 0 are those of the collection's index. pinned: set to what was
  // looked at, unless null.
  absl::StatusOr<std::vector<ShardHit>> Search(const float* query,
                                               const index::SearchParams& params,
                                               absl::FunctionRef<absl::Status()> checkpoint,
                                               Pinned* pinned = nullptr) const;
  // The same of what is pinned, and of rows that came since. Is not taken for a search that others
  // must make way for.
  absl::StatusOr<std::vector<ShardHit>> SearchPinned(
      const Pinned& pinned, const float* query, const index::SearchParams& params,
      absl::FunctionRef<absl::Status()> checkpoint) const;
  // Whether more than `count` documents that have a vector, live and not expired, pass `filter`.
  bool MorePass(const index::RowFilter& filter, size_t count) const;

  // shard_recall.cc
  // A search of this shard that was measured, for estimates; `epoch` as it was pinned.
  void AddRecall(RecallSource source, const RecallSample& sample, uint64_t epoch);
  // The same of a caller's search, which may change how widely the next ones look. Returns whether
  // that is settled for searches of its kind, or nothing is to be learned of it.
  bool CorrectBreadth(const RecallSample& sample, uint64_t epoch);
  // Of callers' searches of this shard since its index was last trained, calibrated or given a
  // graph.
  RecallEstimate LiveRecall() const { return recall_.Estimate(RecallSource::kLive, absl::Now()); }
  // Whether some rows are found by an index that may miss some.
  bool IsApproximate() const;

  // shard_tuning.cc
  // What searches go by when a tuning of this shard begins. Keeps generation and graph in memory.
  struct TuningBasis {
    std::shared_ptr<const index::Generation> generation;  // null: none yet
    const index::Calibration* calibration = nullptr;      // its own
    std::shared_ptr<const index::Graph> graph;  // of its segment with most rows; null: none
    int64_t graph_rows = 0;                     // of that segment
  };
  TuningBasis BeginTuning() const;
  // Puts what was measured since into the calibration of the generation, for this kind of search:
  // in memory, and in the place of its file; as the curve of its lists or, where most rows stand
  // under one graph and there is no filter, of that graph. The live correction of breadth begins
  // anew. outcome: recalls and rows before and after; kPublished, or kNotNeeded and why nothing was
  // stored: searches are exact, or the kind of index or its policy does not go by such a
  // calibration, or too little was measured. ABORTED when the shard was trained or calibrated, or
  // that graph came or went, meanwhile; UNAVAILABLE or NOT_FOUND when it was closed; the disk's
  // errors. Then nothing is changed. Blocks on the disk.
  absl::Status StoreTuning(const TuningBasis& basis, const TunedKind& kind,
                           Operation::Outcome* outcome);
  index::Metric metric() const { return options_.metric; }
  int dimension() const { return options_.dimension; }

  // Whether the write `sequence` can be seen.
  bool IsApplied(uint64_t sequence) const {
    return applied_.load(std::memory_order_acquire) >= sequence;
  }
  // Waits until it can. DEADLINE_EXCEEDED, CANCELLED, why the shard was closed, or StoppedError
  // when `waits` is stopped. A call without a deadline waits for kMaxTokenWait at most. The caller
  // has a place in `waits`.
  absl::Status WaitApplied(uint64_t sequence, const CallContext& context,
                           const TokenWaits& waits) const;

  // Waits for the appends that are under way now. DEADLINE_EXCEEDED, CANCELLED.
  absl::Status WaitForAppends(const CallContext& context) const;

  // Runs `fn` while nothing is written to this shard. Errors as WriteQueue::Exclusive.
  absl::Status WhileQuiet(absl::FunctionRef<absl::Status()> fn, const CallContext& context) {
    return queue_.Exclusive(fn, context.deadline);
  }

  // For filters: Pin is safe from any thread; nothing else of it is for callers.
  const fields::FieldIndex& fields() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return fields_; }

  // Sequence numbers of documents that have expired and are not deleted yet, ascending. Taken
  // before a view is pinned: what is gone from here by then is dead in it.
  std::vector<uint64_t> Expired() const { return expiries_.Due(NowUs()); }
  bool AnyExpired() const { return !expiries_.NothingDue(NowUs()); }

  const storage::ShardLog& log() const { return *log_; }
  // Where its index files stand.
  const ShardFiles& files() const { return files_; }
  int number() const { return options_.number; }
  LabelScheme labels() const { return options_.labels; }
  ShardStats Stats() const;
  // Those with and without a vector that have not expired.
  int64_t LiveDocuments() const;
  // Those that are stored without a vector, expired ones included.
  int64_t WithoutVector() const;

  // Deletes up to `limit` documents that have expired, as any delete, and returns how many. Blocks.
  // Errors as those of writes.
  absl::StatusOr<int> ReapExpired(int limit, const CallContext& context);

  // From now on the change log keeps what comes after the write `after`. With kNoHold it need not.
  // No trim that began before takes away what was written after this call.
  static constexpr uint64_t kNoHold = ~uint64_t{0};
  void HoldChanges(uint64_t after) { hold_.store(after); }
  // `fn` is called after every write, on the writer's thread, with a lock held: it must be quick
  // and not call the shard. Null: nobody. Once it returns, the one before is not called any more.
  void OnWritten(std::function<void()> fn);

  // How far streams have come; written by commits.
  ShardMarks& marks() { return marks_; }
  // Tails that are full and wait to be drained.
  int FrozenTails() const { return static_cast<int>(index_.Pin()->frozen.size()); }
  int tail_capacity() const { return index_.options().tail_capacity; }  // in effect
  // Calls that wait for their turn to write.
  int WaitingCalls() const { return queue_.Waiting(); }

  // Whether Maintain has something to do.
  bool MaintenanceDue() const;
  // One drain, merge, training, calibration or graph, and the manifest when it is due. One call at
  // a time. Blocks for as long as the work takes, draining meanwhile; writers wait for a pointer
  // swap only. An error leaves everything as it was; call again later. CANCELLED once `stop` is
  // requested or the shard closed.
  struct Maintained {
    bool worked = false;
    bool wants_long = false;  // there is work that takes long, and none was allowed
    absl::Time look_again =
        absl::InfiniteFuture();  // when there may be work though nothing happened
  };
  // kShort leaves training, graphs, requests and merges of many rows to another call.
  enum class Effort { kAny, kShort };
  absl::StatusOr<Maintained> Maintain(std::stop_token stop, Effort effort = Effort::kAny);

  // What was measured of this shard's live searches. Ignored when the oldest sample is of before
  // the last training was published: it says nothing of that one; or when the index was calibrated
  // since `epoch`, that of the newest. May leave work for Maintain, which is told so.
  void NoteRecall(const RecallFigures& recall, uint64_t epoch = ~uint64_t{0});

  // shard_recall.cc
  // How it is indexed now.
  index::IndexSpec index_spec() const { return spec_.Get(); }
  // Searches and maintenance go by the recall_target, nprobe, ef_search and graph of `spec` from
  // now on. Where what searches aim at changes, the corrections of breadth and what was measured
  // of recall begin anew. Nothing is built because of it, but for graphs. One call at a time.
  void SetIndex(const index::IndexSpec& spec);

  // Has maintenance retrain or compact the shard and Finish its part of the operation. After one
  // that waits already.
  void Request(std::shared_ptr<Operation> operation);
  // Ends the parts of operations that wait for maintenance: a closed shard that goes away has none.
  void FailRequests(const absl::Status& why);

  // The live rows at one moment between two writes as a FAISS index file, and their documents' ids.
  // Writes wait while up to about 1,000 ids are looked up; the index is made beside them, at low
  // priority. vectors: see ExportRequest. RESOURCE_EXHAUSTED (memory, disk), UNAVAILABLE (the file
  // cannot be written, closed), DATA_LOSS, DEADLINE_EXCEEDED, CANCELLED. Blocks.
  absl::StatusOr<ShardExport> Export(bool vectors, const CallContext& context);

  // Refuses writes with `why`, wakes WaitApplied with it, and waits for the writes under way and
  // for what Maintain does to the log.
  void Close(absl::Status why);
  void Reopen();

 private:
  // Why searches of this kind do not go by the generation's tables; empty: they do. exact: share of
  // the live rows that the table says nothing of. of_graph: whether it is that of the graph.
  std::string WhyNotTuned(const TuningBasis& basis, const TunedKind& kind, double* exact,
                          bool* of_graph) const;
  struct Plan;
  struct Retraining;
  struct Work;

  Shard(const ShardOptions& options, std::unique_ptr<storage::ShardLog> log,
        EngineMetrics* metrics);

  // shard_recall.cc
  // What was measured was of another index than there is now. Takes index_mu_.
  void ForgetRecall();

  // shard_load.cc
  absl::Status LoadIndex();
  int64_t CountWithVector() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  absl::Status LoadMarks();

  // shard_fields.cc
  // Parts that `manifest` names, from their files or else from stored documents.
  absl::Status LoadFieldParts(const Manifest& manifest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // Adds stored documents with sequence in (after, up_to].
  absl::Status ReadFields(uint64_t after, uint64_t up_to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // Merges what is due, of `max_rows` at once. True when there was something.
  absl::StatusOr<bool> MergeFields(uint64_t max_rows, const Work& work);
  // Writes a file for what has none. True when there was something.
  absl::StatusOr<bool> SaveFields();

  // shard_commit.cc: the part of a group commit that runs on the leader's thread.
  void Commit(WriteQueue::Batches batches);
  absl::Status PlanBatch(absl::Span<ShardWrite> batch, Plan* plan) const;
  absl::Status CheckCondition(const ShardWrite& write,
                              const std::optional<storage::IdEntry>& current, bool live) const;
  // Adds the planned write to the mark of its stream, if it has one.
  void MarkItem(const ShardWrite& write, Plan* plan) const;
  // After the plan was carried out.
  void Settle(Plan* plan);
  void SetApplied(uint64_t sequence);
  int64_t NowUs() const { return absl::ToUnixMicros(options_.clock()); }
  // shard_search.cc
  absl::StatusOr<std::vector<index::Hit>> SearchAround(
      const std::vector<uint64_t>& left_out, const index::View& view, const float* query,
      index::SearchParams params, absl::FunctionRef<absl::Status()> checkpoint) const;
  absl::StatusOr<std::vector<ShardHit>> SearchPassages(
      const std::vector<uint64_t>& left_out, const index::View& view, const float* query,
      index::SearchParams params, absl::FunctionRef<absl::Status()> checkpoint) const;
  // Rows that a search for k documents asks the index for at first.
  int RowsFor(int k, size_t expired) const;
  int64_t LiveLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // Tells the budget what segments and fields take now, or how much more they do. Tails are not
  // counted.
  void CountMemory() ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  void CountMore(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);

  // The one place where a change reaches the index, live or replayed. A change that was applied
  // before does nothing. vector: of each passage, in order; empty when the version is not live any
  // more. A new document's fields are in fields_ before.
  void Apply(const storage::Change& change, std::span<const float> vector)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);

  // shard_state.cc
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // Whether the tail has come to where maintenance watches for a quiet time.
  bool TailWantsALook(int64_t rows_before) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  bool LogIsLong() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  MaintenanceState State() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  // n·Σs²/(Σs)² of the sizes of the generation's lists over those segments that are of it; 1
  // without one.
  static double ImbalanceOf(const std::vector<const index::Segment*>& segments,
                            const index::Generation* generation);

  // shard_maintenance.cc
  absl::Status CheckStop(const Work& work) const;
  // Runs `fn`, which takes index_mu_ for microseconds, at the priority of writers.
  void Swiftly(absl::FunctionRef<void()> fn) const;
  void Tell(Event::Kind kind, std::string message) const;
  // What long work calls between its pieces: drains what waits, so that tails stay few.
  absl::Status Pause(Work* work);
  absl::Status Step(const MaintenanceStep& step, Work* work);
  absl::Status Drain(Work* work);
  absl::Status Merge(size_t first, size_t count, Work* work);
  // shard_retrain.cc
  absl::Status Retrain(Work* work);
  void BeginStage(const char* stage, int64_t total, Work* work);
  // Pause, and a report of how far it is.
  absl::Status PauseRetrain(Work* work);
  absl::Status TrainStage(Retraining* run, int nlist, uint64_t id, Work* work);
  absl::Status EncodeStage(Retraining* run, index::IvfSegment::Drift* drift, Work* work);
  absl::Status CatchUpStage(Retraining* run, Work* work);
  absl::Status ValidateStage(Retraining* run, uint64_t id, Work* work);
  absl::Status MeasureEqualRecall(const index::Trial& trial,
                                  const std::vector<index::SegmentRows>& after,
                                  const index::SearchParams& params, Retraining* run, Work* work);
  // Whether the build may go live. If not, all is told that is to be told.
  bool Passes(Retraining* run, absl::Time start, Work* work);
  absl::Status GoLive(Retraining* run, absl::Time start, Work* work);
  absl::Status RetrainFaiss(Work* work);
  // What was asked for.
  absl::Status RunRetrain(Work* work);
  // Reports the outcome, and notes when to try again.
  void EndRetrain(const Operation::Outcome& outcome, absl::Duration took, Work* work);
  // Measures generation_ again, on the segments that are there now.
  absl::Status Calibrate(Work* work);
  // Threads that a long build may use now.
  int BuildThreads() const;
  absl::Status BuildGraph(size_t number, Work* work);
  // Builds the kind that suits and puts it in the place of the rows.
  absl::Status Rebuild(index::FrozenRows rows, bool drain, Work* work);
  absl::StatusOr<std::shared_ptr<const index::Segment>> BuildSegment(const index::FrozenRows& rows,
                                                                     bool drain, Work* work);
  // What was built, and the number of its file.
  struct Made {
    index::ShardIndex::Built built;
    uint64_t file = 0;
  };
  // Puts it in the place of its rows; with a generation, which new rows are encoded under from then
  // on, and what is known of the drift of rows that came since it was trained. Writers wait for the
  // swap only. published, unless null: set once it is in place, whatever comes after.
  absl::Status Publish(std::vector<Made> made, std::shared_ptr<const index::Generation> generation,
                       const index::IvfSegment::Drift& recent, bool* published);
  absl::Status RunOperation(const std::shared_ptr<Operation>& operation, Work* work);
  // Lets the next start read from the change log only what is not in segments now, when that saves
  // much or `files` came or went.
  absl::Status SaveManifest(bool files);
  Manifest MakeManifest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  std::set<std::string> NamedFiles(const Manifest& manifest) const;

  // shard_load.cc
  absl::StatusOr<Manifest> ReadManifest() const;
  // The last version all of whose rows are in segments or dead.
  uint64_t DrainedThrough() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  absl::Status LoadSegment(const Manifest::Segment& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  absl::StatusOr<std::shared_ptr<const index::Segment>> OpenSegment(const Manifest::Segment& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);
  absl::StatusOr<std::shared_ptr<const index::Generation>> FindGeneration(uint64_t id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_);

  // Waits until `reached`, which is called with applied_mu_ held and without, or until `give_up`
  // returns an error, which is called with it.
  absl::Status WaitUntil(uint64_t sequence, absl::FunctionRef<bool()> reached,
                         absl::FunctionRef<absl::Status()> give_up,
                         const CallContext& context) const;
  void WakeWaiters() const;

  const ShardOptions options_;
  LiveIndexSpec spec_;  // how it is indexed now; of options_.index only what cannot change
  const std::unique_ptr<storage::ShardLog> log_;
  EngineMetrics* const metrics_;
  std::function<void()> maintenance_due_;
  std::atomic<uint64_t> saved_through_{0};  // the manifest's drained_through
  std::atomic<uint64_t> hold_;              // see HoldChanges
  std::set<std::string> saved_files_;       // that it names; for Load and Maintain only
  bool files_unsaved_ =
      false;  // files came or went and the manifest does not say so; for Maintain only

  ShardMarks marks_;
  RecallBook recall_;
  BreadthControl breadth_;
  std::atomic<uint64_t> recall_since_{0};  // epoch from which on searches are of the index there is

  // Held, before index_mu_, while a generation's calibration is replaced, with its file, or the
  // generation itself: a tuning does not do it on the thread of maintenance.
  absl::Mutex calibration_mu_;
  mutable absl::Mutex index_mu_;  // for writing to the index; searches take no lock
  index::ShardIndex index_;       // Pin is called without index_mu_, all else with it
  fields::FieldIndex fields_ ABSL_GUARDED_BY(index_mu_);  // but for Pin
  int64_t with_vector_ ABSL_GUARDED_BY(index_mu_) = 0;    // documents that have live rows
  int64_t counted_bytes_ ABSL_GUARDED_BY(index_mu_) = 0;  // by the budget
  ShardFiles files_;
  Expiries expiries_;  // changed with index_mu_
  // That new rows are encoded under; null: none yet.
  std::shared_ptr<const index::Generation> generation_ ABSL_GUARDED_BY(index_mu_);
  // What is known of each segment in the view besides itself, by its address.
  struct Place {
    uint64_t file = 0, graph_file = 0;  // 0: in memory only, none
    absl::Time since;
    bool graph_refused = false;
  };
  absl::flat_hash_map<const index::Segment*, Place> places_ ABSL_GUARDED_BY(index_mu_);
  index::IvfSegment::Drift recent_ ABSL_GUARDED_BY(index_mu_);      // rows assigned since training
  absl::Time last_write_ ABSL_GUARDED_BY(index_mu_) = absl::Now();  // or when it was loaded
  double imbalance_ ABSL_GUARDED_BY(index_mu_) = 1;  // of lists, over the segments of generation_
  std::string last_choice_ ABSL_GUARDED_BY(index_mu_);
  // GateFigures::rows_cheapest, if the rows stay as they are; not kept over a start.
  double cheapest_rows_ ABSL_GUARDED_BY(index_mu_) = 0;
  bool retrain_failed_ ABSL_GUARDED_BY(index_mu_) = false;  // and nothing was merged since
  // The highest label of the segments that were loaded. The first version behind those drained
  // whole may have some of its passages there.
  uint64_t loaded_through_ ABSL_GUARDED_BY(index_mu_) = 0;
  RecallFigures live_recall_ ABSL_GUARDED_BY(index_mu_);  // since the last training
  absl::Time published_at_ ABSL_GUARDED_BY(index_mu_) = absl::InfinitePast();  // of that one
  // Retrains in a row that were rejected or did not help.
  int retrain_strikes_ ABSL_GUARDED_BY(index_mu_) = 0;
  bool last_retrain_for_recall_ ABSL_GUARDED_BY(index_mu_) = false;  // and it was published
  absl::Time retrain_not_before_ ABSL_GUARDED_BY(index_mu_) = absl::InfinitePast();
  absl::Time recall_not_before_ ABSL_GUARDED_BY(index_mu_) = absl::InfinitePast();
  // While loading: generations that segments share.
  absl::flat_hash_map<uint64_t, std::shared_ptr<const index::Generation>> loaded_generations_
      ABSL_GUARDED_BY(index_mu_);
  std::deque<std::shared_ptr<Operation>> requests_ ABSL_GUARDED_BY(index_mu_);

  std::atomic<uint64_t> appending_{0};  // highest sequence handed to Append
  std::atomic<uint64_t> applied_{0};    // highest sequence in the index
  mutable absl::Mutex applied_mu_;      // for waiting on the two
  mutable absl::CondVar applied_changed_;
  absl::Status closed_ ABSL_GUARDED_BY(applied_mu_);  // not OK: set by Close
  std::function<void()> written_ ABSL_GUARDED_BY(applied_mu_);

  WriteQueue queue_;  // last: its commits use everything above
};

}  // namespace vecino::engine
