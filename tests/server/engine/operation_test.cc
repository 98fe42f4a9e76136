#include "server/engine/operation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"

namespace vecino::engine {
namespace {

using Type = Operation::Type;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Operation, IsDoneWhenEveryPartIs) {
  Operation operation("7", "c", Type::kRetrain, {0, 2});
  operation.Report(2, "training", 10, 100);
  operation.Report(1, "training", 10, 100);  // no part of it
  Operation::Info info = operation.Snapshot();
  EXPECT_EQ(info.id, "7");
  EXPECT_FALSE(info.done);
  EXPECT_EQ(info.end_time, absl::InfiniteFuture());
  ASSERT_EQ(info.parts.size(), 2u);
  EXPECT_EQ(info.parts[0].stage, "waiting");
  EXPECT_EQ(info.parts[1].stage, "training");
  EXPECT_EQ(info.parts[1].rows_done, 10);
  EXPECT_EQ(info.parts[1].rows_total, 100);

  operation.Finish(2, absl::OkStatus());
  operation.Report(2, "again", 0, 0);
  operation.Finish(2, absl::InternalError("too late"));
  EXPECT_FALSE(operation.done());
  operation.Finish(0, absl::ResourceExhaustedError("no room"));
  info = operation.Snapshot();
  EXPECT_TRUE(info.done);
  EXPECT_GE(info.end_time, info.create_time);
  EXPECT_LT(info.end_time, absl::InfiniteFuture());
  EXPECT_EQ(info.parts[0].stage, "failed");
  EXPECT_EQ(info.parts[1].stage, "done");
  EXPECT_TRUE(info.parts[1].status.ok());
  EXPECT_EQ(info.status, absl::ResourceExhaustedError("no room"));
}

TEST(Operation, ARetrainFailsWhenBuildsWereRejectedAndNonePublished) {
  using Kind = Operation::Outcome::Kind;
  const Operation::Outcome rejected = {.kind = Kind::kRejected, .reason = "finds less"};
  Operation all("1", "c", Type::kRetrain, {0, 1});
  all.ReportOutcome(0, rejected);
  all.ReportOutcome(1, {.kind = Kind::kNotNeeded});
  all.Finish(0, absl::OkStatus());
  all.Finish(1, absl::OkStatus());
  all.ReportOutcome(0, {.kind = Kind::kPublished});  // too late
  Operation::Info info = all.Snapshot();
  EXPECT_EQ(info.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(info.status.message()), HasSubstr("shard 0: finds less"));
  EXPECT_EQ(info.parts[0].stage, "rejected");
  EXPECT_EQ(info.parts[1].stage, "done");

  Operation some("2", "c", Type::kRetrain, {0, 1});
  some.ReportOutcome(0, rejected);
  some.ReportOutcome(1, {.kind = Kind::kPublished});
  some.Finish(0, absl::OkStatus());
  some.Finish(1, absl::OkStatus());
  info = some.Snapshot();
  EXPECT_TRUE(info.status.ok());
  EXPECT_EQ(info.parts[1].stage, "published");
  EXPECT_EQ(Operation(info).Snapshot().parts[0].outcome, rejected);
}

TEST(Operation, CancelAsksAndTheWorkAnswers) {
  Operation operation("7", "c", Type::kCompact, {0});
  EXPECT_TRUE(operation.CheckCancelled().ok());
  operation.Cancel();
  EXPECT_EQ(operation.CheckCancelled().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(operation.Snapshot().cancel_requested);
  EXPECT_FALSE(operation.done());
  operation.Finish(0, operation.CheckCancelled());
  EXPECT_EQ(operation.Snapshot().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(operation.Snapshot().parts[0].stage, "cancelled");

  Operation late("8", "c", Type::kCompact, {0});
  late.Finish(0, absl::OkStatus());
  late.Cancel();
  EXPECT_FALSE(late.Snapshot().cancel_requested);
}

TEST(Operation, WaitEndsWithTheWorkTheDeadlineOrTheCaller) {
  Operation operation("7", "c", Type::kCompact, {0});
  EXPECT_EQ(operation.Wait({.deadline = absl::Now()}).code(), absl::StatusCode::kDeadlineExceeded);
  std::stop_source gone;
  {
    std::thread waiter([&] {
      EXPECT_EQ(operation.Wait({.stop = gone.get_token()}).code(), absl::StatusCode::kCancelled);
    });
    gone.request_stop();
    waiter.join();
  }
  std::thread waiter([&] { EXPECT_TRUE(operation.Wait({}).ok()); });
  operation.End(absl::NotFoundError("gone"));
  waiter.join();
  EXPECT_TRUE(operation.Wait({.deadline = absl::InfinitePast()}).ok());
}

std::vector<std::string> Ids(const std::vector<std::shared_ptr<Operation>>& operations) {
  std::vector<std::string> ids;
  for (const auto& operation : operations) ids.push_back(operation->id());
  return ids;
}

TEST(OperationRegistry, SentTwiceIsDoneOnce) {
  OperationRegistry registry;
  const auto first = registry.Create("c", Type::kRetrain, {0, 1});
  ASSERT_TRUE(first.ok() && first->made);
  const auto second = registry.Create("c", Type::kRetrain, {0, 1});
  EXPECT_FALSE(second->made);
  EXPECT_EQ(second->operation, first->operation);
  EXPECT_TRUE(registry.Create("c", Type::kRetrain, {0})->made);
  EXPECT_TRUE(registry.Create("c", Type::kCompact, {0, 1})->made);
  EXPECT_TRUE(registry.Create("d", Type::kRetrain, {0, 1})->made);
  first->operation->Cancel();
  const auto third = registry.Create("c", Type::kRetrain, {0, 1});
  EXPECT_TRUE(third->made);
  EXPECT_NE(third->operation->id(), first->operation->id());
}

TEST(OperationRegistry, FindsListsAndDeletesByCollection) {
  OperationRegistry registry;
  std::vector<std::string> ids;
  for (int shard = 0; shard < 3; ++shard) {
    ids.push_back(registry.Create("c", Type::kRetrain, {shard})->operation->id());
  }
  const std::string other = registry.Create("d", Type::kRetrain, {0})->operation->id();
  EXPECT_EQ((*registry.Find("c", ids[1]))->id(), ids[1]);
  for (const std::string& id :
       {other, std::string("1"), std::string(), ids[1] + " ", "0" + ids[1]}) {
    EXPECT_EQ(registry.Find("c", id).status().code(), absl::StatusCode::kNotFound) << id;
  }
  EXPECT_THAT(Ids(registry.List("c", "", 2)), ElementsAre(ids[0], ids[1]));
  EXPECT_THAT(Ids(registry.List("c", ids[1], 2)), ElementsAre(ids[2]));
  EXPECT_THAT(Ids(registry.List("c", ids[2], 2)), ElementsAre());
  EXPECT_THAT(Ids(registry.List("c", "what", 9)), ElementsAre(ids[0], ids[1], ids[2]));

  EXPECT_EQ(registry.Delete("c", ids[1]).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry.Delete("d", ids[1]).code(), absl::StatusCode::kNotFound);
  (*registry.Find("c", ids[1]))->Finish(1, absl::OkStatus());
  EXPECT_TRUE(registry.Delete("c", ids[1]).ok());
  EXPECT_EQ(registry.Delete("c", ids[1]).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Ids(registry.List("c", ids[1], 9)), ElementsAre(ids[2]));
}

TEST(OperationRegistry, AnotherStartHasOtherIds) {
  OperationRegistry first;
  absl::SleepFor(absl::Milliseconds(2));  // the clock that ids begin with moves on
  OperationRegistry second;
  const std::string id = first.Create("c", Type::kRetrain, {0})->operation->id();
  ASSERT_TRUE(second.Create("c", Type::kRetrain, {0})->made);
  EXPECT_EQ(second.Find("c", id).status().code(), absl::StatusCode::kNotFound);
}

TEST(OperationRegistry, KeepsTheLastThatAreDoneAndLimitsThoseThatRun) {
  OperationRegistry registry;
  std::vector<std::string> ids;
  for (size_t i = 0; i < OperationRegistry::kKeptDone + 5; ++i) {
    const auto created = registry.Create("c", Type::kCompact, {0});
    ids.push_back(created->operation->id());
    created->operation->Finish(0, absl::OkStatus());
  }
  ASSERT_TRUE(registry.Create("c", Type::kCompact, {0}).ok());
  EXPECT_FALSE(registry.Find("c", ids[4]).ok());
  EXPECT_TRUE(registry.Find("c", ids[5]).ok());
  for (int shard = 1; shard < static_cast<int>(OperationRegistry::kMaxRunning); ++shard) {
    ASSERT_TRUE(registry.Create("c", Type::kCompact, {shard}).ok());
  }
  const auto refused = registry.Create("c", Type::kRetrain, {0});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("256 operations run"));
  EXPECT_TRUE(registry.Find("c", ids[5]).ok());
}

TEST(OperationRegistry, DropEndsAndForgets) {
  OperationRegistry registry;
  const auto gone = registry.Create("c", Type::kRetrain, {0})->operation;
  const auto stays = registry.Create("d", Type::kRetrain, {0})->operation;
  registry.CancelAll("c");
  EXPECT_FALSE(gone->CheckCancelled().ok());
  EXPECT_TRUE(stays->CheckCancelled().ok());
  registry.Drop("c", absl::NotFoundError("deleted"));
  EXPECT_TRUE(gone->done());
  EXPECT_EQ(gone->Snapshot().status, absl::NotFoundError("deleted"));
  EXPECT_FALSE(stays->done());
  EXPECT_EQ(registry.Find("c", gone->id()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(registry.Find("d", stays->id()).ok());
}

TEST(OperationRegistry, ManyThreads) {
  OperationRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&registry, t] {
      const std::string collection(1, static_cast<char>('a' + t % 2));
      for (int i = 0; i < 200; ++i) {
        const auto created = registry.Create(collection, Type::kCompact, {t});
        ASSERT_TRUE(created.ok());
        created->operation->Report(t, "merging", i, 200);
        registry.List(collection, "", 10);
        if (i % 50 == 49) {
          registry.Drop(collection, absl::NotFoundError("deleted"));
        } else {
          created->operation->Finish(t, absl::OkStatus());
        }
        EXPECT_TRUE(created->operation->Wait({}).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace vecino::engine
