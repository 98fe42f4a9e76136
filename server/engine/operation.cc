#include "server/engine/operation.h"

#include <algorithm>
#include <stop_token>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

std::vector<int> ShardsOf(const std::vector<Operation::Part>& parts) {
  std::vector<int> shards;
  for (const Operation::Part& part : parts) shards.push_back(part.shard);
  return shards;
}

// Of an operation whose parts are done.
absl::Status StatusOf(const std::vector<Operation::Part>& parts) {
  using Kind = Operation::Outcome::Kind;
  const Operation::Part* rejected = nullptr;
  bool published = false;
  for (const Operation::Part& part : parts) {
    if (!part.status.ok()) return part.status;
    published = published || part.outcome.kind == Kind::kPublished;
    if (rejected == nullptr && part.outcome.kind == Kind::kRejected) rejected = &part;
  }
  if (rejected == nullptr || published) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no new build went live, the old index serves on; shard ", rejected->shard, ": ",
                   rejected->outcome.reason));
}

absl::Status CutShortError() {
  return absl::AbortedError(
      "the server restarted while it ran; what is left of it was not done, so start it again");
}

}  // namespace

absl::Status CutShortByStop() {
  return absl::AbortedError(
      "the server was stopped before it was done; what it did so far stays, start it again");
}

Operation::Operation(std::string id, std::string collection, Type type, std::vector<int> shards,
                     uint64_t number, EndFn on_end, double min_recall)
    : id_(std::move(id)),
      collection_(std::move(collection)),
      number_(number),
      type_(type),
      shards_(std::move(shards)),
      create_time_(absl::Now()),
      on_end_(std::move(on_end)),
      min_recall_(min_recall),
      open_(shards_.size()),
      done_(shards_.empty()) {
  for (const int shard : shards_) {
    Part& part = parts_.emplace_back();
    part.shard = shard;
    part.stage = "waiting";
  }
  if (parts_.empty()) end_time_ = create_time_;
}

Operation::Operation(const Info& info, EndFn on_end)
    : id_(info.id),
      collection_(info.collection),
      number_(info.number),
      type_(info.type),
      shards_(ShardsOf(info.parts)),
      create_time_(info.create_time),
      on_end_(std::move(on_end)),
      min_recall_(0),
      cancel_(info.cancel_requested),
      open_(static_cast<size_t>(std::count_if(info.parts.begin(), info.parts.end(),
                                              [](const Part& part) { return !part.done; }))),
      done_(open_ == 0),
      end_time_(info.end_time),
      parts_(info.parts),
      tuning_(info.tuning) {}

bool Operation::done() const {
  absl::MutexLock lock(&mu_);
  return done_;
}

bool Operation::working() const {
  absl::MutexLock lock(&mu_);
  return open_ > 0;
}

Operation::Info Operation::Snapshot() const {
  absl::MutexLock lock(&mu_);
  return SnapshotLocked();
}

Operation::Info Operation::SnapshotLocked() const {
  Info info{.id = id_,
            .number = number_,
            .collection = collection_,
            .type = type_,
            .create_time = create_time_,
            .end_time = done_ ? end_time_ : absl::InfiniteFuture(),
            .done = done_,
            .cancel_requested = cancel_,
            .status = {},
            .parts = parts_,
            .migration = migration_,
            .tuning = tuning_,
            .snapshot = snapshot_};
  if (info.done) info.status = StatusOf(parts_);
  return info;
}

Operation::Part* Operation::OpenPart(int shard) {
  for (Part& part : parts_) {
    if (part.shard == shard && !part.done) return &part;
  }
  return nullptr;
}

void Operation::FinishPart(Part* part, absl::Status status) {
  part->done = true;
  using Kind = Outcome::Kind;
  part->stage = absl::IsCancelled(status)                ? "cancelled"
                : !status.ok()                           ? "failed"
                : part->outcome.kind == Kind::kPublished ? "published"
                : part->outcome.kind == Kind::kRejected  ? "rejected"
                                                         : "done";
  part->status = std::move(status);
  if (--open_ == 0) end_time_ = absl::Now();
}

void Operation::Close(Info info) {
  if (on_end_ != nullptr) {
    info.done = true;
    info.status = StatusOf(info.parts);
    on_end_(info);
  }
  absl::MutexLock lock(&mu_);
  done_ = true;
  changed_.SignalAll();
}

void Operation::Report(int shard, std::string_view stage, int64_t rows_done, int64_t rows_total) {
  absl::MutexLock lock(&mu_);
  Part* const part = OpenPart(shard);
  if (part == nullptr) return;
  part->stage = std::string(stage);
  part->rows_done = rows_done;
  part->rows_total = rows_total;
}

