#include "encoder/executor_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace vecino::encoder {
namespace {

using testing::ElementsAre;

std::atomic<bool> long_runs = false, stop_long = false;

// Vectors of `dimension` floats, each the row's first id; fails on batches that hold id 13.
class FakeExecutor : public Executor {
 public:
  explicit FakeExecutor(size_t dimension) : dimension_(dimension) {}

  absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) override {
    if (rows[0].front() == 98) {
      vectors[0] = static_cast<float>(getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())));
      return absl::OkStatus();
    }
    if (rows[0].front() == 99) {  // a long batch
      long_runs = true;
      while (!stop_long) {
        std::this_thread::yield();
      }
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].front() == 13) return absl::InternalError("13");
      std::fill_n(vectors.begin() + i * dimension_, dimension_,
                  static_cast<float>(rows[i].front()));
    }
    return absl::OkStatus();
  }

 private:
  const size_t dimension_;
};

// One runner a thread for each dimension.
std::vector<std::vector<ModelRunner>> MakeRunners(int threads, const std::vector<int>& dimensions) {
  std::vector<std::vector<ModelRunner>> runners(threads);
  for (auto& of_thread : runners) {
    for (const int dimension : dimensions) {
      of_thread.push_back({std::make_unique<FakeExecutor>(dimension),
                           std::make_unique<FakeExecutor>(dimension), dimension});
    }
  }
  return runners;
}

TEST(ExecutorPoolTest, RunsTheModelOfEachBatch) {
  BatchQueue queue({});
  ExecutorPool pool(queue, MakeRunners(2, {1, 3}));
  const auto one = queue.Run({.model = 0, .rows = {{7, 8}, {9}}});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT((*one)[0].vector, ElementsAre(7));
  EXPECT_THAT((*one)[1].vector, ElementsAre(9));
  const auto three = queue.Run({.model = 1, .rows = {{5}}});
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_THAT((*three)[0].vector, ElementsAre(5, 5, 5));
}

TEST(ExecutorPoolTest, AQueryDoesNotWaitForABulkBatch) {
  BatchQueue queue({});
  ExecutorPool pool(queue, MakeRunners(1, {1, 2}));
  long_runs = stop_long = false;
  std::thread bulk([&] {
    const auto long_one = queue.Run({.model = 0, .lane = Lane::kBulk, .rows = {{99}}});
    ASSERT_TRUE(long_one.ok()) << long_one.status();
    EXPECT_THAT((*long_one)[0].vector, ElementsAre(99));
  });
  while (!long_runs) std::this_thread::yield();
  // Of another model, and one that fails.
  const auto query = queue.Run({.model = 1, .lane = Lane::kQuery, .rows = {{7}}});
  ASSERT_TRUE(query.ok()) << query.status();
  EXPECT_THAT((*query)[0].vector, ElementsAre(7, 7));
  const auto bad = queue.Run({.model = 0, .lane = Lane::kQuery, .rows = {{13}}});
  ASSERT_TRUE(bad.ok()) << bad.status();
  EXPECT_EQ((*bad)[0].status, absl::InternalError("13"));
  EXPECT_EQ(queue.Stats().batches, 2);  // the bulk one is under way
  stop_long = true;
  bulk.join();
  EXPECT_EQ(queue.Stats().batches, 3);
}

TEST(ExecutorPoolTest, BulkRunsAtALowPriority) {
  BatchQueue queue({});
  ExecutorPool pool(queue, MakeRunners(1, {1}));
  const int own = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  const auto query = queue.Run({.lane = Lane::kQuery, .rows = {{98}}});
  const auto bulk = queue.Run({.lane = Lane::kBulk, .rows = {{98}}});
  ASSERT_TRUE(query.ok() && bulk.ok());
  EXPECT_EQ((*query)[0].vector[0], own);
  EXPECT_EQ((*bulk)[0].vector[0], std::min(19, own + ExecutorPool::kBulkNice));
}

TEST(ExecutorPoolTest, GoesOnAfterAFailure) {
  BatchQueue queue({});
  ExecutorPool pool(queue, MakeRunners(1, {1}));
  const auto failed = queue.Run({.rows = {{13}, {13}}});
  ASSERT_TRUE(failed.ok());
  EXPECT_EQ((*failed)[0].status, absl::InternalError("13"));
  EXPECT_EQ((*failed)[1].status, absl::InternalError("13"));
  const auto good = queue.Run({.rows = {{2}}});
  ASSERT_TRUE(good.ok());
  EXPECT_THAT((*good)[0].vector, ElementsAre(2));
}

TEST(ExecutorPoolTest, RefusesRowsOfTheOtherKind) {
  const std::vector<int32_t> ids = {1, 2, 3};
  std::vector<float> out(1);
  for (const bool pairs : {false, true}) {
    const RowLimits limits = {1, 8, 8, pairs};
    for (const int second : {0, 1, 2, 3, -1}) {
      const TokenRow rows[] = {{ids, second}};
      const bool pair = second == 1 || second == 2;
      EXPECT_EQ(CheckRows(rows, out, limits).ok(), pair == pairs) << pairs << second;
    }
  }
}

TEST(ExecutorPoolTest, EndsWhenTheQueueIsClosed) {
  BatchQueue queue({});
  ExecutorPool pool(queue, MakeRunners(3, {1}));
  queue.Close();
  pool.Join();
  pool.Join();
  EXPECT_EQ(queue.Run({.rows = {{1}}}).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ExecutorPoolTest, ServesManyCallersAndEndsCleanly) {
  BatchQueue queue({.batch_tokens = 16});
  ExecutorPool pool(queue, MakeRunners(2, {2}));
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&queue, caller] {
      for (int round = 0; round < 50; ++round) {
        const int id = 100 + caller * 50 + round;
        const auto got = queue.Run({.rows = {{id, 1}, {id + 1}, {id + 2, 1, 1}}});
        ASSERT_TRUE(got.ok()) << got.status();
        for (int i = 0; i < 3; ++i) {
          EXPECT_THAT((*got)[i].vector, ElementsAre(id + i, id + i));
        }
      }
    });
  }
  callers.clear();
  EXPECT_EQ(queue.Stats().texts, 4 * 50 * 3);
}

}  // namespace
}  // namespace vecino::encoder
