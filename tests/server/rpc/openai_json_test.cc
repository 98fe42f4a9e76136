#include "server/rpc/openai_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/engine/types.h"
#include "tests/server/rpc/expect_field.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

absl::Status ReadStatus(const std::string& body) { return ReadOpenAiEmbeddings(body).status(); }

TEST(OpenAiRequestTest, EveryField) {
  const auto asked = ReadOpenAiEmbeddings(R"({"input": ["a", "", "\u00e9\n"], "model": "m@int8",
      "encoding_format": "base64", "dimensions": 7, "user": "somebody", "input_type": "query",
      "truncate": "error"})");
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_THAT(asked->request.texts(), ElementsAre("a", "", "\xC3\xA9\n"));
  EXPECT_EQ(asked->request.model(), "models/m@int8");
  EXPECT_EQ(asked->request.dimensions(), 7);
  EXPECT_EQ(asked->request.input_type(), v1::INPUT_TYPE_QUERY);
  EXPECT_EQ(asked->request.truncate(), v1::TRUNCATE_MODE_ERROR);
  EXPECT_EQ(asked->request.output_type(), v1::OUTPUT_TYPE_UNSPECIFIED);
  EXPECT_TRUE(asked->base64);
  EXPECT_FALSE(asked->one);
}

TEST(OpenAiRequestTest, Defaults) {
  const auto asked = ReadOpenAiEmbeddings(R"({"model": "models/m", "input": "one text"})");
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_THAT(asked->request.texts(), ElementsAre("one text"));
  EXPECT_EQ(asked->request.model(), "models/m");
  EXPECT_EQ(asked->request.dimensions(), 0);
  EXPECT_TRUE(asked->one);
  EXPECT_FALSE(asked->base64);
  const auto nulls = ReadOpenAiEmbeddings(R"({"input": "x", "model": null, "encoding_format": null,
      "dimensions": null, "user": null, "input_type": null, "truncate": null})");
  ASSERT_TRUE(nulls.ok()) << nulls.status();
  EXPECT_EQ(nulls->request.model(), "");
  const auto words = ReadOpenAiEmbeddings(
      R"({"input": "x", "encoding_format": "float", "input_type": "document", "truncate": "auto"})");
  ASSERT_TRUE(words.ok()) << words.status();
  EXPECT_EQ(words->request.input_type(), v1::INPUT_TYPE_DOCUMENT);
  EXPECT_EQ(words->request.truncate(), v1::TRUNCATE_MODE_AUTO);
}

TEST(OpenAiRequestTest, FieldsAtFault) {
  const struct {
    const char* body;
    const char* field;
    const char* part;
  } cases[] = {
      {R"({})", "input", "is missing"},
      {R"({"model": "m"})", "input", "is missing"},
      {R"({"input": null})", "input", "null"},
      {R"({"input": true})", "input", "a boolean"},
      {R"({"input": 5})", "input", "token ids"},
      {R"({"input": 5.5})", "input", "token ids"},
      {R"({"input": {"text": "a"}})", "input", "an object"},
      {R"({"input": [1, 2]})", "input[0]", "token ids"},
      {R"({"input": ["a", [3]]})", "input[1]", "token ids"},
      {R"({"input": ["a", null]})", "input[1]", "null"},
      {R"({"input": ["a", {}]})", "input[1]", "an object"},
      {R"({"input": "a", "input": "b"})", "input", "twice"},
      {R"({"input": "a", "model": 3})", "model", "a number"},
      {R"({"input": "a", "model": ["m"]})", "model", "an array"},
      {R"({"input": "a", "encoding_format": "int8"})", "encoding_format", "\"int8\""},
      {R"({"input": "a", "encoding_format": 1})", "encoding_format", "\"float\" or \"base64\""},
      {R"({"input": "a", "dimensions": "5"})", "dimensions", "a string"},
      {R"({"input": "a", "dimensions": -1})", "dimensions", "0 for all"},
      {R"({"input": "a", "dimensions": 2.5})", "dimensions", "whole"},
      {R"({"input": "a", "dimensions": 99999999999})", "dimensions", "0 for all"},
      {R"({"input": "a", "dimensions": 18446744073709551615})", "dimensions", "0 for all"},
      {R"({"input": "a", "user": 1})", "user", "a number"},
      {R"({"input": "a", "input_type": "passage"})", "input_type", "\"document\" or \"query\""},
      {R"({"input": "a", "truncate": "END"})", "truncate", "\"auto\" or \"error\""},
      {R"({"input": "a", "truncate": true})", "truncate", "a boolean"},
      {R"({"input": "a", "dimension": 5})", "dimension", "known are input"},
      {R"({"input": "a", "extra": {"deep": [[]]}})", "extra", "is not known"},
  };
  for (const auto& [body, field, part] : cases) {
    SCOPED_TRACE(body);
    ExpectField(ReadStatus(body), field, part);
  }
}

