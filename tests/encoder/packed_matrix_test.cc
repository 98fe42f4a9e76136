#include "encoder/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "encoder/bert_kernels.h"

namespace vecino::encoder {
namespace {

struct Param {
  Precision precision;
  bool native;
};

class PackedMatrixTest : public testing::TestWithParam<Param> {};

// Against products of the same rounded numbers in double, for every number of rows.
TEST_P(PackedMatrixTest, MultipliesAsItSays) {
  const Precision precision = GetParam().precision;
  const bool native = GetParam().native && IsNative(precision);
  const BertKernels& kernels = *SupportedBertKernels().front();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr std::pair<int, int> kSizes[] = {{384, 384}, {33, 20}, {1152, 64}, {100, 1536}};
  for (const auto& [out, in] : kSizes) {
    std::vector<float> weight(static_cast<size_t>(out) * in);
    for (float& w : weight) w = normal(random);
    const auto matrix = PackedMatrix::Pack(weight.data(), out, in, precision, native);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    EXPECT_EQ((*matrix)->out(), out);
    EXPECT_EQ((*matrix)->in(), in);
    EXPECT_GE((*matrix)->bytes(), int64_t{out} * in * (native ? 1 : 4));
    PackedMatrix::Scratch scratch;
    for (const int rows : PackedMatrix::kRows) {
      std::vector<float> x(static_cast<size_t>(rows) * in);
      for (float& v : x) v = normal(random);
      std::vector<std::byte> encoded(x.size() * (*matrix)->activation_bytes());
      std::vector<float> held(x.size());  // what they hold
      std::vector<ByteRow> terms(rows);
      for (int r = 0; r < rows; ++r) {
        const float* row = x.data() + static_cast<size_t>(r) * in;
        float* hold = held.data() + static_cast<size_t>(r) * in;
        std::byte* to =
            encoded.data() + static_cast<size_t>(r) * in * (*matrix)->activation_bytes();
        if (precision == Precision::kFp32) std::copy_n(row, in, hold);
        if (precision == Precision::kBf16) kernels.round_bf16(row, in, hold);
        if (precision == Precision::kInt8) terms[r] = kernels.round_bytes(row, in, hold);
        if ((*matrix)->activation_bytes() == 4) {
          std::memcpy(to, hold, in * sizeof(float));
        } else if (precision == Precision::kBf16) {
          kernels.to_bf16(row, in, reinterpret_cast<uint16_t*>(to));
        } else {
          kernels.to_bytes(row, in, reinterpret_cast<uint8_t*>(to));
        }
      }
      std::vector<float> products(static_cast<size_t>(rows) * out, -1);
      ASSERT_TRUE((*matrix)->Multiply(encoded.data(), rows, products.data(), &scratch).ok());
      for (int r = 0; r < rows; r += 5) {
        for (int o = 0; o < out; ++o) {
          const float* w = weight.data() + static_cast<size_t>(o) * in;
          double expected = 0, sum = 0, size = 0;
          for (int i = 0; i < in; ++i) {
            double q = w[i];
            if (precision == Precision::kBf16) {
              float rounded;
              kernels.round_bf16(w + i, 1, &rounded);
              q = rounded;
            } else if (precision == Precision::kInt8) {
              q = std::nearbyint(w[i] / (*matrix)->column_scales()[o]);
            }
            sum += q;
            const double product = q * held[static_cast<size_t>(r) * in + i];
            expected += product;
            size += std::fabs(product);
          }
          if (precision == Precision::kInt8) {
            ASSERT_EQ((*matrix)->column_sums()[o], sum);
          }
          ASSERT_NEAR(products[static_cast<size_t>(r) * out + o], expected, 1e-6 * size)
              << out << " × " << in << ", " << rows << " rows: " << r << " " << o;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PackedMatrixTest,
    testing::Values(Param{Precision::kFp32, true}, Param{Precision::kBf16, false},
                    Param{Precision::kBf16, true}, Param{Precision::kInt8, false},
                    Param{Precision::kInt8, true}),
    [](const auto& info) {
      return absl::StrCat(std::string(PrecisionName(info.param.precision)),
                          info.param.native && IsNative(info.param.precision) ? "Native" : "Floats",
                          info.param.native ? "" : "Forced");
    });

TEST(PackedMatrixRowsTest, PadsLittleAndAlwaysGoesOn) {
  int64_t tokens = 0, computed = 0;
  for (int n = 1; n <= 2000; ++n) {
    int left = n, steps = 0;
    while (left > 0) {
      const int rows = PackedMatrix::NextRows(left);
      EXPECT_EQ(std::count(std::begin(PackedMatrix::kRows), std::end(PackedMatrix::kRows), rows),
                1);
      computed += rows;
      ASSERT_LE(rows - left, 8) << n;
      left -= rows;
      ASSERT_LT(++steps, 100);
    }
    tokens += n;
  }
  EXPECT_LT(static_cast<double>(computed), 1.01 * static_cast<double>(tokens));
}

TEST(PackedMatrixRowsTest, RowsOfOtherNumbersAreRefused) {
  const std::vector<float> weight(64);
  const auto matrix = PackedMatrix::Pack(weight.data(), 8, 8, Precision::kFp32, true);
  ASSERT_TRUE(matrix.ok());
  PackedMatrix::Scratch scratch;
  std::vector<float> x(8 * 128), out(8 * 128);
  EXPECT_EQ((*matrix)->Multiply(x.data(), 17, out.data(), &scratch).code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace vecino::encoder
