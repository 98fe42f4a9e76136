#include "encoder/batch_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <numeric>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace vecino::encoder {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

using Results = absl::StatusOr<std::vector<BatchQueue::RowResult>>;

// Rows of the given lengths, filled with `id`.
BatchQueue::Call MakeCall(const std::vector<int>& lengths, Lane lane = Lane::kBulk, int id = 1,
                          int model = 0) {
  BatchQueue::Call call{.model = model, .lane = lane, .rows = {}};
  for (const int length : lengths) call.rows.emplace_back(length, id);
  return call;
}

std::vector<int> Lengths(const BatchQueue::Batch& batch) {
  std::vector<int> lengths;
  for (const auto& row : batch.rows()) lengths.push_back(static_cast<int>(row.size()));
  return lengths;
}

// The first id of every row: who asked.
std::vector<int> Ids(const BatchQueue::Batch& batch) {
  std::vector<int> ids;
  for (const auto& row : batch.rows()) ids.push_back(row.front());
  return ids;
}

// A queue with callers on threads of their own and this thread as the executor.
class BatchQueueTest : public testing::Test {
 protected:
  // Starts a caller and returns once its rows wait in the queue.
  std::future<Results> Start(BatchQueue& queue, BatchQueue::Call call) {
    int64_t tokens = queue.Stats().queued_tokens;
    for (const auto& row : call.rows) tokens += static_cast<int64_t>(row.size());
    auto results = std::async(std::launch::async, [&queue, call = std::move(call)]() mutable {
      return queue.Run(std::move(call));
    });
    while (queue.Stats().queued_tokens != tokens) std::this_thread::yield();
    return results;
  }

  // Finishes with vectors of one float: the sum of the row's ids.
  static void FinishWithSums(BatchQueue& queue, BatchQueue::Batch batch) {
    std::vector<float> sums;
    for (const auto& row : batch.rows()) {
      sums.push_back(static_cast<float>(std::accumulate(row.begin(), row.end(), 0)));
    }
    queue.Finish(std::move(batch), absl::OkStatus(), sums);
  }

  // Of the bulk lane; nothing waits in the other.
  static void Drain(BatchQueue& queue) {
    while (queue.Stats().queued_tokens > 0) FinishWithSums(queue, *queue.Next(Lane::kBulk));
  }
};

TEST_F(BatchQueueTest, GivesEveryRowItsVectorInOrder) {
  BatchQueue queue({.batch_tokens = 32});
  BatchQueue::Call call;
  for (int i = 1; i <= 40; ++i) call.rows.emplace_back(1 + (i * 7) % 13, i);
  const auto rows = call.rows;
  auto results = Start(queue, std::move(call));
  Drain(queue);
  const Results got = results.get();
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_THAT(*got, SizeIs(rows.size()));
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE((*got)[i].status.ok());
    EXPECT_THAT((*got)[i].vector,
                ElementsAre(static_cast<float>(rows[i].size() * static_cast<size_t>(rows[i][0]))));
  }
}

TEST_F(BatchQueueTest, WhereNothingIsPaddedOnlyTokensCount) {
  BatchQueue queue({.batch_tokens = 30});
  BatchQueue::Call first = MakeCall({3, 10, 4}, Lane::kBulk, 1), second = MakeCall({12, 2, 1, 1});
  first.pads = second.pads = false;
  auto of_first = Start(queue, std::move(first));
  auto of_second = Start(queue, std::move(second));
  // Longer rows of another call too; what is left over is too little for the 2, not for the 1.
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(batch), ElementsAre(10, 4, 3, 12, 1));
  EXPECT_EQ(batch.width(), 12);
  FinishWithSums(queue, std::move(batch));
  batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(batch), ElementsAre(2, 1));
  FinishWithSums(queue, std::move(batch));
  EXPECT_TRUE(of_first.get().ok());
  EXPECT_TRUE(of_second.get().ok());
  EXPECT_EQ(queue.Stats().tokens, 33);
  EXPECT_EQ(queue.Stats().padded_tokens, 33);
}

TEST_F(BatchQueueTest, EmptyCallReturnsAtOnce) {
  BatchQueue queue({});
  const Results got = queue.Run({});
  ASSERT_TRUE(got.ok());
  EXPECT_THAT(*got, SizeIs(0));
}

