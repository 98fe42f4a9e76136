#include "encoder/text_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;

// One id for each byte, its value.
class ByteTokenizer : public Tokenizer {
 public:
  Tokens Encode(std::string_view text, int max_tokens) const override {
    Tokens tokens;
    tokens.ids.assign(text.begin(), text.end());
    tokens.count = static_cast<int>(tokens.ids.size());
    return tokens;
  }
  std::vector<int32_t> Ids(std::string_view text) const override {
    return {text.begin(), text.end()};
  }
  Tokens EncodePair(std::span<const int32_t> first, std::span<const int32_t> second,
                    int) const override {
    Tokens tokens;
    tokens.ids.assign(first.begin(), first.end());
    tokens.second = static_cast<int>(first.size());
    tokens.ids.insert(tokens.ids.end(), second.begin(), second.end());
    return tokens;
  }
  int32_t pad_id() const override { return 0; }
};

// {first id, length}, wrong by `error` from the second row of a batch on.
class FakeExecutor : public Executor {
 public:
  explicit FakeExecutor(float error, absl::Status status = absl::OkStatus())
      : error_(error), status_(std::move(status)) {}

  absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      vectors[2 * i] = static_cast<float>(rows[i].front());
      vectors[2 * i + 1] = static_cast<float>(rows[i].size()) + (i > 0 ? error_ : 0);
    }
    largest_batch_ = std::max(largest_batch_, rows.size());
    return status_;
  }

  size_t largest_batch_ = 0;

 private:
  const float error_;
  const absl::Status status_;
};

std::vector<GoldenSentence> Golden() {
  std::vector<GoldenSentence> golden;
  for (const std::string text : {"a", "bc", "def", "g", "hi", "jkl"}) {
    golden.push_back({.text = text,
                      .ids = {text.begin(), text.end()},
                      .vector = {static_cast<float>(text[0]), static_cast<float>(text.size())}});
  }
  return golden;
}

const ModelInfo kInfo = {.dimension = 2, .max_tokens = 8};

TEST(CheckGoldenTest, AcceptsEqualVectorsAloneAndInBatches) {
  FakeExecutor executor(5e-5f);
  EXPECT_TRUE(CheckGolden(Golden(), kInfo, ByteTokenizer(), executor).ok());
  EXPECT_EQ(executor.largest_batch_, 3u);
}

TEST(CheckGoldenTest, RefusesOtherVectors) {
  for (const float error : {2e-4f, -2e-4f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    FakeExecutor executor(error);
    const absl::Status status = CheckGolden(Golden(), kInfo, ByteTokenizer(), executor);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << error;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'def': the vector differs"));
  }
}

TEST(CheckGoldenTest, OtherPrecisionsAreJudgedByCosine) {
  // Of {'b', 2} and the like: a difference of 5 in the second number is a cosine of .999 and less.
  for (const auto& [precision, good, bad] :
       {std::tuple{"bf16", 3.0f, 8.0f}, std::tuple{"int8", 10.0f, 20.0f}}) {
    ModelInfo info = kInfo;
    info.precision = precision;
    FakeExecutor fine(good), far(bad), none(std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(CheckGolden(Golden(), info, ByteTokenizer(), fine).ok()) << precision;
    EXPECT_EQ(CheckGolden(Golden(), info, ByteTokenizer(), far).code(), absl::StatusCode::kDataLoss)
        << precision;
    EXPECT_EQ(CheckGolden(Golden(), info, ByteTokenizer(), none).code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(CheckGoldenTest, RefusesOtherIds) {
  auto golden = Golden();
  golden[4].ids.back() += 1;
  FakeExecutor executor(0);
  const absl::Status status = CheckGolden(golden, kInfo, ByteTokenizer(), executor);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'hi': token ids"));
}

TEST(CheckGoldenTest, PassesAnExecutorsFailureOn) {
  FakeExecutor executor(0, absl::InternalError("broken"));
  EXPECT_EQ(CheckGolden(Golden(), kInfo, ByteTokenizer(), executor), absl::InternalError("broken"));
}

// The first id of the second text, wrong by `error` from the second row of a batch on, or negative.
class FakeReranker : public Executor {
 public:
  explicit FakeReranker(float error, float sign = 1) : error_(error), sign_(sign) {}
  absl::Status Run(std::span<const TokenRow> rows, std::span<float> logits) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      logits[i] = sign_ * static_cast<float>(rows[i][static_cast<size_t>(rows[i].second)]) +
                  (i > 0 ? error_ : 0);
    }
    return absl::OkStatus();
  }

 private:
  const float error_, sign_;
};

std::vector<GoldenPair> Pairs() {
  std::vector<GoldenPair> pairs;
  for (const auto& [query, text] :
       {std::pair<std::string, std::string>{"q", "a"}, {"q", "bc"}, {"qr", "c"}, {"q", "d"}}) {
    GoldenPair& pair = pairs.emplace_back();
    pair = {.query = query, .text = text, .ids = {}, .types = {}, .logit = 0};
    const std::string both = query + text;
    pair.ids.assign(both.begin(), both.end());
    pair.types.assign(query.size(), 0);
    pair.types.resize(both.size(), 1);
    pair.logit = static_cast<float>(text[0]);
  }
  return pairs;
}

TEST(CheckGoldenPairsTest, LogitsIdsAndTypes) {
  const ModelInfo info = {.max_tokens = 8, .task = Task::kRerank};
  FakeReranker good(0.005f), bad(0.02f), none(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(CheckGoldenPairs(Pairs(), 2, info, ByteTokenizer(), good).ok());
  for (FakeReranker* wrong : {&bad, &none}) {
    const absl::Status status = CheckGoldenPairs(Pairs(), 2, info, ByteTokenizer(), *wrong);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("'qr', 'c': the logit is"));
  }
  auto pairs = Pairs();
  pairs[1].types[0] = 1;
  EXPECT_THAT(std::string(CheckGoldenPairs(pairs, 2, info, ByteTokenizer(), good).message()),
              HasSubstr("'q', 'bc': token types are"));
  EXPECT_THAT(std::string(CheckGoldenPairs(Pairs(), 1, info, ByteTokenizer(), good).message()),
              HasSubstr("token types are [0 0]"));
  pairs = Pairs();
  pairs[3].ids.back() = 7;
  EXPECT_THAT(std::string(CheckGoldenPairs(pairs, 2, info, ByteTokenizer(), good).message()),
              HasSubstr("'q', 'd': token ids are"));
}

TEST(CheckGoldenPairsTest, OtherPrecisionsAreJudgedByCorrelation) {
  for (const char* precision : {"bf16", "int8"}) {
    ModelInfo info = {.max_tokens = 8, .precision = precision, .task = Task::kRerank};
    FakeReranker shifted(0.05f), turned(0, -1), far(5);
    EXPECT_TRUE(CheckGoldenPairs(Pairs(), 2, info, ByteTokenizer(), shifted).ok());
    for (FakeReranker* wrong : {&turned, &far}) {
      const absl::Status status = CheckGoldenPairs(Pairs(), 2, info, ByteTokenizer(), *wrong);
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), HasSubstr("the correlation of the logits"));
    }
  }
}

TEST(LoadTextModelTest, RefusesAModuleThatIsNotTorchScript) {
  const std::filesystem::path root = NewTempDir();
  WriteTinyFolder(root / "tiny");
  const absl::Status status =
      LoadTextModels(root, "tiny", "cpu", "auto", [](std::string_view) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("TorchScript"));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace vecino::encoder
