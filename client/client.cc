// The channel, and the calls about the server itself: health, status, models.
#include "client/vecino/client.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <string>
#include <thread>
#include <utility>

#include "client/conversions.h"
#include "client/impl.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::FromProto;
using internal::ToProto;

bool IsLoopback(const std::string& server) {
  return server.starts_with("127.") || server.starts_with("localhost") ||
         server.starts_with("[::1]") || server.starts_with("unix:");
}

// gRPC ends its threads when the last channel goes and begins anew with the next. While it does, a
// timer may be lost: in 1.51 a call with a deadline of .1 s never ended, in one of some 40 runs of
// client_test beside other work. So it is kept from its first client on.
void KeepGrpc() { [[maybe_unused]] static const bool kept = (grpc_init(), true); }

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  KeepGrpc();
  grpc::ChannelArguments arguments;
  // Replies are as large as the caller asked for: 1,000 documents of 1 MiB are legal.
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  // Attempts are counted here, under one deadline.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // gRPC waits 1 s and more before it dials again, longer than our own retries. MIN is how long an
  // attempt may take, and is told here as it is without it: with .1 s no server was reached that is
  // .1 s away, or busy.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Clients of one process do not share connections, nor each other's connection backoff.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC obeys http_proxy, and no proxy leads to this machine's own loopback.
  if (IsLoopback(options.server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(options.server, grpc::InsecureChannelCredentials(), arguments);
}

// grpc.health.v1.Health/Check. Its request (string service = 1) and response (enum status = 1) are
// on the wire what StringValue and Int32Value are, so the health proto itself is not needed.
grpc::Status CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                         grpc::ClientContext* context, const std::string& service, int* serving) {
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      channel);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  grpc::Status status;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  *serving = response.value();
  return status;
}

}  // namespace

Client::Impl::Impl(ClientOptions client_options)
    : options(std::move(client_options)),
      channel(MakeChannel(options)),
      collections(v1::CollectionService::NewStub(channel)),
      operations(google::longrunning::Operations::NewStub(channel)),
      documents(v1::DocumentService::NewStub(channel)),
      search(v1::SearchService::NewStub(channel)),
      embedding(v1::EmbeddingService::NewStub(channel)),
      admin(v1::AdminService::NewStub(channel)) {}

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

Status Client::WaitForReady(std::chrono::milliseconds timeout) {
  constexpr std::chrono::milliseconds kPoll{50};
  const auto deadline = std::chrono::system_clock::now() + timeout;
  std::string reason = "no connection";
  do {
    if (impl_->channel->WaitForConnected(deadline)) {
      grpc::ClientContext context;
      context.set_deadline(deadline);
      int serving = 0;
      const grpc::Status status = CheckHealth(impl_->channel, &context, "", &serving);
      if (status.ok() && serving == 1) return Status();
      // A server without the health service answers, which is all there is to ask of it.
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) return Status();
      reason = status.ok() ? "the server is not serving yet" : status.error_message();
    }
    std::this_thread::sleep_for(kPoll);
  } while (std::chrono::system_clock::now() < deadline);
  return Status(Code::kUnavailable, impl_->options.server + " was not ready within " +
                                        std::to_string(timeout.count()) + " ms: " + reason);
}

Result<std::string> Client::Health(const std::string& service) {
  if (Status status = CheckUtf8(service, "service"); !status.ok()) return status;
  int serving = 0;
  const Status status = internal::CallWithRetry(impl_->options, [&](grpc::ClientContext* context) {
    return CheckHealth(impl_->channel, context, service, &serving);
  });
  // The protocol's own word for a service the server does not have.
  if (status.code() == Code::kNotFound) return std::string("SERVICE_UNKNOWN");
  if (!status.ok()) return status;
  if (serving == 1) return std::string("SERVING");
  if (serving == 2) return std::string("NOT_SERVING");
  return std::string(serving == 3 ? "SERVICE_UNKNOWN" : "UNKNOWN");
}

Result<ServerStatus> Client::GetServerStatus() {
  v1::GetServerStatusResponse response;
  const Status status =
      impl_->Call(*impl_->admin, &v1::AdminService::Stub::GetServerStatus, {}, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

Result<std::vector<Embedding>> Client::Embed(const std::string& model,
                                             const std::vector<std::string>& texts,
                                             InputType input_type, Truncate truncate,
                                             EmbedTimings* timings, const std::string& prompt) {
  if (timings != nullptr) *timings = {};
  if (texts.empty()) return std::vector<Embedding>();
  if (Status status = CheckUtf8(prompt, "prompt"); !status.ok()) return status;
  v1::EmbedTextRequest request;
  if (!model.empty()) request.set_model("models/" + model);
  if (Status status = CheckUtf8(model, "model"); !status.ok()) return status;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Status status = CheckUtf8(texts[i], "texts[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    request.add_texts(texts[i]);
  }
  request.set_input_type(input_type == InputType::kQuery ? v1::INPUT_TYPE_QUERY
                                                         : v1::INPUT_TYPE_DOCUMENT);
  request.set_prompt(prompt);
  request.set_truncate(ToProto(truncate));
  v1::EmbedTextResponse response;
  const Status status =
      impl_->Call(*impl_->embedding, &v1::EmbeddingService::Stub::EmbedText, request, &response);
  if (!status.ok()) return status;
  std::vector<Embedding> embeddings;
  embeddings.reserve(response.embeddings_size());
  for (const v1::Embedding& embedding : response.embeddings()) {
    embeddings.push_back(FromProto(embedding));
  }
  if (timings != nullptr) *timings = FromProto(response.timings());
  return embeddings;
}

Result<std::vector<RerankedText>> Client::Rerank(const std::string& model, const std::string& query,
                                                 const std::vector<std::string>& texts,
                                                 Truncate truncate, EmbedTimings* timings) {
  if (timings != nullptr) *timings = {};
  if (texts.empty()) return std::vector<RerankedText>();
  v1::RerankTextsRequest request;
  if (!model.empty()) request.set_model("models/" + model);
  if (Status status = CheckUtf8(model, "model"); !status.ok()) return status;
  if (Status status = CheckUtf8(query, "query"); !status.ok()) return status;
  request.set_query(query);
  for (size_t i = 0; i < texts.size(); ++i) {
    const Status status = CheckUtf8(texts[i], "texts[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    request.add_texts(texts[i]);
  }
  request.set_truncate(ToProto(truncate));
  v1::RerankTextsResponse response;
  const Status status =
      impl_->Call(*impl_->embedding, &v1::EmbeddingService::Stub::RerankTexts, request, &response);
  if (!status.ok()) return status;
  if (static_cast<size_t>(response.results_size()) != texts.size()) {
    return Status(Code::kInternal, "the server sent " + std::to_string(response.results_size()) +
                                       " scores for " + std::to_string(texts.size()) + " texts");
  }
  std::vector<RerankedText> results;
  for (const v1::RerankedText& result : response.results()) {
    results.push_back({result.score(), result.token_count(), result.truncated()});
  }
  if (timings != nullptr) *timings = FromProto(response.timings());
  return results;
}

Result<std::vector<Model>> Client::ListModels() {
  v1::ListModelsResponse response;
  const Status status =
      impl_->Call(*impl_->embedding, &v1::EmbeddingService::Stub::ListModels, {}, &response);
  if (!status.ok()) return status;
  std::vector<Model> models;
  for (const v1::Model& model : response.models()) models.push_back(FromProto(model));
  return models;
}

}  // namespace vecino
