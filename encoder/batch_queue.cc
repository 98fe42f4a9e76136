#include "encoder/batch_queue.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vecino::encoder {
namespace {

// Padding that a batch may hold whatever its size, in tokens: running a batch at all costs about as
// much as 30 tokens (a pass over the weights), so two rows are better run together up to this.
constexpr int kFreePadding = 64;
// Beyond it, at most this part of the batch.
constexpr int kPaddingDivisor = 8;

}  // namespace

// One call from admission to its last row. Guarded by the queue's mutex, but for `call`, which does
// not change after admission, so that executors read its rows without the lock.
struct BatchQueue::PendingCall {
  Call call;
  std::vector<int> waiting;  // rows not yet in a batch, by rising length
  std::vector<RowResult> results;
  size_t unfinished = 0;          // rows waiting or in a batch
  absl::Status given_up;          // not OK: nobody wants the results any more
  absl::CondVar changed;          // finished, given up, or asked to stop
  absl::Time admitted, last_cut;  // last_cut: when a batch took rows of it last
  absl::Duration compute;         // of the finished batches with rows of it

  int Length(int row) const { return static_cast<int>(call.rows[row].size()); }

  // Why nobody waits for this call any more; OK while somebody does.
  absl::Status Abandoned(absl::Time now) const {
    if (call.stop.stop_requested()) return absl::CancelledError("the caller has gone");
    if (now >= call.deadline) {
      return absl::DeadlineExceededError(absl::StrCat("the deadline passed with ", unfinished,
                                                      " of ", call.rows.size(),
                                                      " texts not embedded"));
    }
    return absl::OkStatus();
  }

  int64_t WaitingTokens() const {
    return std::accumulate(waiting.begin(), waiting.end(), int64_t{0},
                           [&](int64_t sum, int row) { return sum + Length(row); });
  }
};

BatchQueue::BatchQueue(const Options& options) : options_(options) {}
BatchQueue::~BatchQueue() = default;

BatchQueue::LaneCalls& BatchQueue::CallsOf(Lane lane) { return lanes_[static_cast<size_t>(lane)]; }

int64_t& BatchQueue::QueuedTokens(Lane lane) { return queued_tokens_[static_cast<size_t>(lane)]; }

int64_t BatchQueue::CapacityOf(Lane lane) const {
  const int64_t for_queries = options_.capacity_tokens / 8;
  return lane == Lane::kQuery ? for_queries : options_.capacity_tokens - for_queries;
}

absl::StatusOr<std::vector<BatchQueue::RowResult>> BatchQueue::Run(Call call) {
  if (call.rows.empty()) return std::vector<RowResult>();
  const auto pending = std::make_shared<PendingCall>();
  pending->call = std::move(call);
  pending->waiting.resize(pending->call.rows.size());
  std::iota(pending->waiting.begin(), pending->waiting.end(), 0);
  // Rising length; of equal ones the first is taken first, hence last in the order.
  std::sort(pending->waiting.begin(), pending->waiting.end(), [&](int a, int b) {
    return pending->Length(a) != pending->Length(b) ? pending->Length(a) < pending->Length(b)
                                                    : a > b;
  });
  pending->unfinished = pending->call.rows.size();
  RowResult nothing;
  const absl::Time enough = pending->call.enough;
  if (enough < absl::InfiniteFuture()) {
    nothing.status = absl::DeadlineExceededError("the time that was to be enough passed before it");
  }
  pending->results.resize(pending->call.rows.size(), nothing);

  // Made and destroyed without the lock: it may run at once, and its end waits for a run under way.
  const std::stop_callback wake(pending->call.stop, [this, &pending] {
    absl::MutexLock lock(&mu_);
    pending->changed.Signal();
  });
  absl::MutexLock lock(&mu_);
  if (absl::Status status = Admit(pending); !status.ok()) return status;
  while (pending->unfinished > 0 && pending->given_up.ok()) {
    const absl::Time now = absl::Now();
    if (absl::Status status = pending->Abandoned(now); !status.ok()) {
      GiveUp(pending, std::move(status));
    } else if (now >= enough) {
      break;
    } else {
      pending->changed.WaitWithDeadline(&mu_, std::min(enough, pending->call.deadline));
    }
  }
  if (!pending->given_up.ok()) return pending->given_up;
  if (pending->unfinished > 0) GiveUp(pending, nothing.status);
  if (EmbedTimings* timings = pending->call.timings; timings != nullptr) {
    timings->queue = std::max(pending->last_cut, pending->admitted) - pending->admitted;
    timings->compute = pending->compute;
  }
  // Rows that are still in a batch will be finished.
  return pending->given_up.ok() ? std::move(pending->results) : pending->results;
}

absl::Status BatchQueue::Admit(const PendingPtr& call) {
  const Lane lane = call->call.lane;
  if (closed_) return absl::UnavailableError("the encoder is shutting down");
  if (absl::Status status = call->Abandoned(absl::Now()); !status.ok()) return status;
  const int64_t tokens = call->WaitingTokens();
  const int64_t queued = QueuedTokens(lane);
  if (queued > 0 && queued + tokens > CapacityOf(lane)) {
    ++stats_.rejected;
    return absl::ResourceExhaustedError(
        absl::StrCat("the encoder's ", lane == Lane::kQuery ? "query" : "bulk",
                     " queue is full: ", queued, " tokens wait, this call has ", tokens,
                     ", the limit is ", CapacityOf(lane), "; try again later"));
  }
  QueuedTokens(lane) += tokens;
  call->admitted = absl::Now();
  CallsOf(lane).push_back(call);
  work_[static_cast<size_t>(lane)].SignalAll();
  return absl::OkStatus();
}

