#include "server/index/int8_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

double TrueError(const float* row, size_t d, const uint8_t* codes, float scale) {
  long double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    const long double off = row[i] - static_cast<long double>(scale) * (codes[i] - 128);
    sum += off * off;
  }
  return static_cast<double>(sqrtl(sum));
}

// n random rows, rounded, and a query.
struct Fixture {
  Fixture(Metric metric, size_t d_, size_t n_, uint32_t seed) : d(d_), n(n_) {
    std::mt19937 rng(seed);
    floats = RandomVector(rng, n * d);
    query = RandomVector(rng, d);
    codes.resize(n * Int8Stride(d));
    for (size_t i = 0; i < n; ++i) {
      scales.push_back(QuantizeRow(&floats[i * d], d, &codes[i * Int8Stride(d)]));
      const std::vector<float> zeros(d);
      norms.push_back(static_cast<float>(ExactScore(Metric::kL2, &floats[i * d], zeros.data(), d)));
    }
    rows = {metric, d, codes.data(), scales.data(), metric == Metric::kL2 ? norms.data() : nullptr};
  }

  float Expected(const Int8Query& q, size_t row) const {
    int32_t dot = 0;
    for (size_t i = 0; i < d; ++i) {
      dot += (codes[row * Int8Stride(d) + i] - 128) * q.codes()[i];
    }
    const float product = static_cast<float>(dot) * (scales[row] * q.scale());
    if (rows.metric == Metric::kInnerProduct) return product;
    return norms[row] + q.squared_norm() - 2 * product;
  }

  size_t d, n;
  std::vector<float> floats, query, scales, norms;
  std::vector<uint8_t> codes;
  Int8Rows rows;
};

TEST(Int8Rows, EveryLevelGivesTheBitsOfAPlainLoop) {
  for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    for (size_t d : {1, 3, 63, 64, 65, 100, 384, 769}) {
      const Fixture f(metric, d, 70, static_cast<uint32_t>(d));
      const Int8Query query(f.query.data(), d);
      for (CpuLevel level : SupportedCpuLevels()) {
        for (size_t n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 33, 61}) {
          const size_t first = 7;
          std::vector<uint32_t> slots(n);
          for (size_t i = 0; i < n; ++i) slots[i] = static_cast<uint32_t>(i * 31 % f.n);
          std::vector<float> range(n + 1, -77), named(n + 1, -77);
          ScoreRange(f.rows, query, first, n, range.data(), level);
          ScoreSlots(f.rows, query, slots.data(), n, named.data(), level);
          for (size_t i = 0; i < n; ++i) {
            ASSERT_EQ(range[i], f.Expected(query, first + i))
                << CpuLevelName(level) << " d=" << d << " n=" << n << " row " << i;
            ASSERT_EQ(named[i], f.Expected(query, slots[i]))
                << CpuLevelName(level) << " d=" << d << " n=" << n << " row " << i;
          }
          EXPECT_EQ(range[n], -77);
          EXPECT_EQ(named[n], -77);
        }
      }
    }
  }
}

// The largest products of 8 bits in each place, in all signs, in as many dimensions as are allowed.
TEST(Int8Rows, ExtremesDoNotOverflow) {
  const size_t d = 32768;
  for (float row_sign : {1.0f, -1.0f}) {
    for (float query_sign : {1.0f, -1.0f}) {
      const std::vector<float> row(d, row_sign), query(d, query_sign);
      std::vector<uint8_t> codes(Int8Stride(d));
      const float scale = QuantizeRow(row.data(), d, codes.data());
      const Int8Rows rows = {Metric::kInnerProduct, d, codes.data(), &scale, nullptr};
      for (CpuLevel level : SupportedCpuLevels()) {
        float score = 0;
        ScoreRange(rows, Int8Query(query.data(), d), 0, 1, &score, level);
        EXPECT_NEAR(score, row_sign * query_sign * static_cast<float>(d), 0.05f)
            << CpuLevelName(level);
      }
    }
  }
}

