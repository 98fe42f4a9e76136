// Calls that stream both ways: order, flow control, callers that cancel, do not read or outlive the
// server.
#include "server/rpc/bidi_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <thread>

#include "server/rpc/wire.h"
#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/document_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;
using Stream = grpc::ClientReaderWriter<v1::IngestDocumentsRequest, v1::IngestDocumentsResponse>;

constexpr size_t kLarge = 900'000;  // bytes of a message that fills the windows of HTTP/2 soon

// What the sessions of a test do and what became of them.
struct Script {
  int room = 4;  // messages in a session
  size_t answer_bytes = 0;
  int fail_at = 0;  // the message at which the session fails; 0: none
  std::function<void(int64_t seq, const engine::CallContext& context)> work;
  std::atomic<int> taken{0}, opened{0}, closed{0}, settled{0};

  void WaitFor(const std::atomic<int>& counter, int count) const {
    while (counter.load() < count) std::this_thread::yield();
  }
};

// Answers each message with its number, one after the other.
class EchoSession final : public BidiSession {
 public:
  explicit EchoSession(Script* script) : script_(*script) { ++script_.opened; }
  ~EchoSession() override { ++script_.closed; }

 private:
  bool HasRoom() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return held_ < script_.room; }
  void Take(grpc::ByteBuffer message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++script_.taken;
    ++held_;
    waiting_.push_back(std::move(message));
  }
  void Begin() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (waiting_.empty() || running() > 0) return;
    Run([this, message = std::move(waiting_.front())] { Work(message); });
    waiting_.pop_front();
  }
  bool Busy() const override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !waiting_.empty(); }
  bool Answer(grpc::ByteBuffer* message) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (going_away() && !told_) {
      told_ = true;
      v1::IngestDocumentsResponse response;
      response.set_going_away(true);
      return WriteMessage(response, 4 << 20, "", message).ok();
    }
    if (answers_.empty()) return false;
    *message = std::move(answers_.front());
    answers_.pop_front();
    answering_ = true;
    return true;
  }
  void Answered() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    held_ -= answering_ ? 1 : 0;
    answering_ = false;
  }
  void Settled() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { ++script_.settled; }

  void Work(const grpc::ByteBuffer& message) {
    v1::IngestDocumentsRequest request;
    EXPECT_TRUE(ReadMessage(message, &request).ok());
    const int64_t seq = request.document().seq();
    if (script_.work) script_.work(seq, context());
    v1::IngestDocumentsResponse response;
    response.set_done_through(seq);
    if (script_.answer_bytes > 0) {
      response.add_results()->mutable_status()->set_message(std::string(script_.answer_bytes, 'x'));
    }
    grpc::ByteBuffer answer;
    EXPECT_TRUE(WriteMessage(response, 4 << 20, "", &answer).ok());
    absl::MutexLock lock(&mu_);
    answers_.push_back(std::move(answer));
    if (seq == script_.fail_at) Fail(absl::DataLossError("as ordered"));
  }

  Script& script_;
  int held_ ABSL_GUARDED_BY(mu_) = 0;
  bool answering_ ABSL_GUARDED_BY(mu_) = false;
  bool told_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<grpc::ByteBuffer> waiting_ ABSL_GUARDED_BY(mu_), answers_ ABSL_GUARDED_BY(mu_);
};

class BidiCallTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    stub_ = v1::DocumentService::NewStub(channel_);
  }
  void Serve() {
    server_->Serve(handlers_->Methods(), {}, {}, {},
                   {{"/vecino.v1.DocumentService/IngestDocuments",
                     [this] { return std::make_shared<EchoSession>(&script_); }}});
  }
  ~BidiCallTest() override { Stop(); }

  static v1::IngestDocumentsRequest Message(int64_t seq, size_t bytes = 0) {
    v1::IngestDocumentsRequest request;
    request.mutable_document()->set_seq(seq);
    request.mutable_document()->mutable_document()->set_text(std::string(bytes, 'x'));
    return request;
  }
  // Writes messages 1 to `count` until the stream takes no more.
  static int WriteAll(Stream& stream, int count, size_t bytes = 0) {
    for (int i = 1; i <= count; ++i) {
      if (!stream.Write(Message(i, bytes))) return i - 1;
    }
    stream.WritesDone();
    return count;
  }
  static std::vector<int64_t> ReadAll(Stream& stream) {
    std::vector<int64_t> numbers;
    for (v1::IngestDocumentsResponse response; stream.Read(&response);) {
      numbers.push_back(response.going_away() ? -1 : response.done_through());
    }
    return numbers;
  }
  bool UnaryCallWorks() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::CountDocumentsRequest request;
    request.set_parent("collections/c");
    v1::CountDocumentsResponse response;
    return stub_->CountDocuments(&context, request, &response).ok();
  }
  static std::vector<int64_t> UpTo(int64_t last) {
    std::vector<int64_t> numbers;
    for (int64_t i = 1; i <= last; ++i) numbers.push_back(i);
    return numbers;
  }

  Script script_;
  std::unique_ptr<v1::DocumentService::Stub> stub_;
};

