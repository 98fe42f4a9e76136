#include "server/engine/follower.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

// Documents of one piece, and about how many bytes of text and metadata: a second or so of a model
// on one core, and one group commit.
constexpr size_t kPieceDocuments = 256;
constexpr size_t kPieceBytes = 1 << 20;
// Documents that are read at once, each of up to about a megabyte: those beyond kPieceBytes are
// read again for the next piece.
constexpr size_t kReadAtOnce = 16;
constexpr absl::Duration kFirstPause = absl::Milliseconds(50), kLongestPause = absl::Seconds(5);
constexpr storage::DocumentParts kParts = {.text = true, .metadata = true, .vector = false};

// Ends a scan.
absl::Status Enough() { return absl::OutOfRangeError("enough"); }

size_t BytesOf(const storage::Document& document) {
  return document.id.size() + document.text.size() + document.metadata.size();
}

}  // namespace

Follower::Follower(std::shared_ptr<Collection> from, std::shared_ptr<Collection> to,
                   std::vector<uint64_t> copy_through)
    : from_(std::move(from)), to_(std::move(to)), copy_through_([&] {
        copy_through.resize(static_cast<size_t>(from_->shard_count()));
        return std::move(copy_through);
      }()) {
  {
    absl::MutexLock lock(&mu_);
    for (int shard = 0; shard < from_->shard_count(); ++shard) {
      position_.push_back(to_->CarriedThrough(shard));
      copied_.push_back(0);
      copying_.push_back(position_.back() < copy_through_[static_cast<size_t>(shard)]);
    }
  }
  for (int shard = 0; shard < from_->shard_count(); ++shard) {
    from_->shard(shard).OnWritten([this] {
      absl::MutexLock lock(&mu_);
      changed_.SignalAll();
    });
  }
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

Follower::~Follower() { Stop(); }

void Follower::Stop() {
  {
    absl::MutexLock lock(&mu_);
    // Once: by now another follower may be the one that is told of writes.
    if (stopped_) return;
    stopped_ = true;
    changed_.SignalAll();
  }
  for (int shard = 0; shard < from_->shard_count(); ++shard) {
    from_->shard(shard).OnWritten(nullptr);
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

int64_t Follower::LagOf(size_t shard) const {
  const uint64_t last = from_->log(static_cast<int>(shard)).LastSequence();
  const uint64_t done = std::max(position_[shard], copy_through_[shard]);
  // What a range begins with was no write.
  const uint64_t first = storage::FirstOfRange(storage::RangeOf(last));
  return last <= done ? 0 : static_cast<int64_t>(last - std::max(done, first));
}

Follower::Shard Follower::Progress(int shard) const {
  absl::MutexLock lock(&mu_);
  const auto at = static_cast<size_t>(shard);
  return {copied_[at], LagOf(at), copying_[at]};
}

int64_t Follower::Lag() const {
  absl::MutexLock lock(&mu_);
  int64_t lag = 0;
  for (size_t shard = 0; shard < position_.size(); ++shard) lag += LagOf(shard);
  return lag;
}

bool Follower::Copying() const {
  absl::MutexLock lock(&mu_);
  return std::find(copying_.begin(), copying_.end(), true) != copying_.end();
}

absl::Status Follower::problem() const {
  absl::MutexLock lock(&mu_);
  return problem_;
}

bool Follower::Reached(int64_t lag) const {
  int64_t all = 0;
  for (size_t shard = 0; shard < position_.size(); ++shard) {
    if (copying_[shard]) return false;
    all += LagOf(shard);
  }
  return all <= lag;
}

absl::Status Follower::WaitFor(int64_t lag, const CallContext& context) const {
  const std::stop_callback wake(context.stop, [this] {
    absl::MutexLock lock(&mu_);
    changed_.SignalAll();
  });
  absl::MutexLock lock(&mu_);
  while (!Reached(lag)) {
    if (stopped_) return absl::UnavailableError("the migration ended or the server is stopping");
    if (!problem_.ok()) return problem_;
    if (context.stop.stop_requested()) return absl::CancelledError("the caller went away");
    if (changed_.WaitWithDeadline(&mu_, context.deadline) && !Reached(lag)) {
      return absl::DeadlineExceededError("the other side did not catch up in time");
    }
  }
  return absl::OkStatus();
}

void Follower::Run(std::stop_token stop) {
  absl::Duration pause = kFirstPause;
  while (!stop.stop_requested()) {
    bool carried = false;
    absl::Status failure;
    for (int shard = 0; shard < from_->shard_count() && failure.ok(); ++shard) {
      const absl::StatusOr<bool> step = Step(shard, stop);
      if (!step.ok()) failure = step.status();
      carried = carried || (step.ok() && *step);
    }
    absl::MutexLock lock(&mu_);
    problem_ = failure;
    changed_.SignalAll();
    if (failure.ok()) {
      pause = kFirstPause;
      // A write that comes between Step and here is in Lag.
      while (!carried && !stopped_ && Reached(0)) changed_.Wait(&mu_);
      continue;
    }
    const absl::Time until = absl::Now() + pause;
    while (!stopped_ && !changed_.WaitWithDeadline(&mu_, until)) {
    }
    pause = std::min(pause * 2, kLongestPause);
  }
}

absl::StatusOr<std::vector<CarriedWrite>> Follower::NextDocuments(int shard) {
  std::vector<CarriedWrite> writes;
  size_t bytes = 0;
  const auto at = static_cast<size_t>(shard);
  uint64_t position;
  {
    absl::MutexLock lock(&mu_);
    position = position_[at];
  }
  const absl::Status status = from_->log(shard).ScanDocuments(
      position, copy_through_[at], kParts, [&](const storage::Document& document) {
        if (writes.size() == kPieceDocuments || bytes >= kPieceBytes) return Enough();
        bytes += BytesOf(document);
        writes.push_back({CarriedWrite::Kind::kPut, document.sequence, document});
        return absl::OkStatus();
      });
  if (!status.ok() && !absl::IsOutOfRange(status)) return status;
  return writes;
}

absl::StatusOr<std::vector<CarriedWrite>> Follower::NextChanges(int shard) {
  const auto at = static_cast<size_t>(shard);
  uint64_t position;
  {
    absl::MutexLock lock(&mu_);
    position = std::max(position_[at], copy_through_[at]);
  }
  auto changes = from_->log(shard).ListChanges(position, kPieceDocuments);
  if (!changes.ok()) return changes.status();
  std::vector<CarriedWrite> writes;
  size_t bytes = 0;
  for (size_t first = 0; first < changes->size() && bytes < kPieceBytes; first += kReadAtOnce) {
    const auto some =
        std::span(*changes).subspan(first, std::min(kReadAtOnce, changes->size() - first));
    std::vector<uint64_t> sequences;
    for (const storage::NamedChange& change : some) {
      if (change.kind == storage::Mutation::Kind::kPut) sequences.push_back(change.sequence);
    }
    auto documents = from_->log(shard).GetDocuments(sequences, kParts);
    if (!documents.ok()) return documents.status();
    size_t put = 0;
    for (storage::NamedChange& change : some) {
      if (bytes >= kPieceBytes) break;
      CarriedWrite& write = writes.emplace_back();
      write.sequence = change.sequence;
      if (change.kind == storage::Mutation::Kind::kDelete) {
        write.kind = CarriedWrite::Kind::kDelete;
        write.document.id = std::move(change.id);
        continue;
      }
      std::optional<storage::Document>& document = (*documents)[put++];
      // Replaced or deleted since: a later change says so.
      if (!document.has_value()) continue;
      write.kind = CarriedWrite::Kind::kPut;
      bytes += BytesOf(*document);
      write.document = *std::move(document);
    }
  }
  return writes;
}

absl::StatusOr<bool> Follower::Step(int shard, std::stop_token stop) {
  const auto at = static_cast<size_t>(shard);
  bool copying;
  {
    absl::MutexLock lock(&mu_);
    copying = copying_[at];
    if (!copying && LagOf(at) == 0) return false;
  }
  auto writes = copying ? NextDocuments(shard) : NextChanges(shard);
  if (!writes.ok()) return writes.status();
  if (writes->empty()) {
    // Nothing is left to copy; the log holds what follows.
    absl::MutexLock lock(&mu_);
    copying_[at] = false;
    return copying;
  }
  const uint64_t through = writes->back().sequence;
  const auto count = static_cast<int64_t>(writes->size());
  CallContext context;
  context.stop = stop;
  if (absl::Status status = to_->Carry(shard, *std::move(writes), context); !status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("carrying writes of shard ", shard,
                                     " to the other embeddings: ", status.message()));
  }
  {
    absl::MutexLock lock(&mu_);
    position_[at] = through;
    if (copying) copied_[at] += count;
    changed_.SignalAll();
  }
  // Only now: until what was carried is durable, its changes are needed. Those up to copy_through
  // never are.
  from_->shard(shard).HoldChanges(std::max(through, copy_through_[at]));
  return true;
}

}  // namespace vecino::engine
