#include "encoder/packed_torch_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <string>
#include <vector>

#include "encoder/fused_executor.h"
#include "encoder/torch_executor.h"
#include "tests/encoder/bert_reference.h"
#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;

// Heads of 32, as attention on CUDA wants a multiple of 8.
constexpr BertForm kForm = {.width = 64, .heads = 2, .inner = 100};
constexpr Precision kBoth[] = {Precision::kFp32, Precision::kBf16};

// On "cpu" everywhere; on "cuda" where there is a device.
class PackedTorchExecutorTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const absl::Status status = CheckDevice(GetParam()); !status.ok()) {
      GTEST_SKIP() << status.message();
    }
  }

  static std::unique_ptr<ExecutorFactory> Make(const BertWeights& weights,
                                               Precision precision = Precision::kFp32,
                                               int max_tokens = 280) {
    auto model = MakePackedTorchModel(
        weights, {.max_tokens = max_tokens, .precision = precision, .device = GetParam()});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }
};

std::vector<float> RunRows(Executor& executor, const Rows& rows, int width) {
  const std::vector<TokenRow> spans(rows.begin(), rows.end());
  std::vector<float> vectors(rows.size() * static_cast<size_t>(width));
  const absl::Status status = executor.Run(spans, vectors);
  EXPECT_TRUE(status.ok()) << status;
  return vectors;
}

TEST_P(PackedTorchExecutorTest, ComputesWhatTheFormulasSay) {
  const Rows rows = SomeRows();
  for (const bool mean : {true, false}) {
    for (const bool normalize : {true, false}) {
      BertForm form = kForm;
      form.mean_pooling = mean;
      form.normalize = normalize;
      BertWeights weights = RandomWeights(form);
      if (mean) weights.position_pad_id = 1;  // RoBERTa's
      std::vector<Vector> expected;
      for (const auto& row : rows) expected.push_back(Expected(weights, row));
      for (const Precision precision : kBoth) {
        const auto model = Make(weights, precision);
        const auto vectors = RunRows(*model->MakeExecutor(), rows, kForm.width);
        for (size_t i = 0; i < rows.size(); ++i) {
          const float* vector = &vectors[i * kForm.width];
          ASSERT_GT(Cosine(vector, expected[i]), precision == Precision::kFp32 ? 1 - 1e-9 : .999)
              << PrecisionName(precision) << " row " << i;
          for (int j = 0; precision == Precision::kFp32 && j < kForm.width; ++j) {
            ASSERT_NEAR(vector[j], expected[i][static_cast<size_t>(j)], 3e-5) << i << ", " << j;
          }
        }
      }
    }
  }
}

TEST_P(PackedTorchExecutorTest, ATextsVectorDoesNotDependOnItsBatch) {
  const Rows rows = SomeRows();
  for (const Precision precision : kBoth) {
    const auto executor = Make(RandomWeights(kForm), precision)->MakeExecutor();
    const auto together = RunRows(*executor, rows, kForm.width);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto alone = RunRows(*executor, {rows[i]}, kForm.width);
      for (int j = 0; j < kForm.width; ++j) {
        ASSERT_NEAR(together[i * kForm.width + static_cast<size_t>(j)],
                    alone[static_cast<size_t>(j)], precision == Precision::kFp32 ? 1e-6 : 4e-3)
            << PrecisionName(precision) << " row " << i;
      }
    }
  }
}

TEST_P(PackedTorchExecutorTest, ScoresPairsAsTheFusedExecutor) {
  BertWeights weights = RandomWeights(kForm);
  const BertWeights more = RandomWeights({.width = 64, .heads = 2, .inner = 64, .layers = 1});
  weights.second_type = more.norm.weight;
  const LinearWeights& dense = more.layers[0].up;
  weights.head = HeadWeights{
      dense, {1, 64, {dense.weight.begin(), dense.weight.begin() + 64}, {dense.bias.front()}}};
  const Rows rows = {{2, 7, 9, 3, 8, 11, 3}, {2, 5, 3, 6, 3}, {2, 40, 41, 42, 43, 3, 4, 3}};
  const std::vector<TokenRow> pairs = {{rows[0], 4}, {rows[1], 3}, {rows[2], 6}};
  const auto reference = MakeFusedModel(weights, {.max_tokens = 280});
  ASSERT_TRUE(reference.ok()) << reference.status();
  std::vector<float> expected(3), logits(3);
  ASSERT_TRUE((*reference)->MakeExecutor()->Run(pairs, expected).ok());
  const auto model = Make(weights);
  ASSERT_TRUE(model->MakeExecutor()->Run(pairs, logits).ok());
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(logits[i], expected[i], 1e-5);
  EXPECT_GT(std::fabs(expected[0] - expected[1]), 1e-3);
}

