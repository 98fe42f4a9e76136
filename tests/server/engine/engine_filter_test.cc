// Filters over documents' metadata, through the engine: compared with a plain map.
#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/engine/filter_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(EngineFilterTest, AgreesWithAMapThroughMaintenanceAndRestarts) {
  for (int round = 0; round < 4; ++round) {
    Write(1200);
    CheckSome(15);
    absl::SleepFor(absl::Milliseconds(50));
    CheckSome(5);
    Reopen();
    CheckSome(10);
  }
  const auto stats = engine_->GetCollectionStats("c");
  ASSERT_TRUE(stats.ok());
  int64_t live = 0;
  for (const ShardStats& shard : stats->shards) live += shard.live_documents;
  EXPECT_EQ(live, static_cast<int64_t>(oracle_.size()));
}

TEST_F(EngineFilterTest, LostAndDamagedFilesAreReadFromTheStore) {
  Write(3000);
  absl::SleepFor(absl::Milliseconds(300));
  engine_->Shutdown();
  engine_.reset();
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
    if (entry.path().filename().string().rfind("fields-", 0) != 0) continue;
    if (++files % 2 == 0) {
      std::filesystem::remove(entry.path());
    } else {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(5000);
      file.put('x');
      file.put('y');
    }
  }
  EXPECT_GT(files, 0);
  Reopen();
  CheckSome(10);
  engine_->Shutdown();
  engine_.reset();
  std::filesystem::remove_all(folder_);
  Reopen();
  CheckSome(10);
}

TEST_F(EngineFilterTest, ErrorsNameFilterAndColumn) {
  Write(50);
  const absl::Status status = engine_->Count("c", "year >").status();
  EXPECT_EQ(FieldOf(status), "filter");
  EXPECT_THAT(std::string(status.message()), HasSubstr("column 7"));
  EXPECT_EQ(FieldOf(engine_->Count("c", "lang = 3").status()), "filter");
  SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension)}};
  request.filter = "((";
  EXPECT_EQ(FieldOf(engine_->Search("c", request, {}).status()), "filter");
  EXPECT_EQ(FieldOf(engine_->List("c", {}, 10, kNoLimit, {}, "x y").status()), "filter");
  EXPECT_EQ(FieldOf(engine_->Count("c", "a = \"\xff\"").status()), "filter");
}

TEST_F(EngineFilterTest, AFilterIsAtHandOnceASearchHadIt) {
  Write(1000);
  const std::string filter = "year > 2000";
  EXPECT_TRUE(engine_->IsSearchShort("c", ""));
  EXPECT_FALSE(engine_->IsSearchShort("c", filter));
  EXPECT_FALSE(engine_->IsSearchShort("c", "(("));
  SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension)}};
  request.filter = filter;
  ASSERT_TRUE(engine_->Count("c", filter).ok());  // its text is known, not what it lets pass
  EXPECT_FALSE(engine_->IsSearchShort("c", filter));
  // Maintenance may put other segments in the place of those that a search saw.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_TRUE(engine_->Search("c", request, {}).ok());
    return engine_->IsSearchShort("c", filter);
  }));
  EXPECT_FALSE(engine_->IsSearchShort("c", "year > 2001"));
  EXPECT_TRUE(engine_->IsSearchShort("none", filter));  // it fails soon
}

TEST_F(EngineFilterTest, ABadFilterIsRefusedBeforeAnythingIsEmbedded) {
  Create("t", 2, Metric::kL2, "fake");
  DocumentWrite write = Text("a", "text");
  write.document.metadata = R"({"year":2020})";
  Upsert("t", {write});
  const int64_t before = encoder_.embedded;
  for (const std::string filter : {"year >", "year = \"2020\"", "a = \"\xff\""}) {
    SearchRequest text{.query = TextQuery{"query"}};
    text.filter = filter;
    EXPECT_EQ(FieldOf(engine_->Search("t", text, {}).status()), "filter") << filter;
    SearchRequest sum{.query = ExpressionQuery{.terms = {{.term = TextQuery{"query"}}}}};
    sum.filter = filter;
    EXPECT_EQ(FieldOf(engine_->Search("t", sum, {}).status()), "filter") << filter;
    SearchRequest both{.query = HybridQuery{.dense = TextQuery{"query"}, .words = "query"}};
    both.filter = filter;
    EXPECT_EQ(FieldOf(engine_->Search("t", both, {}).status()), "filter") << filter;
    const std::vector<SearchRequest> requests = {text, sum};
    const auto batch = engine_->SearchBatch("t", requests, kNoLimit, {});
    ASSERT_TRUE(batch.ok()) << batch.status();
    for (const auto& one : *batch) EXPECT_EQ(FieldOf(one.status()), "filter") << filter;
  }
  EXPECT_EQ(encoder_.embedded, before);
  SearchRequest good{.query = TextQuery{"query"}};
  good.filter = "year = 2020";
  EXPECT_EQ(Find("t", good).size(), 1u);
  EXPECT_EQ(encoder_.embedded, before + 1);
  // Beside a bad one in a batch, too.
  SearchRequest bad = good;
  bad.filter = "(";
  const auto batch = engine_->SearchBatch("t", std::vector<SearchRequest>{bad, good}, kNoLimit, {});
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(FieldOf((*batch)[0].status()), "filter");
  EXPECT_TRUE((*batch)[1].ok());
  EXPECT_EQ(encoder_.embedded, before + 2);
}

