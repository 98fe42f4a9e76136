#include "server/rpc/rerank_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "server/engine/types.h"
#include "tests/server/rpc/expect_field.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

absl::Status ReadStatus(const std::string& body) { return ReadRerankBody(body).status(); }

TEST(RerankBodyTest, EveryField) {
  const auto asked = ReadRerankBody(R"({"query": "q\u00e9", "documents": ["a", {"text": ""}, "c\n"],
      "model": "m@int8", "top_n": 2, "return_documents": true, "truncate": "error"})");
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ(asked->request.query(), "q\xC3\xA9");
  EXPECT_THAT(asked->request.texts(), ElementsAre("a", "", "c\n"));
  EXPECT_EQ(asked->request.model(), "models/m@int8");
  EXPECT_EQ(asked->request.truncate(), v1::TRUNCATE_MODE_ERROR);
  EXPECT_EQ(asked->top_n, 2);
  EXPECT_TRUE(asked->return_documents);
}

TEST(RerankBodyTest, Defaults) {
  for (const char* const body : {R"({"query": "q", "documents": ["a"]})",
                                 R"({"documents": ["a"], "query": "q", "model": null, "top_n": null,
            "return_documents": null, "truncate": null})"}) {
    const auto asked = ReadRerankBody(body);
    ASSERT_TRUE(asked.ok()) << asked.status();
    EXPECT_EQ(asked->request.model(), "");
    EXPECT_EQ(asked->request.truncate(), v1::TRUNCATE_MODE_UNSPECIFIED);
    EXPECT_FALSE(asked->top_n.has_value());
    EXPECT_FALSE(asked->return_documents);
  }
  const auto many = ReadRerankBody(
      R"({"query": "q", "documents": [], "top_n": 18446744073709551615, "truncate": "auto"})");
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_EQ(many->top_n, engine::Limits::kMaxBatch);
}

TEST(RerankBodyTest, FieldsAtFault) {
  const struct {
    const char* body;
    const char* field;
    const char* part;
  } cases[] = {
      {R"({})", "query", "is missing"},
      {R"({"query": "q"})", "documents", "is missing"},
      {R"({"query": null, "documents": []})", "query", "null"},
      {R"({"query": ["q"], "documents": []})", "query", "an array"},
      {R"({"query": "q", "documents": "a"})", "documents", "an array of strings"},
      {R"({"query": "q", "documents": {"text": "a"}})", "documents", "an object"},
      {R"({"query": "q", "documents": ["a", 1]})", "documents[1]", "a number"},
      {R"({"query": "q", "documents": [{"text": "a"}, null]})", "documents[1]", "null"},
      {R"({"query": "q", "documents": [["a"]]})", "documents[0]", "an array"},
      {R"({"query": "q", "documents": ["a", {}]})", "documents[1]", "no `text`"},
      {R"({"query": "q", "documents": [{"text": 5}]})", "documents[0]", "in `text`"},
      {R"({"query": "q", "documents": [{"text": {}}]})", "documents[0]", "an object"},
      {R"({"query": "q", "documents": [{"text": "a", "image": ""}]})", "documents[0]", "`image`"},
      {R"({"query": "q", "documents": [{"text": "a", "text": "b"}]})", "documents[0]", "`text`"},
      {R"({"query": "q", "documents": [], "documents": []})", "documents", "twice"},
      {R"({"query": "q", "documents": [], "top_n": 0})", "top_n", "1 or more"},
      {R"({"query": "q", "documents": [], "top_n": -1})", "top_n", "1 or more"},
      {R"({"query": "q", "documents": [], "top_n": 1.5})", "top_n", "whole"},
      {R"({"query": "q", "documents": [], "top_n": "1"})", "top_n", "a string"},
      {R"({"query": "q", "documents": [], "return_documents": 1})", "return_documents", "number"},
      {R"({"query": "q", "documents": [], "model": true})", "model", "a boolean"},
      {R"({"query": "q", "documents": [], "truncate": "END"})", "truncate", "\"auto\""},
      {R"({"query": "q", "documents": [], "topn": 1})", "topn", "known are query"},
  };
  for (const auto& [body, field, part] : cases) {
    SCOPED_TRACE(body);
    ExpectField(ReadStatus(body), field, part);
  }
  std::string texts = "\"x\"";
  for (int i = 1; i < 1000; ++i) texts += ",\"x\"";
  EXPECT_TRUE(ReadRerankBody("{\"query\":\"q\",\"documents\":[" + texts + "]}").ok());
  ExpectField(ReadStatus("{\"query\":\"q\",\"documents\":[" + texts + ",{\"text\":\"x\"}]}"),
              "documents", "more than 1000 texts");
  for (const std::string body : {"", "{", "{\"query\": \"\xFF\"}"}) {
    EXPECT_THAT(std::string(ReadStatus(body).message()), HasSubstr("is not JSON, at byte")) << body;
  }
  EXPECT_THAT(std::string(ReadStatus("[]").message()), HasSubstr("must be an object"));
}

TEST(RerankReplyTest, TheBestFirst) {
  RerankBody asked;
  v1::RerankTextsResponse response;
  response.set_model("models/m");
  for (const float score : {-1.5f, .1f, std::numeric_limits<float>::quiet_NaN(), .1f}) {
    asked.request.add_texts("text \"" + std::to_string(response.results_size()) + "\"");
    auto* const one = response.add_results();
    one->set_score(score);
    one->set_token_count(5);
  }
  const std::string all = WriteRerankReply(asked, response);
  EXPECT_THAT(all, HasSubstr("{\"index\":1,\"relevance_score\":0.1},{\"index\":3,"));
  json reply = json::parse(all);
  EXPECT_EQ(reply["model"], "m");
  EXPECT_EQ(reply["usage"]["total_tokens"], 20);
  ASSERT_EQ(reply["results"].size(), 4u);
  EXPECT_EQ(reply["results"][2]["index"], 0);
  EXPECT_EQ(reply["results"][3]["index"], 2);
  asked.top_n = 1;
  asked.return_documents = true;
  reply = json::parse(WriteRerankReply(asked, response));
  ASSERT_EQ(reply["results"].size(), 1u);
  EXPECT_EQ(reply["results"][0]["document"]["text"], "text \"1\"");
  asked.top_n = 9;
  EXPECT_EQ(json::parse(WriteRerankReply(asked, response))["results"].size(), 4u);
  EXPECT_EQ(json::parse(WriteRerankReply({}, {}))["results"], json::array());
}

TEST(RerankReplyTest, ErrorsNameWhatWasSent) {
  EXPECT_EQ(engine::FieldOf(AsRerankField(engine::InvalidField("texts[2]", "bad"))),
            "documents[2]");
  EXPECT_EQ(engine::FieldOf(AsRerankField(engine::InvalidField("query", "bad"))), "query");
}

}  // namespace
}  // namespace vecino::rpc
