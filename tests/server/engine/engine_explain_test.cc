// What searches say of themselves: effort, shortfall, explanations, verified recall.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class EngineExplainTest : public EngineTest {
 protected:
  // Thousands of rows in tails of 8 take a minute to drain and merge.
  EngineExplainTest() { options_.tail_capacity = 500; }
  std::vector<float> Random() { return RandomVector(kDimension, &rng_); }
  void Fill(const std::string& collection, int count) {
    for (int begin = 0; begin < count; begin += 500) {
      std::vector<DocumentWrite> writes;
      for (int i = begin; i < std::min(count, begin + 500); ++i) {
        writes.push_back(Vector(std::to_string(i), Random()));
        writes.back().document.metadata = absl::StrCat("{\"n\": ", i, ", \"m\": ", i % 4, "}");
      }
      for (const WriteResult& result : Upsert(collection, std::move(writes))) {
        ASSERT_TRUE(result.status.ok()) << result.status;
      }
    }
  }
  void Make(const std::string& id, IndexKind kind, int rows) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = 2;
    spec.index.kind = kind;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
    Fill(id, rows);
  }
  // Trains or merges, whatever the kind.
  void Settle(const std::string& id, Operation::Type type) {
    const auto operation = engine_->StartOperation(id, type, {});
    ASSERT_TRUE(operation.ok()) << operation.status();
    for (;;) {
      const auto info = engine_->WaitOperation(id, operation->id, absl::Seconds(30), {});
      ASSERT_TRUE(info.ok()) << info.status();
      if (!info->done) continue;
      ASSERT_TRUE(info->status.ok()) << info->status;
      return;
    }
  }
  SearchResult Search(const std::string& collection, const SearchRequest& request) {
    auto result = engine_->Search(collection, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : SearchResult();
  }
  static std::vector<std::string> Stages(const SearchExplanation& explanation) {
    std::vector<std::string> names;
    for (const SearchExplanation::Stage& stage : explanation.stages) {
      EXPECT_GE(stage.time, absl::ZeroDuration()) << stage.name;
      names.push_back(stage.name);
    }
    return names;
  }

  std::mt19937 rng_{3};
};

TEST_F(EngineExplainTest, RowsThatAreAllComparedAreExact) {
  Make("c", IndexKind::kAuto, 900);
  SearchResult result = Search("c", {.query = VectorQuery{Random()}});
  EXPECT_TRUE(result.effort.exact);
  EXPECT_EQ(result.effort.rows_scanned, 900);
  EXPECT_EQ(result.effort.nprobe, 0);
  EXPECT_EQ(result.effort.expected_recall, 1);
  EXPECT_EQ(result.effort.shortfall, Shortfall::kNone);
  EXPECT_FALSE(result.explanation.has_value());

  result = Search("c", {.query = VectorQuery{Random()},
                        .filter = "m = 1 AND n < 100",
                        .explain = SearchRequest::Explain{.verify = true}});
  ASSERT_TRUE(result.explanation.has_value());
  const SearchExplanation& explanation = *result.explanation;
  EXPECT_THAT(Stages(explanation), testing::ElementsAre("filter", "scan", "fetch", "verify"));
  EXPECT_NEAR(explanation.selectivity, 25.0 / 900, 1e-9);
  EXPECT_EQ(explanation.verified_recall, 1);
  EXPECT_EQ(explanation.recall_target, 0.95);
  ASSERT_EQ(explanation.shards.size(), 2u);
  int64_t passing = 0;
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(explanation.shards[i].shard, static_cast<int>(i));
    // Maintenance may have drained them.
    EXPECT_THAT(explanation.shards[i].plan,
                testing::AnyOf(HasSubstr("tail"), HasSubstr("flat segment")));
    EXPECT_EQ(explanation.shards[i].expected_recall, 1);
    passing += explanation.shards[i].passing_rows;
  }
  EXPECT_EQ(passing, 25);
}

