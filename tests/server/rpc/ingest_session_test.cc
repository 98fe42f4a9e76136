// IngestDocuments through a real gRPC server, over an engine whose streams a test scripts.
#include "server/rpc/ingest_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <set>
#include <thread>

#include "server/rpc/text.h"
#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/document_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;
using Stream = grpc::ClientReaderWriter<v1::IngestDocumentsRequest, v1::IngestDocumentsResponse>;
using Request = v1::IngestDocumentsRequest;
using Response = v1::IngestDocumentsResponse;

// What the streams of a test were asked, and do.
struct Script {
  absl::Mutex mu;
  std::vector<std::string> log ABSL_GUARDED_BY(mu);  // of commits: "+id" or "-id"
  std::vector<uint64_t> items ABSL_GUARDED_BY(mu);   // in the order of commits
  std::set<std::string> open ABSL_GUARDED_BY(mu);    // tokens
  int finished ABSL_GUARDED_BY(mu) = 0;
  std::vector<size_t> groups ABSL_GUARDED_BY(mu);  // items of each commit

  uint64_t done_through = 0;
  std::function<absl::Status(const std::vector<uint64_t>&items, const engine::CallContext&)>
      prepare, commit;
  std::atomic<double> pressure{0};
  std::atomic<int> preparing{0}, most_preparing{0};
};

class ScriptedStream final : public engine::IngestStream {
 public:
  ScriptedStream(Script* script, std::string token)
      : script_(*script), token_(std::move(token)), last_(script->done_through) {}
  ~ScriptedStream() override {
    absl::MutexLock lock(&script_.mu);
    script_.open.erase(token_);
  }
  uint64_t done_through() const override { return script_.done_through; }
  absl::Status Prepare(absl::Span<engine::IngestWrite> writes,
                       const engine::CallContext& context) override {
    const int now = ++script_.preparing;
    int most = script_.most_preparing;
    while (most < now && !script_.most_preparing.compare_exchange_weak(most, now)) {
    }
    absl::Status status = Run(script_.prepare, writes, context);
    --script_.preparing;
    return status;
  }
  absl::Status Commit(absl::Span<engine::IngestWrite> writes, uint64_t done_through,
                      const engine::CallContext& context) override {
    if (absl::Status status = Run(script_.commit, writes, context); !status.ok()) return status;
    absl::MutexLock lock(&script_.mu);
    EXPECT_EQ(done_through, last_);
    last_ = writes.back().item;
    script_.groups.push_back(writes.size());
    for (engine::IngestWrite& write : writes) {
      script_.items.push_back(write.item);
      if (write.settled) continue;
      write.settled = true;
      const std::string& id = write.write.document.id;
      script_.log.push_back((write.erase ? "-" : "+") + id);
      if (write.write.mode == engine::WriteMode::kInsert) script_.log.back() += "!";
      if (id == "bad")
        write.result.status = engine::InvalidField(
            Concat("documents[", Place(writes, write), "].vector"), "is too short");
      write.result.token = {1, write.item * 10};
      write.result.truncated = id == "long";
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    absl::MutexLock lock(&script_.mu);
    ++script_.finished;
    return absl::OkStatus();
  }
  engine::IngestPressure Pressure() const override { return {.index = script_.pressure.load()}; }

 private:
  static size_t Place(absl::Span<engine::IngestWrite> writes, const engine::IngestWrite& write) {
    return static_cast<size_t>(&write - writes.data());
  }
  template <class Function>
  static absl::Status Run(const Function& function, absl::Span<engine::IngestWrite> writes,
                          const engine::CallContext& context) {
    std::vector<uint64_t> items;
    for (const engine::IngestWrite& write : writes) items.push_back(write.item);
    return function ? function(items, context) : absl::OkStatus();
  }

  Script& script_;
  const std::string token_;
  uint64_t last_;  // committed
};

class IngestSessionTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    engine_.open_ingest =
        [this](std::string_view collection, std::string_view token,
               engine::Truncate) -> absl::StatusOr<std::unique_ptr<engine::IngestStream>> {
      if (collection != "c") return absl::NotFoundError("no such collection");
      absl::MutexLock lock(&script_.mu);
      if (!token.empty() && !script_.open.emplace(token).second) {
        return absl::AbortedError("open already");
      }
      return std::make_unique<ScriptedStream>(&script_, std::string(token));
    };
    server_->Serve(handlers_->Methods(), handlers_->Streams(), handlers_->Shorts(),
                   Handlers::Bulk(), handlers_->Bidis());
    stub_ = v1::DocumentService::NewStub(channel_);
  }
  ~IngestSessionTest() override { Stop(); }

  // A call with its first message written.
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<Stream> stream;
    Response response;

    bool Send(const Request& request) { return stream->Write(request); }
    bool Read() { return stream->Read(&response); }
    grpc::Status End() {
      while (Read()) {
      }
      return stream->Finish();
    }
    // Reads until `count` results have come.
    std::vector<v1::IngestResult> Results(size_t count) {
      std::vector<v1::IngestResult> results;
      while (results.size() < count && Read()) {
        results.insert(results.end(), response.results().begin(), response.results().end());
      }
      return results;
    }
  };
  std::unique_ptr<Call> Open(const std::string& token = "", const std::string& parent = "c") {
    auto call = std::make_unique<Call>();
    call->stream = stub_->IngestDocuments(&call->context);
    Request request;
    request.mutable_start()->set_parent("collections/" + parent);
    request.mutable_start()->set_resume_token(token);
    call->Send(request);
    return call;
  }
  static Request Document(int64_t seq, const std::string& id) {
    Request request;
    request.mutable_document()->set_seq(seq);
    request.mutable_document()->mutable_document()->set_id(id);
    request.mutable_document()->mutable_document()->set_text("t");
    return request;
  }
  static Request Erase(int64_t seq, const std::string& id) {
    Request request;
    request.mutable_delete_()->set_seq(seq);
    request.mutable_delete_()->set_id(id);
    return request;
  }
  grpc::Status EndAfter(const std::vector<Request>& requests) {
    const auto call = Open();
    for (const Request& request : requests) call->Send(request);
    call->stream->WritesDone();
    return call->End();
  }
  std::vector<std::string> Log() {
    absl::MutexLock lock(&script_.mu);
    return script_.log;
  }

  Script script_;
  std::unique_ptr<v1::DocumentService::Stub> stub_;
};

