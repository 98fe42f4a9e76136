// Searches for words, alone and beside meaning, through the engine.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/fusion.h"
#include "server/fields/bm25.h"
#include "server/fields/filter.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/fields/random_rows.h"
#include "tests/server/fields/word_corpus.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;
using testing::UnorderedElementsAre;

SearchRequest Words(const std::string& text, int top_k = 10) {
  return {.query = LexicalQuery{text}, .top_k = top_k};
}

class EngineWordsTest : public EngineTest {
 protected:
  struct Stored {
    std::string text, json;
  };

  void SetUp() override {
    folder_ = testing::TempDir() + "/engine_words";
    std::filesystem::remove_all(folder_);
    options_.index_folder = folder_;
    options_.tail_capacity = 64;
    options_.maintenance.min_index_rows = 1;
    EngineTest::SetUp();
  }

  DocumentWrite Make(const std::string& id, const std::string& text) {
    DocumentWrite write = Vector(id, std::vector<float>(kDimension, 1));
    write.document.text = text;
    return write;
  }

  void WriteSome(int documents) {
    std::vector<DocumentWrite> writes;
    for (const std::string& text : fields::RandomTexts(&rng_, documents, 12, 400)) {
      const std::string id = absl::StrCat("d", random_.Below(1500));
      DocumentWrite write = Make(id, text);
      write.document.metadata = random_.Json();
      oracle_[id] = {text, write.document.metadata};
      writes.push_back(std::move(write));
    }
    for (const WriteResult& result : Upsert("c", std::move(writes))) {
      ASSERT_TRUE(result.status.ok()) << result.status;
    }
    for (int i = 0; i < documents / 8; ++i) {
      auto at = oracle_.begin();
      std::advance(at, static_cast<ptrdiff_t>(random_.Below(oracle_.size())));
      ASSERT_TRUE(Delete("c", at->first).status.ok());
      oracle_.erase(at);
    }
  }

  // Those that have a word of the query and pass the filter.
  std::vector<std::string> Expected(const std::string& query, const std::string& filter) {
    const auto parsed = *fields::Filter::Parse(filter);
    std::vector<std::string> ids;
    for (const auto& [id, stored] : oracle_) {
      if (!parsed->Passes(*fields::ReadMetadata(stored.json))) continue;
      const fields::DocumentTerms words(stored.text);
      for (const fields::LexicalTerm& term : fields::LexicalTerms(query)) {
        if (words.Frequency(term.hash, term.term) == 0) continue;
        ids.push_back(id);
        break;
      }
    }
    return ids;
  }

  // With k as large as can be what is found is known; a smaller k gives the first of it.
  void Check(const std::string& query, const std::string& filter) {
    SCOPED_TRACE(query + " | " + filter);
    SearchRequest request = Words(query, 1000);
    request.filter = filter;
    const auto all = engine_->Search("c", request, {});
    ASSERT_TRUE(all.ok()) << all.status();
    std::vector<std::string> ids;
    const SearchHit* before = nullptr;
    for (const SearchHit& hit : all->hits) {
      ids.push_back(hit.document.id);
      ASSERT_GT(hit.score, 0);
      ASSERT_LE(hit.score, before == nullptr ? hit.score : before->score);
      before = &hit;
    }
    std::sort(ids.begin(), ids.end());
    ASSERT_EQ(ids, Expected(query, filter));
    request.top_k = 1 + static_cast<int>(random_.Below(20));
    const auto some = engine_->Search("c", request, {});
    ASSERT_TRUE(some.ok());
    ASSERT_EQ(some->hits.size(), std::min(all->hits.size(), static_cast<size_t>(request.top_k)));
    // A merge in between drops dead documents, whose words count until then, and so moves scores:
    // the order can be compared only when the same was found after it as before.
    request.top_k = 1000;
    const auto again = engine_->Search("c", request, {});
    ASSERT_TRUE(again.ok() && again->hits.size() == all->hits.size());
    for (size_t i = 0; i < all->hits.size(); ++i) {
      if (again->hits[i].score != all->hits[i].score) return;
    }
    ++compared_;
    for (size_t i = 0; i < some->hits.size(); ++i) {
      EXPECT_EQ(some->hits[i].document.id, all->hits[i].document.id);
    }
    EXPECT_TRUE(some->by_words);
  }
  int compared_ = 0;  // orders

