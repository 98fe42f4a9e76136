#include "server/index/bounded_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "server/index/distance.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {
namespace {

// Rows with everything that a scan wants to know of them.
struct Rows {
  size_t d = 0, n = 0;
  std::vector<float> floats;
  std::vector<uint8_t> codes;
  std::vector<float> scales, errors, norms, squared;

  Rows(std::vector<float> values, size_t dimension)
      : d(dimension), n(values.size() / dimension), floats(std::move(values)) {
    codes.resize(n * Int8Stride(d));
    for (size_t i = 0; i < n; ++i) {
      uint8_t* code = &codes[i * Int8Stride(d)];
      scales.push_back(QuantizeRow(row(i), d, code));
      errors.push_back(RowError(row(i), d, code, scales.back()));
      squared.emplace_back();
      norms.push_back(RowNorm(row(i), d, &squared.back()));
    }
  }
  const float* row(size_t i) const { return &floats[i * d]; }
  Int8Rows rounded(Metric metric) const {
    return {metric, d, codes.data(), scales.data(),
            metric == Metric::kL2 ? squared.data() : nullptr};
  }
};

constexpr uint64_t kBase = 1000;

// Labels that descend, so that order by label is not order by row.
uint64_t Label(uint64_t number) { return 1000000 - number; }

std::vector<Hit> FullScan(Metric metric, const Rows& rows, const float* query, int k,
                          const std::vector<uint64_t>& live) {
  std::vector<float> scores(rows.n);
  Score(metric, query, rows.floats.data(), rows.d, rows.n, scores.data());
  TopK top(metric, k);
  for (size_t i = 0; i < rows.n; ++i) {
    if ((live[i / 64] >> (i % 64) & 1) != 0) top.Push(Label(kBase + i), scores[i]);
  }
  return top.Take();
}

std::vector<Hit> Bounded(BoundedScan* scan, CpuLevel level, Metric metric, const Rows& rows,
                         const float* query, int k, const std::vector<uint64_t>& live, size_t piece,
                         std::vector<Hit> before = {}) {
  TopK top(metric, k);
  for (const Hit& hit : before) top.Push(hit.label, hit.score);
  scan->Start(query, rows.d, top, level);
  const bool all = std::all_of(live.begin(), live.end(), [](uint64_t w) { return ~w == 0; });
  for (size_t first = 0; first < rows.n; first += piece) {
    scan->Scan(rows.rounded(metric), rows.errors.data(), rows.norms.data(), first,
               std::min(piece, rows.n - first), all ? nullptr : &live[first / 64], kBase);
  }
  scan->Finish([&](uint64_t number) { return rows.row(number - kBase); }, Label, &top);
  return top.Take();
}

void ExpectSame(const std::vector<Hit>& got, const std::vector<Hit>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].label, expected[i].label) << i;
    ASSERT_EQ(std::memcmp(&got[i].score, &expected[i].score, sizeof(float)), 0) << i;
  }
}

using Make = std::vector<float> (*)(std::mt19937&, size_t n, size_t d);

std::vector<float> Scaled(std::vector<float> v, float factor) {
  for (float& x : v) x *= factor;
  return v;
}

std::vector<float> Random(std::mt19937& rng, size_t n, size_t d) {
  return RandomVector(rng, n * d);
}

std::vector<float> Unit(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v = RandomVector(rng, n * d);
  for (size_t i = 0; i < n; ++i) {
    const float norm = RowNorm(&v[i * d], d, nullptr);
    for (size_t j = 0; j < d; ++j) v[i * d + j] /= norm;
  }
  return v;
}

std::vector<float> Clustered(std::mt19937& rng, size_t n, size_t d) {
  const std::vector<float> centers = RandomVector(rng, 5 * d);
  std::vector<float> v = Scaled(RandomVector(rng, n * d), 0.01f);
  for (size_t i = 0; i < n; ++i) {
    const size_t c = rng() % 5;
    for (size_t j = 0; j < d; ++j) v[i * d + j] += centers[c * d + j];
  }
  return v;
}

// Far from zero and close together: the bounds tell nothing, L2 has lost its digits.
std::vector<float> FarOff(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v = RandomVector(rng, n * d);
  for (float& x : v) x += 1000;
  return v;
}

std::vector<float> Duplicated(std::mt19937& rng, size_t n, size_t d) {
  const std::vector<float> few = RandomVector(rng, 20 * d);
  std::vector<float> v;
  for (size_t i = 0; i < n; ++i) {
    const auto from = few.begin() + static_cast<long>(rng() % 20 * d);
    v.insert(v.end(), from, from + static_cast<long>(d));
  }
  return v;
}