TEST_F(BatchQueueTest, TimesEveryCall) {
  constexpr absl::Duration kRun = absl::Milliseconds(2);
  BatchQueue queue({.batch_tokens = 10});
  EmbedTimings of_two, of_one, of_none;
  BatchQueue::Call two = MakeCall({5, 10}, Lane::kBulk, 1);
  two.timings = &of_two;
  BatchQueue::Call one = MakeCall({5}, Lane::kBulk, 2);
  one.timings = &of_one;
  const absl::Time start = absl::Now();
  auto first = Start(queue, std::move(two));
  auto second = Start(queue, std::move(one));
  const absl::Time queued = absl::Now();
  // The first batch is {10} of the first call, the second {5, 5} of both.
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Ids(batch), ElementsAre(1));
  absl::SleepFor(kRun);
  FinishWithSums(queue, std::move(batch));
  const absl::Time before = absl::Now();
  batch = *queue.Next(Lane::kBulk);
  const absl::Time begun = absl::Now();
  EXPECT_THAT(Ids(batch), testing::UnorderedElementsAre(1, 2));
  absl::SleepFor(kRun);
  FinishWithSums(queue, std::move(batch));
  ASSERT_TRUE(first.get().ok() && second.get().ok());
  const absl::Time end = absl::Now();
  for (const EmbedTimings& timings : {of_two, of_one}) {
    EXPECT_GE(timings.queue, before - queued);
    EXPECT_LE(timings.queue, begun - start);
  }
  EXPECT_GE(of_two.compute, 2 * kRun);
  EXPECT_LE(of_two.compute, end - queued);
  EXPECT_GE(of_one.compute, kRun);
  EXPECT_LE(of_one.compute, end - before) << "the batch it was in, and no other";
  BatchQueue::Call none;
  none.timings = &of_none;
  ASSERT_TRUE(queue.Run(std::move(none)).ok());
  EXPECT_EQ(of_none.queue + of_none.compute, absl::ZeroDuration());
}

TEST_F(BatchQueueTest, EachLaneGivesItsOwn) {
  BatchQueue queue({.batch_tokens = 10});
  auto bulk = Start(queue, MakeCall({10, 10}, Lane::kBulk, 1));
  auto query = Start(queue, MakeCall({5}, Lane::kQuery, 2));
  BatchQueue::Batch running = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Ids(running), ElementsAre(1)) << "queries must not ride with bulk rows";
  BatchQueue::Batch batch = *queue.Next(Lane::kQuery);
  EXPECT_THAT(Ids(batch), ElementsAre(2)) << "nor the other way round";
  FinishWithSums(queue, std::move(batch));
  EXPECT_TRUE(query.get().ok()) << "while the bulk batch runs";
  FinishWithSums(queue, std::move(running));
  FinishWithSums(queue, *queue.Next(Lane::kBulk));
  EXPECT_TRUE(bulk.get().ok());
  queue.Close();
  EXPECT_FALSE(queue.Next(Lane::kQuery).has_value());
  EXPECT_FALSE(queue.Next(Lane::kBulk).has_value());
}

TEST_F(BatchQueueTest, BatchesByPaddedTokensLongestFirst) {
  BatchQueue queue({.batch_tokens = 400});
  // 100 x 4 padded tokens fit; a fifth row of 99 would make 500.
  auto results = Start(queue, MakeCall({97, 100, 30, 99, 98, 96, 31}));
  BatchQueue::Batch first = *queue.Next(Lane::kBulk);
  EXPECT_EQ(first.width(), 100);
  EXPECT_THAT(Lengths(first), ElementsAre(100, 99, 98, 97));
  BatchQueue::Batch second =
      *queue.Next(Lane::kBulk);  // 31 and 30 would be 65 + 66 tokens of padding
  EXPECT_THAT(Lengths(second), ElementsAre(96));
  BatchQueue::Batch third = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(third), ElementsAre(31, 30));
  FinishWithSums(queue, std::move(first));
  FinishWithSums(queue, std::move(second));
  FinishWithSums(queue, std::move(third));
  EXPECT_TRUE(results.get().ok());
  const EncoderStats stats = queue.Stats();
  EXPECT_EQ(stats.texts, 7);
  EXPECT_EQ(stats.tokens, 97 + 100 + 30 + 99 + 98 + 96 + 31);
  EXPECT_EQ(stats.padded_tokens, 400 + 96 + 62);
  EXPECT_EQ(stats.batches, 3);
}

TEST_F(BatchQueueTest, ShortTextsShareABatchInSpiteOfPadding) {
  BatchQueue queue({.batch_tokens = 400});
  auto results = Start(queue, MakeCall({30, 20, 10}));
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(batch), ElementsAre(30, 20, 10));
  FinishWithSums(queue, std::move(batch));
  EXPECT_TRUE(results.get().ok());
}

