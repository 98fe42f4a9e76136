// Sessions without gRPC, whose events come from several threads at once: for the sanitizers.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "server/rpc/ingest_session.h"
#include "server/rpc/wire.h"
#include "server/rpc/worker_pool.h"
#include "tests/server/rpc/fake_engine.h"

namespace vecino::rpc {
namespace {

// Does at random what gRPC may: tells of what was begun from another thread, sooner or later.
class RandomPort final : public BidiPort {
 public:
  RandomPort(WorkerPool* workers, std::deque<grpc::ByteBuffer> messages)
      : workers_(*workers), messages_(std::move(messages)) {}

  void Converse(const std::shared_ptr<BidiSession>& session) {
    session_ = session;
    session->Open(this);
  }
  absl::Status WaitForEnd() {
    absl::MutexLock lock(&mu_);
    while (!ended_ || under_way_ > 0) changed_.Wait(&mu_);
    return end_;
  }
  void Cancel() {
    stop_.request_stop();
    session_->OnCancelled();
  }
  std::vector<v1::IngestResult> results() {
    absl::MutexLock lock(&mu_);
    return results_;
  }

  void Read() override {
    Later([this] {
      grpc::ByteBuffer message;
      bool ok = false;
      {
        absl::MutexLock lock(&mu_);
        ok = !messages_.empty() && !stop_.stop_requested();
        if (ok) {
          message = std::move(messages_.front());
          messages_.pop_front();
        }
      }
      session_->OnRead(ok, std::move(message));
    });
  }
  void Write(const grpc::ByteBuffer& message) override {
    v1::IngestDocumentsResponse response;
    EXPECT_TRUE(ReadMessage(message, &response).ok());
    {
      absl::MutexLock lock(&mu_);
      EXPECT_FALSE(writing_);
      writing_ = true;
      results_.insert(results_.end(), response.results().begin(), response.results().end());
    }
    Later([this] {
      {
        absl::MutexLock lock(&mu_);
        writing_ = false;
      }
      session_->OnWritten(!stop_.stop_requested());
    });
  }
  void WakeAt(absl::Time) override {
    Later([this] { session_->OnWake(); });
  }
  bool Run(std::function<void()> work) override {
    Count(1);
    return workers_.TryContinue([this, work = std::move(work)] {
      work();
      Count(-1);
    });
  }
  void Finish(const absl::Status& status) override {
    absl::MutexLock lock(&mu_);
    EXPECT_FALSE(writing_);
    EXPECT_FALSE(ended_);
    ended_ = true;
    end_ = status;
    changed_.SignalAll();
  }
  engine::CallContext context() const override { return {.stop = stop_.get_token()}; }

 private:
  void Later(std::function<void()> event) { EXPECT_TRUE(Run(std::move(event))); }
  void Count(int by) {
    absl::MutexLock lock(&mu_);
    under_way_ += by;
    changed_.SignalAll();
  }

  WorkerPool& workers_;
  std::stop_source stop_;
  std::shared_ptr<BidiSession> session_;
  absl::Mutex mu_;
  absl::CondVar changed_;
  std::deque<grpc::ByteBuffer> messages_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::IngestResult> results_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false, ended_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  int under_way_ ABSL_GUARDED_BY(mu_) = 0;
};

// Refuses now and then, and checks the order of commits.
class MoodyStream final : public engine::IngestStream {
 public:
  explicit MoodyStream(std::atomic<int>* open) : open_(*open) { ++open_; }
  ~MoodyStream() override { --open_; }
  uint64_t done_through() const override { return 0; }
  absl::Status Prepare(absl::Span<engine::IngestWrite>,
                       const engine::CallContext& context) override {
    if (context.stop.stop_requested()) return absl::CancelledError("gone");
    return calls_++ % 5 == 3 ? absl::ResourceExhaustedError("full") : absl::OkStatus();
  }
  absl::Status Commit(absl::Span<engine::IngestWrite> writes, uint64_t done_through,
                      const engine::CallContext&) override {
    EXPECT_EQ(done_through, last_);
    if (calls_++ % 7 == 3) return absl::ResourceExhaustedError("full");
    for (engine::IngestWrite& write : writes) {
      EXPECT_GT(write.item, last_);
      last_ = write.item;
      write.settled = true;
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }
  engine::IngestPressure Pressure() const override { return {}; }

 private:
  std::atomic<int>& open_;
  std::atomic<int> calls_{0};
  uint64_t last_ = 0;  // unguarded: Commit is called by one thread at a time
};

class IngestSessionPortTest : public testing::Test {
 protected:
  IngestSessionPortTest() {
    engine_.open_ingest = [this](std::string_view, std::string_view, engine::Truncate) {
      return std::make_unique<MoodyStream>(&open_);
    };
  }
  static std::deque<grpc::ByteBuffer> Messages(int items) {
    std::deque<grpc::ByteBuffer> messages;
    v1::IngestDocumentsRequest request;
    request.mutable_start()->set_parent("collections/c");
    Add(request, &messages);
    for (int i = 1; i <= items; ++i) {
      request.mutable_document()->set_seq(i);
      request.mutable_document()->mutable_document()->set_id("d");
      Add(request, &messages);
    }
    request.mutable_finish();
    Add(request, &messages);
    return messages;
  }
  static void Add(const v1::IngestDocumentsRequest& request,
                  std::deque<grpc::ByteBuffer>* messages) {
    EXPECT_TRUE(WriteMessage(request, 1 << 20, "", &messages->emplace_back()).ok());
  }

  std::atomic<int> open_{0};
  FakeEngine engine_;
  IngestHandlers handlers_{&engine_};
  WorkerPool workers_{6, 1000};
};

TEST_F(IngestSessionPortTest, EveryItemIsAnsweredOnceInOrder) {
  constexpr int kItems = 3'000;
  RandomPort port(&workers_, Messages(kItems));
  port.Converse(handlers_.NewSession());
  const absl::Status end = port.WaitForEnd();
  EXPECT_TRUE(end.ok()) << end;
  const auto results = port.results();
  ASSERT_EQ(results.size(), static_cast<size_t>(kItems));
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(results[i].seq(), i + 1);
  EXPECT_EQ(open_, 0);
}

TEST_F(IngestSessionPortTest, CancelledOrTakenOverOrDrainedAtAnyMoment) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    RandomPort port(&workers_, Messages(500));
    const auto session = handlers_.NewSession();
    port.Converse(session);
    for (unsigned spins = random() % 20'000; spins > 0; --spins)
      std::atomic_signal_fence(std::memory_order_seq_cst);
    if (round % 3 == 0) {
      port.Cancel();
    } else if (round % 3 == 1) {
      session->GoAway();
    } else {
      std::static_pointer_cast<IngestSession>(session)->Supersede();
    }
    const absl::Status end = port.WaitForEnd();
    // All of it may have been over before.
    if (!end.ok()) {
      EXPECT_EQ(end.code(), round % 3 == 0   ? absl::StatusCode::kCancelled
                            : round % 3 == 1 ? absl::StatusCode::kUnavailable
                                             : absl::StatusCode::kAborted);
    }
    const auto results = port.results();
    for (size_t i = 0; i < results.size(); ++i) {
      ASSERT_EQ(results[i].seq(), static_cast<int64_t>(i + 1));
    }
    EXPECT_EQ(open_, 0);
  }
}

}  // namespace
}  // namespace vecino::rpc
