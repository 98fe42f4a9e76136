#include "server/index/faiss_segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "server/index/faiss_build.h"
#include "server/index/shard_index.h"
#include "tests/server/index/faiss_rows.h"

namespace vecino::index {
namespace {

const auto kGoOn = [] { return absl::OkStatus(); };

// A shard whose rows have all been frozen.
struct Source {
  Source(Metric metric, int d, const std::vector<float>& rows, const std::set<int>& removed = {})
      : index({.metric = metric, .dimension = d, .tail_capacity = 1 << 14}) {
    const int n = static_cast<int>(rows.size()) / d;
    for (int i = 0; i < n; ++i) index.Add(LabelOf(i), &rows[static_cast<size_t>(i) * d]);
    for (const int i : removed) index.Remove(LabelOf(i));
    index.FreezeTail();
    frozen.emplace(*index.FreezeForDrain(10));
  }
  ShardIndex index;
  std::optional<FrozenRows> frozen;
};

std::string TempPath(const std::string& name) {
  return testing::TempDir() + "/faiss_segment_" + std::to_string(getpid()) + "_" + name;
}

enum class Rows { kUnit, kInnerProduct, kL2 };

using Param = std::tuple<IndexKind, Rows>;

class FaissSegmentTest : public testing::TestWithParam<Param> {
 protected:
  IndexKind kind() const { return std::get<0>(GetParam()); }
  bool unit() const { return std::get<1>(GetParam()) == Rows::kUnit; }
  Metric metric() const {
    return std::get<1>(GetParam()) == Rows::kL2 ? Metric::kL2 : Metric::kInnerProduct;
  }
  bool is_lsh() const { return kind() == IndexKind::kLsh; }
  bool is_hnsw() const { return kind() == IndexKind::kHnsw; }

  std::shared_ptr<const FaissSegment> Build(const std::vector<float>& rows, int d,
                                            const std::set<int>& removed = {},
                                            const std::string& path = "", IndexSpec spec = {}) {
    Source source(metric(), d, rows, removed);
    spec.kind = kind();
    spec.ef_construction = 60;
    auto segment = FaissSegment::Build(*source.frozen, metric(), d, unit(), spec, path, kGoOn);
    EXPECT_TRUE(segment.ok()) << segment.status();
    return segment.ok() ? *segment : nullptr;
  }

  std::vector<Hit> Search(const Segment& segment, const float* query, SearchParams params,
                          const Tombstones& dead, const uint64_t* allowed = nullptr) {
    TopK top(metric(), params.k);
    EXPECT_TRUE(segment.Search(query, params, dead, allowed, &top).ok());
    return top.Take();
  }

  // What is right, among the slots for which `pass` is true.
  template <typename Pass>
  std::vector<Hit> Truth(const Segment& segment, const float* query, int k, Pass pass) {
    TopK top(metric(), k);
    for (int64_t slot = 0; slot < segment.size(); ++slot) {
      if (!pass(slot)) continue;
      top.Push(segment.label(slot),
               static_cast<float>(
                   ExactScore(metric(), query, segment.vector(slot), segment.dimension())));
    }
    return top.Take();
  }

