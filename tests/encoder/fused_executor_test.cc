#include "encoder/fused_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <random>
#include <string>

#include "encoder/torch_executor.h"
#include "tests/encoder/bert_reference.h"
#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;

constexpr int kWidth = BertForm().width, kVocab = BertForm().vocab;
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

TEST(FusedExecutorTest, ComputesWhatTheFormulasSay) {
  const Rows rows = SomeRows();
  for (const bool mean : {true, false}) {
    for (const bool normalize : {true, false}) {
      const BertWeights weights =
          RandomWeights({.mean_pooling = mean, .normalize = normalize, .mpnet = mean != normalize});
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
