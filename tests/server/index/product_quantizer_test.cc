#include "server/index/product_quantizer.h"

#include <faiss/impl/ProductQuantizer.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/server/index/clusters.h"

namespace vecino::index {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

ProductQuantizer Trained(const std::vector<float>& rows, size_t d, uint64_t seed = 1) {
  auto quantizer = ProductQuantizer::Train(rows.data(), rows.size() / d, d, seed, GoOn);
  EXPECT_TRUE(quantizer.ok()) << quantizer.status();
  return *std::move(quantizer);
}

double SquaredError(const ProductQuantizer& quantizer, const std::vector<float>& rows) {
  const size_t d = quantizer.d(), n = rows.size() / d;
  std::vector<uint8_t> codes(n * quantizer.m());
  quantizer.Encode(rows.data(), n, codes.data());
  std::vector<float> row(d);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    quantizer.Decode(&codes[i * quantizer.m()], row.data());
    sum += ExactScore(Metric::kL2, row.data(), &rows[i * d], d);
  }
  return sum;
}

TEST(ProductQuantizerTest, AnyNumberOfThreadsGivesTheSame) {
  constexpr size_t kN = 500, kD = 42;
  const std::vector<float> rows = ClusteredRows(kN, kD, 1);
  const auto alone = ProductQuantizer::Train(rows.data(), kN, kD, 1, GoOn, 1);
  const auto shared = ProductQuantizer::Train(rows.data(), kN, kD, 1, GoOn, 3);
  ASSERT_TRUE(alone.ok() && shared.ok());
  EXPECT_EQ(alone->codebooks(), shared->codebooks());
}

TEST(ProductQuantizerTest, IsAsGoodAsFaiss) {
  constexpr size_t kN = 3000, kD = 20;
  const std::vector<float> rows = ClusteredRows(kN, kD, 1);
  const double ours = SquaredError(Trained(rows, kD), rows);
  faiss::ProductQuantizer theirs(kD, kD / 4, 4);
  theirs.train(kN, rows.data());
  std::vector<uint8_t> codes(kN * theirs.code_size);
  theirs.compute_codes(rows.data(), codes.data(), kN);
  std::vector<float> decoded(rows.size());
  theirs.decode(codes.data(), decoded.data(), kN);
  const double peer = ExactScore(Metric::kL2, rows.data(), decoded.data(), rows.size());
  EXPECT_LE(ours, 1.02 * peer);
}

TEST(ProductQuantizerTest, EncodesTheNearestAlikeAtEveryLevel) {
  for (size_t d : {1, 4, 7, 30, 64, 130}) {
    constexpr size_t kN = 200;
    const std::vector<float> rows = ClusteredRows(kN, d, 2);
    const ProductQuantizer quantizer = Trained(rows, d);
    const size_t m = quantizer.m();
    ASSERT_EQ(m, (d + 3) / 4);
    ASSERT_EQ(quantizer.codebooks().size(), m * 64);
    std::vector<uint8_t> first;
    for (CpuLevel level : SupportedCpuLevels()) {
      std::vector<uint8_t> codes(kN * m);
      quantizer.Encode(rows.data(), kN, codes.data(), level);
      if (first.empty()) first = codes;
      EXPECT_EQ(codes, first) << CpuLevelName(level) << " d " << d;
    }
    for (size_t i = 0; i < kN; ++i) {
      for (size_t s = 0; s < m; ++s) {
        const float* codewords = &quantizer.codebooks()[s * 64];
        float part[4] = {};
        std::copy_n(&rows[i * d + 4 * s], std::min<size_t>(4, d - 4 * s), part);
        double least = std::numeric_limits<double>::infinity();
        for (size_t c = 0; c < 16; ++c) {
          least = std::min(least, ExactScore(Metric::kL2, part, codewords + 4 * c, 4));
        }
        ASSERT_LT(first[i * m + s], 16);
        EXPECT_NEAR(ExactScore(Metric::kL2, part, codewords + 4 * first[i * m + s], 4), least,
                    1e-4);
      }
    }
  }
}

TEST(ProductQuantizerTest, EqualCodewordsGoToTheFirst) {
  const std::vector<float> codebooks(2 * 64, 0.5f);
  const ProductQuantizer quantizer(8, codebooks.data());
  const std::vector<float> row = {1, -2, 3, 0, 0, 0, 0, 0};
  for (CpuLevel level : SupportedCpuLevels()) {
    std::vector<uint8_t> codes(2, 9);
    quantizer.Encode(row.data(), 1, codes.data(), level);
    EXPECT_THAT(codes, testing::ElementsAre(0, 0));
  }
}

