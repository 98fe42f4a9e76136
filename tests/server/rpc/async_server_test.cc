#include "server/rpc/async_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/rpc/health_client.h"
#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/document_service.grpc.pb.h"
#include "vecino/v1/search_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class AsyncServerTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    stub_ = v1::SearchService::NewStub(channel_);
  }
  void Serve() { server_->Serve(handlers_->Methods(), handlers_->Streams(), handlers_->Shorts()); }

  grpc::Status Search(grpc::ClientContext* context = nullptr) {
    grpc::ClientContext own;
    v1::SearchDocumentsRequest request;
    v1::SearchDocumentsResponse response;
    request.set_parent("collections/c");
    request.set_text("x");
    return stub_->SearchDocuments(context == nullptr ? &own : context, request, &response);
  }

  std::unique_ptr<v1::SearchService::Stub> stub_;
};

// A search that a queue's own thread runs.
grpc::Status ShortSearch(v1::SearchService::Stub* stub) {
  grpc::ClientContext context;
  v1::SearchDocumentsRequest request;
  v1::SearchDocumentsResponse response;
  request.set_parent("collections/c");
  request.mutable_vector()->add_values(1);
  request.mutable_read_mask()->add_paths("id");
  std::string bytes = request.SerializeAsString();
  FakeEngine engine;
  EXPECT_TRUE(SearchHandlers(&engine, 0).IsShort(ToBuffer(bytes)));
  return stub->SearchDocuments(&context, request, &response);
}

TEST_F(AsyncServerTest, ShortCallsNeedNoWorkerAndHoldNobodyUp) {
  Start({.threads = 1, .workers = 1});
  Serve();
  // Both the one worker and the thread of the one queue are kept busy until a third call was
  // received.
  std::latch both(2);
  std::promise<void> go_on;
  const auto released = go_on.get_future().share();
  engine_.on_search = [&](const engine::CallContext&) {
    both.count_down();
    released.wait();
    return absl::OkStatus();
  };
  std::thread text([&] { EXPECT_TRUE(Search().ok()); });
  std::thread vector([&] { EXPECT_TRUE(ShortSearch(stub_.get()).ok()); });
  both.wait();
  EXPECT_EQ(CheckHealth(channel_, ""), kServing);
  go_on.set_value();
  text.join();
  vector.join();
}

TEST_F(AsyncServerTest, WatchesEndWithTheServer) {
  for (int round = 0; round < 20; ++round) {
    Start();
    Serve();
    HealthWatch idle(channel_, ""), unknown(channel_, "nonsense");
    EXPECT_EQ(idle.Next(), kServing);
    EXPECT_EQ(unknown.Next(), kServiceUnknown);
    server_->Drain(absl::ZeroDuration());
    metrics_->RemoveCallbacks();
    server_.reset();
  }
}

TEST_F(AsyncServerTest, OnlySearchesByVectorForIdsAreShort) {
  v1::SearchDocumentsRequest request;
  const SearchHandlers handlers(&engine_, 0);
  const auto is_short = [&] { return handlers.IsShort(ToBuffer(request.SerializeAsString())); };
  EXPECT_FALSE(is_short());
  request.mutable_vector()->add_values(1);
  EXPECT_FALSE(is_short());
  request.mutable_read_mask()->add_paths("id");
  EXPECT_TRUE(is_short());
  request.set_recall_target(0.9);
  request.set_top_k(5);
  EXPECT_TRUE(is_short());
  const auto good = request;
  request.add_write_tokens();
  EXPECT_FALSE(is_short());
  request = good;
  request.mutable_parameters()->set_exact(true);
  EXPECT_FALSE(is_short());
  request = good;
  request.set_text("x");
  EXPECT_FALSE(is_short());
  request = good;
  request.mutable_read_mask()->add_paths("text");
  EXPECT_FALSE(is_short());
  EXPECT_FALSE(handlers.IsShort(ToBuffer("\x1a\xff\xff\xff\xff\x0f")));
}

TEST_F(AsyncServerTest, UnavailableWhileLoadingThenServes) {
  Start();
  EXPECT_EQ(CheckHealth(channel_, ""), kNotServing);
  EXPECT_EQ(CheckHealth(channel_, "vecino.write"), kNotServing);
  const grpc::Status loading = Search();
  EXPECT_EQ(loading.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(loading.error_message(), HasSubstr("loading"));
  Serve();
  for (const char* name :
       {"", "vecino.read", "vecino.write", "vecino.v1.SearchService", "vecino.v1.AdminService"}) {
    EXPECT_EQ(CheckHealth(channel_, name), kServing) << name;
  }
  EXPECT_EQ(CheckHealth(channel_, "nonsense"), kServiceUnknown);
  EXPECT_TRUE(Search().ok());
  server_->Drain(absl::Seconds(10));  // a call is counted after its reply has left
  EXPECT_THAT(metrics_->Expose(),
              HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/vecino.v1.SearchService/"
                        "SearchDocuments\"} 1"));
}

