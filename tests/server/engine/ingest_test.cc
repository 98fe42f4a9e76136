// Streams of writes: order, faults, and taking them up again.
#include "server/engine/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/engine/ingest_tokens.h"
#include "server/engine/shard_marks.h"
#include "server/engine/shard_of.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class IngestTest : public EngineTest {
 protected:
  std::unique_ptr<IngestStream> OpenStream(std::string_view token,
                                           Truncate truncate = Truncate::kAuto) {
    auto stream = engine_->OpenIngest("c", token, truncate);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? *std::move(stream) : nullptr;
  }
  static IngestWrite Write(uint64_t item, const std::string& id, const std::string& text) {
    IngestWrite write;
    write.item = item;
    write.write = Text(id, text);
    return write;
  }
  static IngestWrite Erase(uint64_t item, const std::string& id) {
    IngestWrite write;
    write.item = item;
    write.erase = true;
    write.write.document.id = id;
    return write;
  }
  // Prepares and commits.
  static absl::Status Do(IngestStream& stream, std::vector<IngestWrite>* writes,
                         uint64_t done_through = 0) {
    absl::Status status = stream.Prepare(absl::MakeSpan(*writes), {});
    if (status.ok()) status = stream.Commit(absl::MakeSpan(*writes), done_through, {});
    return status;
  }
  static std::vector<IngestWrite> Done(IngestStream& stream, std::vector<IngestWrite> writes,
                                       uint64_t done_through = 0) {
    const absl::Status status = Do(stream, &writes, done_through);
    EXPECT_TRUE(status.ok()) << status;
    for (const IngestWrite& write : writes) EXPECT_TRUE(write.settled) << write.item;
    return writes;
  }
  std::string TextOf(const std::string& id) {
    const auto found = engine_->Get("c", std::vector<std::string>{id}, {}, kNoLimit);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->front().has_value() ? found->front()->text : "(none)";
  }
  uint64_t VersionOf(const std::string& id) {
    const auto found = engine_->Get("c", std::vector<std::string>{id}, {}, kNoLimit);
    return found.ok() && found->front().has_value() ? found->front()->sequence : 0;
  }
  // Ids of shard 0 and 1 of two.
  static std::string IdOf(int shard, int number) {
    for (int i = 0;; ++i) {
      std::string id = absl::StrCat(i);
      if (ShardOf(id, 2) == shard && number-- == 0) return id;
    }
  }
};

