// min_score, pages, groups and diversity, compared with brute force, through the engine's door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "server/engine/metadata_value.h"
#include "server/engine/shard_of.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class ShapesTest : public EngineTest {
 protected:
  static constexpr int kShards = 3;

  struct Row {
    std::string id, metadata;
    std::vector<float> vector;
    double score = 0;
    uint64_t sequence = 0;
    int shard = 0;
  };

  // Whole numbers from -2 to 2: scores are exact and many are equal.
  std::vector<float> Whole() {
    std::vector<float> vector(kDimension);
    for (float& x : vector) x = static_cast<float>(random_() % 5) - 2;
    return vector;
  }

  void Fill(const std::string& name, Metric metric, int count) {
    metric_ = metric;
    Create(name, kShards, metric, "");
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < count; ++i) {
      writes.push_back(Vector(absl::StrCat("d", i), Whole()));
      writes.back().document.metadata = absl::StrCat(
          R"({"n":)", random_() % 40, R"(,"s":{"t":"v)", random_() % 9, R"("},"l":["x)",
          random_() % 5, R"(","y"])", random_() % 3 == 0 ? R"(,"some":true)" : "", "}");
      if (writes.size() == 1000) Upsert(name, std::exchange(writes, {}));
    }
    if (!writes.empty()) Upsert(name, writes);
  }

  // All documents in the order in which searches have them.
  std::vector<Row> Ranked(const std::string& name, const std::vector<float>& query) {
    std::vector<Row> rows;
    IdPage::Position from;
    for (;;) {
      const auto page = engine_->List(name, from, 1000, kNoLimit, {.text = false, .vector = true});
      EXPECT_TRUE(page.ok()) << page.status();
      for (const storage::Document& document : page->documents) {
        Row row{document.id, document.metadata, document.vector};
        for (int i = 0; i < kDimension; ++i) {
          const double a = query[i], b = document.vector[i];
          row.score += metric_ == Metric::kL2 ? (a - b) * (a - b) : a * b;
        }
        row.sequence = document.sequence;
        row.shard = ShardOf(document.id, kShards);
        rows.push_back(std::move(row));
      }
      if (!page->next.has_value()) break;
      from = *page->next;
    }
    const double sign = metric_ == Metric::kL2 ? 1 : -1;
    std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
      return std::tuple(sign * a.score, a.sequence, a.shard) <
             std::tuple(sign * b.score, b.sequence, b.shard);
    });
    return rows;
  }
  static std::vector<std::string> Ids(const std::vector<Row>& rows) {
    std::vector<std::string> ids;
    for (const Row& row : rows) ids.push_back(row.id);
    return ids;
  }

  SearchResult Search(const std::string& name, const SearchRequest& request) {
    auto result = engine_->Search(name, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : SearchResult();
  }
  static std::vector<std::string> Ids(const SearchResult& result) {
    std::vector<std::string> ids;
    for (const SearchHit& hit : result.hits) ids.push_back(hit.document.id);
    return ids;
  }

  std::mt19937 random_{20};
  Metric metric_ = Metric::kDot;
};

TEST_F(ShapesTest, MinScoreHasADirection) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    const std::string name = metric == Metric::kDot ? "dot" : "l2";
    Fill(name, metric, 200);
    const std::vector<float> query = Whole();
    const std::vector<Row> rows = Ranked(name, query);
    for (const size_t last : {size_t{0}, size_t{20}, size_t{120}, size_t{199}}) {
      const auto least = static_cast<float>(rows[last].score);
      std::vector<std::string> expected;
      for (const Row& row : rows) {
        if (metric == Metric::kDot ? row.score >= least : row.score <= least) {
          expected.push_back(row.id);
        }
      }
      ASSERT_GT(expected.size(), last);  // with all that are equal
      const SearchResult all =
          Search(name, {.query = VectorQuery{query}, .top_k = 1000, .min_score = least});
      EXPECT_EQ(Ids(all), expected);
      EXPECT_FALSE(all.next.has_value());
      const SearchResult some =
          Search(name, {.query = VectorQuery{query}, .top_k = 5, .min_score = least});
      expected.resize(std::min<size_t>(5, expected.size()));
      EXPECT_EQ(Ids(some), expected);
    }
  }
}