  void CheckSome(int queries) {
    for (int i = 0; i < queries; ++i) {
      std::string query;
      for (size_t words = 1 + random_.Below(3); words > 0; --words) {
        query += fields::Word(20 + static_cast<int>(random_.Below(380))) + " ";
      }
      Check(query, i % 3 == 0 ? "exists(lang)" : i % 3 == 1 ? "year >= 2015" : "");
    }
  }

  std::string folder_;
  fields::RandomFields random_{21};
  std::mt19937 rng_{22};
  std::map<std::string, Stored> oracle_;
};

TEST_F(EngineWordsTest, AgreesWithAMapThroughMaintenanceAndRestarts) {
  Create("c", 2, Metric::kL2, "");
  for (int round = 0; round < 4; ++round) {
    WriteSome(900);
    CheckSome(15);
    absl::SleepFor(absl::Milliseconds(50));
    CheckSome(10);
    Reopen();
    CheckSome(15);
  }
  // Files that are gone are made again from stored texts.
  engine_->Shutdown();
  engine_.reset();
  std::filesystem::remove_all(folder_);
  Reopen();
  CheckSome(15);
  EXPECT_GT(compared_, 20);
}

TEST_F(EngineWordsTest, ScoresDoNotDependOnShards) {
  Create("one", 1, Metric::kCosine, "");
  Create("four", 4, Metric::kCosine, "");
  std::vector<DocumentWrite> writes;
  int number = 0;
  for (const std::string& text : fields::RandomTexts(&rng_, 700, 12, 200)) {
    writes.push_back(Make(absl::StrCat("d", number++), text));
  }
  Upsert("one", writes);
  Upsert("four", writes);
  for (int i = 0; i < 50; ++i) {
    const std::string query = fields::Word(i) + " " + fields::Word(2 * i + 1);
    const auto a = engine_->Search("one", Words(query, 100), {});
    const auto b = engine_->Search("four", Words(query, 100), {});
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_EQ(a->hits.size(), b->hits.size());
    for (size_t j = 0; j < a->hits.size(); ++j) EXPECT_EQ(a->hits[j].score, b->hits[j].score);
  }
}

TEST_F(EngineWordsTest, PagesAreOneRanking) {
  Create("c", 3, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 500; ++i) {
    writes.push_back(Make(absl::StrCat("d", i), i % 3 == 0 ? "same words" : "same other words"));
  }
  Upsert("c", std::move(writes));
  const std::vector<std::string> all = Find("c", Words("words", 1000));
  ASSERT_EQ(all.size(), 500u);
  std::vector<std::string> paged;
  SearchRequest request = Words("words", 37);
  while (true) {
    const auto page = engine_->Search("c", request, {});
    ASSERT_TRUE(page.ok()) << page.status();
    for (const SearchHit& hit : page->hits) paged.push_back(hit.document.id);
    if (!page->next.has_value()) break;
    request.after = page->next;
  }
  EXPECT_EQ(paged, all);
}

TEST_F(EngineWordsTest, MinScoreAndGroups) {
  Create("c", 2, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 40; ++i) {
    writes.push_back(Make(absl::StrCat("d", i), i % 2 == 0 ? "apple apple" : "apple and pear"));
    writes.back().document.metadata = absl::StrCat(R"({"g":)", i % 4, "}");
  }
  Upsert("c", std::move(writes));
  auto all = engine_->Search("c", Words("apple", 100), {});
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->hits.size(), 40u);
  SearchRequest request = Words("apple", 100);
  request.min_score = all->hits[0].score;
  EXPECT_EQ(Find("c", request).size(), 20u);  // higher is better, although the metric is L2
  request = Words("apple", 4);
  request.group_by = GroupBy{.field = "g", .group_size = 2};
  const auto groups = engine_->Search("c", request, {});
  ASSERT_TRUE(groups.ok()) << groups.status();
  EXPECT_EQ(groups->groups.size(), 4u);
  EXPECT_EQ(groups->hits.size(), 8u);
}