  // Checks what must hold of each answer and returns its share of the truth.
  template <typename Pass>
  double CheckedRecall(const Segment& segment, const float* query, const std::vector<Hit>& hits,
                       int k, Pass pass) {
    const std::vector<Hit> truth = Truth(segment, query, k, pass);
    EXPECT_EQ(hits.size(), truth.size());
    std::set<uint64_t> labels;
    double found = 0;
    for (const Hit& hit : hits) {
      EXPECT_TRUE(labels.insert(hit.label).second) << "twice: " << hit.label;
      const int64_t slot = segment.FindSlot(hit.label);
      EXPECT_GE(slot, 0) << hit.label;
      if (slot < 0) continue;
      EXPECT_TRUE(pass(slot)) << hit.label;
      const double exact = ExactScore(metric(), query, segment.vector(slot), segment.dimension());
      EXPECT_NEAR(hit.score, exact, 1e-4 * std::max(1.0, std::abs(exact)));
      const float last = truth.back().score;
      const float tie = 1e-5f * std::max(1.0f, std::abs(last));
      found += metric() == Metric::kL2 ? hit.score <= last + tie : hit.score >= last - tie;
    }
    EXPECT_TRUE(std::is_sorted(hits.begin(), hits.end(), [&](const Hit& a, const Hit& b) {
      return RanksBefore(metric(), a, b);
    }));
    return truth.empty() ? 1 : found / static_cast<double>(truth.size());
  }
};

TEST_P(FaissSegmentTest, FindsTheNearestAndLeavesOutTheDeadAndTheFiltered) {
  const int d = 32, n = is_hnsw() ? 2800 : 4000, k = 10, queries = 40;
  const std::vector<float> all = ClusteredRows(n + queries, d, unit());
  const std::vector<float> rows(all.begin(), all.begin() + n * d);
  const float* query = &all[static_cast<size_t>(n) * d];
  const std::set<int> removed = {0, 5, 77, n - 1};
  const auto segment = Build(rows, d, removed);
  ASSERT_NE(segment, nullptr);
  EXPECT_EQ(segment->size(), n - static_cast<int>(removed.size()));
  EXPECT_EQ(segment->dimension(), d);
  EXPECT_EQ(segment->metric(), metric());
  EXPECT_EQ(SegmentKindName(segment->kind()), IndexKindName(kind()));
  EXPECT_GT(segment->memory().codes, 0);
  EXPECT_EQ(segment->memory().mapped, 0);
  EXPECT_EQ(segment->memory().vectors, segment->size() * d * 4);
  for (int64_t i = 0; i < segment->size(); ++i) {
    const int64_t slot = segment->InLabelOrder(i);
    ASSERT_EQ(segment->FindSlot(segment->label(slot)), slot);
    const auto row = (segment->label(slot) - 100) / 3;
    ASSERT_EQ(removed.count(static_cast<int>(row)), 0u);
    ASSERT_EQ(segment->vector(slot)[d - 1], rows[row * d + d - 1]);
    if (i > 0) {
      ASSERT_GT(segment->label(slot), segment->label(segment->InLabelOrder(i - 1)));
    }
  }
  EXPECT_EQ(segment->FindSlot(LabelOf(77)), -1);
  EXPECT_EQ(segment->FindSlot(LabelOf(n)), -1);

  // Measured .95 is promised for rows like these; 40 queries tell it to ±.03.
  const Tombstones none(segment->size());
  double recall = 0, exact = 0;
  for (int q = 0; q < queries; ++q, query += d) {
    const auto any = [](int64_t) { return true; };
    recall += CheckedRecall(*segment, query, Search(*segment, query, {.k = k}, none), k, any);
    exact += CheckedRecall(*segment, query, Search(*segment, query, {.k = k, .exact = true}, none),
                           k, any);
  }
  EXPECT_GE(recall / queries, 0.9);
  EXPECT_EQ(exact / queries, 1);

  std::mt19937 rng(3);
  Tombstones dead(segment->size());
  for (int64_t slot = 0; slot < segment->size(); ++slot) {
    if (rng() % 4 == 0) dead.Kill(slot);
  }
  for (const double share : {1.0, 0.5, 0.1, 0.01, 0.001}) {
    std::vector<uint64_t> bits(dead.word_count());
    std::bernoulli_distribution pass(share);
    for (int64_t slot = 0; slot < segment->size(); ++slot) {
      if (pass(rng)) bits[slot / 64] |= uint64_t{1} << slot % 64;
    }
    const auto passes = [&](int64_t slot) {
      return !dead.IsDead(slot) && (bits[slot / 64] >> (slot % 64) & 1) != 0;
    };
    query = &all[static_cast<size_t>(n) * d];
    recall = 0;
    for (int q = 0; q < queries; ++q, query += d) {
      const auto hits = Search(*segment, query, {.k = k}, dead, bits.data());
      recall += CheckedRecall(*segment, query, hits, k, passes);
    }
    EXPECT_GE(recall / queries, 0.9) << share;
  }
}

TEST_P(FaissSegmentTest, FindsKRowsHoweverNarrowTheSearchAndHoweverFarTheyLie) {
  const int d = 16, n = is_hnsw() ? 2500 : 6000;
  const std::vector<float> rows = ClusteredRows(n, d, unit());
  const auto segment = Build(rows, d);
  ASSERT_NE(segment, nullptr);
  // The nearest half is dead: what is left lies where a narrow search does not look.
  const float* query = rows.data();
  const auto any = [](int64_t) { return true; };
  Tombstones dead(n);
  const std::vector<Hit> nearest = Truth(*segment, query, n / 2, any);
  for (const Hit& hit : nearest) dead.Kill(segment->FindSlot(hit.label));
  const auto alive = [&](int64_t slot) { return !dead.IsDead(slot); };
  for (const int k : {1, 10, 300, 2500, n}) {
    const SearchParams narrow = {.k = k, .nprobe = 1, .ef = 1, .rerank = 1};
    CheckedRecall(*segment, query, Search(*segment, query, narrow, dead), k, alive);
  }
  for (int64_t slot = 0; slot < n; ++slot) dead.Kill(slot);
  EXPECT_TRUE(Search(*segment, query, {.k = 10}, dead).empty());
}

TEST_P(FaissSegmentTest, FewRowsAreNoProblem) {
  // FAISS refuses to train 256 code words, or 39 · nlist rows, on these.
  for (const int d : {1, 6, 31}) {
    for (const int n : {1, 2, 15, 100}) {
      const std::vector<float> rows = ClusteredRows(n, d, unit());
      const IndexSpec greedy = {.nlist = 4096, .pq_m = 1000, .pq_bits = 12, .lsh_bits = 13};
      for (const IndexSpec& spec : {IndexSpec{}, greedy}) {
        const auto segment = Build(rows, d, {}, "", spec);
        ASSERT_NE(segment, nullptr) << n << " " << d;
        const Tombstones none(n);
        for (const int k : {1, 3, n, n + 5}) {
          const auto hits = Search(*segment, rows.data(), {.k = k}, none);
          CheckedRecall(*segment, rows.data(), hits, k, [](int64_t) { return true; });
        }
      }
    }
  }
}

TEST_P(FaissSegmentTest, EqualRowsAndConstantDimensionsAreNoProblem) {
  const int d = 8, n = is_hnsw() ? 100 : 300;
  std::vector<float> rows(static_cast<size_t>(n) * d, unit() ? std::sqrt(1.0f / d) : 0.0f);
  const auto segment = Build(rows, d);
  ASSERT_NE(segment, nullptr);
  const Tombstones none(n);
  for (const int k : {10, n}) {
    const auto hits = Search(*segment, rows.data(), {.k = k}, none);
    CheckedRecall(*segment, rows.data(), hits, k, [](int64_t) { return true; });
  }
}

TEST_P(FaissSegmentTest, ComesBackFromItsFileAsItWas) {
  const int d = 24, n = is_hnsw() ? 1200 : 2500;
  const std::vector<float> rows = ClusteredRows(n, d, unit());
  const std::string path = TempPath(std::string(IndexKindName(kind())));
  const auto built = Build(rows, d, {}, path);
  ASSERT_NE(built, nullptr);
  const auto opened = FaissSegment::Open(path, SegmentFile::Verify::kAll);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto again = Build(rows, d);  // equal input gives equal output
  EXPECT_EQ((*opened)->kind(), built->kind());
  EXPECT_EQ((*opened)->file()->path(), path);
  EXPECT_GT((*opened)->memory().mapped, n * d * 4);
  EXPECT_EQ((*opened)->memory().total(), built->memory().total());
  Tombstones dead(n);
  for (int i = 0; i < 100; ++i) dead.Kill(i * 7);
  for (int q = 0; q < 50; ++q) {
    const float* query = &rows[static_cast<size_t>(q) * 23 * d];
    const auto expected = Search(*built, query, {.k = 20}, dead);
    for (const auto& segment : {*opened, again}) {
      const auto hits = Search(*segment, query, {.k = 20}, dead);
      ASSERT_EQ(hits.size(), expected.size());
      for (size_t i = 0; i < hits.size(); ++i) {
        EXPECT_EQ(hits[i].label, expected[i].label);
        EXPECT_EQ(hits[i].score, expected[i].score);
      }
    }
  }
  std::filesystem::remove(path);
}

TEST_P(FaissSegmentTest, ADamagedFileIsDataLoss) {
  const int d = 8, n = 500;
  const std::string path = TempPath("damaged_" + std::string(IndexKindName(kind())));
  ASSERT_NE(Build(ClusteredRows(n, d, unit()), d, {}, path), nullptr);
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  in.close();
  const auto open = [&](const std::string& bytes, SegmentFile::Verify verify) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return FaissSegment::Open(path, verify).status();
  };
  ASSERT_TRUE(open(good, SegmentFile::Verify::kAll).ok());
  // A byte in the middle of each page. Verified, every one that matters is noticed; not verified,
  // the file may still be opened, but never takes the process down.
  int noticed = 0, noticed_quickly = 0, pages = 0;
  for (size_t at = 40; at < good.size(); at += 4096, ++pages) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    const absl::Status all = open(bad, SegmentFile::Verify::kAll);
    const absl::Status quick = open(bad, SegmentFile::Verify::kTable);
    noticed += all.code() == absl::StatusCode::kDataLoss;
    noticed_quickly += quick.code() == absl::StatusCode::kDataLoss;
    EXPECT_TRUE(all.ok() || all.code() == absl::StatusCode::kDataLoss) << at << " " << all;
    EXPECT_TRUE(quick.ok() || quick.code() == absl::StatusCode::kDataLoss) << at << " " << quick;
  }
  EXPECT_GE(noticed, pages - 4);  // some hit padding
  EXPECT_GE(noticed_quickly, 2);  // the description and the FAISS part always are
  EXPECT_EQ(open(good.substr(0, good.size() / 2), SegmentFile::Verify::kTable).code(),
            absl::StatusCode::kDataLoss);
  std::filesystem::remove(path);
  EXPECT_EQ(FaissSegment::Open(path, SegmentFile::Verify::kAll).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_P(FaissSegmentTest, ACheckpointEndsTheBuild) {
  const int d = 16, n = is_hnsw() ? 500 : 1500;
  const std::vector<float> rows = ClusteredRows(n, d, unit());
  Source source(metric(), d, rows);
  int calls = 0;
  const IndexSpec spec = {.kind = kind()};
  const auto count = [&] {
    ++calls;
    return absl::OkStatus();
  };
  ASSERT_TRUE(FaissSegment::Build(*source.frozen, metric(), d, unit(), spec, "", count).ok());
  EXPECT_GT(calls, 10);
  for (const int last : {1, calls / 3, calls / 2, calls - 1}) {
    int left = last;
    const auto stop = [&] {
      return --left > 0 ? absl::OkStatus() : absl::CancelledError("enough");
    };
    EXPECT_EQ(
        FaissSegment::Build(*source.frozen, metric(), d, unit(), spec, "", stop).status().code(),
        absl::StatusCode::kCancelled)
        << last << " of " << calls;
  }
}

TEST_P(FaissSegmentTest, WhatWasAskedForWhenItWasBuiltDoesNotBindSearches) {
  const int d = 16, n = is_hnsw() ? 1000 : 4000;
  const IndexSpec wide = {.nprobe = 9, .ef_search = 77};
  const std::vector<float> rows = ClusteredRows(n, d, unit());
  const auto asked = Build(rows, d, {}, "", wide);
  const auto measured = Build(rows, d);
  ASSERT_TRUE(asked != nullptr && measured != nullptr);
  // A collection's nprobe and ef_search may change: who searches passes them on.
  EXPECT_EQ(asked->BreadthFor(0.95, 10), measured->BreadthFor(0.95, 10));
  EXPECT_EQ(measured->calibration().queries, 200);
  EXPECT_LE(measured->BreadthFor(0.8, 10), measured->BreadthFor(0.97, 10));
  // A walk of HNSW is never narrower than k, whatever ef: so many rows are found with the least.
  if (kind() == IndexKind::kHnsw) {
    EXPECT_LE(measured->BreadthFor(0.9, 10), measured->BreadthFor(0.9, 1000));
  } else {
    EXPECT_LT(measured->BreadthFor(0.9, 10), measured->BreadthFor(0.9, 1000));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FaissSegmentTest,
    testing::Combine(testing::Values(IndexKind::kIvfFlat, IndexKind::kIvfSq8, IndexKind::kIvfPq,
                                     IndexKind::kHnsw, IndexKind::kLsh),
                     testing::Values(Rows::kUnit, Rows::kInnerProduct, Rows::kL2)),
    [](const auto& param) {
      const Rows rows = std::get<1>(param.param);
      return std::string(IndexKindName(std::get<0>(param.param))) + (rows == Rows::kUnit ? "_unit"
                                                                     : rows == Rows::kL2 ? "_l2"
                                                                                         : "_ip");
    });

TEST(FaissSegment, NoLiveRowGivesNull) {
  Source source(Metric::kL2, 4, std::vector<float>(8), {0, 1});
  const auto segment = FaissSegment::Build(*source.frozen, Metric::kL2, 4, false,
                                           {.kind = IndexKind::kHnsw}, "", kGoOn);
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(*segment, nullptr);
}

TEST(FaissSegment, RefusesOtherKindsAndOtherDimensions) {
  Source source(Metric::kL2, 4, std::vector<float>(8));
  for (const IndexKind kind : {IndexKind::kAuto, IndexKind::kFlat}) {
    EXPECT_EQ(FaissSegment::Build(*source.frozen, Metric::kL2, 4, false, {.kind = kind}, "", kGoOn)
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
  auto segment = FaissSegment::Build(*source.frozen, Metric::kL2, 4, false,
                                     {.kind = IndexKind::kLsh}, "", kGoOn);
  ASSERT_TRUE(segment.ok());
  ShardIndex other({.metric = Metric::kL2, .dimension = 4, .tail_capacity = 8});
  other.AddSegment(*segment);
  EXPECT_EQ(FaissSegment::Build(*other.FreezeForMerge(0, 1), Metric::kL2, 5, false,
                                {.kind = IndexKind::kLsh}, "", kGoOn)
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(FaissBuild, WishesGiveTheNearestPossible) {
  EXPECT_EQ(FaissLists(0, 1), 1);
  EXPECT_EQ(FaissLists(4096, 1000), 25);
  EXPECT_EQ(FaissLists(7, 1000), 7);
  EXPECT_EQ(FaissSubQuantizers(0, 384), 96);
  EXPECT_EQ(FaissSubQuantizers(0, 31), 31);
  EXPECT_EQ(FaissSubQuantizers(0, 1), 1);
  EXPECT_EQ(FaissSubQuantizers(100, 384), 96);
  EXPECT_EQ(FaissSubQuantizers(1000, 6), 6);
  EXPECT_EQ(FaissSubQuantizers(30, 31), 1);
  EXPECT_EQ(FaissCodeBits(0, 1'000'000), 8);
  EXPECT_EQ(FaissCodeBits(12, 1'000'000), 8);
  EXPECT_EQ(FaissCodeBits(8, 100), 6);
  EXPECT_EQ(FaissCodeBits(8, 1), 1);
  EXPECT_EQ(FaissSignatureBits(0, 384), 1536);
  EXPECT_EQ(FaissSignatureBits(0, 3), 16);
  EXPECT_EQ(FaissSignatureBits(13, 384), 16);
}

}  // namespace
}  // namespace vecino::index
