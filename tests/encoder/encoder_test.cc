#include "encoder/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "encoder/torch_executor.h"
#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

float LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::fabs(a[i] - b[i]));
  }
  return largest;
}

float Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  float dot = 0;
  for (size_t i = 0; i < a.size(); ++i) dot += a[i] * b[i];
  return dot;
}

// Texts of 2 to more than 256 tokens, most of them short.
std::vector<std::string> VariedTexts(int count) {
  const std::vector<std::string> words = {"spider", "chess", "compiler", "of", "the",
                                          "qzxv",   "Café",  "42",       ",",  "library"};
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    std::string text;
    const int length = i % 15 == 14 ? 20 + i * 4 : i % 20;
    for (int j = 0; j < length; ++j) text += words[(i * 7 + j * (1 + i % 3)) % words.size()] + " ";
    texts.push_back(text);
  }
  return texts;
}

class EncoderTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!HasRealModel()) return;
    auto opened = OpenEncoder({.model_root = ModelRoot().string(), .executors = 2});
    ASSERT_TRUE(opened.ok()) << opened.status();
    encoder_ = opened->release();
  }
  static void TearDownTestSuite() {
    delete encoder_;
    encoder_ = nullptr;
  }
  void SetUp() override {
    VECINO_NEED_REAL_MODEL();
    ASSERT_NE(encoder_, nullptr);
  }

  static absl::StatusOr<std::vector<EmbedResult>> Embed(const std::vector<std::string>& texts,
                                                        const EmbedOptions& options = {}) {
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    return encoder_->Embed(kRealModel, views, options);
  }

  static std::vector<float> EmbedOne(const std::string& text) {
    auto results = Embed({text});
    EXPECT_TRUE(results.ok() && results->front().status.ok());
    return std::move(results->front().vector);
  }

  static Encoder* encoder_;
};
Encoder* EncoderTest::encoder_ = nullptr;

TEST_F(EncoderTest, KnowsItsModel) {
  const auto info = encoder_->Model(kRealModel);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->dimension, 384);
  EXPECT_EQ(info->max_tokens, 256) << "sentence_bert_config.json, not tokenizer.json's 128";
  EXPECT_EQ(info->pooling, "mean");
  EXPECT_TRUE(info->normalize);
  EXPECT_EQ(info->name, kRealModel);
  const auto models = encoder_->Models();
  EXPECT_TRUE(std::is_sorted(models.begin(), models.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));
  EXPECT_GE(models.size(), 1u);
}

TEST_F(EncoderTest, OtherPrecisionsAreModelsOfTheirOwn) {
  const auto fp32 = encoder_->Model(kRealModel);
  ASSERT_TRUE(fp32.ok());
  EXPECT_EQ(fp32->precision, "fp32");
  const std::string_view texts[] = {"a chess program", "cheap flights to Lisbon"};
  const auto of_fp32 = encoder_->Embed(kRealModel, texts, {});
  ASSERT_TRUE(of_fp32.ok());
  std::set<std::string> hashes = {fp32->hash};
  for (const std::string precision : {"bf16", "int8"}) {
    const std::string name = std::string(kRealModel) + "@" + precision;
    const auto info = encoder_->Model(name);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->precision, precision);
    EXPECT_TRUE(hashes.insert(info->hash).second);
    EXPECT_EQ(info->hash.size(), 64u);
    EXPECT_EQ(info->max_tokens, fp32->max_tokens);
    const auto other = encoder_->Embed(name, texts, {});
    ASSERT_TRUE(other.ok()) << other.status();
    for (int i = 0; i < 2; ++i) {
      double cosine = 0, difference = 0;
      for (int j = 0; j < 384; ++j) {
        const double a = (*of_fp32)[i].vector[j], b = (*other)[i].vector[j];
        cosine += a * b;
        difference += std::fabs(a - b);
      }
      EXPECT_GT(cosine, precision == "bf16" ? 0.9999 : 0.997);
      EXPECT_GT(difference, 0) << "computed in fp32";
    }
  }
  EXPECT_EQ(encoder_->Model(std::string(kRealModel) + "@int4").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(EncoderTest, SaysWhereTheTimeWent) {
  const std::vector<std::string> texts = VariedTexts(60);
  EmbedTimings bulk, query, again;
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Embed(texts, {.timings = &bulk}).ok());
  const absl::Duration took = absl::Now() - start;
  EXPECT_GT(bulk.tokenize, absl::ZeroDuration());
  EXPECT_GT(bulk.queue, absl::ZeroDuration());
  EXPECT_GT(bulk.compute, absl::ZeroDuration());
  EXPECT_LE(bulk.tokenize + bulk.queue, took);
  EXPECT_LE(bulk.compute, 2 * took) << "two executors, side by side";
  const auto ask = [&](EmbedTimings* timings) {
    return Embed({"a query whose time is told"}, {.lane = Lane::kQuery, .timings = timings});
  };
  ASSERT_TRUE(ask(&query).ok());
  EXPECT_GT(query.tokenize, absl::ZeroDuration());
  EXPECT_GT(query.compute, absl::ZeroDuration());
  again = bulk;
  ASSERT_TRUE(ask(&again).ok());
  EXPECT_EQ(again.tokenize + again.queue + again.compute, absl::ZeroDuration()) << "from the cache";
}

