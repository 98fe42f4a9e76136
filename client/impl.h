// What a Client holds: its channel, its stubs, and the one way every call goes.
#pragma once

#include <google/longrunning/operations.grpc.pb.h>
#include <grpcpp/channel.h>
#include <vecino/v1/admin_service.grpc.pb.h>
#include <vecino/v1/collection_service.grpc.pb.h>
#include <vecino/v1/document_service.grpc.pb.h>
#include <vecino/v1/embedding_service.grpc.pb.h>
#include <vecino/v1/search_service.grpc.pb.h>

#include <chrono>
#include <memory>
#include <string>

#include "client/retry.h"
#include "client/vecino/client.h"

namespace vecino {

// Immutable after construction; channel and stubs are safe from any thread.
struct Client::Impl {
  explicit Impl(ClientOptions client_options);

  // Calls `method` of `stub` with retries. *response is the reply when the result is OK.
  template <typename Stub, typename Request, typename Response>
  Status Call(Stub& stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request, Response* response, int* attempts = nullptr) {
    return internal::CallWithRetry(
        options,
        [&](grpc::ClientContext* context) { return (stub.*method)(context, request, response); },
        attempts);
  }

  // Of the operation `name`, as a message has it. INVALID_ARGUMENT when it is not UTF-8.
  Result<google::longrunning::Operation> WaitOperation(const std::string& name,
                                                       std::chrono::milliseconds timeout);
  Status CancelOperation(const std::string& name);

  const ClientOptions options;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::CollectionService::Stub> collections;
  const std::unique_ptr<google::longrunning::Operations::Stub> operations;
  const std::unique_ptr<v1::DocumentService::Stub> documents;
  const std::unique_ptr<v1::SearchService::Stub> search;
  const std::unique_ptr<v1::EmbeddingService::Stub> embedding;
  const std::unique_ptr<v1::AdminService::Stub> admin;
};

}  // namespace vecino