TEST(OpenAiRequestTest, NotSuchAnObject) {
  for (const std::string body :
       {"", " ", "{", "{\"input\": \"a\"", "{\"input\": \"a\"} x", "{\"input\": \"\xFF\"}",
        "{\"input\": \"\\ud800\"}", "{\"input\": \"a\nb\"}", "{'input': 'a'}",
        "{\"input\": \"a\", \"dimensions\": 1e999}", "{\"input\": NaN}", "input=a"}) {
    SCOPED_TRACE(body);
    const absl::Status status = ReadStatus(body);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("the body is not JSON, at byte"));
  }
  for (const std::string body : {"[]", "null", "\"a\"", "3", "[\"a\"]", "true"}) {
    EXPECT_THAT(std::string(ReadStatus(body).message()), HasSubstr("must be an object")) << body;
  }
  // Refused at the second bracket, not after ten million.
  ExpectField(ReadStatus("{\"input\": " + std::string(10'000'000, '[')), "input[0]", "token ids");
}

TEST(OpenAiRequestTest, AsManyTextsAsACallMayHave) {
  std::string texts = "\"x\"";
  for (int i = 1; i < 1000; ++i) texts += ",\"x\"";
  const auto full = ReadOpenAiEmbeddings("{\"input\":[" + texts + "]}");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->request.texts_size(), 1000);
  ExpectField(ReadStatus("{\"input\":[" + texts + ",\"x\"]}"), "input", "more than 1000 texts");
}

TEST(OpenAiReplyTest, EmbeddingsInBothForms) {
  const std::vector<float> floats = {0.1f,  -1.0f / 3,  1e-30f,        0,
                                     -0.0f, 16777217.f, 3.4028235e38f, 0.059604645f};
  v1::EmbedTextResponse response;
  response.set_model("models/m@int8");
  for (int i = 0; i < 2; ++i) {
    auto* out = response.add_embeddings();
    for (const float x : floats) out->mutable_vector()->add_values(i == 0 ? x : -x);
    out->set_token_count(3 + i);
  }
  const json numbers = json::parse(WriteOpenAiEmbeddings(response, false));
  const json packed = json::parse(WriteOpenAiEmbeddings(response, true));
  for (const json& reply : {numbers, packed}) {
    EXPECT_EQ(reply.size(), 4u);
    EXPECT_EQ(reply["object"], "list");
    EXPECT_EQ(reply["model"], "m@int8");
    EXPECT_EQ(reply["usage"], (json{{"prompt_tokens", 7}, {"total_tokens", 7}}));
    ASSERT_EQ(reply["data"].size(), 2u);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(reply["data"][i].size(), 3u);
      EXPECT_EQ(reply["data"][i]["object"], "embedding");
      EXPECT_EQ(reply["data"][i]["index"], i);
    }
  }
  EXPECT_EQ(numbers["data"][0]["embedding"].get<std::vector<float>>(), floats);
  std::string bytes;
  const std::string text = packed["data"][0]["embedding"];
  ASSERT_TRUE(absl::Base64Unescape(text, &bytes));
  ASSERT_EQ(bytes.size(), floats.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(bytes.data(), floats.data(), bytes.size()), 0);
}

