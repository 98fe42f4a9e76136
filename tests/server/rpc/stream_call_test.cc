// Replies that are streams: order, errors, callers that cancel, do not read or outlive the server.
#include "server/rpc/stream_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/collection_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

constexpr size_t kLarge = 900'000;  // bytes of a message that fills the windows of HTTP/2 soon

// What the streams of a test do and what became of them.
struct Script {
  int messages = 3;
  size_t bytes = 10;
  absl::Status open, end;  // instead of a stream, after the messages
  std::function<void(int number, const engine::CallContext& context)> before;  // in Next
  std::function<bool(int number, const std::function<void()>& wake)> ready;    // null: always
  std::atomic<int> asked{0}, opened{0}, closed{0};

  void WaitUntilClosed(int count) const {
    while (closed.load() < count) std::this_thread::yield();
  }
};

class ScriptedStream final : public TypedStream<v1::ExportIndexResponse> {
 public:
  ScriptedStream(Script* script, engine::CallContext context)
      : script_(*script), context_(std::move(context)) {
    ++script_.opened;
  }
  ~ScriptedStream() override { ++script_.closed; }

  bool Ready(const std::function<void()>& wake) override {
    return number_ >= script_.messages || !script_.ready || script_.ready(number_, wake);
  }

 private:
  absl::StatusOr<bool> Fill(v1::ExportIndexResponse* response) override {
    if (number_ == script_.messages) {
      if (!script_.end.ok()) return script_.end;
      return false;
    }
    ++script_.asked;
    if (script_.before) script_.before(number_, context_);
    response->set_index_data(std::string(script_.bytes, static_cast<char>('a' + number_++ % 26)));
    return true;
  }

  Script& script_;
  const engine::CallContext context_;
  int number_ = 0;
};

class StreamCallTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    stub_ = v1::CollectionService::NewStub(channel_);
  }
  void Serve() {
    server_->Serve(handlers_->Methods(),
                   {{"/vecino.v1.CollectionService/ExportIndex",
                     [this](const grpc::ByteBuffer&, const engine::CallContext& context)
                         -> absl::StatusOr<std::unique_ptr<MessageStream>> {
                       if (!script_.open.ok()) return script_.open;
                       return std::make_unique<ScriptedStream>(&script_, context);
                     }}});
  }
  ~StreamCallTest() override { Stop(); }

  std::unique_ptr<grpc::ClientReader<v1::ExportIndexResponse>> Call(grpc::ClientContext* context) {
    return stub_->ExportIndex(context, v1::ExportIndexRequest());
  }
  // The first byte of each message.
  std::string ReadAll(grpc::ClientReader<v1::ExportIndexResponse>& reader) {
    std::string letters;
    for (v1::ExportIndexResponse response; reader.Read(&response);) {
      EXPECT_EQ(response.index_data().size(), script_.bytes);
      letters += response.index_data().substr(0, 1);
    }
    return letters;
  }
  bool UnaryCallWorks() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ListCollectionsResponse response;
    return stub_->ListCollections(&context, v1::ListCollectionsRequest(), &response).ok();
  }

  // Streams that were opened and whose callers do not read.
  struct Unread {
    explicit Unread(int count) : contexts(static_cast<size_t>(count)) {}
    std::vector<grpc::ClientContext> contexts;
    std::vector<std::unique_ptr<grpc::ClientReader<v1::ExportIndexResponse>>> readers;
  };
  void Open(Unread* streams) {
    for (grpc::ClientContext& context : streams->contexts) {
      streams->readers.push_back(Call(&context));
    }
    while (script_.opened < static_cast<int>(streams->contexts.size())) std::this_thread::yield();
  }

  Script script_;
  std::unique_ptr<v1::CollectionService::Stub> stub_;
};

TEST_F(StreamCallTest, UnavailableWhileLoadingThenMessagesInOrder) {
  Start();
  {
    grpc::ClientContext context;
    const auto reader = Call(&context);
    EXPECT_EQ(ReadAll(*reader), "");
    const grpc::Status loading = reader->Finish();
    EXPECT_EQ(loading.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(loading.error_message(), HasSubstr("loading"));
  }
  Serve();
  for (const int messages : {0, 1, 26}) {
    script_.messages = messages;
    grpc::ClientContext context;
    const auto reader = Call(&context);
    EXPECT_EQ(ReadAll(*reader), std::string("abcdefghijklmnopqrstuvwxyz").substr(0, messages));
    EXPECT_TRUE(reader->Finish().ok());
  }
  script_.WaitUntilClosed(3);
  server_->Drain(absl::Seconds(10));
  EXPECT_THAT(metrics_->Expose(),
              HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/vecino.v1.CollectionService/"
                        "ExportIndex\"} 3"));
}