TEST(ProductQuantizerTest, TablesPredictScores) {
  for (size_t d : {3, 32, 61}) {
    constexpr size_t kN = 300;
    const std::vector<float> rows = ClusteredRows(kN, d, 3);
    const ProductQuantizer quantizer = Trained(rows, d);
    const size_t m = quantizer.m();
    std::vector<uint8_t> codes(kN * m);
    quantizer.Encode(rows.data(), kN, codes.data());
    for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
      for (size_t q = 0; q < 10; ++q) {
        std::vector<float> query(&rows[q * d], &rows[q * d] + d);
        for (float& x : query) x *= q % 2 == 0 ? 1 : 1e-6f;
        PqTables tables;
        quantizer.MakeTables(metric, query.data(), &tables);
        ASSERT_EQ(tables.bytes.size(), PqTableBytes(m));
        EXPECT_EQ(tables.step < 0, metric == Metric::kL2);
        const bool in_range = std::all_of(tables.bytes.begin(), tables.bytes.begin() + 16 * m,
                                          [](uint8_t b) { return b >= 1; });
        EXPECT_TRUE(in_range);
        for (size_t i = 16 * m; i < tables.bytes.size(); ++i) EXPECT_EQ(tables.bytes[i], 0);
        for (CpuLevel level : SupportedCpuLevels()) {
          PqTables again;
          quantizer.MakeTables(metric, query.data(), &again, level);
          EXPECT_EQ(again.bytes, tables.bytes);
          EXPECT_EQ(again.step, tables.step);
          EXPECT_EQ(again.offset, tables.offset);
        }
        std::vector<float> row(d);
        for (size_t i = 0; i < kN; ++i) {
          uint32_t sum = 0;
          for (size_t s = 0; s < m; ++s) sum += tables.bytes[16 * s + codes[i * m + s]];
          quantizer.Decode(&codes[i * m], row.data());
          const double exact = ExactScore(metric, query.data(), row.data(), d);
          const double slack = std::fabs(tables.step) * (0.51 * static_cast<double>(m)) +
                               1e-6 * std::fabs(tables.offset);
          EXPECT_NEAR(tables.offset + tables.step * static_cast<float>(sum), exact, slack);
        }
      }
    }
  }
}

TEST(ProductQuantizerTest, TablesOfAZeroQueryAreAllOne) {
  const std::vector<float> rows = ClusteredRows(50, 8, 4);
  const ProductQuantizer quantizer = Trained(rows, 8);
  const std::vector<float> query(8, 0);
  PqTables tables;
  quantizer.MakeTables(Metric::kInnerProduct, query.data(), &tables);
  EXPECT_THAT(std::vector<uint8_t>(tables.bytes.begin(), tables.bytes.begin() + 32),
              testing::Each(1));
  EXPECT_NEAR(tables.offset + tables.step * 2, 0, 1e-6);
}

TEST(ProductQuantizerTest, EqualSeedsGiveEqualCodebooks) {
  const std::vector<float> rows = ClusteredRows(17'000, 6, 5);  // more than are trained on
  EXPECT_EQ(Trained(rows, 6).codebooks(), Trained(rows, 6).codebooks());
  EXPECT_NE(Trained(rows, 6).codebooks(), Trained(rows, 6, 2).codebooks());
}

TEST(ProductQuantizerTest, SmallestAndDullestSamples) {
  const std::vector<float> sixteen = ClusteredRows(16, 9, 6);
  EXPECT_LT(SquaredError(Trained(sixteen, 9), sixteen), 1e-6);
  for (float x : {0.0f, -2.25f}) {
    const std::vector<float> equal(100 * 5, x);
    const ProductQuantizer quantizer = Trained(equal, 5);
    EXPECT_LT(SquaredError(quantizer, equal), 1e-6);
    for (float c : quantizer.codebooks()) EXPECT_TRUE(std::isfinite(c));
  }
}

TEST(ProductQuantizerTest, RefusesWhatFaissWouldThrowAt) {
  std::vector<float> rows = ClusteredRows(40, 8, 7);
  EXPECT_EQ(ProductQuantizer::Train(rows.data(), 15, 8, 1, GoOn).status().code(),
            absl::StatusCode::kInvalidArgument);
  rows[8 * 3 + 5] = std::numeric_limits<float>::quiet_NaN();
  const auto result = ProductQuantizer::Train(rows.data(), 40, 8, 1, GoOn);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(result.status().message(), testing::HasSubstr("dimension 5 of row 3"));
}

TEST(ProductQuantizerTest, AsksBetweenSubQuantizersAndLeavesThreadsAlone) {
  const std::vector<float> rows = ClusteredRows(64, 20, 8);
  const int threads = omp_get_max_threads();
  int calls = 0;
  const auto result = ProductQuantizer::Train(rows.data(), 64, 20, 1, [&]() -> absl::Status {
    EXPECT_EQ(omp_get_max_threads(), threads);
    return ++calls == 4 ? absl::CancelledError("stop") : absl::OkStatus();
  });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(omp_get_max_threads(), threads);
}

}  // namespace
}  // namespace vecino::index