void Operation::ReportOutcome(int shard, Outcome outcome) {
  absl::MutexLock lock(&mu_);
  if (Part* const part = OpenPart(shard); part != nullptr) part->outcome = std::move(outcome);
}

void Operation::Describe(MigrationInfo migration) {
  auto next = std::make_shared<const MigrationInfo>(std::move(migration));
  absl::MutexLock lock(&mu_);
  migration_.swap(next);
}

void Operation::DescribeTuning(TuningResult tuning) {
  auto next = std::make_shared<const TuningResult>(std::move(tuning));
  absl::MutexLock lock(&mu_);
  tuning_.swap(next);
}

void Operation::DescribeSnapshot(SnapshotWork snapshot) {
  auto next = std::make_shared<const SnapshotWork>(std::move(snapshot));
  absl::MutexLock lock(&mu_);
  snapshot_.swap(next);
}

void Operation::Finish(int shard, absl::Status status) {
  Info info;
  {
    absl::MutexLock lock(&mu_);
    Part* const part = OpenPart(shard);
    if (part == nullptr) return;
    FinishPart(part, std::move(status));
    if (open_ > 0) return;
    info = SnapshotLocked();
    info.end_time = end_time_;
  }
  Close(std::move(info));
}

void Operation::End(const absl::Status& why) {
  Info info;
  {
    absl::MutexLock lock(&mu_);
    if (open_ == 0) return;
    for (Part& part : parts_) {
      if (!part.done) FinishPart(&part, why);
    }
    info = SnapshotLocked();
    info.end_time = end_time_;
  }
  Close(std::move(info));
}

absl::Status Operation::CheckCancelled() const {
  absl::MutexLock lock(&mu_);
  if (!cancel_) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat("operation ", id_, " was cancelled"));
}

void Operation::Cancel() {
  absl::MutexLock lock(&mu_);
  if (open_ > 0) cancel_ = true;
}

absl::Status Operation::Wait(const CallContext& context) const {
  // Runs at once when the caller has gone already, so before the lock is taken.
  const std::stop_callback wake(context.stop, [this] {
    absl::MutexLock lock(&mu_);
    changed_.SignalAll();
  });
  absl::MutexLock lock(&mu_);
  while (!done_) {
    if (context.stop.stop_requested()) {
      return absl::CancelledError("the caller went away while waiting for an operation");
    }
    if (changed_.WaitWithDeadline(&mu_, context.deadline) && !done_) {
      return absl::DeadlineExceededError(absl::StrCat("operation ", id_, " is not done yet"));
    }
  }
  return absl::OkStatus();
}

OperationRegistry::OperationRegistry(OperationJournal journal)
    : journal_(std::move(journal)),
      prefix_(absl::StrCat(absl::Hex(absl::ToUnixMillis(absl::Now())), "-")) {}

Operation::EndFn OperationRegistry::OnEnd() {
  return [this](const Operation::Info& info) {
    // Where it is not written, the next start says that it was cut short.
    if (journal_.put) journal_.put(info).IgnoreError();
    if (journal_.ended) journal_.ended(info);
  };
}

void OperationRegistry::Restore(std::vector<Operation::Info> infos,
                                const std::function<bool(const Operation::Info&)>& goes_on) {
  std::vector<Operation::Info> cut_short;
  {
    absl::MutexLock lock(&mu_);
    for (Operation::Info& info : infos) {
      next_ = std::max(next_, info.number + 1);
      const bool was_done = info.done;
      if (!was_done && goes_on != nullptr && goes_on(info)) {
        operations_.emplace(info.number, std::make_shared<Operation>(info, OnEnd()));
        continue;
      }
      if (!was_done) {
        info.done = true;
        info.end_time = absl::Now();
        for (Operation::Part& part : info.parts) {
          if (part.done) continue;
          part.done = true;
          part.stage = "failed";
          part.status = CutShortError();
        }
      }
      operations_.emplace(info.number, std::make_shared<Operation>(info));
      if (!was_done) cut_short.push_back(std::move(info));
    }
  }
  if (journal_.put == nullptr) return;
  for (const Operation::Info& info : cut_short) {
    // Where it is not written, the next start ends it again.
    journal_.put(info).IgnoreError();
  }
}

uint64_t OperationRegistry::NumberOf(std::string_view id) {
  uint64_t number = 0;
  const size_t dash = id.rfind('-');
  if (dash == std::string_view::npos) return 0;
  const absl::string_view digits = View(id.substr(dash + 1));
  // One way to write each number.
  return absl::SimpleAtoi(digits, &number) && absl::StrCat(number) == digits ? number : 0;
}