TEST_F(BidiCallTest, UnavailableWhileLoadingThenAnswersInOrderUntilBothAreDone) {
  Start();
  {
    grpc::ClientContext context;
    const auto stream = stub_->IngestDocuments(&context);
    EXPECT_TRUE(ReadAll(*stream).empty());
    const grpc::Status loading = stream->Finish();
    EXPECT_EQ(loading.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(loading.error_message(), HasSubstr("loading"));
  }
  Serve();
  for (const int count : {0, 1, 500}) {
    grpc::ClientContext context;
    const auto stream = stub_->IngestDocuments(&context);
    auto writer = std::async(std::launch::async, [&] { return WriteAll(*stream, count); });
    EXPECT_EQ(ReadAll(*stream), UpTo(count));
    EXPECT_EQ(writer.get(), count);
    EXPECT_TRUE(stream->Finish().ok());
  }
  script_.WaitFor(script_.closed, 3);
  server_->Drain(absl::Seconds(10));
  EXPECT_THAT(metrics_->Expose(),
              HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/vecino.v1.DocumentService/"
                        "IngestDocuments\"} 3"));
}

TEST_F(BidiCallTest, AFailureComesAfterTheAnswersBeforeIt) {
  script_.fail_at = 3;
  Start();
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  for (int i = 1; i <= 3; ++i) stream->Write(Message(i));
  EXPECT_EQ(ReadAll(*stream), UpTo(3));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(), "as ordered");
  script_.WaitFor(script_.closed, 1);
}

TEST_F(BidiCallTest, AFastWriterIsHeldByTheSessionsRoomAndHoldsNoWorker) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  script_.work = [&](int64_t seq, const engine::CallContext&) {
    if (seq == 1) gone.wait();
  };
  Start({.workers = 2});
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  std::atomic<int> written{0};
  auto writer = std::async(std::launch::async, [&] {
    for (int i = 1; i <= 100; ++i) {
      if (!stream->Write(Message(i, kLarge))) break;
      ++written;
    }
    stream->WritesDone();
  });
  script_.WaitFor(script_.taken, script_.room);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(UnaryCallWorks());
  EXPECT_EQ(script_.taken, script_.room);
  EXPECT_LT(written, 60);  // the room, and what HTTP/2's windows and gRPC's buffers take
  go.set_value();
  EXPECT_EQ(ReadAll(*stream), UpTo(100));
  writer.get();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(BidiCallTest, CallersThatDoNotReadAreNotReadFromAndHoldNoWorker) {
  script_.answer_bytes = kLarge;
  Start({.workers = 1});
  Serve();
  constexpr int kStreams = 3;
  std::vector<grpc::ClientContext> contexts(kStreams);
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::future<int>> writers;
  for (grpc::ClientContext& context : contexts) {
    streams.push_back(stub_->IngestDocuments(&context));
    writers.push_back(std::async(std::launch::async, [stream = streams.back().get()] {
      return WriteAll(*stream, 1'000'000, 10'000);
    }));
  }
  script_.WaitFor(script_.opened, kStreams);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(UnaryCallWorks());
  EXPECT_LT(script_.taken, 100 * kStreams);
  // One that reads after all gets its answers in order.
  v1::IngestDocumentsResponse response;
  for (int i = 1; i <= 200; ++i) {
    ASSERT_TRUE(streams[0]->Read(&response));
    ASSERT_EQ(response.done_through(), i);
  }
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (int i = 0; i < kStreams; ++i) {
    writers[i].get();
    ReadAll(*streams[i]);
    EXPECT_EQ(streams[i]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  script_.WaitFor(script_.closed, kStreams);
}

TEST_F(BidiCallTest, CancellingEndsTheSessionInEveryState) {
  std::atomic<int> working{0};
  Start();
  Serve();
  const auto run = [&](const std::function<void(Stream&)>& before) {
    const int closed = script_.closed, opened = script_.opened;
    grpc::ClientContext context;
    const auto stream = stub_->IngestDocuments(&context);
    before(*stream);
    script_.WaitFor(script_.opened, opened + 1);
    context.TryCancel();
    ReadAll(*stream);
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
    script_.WaitFor(script_.closed, closed + 1);
  };
  run([](Stream&) {});      // nothing was sent
  run([](Stream& stream) {  // everything sent is answered
    stream.Write(Message(1));
    v1::IngestDocumentsResponse response;
    EXPECT_TRUE(stream.Read(&response));
  });
  script_.work = [&](int64_t, const engine::CallContext& context) {
    ++working;
    while (!context.stop.stop_requested()) std::this_thread::yield();
  };
  run([&](Stream& stream) {  // while work runs, and messages wait
    for (int i = 1; i <= 3; ++i) stream.Write(Message(i));
    script_.WaitFor(working, 1);
  });
  run([&](Stream& stream) {  // the same, after the half-close
    WriteAll(stream, 2);
    script_.WaitFor(working, 2);
  });
  EXPECT_EQ(working, 2);  // what waited was not begun
}

TEST_F(BidiCallTest, ADeadlineEndsACallThatWaitsForMessages) {
  Start();
  Serve();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  const auto stream = stub_->IngestDocuments(&context);
  stream->Write(Message(1));
  EXPECT_EQ(ReadAll(*stream), UpTo(1));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  script_.WaitFor(script_.closed, 1);
}

TEST_F(BidiCallTest, WorkThatFindsNoMemoryEndsTheCall) {
  script_.work = [](int64_t, const engine::CallContext&) { throw std::bad_alloc(); };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  stream->Write(Message(1));
  ReadAll(*stream);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(BidiCallTest, DrainAnswersWhatWasReadAndSaysThatItGoesAway) {
  std::promise<void> working, go;
  script_.work = [&](int64_t seq, const engine::CallContext&) {
    if (seq != 1) return;
    working.set_value();
    go.get_future().wait();
  };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  for (int i = 1; i <= 3; ++i) stream->Write(Message(i));
  working.get_future().wait();
  script_.WaitFor(script_.taken, 3);
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Hours(1)); });
  v1::IngestDocumentsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.going_away());  // at once, while work is under way
  go.set_value();
  EXPECT_EQ(ReadAll(*stream), UpTo(3));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
  EXPECT_TRUE(drain.get());
  EXPECT_EQ(script_.closed, 1);
}

