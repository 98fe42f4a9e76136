#include "client/rerank_conversions.h"

#include "client/conversions.h"

namespace vecino::internal {

Status ToProto(const Reranking& reranking, v1::Rerank* message) {
  if (Status status = CheckUtf8(reranking.model, "rerank.model"); !status.ok()) return status;
  if (Status status = CheckUtf8(reranking.query, "rerank.query"); !status.ok()) return status;
  if (!reranking.model.empty()) message->set_model("models/" + reranking.model);
  if (reranking.candidates != 0) message->set_candidates(reranking.candidates);
  if (const auto budget = reranking.budget; budget.count() != 0) {
    if (budget.count() < 0) {
      return Status(Code::kInvalidArgument, "the budget of reranking is negative", "rerank.budget");
    }
    message->mutable_budget()->set_seconds(budget.count() / 1000);
    message->mutable_budget()->set_nanos(static_cast<int32_t>(budget.count() % 1000) * 1'000'000);
  }
  message->set_query(reranking.query);
  return Status();
}

Reranked FromProto(const v1::Reranked& message) {
  return {.model = message.model().substr(message.model().find('/') + 1),
          .pairs = message.pairs(),
          .truncated_pairs = message.truncated_pairs(),
          .complete = message.complete()};
}

}  // namespace vecino::internal