TEST_F(BatchQueueTest, RowWiderThanABatchRunsAlone) {
  BatchQueue queue({.batch_tokens = 8});
  auto results = Start(queue, MakeCall({20, 19}));
  for (const int expected : {20, 19}) {
    BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
    EXPECT_THAT(Lengths(batch), ElementsAre(expected));
    FinishWithSums(queue, std::move(batch));
  }
  EXPECT_TRUE(results.get().ok());
}

TEST_F(BatchQueueTest, OtherCallsFillWhatIsLeftOver) {
  BatchQueue queue({.batch_tokens = 100});
  auto first = Start(queue, MakeCall({20, 19}, Lane::kBulk, 1));
  auto second = Start(queue, MakeCall({50, 20, 18, 17, 16}, Lane::kBulk, 2));
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(batch), ElementsAre(20, 19, 20, 18, 17)) << "50 is wider than the batch";
  EXPECT_THAT(Ids(batch), ElementsAre(1, 1, 2, 2, 2));
  FinishWithSums(queue, std::move(batch));
  EXPECT_TRUE(first.get().ok());
  Drain(queue);
  EXPECT_TRUE(second.get().ok());
}

TEST_F(BatchQueueTest, ModelsDoNotMix) {
  BatchQueue queue({.batch_tokens = 100});
  auto first = Start(queue, MakeCall({10}, Lane::kBulk, 1, 0));
  auto second = Start(queue, MakeCall({10}, Lane::kBulk, 2, 1));
  for (const int model : {0, 1}) {
    BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
    EXPECT_EQ(batch.model(), model);
    EXPECT_THAT(Lengths(batch), ElementsAre(10));
    FinishWithSums(queue, std::move(batch));
  }
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(BatchQueueTest, CallsTakeTurns) {
  BatchQueue queue({.batch_tokens = 20});
  auto large = Start(queue, MakeCall(std::vector<int>(100, 10), Lane::kBulk, 1));
  auto small = Start(queue, MakeCall({10, 10, 10, 10}, Lane::kBulk, 2));
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
    EXPECT_THAT(Ids(batch), Each(batch.rows().front().front()))
        << "a full turn belongs to one call";
    order.push_back(batch.rows().front().front());
    FinishWithSums(queue, std::move(batch));
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 1, 2, 1));
  EXPECT_TRUE(small.get().ok()) << "done after its two turns, with 94 rows of the other waiting";
  Drain(queue);
  EXPECT_TRUE(large.get().ok());
}

TEST_F(BatchQueueTest, FullQueueTakesAllOfACallOrNone) {
  BatchQueue queue({.capacity_tokens = 80, .batch_tokens = 10});  // 70 bulk, 10 query
  auto first = Start(queue, MakeCall({30, 30}));
  const Results refused = queue.Run(MakeCall({10, 1}));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("60 tokens wait"));
  EXPECT_EQ(queue.Stats().queued_tokens, 60) << "nothing of the refused call may stay";
  EXPECT_EQ(queue.Stats().rejected, 1);
  auto fits = Start(queue, MakeCall({10}));
  auto query = Start(queue, MakeCall({10}, Lane::kQuery));  // bulk work does not shut queries out
  EXPECT_EQ(queue.Run(MakeCall({1}, Lane::kQuery)).status().code(),
            absl::StatusCode::kResourceExhausted);
  FinishWithSums(queue, *queue.Next(Lane::kQuery));
  Drain(queue);
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(fits.get().ok());
  EXPECT_TRUE(query.get().ok());
  EXPECT_EQ(queue.Stats().queued_tokens, 0);
}

TEST_F(BatchQueueTest, CallLargerThanTheQueueIsTakenWhenItIsEmpty) {
  BatchQueue queue({.capacity_tokens = 16, .batch_tokens = 10});
  auto large = Start(queue, MakeCall({10, 10, 10}));
  EXPECT_EQ(queue.Run(MakeCall({1})).status().code(), absl::StatusCode::kResourceExhausted);
  Drain(queue);
  EXPECT_TRUE(large.get().ok());
}

TEST_F(BatchQueueTest, StoppedCallReturnsAndItsRowsAreDropped) {
  BatchQueue queue({.batch_tokens = 10});
  std::stop_source stop;
  BatchQueue::Call call = MakeCall({10, 10, 10}, Lane::kBulk, 1);
  call.stop = stop.get_token();
  auto stopped = Start(queue, std::move(call));
  BatchQueue::Batch running = *queue.Next(Lane::kBulk);
  stop.request_stop();
  EXPECT_EQ(stopped.get().status().code(), absl::StatusCode::kCancelled)
      << "returns although a batch of it still runs";
  EXPECT_EQ(queue.Stats().queued_tokens, 0);
  auto other = Start(queue, MakeCall({9}, Lane::kBulk, 2));
  BatchQueue::Batch next = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Ids(next), ElementsAre(2));
  FinishWithSums(queue, std::move(running));  // its result goes nowhere
  FinishWithSums(queue, std::move(next));
  EXPECT_TRUE(other.get().ok());
}

