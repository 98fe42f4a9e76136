// Long-running work on a collection's indexes: what it is doing, and how to stop it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/migration_info.h"
#include "server/engine/snapshot_info.h"
#include "server/engine/tuning_info.h"
#include "server/engine/types.h"

namespace vecino::engine {

// One request, over some shards of one collection. Each shard's maintenance works on its part and
// reports here; the operation is done when every part is. Thread safety: all methods are safe from
// any thread.
class Operation {
 public:
  // kSnapshot and kRestore are of a snapshot, not of a collection: see Snapshots.
  enum class Type { kRetrain, kCompact, kPurge, kPatch, kMigrate, kTune, kSnapshot, kRestore };

  // How a retrain or a tuning of one shard ended, and what was measured on the way.
  struct Outcome {
    enum class Kind { kNone, kPublished, kRejected, kNotNeeded };
    Kind kind = Kind::kNone;
    std::string reason;  // of kRejected and kNotNeeded
    // Of old and new build on the same queries; 0: not measured.
    double recall_before = 0, recall_after = 0;
    int64_t rows_before = 0, rows_after = 0;  // compared by a search, the mean

    bool operator==(const Outcome&) const = default;
  };
  struct Part {
    int shard = 0;
    // Of kSnapshot and kRestore: "waiting", "checking", "copying", "indexing". Else
    // "waiting", "draining", "training", "encoding", "catching up", "calibrating", "validating",
    // "merging", "measuring"; at the end "published", "rejected", "done", "cancelled", "failed".
    std::string stage;
    int64_t rows_done = 0;   // of this stage
    int64_t rows_total = 0;  // 0: not known
    bool done = false;
    absl::Status status;  // when done
    Outcome outcome;      // of kRetrain and kTune
  };
  struct Info {
    std::string id;       // unique in the store; [a-z0-9-]
    uint64_t number = 0;  // of creation, over all starts
    std::string collection;
    Type type = Type::kRetrain;
    absl::Time create_time, end_time;  // end: infinite future until done
    bool done = false;
    bool cancel_requested = false;
    // When done: the first part's that is not OK; FAILED_PRECONDITION where a build was rejected
    // and none published.
    absl::Status status;
    std::vector<Part> parts;
    // kMigrate, of this start: how it stood when the work on it last said so. Null: not known.
    std::shared_ptr<const MigrationInfo> migration;
    // kTune: what was measured, once all was. Null: nothing yet.
    std::shared_ptr<const TuningResult> tuning;
    // kSnapshot and kRestore: what is done.
    std::shared_ptr<const SnapshotWork> snapshot;
  };

  // Told how it ended, once, before anybody sees that it is done. No lock is held.
  using EndFn = std::function<void(const Info&)>;

  // min_recall: of kRetrain.
  Operation(std::string id, std::string collection, Type type, std::vector<int> shards,
            uint64_t number = 0, EndFn on_end = nullptr, double min_recall = 0);
  // One that an earlier start left; info.done, or the work goes on and ends with on_end.
  explicit Operation(const Info& info, EndFn on_end = nullptr);

  const std::string& id() const { return id_; }
  Type type() const { return type_; }
  const std::string& collection() const { return collection_; }
  const std::vector<int>& shards() const { return shards_; }
  // Of kRetrain: a build that finds less is rejected; 0: none is for that.
  double min_recall() const { return min_recall_; }
  bool done() const;
  // Whether a part of it is not done: false a moment before done.
  bool working() const;
  Info Snapshot() const;

  // For whoever works on a shard's part. A part that is done stays as it is; a shard that is no
  // part of it is ignored.
  void Report(int shard, std::string_view stage, int64_t rows_done, int64_t rows_total);
  void ReportOutcome(int shard, Outcome outcome);
  void Finish(int shard, absl::Status status);
  void Describe(MigrationInfo migration);
  void DescribeTuning(TuningResult tuning);
  void DescribeSnapshot(SnapshotWork snapshot);
  // CANCELLED once Cancel was called.
  absl::Status CheckCancelled() const;

  // Asks the work to stop; it does at its next checkpoint and changes nothing. No effect when done.
  void Cancel();
  // Finishes every part that is not done. For one whose shards are gone.
  void End(const absl::Status& why);
  // Blocks until it is done, the deadline passes (DEADLINE_EXCEEDED) or the caller goes
  // (CANCELLED).
  absl::Status Wait(const CallContext& context) const;

