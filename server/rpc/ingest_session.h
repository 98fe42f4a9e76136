// One call of IngestDocuments.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/rpc/bidi_session.h"
#include "server/rpc/ingest_handlers.h"
#include "server/rpc/ingest_items.h"
#include "server/rpc/ingest_window.h"

namespace vecino::rpc {

// Messages become batches of whatever has come, which go through three stages:
//
//   cut (read, one at a time, in order) → prepare (embed, several at once) → commit (in order)
//
// A worker takes a batch through the first two and, when the batches before it are committed,
// through the third, together with what has become ready behind it. One whose turn has not come is
// left for who commits before it; so no worker waits for another, and a stream has kMaxWork of them
// at most.
//
// When the engine's queues are full a batch waits and is tried again, and the window shrinks.
//
// Invariants:
//  S1. Batches are committed in the order of their numbers; one that was given up ends the stream,
//  and none behind it is committed. So a mark never passes over an item.
//  S2. Results are written in the order of the items, so `done_through` is the last one written.
//  S3. items_ and bytes_ count what was read and whose result has not left: what the window bounds.
class IngestSession final : public BidiSession {
 public:
  // `handlers` must outlive the session's work.
  explicit IngestSession(IngestHandlers* handlers) : handlers_(*handlers) {}

  // Another stream goes on with the same token: ends this one with ABORTED.
  void Supersede() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  enum class Phase { kBegin, kOpening, kOpen };
  struct Batch : IngestBatch {
    int64_t number = 0;
    absl::Time refused = absl::InfiniteFuture();  // since then
  };
  struct Ready {
    v1::IngestResult result;
    int64_t bytes = 0;
  };

  bool HasRoom() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Take(grpc::ByteBuffer message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Begin() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Busy() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Answer(grpc::ByteBuffer* message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Answered() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Woken() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Settled() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Work.
  void ReadStart(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mu_);
  void OpenStream() ABSL_LOCKS_EXCLUDED(mu_);
  void CutAndPrepare() ABSL_LOCKS_EXCLUDED(mu_);
  void Prepare(std::shared_ptr<Batch> batch) ABSL_LOCKS_EXCLUDED(mu_);
  void CommitReady() ABSL_LOCKS_EXCLUDED(mu_);
  void Forget() ABSL_LOCKS_EXCLUDED(mu_);

  bool WorthCutting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The engine was full at `*since`, or now for the first time: tries again later, or gives up
  // once that has lasted for `patience`.
  void Refused(const absl::Status& status, absl::Duration patience, absl::Time* since)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddResults(const Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  IngestHandlers& handlers_;

  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kBegin;
  IngestStart start_;  // set by ReadStart, before OpenStream is run
  absl::Time opening_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  // Set once, when the phase becomes kOpen; freed by Settled.
  std::unique_ptr<engine::IngestStream> stream_;
  std::optional<IngestReader> reader_;  // for who cuts

  std::deque<grpc::ByteBuffer> raw_ ABSL_GUARDED_BY(mu_);  // that came and were not cut
  int64_t raw_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool cutting_ ABSL_GUARDED_BY(mu_) = false;
  int64_t next_number_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::shared_ptr<Batch>> refused_ ABSL_GUARDED_BY(mu_);         // to be prepared again
  std::map<int64_t, std::shared_ptr<Batch>> prepared_ ABSL_GUARDED_BY(mu_);  // by number
  int64_t next_commit_ ABSL_GUARDED_BY(mu_) = 0;
  bool committing_ ABSL_GUARDED_BY(mu_) = false;
  bool commit_refused_ ABSL_GUARDED_BY(mu_) = false;  // to be tried again
  uint64_t committed_through_ ABSL_GUARDED_BY(mu_) = 0;

  std::deque<Ready> ready_ ABSL_GUARDED_BY(mu_);  // results that are to be written
  int64_t items_ ABSL_GUARDED_BY(mu_) = 0;        // S3
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t uncommitted_ ABSL_GUARDED_BY(mu_) = 0;    // of items_
  int64_t written_items_ ABSL_GUARDED_BY(mu_) = 0;  // in the answer on its way
  int64_t written_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t done_through_ ABSL_GUARDED_BY(mu_) = 0;  // as it was or is to be told
  bool told_first_ ABSL_GUARDED_BY(mu_) = false;
  bool told_going_away_ ABSL_GUARDED_BY(mu_) = false;

  bool finish_ ABSL_GUARDED_BY(mu_) = false;  // the caller says that the load is complete
  enum class Forgotten { kNo, kRunning, kYes } forgotten_ ABSL_GUARDED_BY(mu_) = Forgotten::kNo;

  IngestWindow window_ ABSL_GUARDED_BY(mu_);
  int refusals_ ABSL_GUARDED_BY(mu_) = 0;  // in a row
};

}  // namespace vecino::rpc