TEST_F(StreamCallTest, ErrorsComeInPlaceOfTheStreamAndAfterItsMessages) {
  script_.end = absl::DataLossError("the file is damaged");
  Start();
  Serve();
  {
    grpc::ClientContext context;
    const auto reader = Call(&context);
    EXPECT_EQ(ReadAll(*reader), "abc");
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
    EXPECT_EQ(status.error_message(), "the file is damaged");
  }
  script_.bytes = 2 << 20;  // a message that is too large never leaves
  {
    grpc::ClientContext context;
    const auto reader = Call(&context);
    EXPECT_EQ(ReadAll(*reader), "");
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  script_.open = absl::NotFoundError("no such collection");
  grpc::ClientContext context;
  const auto reader = Call(&context);
  EXPECT_EQ(ReadAll(*reader), "");
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(script_.opened, 2);
}

TEST_F(StreamCallTest, CallersThatDoNotReadHoldNoWorkerAndFewMessages) {
  script_.messages = 1000;
  script_.bytes = kLarge;
  Start({.workers = 1});
  Serve();
  constexpr int kStreams = 4;
  Unread streams(kStreams);
  Open(&streams);
  auto& [contexts, readers] = streams;
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(UnaryCallWorks());
  // Far from the 1,000 of each: what HTTP/2's windows and gRPC's buffers take.
  EXPECT_LT(script_.asked, 100 * kStreams);
  // One that reads again goes on where it was, while the others still do not.
  v1::ExportIndexResponse response;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(readers[0]->Read(&response));
    ASSERT_EQ(response.index_data()[0], 'a' + i % 26);
  }
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (const auto& reader : readers) {
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  script_.WaitUntilClosed(kStreams);
}

TEST_F(StreamCallTest, CancellingStopsWhatMakesTheNextMessage) {
  std::promise<void> running;
  script_.before = [&](int number, const engine::CallContext& context) {
    if (number != 1) return;
    running.set_value();
    while (!context.stop.stop_requested()) std::this_thread::yield();
  };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto reader = Call(&context);
  v1::ExportIndexResponse response;
  ASSERT_TRUE(reader->Read(&response));
  running.get_future().wait();
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  script_.WaitUntilClosed(1);
  EXPECT_LE(script_.asked, 2);
}

TEST_F(StreamCallTest, DeadlineEndsAStreamThatIsNotRead) {
  script_.messages = 1000;
  script_.bytes = kLarge;
  Start();
  Serve();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto reader = Call(&context);
  script_.WaitUntilClosed(1);
  ReadAll(*reader);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(StreamCallTest, DrainEndsStreamsAndSaysWhy) {
  script_.messages = 1'000'000'000;
  Start();
  Serve();
  grpc::ClientContext context;
  const auto reader = Call(&context);
  v1::ExportIndexResponse response;
  ASSERT_TRUE(reader->Read(&response));
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Hours(1)); });
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  EXPECT_TRUE(drain.get());
  EXPECT_EQ(script_.closed, 1);
}

TEST_F(StreamCallTest, DrainEndsTheMakingOfAMessage) {
  std::promise<void> running;
  script_.before = [&](int, const engine::CallContext& context) {
    running.set_value();
    while (!context.stop.stop_requested()) std::this_thread::yield();
  };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto reader = Call(&context);
  running.get_future().wait();
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Hours(1)); });
  ReadAll(*reader);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(drain.get());
}

TEST_F(StreamCallTest, DrainDoesNotWaitForCallersThatDoNotRead) {
  script_.messages = 1'000'000'000;
  script_.bytes = kLarge;
  Start({.workers = 2});
  Serve();
  constexpr int kStreams = 3;
  Unread streams(kStreams);
  Open(&streams);
  auto& [contexts, readers] = streams;
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(UnaryCallWorks());  // the windows are full by then
  EXPECT_TRUE(server_->Drain(absl::Hours(1)));
  EXPECT_EQ(script_.closed, kStreams);
  for (const auto& reader : readers) {
    ReadAll(*reader);
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  }
}

// Lets streams wait, and keeps what wakes them.
class Gate {
 public:
  bool Ready(const std::function<void()>& wake) {
    const std::lock_guard lock(mutex_);
    if (open_ > 0) {
      --open_;
      return true;
    }
    wakes_.push_back(wake);
    return false;
  }
  // Lets one message pass, of whichever stream asks first.
  void Open() {
    std::vector<std::function<void()>> wakes;
    {
      const std::lock_guard lock(mutex_);
      ++open_;
      wakes.swap(wakes_);
    }
    for (const auto& wake : wakes) wake();
  }
  void WaitFor(size_t waiting) {
    while (true) {
      const std::lock_guard lock(mutex_);
      if (wakes_.size() >= waiting) return;
      std::this_thread::yield();
    }
  }
  std::vector<std::function<void()>> wakes() {
    const std::lock_guard lock(mutex_);
    return wakes_;
  }