TEST_F(EngineWordsTest, EveryVersionOfADocumentIsFoundOnceWhileItIsReplaced) {
  Create("c", 2, Metric::kL2, "");
  constexpr int kDocuments = 300;
  const auto write = [&](int i, int version) {
    return Make(absl::StrCat("d", i), absl::StrCat("common version", version));
  };
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < kDocuments; ++i) writes.push_back(write(i, 0));
  Upsert("c", std::move(writes));
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int version = 1; !stop; ++version) {
      std::vector<DocumentWrite> some;
      for (int i = version % 7; i < kDocuments; i += 7) some.push_back(write(i, version));
      Upsert("c", std::move(some));
    }
  });
  for (int search = 0; search < 300; ++search) {
    std::vector<std::string> ids = Find("c", Words("common", 1000));
    EXPECT_EQ(ids.size(), static_cast<size_t>(kDocuments));
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
    if (HasFailure()) break;
  }
  stop = true;
  writer.join();
}

TEST_F(EngineWordsTest, BadRequestsNameTheField) {
  Create("c", 1, Metric::kCosine, "");
  const auto field = [&](const SearchRequest& request) {
    const absl::Status status = engine_->Search("c", request, {}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return FieldOf(status);
  };
  EXPECT_EQ(field(Words("")), "lexical.text");
  EXPECT_EQ(field(Words("\xff")), "lexical.text");
  EXPECT_EQ(field(Words(std::string((64 << 10) + 1, 'a'))), "lexical.text");
  EXPECT_THAT(Find("c", Words(std::string(64 << 10, 'a'))), IsEmpty());
  SearchRequest request = Words("a");
  request.diversify = Diversify{};
  EXPECT_EQ(field(request), "diversify");
  request = Words("a");
  request.filter = "((";
  EXPECT_EQ(field(request), "filter");

  const auto hybrid = [&](auto change) {
    HybridQuery query{VectorQuery{std::vector<float>(kDimension, 1)}, "a", {}};
    change(query);
    return field({.query = query});
  };
  EXPECT_EQ(hybrid([](auto& q) { q.words = ""; }), "lexical_text");
  EXPECT_EQ(hybrid([](auto& q) { q.dense = VectorQuery{{1}}; }), "vector");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.dense_weight = -1; }), "fusion.dense_weight");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.lexical_weight = NAN; }), "fusion.lexical_weight");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.dense_weight = q.fusion.lexical_weight = 0; }), "fusion");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.rank_constant = 0; }), "fusion.rank_constant");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.candidates = 9; }), "fusion.candidates");
  EXPECT_EQ(hybrid([](auto& q) { q.fusion.candidates = 1001; }), "fusion.candidates");
  request = {.query = HybridQuery{VectorQuery{std::vector<float>(kDimension, 1)}, "a", {}}};
  request.diversify = {1.5f, 0};
  EXPECT_EQ(field(request), "diversify.lambda");
  request.diversify = {0.5f, 9};
  EXPECT_EQ(field(request), "diversify.candidates");
  request.diversify = Diversify{};
  request.reranking.emplace();
  EXPECT_EQ(field(request), "rerank");
}