TEST_F(ShapesTest, PagesTogetherAreOneLargeSearch) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    const std::string name = metric == Metric::kDot ? "dot" : "l2";
    Fill(name, metric, 500);
    const std::vector<float> query = Whole();
    const std::vector<Row> rows = Ranked(name, query);
    for (const bool heads : {true, false}) {
      SearchRequest request{.query = VectorQuery{query},
                            .parts = {.text = !heads, .metadata = false}};
      std::vector<std::string> found;
      int pages = 0;
      do {
        request.top_k = 1 + static_cast<int>(random_() % 60);
        const SearchResult page = Search(name, request);
        const std::vector<std::string> ids = Ids(page);
        found.insert(found.end(), ids.begin(), ids.end());
        if (page.next.has_value()) {
          EXPECT_EQ(page.next->depth, static_cast<int>(found.size()));
        }
        request.after = page.next;
        ++pages;
      } while (request.after.has_value() && pages < 600);
      EXPECT_EQ(found, Ids(rows));
      EXPECT_GT(pages, 8);
    }
    // As far as a least score lets them.
    SearchRequest request{
        .query = VectorQuery{query}, .top_k = 7, .min_score = static_cast<float>(rows[100].score)};
    size_t found = 0;
    do {
      const SearchResult page = Search(name, request);
      for (const SearchHit& hit : page.hits) EXPECT_EQ(hit.document.id, rows[found++].id);
      request.after = page.next;
    } while (request.after.has_value());
    EXPECT_EQ(rows[found - 1].score, rows[100].score);
    EXPECT_NE(rows[found].score, rows[100].score);
  }
}

// What is behind the position is found whatever came and went before it.
TEST_F(ShapesTest, PagesGoOnAfterWrites) {
  Fill("c", Metric::kL2, 300);
  const std::vector<float> query = Whole();
  SearchRequest request{.query = VectorQuery{query}, .top_k = 25};
  SearchResult page = Search("c", request);
  std::vector<Row> rows = Ranked("c", query);
  // Deleted: hits of this page, also the last, and some behind it.
  for (const int i : {0, 3, 24, 25, 27, 40}) EXPECT_TRUE(Delete("c", rows[i].id).status.ok());
  std::vector<std::string> expected;
  for (size_t i = 25; i < rows.size(); ++i) {
    if (i != 25 && i != 27 && i != 40) expected.push_back(rows[i].id);
  }
  // Added: many that are nearer than all.
  std::vector<DocumentWrite> nearer;
  for (int i = 0; i < 400; ++i) nearer.push_back(Vector(absl::StrCat("new", i), query));
  Upsert("c", nearer);
  std::vector<std::string> found;
  do {
    request.after = page.next;
    page = Search("c", request);
    const std::vector<std::string> ids = Ids(page);
    found.insert(found.end(), ids.begin(), ids.end());
  } while (page.next.has_value());
  EXPECT_EQ(found, expected);
}

TEST_F(ShapesTest, PagesOfADocumentsNeighboursLeaveItOut) {
  Fill("c", Metric::kL2, 60);
  SearchRequest request{.query = DocumentQuery{"d7"}, .top_k = 10};
  std::set<std::string> found;
  size_t hits = 0;
  do {
    const SearchResult page = Search("c", request);
    for (const SearchHit& hit : page.hits) found.insert(hit.document.id);
    hits += page.hits.size();
    request.after = page.next;
  } while (request.after.has_value());
  EXPECT_EQ(hits, 59u);
  EXPECT_THAT(found, SizeIs(59));
  EXPECT_FALSE(found.contains("d7"));
}

