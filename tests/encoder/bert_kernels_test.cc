#include "encoder/bert_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>

namespace vecino::encoder {
namespace {

class BertKernelsTest : public testing::TestWithParam<const BertKernels*> {
 protected:
  std::vector<float> Normal(size_t n, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> x(n);
    for (float& one : x) one = normal(random_);
    return x;
  }

  const BertKernels& kernels_ = *GetParam();
  std::mt19937 random_{1};
};

// With and without a rest that fills no vector.
constexpr size_t kSizes[] = {1, 3, 16, 31, 64, 384, 1001};

TEST_P(BertKernelsTest, AddBias) {
  for (const size_t n : kSizes) {
    const auto in = Normal(n), bias = Normal(n);
    std::vector<float> out(n);
    kernels_.add_bias(in.data(), bias.data(), n, out.data());
    for (size_t i = 0; i < n; ++i) ASSERT_FLOAT_EQ(out[i], in[i] + bias[i]) << n << " " << i;
  }
}

TEST_P(BertKernelsTest, AddBiasInt8TakesZeroAndScalesOff) {
  for (const size_t n : kSizes) {
    const auto in = Normal(n, 1e5), bias = Normal(n), scales = Normal(n, 1e-3),
               sums = Normal(n, 1e3);
    const ByteRow row = {0.02f, 117};
    std::vector<float> out(n);
    kernels_.add_bias_int8(in.data(), row, scales.data(), sums.data(), bias.data(), n, out.data());
    for (size_t i = 0; i < n; ++i) {
      const double expected = (double{in[i]} - 117.0 * sums[i]) * scales[i] * 0.02f + bias[i];
      ASSERT_NEAR(out[i], expected, 1e-5 * (1 + std::fabs(expected))) << n << " " << i;
    }
  }
}

TEST_P(BertKernelsTest, GeluIsTheOneOfErf) {
  std::vector<float> x;
  for (float v = -12; v < 12; v += 0.0137f) x.push_back(v);
  for (const float v : {0.0f, -0.0f, 1e-20f, -1e-20f, 80.0f, -80.0f, 1e20f, -1e20f}) x.push_back(v);
  std::vector<float> out = x;
  kernels_.gelu(out.data(), out.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = 0.5 * double{x[i]} * (1 + std::erf(double{x[i]} / std::sqrt(2.0)));
    ASSERT_NEAR(out[i], expected, 1e-6 * (1 + std::fabs(x[i]))) << x[i];
  }
  for (const size_t n : kSizes) {
    auto rest = Normal(n);
    const auto before = rest;
    kernels_.gelu(rest.data(), n);
    EXPECT_NEAR(rest[n - 1], 0.5 * before[n - 1] * (1 + std::erf(before[n - 1] / std::sqrt(2.0))),
                1e-6);
  }
}

TEST_P(BertKernelsTest, AddNorm) {
  for (const size_t n : kSizes) {
    const auto x = Normal(n, 3), add = Normal(n), weight = Normal(n), bias = Normal(n);
    std::vector<float> out = x;
    kernels_.add_norm(out.data(), add.data(), weight.data(), bias.data(), 1e-5f, n);
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; ++i) mean += double{x[i]} + add[i];
    mean /= static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) variance += std::pow(double{x[i]} + add[i] - mean, 2);
    variance /= static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      const double expected =
          (double{x[i]} + add[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
      ASSERT_NEAR(out[i], expected, 1e-5) << n << " " << i;
    }
  }
}

TEST_P(BertKernelsTest, Bf16IsTheNearest) {
  std::vector<float> x = Normal(997, 100);
  for (const float v : {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -1.00390625f, 1e-30f, 3e38f}) {
    x.push_back(v);  // two of them lie halfway between two bfloat16
  }
  std::vector<uint16_t> bits(x.size());
  std::vector<float> rounded(x.size());
  kernels_.to_bf16(x.data(), x.size(), bits.data());
  kernels_.round_bf16(x.data(), x.size(), rounded.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto value = std::bit_cast<float>(uint32_t{bits[i]} << 16);
    ASSERT_EQ(value, rounded[i]) << x[i];
    ASSERT_LE(std::fabs(double{value} - x[i]), std::fabs(x[i]) / 256) << x[i];
    const auto up = std::bit_cast<float>((uint32_t{bits[i]} + 1) << 16);
    const auto down = std::bit_cast<float>((uint32_t{bits[i]} - 1) << 16);
    if (x[i] == 0) continue;
    const double error = std::fabs(double{value} - x[i]);
    ASSERT_LE(error, std::fabs(double{up} - x[i])) << x[i];
    ASSERT_LE(error, std::fabs(double{down} - x[i])) << x[i];
    if (error == std::fabs(double{up} - x[i]) || error == std::fabs(double{down} - x[i])) {
      ASSERT_EQ(bits[i] % 2, 0) << x[i];
    }
  }
}

TEST_P(BertKernelsTest, BytesSpanTheRowAndKeepZero) {
  for (const size_t n : kSizes) {
    for (const float offset : {0.0f, 5.0f, -5.0f}) {
      auto x = Normal(n);
      for (float& v : x) v += offset;
      std::vector<uint8_t> bytes(n);
      std::vector<float> floats(n);
      const ByteRow row = kernels_.to_bytes(x.data(), n, bytes.data());
      const ByteRow same = kernels_.round_bytes(x.data(), n, floats.data());
      EXPECT_EQ(row.scale, same.scale);
      EXPECT_EQ(row.zero, same.zero);
      EXPECT_EQ(row.zero, std::nearbyint(row.zero));
      EXPECT_GE(row.zero, 0);
      EXPECT_LE(row.zero, 255);
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(floats[i], bytes[i]);
        ASSERT_NEAR(row.scale * (floats[i] - row.zero), x[i], 1.01f * row.scale) << n << " " << i;
      }
    }
  }
  std::vector<float> zeros(7);
  uint8_t bytes[7];
  const ByteRow row = kernels_.to_bytes(zeros.data(), 7, bytes);
  for (const uint8_t byte : bytes) EXPECT_EQ(row.scale * (byte - row.zero), 0);
}

