#include "server/engine/operation_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

Operation::Info Example() {
  Operation::Info info;
  info.id = "18c-7";
  info.number = 7;
  info.collection = "c";
  info.type = Operation::Type::kCompact;
  info.create_time = absl::FromUnixMicros(1'700'000'000'000'001);
  info.end_time = absl::FromUnixMicros(1'700'000'000'500'000);
  info.done = true;
  info.cancel_requested = true;
  info.parts.push_back(
      {.shard = 0, .stage = "done", .rows_done = 5, .rows_total = 9, .done = true});
  info.parts.push_back({.shard = 63,
                        .stage = "cancelled",
                        .rows_done = 0,
                        .rows_total = 0,
                        .done = true,
                        .status = absl::CancelledError("was cancelled")});
  return info;
}

TEST(OperationRecord, ReadsWhatWasWritten) {
  const Operation::Info info = Example();
  const auto read = DecodeOperation("c", 7, EncodeOperation(info));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->id, info.id);
  EXPECT_EQ(read->number, 7u);
  EXPECT_EQ(read->collection, "c");
  EXPECT_EQ(read->type, info.type);
  EXPECT_EQ(read->create_time, info.create_time);
  EXPECT_EQ(read->end_time, info.end_time);
  EXPECT_TRUE(read->done);
  EXPECT_TRUE(read->cancel_requested);
  ASSERT_EQ(read->parts.size(), 2u);
  EXPECT_EQ(read->parts[0].rows_done, 5);
  EXPECT_EQ(read->parts[0].rows_total, 9);
  EXPECT_TRUE(read->parts[0].status.ok());
  EXPECT_EQ(read->parts[1].shard, 63);
  EXPECT_EQ(read->parts[1].stage, "cancelled");
  EXPECT_EQ(read->parts[1].status, absl::CancelledError("was cancelled"));

  Operation::Info running = info;
  running.done = running.cancel_requested = false;
  running.type = Operation::Type::kRetrain;
  running.end_time = absl::InfiniteFuture();
  running.parts[1].done = false;
  running.parts[1].status = absl::OkStatus();
  const auto again = DecodeOperation("c", 7, EncodeOperation(running));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->done || again->cancel_requested || again->parts[1].done);
  EXPECT_EQ(again->type, Operation::Type::kRetrain);
  EXPECT_EQ(again->end_time, absl::InfiniteFuture());
}

TEST(OperationRecord, OutcomesOfRetrainsStandBehindTheParts) {
  Operation::Info info = Example();
  const std::string without = EncodeOperation(info);
  info.parts[1].outcome = {.kind = Operation::Outcome::Kind::kRejected,
                           .reason = "finds less",
                           .recall_before = 0.961234,
                           .recall_after = 0.9,
                           .rows_before = 10'000,
                           .rows_after = 9'000};
  const std::string bytes = EncodeOperation(info);
  EXPECT_TRUE(bytes.starts_with(without));  // as an earlier program wrote it
  const auto read = DecodeOperation("c", 7, bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->parts[0].outcome, Operation::Outcome());
  const Operation::Outcome& outcome = read->parts[1].outcome;
  EXPECT_EQ(outcome.kind, Operation::Outcome::Kind::kRejected);
  EXPECT_EQ(outcome.reason, "finds less");
  EXPECT_NEAR(outcome.recall_before, 0.961234, 1e-9);
  EXPECT_EQ(outcome.rows_after, 9'000);
  for (size_t size = without.size() + 1; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeOperation("c", 7, bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(OperationRecord, DamageIsToldApart) {
  const std::string good = EncodeOperation(Example());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(DecodeOperation("c", 7, good.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_FALSE(DecodeOperation("c", 7, good + "x").ok());
  std::string type = good;
  type[6] = 9;  // behind the id of 5 bytes and its length
  const absl::Status status = DecodeOperation("c", 7, type).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("operation 7 of collection `c`"));
}

TEST(OperationRecord, KeepsWhatATuningMeasured) {
  for (const bool outcomes : {false, true}) {
    Operation::Info info = Example();
    info.type = Operation::Type::kTune;
    if (outcomes) {
      info.parts[0].outcome = {.kind = Operation::Outcome::Kind::kPublished, .recall_after = 0.5};
    }
    TuningResult tuning;
    tuning.points = {{.breadth = 3,
                      .recall = 0.875,
                      .error = 0.25,
                      .p50 = absl::Nanoseconds(1'500),
                      .p99 = absl::Seconds(2),
                      .rows_scanned = 120},
                     {.recall = 1, .exact = true}};
    tuning.recommended = 1;
    tuning.target = 0.9375;
    tuning.queries = 100;
    tuning.live_queries = 40;
    tuning.share = 0.5;
    info.tuning = std::make_shared<const TuningResult>(tuning);
    const std::string bytes = EncodeOperation(info);
    const auto read = DecodeOperation("c", 7, bytes);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->type, Operation::Type::kTune);
    EXPECT_EQ(read->parts[0].outcome, info.parts[0].outcome);
    ASSERT_NE(read->tuning, nullptr);
    EXPECT_EQ(*read->tuning, tuning);
    for (size_t n = 1; n < 20; ++n) {
      EXPECT_FALSE(DecodeOperation("c", 7, bytes.substr(0, bytes.size() - n)).ok()) << n;
    }
    tuning.recommended = 2;  // of two points
    info.tuning = std::make_shared<const TuningResult>(tuning);
    EXPECT_FALSE(DecodeOperation("c", 7, EncodeOperation(info)).ok());
  }
}

}  // namespace
}  // namespace vecino::engine
