#include "encoder/fused_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <random>
#include <string>

#include "encoder/torch_executor.h"
#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;
using Rows = std::vector<std::vector<int32_t>>;

// Of sizes that fill no vector and no block.
constexpr int kWidth = 60, kHeads = 3, kInner = 100, kLayers = 2, kVocab = 50, kPositions = 300;

std::vector<float> Normal(std::mt19937& random, size_t n, float mean, float deviation) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> x(n);
  for (float& one : x) one = normal(random);
  return x;
}

// mpnet: with positions counted from an id, and relative biases.
BertWeights RandomWeights(bool mean_pooling = true, bool normalize = true, bool mpnet = false) {
  std::mt19937 random(1);
  const auto linear = [&](int out, int in) {
    return LinearWeights{out, in, Normal(random, static_cast<size_t>(out) * in, 0, 0.15f),
                         Normal(random, out, 0, 0.1f)};
  };
  const auto norm = [&] {
    return NormWeights{Normal(random, kWidth, 1, 0.1f), Normal(random, kWidth, 0, 0.1f)};
  };
  const auto shared = [](std::vector<float> x) {
    return std::make_shared<const std::vector<float>>(std::move(x));
  };
  BertWeights weights{.width = kWidth,
                      .heads = kHeads,
                      .norm_eps = 1e-6f,
                      .mean_pooling = mean_pooling,
                      .normalize = normalize,
                      .vocab_size = kVocab,
                      .positions = kPositions,
                      .word = shared(Normal(random, kVocab * kWidth, 0, 1)),
                      .position = shared(Normal(random, kPositions * kWidth, 0, 0.3f)),
                      .norm = norm(),
                      .layers = {}};
  if (mpnet) {
    weights.position_pad_id = 1;
    weights.reach = 290;
    weights.relative_bias = Normal(random, kHeads * 581, 0, 0.5f);
  }
  for (int i = 0; i < kLayers; ++i) {
    weights.layers.push_back({linear(3 * kWidth, kWidth), linear(kWidth, kWidth), norm(),
                              linear(kInner, kWidth), linear(kWidth, kInner), norm()});
  }
  return weights;
}

// The same in double, written as the formulas stand.
using Vector = std::vector<double>;

Vector Apply(const LinearWeights& linear, const Vector& x) {
  Vector y(linear.bias.begin(), linear.bias.end());
  for (int o = 0; o < linear.out; ++o) {
    for (int i = 0; i < linear.in; ++i) y[o] += double{linear.weight[o * linear.in + i]} * x[i];
  }
  return y;
}

void AddAndNorm(Vector& x, const Vector& add, const NormWeights& norm, double eps) {
  double mean = 0, variance = 0;
  for (size_t i = 0; i < x.size(); ++i) mean += x[i] += add[i];
  mean /= static_cast<double>(x.size());
  for (const double v : x) variance += (v - mean) * (v - mean);
  variance /= static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + eps) * norm.weight[i] + norm.bias[i];
  }
}

Vector Expected(const BertWeights& w, const std::vector<int32_t>& row) {
  const auto width = static_cast<size_t>(w.width), head = width / static_cast<size_t>(w.heads);
  std::vector<Vector> x;
  ptrdiff_t counted = w.position_pad_id;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto word = w.word->begin() + row[i] * w.width;
    ptrdiff_t at = row[i] == w.position_pad_id ? row[i] : ++counted;
    const auto position = w.position->begin() + at * w.width;
    x.emplace_back(word, word + w.width);
    AddAndNorm(x[i], Vector(position, position + w.width), w.norm, w.norm_eps);
  }
  for (const BertWeights::Layer& layer : w.layers) {
    std::vector<Vector> qkv;
    for (const Vector& token : x) qkv.push_back(Apply(layer.query_key_value, token));
    for (size_t t = 0; t < x.size(); ++t) {
      Vector context(width);
      for (size_t first = 0; first < width; first += head) {
        Vector weight(x.size());
        double sum = 0;
        for (size_t j = 0; j < x.size(); ++j) {
          double score = 0;
          for (size_t i = first; i < first + head; ++i) score += qkv[t][i] * qkv[j][width + i];
          if (!w.relative_bias.empty()) {
            score += w.relative_bias[first / head * (2 * w.reach + 1) + w.reach + j - t];
          }
          sum += weight[j] = std::exp(score);
        }
        for (size_t j = 0; j < x.size(); ++j) {
          for (size_t i = first; i < first + head; ++i) {
            context[i] += weight[j] / sum * qkv[j][2 * width + i];
          }
        }
      }
      AddAndNorm(x[t], Apply(layer.attention_out, context), layer.attention_norm, w.norm_eps);
      Vector inner = Apply(layer.up, x[t]);
      for (double& v : inner) v *= 0.5 * (1 + std::erf(v / std::sqrt(2.0)));
      AddAndNorm(x[t], Apply(layer.down, inner), layer.out_norm, w.norm_eps);
    }
  }
  Vector vector = x[0];
  if (w.mean_pooling) {
    for (size_t t = 1; t < x.size(); ++t) {
      for (size_t i = 0; i < width; ++i) vector[i] += x[t][i];
    }
    for (double& v : vector) v /= static_cast<double>(x.size());
  }
  double length = 0;
  for (const double v : vector) length += v * v;
  if (w.normalize) {
    for (double& v : vector) v /= std::sqrt(length);
  }
  return vector;
}