TEST_F(EngineWordsTest, HybridMergesBothRankings) {
  Create("c", 2, Metric::kCosine);
  // The fake encoder knows equal texts only, so meaning finds `near` first.
  Put("c", "near", "a query of words");
  Put("c", "words", "query words words");
  Put("c", "neither", "something else");
  const HybridQuery query{TextQuery{"a query of words"}, "words", {}};
  const auto result = engine_->Search("c", {.query = query}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->hits.size(), 3u);
  EXPECT_TRUE(result->by_words);
  EXPECT_GT(result->query_token_count, 0);
  std::map<std::string, SearchHit> hits;
  for (const SearchHit& hit : result->hits) hits[hit.document.id] = hit;
  EXPECT_EQ(result->hits[0].document.id, "near");
  EXPECT_THAT(hits["near"].dense_score, Optional(testing::FloatNear(1, 1e-5)));
  EXPECT_LE(*hits["near"].dense_score, 1);
  EXPECT_TRUE(hits["near"].lexical_score.has_value());
  EXPECT_FALSE(hits["neither"].lexical_score.has_value());
  EXPECT_TRUE(hits["neither"].dense_score.has_value());
  EXPECT_FLOAT_EQ(hits["near"].score, 1 / 61.f + .6f / 62);
  EXPECT_GT(*hits["words"].lexical_score, *hits["near"].lexical_score);

  // The scores of the two are those of the searches alone.
  const auto words = engine_->Search("c", Words("words"), {});
  ASSERT_TRUE(words.ok());
  ASSERT_EQ(words->hits.size(), 2u);
  EXPECT_EQ(words->hits[0].document.id, "words");
  EXPECT_EQ(words->hits[0].score, *hits["words"].lexical_score);
}

TEST_F(EngineWordsTest, AWeightOfZeroLeavesARankingOut) {
  Create("c", 2, Metric::kCosine, "");  // without a model no text has a meaning
  Upsert("c", {Make("a", "apple"), Make("b", "banana")});
  HybridQuery query{TextQuery{"apple"}, "apple", {}};
  EXPECT_TRUE(absl::IsFailedPrecondition(engine_->Search("c", {.query = query}, {}).status()));
  query.fusion.dense_weight = 0;
  EXPECT_THAT(Find("c", {.query = query}), ElementsAre("a"));
  query.dense = VectorQuery{std::vector<float>(kDimension, 1)};
  query.words = "";
  query.fusion.dense_weight = 1;
  query.fusion.lexical_weight = 0;
  EXPECT_THAT(Find("c", {.query = query}), UnorderedElementsAre("a", "b"));
}

// By the definition, over what the same search finds without: shares of the best score, and
// cosines.
TEST_F(EngineWordsTest, DiverseHitsOfAMergedRankingAreThoseOfTheDefinition) {
  constexpr size_t kDocuments = 60, kHits = 10;
  std::normal_distribution<float> normal;
  for (const Metric metric : {Metric::kCosine, Metric::kDot, Metric::kL2}) {
    const std::string name = absl::StrCat("c", static_cast<int>(metric));
    Create(name, 2, metric, "");
    std::map<std::string, std::vector<float>> vectors;
    std::vector<DocumentWrite> writes;
    for (size_t i = 0; i < kDocuments; ++i) {
      writes.push_back(Text(absl::StrCat("d", i), i % 2 == 0 ? "apple pear" : "apple"));
      std::vector<float>& vector = vectors[writes.back().document.id];
      if (i % 5 == 0) continue;  // without a vector
      for (int x = 0; x < kDimension; ++x) vector.push_back(normal(rng_));
      writes.back().document.vector = vector;
    }
    Upsert(name, std::move(writes));
    const auto cosine = [&](const std::string& one, const std::string& other) {
      const std::vector<float>&a = vectors[one], &b = vectors[other];
      if (a.empty() || b.empty()) return 0.0;
      double ab = 0, aa = 0, bb = 0;
      for (size_t x = 0; x < a.size(); ++x) {
        ab += static_cast<double>(a[x]) * b[x];
        aa += static_cast<double>(a[x]) * a[x];
        bb += static_cast<double>(b[x]) * b[x];
      }
      return ab / std::sqrt(aa * bb);
    };
    SearchRequest request{
        .query = HybridQuery{VectorQuery{std::vector<float>(kDimension, 1)}, "pear", {}}};
    request.exact = true;
    for (const Fusion::Method method : {Fusion::Method::kRrf, Fusion::Method::kWeightedScores}) {
      std::get<HybridQuery>(request.query).fusion.method = method;
      request.diversify.reset();
      request.top_k = static_cast<int>(kDocuments);
      const auto all = engine_->Search(name, request, {});
      ASSERT_TRUE(all.ok()) << all.status();
      const std::vector<SearchHit>& ranked = all->hits;
      ASSERT_GE(ranked.size(), 50u);
      request.top_k = static_cast<int>(kHits);
      for (const float lambda : {0.0f, 0.25f, 0.5f, 1.0f}) {
        for (const int candidates : {0, 10, 30}) {
          const size_t n = candidates == 0 ? 50 : static_cast<size_t>(candidates);
          std::vector<size_t> order;
          while (order.size() < kHits) {
            size_t best = n;
            double best_value = 0;
            for (size_t i = 0; i < n; ++i) {
              if (std::find(order.begin(), order.end(), i) != order.end()) continue;
              double value = static_cast<double>(lambda) * (ranked[i].score / ranked[0].score);
              double nearest = -2;
              for (const size_t j : order) {
                nearest = std::max(nearest, cosine(ranked[i].document.id, ranked[j].document.id));
              }
              if (!order.empty()) value -= (1 - lambda) * nearest;
              if (best == n || value > best_value) {
                best = i;
                best_value = value;
              }
            }
            order.push_back(best);
          }
          request.diversify = {lambda, candidates};
          const auto found = engine_->Search(name, request, {});
          ASSERT_TRUE(found.ok()) << found.status();
          ASSERT_EQ(found->hits.size(), kHits);
          for (size_t i = 0; i < kHits; ++i) {
            EXPECT_EQ(found->hits[i].document.id, ranked[order[i]].document.id)
                << name << " " << lambda << " " << candidates << " " << i;
            EXPECT_EQ(found->hits[i].score, ranked[order[i]].score);
          }
          EXPECT_FALSE(found->next.has_value());
        }
      }
    }
  }
}

