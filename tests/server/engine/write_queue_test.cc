#include "server/engine/write_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

// A commit that can be held up, and that notes what it was given.
struct Commits {
  std::vector<std::vector<std::string>> groups;  // ids of each
  std::promise<void> started;
  std::shared_future<void> go;  // the first commit waits for it, when set

  void operator()(WriteQueue::Batches batches) {
    std::vector<std::string> ids;
    for (const auto batch : batches) {
      for (const ShardWrite& write : batch) ids.push_back(write.document.id);
    }
    groups.push_back(ids);
    if (groups.size() == 1 && go.valid()) {
      started.set_value();
      go.wait();
    }
    for (const auto batch : batches) {
      for (ShardWrite& write : batch) write.result.token.sequence = groups.size();
    }
  }
};

std::vector<ShardWrite> Writes(std::initializer_list<const char*> ids) {
  std::vector<ShardWrite> writes;
  for (const char* id : ids) writes.emplace_back().document.id = id;
  return writes;
}

class WriteQueueTest : public testing::Test {
 protected:
  WriteQueueTest() : queue_(4, [this](WriteQueue::Batches batches) { commits_(batches); }) {}

  // Starts a writer whose commit waits until Release.
  void HoldUp() {
    commits_.go = release_.get_future().share();
    first_ = std::thread([this] {
      auto writes = Writes({"first"});
      EXPECT_TRUE(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
    });
    commits_.started.get_future().wait();
  }
  void Release() {
    release_.set_value();
    first_.join();
  }

  Commits commits_;
  std::promise<void> release_;
  std::thread first_;
  WriteQueue queue_;
};

TEST_F(WriteQueueTest, OneCallerCommitsItsOwn) {
  auto writes = Writes({"a", "b"});
  ASSERT_TRUE(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
  EXPECT_EQ(commits_.groups, (std::vector<std::vector<std::string>>{{"a", "b"}}));
  EXPECT_EQ(writes[1].result.token.sequence, 1u);
}

TEST_F(WriteQueueTest, WhoWaitsIsCommittedTogetherUpToTheLimit) {
  HoldUp();
  constexpr int kCallers = 10;
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int i = 0; i < kCallers; ++i) {
    threads.emplace_back([&] {
      auto writes = Writes({"x"});
      EXPECT_TRUE(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
      EXPECT_GT(writes[0].result.token.sequence, 1u);
      ++done;
    });
  }
  while (queue_.Waiting() < kCallers) std::this_thread::yield();
  EXPECT_EQ(done, 0);
  Release();
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(commits_.groups.size(), 4u);  // first, 4, 4, 2
  EXPECT_EQ(commits_.groups[1].size(), 4u);
  EXPECT_EQ(commits_.groups[2].size(), 4u);
  EXPECT_EQ(commits_.groups[3].size(), 2u);
}

TEST_F(WriteQueueTest, WaitingEndsWithTheDeadlineAndTheWriteIsNotDone) {
  HoldUp();
  auto writes = Writes({"late"});
  const absl::Status status =
      queue_.Run(absl::MakeSpan(writes), absl::Now() + absl::Milliseconds(20));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queue_.Exclusive([] { return absl::OkStatus(); }, absl::Now()).code(),
            absl::StatusCode::kDeadlineExceeded);
  Release();
  EXPECT_EQ(commits_.groups.size(), 1u);
  auto next = Writes({"next"});
  EXPECT_TRUE(queue_.Run(absl::MakeSpan(next), absl::InfiniteFuture()).ok());
}

TEST_F(WriteQueueTest, ExclusiveRunsAloneAndInTurn) {
  HoldUp();
  std::vector<std::thread> threads;
  std::atomic<int> running{0};
  std::vector<std::string> order;
  const auto wait_for = [&](int n) {
    while (queue_.Waiting() < n) std::this_thread::yield();
  };
  const auto write = [&](const char* id) {
    auto writes = Writes({id});
    EXPECT_TRUE(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
  };
  threads.emplace_back(write, "before");
  wait_for(1);
  threads.emplace_back([&] {
    const absl::Status status = queue_.Exclusive(
        [&] {
          EXPECT_EQ(running++, 0);
          EXPECT_EQ(commits_.groups.size(), 2u);  // first, before
          --running;
          return absl::AbortedError("passed on");
        },
        absl::InfiniteFuture());
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  });
  wait_for(2);
  threads.emplace_back(write, "after");
  wait_for(3);
  Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(commits_.groups,
            (std::vector<std::vector<std::string>>{{"first"}, {"before"}, {"after"}}));
}

TEST_F(WriteQueueTest, CloseRefusesWhoWaitsAndWaitsForWhatRuns) {
  HoldUp();
  std::thread waiter([&] {
    auto writes = Writes({"waits"});
    EXPECT_EQ(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).code(),
              absl::StatusCode::kNotFound);
  });
  while (queue_.Waiting() < 1) std::this_thread::yield();
  std::atomic<bool> released{false};
  std::thread closer([&] {
    queue_.Close(absl::NotFoundError("deleted"));
    EXPECT_TRUE(released);
  });
  waiter.join();
  released = true;
  Release();
  closer.join();
  auto writes = Writes({"late"});
  EXPECT_EQ(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).code(),
            absl::StatusCode::kNotFound);
  queue_.Reopen();
  EXPECT_TRUE(queue_.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
}

TEST(WriteQueue, RefuseIsForGood) {
  WriteQueue* self = nullptr;
  WriteQueue queue(4, [&](WriteQueue::Batches) { self->Refuse(absl::InternalError("broken")); });
  self = &queue;
  auto writes = Writes({"a"});
  EXPECT_TRUE(queue.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).ok());
  EXPECT_EQ(queue.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).code(),
            absl::StatusCode::kInternal);
  queue.Close(absl::NotFoundError("deleted"));
  queue.Reopen();
  EXPECT_EQ(queue.Run(absl::MakeSpan(writes), absl::InfiniteFuture()).code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace vecino::engine