TEST_P(BertKernelsTest, Attention) {
  for (const size_t head_size : {8, 12, 32, 40, 64}) {
    for (const size_t length : {1, 2, 7, 8, 9, 16, 33, 100}) {
      constexpr size_t kHeads = 3;
      const size_t width = kHeads * head_size;
      const auto qkv = Normal(length * 3 * width, 0.7f);
      std::vector<float> scratch(AttentionScratch(length, head_size));
      std::vector<float> context(length * width, -1);
      const bool biased = length % 2 == 1;
      const auto bias = Normal(kHeads * (2 * length - 1), 1);
      kernels_.attention(qkv.data(), length, kHeads, head_size,
                         biased ? bias.data() + length - 1 : nullptr, 2 * length - 1,
                         scratch.data(), context.data());
      for (size_t head = 0; head < kHeads; ++head) {
        for (size_t row = 0; row < length; ++row) {
          const float* query = qkv.data() + row * 3 * width + head * head_size;
          std::vector<double> weights(length);
          double sum = 0;
          for (size_t j = 0; j < length; ++j) {
            const float* key = qkv.data() + j * 3 * width + width + head * head_size;
            double score = 0;
            for (size_t i = 0; i < head_size; ++i) score += double{query[i]} * key[i];
            if (biased) score += bias[head * (2 * length - 1) + length - 1 + j - row];
            sum += weights[j] = std::exp(score);
          }
          for (size_t i = 0; i < head_size; ++i) {
            double expected = 0;
            for (size_t j = 0; j < length; ++j) {
              expected += weights[j] / sum * qkv[j * 3 * width + 2 * width + head * head_size + i];
            }
            ASSERT_NEAR(context[row * width + head * head_size + i], expected, 1e-5)
                << head_size << " " << length << " " << head << " " << row << " " << i;
          }
        }
      }
    }
  }
}

// What is far below the greatest must not become NaN, nor what is far above 0.
TEST_P(BertKernelsTest, AttentionOfGreatScores) {
  constexpr size_t kHead = 16, kLength = 5;
  std::vector<float> qkv(kLength * 3 * kHead);
  for (size_t j = 0; j < kLength; ++j) {
    qkv[j * 3 * kHead] = 1000;                                     // query
    qkv[j * 3 * kHead + kHead] = 10 * static_cast<float>(j) - 20;  // key
    qkv[j * 3 * kHead + 2 * kHead] = static_cast<float>(j);        // value
  }
  std::vector<float> scratch(AttentionScratch(kLength, kHead)), context(kLength * kHead);
  kernels_.attention(qkv.data(), kLength, 1, kHead, nullptr, 0, scratch.data(), context.data());
  for (size_t j = 0; j < kLength; ++j) EXPECT_NEAR(context[j * kHead], kLength - 1, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Levels, BertKernelsTest, testing::ValuesIn(SupportedBertKernels()),
                         [](const auto& info) {
                           std::string name(info.param->name);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace vecino::encoder