absl::StatusOr<OperationRegistry::Map::const_iterator> OperationRegistry::Place(
    std::string_view collection, std::string_view id) const {
  const auto at = operations_.find(NumberOf(id));
  if (at != operations_.end() && at->second->id() == id && at->second->collection() == collection) {
    return at;
  }
  return absl::NotFoundError(
      absl::StrCat("collection `", absl::CHexEscape(View(collection)), "` has no operation `",
                   absl::CHexEscape(View(id.substr(0, 100))),
                   "`; of operations that are done the last ", kKeptDone, " are kept"));
}

absl::StatusOr<OperationRegistry::Created> OperationRegistry::Create(std::string_view collection,
                                                                     Operation::Type type,
                                                                     const std::vector<int>& shards,
                                                                     double min_recall) {
  const bool always_new = type != Operation::Type::kRetrain && type != Operation::Type::kCompact;
  std::vector<std::shared_ptr<Operation>> dropped;
  std::shared_ptr<Operation> made;
  {
    absl::MutexLock lock(&mu_);
    size_t running = 0;
    for (const auto& [number, operation] : operations_) {
      if (operation->done()) continue;
      ++running;
      if (!always_new && operation->collection() == collection && operation->type() == type &&
          operation->shards() == shards && operation->min_recall() == min_recall &&
          operation->working() && operation->CheckCancelled().ok()) {
        return Created{operation, false};
      }
    }
    if (running >= kMaxRunning) {
      return absl::ResourceExhaustedError(absl::StrCat(
          running, " operations run, which is the limit; wait for some or cancel them"));
    }
    size_t surplus = operations_.size() - running;
    for (auto at = operations_.begin(); at != operations_.end() && surplus > kKeptDone;) {
      if (!at->second->done()) {
        ++at;
        continue;
      }
      dropped.push_back(std::move(at->second));
      at = operations_.erase(at);
      --surplus;
    }
    const uint64_t number = next_++;
    made = std::make_shared<Operation>(absl::StrCat(prefix_, number), std::string(collection), type,
                                       shards, number, OnEnd(), min_recall);
    operations_.emplace(number, made);
  }
  if (journal_.erase) {
    for (const auto& operation : dropped) journal_.erase(operation->Snapshot());
  }
  if (journal_.put) {
    const Operation::Info info = made->Snapshot();
    if (absl::Status status = journal_.put(info); !status.ok()) {
      absl::MutexLock lock(&mu_);
      operations_.erase(info.number);
      return status;
    }
  }
  return Created{std::move(made), true};
}

absl::StatusOr<std::shared_ptr<Operation>> OperationRegistry::Find(std::string_view collection,
                                                                   std::string_view id) const {
  absl::MutexLock lock(&mu_);
  const auto place = Place(collection, id);
  if (!place.ok()) return place.status();
  return (*place)->second;
}

std::vector<std::shared_ptr<Operation>> OperationRegistry::List(std::string_view collection,
                                                                std::string_view after,
                                                                size_t limit) const {
  std::vector<std::shared_ptr<Operation>> found;
  absl::MutexLock lock(&mu_);
  for (auto at = operations_.upper_bound(NumberOf(after));
       at != operations_.end() && found.size() < limit; ++at) {
    if (at->second->collection() == collection) found.push_back(at->second);
  }
  return found;
}

absl::Status OperationRegistry::Delete(std::string_view collection, std::string_view id) {
  std::shared_ptr<Operation> gone;
  {
    absl::MutexLock lock(&mu_);
    const auto place = Place(collection, id);
    if (!place.ok()) return place.status();
    if (!(*place)->second->done()) {
      return absl::FailedPreconditionError(
          absl::StrCat("operation ", (*place)->second->id(), " still runs; cancel it first"));
    }
    gone = (*place)->second;
    operations_.erase(*place);
  }
  if (journal_.erase) journal_.erase(gone->Snapshot());
  return absl::OkStatus();
}

void OperationRegistry::CancelAll(std::string_view collection) {
  absl::MutexLock lock(&mu_);
  for (const auto& [number, operation] : operations_) {
    if (operation->collection() == collection) operation->Cancel();
  }
}

void OperationRegistry::Drop(std::string_view collection, const absl::Status& why) {
  std::vector<std::shared_ptr<Operation>> gone;
  {
    absl::MutexLock lock(&mu_);
    for (auto at = operations_.begin(); at != operations_.end();) {
      if (at->second->collection() != collection) {
        ++at;
        continue;
      }
      gone.push_back(std::move(at->second));
      at = operations_.erase(at);
    }
  }
  for (const auto& operation : gone) {
    operation->Cancel();
    operation->End(why);
  }
}

}  // namespace vecino::engine