std::vector<float> OfAllLengths(std::mt19937& rng, size_t n, size_t d, float lowest,
                                float highest) {
  std::vector<float> v = RandomVector(rng, n * d);
  std::uniform_real_distribution<float> exponent(lowest, highest);
  for (size_t i = 0; i < n; ++i) {
    const float factor = std::pow(10.0f, exponent(rng));
    for (size_t j = 0; j < d; ++j) v[i * d + j] *= factor;
  }
  return v;
}

std::vector<float> Long(std::mt19937& rng, size_t n, size_t d) {
  return OfAllLengths(rng, n, d, -2, 4);
}

std::vector<float> Huge(std::mt19937& rng, size_t n, size_t d) {  // squares overflow
  return OfAllLengths(rng, n, d, 0, 37.5f);
}

std::vector<float> Tiny(std::mt19937& rng, size_t n, size_t d) {  // and denormal
  return OfAllLengths(rng, n, d, -44, -10);
}

std::vector<float> WithZeros(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v = RandomVector(rng, n * d);
  for (size_t i = 0; i < n; ++i) {
    if (rng() % 2 == 0) std::fill_n(&v[i * d], d, rng() % 2 == 0 ? 0.0f : -0.0f);
  }
  return v;
}

// One dimension dwarfs the others, which round to nothing.
std::vector<float> Spiked(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v = RandomVector(rng, n * d);
  for (size_t i = 0; i < n; ++i) v[i * d + rng() % d] *= 1000;
  return v;
}

// Rounding to 8 bits loses nothing: only what floating point does is left between the two scores,
// and between rows that are permutations of the same numbers.
std::vector<float> WholeNumbers(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v;
  std::vector<float> row(d);
  for (size_t j = 0; j < d; ++j) row[j] = (static_cast<float>(rng() % 255) - 127) * (1.0f / 3);
  row[0] = 127 * (1.0f / 3);
  for (size_t i = 0; i < n; ++i) {
    std::shuffle(row.begin(), row.end(), rng);
    v.insert(v.end(), row.begin(), row.end());
  }
  return v;
}

// As far off as rounding can be: for a query of ones, the even rows seem worse than the odd ones,
// but what was rounded off adds up and makes them a little better.
std::vector<float> Aligned(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> whole(d), v;
  for (float& x : whole) x = static_cast<float>(rng() % 240) - 120;
  whole[0] = 127;  // so that the scale is 1
  const float most = 0.49f * static_cast<float>(d - 1);
  for (size_t i = 0; i < n; ++i) {
    std::vector<float> row = whole;
    if (i % 2 == 0) {
      for (size_t j = 1; j < d; ++j) row[j] += 0.49f;
      auto less =
          static_cast<size_t>(most * (0.85f + 0.15f * static_cast<float>(rng() % 100) / 100));
      for (; less > 0; --less) row[1 + rng() % (d - 1)] -= 1;
    }
    v.insert(v.end(), row.begin(), row.end());
  }
  return v;
}

