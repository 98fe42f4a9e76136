#include "encoder/torch_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <string>
#include <vector>

#include "encoder/packed_matrix.h"
#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;

constexpr TorchOptions kOptions = {
    .dimension = 384, .max_tokens = 256, .vocab_size = 30522, .pad_id = 0, .device = "cpu"};

TEST(LoadTorchModelTest, RefusesWhatIsNotAModule) {
  for (const std::string& bytes : {std::string(), std::string("text"), std::string(4096, '\0'),
                                   std::string("PK\3\4 cut off")}) {
    EXPECT_EQ(LoadTorchModel(bytes, kOptions).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(LoadTorchModelTest, RefusesOptionsOutOfRange) {
  TorchOptions options = kOptions;
  options.device = "tpu";
  EXPECT_EQ(LoadTorchModel("", options).status().code(), absl::StatusCode::kInvalidArgument);
  options = kOptions;
  options.dimension = 0;
  EXPECT_EQ(LoadTorchModel("", options).status().code(), absl::StatusCode::kInvalidArgument);
  options = kOptions;
  options.precision = Precision::kInt8;
  EXPECT_EQ(LoadTorchModel("", options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckDeviceTest, SaysWhatIsWrong) {
  EXPECT_TRUE(CheckDevice("cpu").ok());
  EXPECT_EQ(CheckDevice("").code(), absl::StatusCode::kInvalidArgument);
  // With CUDA it is OK; without, it is refused before any model is read.
  const absl::Status cuda = CheckDevice("cuda");
  if (!cuda.ok()) {
    EXPECT_EQ(cuda.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(cuda.message()), HasSubstr("no CUDA or finds no device"));
  }
}

class TorchExecutorTest : public testing::Test {
 protected:
  void SetUp() override {
    VECINO_NEED_REAL_MODEL();
    auto model = LoadTorchModel(ReadAll(ModelRoot() / kRealModel / "model.pt"), kOptions);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  // One vector for each row.
  static std::vector<float> Run(Executor& executor, const std::vector<std::vector<int32_t>>& rows) {
    const std::vector<TokenRow> spans(rows.begin(), rows.end());
    std::vector<float> vectors(rows.size() * 384);
    const absl::Status status = executor.Run(spans, vectors);
    EXPECT_TRUE(status.ok()) << status;
    return vectors;
  }

  std::unique_ptr<ExecutorFactory> model_;
};

TEST_F(TorchExecutorTest, RefusesBadRowsAndGoesOn) {
  const auto executor = model_->MakeExecutor();
  std::vector<float> vector(384);
  for (const std::vector<int32_t>& row :
       {std::vector<int32_t>{}, std::vector<int32_t>{101, 30522, 102},
        std::vector<int32_t>{101, -1, 102}, std::vector<int32_t>(257, 101)}) {
    const TokenRow rows[] = {row};
    EXPECT_EQ(executor->Run(rows, vector).code(), absl::StatusCode::kInternal);
  }
  const std::vector<int32_t> good = {101, 7592, 102};
  const TokenRow rows[] = {good};
  EXPECT_EQ(executor->Run(rows, std::span(vector).first(10)).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(executor->Run(rows, vector).ok());
}

TEST_F(TorchExecutorTest, ModelOfAnotherDimensionIsAnError) {
  TorchOptions options = kOptions;
  options.dimension = 100;
  const auto model = LoadTorchModel(ReadAll(ModelRoot() / kRealModel / "model.pt"), options);
  ASSERT_TRUE(model.ok());
  std::vector<float> vector(100);
  const std::vector<int32_t> good = {101, 7592, 102};
  const TokenRow rows[] = {good};
  EXPECT_EQ((*model)->MakeExecutor()->Run(rows, vector).code(), absl::StatusCode::kInternal);
}

TEST_F(TorchExecutorTest, VectorsHaveLengthOne) {
  const auto vectors = Run(*model_->MakeExecutor(), {{101, 7592, 102}, {101, 102}});
  for (int row = 0; row < 2; ++row) {
    double square = 0;
    for (int i = 0; i < 384; ++i) square += std::pow(vectors[row * 384 + i], 2);
    EXPECT_NEAR(square, 1, 1e-5);
  }
}

TEST_F(TorchExecutorTest, NarrowLinearsMakeNearlyTheSameVectors) {
  if (!IsNative(Precision::kBf16)) GTEST_SKIP() << "this CPU has no bfloat16";
  TorchOptions options = kOptions;
  options.precision = Precision::kBf16;
  const auto narrow = LoadTorchModel(ReadAll(ModelRoot() / kRealModel / "model.pt"), options);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const std::vector<std::vector<int32_t>> rows = {
      {101, 7592, 2088, 102}, {101, 102}, std::vector<int32_t>(60, 2003)};
  const auto a = Run(*model_->MakeExecutor(), rows), b = Run(*(*narrow)->MakeExecutor(), rows);
  EXPECT_NE(a, b);
  for (size_t row = 0; row < rows.size(); ++row) {
    double product = 0;
    for (size_t i = 0; i < 384; ++i) product += double{a[row * 384 + i]} * b[row * 384 + i];
    EXPECT_GT(product, 0.9998) << row;
  }
}

// The executors share one module: threads that run it at once must not disturb each other.
TEST_F(TorchExecutorTest, ThreadsShareTheWeights) {
  const std::vector<std::vector<int32_t>> rows = {
      {101, 7592, 2088, 102}, {101, 102}, std::vector<int32_t>(60, 2003)};
  const auto expected = Run(*model_->MakeExecutor(), rows);
  std::vector<std::future<int>> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.push_back(std::async(std::launch::async, [&] {
      const auto executor = model_->MakeExecutor();
      int wrong = 0;
      for (int round = 0; round < 4; ++round) wrong += Run(*executor, rows) != expected;
      return wrong;
    }));
  }
  for (auto& thread : threads) EXPECT_EQ(thread.get(), 0);
}

}  // namespace
}  // namespace vecino::encoder
