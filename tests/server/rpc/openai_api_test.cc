#include "server/rpc/openai_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <new>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class OpenAiApiTest : public HandlersTest {
 protected:
  OpenAiApiTest() {
    encoder::ModelInfo model;
    model.name = "m";
    model.dimension = 2;
    engine_.models = {model};
    encoder::EmbedResult one;
    one.vector = {.6f, .8f};
    one.token_count = 4;
    engine_.embeddings = {one};
  }

  const std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  OpenAiApi api_{metrics_.get(), absl::ZeroDuration()};
  const std::string good_ = R"({"input": "a text", "model": "m"})";
};

std::string Message(const HttpReply& reply) { return json::parse(reply.body)["error"]["message"]; }
json Param(const HttpReply& reply) { return json::parse(reply.body)["error"]["param"]; }

TEST_F(OpenAiApiTest, AsksTheHandler) {
  api_.Open(&embedding_);
  absl::Duration patience;
  engine_.while_embedding = [&](const engine::CallContext& context) {
    patience = context.deadline - absl::Now();
  };
  const HttpReply reply = api_.Embeddings(
      R"({"input": "a text", "model": "m", "input_type": "query", "truncate": "error"})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(json::parse(reply.body)["data"][0]["embedding"].get<std::vector<float>>(),
            engine_.embeddings[0].vector);
  EXPECT_EQ(json::parse(reply.body)["usage"]["total_tokens"], 4);
  EXPECT_THAT(engine_.texts, testing::ElementsAre("a text"));
  EXPECT_EQ(engine_.model, "m");
  EXPECT_EQ(engine_.input_type, encoder::InputType::kQuery);
  EXPECT_EQ(engine_.truncate, engine::Truncate::kError);
  EXPECT_GT(patience, absl::Seconds(50));
  EXPECT_LE(patience, OpenAiApi::kPatience);
  EXPECT_EQ(json::parse(api_.Models().body)["data"][0]["id"], "m");
  EXPECT_THAT(metrics_->Expose(),
              HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/v1/embeddings\"} 1"));
}

TEST_F(OpenAiApiTest, Reranks) {
  EXPECT_EQ(api_.Rerank("{}").status, 503);
  api_.Open(&embedding_);
  const std::string body =
      R"({"query": "q", "documents": ["a", {"text": "b"}, "c"], "model": "m", "top_n": 2,
          "return_documents": true})";
  engine_.rerankings.resize(3);
  for (int i = 0; i < 3; ++i) {
    engine_.rerankings[i].score = i == 0 ? .25f : .5f;
    engine_.rerankings[i].token_count = 10 + i;
  }
  HttpReply reply = api_.Rerank(body);
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(engine_.query, "q");
  EXPECT_EQ(engine_.model, "m");
  EXPECT_THAT(engine_.texts, testing::ElementsAre("a", "b", "c"));
  EXPECT_EQ(json::parse(reply.body), json::parse(R"({"model": "m", "results": [
                {"index": 1, "relevance_score": 0.5, "document": {"text": "b"}},
                {"index": 2, "relevance_score": 0.5, "document": {"text": "c"}}],
              "usage": {"prompt_tokens": 33, "total_tokens": 33}})"));
  EXPECT_THAT(metrics_->Expose(),
              HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/v1/rerank\"} 1"));

  engine_.rerankings[1].status = engine::InvalidField("texts[1]", "does not fit");
  reply = api_.Rerank(body);
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "documents[1]");
  reply = api_.Rerank(R"({"query": "q", "documents": []})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "documents");
  engine_.failure = absl::FailedPreconditionError("the server has no reranker");
  EXPECT_EQ(api_.Rerank(body).status, 400);
  engine_.failure = absl::NotFoundError("model 'x' is not loaded");
  EXPECT_EQ(api_.Rerank(body).status, 404);
}

