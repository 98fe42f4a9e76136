// WatchEvents through a real server: streams that wait hold no thread, and end when they should.
#include "server/rpc/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/admin_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class EventStreamTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    stub_ = v1::AdminService::NewStub(channel_);
    server_->Serve(handlers_->Methods(), handlers_->Streams());
  }
  ~EventStreamTest() override { Stop(); }

  // A watch that has begun.
  struct Watch {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader;
    v1::WatchEventsResponse response;
    bool finished = false;

    ~Watch() {
      context.TryCancel();
      if (!finished) reader->Finish();
    }
    grpc::Status Finish() {
      finished = true;
      return reader->Finish();
    }
    bool Read() { return reader->Read(&response); }
  };
  std::unique_ptr<Watch> Begin(const std::string& collection = "") {
    auto watch = std::make_unique<Watch>();
    v1::WatchEventsRequest request;
    request.set_collection(collection);
    watch->reader = stub_->WatchEvents(&watch->context, request);
    EXPECT_TRUE(watch->Read());
    EXPECT_FALSE(watch->response.has_event());
    return watch;
  }
  void Publish(const std::string& message) {
    engine_.events.Publish({.time = {},
                            .collection = "c",
                            .shard = 1,
                            .kind = engine::Event::Kind::kRetrain,
                            .message = message});
  }
  bool UnaryCallWorks() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::GetServerStatusResponse response;
    return stub_->GetServerStatus(&context, v1::GetServerStatusRequest(), &response).ok();
  }

  std::unique_ptr<v1::AdminService::Stub> stub_;
};

TEST_F(EventStreamTest, EventsComeInOrderAsTheyHappen) {
  Start();
  const auto watch = Begin();
  for (int i = 0; i < 200; ++i) {
    Publish("event " + std::to_string(i));
    if (i % 3 == 0) continue;  // some one by one, some together
    while (watch->Read()) {
      if (watch->response.event().message() == "event " + std::to_string(i)) break;
    }
  }
  const v1::Event& event = watch->response.event();
  EXPECT_EQ(event.message(), "event 199");
  EXPECT_EQ(event.collection(), "collections/c");
  EXPECT_EQ(event.shard(), 1);
  EXPECT_EQ(event.kind(), v1::EVENT_KIND_RETRAIN);
  EXPECT_GT(event.time().seconds(), 1'600'000'000);
  EXPECT_EQ(watch->response.missed(), 0);
  watch->context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(EventStreamTest, ThoseThatWaitHoldNoWorker) {
  Start({.workers = 1});
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 40; ++i) watches.push_back(Begin());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(UnaryCallWorks());
  Publish("to all");
  for (const auto& watch : watches) {
    ASSERT_TRUE(watch->Read());
    EXPECT_EQ(watch->response.event().message(), "to all");
  }
}

TEST_F(EventStreamTest, CallerThatGoesWhileNothingHappensGivesItsPlaceBack) {
  Start();
  std::vector<std::unique_ptr<Watch>> watches;
  for (size_t i = 0; i < engine::EventBus::kMaxWatchers; ++i) watches.push_back(Begin());
  grpc::ClientContext context;
  v1::WatchEventsResponse response;
  const auto refused = stub_->WatchEvents(&context, v1::WatchEventsRequest());
  EXPECT_FALSE(refused->Read(&response));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  watches.front()->context.TryCancel();
  EXPECT_EQ(watches.front()->Finish().error_code(), grpc::StatusCode::CANCELLED);
  watches.erase(watches.begin());
  while (!engine_.events.Watch("").ok()) std::this_thread::yield();
}

TEST_F(EventStreamTest, ADeadlineEndsIt) {
  Start();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::WatchEventsResponse response;
  const auto reader = stub_->WatchEvents(&context, v1::WatchEventsRequest());
  EXPECT_TRUE(reader->Read(&response));
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(EventStreamTest, AStopEndsItAtOnce) {
  Start();
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 10; ++i) watches.push_back(Begin());
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(server_->Drain(absl::Seconds(30)));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  for (const auto& watch : watches) {
    EXPECT_FALSE(watch->Read());
    const grpc::Status status = watch->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  }
}

// Events, cancels and a stop at once: nothing hangs, nothing is called after its end.
TEST_F(EventStreamTest, EventsWhileCallersComeAndGo) {
  Start({.workers = 2});
  std::atomic<bool> done{false};
  std::thread producer([&] {
    for (int i = 0; !done.load(); ++i) Publish(std::to_string(i));
  });
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([this, t] {
      for (int i = 0; i < 60; ++i) {
        const auto watch = Begin();
        for (int reads = 0; reads < (i + t) % 5; ++reads) EXPECT_TRUE(watch->Read());
        watch->context.TryCancel();
        while (watch->Read()) {
        }
        EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  const auto last = Begin();
  EXPECT_TRUE(server_->Drain(absl::Seconds(30)));
  done = true;
  producer.join();
  while (last->Read()) {
  }
  EXPECT_EQ(last->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(EventStreamTest, ABadOrUnknownCollectionIsRefused) {
  Start();
  const auto refused = [&](const std::string& collection) {
    grpc::ClientContext context;
    v1::WatchEventsRequest request;
    request.set_collection(collection);
    v1::WatchEventsResponse response;
    const auto reader = stub_->WatchEvents(&context, request);
    EXPECT_FALSE(reader->Read(&response));
    return reader->Finish().error_code();
  };
  EXPECT_EQ(refused("c"), grpc::StatusCode::INVALID_ARGUMENT);
  engine_.failure = absl::NotFoundError("none");
  EXPECT_EQ(refused("collections/c"), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace vecino::rpc
