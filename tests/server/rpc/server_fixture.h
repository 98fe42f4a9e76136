// A real gRPC server on a port of its own, over a FakeEngine.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "server/rpc/async_server.h"
#include "tests/server/rpc/fake_engine.h"

namespace vecino::rpc {

class ServerTest : public testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    options.listen = "127.0.0.1:0";
    if (options.threads == 0) options.threads = 2;
    auto server = AsyncServer::Start(options, metrics_.get());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    handlers_ = std::make_unique<Handlers>(&engine_, &server_->workers(), ServerFacts{}, 4 << 20);
    // A channel of its own for each test, not one shared through gRPC's pool.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
  }

  // Before what a test's calls use is gone: for the destructor of whoever adds to it.
  void Stop() {
    if (server_) server_->Drain(absl::Seconds(10));
    metrics_->RemoveCallbacks();
  }
  ~ServerTest() override { Stop(); }

  FakeEngine engine_;
  std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  std::unique_ptr<Handlers> handlers_;
  std::unique_ptr<AsyncServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace vecino::rpc
