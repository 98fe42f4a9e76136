#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;

// Remembers what it got, and refuses when told to.
class Sink final : public AnswerSink {
 public:
  Status Sources(const std::vector<SearchHit>& sources, int left_out) override {
    for (const SearchHit& source : sources) {
      heard.push_back("source " + source.document.id + " " + source.document.text);
    }
    heard.push_back("left out " + std::to_string(left_out));
    return Status();
  }
  Status Reranked(const vecino::Reranked& reranked) override {
    heard.push_back("reranked " + std::to_string(reranked.pairs) + " by " + reranked.model);
    return Status();
  }
  Status Prompt(const std::string& prompt) override {
    heard.push_back("prompt " + prompt);
    return Status();
  }
  Status Answer(const std::string& piece) override {
    heard.push_back(piece);
    return refusal;
  }

  std::vector<std::string> heard;
  Status refusal;
};

class AnswerTest : public ::testing::Test {
 protected:
  AnswerTest() {
    v1::AnswerSources& sources = *Add().mutable_sources();
    v1::SearchHit& hit = *sources.add_sources();
    hit.mutable_document()->set_id("a");
    hit.mutable_document()->set_text("text");
    hit.set_score(0.5);
    sources.set_left_out(2);
    Add().set_prompt("p");
    Add().set_answer("Be");
    Add().set_answer("cause");
    v1::AnswerEnd& end = *Add().mutable_end();
    end.set_finish_reason("stop");
    end.set_generator_model("m");
    end.set_prompt_token_count(9);
  }
  v1::AnswerQuestionResponse& Add() { return messages_.emplace_back(); }

  Result<AnswerEnd> Ask() {
    server_.SetAnswer(messages_, end_);
    Client client({.server = server_.address(),
                   .timeout = milliseconds(20'000),
                   .initial_backoff = milliseconds(1),
                   .max_backoff = milliseconds(4)});
    return client.Answer("c", "why?", options_, sink_);
  }

  FakeServer server_;
  AnswerOptions options_;
  std::vector<v1::AnswerQuestionResponse> messages_;
  grpc::Status end_;
  Sink sink_;
};

TEST_F(AnswerTest, EverythingComesInOrder) {
  const Result<AnswerEnd> end = Ask();
  ASSERT_TRUE(end.ok()) << end.status().ToString();
  EXPECT_THAT(sink_.heard, ElementsAre("source a text", "left out 2", "prompt p", "Be", "cause"));
  EXPECT_EQ(end->finish_reason, "stop");
  EXPECT_EQ(end->generator_model, "m");
  EXPECT_EQ(end->prompt_token_count, 9);
  EXPECT_TRUE(end->generator_status.ok());
  const v1::AnswerQuestionRequest request = server_.last_question();
  EXPECT_EQ(request.parent(), "collections/c");
  EXPECT_EQ(request.question(), "why?");
  EXPECT_EQ(request.top_k(), 5);
  EXPECT_FALSE(request.has_prompt_token_budget() || request.has_max_answer_tokens() ||
               request.has_temperature() || request.return_prompt() || request.hybrid());
}

TEST_F(AnswerTest, WhatRerankingDidComesBehindTheSources) {
  v1::Reranked& reranked = *messages_[0].mutable_sources()->mutable_reranked();
  reranked.set_model("models/ce");
  reranked.set_pairs(20);
  ASSERT_TRUE(Ask().ok());
  EXPECT_THAT(sink_.heard, ElementsAre("source a text", "left out 2", "reranked 20 by ce",
                                       "prompt p", "Be", "cause"));
}

TEST_F(AnswerTest, EveryOptionIsSent) {
  options_ = {.top_k = 3,
              .filter = "f",
              .prompt_template = "t",
              .prompt_token_budget = 64,
              .max_answer_tokens = 7,
              .temperature = 0.0f,
              .return_prompt = true,
              .hybrid = true};
  ASSERT_TRUE(Ask().ok());
  const v1::AnswerQuestionRequest request = server_.last_question();
  EXPECT_EQ(request.top_k(), 3);
  EXPECT_EQ(request.filter(), "f");
  EXPECT_EQ(request.prompt_template(), "t");
  EXPECT_EQ(request.prompt_token_budget(), 64);
  EXPECT_EQ(request.max_answer_tokens(), 7);
  EXPECT_TRUE(request.has_temperature());
  EXPECT_TRUE(request.return_prompt() && request.hybrid());
}

TEST_F(AnswerTest, AGeneratorThatFailsIsNoErrorOfTheCall) {
  google::rpc::Status& status = *messages_.back().mutable_end()->mutable_generator_status();
  status.set_code(14);
  status.set_message("it broke off");
  const Result<AnswerEnd> end = Ask();
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->generator_status.code(), Code::kUnavailable);
  EXPECT_EQ(end->generator_status.message(), "it broke off");
}

TEST_F(AnswerTest, RetriesOnlyBeforeItBegan) {
  server_.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading"), 2);
  EXPECT_TRUE(Ask().ok());
  EXPECT_EQ(server_.Calls("AnswerQuestion"), 3);
  messages_.resize(3);
  end_ = grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
  const Result<AnswerEnd> end = Ask();
  EXPECT_EQ(end.status().code(), Code::kUnavailable);
  EXPECT_EQ(end.status().message(), "stopping");
  EXPECT_EQ(server_.Calls("AnswerQuestion"), 4);
}

TEST_F(AnswerTest, TheSinkCanRefuse) {
  sink_.refusal = Status(Code::kCancelled, "enough");
  const Result<AnswerEnd> end = Ask();
  EXPECT_EQ(end.status().code(), Code::kCancelled);
  EXPECT_EQ(end.status().message(), "enough");
  EXPECT_THAT(sink_.heard, ElementsAre("source a text", "left out 2", "prompt p", "Be"));
  EXPECT_EQ(server_.Calls("AnswerQuestion"), 1);
}

TEST_F(AnswerTest, WhatIsMissingOrOutOfOrderIsDataLoss) {
  const auto broken = [&](const char* what) {
    const Result<AnswerEnd> end = Ask();
    EXPECT_EQ(end.status().code(), Code::kDataLoss) << end.status().ToString();
    EXPECT_THAT(end.status().message(), HasSubstr(what));
  };
  const std::vector<v1::AnswerQuestionResponse> whole = messages_;
  messages_.pop_back();
  broken("ended too soon");
  messages_.clear();
  broken("ended too soon");
  messages_ = {whole.begin() + 1, whole.end()};
  broken("first message");
  messages_ = whole;
  messages_.insert(messages_.begin(), whole[0]);
  broken("first message");
  messages_ = whole;
  messages_.push_back(whole[2]);
  broken("after its end");
}

TEST_F(AnswerTest, TextThatIsNotUtf8IsRefusedHere) {
  options_.prompt_template = "\xFF";
  EXPECT_EQ(Ask().status().field(), "prompt_template");
  EXPECT_EQ(server_.Calls("AnswerQuestion"), 0);
}

}  // namespace
}  // namespace vecino
