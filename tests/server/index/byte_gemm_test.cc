#include "server/index/byte_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows and columns of random floats, rounded, with what they stand for in double.
struct Problem {
  Problem(size_t n_rows, size_t n_columns, size_t d) : rows(n_rows, d), columns(n_columns, d) {
    std::mt19937 rng(static_cast<unsigned>(n_rows * 31 + n_columns * 7 + d));
    std::vector<float> scratch(GemmDepth(d));
    std::vector<uint8_t> codes(GemmDepth(d));
    for (size_t r = 0; r < n_rows; ++r) {
      row_values.push_back(RandomVector(rng, d));
      rows.Set(r, row_values[r].data(), nullptr);
    }
    for (size_t c = 0; c < n_columns; ++c) {
      column_values.push_back(RandomVector(rng, d));
      const RoundedRow rounded =
          RoundRow(column_values[c].data(), nullptr, d, scratch.data(), codes.data());
      offsets.push_back(rounded.norm / 2);
      columns.Set(c, codes.data(), rounded.scale, offsets[c]);
    }
  }

  double Exact(size_t r, size_t c) const {
    return ExactScore(Metric::kInnerProduct, row_values[r].data(), column_values[c].data(),
                      row_values[r].size()) -
           offsets[c];
  }

  GemmRowBuffer rows;
  GemmColumns columns;
  std::vector<std::vector<float>> row_values, column_values;
  std::vector<float> offsets;
};

TEST(RoundRowTest, RoundsToTheNearestOf255Steps) {
  std::mt19937 rng(3);
  for (size_t d : {1, 3, 4, 7, 64, 101}) {
    const std::vector<float> row = RandomVector(rng, d), centre = RandomVector(rng, d);
    std::vector<float> scratch(GemmDepth(d));
    std::vector<uint8_t> codes(GemmDepth(d), 7);
    const RoundedRow rounded = RoundRow(row.data(), centre.data(), d, scratch.data(), codes.data());
    double norm = 0;
    for (size_t i = 0; i < d; ++i) {
      const double x = static_cast<double>(row[i]) - centre[i];
      EXPECT_NEAR(rounded.scale * (codes[i] - 128), x, rounded.scale * 0.5001) << d << " " << i;
      EXPECT_GE(codes[i], 1);
      norm += x * x;
    }
    EXPECT_NEAR(rounded.norm, norm, 1e-5 * norm);
    for (size_t i = d; i < codes.size(); ++i) EXPECT_EQ(codes[i], 128);
  }
}

