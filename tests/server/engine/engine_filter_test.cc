// Filters over documents' metadata, through the engine: compared with a plain map.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/fields/filter.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/fields/random_rows.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class EngineFilterTest : public EngineTest {
 protected:
  struct Stored {
    std::vector<float> vector;
    std::string json;
  };

  void SetUp() override {
    folder_ = testing::TempDir() + "/engine_filter";
    std::filesystem::remove_all(folder_);
    options_.index_folder = folder_;
    options_.tail_capacity = 64;
    options_.maintenance.min_index_rows = 1;
    EngineTest::SetUp();
    Create("c", 2, Metric::kL2, "");
  }

  void Write(int documents) {
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < documents; ++i) {
      const std::string id = absl::StrCat("d", random_.Below(2000));
      std::vector<float> vector(kDimension);
      for (float& value : vector) value = std::normal_distribution<float>()(rng_);
      DocumentWrite write = Vector(id, vector);
      write.document.metadata = random_.Json();
      oracle_[id] = {vector, write.document.metadata};
      writes.push_back(std::move(write));
      if (writes.size() == 500 || i + 1 == documents) {
        for (const WriteResult& result : Upsert("c", std::move(writes)))
          ASSERT_TRUE(result.status.ok()) << result.status;
        writes = {};
      }
    }
    for (int i = 0; i < documents / 8 && !oracle_.empty(); ++i) {
      auto at = oracle_.begin();
      std::advance(at, static_cast<ptrdiff_t>(random_.Below(oracle_.size())));
      ASSERT_TRUE(Delete("c", at->first).status.ok());
      oracle_.erase(at);
    }
  }

  std::vector<std::string> Expected(const std::string& filter) {
    const auto parsed = fields::Filter::Parse(filter);
    std::vector<std::string> ids;
    for (const auto& [id, stored] : oracle_) {
      if ((*parsed)->Passes(*fields::ReadMetadata(stored.json))) ids.push_back(id);
    }
    return ids;
  }

  void Check(const std::string& filter) {
    SCOPED_TRACE(filter);
    const std::vector<std::string> expected = Expected(filter);
    const auto count = engine_->Count("c", filter);
    if (absl::IsInvalidArgument(count.status())) {
      // A comparison with a type that no document has now.
      ASSERT_TRUE(expected.empty() || filter.find("mixed") != std::string::npos) << count.status();
      return;
    }
    ASSERT_TRUE(count.ok()) << count.status();
    ASSERT_EQ(*count, static_cast<int64_t>(expected.size()));

    std::vector<std::string> listed;
    IdPage::Position at;
    while (true) {
      auto page = engine_->List("c", at, 1 + static_cast<int>(random_.Below(90)), kNoLimit,
                                {.text = false, .metadata = true, .vector = false}, filter);
      ASSERT_TRUE(page.ok()) << page.status();
      for (const auto& document : page->documents) listed.push_back(document.id);
      if (!page->next.has_value()) break;
      at = *page->next;
    }
    std::sort(listed.begin(), listed.end());
    ASSERT_EQ(listed, expected);

    std::vector<float> query(kDimension);
    for (float& value : query) value = std::normal_distribution<float>()(rng_);
    std::vector<float> scores;
    for (const std::string& id : expected) {
      float sum = 0;
      for (int i = 0; i < kDimension; ++i) {
        const float difference =
            oracle_[id].vector[static_cast<size_t>(i)] - query[static_cast<size_t>(i)];
        sum += difference * difference;
      }
      scores.push_back(sum);
    }
    std::sort(scores.begin(), scores.end());
    const int k = 1 + static_cast<int>(random_.Below(40));
    for (const bool exact : {true, false}) {
      SearchRequest request{.query = VectorQuery{query}, .top_k = k};
      request.filter = filter;
      request.exact = exact;
      const auto result = engine_->Search("c", request, {});
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_EQ(result->hits.size(), std::min<size_t>(static_cast<size_t>(k), expected.size()));
      for (size_t i = 0; i < result->hits.size(); ++i) {
        ASSERT_TRUE(
            std::binary_search(expected.begin(), expected.end(), result->hits[i].document.id));
        if (!exact) continue;
        ASSERT_NEAR(result->hits[i].score, scores[i], 1e-4);
      }
    }
  }
  void CheckSome(int filters) {
    for (int i = 0; i < filters; ++i) Check(random_.Filter());
    Check("year >= 2025");
    Check("lang = \"a\" AND year = 2003");
    Check("NOT exists(lang)");
  }

  std::string folder_;
  fields::RandomFields random_{11};
  std::mt19937 rng_{12};
  std::map<std::string, Stored> oracle_;
};

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
