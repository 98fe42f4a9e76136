// Texts of many callers in, batches for the executors out. Knows nothing of models but their
// number.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "encoder/encoder.h"
#include "encoder/executor.h"

namespace vecino::encoder {

// Invariants:
//  1. A row waits in exactly one call, is in exactly one batch, or is done; its tokens are counted
//     as queued only while it waits.
//  2. A batch holds rows of one model and one lane. Its tokens are at most batch_tokens (those of
//     the call that begins it, if fewer) unless it holds a single row. Where its executor pads,
//     padding counts: width x rows, the width being its longest row.
//  3. Each lane has executors of its own, so that no query waits for a bulk batch.
//  4. The calls of a lane take turns: the call whose turn it is gives its longest rows first, and
//     rows of others only fill what it leaves over. So a call of n rows is done after at most n of
//     its turns.
//
// Thread safety: all methods are safe from any thread.
class BatchQueue {
 public:
  struct Options {
    int64_t capacity_tokens =
        4 << 20;              // of which 7/8 are for the bulk lane, 1/8 for the query lane
    int batch_tokens = 1024;  // tokens in a batch, with padding, at most
  };

  // What one caller wants embedded.
  struct Call {
    int model = 0;     // the caller's number for it
    bool pads = true;  // whether its executors pad rows to a batch's width; the same for a model
    Lane lane = Lane::kBulk;
    absl::Time deadline = absl::InfiniteFuture();
    std::stop_token stop;
    std::vector<std::vector<int32_t>> rows;  // token ids, each row at least one
    // Of pairs, for each row where its second text begins (TokenRow); empty: texts alone.
    std::vector<int> seconds;
    // Tokens in a batch that begins with this call's rows, fewer than Options say; 0: those.
    int batch_tokens = 0;
    // When what is done is enough: rows that are not get DEADLINE_EXCEEDED.
    absl::Time enough = absl::InfiniteFuture();
    EmbedTimings* timings = nullptr;  // may be null; a Run that succeeds sets queue and compute
  };

  // What became of one row.
  struct RowResult {
    absl::Status status;        // that of the batch it was in
    std::vector<float> vector;  // empty unless status is OK
  };

 private:
  struct PendingCall;

 public:
  // Rows to run together. Must be given to Finish, whatever happens.
  class Batch {
   public:
    int model() const { return model_; }
    int width() const { return width_; }  // tokens in the longest row
    std::span<const TokenRow> rows() const { return rows_; }

   private:
    friend class BatchQueue;
    int model_ = 0;
    bool pads_ = true;
    int width_ = 0;
    int limit_ = 0;                                                     // tokens, at most
    int tokens_ = 0;                                                    // of rows_, no padding
    std::vector<TokenRow> rows_;                                        // into the calls of owners_
    std::vector<std::pair<std::shared_ptr<PendingCall>, int>> owners_;  // call and row, as in rows_
    absl::Time cut_at_;
  };

  explicit BatchQueue(const Options& options);
  ~BatchQueue();
  BatchQueue(const BatchQueue&) = delete;
  BatchQueue& operator=(const BatchQueue&) = delete;

  // Queues the rows of `call`, all or none, and blocks until each is done. Results are in their
  // order; after `enough` those not done have DEADLINE_EXCEEDED. RESOURCE_EXHAUSTED: no room in the
  // lane; a call larger than the lane is taken when the lane is empty. DEADLINE_EXCEEDED,
  // CANCELLED: given up; rows still waiting are dropped, those running thrown away. UNAVAILABLE:
  // closed.
  absl::StatusOr<std::vector<RowResult>> Run(Call call) ABSL_LOCKS_EXCLUDED(mu_);

  // For executors: the next batch of the lane; blocks while there is none. Nothing: closed and the
  // lane is empty.
  std::optional<Batch> Next(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);

  // For executors: `vectors` holds one row of floats for each row of the batch when `status` is OK.
  // Another status becomes that of every row. Does not block.
  void Finish(Batch batch, const absl::Status& status, std::span<const float> vectors)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Refuses further calls; those already taken are served to their end. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  // Fills the fields that the queue knows: all but executors and tokenize_seconds.
  EncoderStats Stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using PendingPtr = std::shared_ptr<PendingCall>;
  using LaneCalls = std::deque<PendingPtr>;  // the front has the turn; none is without waiting rows

  LaneCalls& CallsOf(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t& QueuedTokens(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t CapacityOf(Lane lane) const;
  absl::Status Admit(const PendingPtr& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropAbandoned(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUp(const PendingPtr& call, absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Batch CutBatch(LaneCalls& calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static bool HasRoom(const Batch& batch, int length);
  void TakeRows(const PendingPtr& call, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable absl::Mutex mu_;
  std::array<absl::CondVar, 2> work_;  // by Lane: a call came, or the queue was closed
  std::array<LaneCalls, 2> lanes_ ABSL_GUARDED_BY(mu_);             // by Lane
  std::array<int64_t, 2> queued_tokens_ ABSL_GUARDED_BY(mu_) = {};  // by Lane
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  EncoderStats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::encoder