std::vector<float> EmbedRows(const ExecutorFactory& model, const Rows& rows) {
  const std::vector<TokenRow> spans(rows.begin(), rows.end());
  std::vector<float> vectors(rows.size() * kWidth);
  const absl::Status status = model.MakeExecutor()->Run(spans, vectors);
  EXPECT_TRUE(status.ok()) << status;
  return vectors;
}

std::unique_ptr<ExecutorFactory> Make(const BertWeights& weights, FusedOptions options) {
  options.max_tokens = 280;
  auto model = MakeFusedModel(weights, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Lengths around those of vectors and blocks.
Rows SomeRows() {
  std::mt19937 random(2);
  Rows rows;
  for (const size_t length : {1, 2, 15, 16, 17, 31, 40, 63, 64, 65, 127, 130, 280, 3, 8, 9}) {
    std::vector<int32_t>& row = rows.emplace_back(length);
    for (int32_t& id : row) id = static_cast<int32_t>(random() % kVocab);
  }
  return rows;
}

double Cosine(const float* a, const Vector& b) {
  double product = 0, of_a = 0, of_b = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    product += a[i] * b[i];
    of_a += double{a[i]} * a[i];
    of_b += b[i] * b[i];
  }
  return product / std::sqrt(of_a * of_b);
}

TEST(FusedExecutorTest, ComputesWhatTheFormulasSay) {
  const Rows rows = SomeRows();
  for (const bool mean : {true, false}) {
    for (const bool normalize : {true, false}) {
      const BertWeights weights = RandomWeights(mean, normalize, mean != normalize);
      std::vector<Vector> expected;
      for (const auto& row : rows) expected.push_back(Expected(weights, row));
      for (const BertKernels* kernels : SupportedBertKernels()) {
        for (const Precision precision : kPrecisions) {
          for (const bool native : {true, false}) {
            const auto model =
                Make(weights, {.precision = precision, .kernels = kernels, .native = native});
            const auto vectors = EmbedRows(*model, rows);
            for (size_t i = 0; i < rows.size(); ++i) {
              const float* vector = vectors.data() + i * kWidth;
              const std::string what = testing::PrintToString(kernels->name) + " " +
                                       std::string(PrecisionName(precision)) + " row " +
                                       std::to_string(i);
              const double least = precision == Precision::kFp32   ? 1 - 1e-9
                                   : precision == Precision::kBf16 ? 0.9995
                                                                   : 0.995;
              ASSERT_GT(Cosine(vector, expected[i]), least) << what;
              if (precision != Precision::kFp32) continue;
              for (int j = 0; j < kWidth; ++j) {
                ASSERT_NEAR(vector[j], expected[i][j], 3e-5) << what << ", " << j;
              }
            }
          }
        }
      }
    }
  }
}

TEST(FusedExecutorTest, ATextsVectorDoesNotDependOnItsBatch) {
  const Rows rows = SomeRows();
  for (const Precision precision : kPrecisions) {
    const auto model = Make(RandomWeights(), {.precision = precision});
    const auto together = EmbedRows(*model, rows);
    Rows reversed(rows.rbegin(), rows.rend());
    const auto backwards = EmbedRows(*model, reversed);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto alone = EmbedRows(*model, {rows[i]});
      for (int j = 0; j < kWidth; ++j) {
        const float a = together[i * kWidth + j], b = alone[j],
                    c = backwards[(rows.size() - 1 - i) * kWidth + j];
        if (precision == Precision::kInt8) {
          ASSERT_EQ(a, b) << i;
          ASSERT_EQ(a, c) << i;
        } else {
          ASSERT_NEAR(a, b, precision == Precision::kFp32 ? 1e-6 : 2e-3) << i;
          ASSERT_NEAR(a, c, precision == Precision::kFp32 ? 1e-6 : 2e-3) << i;
        }
      }
    }
  }
}

