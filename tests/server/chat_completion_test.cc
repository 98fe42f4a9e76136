#include "server/chat_completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace vecino {
namespace {

using testing::HasSubstr;

TEST(ChatCompletionTest, Request) {
  EXPECT_EQ(
      nlohmann::json::parse(ChatRequest("m", "say \"é\"\n", 7, 0.2f)),
      nlohmann::json::parse(R"({"model": "m", "stream": true, "max_tokens": 7, "temperature": 0.2,
                "messages": [{"role": "user", "content": "say \"é\"\n"}]})"));
  EXPECT_EQ(
      nlohmann::json::parse(ChatRequest("", "p", 0, std::nullopt)),
      nlohmann::json::parse(R"({"stream": true, "messages": [{"role": "user", "content": "p"}]})"));
  EXPECT_THAT(ChatRequest("m", "bad \xFF", 1, 0.0f), HasSubstr("\"temperature\":0"));
}

TEST(ChatCompletionTest, ChunksOfLlamaCppAndOthers) {
  const auto parse = [](std::string_view data) {
    const auto chunk = ParseChatChunk(data);
    EXPECT_TRUE(chunk.ok()) << chunk.status();
    return chunk.ok() ? *chunk : ChatChunk{};
  };
  ChatChunk chunk = parse(
      R"({"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],
          "created":1750000000,"id":"chatcmpl-x","model":"gpt-3.5-turbo","object":"chat.completion.chunk"})");
  EXPECT_EQ(chunk.text, "");
  EXPECT_EQ(chunk.model, "gpt-3.5-turbo");
  chunk = parse(R"({"choices":[{"index":0,"delta":{"content":"\ud83d\udc08 caf\u00e9"}}]})");
  EXPECT_EQ(chunk.text, "🐈 café");
  EXPECT_EQ(chunk.finish_reason, "");
  chunk = parse(R"({"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"error":null})");
  EXPECT_EQ(chunk.finish_reason, "stop");
  EXPECT_EQ(parse(R"({"choices":[{"finish_reason":"length"}]})").finish_reason, "length");
  EXPECT_EQ(parse(R"({"choices":[],"usage":{"total_tokens":5}})").text, "");
  EXPECT_EQ(parse(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})").text, "");
}

TEST(ChatCompletionTest, WhatIsNoChunkIsUnknown) {
  for (const std::string_view data :
       {"", "{", "not json", "[]", "1", "null", "{}", R"({"choices":{}})", R"({"choices":[1]})",
        R"({"choices":[{}]})", R"({"choices":[{"delta":3}]})",
        R"({"choices":[{"delta":{"content":")",
        "{\"choices\":[{\"delta\":{\"content\":\"\xFF\"}}]}",
        R"({"choices":[{"delta":{"content":"\ud800"}}]})"}) {
    EXPECT_TRUE(absl::IsUnknown(ParseChatChunk(data).status())) << data;
  }
  const auto deep = ParseChatChunk(std::string(500'000, '['));
  EXPECT_TRUE(absl::IsUnknown(deep.status()));
  EXPECT_LT(deep.status().message().size(), 400u);
}

TEST(ChatCompletionTest, ErrorsInTheStream) {
  const auto error =
      ParseChatChunk(R"({"error":{"code":500,"message":"context shift","type":"server_error"}})");
  EXPECT_TRUE(absl::IsUnavailable(error.status()));
  EXPECT_EQ(error.status().message(), "context shift");
  EXPECT_EQ(ParseChatChunk(R"({"error":"out of memory"})").status().message(), "out of memory");
  EXPECT_TRUE(absl::IsUnavailable(ParseChatChunk(R"({"error":{}})").status()));
}

TEST(ChatCompletionTest, MessagesOfErrorReplies) {
  EXPECT_EQ(ChatErrorMessage(R"({"error":{"message":"no such model"}})"), "no such model");
  EXPECT_EQ(ChatErrorMessage(R"({"error":"bad"})"), "bad");
  EXPECT_EQ(ChatErrorMessage(R"({"message":"m"})"), "m");
  EXPECT_EQ(ChatErrorMessage(R"({"detail":"d"})"), "d");
  EXPECT_EQ(ChatErrorMessage("<html>502</html>"), "<html>502</html>");
  EXPECT_EQ(ChatErrorMessage(""), "");
  EXPECT_EQ(ChatErrorMessage(std::string(1000, 'x')).size(), 200u);
}

}  // namespace
}  // namespace vecino
