#include "server/rpc/openai_api.h"

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "server/rpc/openai_json.h"
#include "server/rpc/rerank_json.h"
#include "server/rpc/status.h"

namespace vecino::rpc {
namespace {

constexpr const char* kRerankPath = "/v1/rerank";
constexpr int kWarningsPerSecond = 20;
constexpr const char* kStopping = "the server is stopping; try again shortly";

// What `run` returns, or the status of what it throws.
template <class Run>
absl::Status Guarded(const Run& run) {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server has no memory left for this call");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace

OpenAiApi::OpenAiApi(Metrics* metrics, absl::Duration slow)
    : warnings_(kWarningsPerSecond),
      embeddings_("/v1/embeddings", metrics, slow, &warnings_),
      reranks_(kRerankPath, metrics, slow, &warnings_) {}

void OpenAiApi::Open(EmbeddingHandlers* handlers) {
  absl::MutexLock lock(&mutex_);
  if (state_ != State::kLoading) return;
  state_ = State::kOpen;
  handlers_ = handlers;
}

absl::StatusOr<EmbeddingHandlers*> OpenAiApi::Enter() {
  absl::MutexLock lock(&mutex_);
  if (state_ == State::kLoading) {
    return absl::UnavailableError("the server is loading; try again shortly");
  }
  if (state_ == State::kClosed) return absl::UnavailableError(kStopping);
  ++running_;
  return handlers_;
}

void OpenAiApi::Leave() {
  absl::MutexLock lock(&mutex_);
  if (--running_ == 0) idle_.SignalAll();
}

HttpReply OpenAiApi::Run(MethodObserver* observer, WorkFn work) {
  const absl::Time start = absl::Now();
  HttpReply reply;
  const absl::Status status = Guarded([&] {
    const auto handlers = Enter();
    if (!handlers.ok()) return handlers.status();
    const absl::Cleanup leave = [this] { Leave(); };
    const engine::CallContext context{.deadline = absl::Now() + kPatience,
                                      .stop = stop_.get_token()};
    absl::Status done = work(**handlers, context, &reply.body);
    return absl::IsCancelled(done) ? absl::UnavailableError(kStopping) : done;
  });
  observer->Finished(ToGrpcStatus(status), absl::Now() - start, [] { return "http"; });
  return status.ok() ? reply : OpenAiError(status);
}

HttpReply OpenAiApi::Embeddings(std::string_view body) {
  return Run(&embeddings_, [&](EmbeddingHandlers& handlers, const engine::CallContext& context,
                               std::string* reply) {
    const auto asked = ReadOpenAiEmbeddings(body);
    if (!asked.ok()) return asked.status();
    v1::EmbedTextResponse response;
    absl::Status status = handlers.EmbedText(asked->request, &response, context);
    if (!status.ok()) return AsOpenAiField(status, *asked);
    *reply = WriteOpenAiEmbeddings(response, asked->base64);
    return status;
  });
}

HttpReply OpenAiApi::Rerank(std::string_view body) {
  return Run(&reranks_, [&](EmbeddingHandlers& handlers, const engine::CallContext& context,
                            std::string* reply) {
    const auto asked = ReadRerankBody(body);
    if (!asked.ok()) return asked.status();
    v1::RerankTextsResponse response;
    absl::Status status = handlers.RerankTexts(asked->request, &response, context);
    if (!status.ok()) return AsRerankField(status);
    *reply = WriteRerankReply(*asked, response);
    return status;
  });
}

HttpReply OpenAiApi::Models() {
  HttpReply reply;
  const absl::Status status = Guarded([&] {
    const auto handlers = Enter();
    if (!handlers.ok()) return handlers.status();
    const absl::Cleanup leave = [this] { Leave(); };
    v1::ListModelsResponse response;
    absl::Status listed = (*handlers)->ListModels({}, &response, {});
    if (listed.ok()) reply.body = WriteOpenAiModels(response);
    return listed;
  });
  return status.ok() ? reply : OpenAiError(status);
}

HttpReply OpenAiApi::Refusal(std::string_view path, int status, std::string_view message) {
  if (status == 429) {
    MethodObserver& observer = path == kRerankPath ? reranks_ : embeddings_;
    observer.Finished(grpc::Status(grpc::RESOURCE_EXHAUSTED, std::string(message)),
                      absl::ZeroDuration(), [] { return "http"; });
  }
  return OpenAiError(status, message);
}

void OpenAiApi::Close() {
  absl::MutexLock lock(&mutex_);
  state_ = State::kClosed;
}

bool OpenAiApi::Wait(absl::Time deadline) {
  Close();
  {
    absl::MutexLock lock(&mutex_);
    while (running_ > 0 && absl::Now() < deadline) idle_.WaitWithDeadline(&mutex_, deadline);
    if (running_ == 0) return true;
  }
  // Without the lock: it runs what waits for a stop.
  stop_.request_stop();
  absl::MutexLock lock(&mutex_);
  while (running_ > 0) idle_.Wait(&mutex_);
  return false;
}

}  // namespace vecino::rpc