TEST_F(IngestSessionTest, AnAliasStandsForItsCollection) {
  engine_.aliases.resize(1);
  engine_.aliases[0].id = "x";
  engine_.aliases[0].target = "c";
  Start();
  const auto call = Open("", "x");
  for (const char* name : {"collections/x/documents/a", "collections/c/documents/b"}) {
    Request request = Document(call->response.done_through() + 1, "");
    request.mutable_document()->mutable_document()->clear_id();
    request.mutable_document()->mutable_document()->set_name(name);
    call->Send(request);
    const auto results = call->Results(1);
    ASSERT_EQ(results.size(), 1u);
    EXPECT_EQ(results[0].status().code(), 0) << results[0].status().message();
  }
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
  EXPECT_EQ(Log(), (std::vector<std::string>{"+a", "+b"}));
}

TEST_F(IngestSessionTest, AnswersEachItemInOrderWithTheWindowFirst) {
  script_.done_through = 4;
  Start();
  const auto call = Open("load");
  ASSERT_TRUE(call->Read());
  EXPECT_GE(call->response.window().documents(), 1);
  EXPECT_GE(call->response.window().bytes(), 1);
  EXPECT_EQ(call->response.done_through(), 4);
  call->Send(Document(5, "a"));
  call->Send(Erase(6, "a"));
  Request items;
  *items.mutable_items()->add_items()->mutable_document() = Document(8, "long").document();
  *items.mutable_items()->add_items()->mutable_document() = Document(9, "bad").document();
  *items.mutable_items()->add_items()->mutable_delete_() = Erase(10, "").delete_();
  call->Send(items);
  const auto results = call->Results(5);
  ASSERT_EQ(results.size(), 5u);
  EXPECT_EQ(results[0].seq(), 5);
  EXPECT_EQ(results[0].write_token().sequence_number(), 50);
  EXPECT_FALSE(results[0].has_status());
  EXPECT_EQ(results[1].seq(), 6);
  EXPECT_TRUE(results[2].truncated());
  EXPECT_EQ(results[3].status().code(), 3);
  EXPECT_THAT(results[3].status().message(),
              HasSubstr("items.items[1].document.document.vector: is too short"));
  EXPECT_EQ(results[4].status().code(), 3);
  EXPECT_THAT(results[4].status().message(), HasSubstr("items.items[2].delete.id"));
  EXPECT_EQ(call->response.done_through(), 10);
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
  EXPECT_EQ(Log(), (std::vector<std::string>{"+a", "-a", "+long", "+bad"}));
  absl::MutexLock lock(&script_.mu);
  EXPECT_EQ(script_.finished, 0);
  EXPECT_TRUE(script_.open.empty());
}