 private:
  std::mutex mutex_;
  int open_ = 0;
  std::vector<std::function<void()>> wakes_;
};

TEST_F(StreamCallTest, StreamsThatWaitHoldNoWorker) {
  Gate gate;
  script_.messages = 2;
  script_.ready = [&](int, const std::function<void()>& wake) { return gate.Ready(wake); };
  Start({.workers = 1});
  Serve();
  constexpr int kStreams = 5;
  Unread streams(kStreams);
  Open(&streams);
  gate.WaitFor(kStreams);
  EXPECT_TRUE(UnaryCallWorks());
  EXPECT_EQ(script_.asked, 0);
  for (int i = 0; i < 2 * kStreams; ++i) gate.Open();
  for (const auto& reader : streams.readers) {
    EXPECT_EQ(ReadAll(*reader), "ab");
    EXPECT_TRUE(reader->Finish().ok());
  }
  for (const auto& wake : gate.wakes()) wake();  // the streams are gone: nothing happens
}

TEST_F(StreamCallTest, AWakeBeforeTheWaitIsNotLost) {
  std::atomic<int> asked = 0;
  // Woken while it says that it is not ready; then from another thread at about that time.
  script_.messages = 200;
  script_.ready = [&](int number, const std::function<void()>& wake) {
    if (++asked % 2 == 0) return true;
    if (number % 2 == 0) {
      wake();
      wake();
    } else {
      std::thread([wake] { wake(); }).detach();
    }
    return false;
  };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto reader = Call(&context);
  EXPECT_EQ(ReadAll(*reader).size(), 200u);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamCallTest, CancellingAndDeadlinesEndAWait) {
  Gate gate;
  script_.ready = [&](int, const std::function<void()>& wake) { return gate.Ready(wake); };
  Start({.workers = 1});
  Serve();
  {
    grpc::ClientContext context;
    const auto reader = Call(&context);
    gate.WaitFor(1);
    context.TryCancel();
    script_.WaitUntilClosed(1);
    EXPECT_EQ(ReadAll(*reader), "");
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  const auto reader = Call(&context);
  script_.WaitUntilClosed(2);
  EXPECT_EQ(ReadAll(*reader), "");
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(script_.asked, 0);
  for (const auto& wake : gate.wakes()) wake();
}

TEST_F(StreamCallTest, DrainEndsAWait) {
  Gate gate;
  script_.ready = [&](int, const std::function<void()>& wake) { return gate.Ready(wake); };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto reader = Call(&context);
  gate.WaitFor(1);
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(server_->Drain(absl::Hours(1)));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  EXPECT_EQ(ReadAll(*reader), "");
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  EXPECT_EQ(script_.closed, 1);
  for (const auto& wake : gate.wakes()) wake();
}

TEST_F(StreamCallTest, WakesAndCancelsAtOnce) {
  Gate gate;
  script_.messages = 50;
  script_.ready = [&](int, const std::function<void()>& wake) { return gate.Ready(wake); };
  Start({.workers = 2});
  Serve();
  std::atomic<bool> done = false;
  std::thread opener([&] {
    while (!done) {
      if (gate.wakes().empty()) {
        std::this_thread::yield();
      } else {
        gate.Open();
      }
    }
  });
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    const auto reader = Call(&context);
    v1::ExportIndexResponse response;
    for (int read = 0; read < i % 7 && reader->Read(&response); ++read) {
    }
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    reader->Finish();
  }
  // Whoever was cancelled before it reached the server was never opened.
  while (script_.closed < script_.opened) std::this_thread::yield();
  done = true;
  opener.join();
  EXPECT_TRUE(server_->Drain(absl::Seconds(10)));
  EXPECT_EQ(script_.closed, script_.opened);
}

TEST_F(StreamCallTest, ManyStreamsBesideFullQueues) {
  script_.messages = 50;
  script_.bytes = 1000;
  Start({.workers = 2, .queue_capacity = 4});
  Serve();
  std::vector<std::thread> clients;
  std::atomic<int> whole = 0, refused = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int j = 0; j < 20; ++j) {
        grpc::ClientContext context;
        const auto reader = Call(&context);
        const std::string letters = ReadAll(*reader);
        const grpc::Status status = reader->Finish();
        // Turned away at the door or served whole, never broken off.
        whole += status.ok() && letters.size() == 50;
        refused += status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && letters.empty();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(whole + refused, 160);
  EXPECT_GT(whole, 0);
  script_.WaitUntilClosed(script_.opened);
}

}  // namespace
}  // namespace vecino::rpc
