// A collection and a plain map of what is in it, for tests of filters.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/fields/filter.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/fields/random_rows.h"

namespace vecino::engine {

class EngineFilterTest : public EngineTest {
 protected:
  struct Stored {
    std::vector<float> vector;
    std::string json;
  };

  void SetUp() override {
    folder_ = testing::TempDir() + "/engine_filter_" + std::to_string(getpid());
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
      if (!exact) {
        const size_t wanted = result->hits.size();
        wanted_ += static_cast<int64_t>(wanted);
        for (const SearchHit& hit : result->hits) found_ += hit.score <= scores[wanted - 1] + 1e-4f;
      }
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
  // Of the searches that were not to be exact: hits, and those of them that are true ones.
  int64_t wanted_ = 0, found_ = 0;
};

}  // namespace vecino::engine