TEST_F(IngestSessionTest, WhatIsNoStreamOfItemsEndsItSayingWhy) {
  Start();
  const auto expect = [&](const grpc::Status& status, const std::string& what) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << what;
    EXPECT_THAT(status.error_message(), HasSubstr(what));
  };
  expect(EndAfter({Document(3, "a"), Document(3, "b")}), "is 3 after 3");
  expect(EndAfter({Document(7, "a"), Erase(5, "b")}), "delete.seq: is 5 after 7");
  expect(EndAfter({Document(0, "a")}), "document.seq: is 0");
  expect(EndAfter({Request()}), "message: is empty");
  Request start;
  start.mutable_start()->set_parent("collections/c");
  expect(EndAfter({start}), "start: must be the first message only");
  Request items;
  items.mutable_items();
  expect(EndAfter({items}), "items.items");
  items.mutable_items()->add_items();
  expect(EndAfter({items}), "items.items[0]");
  Request finish;
  finish.mutable_finish();
  expect(EndAfter({finish, Document(1, "a")}), "finish: must be the last message");
  {
    grpc::ClientContext context;
    const auto stream = stub_->IngestDocuments(&context);
    stream->Write(Document(1, "a"));
    expect(stream->Finish(), "start: must be the first message");
  }
  {
    grpc::ClientContext context;
    const auto stream = stub_->IngestDocuments(&context);
    start.mutable_start()->set_write_mode(static_cast<v1::WriteMode>(9));
    stream->Write(start);
    expect(stream->Finish(), "start.write_mode: is 9");
  }
  EXPECT_EQ(Open("", "nobody")->End().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(IngestSessionTest, TheWriteModeIsThatOfEveryDocument) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->IngestDocuments(&context);
  Request start;
  start.mutable_start()->set_parent("collections/c");
  start.mutable_start()->set_write_mode(v1::WRITE_MODE_INSERT);
  stream->Write(start);
  stream->Write(Document(1, "a"));
  stream->Write(Document(2, "b"));
  stream->WritesDone();
  for (Response response; stream->Read(&response);) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Log(), (std::vector<std::string>{"+a!", "+b!"}));
}

TEST_F(IngestSessionTest, ItemsBeforeAFaultAreDoneAndAnswered) {
  Start();
  const auto call = Open();
  call->Send(Document(1, "a"));
  call->Send(Document(2, "b"));
  call->Send(Document(1, "c"));
  EXPECT_EQ(call->Results(2).size(), 2u);
  EXPECT_EQ(call->End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Log(), (std::vector<std::string>{"+a", "+b"}));
}