TEST_F(EncoderTest, AQueryAskedAgainComesFromTheCache) {
  const std::string_view texts[] = {"a text for the cache's test", "another one"};
  const EmbedOptions query = {.input_type = InputType::kQuery, .lane = Lane::kQuery};
  const EncoderStats before = encoder_->Stats();
  const auto first = encoder_->Embed(kRealModel, texts, query);
  const EncoderStats between = encoder_->Stats();
  const auto second = encoder_->Embed(kRealModel, texts, query);
  const auto bulk = encoder_->Embed(kRealModel, texts, {.input_type = InputType::kQuery});
  const EncoderStats after = encoder_->Stats();
  ASSERT_TRUE(first.ok() && second.ok() && bulk.ok());
  EXPECT_EQ(between.cache_misses - before.cache_misses, 2);
  EXPECT_EQ(between.cache_hits, before.cache_hits);
  EXPECT_EQ(after.cache_hits - between.cache_hits, 2);
  EXPECT_EQ(after.texts - between.texts, 2) << "those of the bulk lane";
  EXPECT_GT(after.cache_bytes, 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ((*first)[i].vector, (*second)[i].vector);
    EXPECT_EQ((*first)[i].token_count, (*second)[i].token_count);
  }
  // A text that is too long is an error to one and not to the other.
  std::string many_words;
  for (int i = 0; i < 300; ++i) many_words += "word ";
  const std::string_view long_text[] = {many_words};
  EmbedOptions strict = query;
  strict.truncate = Truncate::kError;
  const auto cut = encoder_->Embed(kRealModel, long_text, query);
  const auto refused = encoder_->Embed(kRealModel, long_text, strict);
  const auto cut_again = encoder_->Embed(kRealModel, long_text, query);
  ASSERT_TRUE(cut.ok() && refused.ok() && cut_again.ok());
  EXPECT_TRUE((*cut)[0].truncated);
  EXPECT_EQ((*refused)[0].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE((*cut_again)[0].truncated);
  EXPECT_EQ((*cut)[0].vector, (*cut_again)[0].vector);
}

TEST_F(EncoderTest, CutsToFewerDimensions) {
  const std::string_view texts[] = {"chess", "a game of chess"};
  for (const Lane lane : {Lane::kBulk, Lane::kQuery}) {
    const auto whole = encoder_->Embed(kRealModel, texts, {.lane = lane});
    for (const int dimensions : {1, 100, 384, 500}) {
      const auto cut = encoder_->Embed(kRealModel, texts, {.lane = lane, .dimensions = dimensions});
      ASSERT_TRUE(whole.ok() && cut.ok());
      for (size_t i = 0; i < 2; ++i) {
        const std::vector<float>&all = (*whole)[i].vector, &few = (*cut)[i].vector;
        ASSERT_EQ(few.size(), std::min<size_t>(384, dimensions));
        double squares = 0;
        for (const float x : few) squares += double{x} * x;
        EXPECT_NEAR(squares, 1, 1e-5);
        for (size_t j = 0; j < few.size(); ++j) {
          EXPECT_NEAR(few[j] * all[0], all[j] * few[0], 1e-6) << j;
        }
      }
    }
  }
}

TEST_F(EncoderTest, AnEmbeddingModelScoresNoPairs) {
  const std::string_view texts[] = {"a", "b"};
  for (const std::string model : {"all-MiniLM-L6-v2", "all-MiniLM-L6-v2@int8"}) {
    const absl::Status status = encoder_->Rerank(model, "q", texts, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is an embedding model"));
  }
  EXPECT_EQ(encoder_->Rerank("none", "q", texts, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(EncoderTest, UnknownModelIsNotFoundAndListsTheOthers) {
  for (const std::string name : {"none", "", "../all-MiniLM-L6-v2"}) {
    const std::string_view texts[] = {"a"};
    const absl::Status status = encoder_->Embed(name, texts, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(kRealModel));
    EXPECT_EQ(encoder_->Model(name).status().code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(EncoderTest, NearMeaningsAreNear) {
  const auto query = EmbedOne("fear of spiders");
  const float near = Cosine(query, EmbedOne("arachnophobia"));
  const float far = Cosine(query, EmbedOne("a library for parsing command line options"));
  EXPECT_GT(near, far + 0.3f);
}

TEST_F(EncoderTest, VectorDoesNotDependOnItsNeighbours) {
  const auto texts = VariedTexts(60);
  const auto together = Embed(texts);
  ASSERT_TRUE(together.ok()) << together.status();
  float largest = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_TRUE((*together)[i].status.ok());
    largest = std::max(largest, LargestDifference((*together)[i].vector, EmbedOne(texts[i])));
  }
  EXPECT_LE(largest, 1e-5f);
  RecordProperty("largest_difference", absl::StrCat(largest));
}

TEST_F(EncoderTest, CallersAtOnceGetTheirOwnVectors) {
  const auto texts = VariedTexts(24);
  std::vector<std::vector<float>> expected;
  for (const auto& text : texts) expected.push_back(EmbedOne(text));
  std::vector<std::future<float>> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.push_back(std::async(std::launch::async, [&, caller] {
      std::vector<std::string> mine;
      for (size_t i = caller; i < texts.size(); i += 2) mine.push_back(texts[i]);
      const auto results = Embed(mine, {.lane = caller % 2 == 0 ? Lane::kQuery : Lane::kBulk});
      if (!results.ok()) return 1e9f;
      float largest = 0;
      for (size_t i = 0; i < mine.size(); ++i) {
        largest =
            std::max(largest, LargestDifference((*results)[i].vector, expected[caller + 2 * i]));
      }
      return largest;
    }));
  }
  for (auto& caller : callers) EXPECT_LE(caller.get(), 1e-5f);
}

TEST_F(EncoderTest, ATextsOwnFaultIsItsOwn) {
  std::string long_text;
  for (int i = 0; i < 300; ++i) long_text += "chess ";
  const auto results = Embed({"chess", "bad \xC3(", long_text, ""}, {.truncate = Truncate::kError});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_THAT(*results, SizeIs(4));
  EXPECT_TRUE((*results)[0].status.ok());
  EXPECT_EQ((*results)[0].token_count, 3);
  EXPECT_THAT((*results)[0].vector, SizeIs(384));
  EXPECT_EQ((*results)[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string((*results)[1].status.message()), HasSubstr("byte 4 of 6"));
  EXPECT_THAT((*results)[1].vector, SizeIs(0));
  EXPECT_EQ((*results)[2].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string((*results)[2].status.message()), HasSubstr("302 tokens"));
  EXPECT_THAT(std::string((*results)[2].status.message()), HasSubstr("256"));
  EXPECT_THAT((*results)[2].vector, SizeIs(0));
  EXPECT_TRUE((*results)[3].status.ok())
      << "an empty text has a vector, as in sentence-transformers";
  EXPECT_EQ((*results)[3].token_count, 2);
}

TEST_F(EncoderTest, CutTextSaysSoAndEqualsItsBeginning) {
  std::string fits, over;
  for (int i = 0; i < 254; ++i) fits += "chess ";
  for (int i = 0; i < 400; ++i) over += "chess ";
  const auto results = Embed({fits, over});
  ASSERT_TRUE(results.ok());
  EXPECT_FALSE((*results)[0].truncated);
  EXPECT_EQ((*results)[0].token_count, 256);
  EXPECT_TRUE((*results)[1].truncated);
  EXPECT_EQ((*results)[1].token_count, 402);
  EXPECT_LE(LargestDifference((*results)[0].vector, (*results)[1].vector), 1e-5f);
}

TEST_F(EncoderTest, NoTextsNoResults) {
  const auto results = Embed({});
  ASSERT_TRUE(results.ok());
  EXPECT_THAT(*results, SizeIs(0));
  const auto only_bad = Embed({"\xFF"});
  ASSERT_TRUE(only_bad.ok());
  EXPECT_EQ((*only_bad)[0].status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EncoderTest, GivesUpWhenAsked) {
  EXPECT_EQ(Embed({"a"}, {.deadline = absl::InfinitePast()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(Embed({"a"}, {.stop = stop.get_token()}).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(EncoderTest, CountsWhatItDoes) {
  const EncoderStats before = encoder_->Stats();
  ASSERT_TRUE(Embed({"chess", "play chess against the computer"}).ok());
  const EncoderStats after = encoder_->Stats();
  EXPECT_EQ(after.executors, 2);
  EXPECT_EQ(after.texts - before.texts, 2);
  EXPECT_EQ(after.tokens - before.tokens, 3 + 7);
  EXPECT_GE(after.padded_tokens - before.padded_tokens, 3 + 7);
  EXPECT_GE(after.batches - before.batches, 1);
  EXPECT_GT(after.compute_seconds, before.compute_seconds);
  EXPECT_GT(after.tokenize_seconds, before.tokenize_seconds);
  EXPECT_EQ(after.queued_tokens, 0);
}

class OpenEncoderTest : public testing::Test {
 protected:
  void SetUp() override { root_ = NewTempDir(); }
  void TearDown() override { fs::remove_all(root_); }

  absl::StatusOr<std::unique_ptr<Encoder>> Open() {
    return OpenEncoder({.model_root = root_.string(),
                        .executors = 1,
                        .log = [this](std::string_view line) { log_.emplace_back(line); }});
  }

  fs::path root_;
  std::vector<std::string> log_;
};

TEST_F(OpenEncoderTest, RefusesOptionsOutOfRangeAndAMissingRoot) {
  EXPECT_EQ(OpenEncoder({.model_root = (root_ / "none").string()}).status().code(),
            absl::StatusCode::kNotFound);
  const std::string root = root_.string();
  for (const EncoderOptions& options : {EncoderOptions{.model_root = root, .executors = -1},
                                        EncoderOptions{.model_root = root, .executors = 100000},
                                        EncoderOptions{.model_root = root, .batch_tokens = -1},
                                        EncoderOptions{.model_root = root, .queue_tokens = 0},
                                        EncoderOptions{.model_root = root, .cache_bytes = -1},
                                        EncoderOptions{.model_root = root, .executor = "abacus"},
                                        EncoderOptions{.model_root = root, .device = "abacus"}}) {
    EXPECT_EQ(OpenEncoder(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(OpenEncoderTest, TakesTheCpuWhereThereIsNoCuda) {
  if (CheckDevice("cuda").ok()) GTEST_SKIP() << "there is a CUDA device";
  VECINO_NEED_REAL_MODEL();
  LinkRealModel(root_, "model");
  std::vector<std::string> warnings;
  const auto encoder = OpenEncoder(
      {.model_root = root_.string(), .device = "cuda", .warn = [&](std::string_view line) {
         warnings.emplace_back(line);
       }});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_THAT(warnings, testing::ElementsAre(testing::HasSubstr("models run on the CPU: ")));
  EXPECT_EQ((*encoder)->Models().size(), 3u);
  const std::string_view texts[] = {"chess"};
  EXPECT_TRUE((*encoder)->Embed("model", texts, {}).ok());
}

TEST_F(OpenEncoderTest, RootWithoutModelsServesNone) {
  const auto encoder = Open();
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_THAT((*encoder)->Models(), SizeIs(0));
  EXPECT_EQ((*encoder)->Model("any").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(log_, Contains(HasSubstr("no model in")));
}

TEST_F(OpenEncoderTest, LeavesDamagedFoldersOutAndServesTheRest) {
  VECINO_NEED_REAL_MODEL();
  LinkRealModel(root_, "good");
  LinkRealModel(root_, "tampered");
  fs::remove(root_ / "tampered" / "vocab.txt");
  WriteAll(root_ / "tampered" / "vocab.txt", ReadAll(root_ / "good" / "vocab.txt") + "extra\n");

  LinkRealModel(root_, "other-vector");  // hashes agree, vectors do not
  const json manifest = json::parse(ReadAll(root_ / "good" / "manifest.json"));
  json golden = json::parse(ReadAll(root_ / "good" / "golden.json"));
  golden["sentences"][5]["vector"][100] =
      golden["sentences"][5]["vector"][100].get<float>() + 3e-4f;
  WriteAll(root_ / "other-vector" / "golden.json", golden.dump());
  UpdateManifest(root_ / "other-vector", manifest);

  LinkRealModel(root_, "other-tokens");
  json cased = manifest;
  cased["tokenizer"]["lowercase"] = false;
  UpdateManifest(root_ / "other-tokens", cased);

  const auto encoder = Open();
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  std::vector<std::string> names;
  for (const ModelInfo& info : (*encoder)->Models()) names.push_back(info.name);
  EXPECT_THAT(names, testing::ElementsAre("good", "good@bf16", "good@int8"));
  EXPECT_THAT(log_, Contains(HasSubstr("model good loaded")));
  EXPECT_THAT(log_,
              Contains(testing::AllOf(HasSubstr("model tampered refused"), HasSubstr("bytes"))));
  EXPECT_THAT(log_, Contains(testing::AllOf(HasSubstr("model other-vector refused"),
                                            HasSubstr("vector differs"))));
  EXPECT_THAT(log_, Contains(testing::AllOf(HasSubstr("model other-tokens refused"),
                                            HasSubstr("token ids"))));
}

TEST_F(OpenEncoderTest, PromptsGoBeforeTheTextAndShutdownEndsService) {
  VECINO_NEED_REAL_MODEL();
  LinkRealModel(root_, "prompted");
  json manifest = json::parse(ReadAll(root_ / "prompted" / "manifest.json"));
  manifest["prompts"] = {
      {"query", "search query: "}, {"document", ""}, {"clustering", "cluster: "}};
  WriteAll(root_ / "prompted" / "manifest.json", manifest.dump());
  const auto encoder = Open();
  ASSERT_TRUE(encoder.ok());
  const auto prompts = (*encoder)->Model("prompted")->prompts;
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts.at("query").text, "search query: ");
  EXPECT_EQ(prompts.at("document").tokens, 2) << "the special ones";
  EXPECT_EQ(prompts.at("query").tokens, 5);
  EXPECT_EQ(prompts.at("clustering").tokens, 4);
  const std::string_view text[] = {"chess"};
  const std::string_view spelled_out[] = {"search query: chess"};
  const auto query = (*encoder)->Embed("prompted", text, {.input_type = InputType::kQuery});
  const auto document = (*encoder)->Embed("prompted", text, {.input_type = InputType::kDocument});
  const auto expected = (*encoder)->Embed("prompted", spelled_out, {});
  ASSERT_TRUE(query.ok() && document.ok() && expected.ok());
  EXPECT_EQ((*query)[0].token_count, (*document)[0].token_count + 3);
  EXPECT_LE(LargestDifference((*query)[0].vector, (*expected)[0].vector), 1e-5f);
  EXPECT_GT(LargestDifference((*query)[0].vector, (*document)[0].vector), 1e-3f);

  // By name, whatever the text is for; the cache, which the query lane has, knows them apart.
  const std::string_view named[] = {"cluster: chess"};
  const auto by_name = (*encoder)->Embed("prompted", named, {});
  ASSERT_TRUE(by_name.ok());
  for (const InputType type : {InputType::kDocument, InputType::kQuery}) {
    for (const Lane lane : {Lane::kQuery, Lane::kQuery, Lane::kBulk}) {
      const auto cluster = (*encoder)->Embed(
          "prompted", text, {.input_type = type, .prompt = "clustering", .lane = lane});
      const auto plain = (*encoder)->Embed("prompted", text, {.input_type = type, .lane = lane});
      ASSERT_TRUE(cluster.ok() && plain.ok());
      EXPECT_LE(LargestDifference((*cluster)[0].vector, (*by_name)[0].vector), 1e-5f);
      const auto& as_typed = type == InputType::kQuery ? *query : *document;
      EXPECT_LE(LargestDifference((*plain)[0].vector, as_typed[0].vector), 1e-5f);
      EXPECT_GT(LargestDifference((*cluster)[0].vector, as_typed[0].vector), 1e-3f);
    }
  }
  const absl::Status unknown =
      (*encoder)->Embed("prompted", text, {.prompt = "other\xFF"}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()),
              HasSubstr("has no prompt 'other\\377'; it has: clustering, document, query"));

  (*encoder)->Shutdown();
  (*encoder)->Shutdown();
  EXPECT_EQ((*encoder)->Embed("prompted", text, {}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(OpenEncoderTest, ShutdownWaitsForCallsUnderWay) {
  VECINO_NEED_REAL_MODEL();
  LinkRealModel(root_, "model");
  const auto encoder = Open();
  ASSERT_TRUE(encoder.ok());
  const auto texts = VariedTexts(30);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto call = std::async(std::launch::async,
                         [&] { return (*encoder)->Embed("model", views, {}).status(); });
  while ((*encoder)->Stats().batches == 0) std::this_thread::yield();
  (*encoder)->Shutdown();
  EXPECT_EQ((*encoder)->Stats().texts, 30);
  EXPECT_TRUE(call.get().ok());
}

}  // namespace
}  // namespace vecino::encoder
