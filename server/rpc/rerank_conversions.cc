#include "server/rpc/rerank_conversions.h"

#include <cstdint>
#include <utility>

#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr int64_t kMaxDurationSeconds = 315'576'000'000;  // of google.protobuf.Duration
constexpr int32_t kMaxNanos = 999'999'999;

}  // namespace

absl::Status ReadRerank(const v1::Rerank& rerank, engine::SearchRequest* out) {
  engine::Rerank& reranking = out->reranking.emplace();
  if (!rerank.model().empty()) {
    auto model = ParseModelName("rerank.model", rerank.model());
    if (!model.ok()) return model.status();
    reranking.model = *std::move(model);
  }
  if (rerank.has_candidates()) {
    reranking.candidates = rerank.candidates();
    // The engine takes 0 for "not said".
    if (reranking.candidates == 0) {
      return engine::InvalidField("rerank.candidates",
                                  Concat("is 0; it must be 1 to ", engine::Limits::kMaxTopK));
    }
  }
  if (rerank.has_budget()) {
    const google::protobuf::Duration& budget = rerank.budget();
    const bool valid = budget.seconds() >= 0 && budget.seconds() <= kMaxDurationSeconds &&
                       budget.nanos() >= 0 && budget.nanos() <= kMaxNanos &&
                       budget.seconds() + budget.nanos() > 0;
    if (!valid) {
      return engine::InvalidField("rerank.budget",
                                  Concat("is ", budget.seconds(), " s and ", budget.nanos(),
                                         " ns; it must be more than 0"));
    }
    reranking.budget = absl::Seconds(budget.seconds()) + absl::Nanoseconds(budget.nanos());
  }
  reranking.query = rerank.query();
  return absl::OkStatus();
}

void WriteReranked(const engine::Reranked& reranked, v1::Reranked* out) {
  out->set_model(ModelName(reranked.model));
  out->set_pairs(reranked.pairs);
  out->set_complete(reranked.complete);
  out->set_truncated_pairs(reranked.truncated);
}

}  // namespace vecino::rpc