TEST(OpenAiReplyTest, NothingToSay) {
  v1::EmbedTextResponse response;
  response.add_embeddings()->mutable_vector();
  response.add_embeddings()->mutable_vector()->add_values(std::numeric_limits<float>::quiet_NaN());
  const json reply = json::parse(WriteOpenAiEmbeddings(response, false));
  EXPECT_EQ(reply["data"][0]["embedding"], json::array());
  EXPECT_EQ(reply["data"][1]["embedding"], json::array({nullptr}));
}

TEST(OpenAiReplyTest, Models) {
  v1::ListModelsResponse response;
  EXPECT_EQ(json::parse(WriteOpenAiModels(response)),
            (json{{"object", "list"}, {"data", json::array()}}));
  response.add_models()->set_name("models/m");
  response.add_models()->set_name("models/m@int8");
  const json reply = json::parse(WriteOpenAiModels(response));
  ASSERT_EQ(reply["data"].size(), 2u);
  EXPECT_EQ(reply["data"][1],
            (json{{"id", "m@int8"}, {"object", "model"}, {"created", 0}, {"owned_by", "vecino"}}));
}

TEST(OpenAiErrorTest, StatusesOfCalls) {
  const struct {
    absl::Status status;
    int http;
    const char* type;
    json param, code;
    bool again;
  } cases[] = {
      {absl::InvalidArgumentError("bad"), 400, "invalid_request_error", nullptr, nullptr, false},
      {engine::InvalidField("input[3]", "bad"), 400, "invalid_request_error", "input[3]", nullptr,
       false},
      {absl::FailedPreconditionError("no"), 400, "invalid_request_error", nullptr, nullptr, false},
      {absl::NotFoundError("no"), 404, "invalid_request_error", "model", "model_not_found", false},
      {absl::ResourceExhaustedError("full"), 429, "rate_limit_error", nullptr,
       "rate_limit_exceeded", true},
      {absl::UnavailableError("loading"), 503, "server_error", nullptr, nullptr, true},
      {absl::DeadlineExceededError("slow"), 504, "server_error", nullptr, nullptr, false},
      {absl::InternalError("our fault"), 500, "server_error", nullptr, nullptr, false},
      {absl::UnknownError("?"), 500, "server_error", nullptr, nullptr, false},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.status.ToString());
    const HttpReply reply = OpenAiError(one.status);
    EXPECT_EQ(reply.status, one.http);
    EXPECT_EQ(reply.retry_after_seconds > 0, one.again);
    const json error = json::parse(reply.body)["error"];
    EXPECT_EQ(error["message"], std::string(one.status.message()));
    EXPECT_EQ(error["type"], one.type);
    EXPECT_EQ(error["param"], one.param);
    EXPECT_EQ(error["code"], one.code);
  }
  const json error = json::parse(OpenAiError(405, "\xFF" + std::string(5000, 'x')).body)["error"];
  EXPECT_LE(error["message"].get<std::string>().size(), 1000u);
  EXPECT_EQ(error["type"], "invalid_request_error");
}

TEST(OpenAiErrorTest, NamesTheFieldThatWasSent) {
  const OpenAiEmbeddings one{.request = {}, .one = true}, many;
  const absl::Status bad = engine::InvalidField("texts[0]", "too long");
  EXPECT_EQ(engine::FieldOf(AsOpenAiField(bad, one)), "input");
  EXPECT_EQ(engine::FieldOf(AsOpenAiField(bad, many)), "input[0]");
  EXPECT_EQ(std::string(AsOpenAiField(bad, many).message()), "input[0]: too long");
  EXPECT_EQ(engine::FieldOf(AsOpenAiField(engine::InvalidField("texts", "none"), many)), "input");
  EXPECT_EQ(engine::FieldOf(AsOpenAiField(engine::InvalidField("dimensions", "9"), one)),
            "dimensions");
  EXPECT_EQ(AsOpenAiField(absl::NotFoundError("x"), one), absl::NotFoundError("x"));
}

}  // namespace
}  // namespace vecino::rpc