TEST_F(ShapesTest, PagesEnd) {
  Fill("c", Metric::kDot, 20);
  SearchRequest request{.query = VectorQuery{Whole()}, .top_k = 20};
  // A full page does not know; the next one does.
  request.after = Search("c", request).next;
  if (request.after.has_value()) {
    const SearchResult last = Search("c", request);
    EXPECT_TRUE(last.hits.empty());
    EXPECT_FALSE(last.next.has_value());
  }
  request.after = {};
  request.top_k = 21;
  EXPECT_FALSE(Search("c", request).next.has_value());
  request.after = SearchPosition{.depth = 10'000};
  const absl::Status deep = engine_->Search("c", request, {}).status();
  EXPECT_EQ(FieldOf(deep), "page_token");
  EXPECT_THAT(std::string(deep.message()), testing::HasSubstr("10000"));
}

TEST_F(ShapesTest, GroupsAreThoseOfBruteForce) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    const std::string name = metric == Metric::kDot ? "dot" : "l2";
    Fill(name, metric, 90);  // few enough for groups to be filled from all
    const std::vector<float> query = Whole();
    const std::vector<Row> rows = Ranked(name, query);
    for (const std::string field : {"n", "s.t", "l", "some", "nothing"}) {
      for (const int size : {1, 2, 5}) {
        for (const int top_k : {1, 3, 10, 100}) {
          std::vector<std::pair<GroupValue, std::vector<std::string>>> groups;
          for (const Row& row : rows) {
            const GroupValue value = MetadataValue(row.metadata, field);
            auto at = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
              return value != GroupValue() && group.first == value;
            });
            if (at == groups.end()) {
              if (groups.size() == static_cast<size_t>(top_k)) continue;
              at = groups.insert(at, {value, {}});
            }
            if (at->second.size() < static_cast<size_t>(size)) at->second.push_back(row.id);
          }
          SearchRequest request{.query = VectorQuery{query}, .top_k = top_k};
          request.group_by = {field, size};
          const SearchResult result = Search(name, request);
          std::vector<std::string> expected;
          std::vector<GroupValue> values, got;
          for (const auto& [value, ids] : groups) {
            expected.insert(expected.end(), ids.begin(), ids.end());
            values.insert(values.end(), ids.size(), value);
          }
          for (const SearchHit& hit : result.hits) got.push_back(result.groups.at(hit.group));
          EXPECT_EQ(Ids(result), expected) << field << " " << size << " " << top_k;
          EXPECT_EQ(got, values);
          EXPECT_FALSE(result.next.has_value());
        }
      }
    }
  }
}

// The documents of one group fill the first candidates many times over.
TEST_F(ShapesTest, GroupsAreSoughtFarBehindALargeOne) {
  Create("c", kShards, Metric::kL2, "");
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 3000; ++i) {
    std::vector<float> vector(kDimension);
    vector[0] = static_cast<float>(i);
    writes.push_back(Vector(absl::StrCat("d", i), vector));
    writes.back().document.metadata =
        absl::StrCat(R"({"g":")", i < 2500 ? "large" : absl::StrCat("g", i / 100), R"("})");
    if (writes.size() == 1000) Upsert("c", std::exchange(writes, {}));
  }
  SearchRequest request{.query = VectorQuery{std::vector<float>(kDimension)}, .top_k = 4};
  request.group_by = {"g", 1};
  EXPECT_THAT(Ids(Search("c", request)), ElementsAre("d0", "d2500", "d2600", "d2700"));
  request.parts = {.text = false, .metadata = false};
  EXPECT_THAT(Ids(Search("c", request)), ElementsAre("d0", "d2500", "d2600", "d2700"));
  // A group's members are sought among the nearest 10 · top_k · group_size, 100 at least.
  request.top_k = 1;
  request.group_by = {"g", 100};
  EXPECT_THAT(Search("c", request).hits, SizeIs(100));
  EXPECT_TRUE(Delete("c", "d0").status.ok());
  DocumentWrite first = Vector("first", std::vector<float>(kDimension));
  first.document.metadata = R"({"g":"rare"})";
  DocumentWrite second = first, third = first;
  second.document.id = "second";
  second.document.vector[0] = 98.5f;  // the 100th
  third.document.id = "third";
  third.document.vector[0] = 99.5f;
  Upsert("c", {first, second, third});
  request.group_by = {"g", 3};
  EXPECT_THAT(Ids(Search("c", request)), ElementsAre("first", "second"));
}