// A search that found fewer than top_k has found all when those that are left have no vector or
// have expired.
TEST_F(EngineFilterTest, OnlyWhatASearchCanFindIsLookedForAgain) {
  std::atomic<int64_t> now_us = 1'700'000'000'000'000;
  options_.clock = [&] { return absl::FromUnixMicros(now_us); };
  Reopen();
  Create("v", 1, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 300; ++i) {
    DocumentWrite write = Vector(std::to_string(i), std::vector<float>(kDimension, 1));
    if (i >= 10 && i < 20) write.document.vector.clear();
    if (i >= 20 && i < 30) write.ttl_us = 1'000'000;
    write.document.metadata = i < 30 ? R"({"a":true})" : R"({"a":false})";
    writes.push_back(std::move(write));
  }
  Upsert("v", std::move(writes));
  SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension)}, .top_k = 25};
  request.filter = "a = true";
  EXPECT_EQ(Find("v", request).size(), 20u);
  EXPECT_EQ(*engine_->Count("v", request.filter), 30);
  EXPECT_EQ(metrics_.Value("vecino_search_filter_rescans_total"), 0);
  now_us += 2'000'000;
  EXPECT_EQ(Find("v", request).size(), 10u);
  EXPECT_EQ(metrics_.Value("vecino_search_filter_rescans_total"), 0);
  engine_.reset();  // before the clock
}

TEST_F(EngineFilterTest, CountsValues) {
  Create("v", 2, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 600; ++i) {
    DocumentWrite write = Vector(absl::StrCat(i), std::vector<float>(kDimension, 1));
    write.document.metadata = absl::StrCat(R"({"n":)", i % 3, R"(,"s":")",
                                           i % 2 == 0 ? "even" : "odd", R"(","all":)", i, "}");
    writes.push_back(std::move(write));
  }
  Upsert("v", std::move(writes));
  const std::vector<std::string> fields = {"n", "s", "all", "none"};
  const auto facets = engine_->CountValues("v", fields, "n != 2", 2);
  ASSERT_TRUE(facets.ok()) << facets.status();
  ASSERT_EQ(facets->size(), 4u);
  EXPECT_EQ((*facets)[0].documents, 400);
  EXPECT_EQ((*facets)[0].distinct_values, 2);
  EXPECT_EQ((*facets)[0].values[0].count, 200);
  EXPECT_EQ(std::get<double>((*facets)[0].values[0].value), 0);
  EXPECT_EQ(std::get<std::string>((*facets)[1].values[0].value), "even");
  EXPECT_EQ((*facets)[2].distinct_values, 400);
  EXPECT_EQ((*facets)[2].values.size(), 2u);
  EXPECT_EQ((*facets)[3].documents, 0);
  EXPECT_EQ(FieldOf(engine_->CountValues("v", std::vector<std::string>{"a b"}, "", 2).status()),
            "fields[0]");
  EXPECT_EQ(FieldOf(engine_->CountValues("v", fields, "", 0).status()), "limit");
  EXPECT_EQ(FieldOf(engine_->CountValues("v", {}, "", 1).status()), "fields");
}

TEST_F(EngineFilterTest, PurgesAndPatchesWhatPasses) {
  Write(2000);
  const auto wait = [&](const absl::StatusOr<Operation::Info>& started) {
    EXPECT_TRUE(started.ok()) << started.status();
    if (!started.ok()) return int64_t{-1};
    for (int i = 0; i < 100; ++i) {
      const auto now = engine_->WaitOperation("c", started->id, absl::Seconds(1), {});
      EXPECT_TRUE(now.ok()) << now.status();
      if (!now.ok()) return int64_t{-1};
      if (!now->done) continue;
      EXPECT_TRUE(now->status.ok()) << now->status;
      int64_t documents = 0;
      for (const Operation::Part& part : now->parts) documents += part.rows_done;
      return documents;
    }
    return int64_t{-1};
  };
  const std::string old = "year < 2008", rest = "NOT year < 2008";
  const auto purged = static_cast<int64_t>(Expected(old).size());
  ASSERT_GT(purged, 0);
  EXPECT_EQ(wait(engine_->ChangeDocuments("c", old, nullptr)), purged);
  for (const std::string& id : Expected(old)) oracle_.erase(id);
  EXPECT_EQ(*engine_->Count("c", old), 0);
  EXPECT_EQ(*engine_->Count("c"), static_cast<int64_t>(oracle_.size()));
  CheckSome(5);

  const auto patched = static_cast<int64_t>(Expected("lang = \"a\"").size());
  ASSERT_GT(patched, 0);
  const auto patch = [](const std::string& json) -> absl::StatusOr<std::string> {
    return absl::StrCat(json.substr(0, json.size() - 1), ",\"patched\":true}");
  };
  EXPECT_EQ(wait(engine_->ChangeDocuments("c", "lang = \"a\"", patch)), patched);
  for (const std::string& id : Expected("lang = \"a\"")) {
    oracle_[id].json = *patch(oracle_[id].json);
  }
  EXPECT_EQ(*engine_->Count("c", "patched = true"), patched);
  CheckSome(5);
  EXPECT_EQ(wait(engine_->ChangeDocuments("c", "patched = true", patch)), patched);

  const auto failing = engine_->ChangeDocuments(
      "c", "*", [](const std::string&) { return absl::InvalidArgumentError("no room"); });
  ASSERT_TRUE(failing.ok());
  const auto failed = engine_->WaitOperation("c", failing->id, absl::Seconds(20), {});
  ASSERT_TRUE(failed.ok() && failed->done);
  EXPECT_THAT(std::string(failed->status.message()), HasSubstr("no room"));
  EXPECT_EQ(FieldOf(engine_->ChangeDocuments("c", "((", nullptr).status()), "filter");
  EXPECT_EQ(wait(engine_->ChangeDocuments("c", "*", nullptr)),
            static_cast<int64_t>(oracle_.size()));
  EXPECT_EQ(*engine_->Count("c"), 0);
  engine_->Shutdown();
  EXPECT_EQ(engine_->ChangeDocuments("c", "*", nullptr).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vecino::engine