TEST_F(IngestTest, WritesAndDeletesOfOneIdKeepTheirOrder) {
  Create("c");
  const auto stream = OpenStream("");
  EXPECT_EQ(stream->done_through(), 0u);
  const auto writes = Done(*stream, {Write(1, "a", "one"), Write(2, "b", "two"), Erase(3, "a"),
                                     Erase(4, "a"), Write(7, "a", "three"), Erase(8, "b")});
  EXPECT_TRUE(writes[0].result.status.ok());
  EXPECT_EQ(writes[3].result.status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(writes[4].result.token.sequence, 0u);
  EXPECT_EQ(TextOf("a"), "three");
  EXPECT_EQ(TextOf("b"), "(none)");
  EXPECT_EQ(FindText("c", "three"), std::vector<std::string>{"a"});
  EXPECT_EQ(*engine_->Count("c", ""), 1);
  EXPECT_TRUE(store_.shard(1, 0)->marks.empty());  // nobody asked for them
}

TEST_F(IngestTest, FaultsOfItemsAreTheirsOnly) {
  Create("c");
  const auto stream = OpenStream("t", Truncate::kError);
  std::vector<IngestWrite> items = {Write(1, "", "no id"), Write(2, "a", "fine"),
                                    Write(3, "b", "a text that is far too long"),
                                    Write(4, "c", "")};
  items.push_back(Write(5, "d", ""));
  items.back().write.document.vector = {1, 2};  // not of the dimension
  items.push_back(Write(6, "e", "already"));
  items.back().result.status = absl::InvalidArgumentError("seen by the caller");
  items.back().settled = true;
  const auto writes = Done(*stream, std::move(items));
  EXPECT_EQ(FieldOf(writes[0].result.status), "documents[0].id");
  EXPECT_TRUE(writes[1].result.status.ok());
  EXPECT_EQ(FieldOf(writes[2].result.status), "documents[2].text");
  EXPECT_TRUE(writes[3].result.status.ok());  // stored without a vector
  EXPECT_EQ(FieldOf(writes[4].result.status), "documents[4].vector");
  EXPECT_EQ(writes[5].result.status.message(), "seen by the caller");
  EXPECT_EQ(*engine_->Count("c", ""), 2);
}

TEST_F(IngestTest, ConditionsHoldWithinTheStreamAndAreAnsweredTheSameAgain) {
  Create("c");
  std::vector<IngestWrite> items = {Write(1, "a", "one"), Write(2, "a", "two"),
                                    Write(3, "b", "three")};
  for (IngestWrite& item : items) item.write.mode = WriteMode::kInsert;
  items[2].write.mode = WriteMode::kReplace;
  items.push_back(Write(4, "e", "expires"));
  items.back().write.document.expire_time_us = 1;  // long ago
  items.push_back(Write(5, "m", "metadata"));
  items.back().write.document.metadata = R"({"year": 2020})";
  const auto check = [](const std::vector<IngestWrite>& writes) {
    EXPECT_TRUE(writes[0].result.status.ok());
    EXPECT_EQ(writes[1].result.status.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(writes[2].result.status.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(writes[3].result.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(writes[4].result.status.ok());
  };
  check(Done(*OpenStream("t"), items));
  EXPECT_EQ(TextOf("a"), "one");
  EXPECT_EQ(*engine_->Count("c", "year = 2020"), 1);
  Reopen();
  check(Done(*OpenStream("t"), items));
  EXPECT_EQ(*engine_->Count("c", ""), 2);
}

TEST_F(IngestTest, WhatWasDoneIsAnsweredAndNotDoneAgain) {
  Create("c");
  const std::vector<IngestWrite> items = {Write(1, IdOf(0, 0), "one"), Erase(2, IdOf(1, 1)),
                                          Write(3, IdOf(1, 0), "three"), Erase(4, IdOf(0, 1)),
                                          Write(5, IdOf(0, 1), "five")};
  Done(*OpenStream("t"), items);
  const uint64_t version = VersionOf(IdOf(0, 1));
  Reopen();
  // All of them were written with one commit, before which nothing was done everywhere; the lesser
  // of the shards' marks is item 3's.
  const auto stream = OpenStream("t");
  EXPECT_EQ(stream->done_through(), 3u);
  const int64_t embedded = encoder_.embedded;
  auto again = Done(*stream, items);
  EXPECT_EQ(encoder_.embedded, embedded);
  for (const size_t i : {0, 2, 4}) {
    EXPECT_TRUE(again[i].result.status.ok());
    EXPECT_EQ(again[i].result.token.sequence, 0u);
  }
  // Item 4 was deleted in vain before item 5 wrote the id; done again it would take item 5 away.
  EXPECT_EQ(again[3].result.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(again[1].result.status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(again[3].result.status.message()), HasSubstr("sent before"));
  EXPECT_EQ(VersionOf(IdOf(0, 1)), version);
  // What follows is done.
  again = Done(*stream, {Write(6, IdOf(0, 1), "six")}, 5);
  EXPECT_NE(again[0].result.token.sequence, 0u);
  EXPECT_EQ(TextOf(IdOf(0, 1)), "six");
}

TEST_F(IngestTest, FailuresAloneAreRememberedOverARestart) {
  Create("c");
  const std::string there = IdOf(0, 0), other = IdOf(1, 0);
  Put("c", there, "before");
  {
    const auto stream = OpenStream("t");
    std::vector<IngestWrite> first = {Write(1, there, "again")};
    first[0].write.mode = WriteMode::kInsert;
    first = Done(*stream, std::move(first));
    EXPECT_EQ(first[0].result.status.code(), absl::StatusCode::kAlreadyExists);
    // The other shard's mark says that item 1 is done.
    Done(*stream, {Write(2, other, "text")}, 1);
  }
  Reopen();
  Delete("c", there);
  const auto stream = OpenStream("t");
  EXPECT_GE(stream->done_through(), 1u);
  std::vector<IngestWrite> again = {Write(1, there, "again")};
  again[0].write.mode = WriteMode::kInsert;
  again = Done(*stream, std::move(again));
  EXPECT_EQ(again[0].result.status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(TextOf(there), "(none)");
}

TEST_F(IngestTest, DoneThroughKnowsWhatWasAnsweredThoughAShardGotNothingSince) {
  Create("c");
  {
    const auto stream = OpenStream("t");
    Done(*stream, {Write(1, IdOf(1, 0), "one")});
    Done(*stream, {Write(2, IdOf(0, 0), "two")}, 1);
    Done(*stream, {Write(3, IdOf(0, 1), "three")}, 2);
  }
  Reopen();
  EXPECT_EQ(OpenStream("t")->done_through(), 2u);
  EXPECT_EQ(OpenStream("other")->done_through(), 0u);
}

TEST_F(IngestTest, AShardThatIsFullIsTriedAgainWhileTheOtherIsDone) {
  Create("c");
  const auto stream = OpenStream("t");
  std::vector<IngestWrite> writes = {Write(1, IdOf(0, 0), "one"), Write(2, IdOf(1, 0), "two"),
                                     Write(3, IdOf(0, 1), "three"), Erase(4, IdOf(0, 2))};
  int appends = 0;
  store_.fault = [&](std::string_view operation) {
    if (operation != "Append" || appends++ > 0) return absl::OkStatus();
    return absl::ResourceExhaustedError("disk full");
  };
  EXPECT_EQ(Do(*stream, &writes).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(writes[0].settled);
  EXPECT_TRUE(writes[1].settled);
  EXPECT_FALSE(writes[3].settled);
  const uint64_t version = VersionOf(IdOf(1, 0));
  const absl::Status status = stream->Commit(absl::MakeSpan(writes), 0, {});
  ASSERT_TRUE(status.ok()) << status;
  for (const IngestWrite& write : writes) EXPECT_TRUE(write.settled);
  EXPECT_EQ(writes[3].result.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(TextOf(IdOf(0, 1)), "three");
  EXPECT_EQ(VersionOf(IdOf(1, 0)), version);
  EXPECT_EQ(store_.shard(1, 0)->marks["t"].through, 4u);
}

TEST_F(IngestTest, AFullEncoderChangesNothing) {
  Create("c");
  const auto stream = OpenStream("t");
  std::vector<IngestWrite> writes = {Write(1, "a", "one"), Write(2, "", "no id"), Erase(3, "x")};
  encoder_.fail = absl::ResourceExhaustedError("the queue is full");
  EXPECT_EQ(stream->Prepare(absl::MakeSpan(writes), {}), encoder_.fail);
  EXPECT_FALSE(writes[0].settled);
  encoder_.fail = absl::OkStatus();
  writes = Done(*stream, std::move(writes));
  EXPECT_EQ(TextOf("a"), "one");
}

TEST_F(IngestTest, CallsThatAreOverDoNothing) {
  Create("c");
  const auto stream = OpenStream("t");
  std::vector<IngestWrite> writes = {Write(1, "a", "one")};
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(stream->Prepare(absl::MakeSpan(writes), {.stop = stop.get_token()}).code(),
            absl::StatusCode::kCancelled);
  ASSERT_TRUE(stream->Prepare(absl::MakeSpan(writes), {}).ok());
  ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  EXPECT_EQ(stream->Commit(absl::MakeSpan(writes), 0, {}).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(writes[0].settled);
}

TEST_F(IngestTest, OneStreamHasATokenAtATimeAndFinishForgetsIt) {
  Create("c");
  {
    auto stream = OpenStream("t");
    Done(*stream, {Write(1, "a", "one")});
    EXPECT_EQ(engine_->OpenIngest("c", "t", Truncate::kAuto).status().code(),
              absl::StatusCode::kAborted);
    EXPECT_TRUE(stream->Finish().ok());
  }
  EXPECT_EQ(OpenStream("t")->done_through(), 0u);
  Reopen();
  EXPECT_EQ(OpenStream("t")->done_through(), 0u);
  EXPECT_EQ(FieldOf(engine_->OpenIngest("c", std::string(129, 't'), Truncate::kAuto).status()),
            "start.resume_token");
  EXPECT_EQ(engine_->OpenIngest("nobody", "t", Truncate::kAuto).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(IngestTest, TheTokenUsedLongestAgoIsForgotten) {
  Create("c");
  const int most = static_cast<int>(IngestTokens::kMaxTokens);
  for (int i = 0; i < most; ++i) {
    Done(*OpenStream(absl::StrCat("t", i)), {Write(1, absl::StrCat("d", i), "x")});
  }
  const auto first = OpenStream("t0");  // used again, and in use
  Done(*OpenStream("one more"), {Write(1, "more", "x")});
  size_t marks = 0;
  bool has_t1 = false;
  for (const uint32_t shard : {0u, 1u}) {
    marks += store_.shard(1, shard)->marks.size();
    has_t1 = has_t1 || store_.shard(1, shard)->marks.contains("t1");
  }
  EXPECT_EQ(marks, static_cast<size_t>(most));
  EXPECT_FALSE(has_t1);
}

TEST(IngestTokensTest, RefusesMoreOpenOnesThanThereIsRoomFor) {
  IngestTokens tokens;
  std::string forget;
  for (size_t i = 0; i < IngestTokens::kMaxTokens; ++i) {
    ASSERT_TRUE(tokens.Open(absl::StrCat(i), static_cast<int64_t>(i), &forget).ok());
    EXPECT_EQ(forget, "");
  }
  EXPECT_EQ(tokens.Open("more", 0, &forget).code(), absl::StatusCode::kResourceExhausted);
  tokens.Close("7", true, 1000);
  tokens.Close("8", true, 900);
  EXPECT_TRUE(tokens.Open("more", 0, &forget).ok());
  EXPECT_EQ(forget, "8");
  tokens.Close("more", false, 0);
  EXPECT_TRUE(tokens.Open("another", 0, &forget).ok());
  EXPECT_EQ(forget, "");
}

TEST(ShardMarksTest, FailuresAreBoundedTheOldestGoFirst) {
  storage::Mark mark;
  for (uint64_t item = 1; item <= storage::Mark::kMaxFailures + 10; ++item) {
    AddToMark(item, item % 2 == 0 ? 0 : 5, &mark);
    AddToMark(++item, 3, &mark);
  }
  EXPECT_LE(mark.failures.size(), storage::Mark::kMaxFailures);
  EXPECT_EQ(RememberedStatus(mark, mark.through).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(RememberedStatus(mark, mark.through + 1).ok());
}

}  // namespace
}  // namespace vecino::engine