TEST_F(ShapesTest, DiverseHitsAreThoseOfTheDefinition) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    const std::string name = metric == Metric::kDot ? "dot" : "l2";
    Fill(name, metric, 300);
    const double sign = metric == Metric::kL2 ? -1 : 1;
    const std::vector<float> query = Whole();
    const std::vector<Row> rows = Ranked(name, query);
    for (const float lambda : {0.0f, 0.25f, 0.5f, 1.0f}) {
      for (const int candidates : {0, 10, 120, 1000}) {
        const size_t n = std::min<size_t>(candidates == 0 ? 50 : candidates, rows.size());
        std::vector<size_t> order;
        while (order.size() < 10) {
          size_t best = n;
          double best_value = 0;
          for (size_t i = 0; i < n; ++i) {
            if (std::find(order.begin(), order.end(), i) != order.end()) continue;
            double value = lambda * sign * rows[i].score, nearest = -1e300;
            for (const size_t j : order) {
              double like = 0;
              for (int x = 0; x < kDimension; ++x) {
                const double a = rows[i].vector[x], b = rows[j].vector[x];
                like += metric == Metric::kL2 ? -(a - b) * (a - b) : a * b;
              }
              nearest = std::max(nearest, like);
            }
            if (!order.empty()) value -= (1 - lambda) * nearest;
            if (best == n || value > best_value) {
              best = i;
              best_value = value;
            }
          }
          order.push_back(best);
        }
        SearchRequest request{.query = VectorQuery{query}, .top_k = 10};
        request.diversify = {lambda, candidates};
        const SearchResult result = Search(name, request);
        ASSERT_THAT(result.hits, SizeIs(10));
        for (size_t i = 0; i < 10; ++i) {
          EXPECT_EQ(result.hits[i].document.id, rows[order[i]].id) << lambda << " " << candidates;
          EXPECT_EQ(result.hits[i].score, rows[order[i]].score);
        }
        EXPECT_FALSE(result.next.has_value());
      }
    }
  }
}

TEST_F(ShapesTest, DiverseNeighboursOfADocumentLeaveItOut) {
  Fill("c", Metric::kL2, 40);
  SearchRequest request{.query = DocumentQuery{"d3"}, .top_k = 39};
  request.diversify = {0.5f, 0};
  const std::vector<std::string> found = Ids(Search("c", request));
  EXPECT_THAT(std::set<std::string>(found.begin(), found.end()), SizeIs(39));
  EXPECT_THAT(found, testing::Not(testing::Contains("d3")));
}

// Between the scan and the look at a candidate it is deleted: the search makes up for it.
TEST_F(ShapesTest, WhatGoesAwayMeanwhileIsMadeUpFor) {
  for (const bool group : {true, false}) {
    const std::string name = group ? "groups" : "diverse";
    Fill(name, Metric::kL2, 60);
    SearchRequest request{.query = VectorQuery{Whole()}, .top_k = 8};
    if (group) {
      request.group_by = {"nothing", 1};
    } else {
      request.diversify = {1, 8};
    }
    const std::vector<std::string> before = Ids(Search(name, request));
    int reads = 0;
    store_.fault = [&](std::string_view operation) {
      if (operation == "GetDocuments" && reads++ == 0) {
        EXPECT_TRUE(Delete(name, before[2]).status.ok());
      }
      return absl::OkStatus();
    };
    const double reruns = metrics_.Value("vecino_search_reruns_total");
    const std::vector<std::string> after = Ids(Search(name, request));
    store_.fault = nullptr;
    EXPECT_EQ(metrics_.Value("vecino_search_reruns_total"), reruns + 1);
    ASSERT_THAT(after, SizeIs(8));
    std::vector<std::string> expected = before;
    expected.erase(expected.begin() + 2);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), after.begin()));
  }
}