TEST(Int8Rows, ErrorsBoundWhatRoundingDidToProducts) {
  std::mt19937 rng(4);
  for (size_t d : {1, 5, 64, 100, 384}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      const Fixture f(Metric::kInnerProduct, d, 4, rng());
      const Int8Query query(f.query.data(), d);
      std::vector<float> scores(f.n);
      ScoreRange(f.rows, query, 0, f.n, scores.data());
      for (size_t i = 0; i < f.n; ++i) {
        const float* row = &f.floats[i * d];
        const uint8_t* codes = &f.codes[i * Int8Stride(d)];
        const float error = RowError(row, d, codes, f.scales[i]);
        EXPECT_GE(error, TrueError(row, d, codes, f.scales[i]));
        EXPECT_LE(error, TrueError(row, d, codes, f.scales[i]) * (1 + 1e-6) + 1e-30);
        // Half a step in each dimension.
        EXPECT_LE(error, f.scales[i] * 0.5001 * std::sqrt(static_cast<double>(d)));
        const double exact = ExactScore(Metric::kInnerProduct, f.query.data(), row, d);
        const double query_length = std::sqrt(query.squared_norm());
        const double row_length = std::sqrt(f.norms[i]);
        // What the header says floats add: 3 · 2^-24 of the product.
        const double floats = 2e-7 * std::fabs(scores[i]);
        EXPECT_LE(
            std::fabs(scores[i] - exact),
            (query_length * error + query.error() * (row_length + error)) * (1 + 1e-6) + floats);
      }
    }
  }
}

TEST(Int8Rows, CodesStayInRangeAndThePaddingIsNeutral) {
  const std::vector<float> row = {-3, 1.5f, 3, 0, 0.0117f};
  std::vector<uint8_t> codes(Int8Stride(row.size()), 7);
  EXPECT_FLOAT_EQ(QuantizeRow(row.data(), row.size(), codes.data()), 3.0f / 127);
  EXPECT_EQ(codes[0], 1);
  EXPECT_EQ(codes[1], 192);  // 63.5 to even
  EXPECT_EQ(codes[2], 255);
  EXPECT_EQ(codes[3], 128);
  EXPECT_EQ(codes[4], 128);
  for (size_t i = row.size(); i < codes.size(); ++i) EXPECT_EQ(codes[i], 128);

  const Int8Query query(row.data(), row.size());
  EXPECT_EQ(query.codes()[0], -127);
  EXPECT_EQ(query.codes()[2], 127);
  for (size_t i = row.size(); i < codes.size(); ++i) EXPECT_EQ(query.codes()[i], 0);
  EXPECT_EQ(query.sum(), 64);
  EXPECT_FLOAT_EQ(query.squared_norm(), 20.250137f);
}

TEST(Int8Rows, ZerosAndTheSmallestAndLargestNumbersKeepTheirBounds) {
  for (float x : {0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f, 1e-31f, 1e-29f, 1e30f,
                  std::numeric_limits<float>::max()}) {
    const std::vector<float> row = {x, -x / 3, x / 2};
    std::vector<uint8_t> codes(64);
    const float scale = QuantizeRow(row.data(), row.size(), codes.data());
    EXPECT_TRUE(std::isfinite(scale));
    const float error = RowError(row.data(), row.size(), codes.data(), scale);
    EXPECT_GE(error, TrueError(row.data(), row.size(), codes.data(), scale)) << x;
    EXPECT_LE(error, x * 1.3f + 1e-44f) << x;
    if (x == 0) {
      EXPECT_EQ(scale, 0);
      EXPECT_EQ(error, 0);
    }
  }
}

// Reused for a shorter query, nothing of the longer one is left.
TEST(Int8Rows, AQueryCanBeAssignedAgain) {
  std::mt19937 rng(5);
  const std::vector<float> longer = RandomVector(rng, 200), shorter = RandomVector(rng, 30);
  Int8Query query(longer.data(), longer.size());
  query.Assign(shorter.data(), shorter.size());
  const Int8Query fresh(shorter.data(), shorter.size());
  EXPECT_TRUE(std::equal(fresh.codes(), fresh.codes() + 64, query.codes()));
  EXPECT_EQ(query.sum(), fresh.sum());
  EXPECT_EQ(query.scale(), fresh.scale());
  EXPECT_EQ(query.squared_norm(), fresh.squared_norm());
  EXPECT_EQ(query.error(), fresh.error());
  EXPECT_EQ(query.sum(), std::accumulate(query.codes(), query.codes() + 64, 0));
}

}  // namespace
}  // namespace vecino::index