 private:
  Part* OpenPart(int shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);  // null: none, or done
  void FinishPart(Part* part, absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Info SnapshotLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After the last part: tells on_end_, then everybody.
  void Close(Info info) ABSL_LOCKS_EXCLUDED(mu_);

  const std::string id_, collection_;
  const uint64_t number_;
  const Type type_;
  const std::vector<int> shards_;
  const absl::Time create_time_;
  const EndFn on_end_;
  const double min_recall_;
  mutable absl::Mutex mu_;
  mutable absl::CondVar changed_;
  bool cancel_ ABSL_GUARDED_BY(mu_) = false;
  size_t open_ ABSL_GUARDED_BY(mu_);  // parts that are not done
  bool done_ ABSL_GUARDED_BY(mu_);
  absl::Time end_time_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::vector<Part> parts_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const MigrationInfo> migration_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const TuningResult> tuning_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const SnapshotWork> snapshot_ ABSL_GUARDED_BY(mu_);
};

// How an operation ends that a stop of the server cut short: ABORTED, since its caller chooses
// whether to repeat it.
absl::Status CutShortByStop();

// Where the registry writes down what it has, so that the next start knows it. Any may be null.
struct OperationJournal {
  // Durable on return. Blocks on disk.
  std::function<absl::Status(const Operation::Info&)> put;
  std::function<void(const Operation::Info&)> erase;
  // One ended, and was put.
  std::function<void(const Operation::Info&)> ended;
};

// The operations of a server, those under way and the last kept of those that are done. What an
// operation is goes into the journal when it begins and when it ends; where it could not be written
// at its end, the next start takes it for one that was cut short. Thread safe.
class OperationRegistry {
 public:
  static constexpr size_t kKeptDone = 256;
  static constexpr size_t kMaxRunning = 256;

  explicit OperationRegistry(OperationJournal journal = {});

  // What an earlier start left, in any order. One that was not done is now, with ABORTED: the work
  // is safe to cut short and to repeat, but whether to repeat it is its caller's choice. Those that
  // `goes_on` (null: none) says of that their work goes on do. Before anything else.
  void Restore(std::vector<Operation::Info> infos,
               const std::function<bool(const Operation::Info&)>& goes_on = nullptr);

  struct Created {
    std::shared_ptr<Operation> operation;
    bool made = false;  // otherwise it ran already
  };
  // The operation that runs already with the same arguments, unless it was cancelled; so a
  // request that is sent twice is done once. (All but kRetrain and kCompact say more than that:
  // always a new one.) Otherwise a new one with an id of its own. RESOURCE_EXHAUSTED when
  // kMaxRunning run; what the journal says when it refuses. shards: ascending. One call at a time.
  absl::StatusOr<Created> Create(std::string_view collection, Operation::Type type,
                                 const std::vector<int>& shards, double min_recall = 0);
  // NOT_FOUND, naming both.
  absl::StatusOr<std::shared_ptr<Operation>> Find(std::string_view collection,
                                                  std::string_view id) const;
  // In order of creation; `after` is the id to go on behind, whether or not it is there still;
  // empty, or not an id: from the first.
  std::vector<std::shared_ptr<Operation>> List(std::string_view collection, std::string_view after,
                                               size_t limit) const;
  // FAILED_PRECONDITION while it runs, NOT_FOUND.
  absl::Status Delete(std::string_view collection, std::string_view id);
  // Asks what runs on the collection to stop.
  void CancelAll(std::string_view collection);
  // Ends what runs on the collection with `why` and forgets all its operations: it is gone.
  void Drop(std::string_view collection, const absl::Status& why);

 private:
  using Map = absl::btree_map<uint64_t, std::shared_ptr<Operation>>;
  Operation::EndFn OnEnd();
  // The number in an id; 0: it is none.
  static uint64_t NumberOf(std::string_view id);
  absl::StatusOr<Map::const_iterator> Place(std::string_view collection, std::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const OperationJournal journal_;
  const std::string prefix_;  // of new ids: differs from start to start
  mutable absl::Mutex mu_;    // taken before an operation's own
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 1;
  Map operations_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
