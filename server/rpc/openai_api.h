// OpenAI's API, and reranking, over EmbeddingHandlers: when it is open, for how long a request may
// take, and what is counted. The paths, and how many requests run at once, are the admin port's
// (server/admin_http.h).
#pragma once

#include <stop_token>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/metrics.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/embedding_handlers.h"
#include "server/rpc/http_reply.h"

namespace vecino::rpc {

// Thread safety: all methods are safe from any thread. None throws.
class OpenAiApi {
 public:
  // Longest that a request may take, from its last byte to its vectors: HTTP has no deadline.
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  // `metrics` must outlive it. Requests that take longer than `slow` are warned of; zero: none.
  OpenAiApi(Metrics* metrics, absl::Duration slow);

  // Until then every request gets 503. `handlers` must live until Wait has returned.
  void Open(EmbeddingHandlers* handlers);

  // The reply to POST /v1/embeddings with this body, or an error. Blocks on the model.
  HttpReply Embeddings(std::string_view body);
  // The same for POST /v1/rerank.
  HttpReply Rerank(std::string_view body);
  HttpReply Models();
  // An error met before the body of a request to `path` was looked at. 429 counts as a call that
  // failed.
  HttpReply Refusal(std::string_view path, int status, std::string_view message);

  // New requests get 503 from now on. Does not block.
  void Close();
  // Closes, waits for requests under way and cancels those that are not done at `deadline`. True
  // when there were none.
  bool Wait(absl::Time deadline);
  // Cancels requests under way.
  void Hurry() { stop_.request_stop(); }

 private:
  enum class State { kLoading, kOpen, kClosed };

  absl::StatusOr<EmbeddingHandlers*> Enter();
  void Leave();
  using WorkFn =
      absl::FunctionRef<absl::Status(EmbeddingHandlers&, const engine::CallContext&, std::string*)>;
  // The reply with the body that `work` makes, or its error, counted.
  HttpReply Run(MethodObserver* observer, WorkFn work);

  WarningLimit warnings_;
  MethodObserver embeddings_, reranks_;
  std::stop_source stop_;

  absl::Mutex mutex_;
  absl::CondVar idle_;  // the last one left
  State state_ ABSL_GUARDED_BY(mutex_) = State::kLoading;
  EmbeddingHandlers* handlers_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vecino::rpc