TEST(RoundRowTest, WhatCannotBeScaledIsZero) {
  for (float x : {0.0f, 1e-35f, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> row(6, x);
    std::vector<float> scratch(8);
    std::vector<uint8_t> codes(8, 7);
    EXPECT_EQ(RoundRow(row.data(), nullptr, 6, scratch.data(), codes.data()).scale, 0) << x;
    EXPECT_EQ(codes, std::vector<uint8_t>(8, 128)) << x;
  }
}

TEST(ByteGemmTest, FindsTheBestColumnAlikeAtEveryLevel) {
  for (const auto& [n, k, d] : {std::tuple<size_t, size_t, size_t>{1, 1, 1},
                                {6, 64, 64},
                                {7, 65, 3},
                                {20, 200, 50},
                                {13, 130, 384}}) {
    const Problem problem(n, k, d);
    const GemmRows rows = problem.rows.Rows(0, n);
    ASSERT_EQ(rows.n % kTileRows, 0u);
    std::vector<std::vector<BestColumns>> found;
    for (CpuLevel level : SupportedCpuLevels()) {
      std::vector<BestColumns> best(rows.n);
      for (BestColumns& b : best) b.Reset();
      for (size_t p = 0; p < problem.columns.panels(); ++p) {
        FindBest(rows, problem.columns, p, best.data(), level);
      }
      found.push_back(best);
    }
    for (size_t r = 0; r < n; ++r) {
      double best = -1e30;
      for (size_t c = 0; c < k; ++c) best = std::max(best, problem.Exact(r, c));
      float score;
      const uint32_t column = found[0][r].Take(&score);
      ASSERT_LT(column, k);
      const double error = 0.03 * std::sqrt(static_cast<double>(d)) + 1e-3;
      EXPECT_NEAR(score, problem.Exact(r, column), error);
      EXPECT_GE(problem.Exact(r, column), best - 2 * error);
    }
    for (size_t level = 1; level < found.size(); ++level) {
      EXPECT_EQ(std::memcmp(found[level].data(), found[0].data(), n * sizeof(BestColumns)), 0)
          << n << " " << k << " " << d << " level " << level;
    }
  }
}

TEST(ByteGemmTest, LargestBytesDoNotSaturate) {
  constexpr size_t kD = 512;
  GemmRowBuffer rows(6, kD);
  const std::vector<float> high(kD, 1), low(kD, -1);
  rows.Set(0, high.data(), nullptr);
  rows.Set(1, low.data(), nullptr);
  std::vector<uint8_t> codes(kD, 255);
  GemmColumns columns(2, kD);
  columns.Set(0, codes.data(), 1, 0);
  std::fill(codes.begin(), codes.end(), 1);
  columns.Set(1, codes.data(), 1, 0);
  for (CpuLevel level : SupportedCpuLevels()) {
    std::vector<BestColumns> best(6);
    for (BestColumns& b : best) b.Reset();
    FindBest(rows.Rows(0, 6), columns, 0, best.data(), level);
    float score;
    EXPECT_EQ(best[0].Take(&score), 0u);
    EXPECT_NEAR(score, kD * 127.0, 1) << CpuLevelName(level);
    EXPECT_EQ(best[1].Take(&score), 1u);
    EXPECT_NEAR(score, kD * 127.0, 1) << CpuLevelName(level);
  }
}

TEST(ByteGemmTest, EqualColumnsGoToTheFirst) {
  GemmRowBuffer rows(1, 8);
  const std::vector<float> row(8, 1);
  rows.Set(0, row.data(), nullptr);
  const std::vector<uint8_t> codes(8, 200);
  GemmColumns columns(150, 8);
  for (size_t c = 5; c < 150; ++c) columns.Set(c, codes.data(), 1, 1);
  for (CpuLevel level : SupportedCpuLevels()) {
    std::vector<BestColumns> best(6);
    for (BestColumns& b : best) b.Reset();
    for (size_t p = 0; p < columns.panels(); ++p) {
      FindBest(rows.Rows(0, 1), columns, p, best.data(), level);
    }
    float score;
    EXPECT_EQ(best[0].Take(&score), 5u);
  }
}

TEST(ByteGemmTest, FindsWhatIsAboveTheThresholdAlikeAtEveryLevel) {
  constexpr size_t kRows = 19, kColumns = 100, kD = 30;
  const Problem problem(kRows, kColumns, kD);
  const GemmRows rows = problem.rows.Rows(0, kRows);
  std::vector<float> offsets(rows.n, kInfinity);
  for (size_t r = 0; r < kRows; ++r) offsets[r] = 0.1f * static_cast<float>(r);
  std::vector<float> thresholds(2 * kTileColumns, kInfinity);
  for (size_t c = 0; c < kColumns; ++c) thresholds[c] = c % 3 == 0 ? -kInfinity : -13.0f;
  std::vector<GemmHit> expected;
  for (CpuLevel level : SupportedCpuLevels()) {
    std::vector<GemmHit> all;
    for (size_t p = 0; p < 2; ++p) {
      std::vector<GemmHit> hits(rows.n * kTileColumns);
      hits.resize(FindAbove(rows, offsets.data(), problem.columns, p,
                            thresholds.data() + p * kTileColumns, hits.data(), level));
      for (size_t i = 1; i < hits.size(); ++i) EXPECT_LE(hits[i - 1].row, hits[i].row);
      all.insert(all.end(), hits.begin(), hits.end());
    }
    if (expected.empty()) {
      expected = all;
      size_t certain = 0;
      for (size_t r = 0; r < kRows; ++r) {
        for (size_t c = 0; c < kColumns; ++c) {
          certain += problem.Exact(r, c) - offsets[r] > thresholds[c] + 0.3;
        }
      }
      EXPECT_GE(all.size(), certain);
      for (const GemmHit& hit : all) {
        ASSERT_LT(hit.row, kRows);
        EXPECT_GT(hit.score, thresholds[hit.column]);
        EXPECT_NEAR(hit.score, problem.Exact(hit.row, hit.column) - offsets[hit.row], 0.3);
      }
    }
    ASSERT_EQ(all.size(), expected.size()) << CpuLevelName(level);
    EXPECT_EQ(std::memcmp(all.data(), expected.data(), all.size() * sizeof(GemmHit)), 0)
        << CpuLevelName(level);
  }
}

}  // namespace
}  // namespace vecino::index