TEST_F(AsyncServerTest, GarbageAndUnknownMethods) {
  Start();
  Serve();
  std::string reply;
  const grpc::Status garbage =
      CallBytes(channel_, "/vecino.v1.SearchService/SearchDocuments", "\xff\xff\xff\xff", &reply);
  EXPECT_EQ(garbage.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(CallBytes(channel_, "/vecino.v1.SearchService/Nothing", "", &reply).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Search().ok());
}

TEST_F(AsyncServerTest, ChannelzIsThereOnlyWhereItIsAskedFor) {
  std::string reply;
  for (const bool asked : {true, false, true}) {
    Start({.channelz = asked});
    Serve();
    const grpc::Status status =
        CallBytes(channel_, "/grpc.channelz.v1.Channelz/GetServers", "", &reply);
    EXPECT_EQ(status.error_code(), asked ? grpc::StatusCode::OK : grpc::StatusCode::UNIMPLEMENTED);
    if (asked) {
      EXPECT_FALSE(reply.empty());  // at least this server
    }
    server_->Drain(absl::ZeroDuration());
    metrics_->RemoveCallbacks();
    server_.reset();
  }
}

TEST_F(AsyncServerTest, TooLargeRequestIsRefused) {
  Start({.max_message_bytes = 64 << 10});
  Serve();
  std::string reply;
  const grpc::Status status = CallBytes(channel_, "/vecino.v1.SearchService/SearchDocuments",
                                        std::string(100 << 10, 'x'), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Search().ok());
}

TEST_F(AsyncServerTest, FullQueueIsToldAtOnce) {
  std::latch running(1);
  std::promise<void> open;
  const std::shared_future<void> gate = open.get_future().share();
  std::atomic<int> calls = 0;
  engine_.on_search = [&](const engine::CallContext&) {
    if (calls.fetch_add(1) == 0) {
      running.count_down();
      gate.wait();
    }
    return absl::OkStatus();
  };
  Start({.workers = 1, .queue_capacity = 1});
  Serve();
  auto first = std::async(std::launch::async, [&] { return Search(); });
  running.wait();
  auto second = std::async(std::launch::async, [&] { return Search(); });
  while (server_->workers().queued() < 1) std::this_thread::yield();
  const grpc::Status full = Search();
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(full.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_GT(retry.retry_delay().nanos(), 0);
  open.set_value();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(AsyncServerTest, BatchesOfWritesHaveWorkersOfTheirOwn) {
  std::promise<void> open;
  const auto gate = open.get_future().share();
  std::latch running(1);
  std::atomic<int> nice = -100;
  engine_.write = [&](size_t, const engine::DocumentWrite&) {
    nice = getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)));
    if (!running.try_wait()) running.count_down();
    gate.wait();
    return engine::WriteResult{};
  };
  Start({.workers = 1, .queue_capacity = 1});
  server_->Serve(handlers_->Methods(), handlers_->Streams(), handlers_->Shorts(), Handlers::Bulk());
  const auto documents = v1::DocumentService::NewStub(channel_);
  const auto upsert = [&] {
    grpc::ClientContext context;
    v1::BatchUpsertDocumentsRequest request;
    v1::BatchUpsertDocumentsResponse response;
    request.set_parent("collections/c");
    auto* document = request.add_documents();
    document->set_id("a");
    document->mutable_vector()->add_values(1);
    return documents->BatchUpsertDocuments(&context, request, &response);
  };
  auto first = std::async(std::launch::async, upsert);
  running.wait();
  EXPECT_EQ(nice, std::min(getpriority(PRIO_PROCESS, 0) + 5, 19));
  auto second = std::async(std::launch::async, upsert);
  while (server_->bulk_workers().queued() < 1) std::this_thread::yield();
  EXPECT_EQ(upsert().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Search().ok());  // by the other worker
  open.set_value();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

// Waits until the caller is gone.
absl::Status WaitForStop(const engine::CallContext& context) {
  while (!context.stop.stop_requested()) std::this_thread::yield();
  return absl::CancelledError("seen");
}

TEST_F(AsyncServerTest, CancellingStopsTheHandler) {
  std::latch running(1);
  std::promise<void> stopped;
  engine_.on_search = [&](const engine::CallContext& context) {
    running.count_down();
    const absl::Status status = WaitForStop(context);
    stopped.set_value();
    return status;
  };
  Start();
  Serve();
  grpc::ClientContext context;
  auto call = std::async(std::launch::async, [&] { return Search(&context); });
  running.wait();
  context.TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(stopped.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(AsyncServerTest, DeadlineReachesTheHandlerAndTheQueue) {
  std::atomic<int> runs = 0;
  std::promise<absl::Time> seen;
  engine_.on_search = [&](const engine::CallContext& context) {
    if (runs.fetch_add(1) == 0) seen.set_value(context.deadline);
    return WaitForStop(context);
  };
  Start({.workers = 1});
  Serve();
  const auto search = [&](std::chrono::system_clock::time_point deadline) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    return Search(&context);
  };
  const auto start = std::chrono::system_clock::now();
  const auto until = start + std::chrono::milliseconds(500);
  auto first = std::async(std::launch::async, [&] { return search(until); });
  const absl::Duration off = seen.get_future().get() - absl::FromChrono(until);
  EXPECT_LT(absl::AbsDuration(off), absl::Milliseconds(100)) << off;
  // This one's deadline passes in the queue, before the worker is free.
  EXPECT_EQ(search(start + std::chrono::milliseconds(250)).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(first.get().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  server_->Drain(absl::Seconds(10));
  EXPECT_EQ(runs, 1);  // the one that expired in the queue was not run
}

TEST_F(AsyncServerTest, CallsWithoutDeadlineHaveNone) {
  absl::Time deadline;
  engine_.on_search = [&](const engine::CallContext& context) {
    deadline = context.deadline;
    return absl::OkStatus();
  };
  Start();
  Serve();
  ASSERT_TRUE(Search().ok());
  EXPECT_EQ(deadline, absl::InfiniteFuture());
}

TEST_F(AsyncServerTest, DrainFinishesCallsUnderWayAndTellsHealthFirst) {
  std::latch running(1);
  std::promise<void> open;
  const std::shared_future<void> gate = open.get_future().share();
  engine_.on_search = [&](const engine::CallContext&) {
    running.count_down();
    gate.wait();
    return absl::OkStatus();
  };
  Start();
  Serve();
  HealthWatch watch(channel_, "vecino.v1.SearchService");
  EXPECT_EQ(watch.Next(), kServing);
  auto call = std::async(std::launch::async, [&] { return Search(); });
  running.wait();
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Seconds(30)); });
  EXPECT_EQ(watch.Next(), kNotServing);  // told while the call is still under way
  while (server_->state() != AsyncServer::State::kDraining) std::this_thread::yield();
  const grpc::Status refused = Search();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("stopping"));
  open.set_value();
  EXPECT_TRUE(call.get().ok());
  EXPECT_TRUE(drain.get());
}