TEST(FusedExecutorTest, RefusesBadRowsAndGoesOn) {
  const auto executor = Make(RandomWeights(), {})->MakeExecutor();
  std::vector<float> vector(kWidth);
  for (const std::vector<int32_t>& row : {std::vector<int32_t>{}, std::vector<int32_t>{1, kVocab},
                                          std::vector<int32_t>{-1}, std::vector<int32_t>(281, 1)}) {
    const TokenRow rows[] = {row};
    EXPECT_EQ(executor->Run(rows, vector).code(), absl::StatusCode::kInternal);
  }
  const std::vector<int32_t> good = {1, 2, 3};
  const TokenRow rows[] = {good};
  EXPECT_EQ(executor->Run(rows, std::span(vector).first(10)).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(executor->Run(rows, vector).ok());
}

TEST(FusedExecutorTest, RefusesWeightsThatDoNotFit) {
  const auto refused = [](auto spoil, const char* why, int max_tokens = 280) {
    BertWeights weights = RandomWeights();
    spoil(weights);
    const absl::Status status = MakeFusedModel(weights, {.max_tokens = max_tokens}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << why;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  refused([](BertWeights& w) { w.layers.clear(); }, "no layers");
  refused([](BertWeights& w) { w.heads = 7; }, "7 heads in a width of 60");
  refused([](BertWeights& w) { w.heads = 0; }, "0 heads");
  refused([](BertWeights& w) { w.word = nullptr; }, "no embeddings");
  refused([](BertWeights& w) { w.vocab_size += 1; }, "word embeddings");
  refused([](BertWeights& w) { w.positions -= 1; }, "position embeddings");
  refused([](BertWeights& w) { w.position_pad_id = 20; }, "a window of 280 and 279 positions");
  refused([](BertWeights& w) { w.position_pad_id = -2; }, "a window of 280");
  refused([](BertWeights& w) { w.relative_bias.resize(3); }, "3 relative biases of reach 0");
  refused([](BertWeights& w) { w.relative_bias.resize(3 * 557), w.reach = 278; },
          "1671 relative biases of reach 278");
  refused([](BertWeights& w) { w.layers[1].up.weight.pop_back(); }, "a layer's size");
  refused([](BertWeights& w) { w.layers[1].down.bias.pop_back(); }, "a layer's size");
  refused([](BertWeights& w) { w.layers[0].out_norm.weight.pop_back(); }, "a layer's size");
  refused([](BertWeights& w) {}, "a window of 301 and 300 positions", 301);
  refused([](BertWeights& w) {}, "a window of 0", 0);
}

TEST(FusedExecutorTest, ThreadsShareTheWeights) {
  const auto model = Make(RandomWeights(), {.precision = Precision::kInt8});
  const Rows rows = SomeRows();
  const auto expected = EmbedRows(*model, rows);
  std::vector<std::future<int>> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.push_back(std::async(std::launch::async, [&] {
      int wrong = 0;
      for (int round = 0; round < 4; ++round) wrong += EmbedRows(*model, rows) != expected;
      return wrong;
    }));
  }
  for (auto& thread : threads) EXPECT_EQ(thread.get(), 0);
}

TEST(ReadBertWeightsTest, RefusesWhatIsNotAModule) {
  EXPECT_EQ(ReadBertWeights("nothing").status().code(), absl::StatusCode::kDataLoss);
}

TEST(ReadBertWeightsTest, ReadsTheRealModel) {
  VECINO_NEED_REAL_MODEL();
  const auto weights = ReadBertWeights(ReadAll(ModelRoot() / kRealModel / "model.pt"));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->width, 384);
  EXPECT_EQ(weights->heads, 12);
  EXPECT_EQ(weights->layers.size(), 6u);
  EXPECT_EQ(weights->layers[5].up.out, 1536);
  EXPECT_EQ(weights->vocab_size, 30522);
  EXPECT_EQ(weights->positions, 512);
  EXPECT_TRUE(weights->mean_pooling);
  EXPECT_TRUE(weights->normalize);
  EXPECT_FLOAT_EQ(weights->norm_eps, 1e-12f);
}

}  // namespace
}  // namespace vecino::encoder
