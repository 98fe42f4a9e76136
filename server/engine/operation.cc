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

}  // namespace

Operation::Operation(std::string id, std::string collection, Type type, std::vector<int> shards)
    : id_(std::move(id)),
      collection_(std::move(collection)),
      type_(type),
      shards_(std::move(shards)),
      create_time_(absl::Now()),
      open_(shards_.size()) {
  for (const int shard : shards_) {
    Part& part = parts_.emplace_back();
    part.shard = shard;
    part.stage = "waiting";
  }
  if (parts_.empty()) end_time_ = create_time_;
}

bool Operation::done() const {
  absl::MutexLock lock(&mu_);
  return open_ == 0;
}

Operation::Info Operation::Snapshot() const {
  absl::MutexLock lock(&mu_);
  Info info{.id = id_,
            .collection = collection_,
            .type = type_,
            .create_time = create_time_,
            .end_time = end_time_,
            .done = open_ == 0,
            .cancel_requested = cancel_,
            .status = {},
            .parts = parts_};
  for (const Part& part : parts_) {
    if (info.done && info.status.ok()) info.status = part.status;
  }
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
  part->stage = status.ok() ? "done" : absl::IsCancelled(status) ? "cancelled" : "failed";
  part->status = std::move(status);
  if (--open_ > 0) return;
  end_time_ = absl::Now();
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

void Operation::Finish(int shard, absl::Status status) {
  absl::MutexLock lock(&mu_);
  if (Part* const part = OpenPart(shard); part != nullptr) FinishPart(part, std::move(status));
}

void Operation::End(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  for (Part& part : parts_) {
    if (!part.done) FinishPart(&part, why);
  }
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
  while (open_ > 0) {
    if (context.stop.stop_requested()) {
      return absl::CancelledError("the caller went away while waiting for an operation");
    }
    if (changed_.WaitWithDeadline(&mu_, context.deadline) && open_ > 0) {
      return absl::DeadlineExceededError(absl::StrCat("operation ", id_, " is not done yet"));
    }
  }
  return absl::OkStatus();
}

OperationRegistry::OperationRegistry()
    : prefix_(absl::StrCat(absl::Hex(absl::ToUnixMillis(absl::Now())), "-")) {}

uint64_t OperationRegistry::NumberOf(std::string_view id) const {
  uint64_t number = 0;
  if (!id.starts_with(prefix_)) return 0;
  const absl::string_view digits = View(id.substr(prefix_.size()));
  // One way to write each number.
  return absl::SimpleAtoi(digits, &number) && absl::StrCat(number) == digits ? number : 0;
}

absl::StatusOr<OperationRegistry::Map::const_iterator> OperationRegistry::Place(
    std::string_view collection, std::string_view id) const {
  const auto at = operations_.find(NumberOf(id));
  if (at != operations_.end() && at->second->collection() == collection) return at;
  return absl::NotFoundError(
      absl::StrCat("collection `", absl::CHexEscape(View(collection)), "` has no operation `",
                   absl::CHexEscape(View(id.substr(0, 100))),
                   "`; operations that are done are kept for a while, and not beyond a restart"));
}

absl::StatusOr<OperationRegistry::Created> OperationRegistry::Create(
    std::string_view collection, Operation::Type type, const std::vector<int>& shards) {
  absl::MutexLock lock(&mu_);
  size_t running = 0;
  for (const auto& [number, operation] : operations_) {
    if (operation->done()) continue;
    ++running;
    if (operation->collection() == collection && operation->type() == type &&
        operation->shards() == shards && operation->CheckCancelled().ok()) {
      return Created{operation, false};
    }
  }
  if (running >= kMaxRunning) {
    return absl::ResourceExhaustedError(
        absl::StrCat(running, " operations run, which is the limit; wait for some or cancel them"));
  }
  size_t surplus = operations_.size() - running;
  for (auto at = operations_.begin(); at != operations_.end() && surplus > kKeptDone;) {
    const bool drop = at->second->done();
    at = drop ? operations_.erase(at) : std::next(at);
    surplus -= drop;
  }
  const uint64_t number = next_++;
  auto operation = std::make_shared<Operation>(absl::StrCat(prefix_, number),
                                               std::string(collection), type, shards);
  operations_.emplace(number, operation);
  return Created{std::move(operation), true};
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
  absl::MutexLock lock(&mu_);
  const auto place = Place(collection, id);
  if (!place.ok()) return place.status();
  if (!(*place)->second->done()) {
    return absl::FailedPreconditionError(
        absl::StrCat("operation ", (*place)->second->id(), " still runs; cancel it first"));
  }
  operations_.erase(*place);
  return absl::OkStatus();
}

void OperationRegistry::CancelAll(std::string_view collection) {
  absl::MutexLock lock(&mu_);
  for (const auto& [number, operation] : operations_) {
    if (operation->collection() == collection) operation->Cancel();
  }
}

void OperationRegistry::Drop(std::string_view collection, const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  for (auto at = operations_.begin(); at != operations_.end();) {
    if (at->second->collection() != collection) {
      ++at;
      continue;
    }
    at->second->Cancel();
    at->second->End(why);
    at = operations_.erase(at);
  }
}

}  // namespace vecino::engine
