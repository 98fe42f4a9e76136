// One real vecinod, on free ports of loopback, for a test.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "vecino/v1/admin_service.grpc.pb.h"
#include "vecino/v1/collection_service.grpc.pb.h"
#include "vecino/v1/document_service.grpc.pb.h"
#include "vecino/v1/embedding_service.grpc.pb.h"
#include "vecino/v1/search_service.grpc.pb.h"

namespace vecino {

// A folder of its own that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The folder of the real model, empty when there is none (VECINO_MODEL_ROOT, or .cache/models in
// the source folder).
std::string RealModelRoot();

class ServerProcess {
 public:
  // Starts it with `flags` besides its folders and ports. `folder` is where data, log and port file
  // go.
  ServerProcess(const std::string& folder, const std::vector<std::string>& flags,
                const std::string& model_root = "");
  // Kills it when it still runs.
  ~ServerProcess();

  // Waits until the port file is there; false when the process ended before or took 60 s.
  bool WaitForPorts();
  // Waits until health says SERVING; false when it ended before or took 60 s.
  bool WaitUntilServing();

  void Signal(int signal);
  // Waits for its end and returns the exit code, -signal when a signal ended it.
  int Wait();

  int grpc_port() const { return grpc_port_; }
  int admin_port() const { return admin_port_; }
  std::string log() const;
  // A fresh connection.
  std::shared_ptr<grpc::Channel> Connect() const;

 private:
  bool Running();

  const std::string folder_;
  int pid_ = 0;
  bool ended_ = false;
  int exit_code_ = 0;
  int grpc_port_ = 0;
  int admin_port_ = 0;
};

// Body of an HTTP GET on loopback; `status` gets the code, 0 when there is no answer.
std::string HttpGet(int port, const std::string& path, int* status);

// The field that the BadRequest of `status` names, or empty.
std::string FieldOf(const grpc::Status& status);
std::string FieldOf(const google::rpc::Status& status);

struct Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel)
      : channel(channel),
        collections(v1::CollectionService::NewStub(channel)),
        documents(v1::DocumentService::NewStub(channel)),
        search(v1::SearchService::NewStub(channel)),
        embedding(v1::EmbeddingService::NewStub(channel)),
        admin(v1::AdminService::NewStub(channel)) {}

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::CollectionService::Stub> collections;
  std::unique_ptr<v1::DocumentService::Stub> documents;
  std::unique_ptr<v1::SearchService::Stub> search;
  std::unique_ptr<v1::EmbeddingService::Stub> embedding;
  std::unique_ptr<v1::AdminService::Stub> admin;
};

// Calls `method` of `stub` with a deadline of a minute.
template <class Stub, class Request, class Response>
grpc::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  return (stub.*method)(&context, request, response);
}

}  // namespace vecino
