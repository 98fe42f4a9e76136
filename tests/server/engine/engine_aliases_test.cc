// Aliases, events and what a restart keeps, through the engine's door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class EngineAliasesTest : public EngineTest {
 protected:
  // "message" of every event so far.
  static std::string Told(EventBus::Watcher& watcher) {
    std::string all;
    while (const auto next = watcher.Take()) {
      absl::StrAppend(&all, next->event.collection, ": ", next->event.message, "\n");
    }
    return all;
  }
};

TEST_F(EngineAliasesTest, StandForTheirCollectionEverywhere) {
  Create("a");
  Create("b");
  Put("a", "1", "in a");
  Put("b", "1", "in b");
  const auto made = engine_->CreateAlias("x", "a");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->target, "a");
  EXPECT_EQ(made->create_time, made->update_time);
  EXPECT_EQ(engine_->AliasTarget("x"), "a");
  EXPECT_EQ(engine_->AliasTarget("a"), std::nullopt);
  EXPECT_EQ(engine_->GetCollection("x")->spec.id, "a");
  EXPECT_EQ(*engine_->Count("x"), 1);
  EXPECT_EQ(FindText("x", "in a", 1), std::vector<std::string>{"1"});
  EXPECT_TRUE(Put("x", "2", "by alias").status.ok());
  EXPECT_EQ(*engine_->Count("a"), 2);
  EXPECT_TRUE(Delete("x", "2").status.ok());
  const auto started = engine_->StartOperation("x", Operation::Type::kCompact, {});
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->collection, "a");
  EXPECT_TRUE(engine_->GetOperation("a", started->id).ok());
  EXPECT_TRUE(engine_->GetOperation("x", started->id).ok());

  const auto moved = engine_->UpdateAlias({.id = "x", .target = "b", .expected_target = "a"});
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(moved->target, "b");
  EXPECT_EQ(moved->create_time, made->create_time);
  EXPECT_GE(moved->update_time, made->update_time);
  EXPECT_EQ(engine_->GetCollection("x")->spec.id, "b");
  EXPECT_EQ(engine_->GetOperation("x", started->id).status().code(), absl::StatusCode::kNotFound);

  Reopen();
  EXPECT_EQ(engine_->GetCollection("x")->spec.id, "b");
  EXPECT_EQ(engine_->GetAlias("x")->create_time, made->create_time);
  EXPECT_EQ(engine_->GetAlias("x")->update_time, moved->update_time);
  ASSERT_TRUE(engine_->DeleteAlias("x").ok());
  EXPECT_EQ(engine_->GetCollection("x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->DeleteAlias("x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->GetAlias("x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->ListAliases().empty());
}

TEST_F(EngineAliasesTest, WhatIsRefused) {
  Create("a");
  Create("b");
  ASSERT_TRUE(engine_->CreateAlias("x", "a").ok());
  EXPECT_EQ(engine_->CreateAlias("x", "b").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(engine_->CreateAlias("b", "a").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FieldOf(engine_->CreateAlias("No", "a").status()), "alias_id");
  EXPECT_EQ(engine_->CreateAlias("y", "none").status().code(), absl::StatusCode::kNotFound);
  const absl::Status of_alias = engine_->CreateAlias("y", "x").status();
  EXPECT_EQ(of_alias.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(of_alias.message()), HasSubstr("name collection `a` itself"));

  CollectionSpec spec;
  spec.id = "x";
  spec.dimension = kDimension;
  for (const bool validate_only : {true, false}) {
    EXPECT_EQ(engine_->CreateCollection(spec, validate_only).status().code(),
              absl::StatusCode::kAlreadyExists);
  }
  EXPECT_EQ(engine_->DeleteCollection("x", "").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(engine_->CreateAlias("w", "a").ok());
  const absl::Status used = engine_->DeleteCollection("a", "");
  EXPECT_EQ(used.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(used.message()), HasSubstr("`w`, `x`"));
  EXPECT_TRUE(Put("a", "1", "still taken").status.ok());

  const absl::Status aborted =
      engine_->UpdateAlias({.id = "x", .target = "b", .expected_target = "b"}).status();
  EXPECT_EQ(aborted.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(aborted.message()), HasSubstr("points to collection `a`"));
  EXPECT_EQ(engine_->UpdateAlias({.id = "x", .target = "none"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->GetAlias("x")->target, "a");
  EXPECT_EQ(engine_->UpdateAlias({.id = "new", .target = "b"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(
      engine_
          ->UpdateAlias({.id = "new", .target = "b", .expected_target = "a", .allow_missing = true})
          .status()
          .code(),
      absl::StatusCode::kAborted);
  ASSERT_TRUE(engine_->UpdateAlias({.id = "new", .target = "b", .allow_missing = true}).ok());
  EXPECT_EQ(engine_->ListAliases().size(), 3u);
  EXPECT_EQ(engine_->ListAliases()[0].id, "new");
}

TEST_F(EngineAliasesTest, AStoreThatRefusesLeavesItAsItWas) {
  Create("a");
  Create("b");
  ASSERT_TRUE(engine_->CreateAlias("x", "a").ok());
  store_.fault = [](std::string_view operation) {
    return operation.ends_with("Alias") ? absl::UnavailableError("disk") : absl::OkStatus();
  };
  EXPECT_EQ(engine_->UpdateAlias({.id = "x", .target = "b"}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->CreateAlias("y", "b").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->DeleteAlias("x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->GetCollection("x")->spec.id, "a");
  EXPECT_EQ(engine_->ListAliases().size(), 1u);
}

// Searches see the one collection or the other, never none.
TEST_F(EngineAliasesTest, ASwapIsSeenWholeOrNotAtAll) {
  Create("a");
  Create("b");
  Put("a", "in-a", "text");
  Put("b", "in-b", "text");
  ASSERT_TRUE(engine_->CreateAlias("x", "a").ok());
  std::atomic<bool> done{false};
  std::atomic<int> seen[2] = {0, 0};
  std::thread searcher([&] {
    while (!done.load()) {
      const auto ids = FindText("x", "text");
      ASSERT_EQ(ids.size(), 1u);
      ++seen[ids[0] == "in-a" ? 0 : 1];
    }
  });
  for (int i = 0; i < 300 || seen[0] == 0 || seen[1] == 0; ++i) {
    const bool to_b = i % 2 == 0;
    ASSERT_TRUE(
        engine_
            ->UpdateAlias(
                {.id = "x", .target = to_b ? "b" : "a", .expected_target = to_b ? "a" : "b"})
            .ok());
  }
  done = true;
  searcher.join();
}

TEST_F(EngineAliasesTest, EventsAreTold) {
  auto all = engine_->WatchEvents("");
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(engine_->WatchEvents("none").status().code(), absl::StatusCode::kNotFound);
  Create("a");
  Create("b");
  auto of_b = engine_->WatchEvents("b");
  ASSERT_TRUE(of_b.ok());
  ASSERT_TRUE(engine_->CreateAlias("x", "a").ok());
  ASSERT_TRUE(engine_->UpdateAlias({.id = "x", .target = "b"}).ok());
  for (int i = 0; i < 40; ++i) Put("b", absl::StrCat(i), absl::StrCat("text ", i));
  const auto started = engine_->StartOperation("x", Operation::Type::kCompact, {});
  ASSERT_TRUE(started.ok());
  for (bool done = false; !done;) {
    done = engine_->WaitOperation("b", started->id, absl::Seconds(10), {})->done;
  }
  ASSERT_TRUE(engine_->DeleteAlias("x").ok());
  ASSERT_TRUE(engine_->DeleteCollection("b", "").ok());
  const std::string b = Told(**of_b);
  EXPECT_THAT(b, HasSubstr("b: alias `x` points to collection `b`; before: `a`"));
  EXPECT_THAT(b, HasSubstr("b: drained "));
  EXPECT_THAT(b, HasSubstr("rows of the tail into a segment"));
  EXPECT_THAT(b, HasSubstr(absl::StrCat("b: compact (operation ", started->id,
                                        ") was asked for, over 2 shards")));
  EXPECT_THAT(b, HasSubstr(absl::StrCat("compact (operation ", started->id, ") is done; took")));
  EXPECT_THAT(b, HasSubstr("alias `x` of collection `b` was deleted"));
  EXPECT_THAT(b, HasSubstr("b: collection `b` was deleted"));
  EXPECT_THAT(b, testing::Not(HasSubstr("a: ")));
  const std::string everything = Told(**all);
  EXPECT_THAT(everything, HasSubstr("a: collection `a` was created"));
  EXPECT_THAT(everything, HasSubstr("a: alias `x` was created and points to collection `a`"));
  EXPECT_THAT(everything, HasSubstr("a: alias `x` points to collection `b`; before: `a`"));
  all->reset();
  of_b->reset();
}

TEST_F(EngineAliasesTest, AFailureOfMaintenanceIsAnEvent) {
  Create("a", 1);
  auto watcher = engine_->WatchEvents("a");
  ASSERT_TRUE(watcher.ok());
  std::atomic<bool> broken{true};
  store_.fault = [&](std::string_view operation) {
    return operation == "PutManifest" && broken.load() ? absl::UnavailableError("disk")
                                                       : absl::OkStatus();
  };
  for (int i = 0; i < 40; ++i) Put("a", absl::StrCat(i), absl::StrCat("text ", i));
  std::string told;
  while (told.find("maintenance failed and is tried again: UNAVAILABLE: disk") ==
         std::string::npos) {
    told += Told(**watcher);
    std::this_thread::yield();
  }
  broken = false;
  watcher->reset();
  engine_.reset();  // before `broken`
}

TEST_F(EngineAliasesTest, OperationsThatAreDoneAreThereAfterARestart) {
  Create("a");
  Put("a", "1", "text");
  const auto started = engine_->StartOperation("a", Operation::Type::kCompact, {});
  ASSERT_TRUE(started.ok());
  absl::StatusOr<Operation::Info> before = started;
  while (!before->done) {
    before = engine_->WaitOperation("a", started->id, absl::Seconds(10), {});
    ASSERT_TRUE(before.ok());
  }
  Reopen();
  const auto after = engine_->GetOperation("a", started->id);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(after->done);
  EXPECT_TRUE(after->status.ok()) << after->status;
  EXPECT_EQ(absl::ToUnixMicros(after->end_time), absl::ToUnixMicros(before->end_time));
  EXPECT_EQ(after->parts.size(), 2u);
  EXPECT_TRUE(engine_->WaitOperation("a", started->id, absl::Hours(1), {})->done);
  const auto next = engine_->StartOperation("a", Operation::Type::kCompact, {});
  ASSERT_TRUE(next.ok());
  EXPECT_NE(next->id, started->id);
  const auto listed = engine_->ListOperations("a", "", 10);
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ((*listed)[0].id, started->id);
  EXPECT_EQ(engine_->ListOperations("a", started->id, 10)->size(), 1u);
  ASSERT_TRUE(engine_->DeleteOperation("a", started->id).ok());
  Reopen();
  EXPECT_EQ(engine_->GetOperation("a", started->id).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(engine_->DeleteCollection("a", "").ok());
  EXPECT_TRUE(store_.operations().empty());
}

TEST_F(EngineAliasesTest, OneThatWasCutShortIsDoneWithAborted) {
  Create("a", 1);
  // What was written down before the first of its end.
  int written = 0;
  std::map<std::pair<uint32_t, uint64_t>, std::string> at_start;
  store_.fault = [&](std::string_view operation) {
    if (operation == "PutOperation" && ++written == 2) at_start = store_.operations();
    return absl::OkStatus();
  };
  const auto started = engine_->StartOperation("a", Operation::Type::kCompact, {});
  ASSERT_TRUE(started.ok());
  while (!engine_->WaitOperation("a", started->id, absl::Seconds(10), {})->done) {
  }
  engine_.reset();
  store_.fault = nullptr;
  ASSERT_EQ(at_start.size(), 1u);
  store_.operations() = at_start;  // as a kill in between would leave it
  Reopen();
  for (int i = 0; i < 2; ++i, Reopen()) {
    const auto info = engine_->GetOperation("a", started->id);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_TRUE(info->done);
    EXPECT_EQ(info->status.code(), absl::StatusCode::kAborted);
    EXPECT_THAT(std::string(info->status.message()), HasSubstr("restarted"));
    EXPECT_EQ(info->parts[0].stage, "failed");
  }
  EXPECT_TRUE(engine_->StartOperation("a", Operation::Type::kCompact, {}).ok());
}

TEST_F(EngineAliasesTest, OneThatCannotBeWrittenDownDoesNotBegin) {
  Create("a");
  store_.fault = [](std::string_view operation) {
    return operation == "PutOperation" ? absl::ResourceExhaustedError("disk full")
                                       : absl::OkStatus();
  };
  EXPECT_EQ(engine_->StartOperation("a", Operation::Type::kCompact, {}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine_->ListOperations("a", "", 10)->empty());
  store_.fault = nullptr;
  EXPECT_TRUE(engine_->StartOperation("a", Operation::Type::kCompact, {}).ok());
}

TEST_F(EngineAliasesTest, ARecordThatCannotBeReadIsDropped) {
  Create("a");
  engine_.reset();
  store_.operations()[{1, 5}] = "what is this";
  Reopen();
  EXPECT_TRUE(engine_->ListOperations("a", "", 10)->empty());
  EXPECT_TRUE(store_.operations().empty());
}

}  // namespace
}  // namespace vecino::engine