TEST_F(BidiCallTest, DrainGivesUpOnWorkThatTakesLongerThanItsPatience) {
  std::promise<void> working;
  script_.work = [&](int64_t, const engine::CallContext& context) {
    working.set_value();
    while (!context.stop.stop_requested()) std::this_thread::yield();
  };
  Start();
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  stream->Write(Message(1));
  working.get_future().wait();
  EXPECT_FALSE(server_->Drain(absl::Milliseconds(10)));
  EXPECT_EQ(script_.closed, 1);
  ReadAll(*stream);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(BidiCallTest, DrainDoesNotWaitForCallersThatDoNotRead) {
  script_.answer_bytes = kLarge;
  script_.room = 100;
  Start({.workers = 2});
  Serve();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  for (int i = 1; i <= 50; ++i) ASSERT_TRUE(stream->Write(Message(i)));
  script_.WaitFor(script_.taken, 50);
  EXPECT_TRUE(server_->Drain(absl::Hours(1)));
  EXPECT_EQ(script_.closed, 1);
  ReadAll(*stream);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("stopping"));
}

TEST_F(BidiCallTest, ManyStreamsOfWhichManyAreCancelled) {
  script_.work = [](int64_t, const engine::CallContext&) { std::this_thread::yield(); };
  Start({.workers = 2, .queue_capacity = 4});
  Serve();
  std::vector<std::thread> clients;
  std::atomic<int> whole{0}, cut{0};
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      for (int j = 0; j < 30; ++j) {
        grpc::ClientContext context;
        const auto stream = stub_->IngestDocuments(&context);
        std::thread writer([&] {
          for (int n = 1; n <= 50; ++n) {
            if (!stream->Write(Message(n, 100))) return;
            if ((i + j) % 3 == 0 && n == 1 + j) context.TryCancel();
          }
          stream->WritesDone();
        });
        const std::vector<int64_t> numbers = ReadAll(*stream);
        writer.join();
        const grpc::Status status = stream->Finish();
        whole += status.ok() && numbers == UpTo(50);
        cut += status.error_code() == grpc::StatusCode::CANCELLED;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(whole + cut, 120);
  EXPECT_GE(whole, 80);
  script_.WaitFor(script_.closed, script_.opened);
  EXPECT_EQ(script_.settled, script_.opened);
}

}  // namespace
}  // namespace vecino::rpc