void BatchQueue::GiveUp(const PendingPtr& call, absl::Status status) {
  if (!call->waiting.empty()) {
    QueuedTokens(call->call.lane) -= call->WaitingTokens();
    call->waiting.clear();
    std::erase(CallsOf(call->call.lane), call);
  }
  call->given_up = std::move(status);
  call->changed.Signal();
}

void BatchQueue::DropAbandoned(Lane lane) {
  const absl::Time now = absl::Now();
  const LaneCalls& calls = CallsOf(lane);
  for (size_t i = calls.size(); i-- > 0;) {
    const PendingPtr call = calls[i];  // GiveUp erases it from `calls`
    if (absl::Status status = call->Abandoned(now); !status.ok()) GiveUp(call, std::move(status));
  }
}

std::optional<BatchQueue::Batch> BatchQueue::Next(Lane lane) {
  absl::MutexLock lock(&mu_);
  while (true) {
    DropAbandoned(lane);
    if (!CallsOf(lane).empty()) return CutBatch(CallsOf(lane));
    if (closed_) return std::nullopt;
    work_[static_cast<size_t>(lane)].Wait(&mu_);
  }
}

BatchQueue::Batch BatchQueue::CutBatch(LaneCalls& calls) {
  Batch batch;
  const PendingPtr first = calls.front();
  calls.pop_front();
  batch.model_ = first->call.model;
  batch.pads_ = first->call.pads;
  batch.width_ = first->Length(first->waiting.back());
  batch.limit_ = options_.batch_tokens;
  if (first->call.batch_tokens > 0) {
    batch.limit_ = std::min(batch.limit_, first->call.batch_tokens);
  }
  TakeRows(first, batch);
  for (const PendingPtr& call : calls) {
    if (call->call.model == batch.model_) TakeRows(call, batch);
  }
  std::erase_if(calls, [](const PendingPtr& call) { return call->waiting.empty(); });
  if (!first->waiting.empty()) calls.push_back(first);
  batch.cut_at_ = absl::Now();
  for (const auto& owner : batch.owners_) owner.first->last_cut = batch.cut_at_;
  return batch;
}

// Whether a row of so many tokens goes into the batch too.
bool BatchQueue::HasRoom(const Batch& batch, int length) {
  if (batch.rows_.empty()) return true;
  const int tokens = batch.tokens_ + length;
  if (!batch.pads_) return tokens <= batch.limit_;
  const int padded = batch.width_ * static_cast<int>(batch.rows_.size() + 1);
  return padded <= batch.limit_ &&
         padded - tokens <= std::max(kFreePadding, padded / kPaddingDivisor);
}

void BatchQueue::TakeRows(const PendingPtr& call, Batch& batch) {
  std::vector<int>& waiting = call->waiting;
  const auto no_longer_than = [&](int length) {
    return std::upper_bound(waiting.begin(), waiting.end(), length,
                            [&](int most, int row) { return most < call->Length(row); });
  };
  auto end = batch.pads_ ? no_longer_than(batch.width_) : waiting.end();
  while (end != waiting.begin()) {
    auto begin = end;
    for (; begin != waiting.begin(); --begin) {
      const int row = *(begin - 1);
      if (!HasRoom(batch, call->Length(row))) break;
      batch.tokens_ += call->Length(row);
      batch.width_ = std::max(batch.width_, call->Length(row));
      const std::vector<int>& seconds = call->call.seconds;
      batch.rows_.emplace_back(call->call.rows[row],
                               seconds.empty() ? 0 : seconds[static_cast<size_t>(row)]);
      batch.owners_.emplace_back(call, row);
      QueuedTokens(call->call.lane) -= call->Length(row);
    }
    waiting.erase(begin, end);
    // With padding a shorter row needs as much room as the one that had none.
    if (batch.pads_ || waiting.empty()) return;
    end = no_longer_than(batch.limit_ - batch.tokens_);
  }
}

void BatchQueue::Finish(Batch batch, const absl::Status& status, std::span<const float> vectors) {
  const size_t count = batch.rows_.size();
  std::vector<RowResult> results(count);
  for (size_t i = 0; i < count; ++i) {
    results[i].status = status;
    if (status.ok()) {
      const auto vector = vectors.subspan(i * (vectors.size() / count), vectors.size() / count);
      results[i].vector.assign(vector.begin(), vector.end());
    }
  }
  const absl::Duration took = absl::Now() - batch.cut_at_;

  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < count; ++i) {
    const auto& [call, row] = batch.owners_[i];
    call->results[row] = std::move(results[i]);
    // The rows of a call stand together.
    if (i == 0 || call != batch.owners_[i - 1].first) call->compute += took;
    if (--call->unfinished == 0) call->changed.Signal();
  }
  ++stats_.batches;
  stats_.compute_seconds += absl::ToDoubleSeconds(took);
  if (status.ok()) {
    stats_.texts += static_cast<int64_t>(count);
    stats_.tokens += batch.tokens_;
    stats_.padded_tokens +=
        batch.pads_ ? static_cast<int64_t>(count) * batch.width_ : batch.tokens_;
  }
}

void BatchQueue::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  for (absl::CondVar& work : work_) work.SignalAll();
}

EncoderStats BatchQueue::Stats() const {
  absl::MutexLock lock(&mu_);
  EncoderStats stats = stats_;
  stats.queued_tokens = queued_tokens_[0] + queued_tokens_[1];
  stats.queue_capacity = options_.capacity_tokens;
  return stats;
}

}  // namespace vecino::encoder