TEST_F(OpenAiApiTest, ErrorsNameWhatWasSent) {
  api_.Open(&embedding_);
  EXPECT_EQ(api_.Embeddings("{").status, 400);
  HttpReply reply = api_.Embeddings(R"({"input": []})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "input");
  reply = api_.Embeddings(R"({"input": "a", "dimensions": 3, "model": "m"})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "dimensions");
  EXPECT_THAT(Message(reply), HasSubstr("makes 2"));
  reply = api_.Embeddings(R"({"input": ["a", ")" + std::string((1 << 20) + 1, 'x') + R"("]})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "input[1]");

  engine_.embeddings[0].status = absl::InvalidArgumentError("300 tokens; the window is 256");
  reply = api_.Embeddings(good_);
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Param(reply), "input");
  EXPECT_THAT(Message(reply), HasSubstr("256"));
  for (const auto& [status, http] :
       {std::pair(absl::NotFoundError("model 'x' is not loaded"), 404),
        std::pair(absl::ResourceExhaustedError("the encoder's query queue is full"), 429),
        std::pair(absl::DeadlineExceededError("the deadline passed"), 504),
        std::pair(absl::InternalError("the executor failed"), 500)}) {
    engine_.failure = status;
    reply = api_.Embeddings(good_);
    EXPECT_EQ(reply.status, http);
    EXPECT_EQ(Message(reply), std::string(status.message()));
  }
  engine_.while_embedding = [](const engine::CallContext&) { throw std::bad_alloc(); };
  EXPECT_EQ(api_.Embeddings(good_).status, 429);
  engine_.while_embedding = [](const engine::CallContext&) { throw std::runtime_error("bug"); };
  EXPECT_EQ(api_.Embeddings(good_).status, 500);
}

TEST_F(OpenAiApiTest, OnlyWhileItIsOpen) {
  HttpReply reply = api_.Embeddings(good_);
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Message(reply), HasSubstr("loading"));
  EXPECT_EQ(api_.Models().status, 503);
  api_.Open(&embedding_);
  EXPECT_EQ(api_.Embeddings(good_).status, 200);
  api_.Close();
  reply = api_.Embeddings(good_);
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Message(reply), HasSubstr("stopping"));
  EXPECT_GT(reply.retry_after_seconds, 0);
  EXPECT_EQ(api_.Models().status, 503);
  EXPECT_TRUE(api_.Wait(absl::InfiniteFuture()));
  api_.Open(&embedding_);
  EXPECT_EQ(api_.Embeddings(good_).status, 503) << "closed for good";
}

TEST_F(OpenAiApiTest, ClosedBeforeItOpened) {
  EXPECT_TRUE(api_.Wait(absl::InfinitePast()));
  api_.Open(&embedding_);
  EXPECT_EQ(api_.Embeddings(good_).status, 503);
}

// Runs until it is let go or asked to stop.
struct Held {
  absl::Notification entered, let_go;
  std::function<void(const engine::CallContext&)> Function() {
    return [this](const engine::CallContext& context) {
      entered.Notify();
      while (!let_go.HasBeenNotified() && !context.stop.stop_requested()) {
        let_go.WaitForNotificationWithTimeout(absl::Milliseconds(1));
      }
    };
  }
};

TEST_F(OpenAiApiTest, AStopWaitsForRequestsUnderWay) {
  api_.Open(&embedding_);
  Held held;
  engine_.while_embedding = held.Function();
  auto call = std::async(std::launch::async, [&] { return api_.Embeddings(good_); });
  held.entered.WaitForNotification();
  auto stop = std::async(std::launch::async, [&] { return api_.Wait(absl::InfiniteFuture()); });
  while (api_.Models().status != 503) absl::SleepFor(absl::Milliseconds(1));
  held.let_go.Notify();
  EXPECT_TRUE(stop.get());
  EXPECT_EQ(call.get().status, 200);
}

TEST_F(OpenAiApiTest, AStopCancelsWhatTakesTooLong) {
  api_.Open(&embedding_);
  Held held;
  engine_.while_embedding = held.Function();
  engine_.failure = absl::CancelledError("the caller has gone");
  auto call = std::async(std::launch::async, [&] { return api_.Embeddings(good_); });
  held.entered.WaitForNotification();
  EXPECT_FALSE(api_.Wait(absl::Now()));
  const HttpReply reply = call.get();
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Message(reply), HasSubstr("stopping"));
}

TEST_F(OpenAiApiTest, Refusals) {
  const char* const path = "/v1/embeddings";
  EXPECT_EQ(api_.Refusal(path, 413, "too large").status, 413);
  EXPECT_EQ(Message(api_.Refusal(path, 413, "too large")), "too large");
  EXPECT_GT(api_.Refusal(path, 429, "busy").retry_after_seconds, 0);
  EXPECT_GT(api_.Refusal("/v1/rerank", 429, "busy").retry_after_seconds, 0);
  const std::string metrics = metrics_->Expose();
  EXPECT_THAT(metrics, HasSubstr("{code=\"RESOURCE_EXHAUSTED\",method=\"/v1/rerank\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("{code=\"RESOURCE_EXHAUSTED\",method=\"/v1/embeddings\"} 1"));
}

}  // namespace
}  // namespace vecino::rpc