TEST_F(BatchQueueTest, ManyStoppedCallsAreDroppedWhenABatchIsCut) {
  BatchQueue queue({.batch_tokens = 10});
  std::vector<std::stop_source> stops(20);
  std::vector<std::future<Results>> stopped;
  for (std::stop_source& stop : stops) {
    BatchQueue::Call call = MakeCall({10}, Lane::kBulk, 1);
    call.stop = stop.get_token();
    stopped.push_back(Start(queue, std::move(call)));
  }
  auto wanted = Start(queue, MakeCall({10}, Lane::kBulk, 2));
  for (std::stop_source& stop : stops) stop.request_stop();
  // Whether their threads have run since or not.
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Ids(batch), ElementsAre(2));
  FinishWithSums(queue, std::move(batch));
  EXPECT_TRUE(wanted.get().ok());
  for (auto& result : stopped) {
    EXPECT_EQ(result.get().status().code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(BatchQueueTest, DeadlineEndsTheWait) {
  BatchQueue queue({});
  BatchQueue::Call late = MakeCall({10, 10});
  late.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(queue.Run(std::move(late)).status().code(), absl::StatusCode::kDeadlineExceeded);
  BatchQueue::Call soon = MakeCall({10, 10});
  soon.deadline = absl::Now() + absl::Milliseconds(20);
  const Results got = queue.Run(std::move(soon));  // there is no executor
  EXPECT_EQ(got.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(got.status().message()), HasSubstr("2 of 2"));
  EXPECT_EQ(queue.Stats().queued_tokens, 0);
}

TEST_F(BatchQueueTest, StopRequestedBeforeRunIsCancelled) {
  BatchQueue queue({});
  std::stop_source stop;
  stop.request_stop();
  BatchQueue::Call call = MakeCall({1});
  call.stop = stop.get_token();
  EXPECT_EQ(queue.Run(std::move(call)).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(BatchQueueTest, ExecutorFailureIsTheStatusOfItsRowsOnly) {
  BatchQueue queue({.batch_tokens = 20});
  auto results = Start(queue, MakeCall({10, 10, 5}));
  auto other = Start(queue, MakeCall({5}, Lane::kBulk, 2));
  BatchQueue::Batch batch = *queue.Next(Lane::kBulk);
  EXPECT_THAT(Lengths(batch), ElementsAre(10, 10));
  queue.Finish(std::move(batch), absl::InternalError("broken"), {});
  Drain(queue);
  const Results got = results.get();
  ASSERT_TRUE(got.ok());
  EXPECT_EQ((*got)[0].status, absl::InternalError("broken"));
  EXPECT_EQ((*got)[1].status, absl::InternalError("broken"));
  EXPECT_THAT((*got)[0].vector, SizeIs(0));
  EXPECT_TRUE((*got)[2].status.ok());
  EXPECT_THAT((*got)[2].vector, ElementsAre(5.0f));
  const Results others = other.get();
  ASSERT_TRUE(others.ok());
  EXPECT_TRUE((*others)[0].status.ok());
  EXPECT_EQ(queue.Stats().texts, 2) << "failed rows were not embedded";
}

TEST_F(BatchQueueTest, CloseServesWhatWasTakenAndRefusesMore) {
  BatchQueue queue({});
  auto taken = Start(queue, MakeCall({3}));
  queue.Close();
  queue.Close();
  EXPECT_EQ(queue.Run(MakeCall({1})).status().code(), absl::StatusCode::kUnavailable);
  std::optional<BatchQueue::Batch> batch = queue.Next(Lane::kBulk);
  ASSERT_TRUE(batch.has_value());
  FinishWithSums(queue, *std::move(batch));
  EXPECT_TRUE(taken.get().ok());
  EXPECT_FALSE(queue.Next(Lane::kBulk).has_value());
}

TEST_F(BatchQueueTest, CloseWakesWaitingExecutors) {
  BatchQueue queue({});
  auto executor =
      std::async(std::launch::async, [&] { return queue.Next(Lane::kBulk).has_value(); });
  queue.Close();
  EXPECT_FALSE(executor.get());
}

// For ThreadSanitizer above all: callers that finish, stop and run out of time, and three
// executors.
TEST_F(BatchQueueTest, ManyCallersAtOnce) {
  BatchQueue queue({.capacity_tokens = 4000, .batch_tokens = 64});
  std::vector<std::jthread> executors;
  for (const Lane lane : {Lane::kQuery, Lane::kBulk, Lane::kBulk}) {
    executors.emplace_back([&queue, lane] {
      while (auto batch = queue.Next(lane)) FinishWithSums(queue, *std::move(batch));
    });
  }
  {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 6; ++caller) {
      callers.emplace_back([&queue, caller] {
        for (int round = 0; round < 100; ++round) {
          std::stop_source stop;
          BatchQueue::Call call = MakeCall({1 + round % 9, 3 + caller, 20, 7},
                                           caller % 2 ? Lane::kQuery : Lane::kBulk, 2);
          const auto rows = call.rows;
          call.stop = stop.get_token();
          if (round % 5 == 1) call.deadline = absl::Now() + absl::Microseconds(round);
          std::jthread stopper;
          if (round % 5 == 2) stopper = std::jthread([&stop] { stop.request_stop(); });
          const Results got = queue.Run(std::move(call));
          if (!got.ok()) {
            EXPECT_NE(got.status().code(), absl::StatusCode::kUnavailable);
            continue;
          }
          for (size_t i = 0; i < rows.size(); ++i) {
            EXPECT_THAT((*got)[i].vector, ElementsAre(2.0f * static_cast<float>(rows[i].size())));
          }
        }
      });
    }
  }
  queue.Close();
  executors.clear();
  EXPECT_EQ(queue.Stats().queued_tokens, 0);
}

TEST_F(BatchQueueTest, PairsKnowWhereTheirSecondTextBegins) {
  BatchQueue queue({.batch_tokens = 64});
  BatchQueue::Call call = MakeCall({3, 5, 4});
  call.seconds = {1, 3, 2};
  auto results = Start(queue, std::move(call));
  const auto batch = queue.Next(Lane::kBulk);
  std::vector<int> seconds;
  for (const TokenRow& row : batch->rows()) seconds.push_back(row.second);
  EXPECT_THAT(Lengths(*batch), ElementsAre(5, 4, 3));
  EXPECT_THAT(seconds, ElementsAre(3, 2, 1));
  FinishWithSums(queue, *batch);
  EXPECT_TRUE(results.get().ok());
}

TEST_F(BatchQueueTest, ACallMayAskForSmallerBatches) {
  BatchQueue queue({.batch_tokens = 64});
  BatchQueue::Call call = MakeCall({8, 8, 8, 8, 8});
  call.batch_tokens = 16;
  auto results = Start(queue, std::move(call));
  std::vector<size_t> sizes;
  while (queue.Stats().queued_tokens > 0) {
    auto batch = *queue.Next(Lane::kBulk);
    sizes.push_back(batch.rows().size());
    FinishWithSums(queue, std::move(batch));
  }
  EXPECT_THAT(sizes, ElementsAre(2, 2, 1));
  EXPECT_TRUE(results.get().ok());
}

TEST_F(BatchQueueTest, WhatIsDoneWhenItIsEnoughIsReturned) {
  BatchQueue queue({.batch_tokens = 8});
  BatchQueue::Call call = MakeCall({8, 7, 6});
  call.enough = absl::Now() + absl::Milliseconds(200);
  auto results = Start(queue, std::move(call));
  FinishWithSums(queue, *queue.Next(Lane::kBulk));
  auto running = *queue.Next(Lane::kBulk);  // not done in time
  const Results got = results.get();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT((*got)[0].vector, ElementsAre(8));
  EXPECT_TRUE((*got)[0].status.ok());
  for (const int row : {1, 2}) {
    EXPECT_EQ((*got)[row].status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_TRUE((*got)[row].vector.empty());
  }
  // What was in a batch is finished, what waited is gone.
  FinishWithSums(queue, std::move(running));
  EXPECT_EQ(queue.Stats().queued_tokens, 0);
  queue.Close();
  EXPECT_FALSE(queue.Next(Lane::kBulk).has_value());
}

TEST_F(BatchQueueTest, ADeadlineBeforeItIsEnoughEndsTheCall) {
  BatchQueue queue({});
  BatchQueue::Call call = MakeCall({8});
  call.deadline = absl::Now() + absl::Milliseconds(50);
  call.enough = absl::Now() + absl::Hours(1);
  EXPECT_EQ(queue.Run(std::move(call)).status().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace vecino::encoder