// Writers that win every race are made to wait, and then the answer is whole.
TEST_F(ShapesTest, GroupsUnderWritersThatAlwaysWin) {
  Fill("c", Metric::kL2, 30);
  SearchRequest request{.query = VectorQuery{Whole()}, .top_k = 30};
  request.group_by = {"nothing", 1};
  int round = 0;
  store_.fault = [&](std::string_view operation) {
    if (operation == "GetDocuments" && round < 4) {
      ++round;
      Upsert("c", {Vector("d0", Whole()), Vector("d1", Whole()), Vector("d2", Whole())});
    }
    return absl::OkStatus();
  };
  const std::vector<std::string> found = Ids(Search("c", request));
  store_.fault = nullptr;
  EXPECT_EQ(round, 4);
  EXPECT_THAT(std::set<std::string>(found.begin(), found.end()), SizeIs(30));
}

TEST_F(ShapesTest, ShapesSayWhatIsWrong) {
  Fill("c", Metric::kDot, 3);
  const auto field = [&](auto change) {
    SearchRequest request{.query = VectorQuery{Whole()}};
    change(request);
    const absl::Status status = engine_->Search("c", request, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return FieldOf(status);
  };
  EXPECT_EQ(field([](auto& r) { r.min_score = NAN; }), "min_score");
  EXPECT_EQ(field([](auto& r) { r.min_score = INFINITY; }), "min_score");
  EXPECT_EQ(field([](auto& r) { r.group_by = {"", 1}; }), "group_by.field");
  EXPECT_EQ(field([](auto& r) { r.group_by = {"a..b", 1}; }), "group_by.field");
  EXPECT_EQ(field([](auto& r) { r.group_by = {".a", 1}; }), "group_by.field");
  EXPECT_EQ(field([](auto& r) { r.group_by = {std::string(513, 'x'), 1}; }), "group_by.field");
  EXPECT_EQ(field([](auto& r) { r.group_by = {"a", 0}; }), "group_by.group_size");
  EXPECT_EQ(field([](auto& r) { r.group_by = {"a", 101}; }), "group_by.group_size");
  EXPECT_EQ(field([](auto& r) {
              r.group_by = {"a", 100};
              r.top_k = 11;
            }),
            "group_by.group_size");
  EXPECT_EQ(field([](auto& r) { r.diversify = {-0.1f, 0}; }), "diversify.lambda");
  EXPECT_EQ(field([](auto& r) { r.diversify = {NAN, 0}; }), "diversify.lambda");
  EXPECT_EQ(field([](auto& r) { r.diversify = {0.5f, 9}; }), "diversify.candidates");
  EXPECT_EQ(field([](auto& r) { r.diversify = {0.5f, 1001}; }), "diversify.candidates");
  EXPECT_EQ(field([](auto& r) {
              r.diversify = {0.5f, 0};
              r.group_by = {"a", 1};
            }),
            "diversify");
  EXPECT_EQ(field([](auto& r) {
              r.diversify = {0.5f, 0};
              r.after = SearchPosition{.depth = 1};
            }),
            "page_token");
  EXPECT_EQ(field([](auto& r) {
              r.group_by = {"a", 1};
              r.after = SearchPosition{.depth = 1};
            }),
            "page_token");
}

}  // namespace
}  // namespace vecino::engine