TEST_F(IngestSessionTest, BatchesArePreparedTogetherAndCommittedInOrder) {
  constexpr int kItems = 20'000;
  script_.prepare = [](const std::vector<uint64_t>& items, const engine::CallContext&) {
    // The later the quicker: they overtake each other.
    if (items.front() % 3 == 0) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  Start();
  const auto call = Open();
  auto writer = std::async(std::launch::async, [&] {
    for (int i = 1; i <= kItems; ++i) call->Send(Document(i, "d" + std::to_string(i)));
    call->stream->WritesDone();
  });
  const auto results = call->Results(kItems);
  writer.get();
  EXPECT_TRUE(call->End().ok());
  ASSERT_EQ(results.size(), static_cast<size_t>(kItems));
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(results[i].seq(), i + 1);
  absl::MutexLock lock(&script_.mu);
  ASSERT_EQ(script_.items.size(), static_cast<size_t>(kItems));
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(script_.items[i], static_cast<uint64_t>(i + 1));
  EXPECT_LT(script_.groups.size(), 10'000u);  // what has come goes together
  EXPECT_GT(script_.most_preparing, 1);
  EXPECT_LE(script_.most_preparing, 4);
}

TEST_F(IngestSessionTest, AFullEngineIsWaitedForAndShrinksTheWindow) {
  std::atomic<int> prepared{0}, committed{0};
  script_.prepare = [&](const std::vector<uint64_t>&, const engine::CallContext&) {
    return prepared++ < 3 ? absl::ResourceExhaustedError("the encoder's queue is full")
                          : absl::OkStatus();
  };
  script_.commit = [&](const std::vector<uint64_t>&, const engine::CallContext&) {
    return committed++ < 2 ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
  };
  Start();
  const auto call = Open();
  ASSERT_TRUE(call->Read());
  const int window = call->response.window().documents();
  for (int i = 1; i <= 100; ++i) call->Send(Document(i, "d"));
  std::vector<int> windows;
  int results = 0;
  while (results < 100 && call->Read()) {
    if (call->response.has_window()) windows.push_back(call->response.window().documents());
    for (const auto& result : call->response.results()) {
      EXPECT_EQ(result.seq(), ++results);
      EXPECT_FALSE(result.has_status());
    }
  }
  EXPECT_EQ(results, 100);
  ASSERT_FALSE(windows.empty());
  EXPECT_LT(*std::min_element(windows.begin(), windows.end()), window);
  // And grows again as things are done.
  for (int i = 101; i <= 300; ++i) {
    call->Send(Document(i, "d"));
    call->Results(1);
    if (call->response.has_window()) windows.push_back(call->response.window().documents());
  }
  EXPECT_GT(windows.back(), *std::min_element(windows.begin(), windows.end()));
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
}

TEST_F(IngestSessionTest, UnderPressureTheWindowIsSmallAndNothingIsReadBeyondIt) {
  script_.pressure = 1;
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::atomic<int> begun{0};
  script_.prepare = [&](const std::vector<uint64_t>& items, const engine::CallContext&) {
    begun += static_cast<int>(items.size());
    gone.wait();
    return absl::OkStatus();
  };
  Start();
  const auto call = Open();
  ASSERT_TRUE(call->Read());
  EXPECT_EQ(call->response.window().documents(), 1);
  for (int i = 1; i <= 50; ++i) call->Send(Document(i, "d"));  // a caller that does not heed it
  while (begun == 0) std::this_thread::yield();
  for (int i = 0; i < 30; ++i) {
    grpc::ClientContext context;
    v1::CountDocumentsRequest request;
    request.set_parent("collections/c");
    v1::CountDocumentsResponse response;
    EXPECT_TRUE(stub_->CountDocuments(&context, request, &response).ok());
  }
  EXPECT_EQ(begun, 1);
  go.set_value();
  EXPECT_EQ(call->Results(50).size(), 50u);
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
}

TEST_F(IngestSessionTest, ErrorsOfTheEngineEndTheStreamAndNothingIsCommittedBehindThem) {
  script_.commit = [](const std::vector<uint64_t>& items, const engine::CallContext&) {
    return items.back() >= 3 ? absl::UnknownError("not known whether it was done")
                             : absl::OkStatus();
  };
  Start();
  const auto call = Open();
  call->Send(Document(1, "a"));
  EXPECT_EQ(call->Results(1).size(), 1u);
  for (int i = 3; i <= 10; ++i) call->Send(Document(i, "x"));
  EXPECT_EQ(call->End().error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(Log(), std::vector<std::string>{"+a"});
}

TEST_F(IngestSessionTest, FinishForgetsTheTokenOnceEverythingIsCommitted) {
  Start();
  const auto call = Open("load");
  for (int i = 1; i <= 10; ++i) call->Send(Document(i, "d"));
  Request finish;
  finish.mutable_finish();
  call->Send(finish);
  EXPECT_EQ(call->Results(10).size(), 10u);
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
  absl::MutexLock lock(&script_.mu);
  EXPECT_EQ(script_.finished, 1);
}

TEST_F(IngestSessionTest, AStreamWithTheSameTokenTakesOver) {
  std::promise<void> committing, go;
  std::atomic<bool> first{true};
  script_.commit = [&](const std::vector<uint64_t>&, const engine::CallContext&) {
    if (first.exchange(false)) {
      committing.set_value();
      go.get_future().wait();
    }
    return absl::OkStatus();
  };
  Start();
  const auto before = Open("load");
  before->Send(Document(1, "a"));
  committing.get_future().wait();
  const auto after = Open("load");
  const auto other = Open("another");  // is not in the way
  ASSERT_TRUE(other->Read());
  auto opened = std::async(std::launch::async, [&] { return after->Read(); });
  EXPECT_EQ(opened.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  go.set_value();  // what the first one was at is finished, and answered
  EXPECT_EQ(before->Results(1).size(), 1u);
  EXPECT_EQ(before->End().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_TRUE(opened.get());
  after->Send(Document(2, "b"));
  EXPECT_EQ(after->Results(1).size(), 1u);
  EXPECT_EQ(Log(), (std::vector<std::string>{"+a", "+b"}));
  for (const auto* call : {after.get(), other.get()}) call->stream->WritesDone();
  EXPECT_TRUE(after->End().ok());
  EXPECT_TRUE(other->End().ok());
}

TEST_F(IngestSessionTest, ASecondStreamTakesOverFromOneWhoseCallerDoesNotRead) {
  Start();
  const auto before = Open("load");
  ASSERT_TRUE(before->Read());
  before->Send(Document(1, "a"));
  const auto after = Open("load");
  EXPECT_TRUE(after->Read());
  before->context.TryCancel();
  before->End();
  after->stream->WritesDone();
  EXPECT_TRUE(after->End().ok());
}

TEST_F(IngestSessionTest, DrainSaysThatItGoesAwayAndAnswersWhatWasRead) {
  std::promise<void> preparing, go;
  script_.prepare = [&](const std::vector<uint64_t>& items, const engine::CallContext&) {
    if (items.front() == 1) {
      preparing.set_value();
      go.get_future().wait();
    }
    return absl::OkStatus();
  };
  Start();
  const auto call = Open("load");
  ASSERT_TRUE(call->Read());
  call->Send(Document(1, "a"));
  preparing.get_future().wait();
  auto drain = std::async(std::launch::async, [&] { return server_->Drain(absl::Hours(1)); });
  do {
    ASSERT_TRUE(call->Read());
  } while (!call->response.going_away());
  go.set_value();
  EXPECT_EQ(call->Results(1).size(), 1u);
  EXPECT_EQ(call->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(drain.get());
}

TEST_F(IngestSessionTest, AStalledCallerDoesNotSlowAnother) {
  Start({.workers = 2});
  std::vector<std::unique_ptr<Call>> stalled;
  std::vector<std::thread> writers;
  for (int s = 0; s < 8; ++s) {  // more than workers
    stalled.push_back(Open());
    writers.emplace_back([call = stalled.back().get()] {
      for (int i = 1; call->Send(Document(i, std::string(400, 'x'))); ++i) {
      }
    });
  }
  const auto call = Open();
  auto writer = std::async(std::launch::async, [&] {
    for (int i = 1; i <= 5'000; ++i) call->Send(Document(i, "d"));
    call->stream->WritesDone();
  });
  EXPECT_EQ(call->Results(5'000).size(), 5'000u);
  writer.get();
  EXPECT_TRUE(call->End().ok());
  for (const auto& one : stalled) one->context.TryCancel();
  for (std::thread& one : writers) one.join();
  for (const auto& one : stalled) one->End();
}

TEST_F(IngestSessionTest, CallersThatGoAtAnyMomentLeaveNothingOpen) {
  script_.prepare = [](const std::vector<uint64_t>& items, const engine::CallContext& context) {
    if (items.front() % 5 == 0) absl::SleepFor(absl::Milliseconds(1));
    return context.stop.stop_requested() ? absl::CancelledError("gone") : absl::OkStatus();
  };
  Start({.workers = 2});
  for (int round = 0; round < 40; ++round) {
    const auto call = Open(round % 2 == 0 ? "load" : "");
    for (int i = 1; i <= round * 10; ++i) call->Send(Document(i, "d"));
    call->context.TryCancel();
  }
  const auto call = Open("load");
  EXPECT_TRUE(call->Read());  // so the others with this token have let go
  call->stream->WritesDone();
  EXPECT_TRUE(call->End().ok());
}

}  // namespace
}  // namespace vecino::rpc
