#include "server/rpc/answer_handlers.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/rpc/answer_stream.h"
#include "server/rpc/conversions.h"
#include "server/rpc/prompt.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/rerank_conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/search_conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr size_t kMaxQuestionBytes = 64 << 10;
constexpr int kDefaultTopK = 5, kMaxTopK = 100;
constexpr int kDefaultBudget = 3000, kMinBudget = 64, kMaxBudget = 1'000'000;
constexpr int kMaxAnswerTokens = 100'000;
constexpr float kMaxTemperature = 2;
// What a message has around the documents or the prompt in it.
constexpr size_t kAroundBytes = 1024;

constexpr std::string_view kFewerSources = "lower top_k";

absl::Status CheckRange(std::string_view field, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return engine::InvalidField(field, Concat("is ", value, "; it must be ", low, " to ", high));
}

absl::Status CheckQuestion(std::string_view question) {
  if (question.empty()) return engine::InvalidField("question", "is empty");
  if (question.size() <= kMaxQuestionBytes) return absl::OkStatus();
  return engine::InvalidField(
      "question", Concat("takes ", question.size(), " bytes; the limit is ", kMaxQuestionBytes));
}

absl::StatusOr<GeneratorRequest> ReadGeneration(const v1::AnswerQuestionRequest& request) {
  GeneratorRequest out;
  if (request.has_max_answer_tokens()) {
    out.max_tokens = request.max_answer_tokens();
    absl::Status status = CheckRange("max_answer_tokens", out.max_tokens, 1, kMaxAnswerTokens);
    if (!status.ok()) return status;
  }
  if (request.has_temperature()) {
    if (!(request.temperature() >= 0 && request.temperature() <= kMaxTemperature)) {
      return engine::InvalidField("temperature", Concat("is ", request.temperature(),
                                                        "; it must be 0 to ", kMaxTemperature));
    }
    out.temperature = request.temperature();
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MessageStream>> AnswerHandlers::AnswerQuestion(
    const v1::AnswerQuestionRequest& request, const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (absl::Status status = CheckQuestion(request.question()); !status.ok()) return status;
  engine::SearchRequest search;
  engine::TextQuery meaning{request.question(), engine::Truncate::kAuto};
  if (request.hybrid()) {
    search.query = engine::HybridQuery{std::move(meaning), request.question(), {}};
  } else {
    search.query = std::move(meaning);
  }
  search.filter = request.filter();
  search.top_k = request.has_top_k() ? request.top_k() : kDefaultTopK;
  if (absl::Status status = CheckRange("top_k", search.top_k, 1, kMaxTopK); !status.ok()) {
    return status;
  }
  if (request.has_rerank()) {
    if (absl::Status status = ReadRerank(request.rerank(), &search); !status.ok()) return status;
  }
  const int budget =
      request.has_prompt_token_budget() ? request.prompt_token_budget() : kDefaultBudget;
  absl::Status status = CheckRange("prompt_token_budget", budget, kMinBudget, kMaxBudget);
  if (!status.ok()) return status;
  const auto form = PromptTemplate::Parse(request.prompt_template().empty()
                                              ? DefaultPromptTemplate()
                                              : std::string_view(request.prompt_template()));
  if (!form.ok()) return form.status();
  auto generation_request = ReadGeneration(request);
  if (!generation_request.ok()) return generation_request.status();

  search.parts = {.text = true, .metadata = true, .vector = false};
  search.max_bytes = max_reply_bytes_ - kAroundBytes;
  auto found = engine_.Search(*collection, search, context);
  ReplyBudget reply_budget(search.max_bytes, kFewerSources);
  if (!found.ok()) return reply_budget.Explain(found.status());
  std::vector<v1::SearchHit> hits(found->hits.size());
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < hits.size(); ++i) {
    hits[i].set_score(found->hits[i].score);
    if (const auto& score = found->hits[i].rerank_score; score.has_value()) {
      hits[i].set_rerank_score(*score);
    }
    const std::optional<engine::HitPassage>& passage = found->hits[i].passage;
    if (passage.has_value()) WriteHitPassage(*passage, hits[i].mutable_passage());
    status = WriteDocument(*collection, found->hits[i].document, hits[i].mutable_document());
    if (!status.ok()) return status;
    if (status = reply_budget.Add(hits[i]); !status.ok()) return status;
    texts.push_back(passage.has_value() ? passage->text : found->hits[i].document.text);
  }

  const auto count = [&](std::string_view text) -> absl::StatusOr<int> {
    if (context.stop.stop_requested()) return absl::CancelledError("the caller cancelled");
    if (absl::Now() >= context.deadline) {
      return absl::DeadlineExceededError("the deadline passed while the prompt was put together");
    }
    return engine_.CountTokens(*collection, text);
  };
  auto prompt = BuildPrompt(*form, request.question(), texts,
                            {.tokens = budget, .bytes = max_reply_bytes_ - kAroundBytes}, count);
  if (!prompt.ok()) return prompt.status();

  AnswerParts parts;
  if (found->reranked.has_value()) {
    WriteReranked(*found->reranked, parts.sources.mutable_reranked());
  }
  parts.sources.set_left_out(static_cast<int>(hits.size() - prompt->sources.size()));
  for (const size_t i : prompt->sources) *parts.sources.add_sources() = std::move(hits[i]);
  parts.prompt_token_count = prompt->token_count;
  if (request.return_prompt() || generator_ == nullptr) parts.prompt = prompt->text;
  std::shared_ptr<AnswerBuffer> buffer;
  std::unique_ptr<Generation> generation;
  absl::Status started;
  if (generator_ != nullptr) {
    buffer = std::make_shared<AnswerBuffer>();
    generation_request->prompt = std::move(prompt->text);
    auto begun = generator_->Start(*std::move(generation_request), buffer);
    if (begun.ok()) {
      generation = *std::move(begun);
    } else {
      started = begun.status();
      buffer = nullptr;
    }
  }
  return std::make_unique<AnswerStream>(std::move(parts), std::move(buffer), std::move(generation),
                                        std::move(started), max_reply_bytes_);
}

}  // namespace vecino::rpc