std::vector<float> NotNumbers(std::mt19937& rng, size_t n, size_t d) {
  std::vector<float> v = RandomVector(rng, n * d);
  const float infinity = std::numeric_limits<float>::infinity();
  const float odd[] = {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
  for (size_t i = 0; i < n; i += 3) v[i * d + rng() % d] = odd[rng() % 3];
  return v;
}

struct Kind {
  const char* name;
  Make make;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class BoundedScanTest : public testing::TestWithParam<Kind> {};

TEST_P(BoundedScanTest, HitsAreThoseOfAFullScan) {
  std::mt19937 rng(11);
  BoundedScan scan;  // one for all, as between queries
  for (const size_t d : {1, 40, 63, 129, 384}) {
    const size_t n = 700 - d / 2;
    const Rows rows(GetParam().make(rng, n, d), d);
    const size_t words = (n + 63) / 64;
    const std::vector<uint64_t> all(words, ~uint64_t{0});
    std::vector<uint64_t> some(words), few(words);
    for (size_t i = 0; i < words; ++i) {
      some[i] = (uint64_t{rng()} << 32 | rng()) & (i % 3 == 0 ? 0 : ~uint64_t{0});
      few[i] = i % 2 == 0 ? uint64_t{1} << rng() % 64 | uint64_t{1} << rng() % 64 : 0;
    }
    std::vector<float> queries = GetParam().make(rng, 2, d);
    const std::vector<float> other = RandomVector(rng, d);
    queries.insert(queries.end(), other.begin(), other.end());
    queries.insert(queries.end(), rows.row(5), rows.row(5) + d);
    queries.insert(queries.end(), d, 0.0f);
    queries.insert(queries.end(), d, 1.0f);
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
      for (size_t q = 0; q < queries.size() / d; ++q) {
        for (const int k : {1, 10, 300, 1000}) {
          for (const std::vector<uint64_t>& live : {all, some, few}) {
            const std::vector<Hit> expected = FullScan(metric, rows, &queries[q * d], k, live);
            for (const CpuLevel level : SupportedCpuLevels()) {
              SCOPED_TRACE(testing::Message()
                           << "d " << d << " metric " << static_cast<int>(metric) << " query " << q
                           << " k " << k << " level " << CpuLevelName(level));
              ExpectSame(
                  Bounded(&scan, level, metric, rows, &queries[q * d], k, live, k == 10 ? 64 : 576),
                  expected);
              if (HasFatalFailure()) return;
            }
            if (k != 10) continue;
            // What every second part found leaves out rows of the rest, and none that is needed.
            std::vector<uint64_t> found = live, rest = live;
            for (size_t word = 0; word < words; ++word) (word % 2 == 0 ? rest : found)[word] = 0;
            ExpectSame(Bounded(&scan, BestCpuLevel(), metric, rows, &queries[q * d], k, rest, 64,
                               FullScan(metric, rows, &queries[q * d], k, found)),
                       expected);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, BoundedScanTest,
                         testing::Values(Kind{"Random", Random}, Kind{"Unit", Unit},
                                         Kind{"Clustered", Clustered}, Kind{"FarOff", FarOff},
                                         Kind{"Duplicated", Duplicated}, Kind{"Long", Long},
                                         Kind{"Huge", Huge}, Kind{"Tiny", Tiny},
                                         Kind{"WithZeros", WithZeros}, Kind{"Spiked", Spiked},
                                         Kind{"WholeNumbers", WholeNumbers},
                                         Kind{"Aligned", Aligned}, Kind{"NotNumbers", NotNumbers}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(BoundedScan, ScoresFewRowsExactly) {
  std::mt19937 rng(12);
  const size_t n = 8192, d = 384;
  const Rows rows(Unit(rng, n, d), d);
  BoundedScan scan;
  const std::vector<uint64_t> all(n / 64, ~uint64_t{0});
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    size_t scored = 0;
    for (int q = 0; q < 5; ++q) {
      const std::vector<float> query = Unit(rng, 1, d);
      ExpectSame(Bounded(&scan, BestCpuLevel(), metric, rows, query.data(), 10, all, 256),
                 FullScan(metric, rows, query.data(), 10, all));
      EXPECT_GE(scan.scored_exactly(), 10u);
      scored += scan.scored_exactly();
    }
    EXPECT_LT(scored / 5, 100u);
  }
}

TEST(BoundedScan, HitsOfOtherPartsSaveWork) {
  std::mt19937 rng(13);
  const size_t n = 2000, d = 100;
  const Rows rows(Unit(rng, n, d), d);
  const std::vector<float> query = Unit(rng, 1, d);
  const std::vector<uint64_t> all(n / 64 + 1, ~uint64_t{0});
  BoundedScan scan;
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    std::vector<Hit> before(3);
    for (size_t i = 0; i < 3; ++i) before[i] = {i, metric == Metric::kL2 ? 0.01f : 0.99f};
    ExpectSame(Bounded(&scan, BestCpuLevel(), metric, rows, query.data(), 3, all, 256, before),
               before);
    EXPECT_EQ(scan.scored_exactly(), 0u);
    // With room for one more, the best row gets in.
    const std::vector<Hit> hits =
        Bounded(&scan, BestCpuLevel(), metric, rows, query.data(), 4, all, 256, before);
    ASSERT_EQ(hits.size(), 4u);
    EXPECT_EQ(hits[3].label, FullScan(metric, rows, query.data(), 1, all)[0].label);
  }
}

TEST(RowNorm, IsNotBelow) {
  std::mt19937 rng(14);
  for (int i = 0; i < 200; ++i) {
    const std::vector<float> row = OfAllLengths(rng, 1, 1 + rng() % 500, -40, 17);
    double sum = 0;
    for (const float x : row) sum += static_cast<double>(x) * x;
    float squared = -1;
    const double norm = RowNorm(row.data(), row.size(), &squared);
    EXPECT_GE(norm, std::sqrt(sum));
    EXPECT_LE(norm, std::sqrt(sum) * (1 + 1e-6) + 1e-44);
    EXPECT_NEAR(squared, sum, sum * 1e-6 + 1e-44);
  }
}

}  // namespace
}  // namespace vecino::index