TEST_F(EngineExplainTest, ListsSayWhatTheyScanned) {
  Make("c", IndexKind::kAuto, 26'000);
  Settle("c", Operation::Type::kRetrain);
  const SearchResult plain = Search("c", {.query = VectorQuery{Random()}, .recall_target = 0.9});
  EXPECT_FALSE(plain.effort.exact);
  EXPECT_GT(plain.effort.nprobe, 0);
  EXPECT_GT(plain.effort.rows_scanned, 20);
  EXPECT_LT(plain.effort.rows_scanned, 26'000);
  EXPECT_GT(plain.effort.rows_rescored, 0);
  EXPECT_GE(plain.effort.expected_recall, 0.9);
  EXPECT_LT(plain.effort.expected_recall, 1);

  double recall = 0;
  for (int i = 0; i < 50; ++i) {
    const SearchResult result = Search("c", {.query = VectorQuery{Random()},
                                             .recall_target = 0.9,
                                             .explain = SearchRequest::Explain{.verify = true}});
    ASSERT_TRUE(result.explanation.has_value());
    const SearchExplanation& explanation = *result.explanation;
    EXPECT_EQ(explanation.recall_target, 0.9);
    EXPECT_EQ(explanation.selectivity, 1);
    ASSERT_EQ(explanation.shards.size(), 2u);
    EXPECT_GT(explanation.shards[0].nlist, explanation.shards[0].nprobe);
    EXPECT_GT(explanation.shards[0].rows_reranked, 0);
    EXPECT_THAT(explanation.shards[0].plan, HasSubstr("lists"));
    EXPECT_EQ(explanation.shards[0].passing_rows + explanation.shards[1].passing_rows, 26'000);
    ASSERT_TRUE(explanation.verified_recall.has_value());
    recall += *explanation.verified_recall;
  }
  EXPECT_GE(recall / 50, 0.88);

  // A document's neighbours, itself left out of answer and truth.
  const SearchResult near = Search("c", {.query = DocumentQuery{"17"},
                                         .exact = true,
                                         .explain = SearchRequest::Explain{.verify = true}});
  EXPECT_EQ(near.explanation->verified_recall, 1);
  EXPECT_EQ(near.explanation->recall_target, 0);
  EXPECT_TRUE(near.effort.exact);
  EXPECT_EQ(near.effort.rows_scanned, 26'000);

  // The caller's own number of lists: too few of them, and it is told so.
  const SearchResult own = Search("c", {.query = VectorQuery{Random()},
                                        .nprobe = 1,
                                        .min_score = 0.0f,
                                        .explain = SearchRequest::Explain{}});
  EXPECT_EQ(own.effort.shortfall, Shortfall::kParameters);
  EXPECT_LT(own.effort.expected_recall, 0.9);
  EXPECT_EQ(own.explanation->recall_target, 0);
  EXPECT_FALSE(own.explanation->verified_recall.has_value());
  EXPECT_THAT(Stages(*own.explanation), testing::ElementsAre("scan", "fetch"));
}

TEST_F(EngineExplainTest, ExplainsTheIndexesOfFaiss) {
  for (const auto& [id, kind] :
       {std::pair{"ivf", IndexKind::kIvfFlat}, std::pair{"pq", IndexKind::kIvfPq},
        std::pair{"hnsw", IndexKind::kHnsw}, std::pair{"lsh", IndexKind::kLsh}}) {
    Make(id, kind, 5000);
    Settle(id, Operation::Type::kCompact);
    const SearchResult result = Search(id, {.query = VectorQuery{Random()},
                                            .recall_target = 0.8,
                                            .explain = SearchRequest::Explain{.verify = true}});
    ASSERT_TRUE(result.explanation.has_value());
    const SearchExplanation& explanation = *result.explanation;
    EXPECT_THAT(explanation.shards[0].plan, HasSubstr(index::IndexKindName(kind).data())) << id;
    EXPECT_GE(result.effort.expected_recall, 0.8) << id;
    EXPECT_GT(result.effort.rows_scanned, 0) << id;
    EXPECT_EQ(result.effort.ef > 0, kind == IndexKind::kHnsw) << id;
    if (kind == IndexKind::kIvfFlat) {
      EXPECT_GT(result.effort.nprobe, 0);
      EXPECT_GT(explanation.shards[0].nlist, 0);
    }
    EXPECT_GT(explanation.verified_recall.value_or(0), 0.3) << id;
  }
}

TEST_F(EngineExplainTest, TooFewHitsHaveAReason) {
  Make("c", IndexKind::kAuto, 600);
  const auto shortfall = [&](const SearchRequest& request) {
    return Search("c", request).effort.shortfall;
  };
  EXPECT_EQ(shortfall({.query = VectorQuery{Random()}, .top_k = 1000}),
            Shortfall::kNoMoreDocuments);
  EXPECT_EQ(shortfall({.query = VectorQuery{Random()}, .filter = "n < 3"}),
            Shortfall::kNoMoreDocuments);
  EXPECT_EQ(shortfall({.query = VectorQuery{Random()}, .min_score = 0.0f}),
            Shortfall::kNoMoreDocuments);
  EXPECT_EQ(shortfall({.query = VectorQuery{Random()}, .group_by = GroupBy{"m", 1}}),
            Shortfall::kNoMoreDocuments);
  EXPECT_EQ(shortfall({.query = VectorQuery{Random()}, .top_k = 4, .group_by = GroupBy{"m", 1}}),
            Shortfall::kNone);
  EXPECT_EQ(shortfall({.query = LexicalQuery{"nothing"}}), Shortfall::kNoMoreDocuments);
}

TEST_F(EngineExplainTest, GroupsBehindTenThousandRowsAreNotLookedFor) {
  Make("c", IndexKind::kFlat, 0);
  for (int begin = 0; begin < 10'500; begin += 500) {
    std::vector<DocumentWrite> writes;
    for (int i = begin; i < begin + 500; ++i) {
      const bool far = i >= 10'400;
      writes.push_back(
          Vector(std::to_string(i), far ? std::vector<float>(kDimension, 100) : Random()));
      writes.back().document.metadata = far ? "{\"far\": true}" : "{\"far\": false}";
    }
    Upsert("c", std::move(writes));
  }
  SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension, 0)},
                        .top_k = 2,
                        .group_by = GroupBy{"far", 1}};
  const SearchResult result = Search("c", request);
  EXPECT_EQ(result.groups.size(), 1u);
  EXPECT_EQ(result.effort.shortfall, Shortfall::kCandidates);
  request.top_k = 1;
  EXPECT_EQ(Search("c", request).effort.shortfall, Shortfall::kNone);
}

TEST_F(EngineExplainTest, WordsAreExact) {
  Create("c", 2, Metric::kCosine, "fake");
  for (int i = 0; i < 20; ++i) Put("c", std::to_string(i), absl::StrCat("word text ", i));
  const SearchRequest::Explain verify{.verify = true};
  const SearchResult words = Search("c", {.query = LexicalQuery{"word"}, .explain = verify});
  ASSERT_TRUE(words.explanation.has_value());
  EXPECT_TRUE(words.effort.exact);
  EXPECT_EQ(words.effort.rows_scanned, 0);
  EXPECT_TRUE(words.explanation->shards.empty());
  EXPECT_EQ(words.explanation->verified_recall, 1);
  const SearchResult both =
      Search("c", {.query = HybridQuery{TextQuery{"word"}, "word", {}}, .explain = verify});
  ASSERT_TRUE(both.explanation.has_value());
  EXPECT_EQ(both.explanation->shards.size(), 2u);
  EXPECT_EQ(both.effort.rows_scanned, 20);
  EXPECT_EQ(both.explanation->verified_recall, 1);
  EXPECT_EQ(Stages(*both.explanation).front(), "embed");
}

TEST_F(EngineExplainTest, VerifyingEndsWithTheCall) {
  Make("c", IndexKind::kAuto, 600);
  SearchRequest request{.query = VectorQuery{Random()},
                        .explain = SearchRequest::Explain{.verify = true}};
  EXPECT_EQ(engine_->Search("c", request, {.deadline = absl::Now()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  // The caller goes when all is found and read, which is before the exact pass.
  std::stop_source caller;
  store_.fault = [&](std::string_view operation) {
    if (operation == "GetDocuments") caller.request_stop();
    return absl::OkStatus();
  };
  CallContext context;
  context.stop = caller.get_token();
  const absl::Status gone = engine_->Search("c", request, context).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("before the answer was verified"));
  caller = std::stop_source();
  context.stop = caller.get_token();
  request.explain->verify = false;
  EXPECT_TRUE(engine_->Search("c", request, context).ok());
  store_.fault = nullptr;
}

}  // namespace
}  // namespace vecino::engine