TEST_P(PackedTorchExecutorTest, ExecutorsRunSideBySide) {
  const Rows rows = SomeRows();
  const auto model = Make(RandomWeights(kForm));
  const auto expected = RunRows(*model->MakeExecutor(), rows, kForm.width);
  std::vector<std::future<std::vector<float>>> runs;
  for (int i = 0; i < 4; ++i) {
    runs.push_back(std::async(std::launch::async, [&] {
      const auto executor = model->MakeExecutor();
      std::vector<float> vectors;
      for (int j = 0; j < 5; ++j) vectors = RunRows(*executor, rows, kForm.width);
      return vectors;
    }));
  }
  for (auto& run : runs) {
    const auto vectors = run.get();
    for (size_t i = 0; i < vectors.size(); ++i) ASSERT_NEAR(vectors[i], expected[i], 1e-6);
  }
}

TEST_P(PackedTorchExecutorTest, RefusesBadRowsAndGoesOn) {
  const auto executor = Make(RandomWeights(kForm))->MakeExecutor();
  std::vector<float> vector(kForm.width);
  for (const std::vector<int32_t>& row :
       {std::vector<int32_t>{}, std::vector<int32_t>{1, kForm.vocab}, std::vector<int32_t>{-1},
        std::vector<int32_t>(281, 1)}) {
    const TokenRow rows[] = {row};
    EXPECT_EQ(executor->Run(rows, vector).code(), absl::StatusCode::kInternal);
  }
  RunRows(*executor, {{1, 2, 3}}, kForm.width);
}

TEST_P(PackedTorchExecutorTest, RefusesWhatItCannotRun) {
  const auto refused = [](const BertWeights& weights, PackedTorchOptions options,
                          absl::StatusCode code, const char* why) {
    options.device = GetParam();
    const absl::Status status = MakePackedTorchModel(weights, options).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  BertForm mpnet = kForm;
  mpnet.mpnet = true;
  refused(RandomWeights(mpnet), {.max_tokens = 280}, absl::StatusCode::kFailedPrecondition,
          "relative biases");
  refused(RandomWeights(kForm), {.max_tokens = 301}, absl::StatusCode::kInvalidArgument,
          "a window of 301");
  refused(RandomWeights(kForm), {.max_tokens = 280, .precision = Precision::kInt8},
          absl::StatusCode::kInvalidArgument, "fp32 and bf16");
  if (GetParam() == std::string("cuda")) {
    refused(RandomWeights(), {.max_tokens = 280}, absl::StatusCode::kFailedPrecondition, "of 20");
  }
}

TEST_P(PackedTorchExecutorTest, TheRealModelAsTorchScriptHasIt) {
  VECINO_NEED_REAL_MODEL();
  const std::string bytes = ReadAll(ModelRoot() / kRealModel / "model.pt");
  const auto weights = ReadBertWeights(bytes);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const auto reference =
      LoadTorchModel(bytes, {.dimension = 384, .max_tokens = 256, .vocab_size = 30522});
  ASSERT_TRUE(reference.ok()) << reference.status();
  Rows rows = SomeRows(30522);
  for (auto& row : rows) row.resize(std::min<size_t>(row.size(), 256));
  const auto expected = RunRows(*(*reference)->MakeExecutor(), rows, 384);
  for (const Precision precision : kBoth) {
    const auto vectors = RunRows(*Make(*weights, precision, 256)->MakeExecutor(), rows, 384);
    for (size_t i = 0; i < rows.size(); ++i) {
      const Vector row(&expected[i * 384], &expected[i * 384] + 384);
      EXPECT_GT(Cosine(&vectors[i * 384], row), precision == Precision::kFp32 ? 1 - 1e-9 : .999)
          << PrecisionName(precision) << " row " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, PackedTorchExecutorTest, testing::Values("cpu", "cuda"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace vecino::encoder