TEST_F(AsyncServerTest, DrainCancelsWhatTakesTooLong) {
  std::latch running(1);
  engine_.on_search = [&](const engine::CallContext& context) {
    running.count_down();
    return WaitForStop(context);
  };
  Start();
  Serve();
  auto call = std::async(std::launch::async, [&] { return Search(); });
  running.wait();
  EXPECT_FALSE(server_->Drain(absl::Milliseconds(20)));
  EXPECT_FALSE(call.get().ok());
}

TEST_F(AsyncServerTest, HurryEndsThePatience) {
  std::latch running(1);
  engine_.on_search = [&](const engine::CallContext& context) {
    running.count_down();
    return WaitForStop(context);
  };
  Start();
  Serve();
  auto call = std::async(std::launch::async, [&] { return Search(); });
  running.wait();
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Hours(1)); });
  server_->Hurry();
  EXPECT_FALSE(drain.get());
  EXPECT_FALSE(call.get().ok());
}

TEST_F(AsyncServerTest, TakenPortIsSaidPlainly) {
  Start();
  auto second = AsyncServer::Start(
      {.listen = "127.0.0.1:" + std::to_string(server_->port()), .threads = 1}, metrics_.get());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("taken"));
  auto foreign = AsyncServer::Start({.listen = "192.0.2.1:7700", .threads = 1}, metrics_.get());
  ASSERT_FALSE(foreign.ok());
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("not one of this machine"));
}

TEST_F(AsyncServerTest, ManyCallsFromManyClients) {
  engine_.on_search = [](const engine::CallContext&) { return absl::OkStatus(); };
  Start({.workers = 4});
  Serve();
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int j = 0; j < 100; ++j) good += Search().ok();
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 800);
}

}  // namespace
}  // namespace vecino::rpc