// Twins rank next to each other, and neither their length nor that there is no vector to tell them
// by is what parts them.
TEST_F(EngineWordsTest, DiversityPartsTwinsAndTakesDocumentsWithoutVectors) {
  Create("c", 1, Metric::kDot, "");
  std::vector<float> east(kDimension), north(kDimension);
  east[0] = north[1] = 1;
  std::vector<float> far_east = east;
  far_east[0] = 1000;
  DocumentWrite near = Vector("near", far_east), twin = Vector("twin", east),
                other = Vector("other", north);
  for (DocumentWrite* one : {&near, &twin, &other}) one->document.text = "apple";
  Upsert("c", {near, twin, other, Text("none", "pear")});
  SearchRequest request{.query = HybridQuery{VectorQuery{east}, "apple pear", {}}, .top_k = 3};
  EXPECT_THAT(Find("c", request), ElementsAre("near", "twin", "other"));
  request.diversify = Diversify{.lambda = 0.3f};
  EXPECT_THAT(Find("c", request), ElementsAre("near", "other", "none"));
  // Where there are no vectors at all, and no hits at all.
  request.query = HybridQuery{VectorQuery{east}, "pear", {}};
  std::get<HybridQuery>(request.query).fusion.dense_weight = 0;
  EXPECT_THAT(Find("c", request), ElementsAre("none"));
  std::get<HybridQuery>(request.query).words = "plum";
  EXPECT_THAT(Find("c", request), IsEmpty());
}

TEST_F(EngineWordsTest, HybridTakesFilters) {
  Create("c", 2, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 50; ++i) {
    writes.push_back(Make(absl::StrCat("d", i), "apple"));
    writes.back().document.metadata = absl::StrCat(R"({"n":)", i, "}");
  }
  Upsert("c", std::move(writes));
  SearchRequest request{
      .query = HybridQuery{VectorQuery{std::vector<float>(kDimension, 1)}, "apple", {}}};
  request.filter = "n < 3";
  EXPECT_THAT(Find("c", request), UnorderedElementsAre("d0", "d1", "d2"));
}

}  // namespace
}  // namespace vecino::engine
