// One call of StreamSearchDocuments.
#pragma once

#include <cstddef>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "server/rpc/bidi_session.h"
#include "server/rpc/search_handlers.h"

namespace vecino::rpc {

// Runs up to kAtOnce searches at once, each as SearchDocuments does, and writes answers in the
// order they are found in.
class SearchSession final : public BidiSession {
 public:
  static constexpr int kAtOnce = 8;
  static constexpr int kMost = 2 * kAtOnce;  // queries that wait, run, or whose answers wait

  // `handlers` must outlive the session's work. An answer of over `max_reply_bytes` becomes an
  // error.
  SearchSession(SearchHandlers* handlers, size_t max_reply_bytes)
      : handlers_(*handlers), max_reply_bytes_(max_reply_bytes) {}

 private:
  bool HasRoom() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return static_cast<int>(waiting_.size() + answers_.size()) + running() < kMost;
  }
  void Take(grpc::ByteBuffer message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    waiting_.push_back(std::move(message));
  }
  void Begin() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Busy() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !waiting_.empty(); }
  bool Answer(grpc::ByteBuffer* message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Work.
  void Search(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mu_);

  SearchHandlers& handlers_;
  const size_t max_reply_bytes_;
  std::deque<grpc::ByteBuffer> waiting_ ABSL_GUARDED_BY(mu_);  // queries
  std::deque<grpc::ByteBuffer> answers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::rpc
