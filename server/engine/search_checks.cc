#include "server/engine/search_checks.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/engine/query_expression.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

absl::Status CheckGroupBy(int top_k, const GroupBy& group_by) {
  const std::string& field = group_by.field;
  if (field.empty() || field.size() > Limits::kMaxFieldPathBytes) {
    return InvalidField(
        "group_by.field",
        absl::StrCat("has ", field.size(), " bytes, must have 1 to ", Limits::kMaxFieldPathBytes));
  }
  if (field.front() == '.' || field.back() == '.' || field.find("..") != std::string::npos) {
    return InvalidField("group_by.field",
                        "has an empty name between its dots; write it as `author.name`");
  }
  const int size = group_by.group_size;
  if (size < 1 || size > Limits::kMaxGroupSize) {
    return InvalidField("group_by.group_size",
                        absl::StrCat("is ", size, ", must be 1 to ", Limits::kMaxGroupSize));
  }
  if (top_k * size > Limits::kMaxGroupedHits) {
    return InvalidField(
        "group_by.group_size",
        absl::StrCat("is ", size, ", which with top_k ", top_k, " makes ", top_k * size,
                     " hits; top_k · group_size may be ", Limits::kMaxGroupedHits, " at most"));
  }
  return absl::OkStatus();
}

absl::Status CheckDiversify(int top_k, const Diversify& diversify) {
  if (!(diversify.lambda >= 0 && diversify.lambda <= 1)) {
    return InvalidField("diversify.lambda", absl::StrCat("is ", diversify.lambda,
                                                         "; it must be 0 (only difference) to 1 "
                                                         "(only nearness to the query)"));
  }
  const int candidates = diversify.candidates;
  if (candidates != 0 && (candidates < top_k || candidates > Limits::kMaxTopK)) {
    return InvalidField("diversify.candidates",
                        absl::StrCat("is ", candidates, ", must be top_k, which is ", top_k,
                                     ", to ", Limits::kMaxTopK));
  }
  return absl::OkStatus();
}

absl::Status CheckRerank(const SearchRequest& request) {
  const Rerank& rerank = *request.reranking;
  if (request.group_by.has_value() || request.diversify.has_value()) {
    return InvalidField("rerank",
                        absl::StrCat("cannot be had together with ",
                                     request.group_by.has_value() ? "group_by" : "diversify",
                                     ", which has an order of its own; leave one out"));
  }
  if (request.after.has_value()) {
    return InvalidField("page_token",
                        "cannot be had together with rerank, whose hits have no pages; raise top_k "
                        "instead");
  }
  if (rerank.candidates < 0 || rerank.candidates > Limits::kMaxTopK) {
    return InvalidField("rerank.candidates", absl::StrCat("is ", rerank.candidates,
                                                          "; it must be 1 to ", Limits::kMaxTopK));
  }
  if (rerank.budget <= absl::ZeroDuration()) {
    return InvalidField("rerank.budget", absl::StrCat("is ", absl::FormatDuration(rerank.budget),
                                                      "; it must be above 0"));
  }
  const std::string_view query = RerankQuery(request);
  if (query.empty()) {
    return InvalidField("rerank.query",
                        "is empty, and a query by vector, document or expression has no text to "
                        "score documents against; say it here");
  }
  if (query.size() > Limits::kMaxRerankQueryBytes) {
    return InvalidField(
        "rerank.query",
        absl::StrCat("or else the query's text, has ", query.size(), " bytes; the limit is ",
                     Limits::kMaxRerankQueryBytes, ": say here what to score against"));
  }
  return CheckText("rerank.query", query);
}

}  // namespace

int RerankCandidates(const SearchRequest& request) {
  const int asked = request.reranking->candidates;
  return asked != 0 ? asked : std::max(kDefaultRerank, request.top_k);
}

std::string_view RerankQuery(const SearchRequest& request) {
  if (!request.reranking->query.empty()) return request.reranking->query;
  if (const auto* text = std::get_if<TextQuery>(&request.query)) return text->text;
  if (const auto* lexical = std::get_if<LexicalQuery>(&request.query)) return lexical->text;
  const auto* const hybrid = std::get_if<HybridQuery>(&request.query);
  if (hybrid == nullptr) return {};
  const auto* const text = std::get_if<TextQuery>(&hybrid->dense);
  return text != nullptr && !text->text.empty() ? text->text : hybrid->words;
}

absl::Status TooMuchToRerank(const SearchRequest& request) {
  return InvalidField("rerank.candidates", absl::StrCat("is ", RerankCandidates(request),
                                                        ", whose documents take more than ",
                                                        kMaxRerankBytes, " bytes; lower it"));
}

int GroupFillCandidates(int top_k, const GroupBy& group_by) {
  return std::max(100, 10 * top_k * group_by.group_size);
}

int DiverseCandidates(int top_k, const Diversify& diversify) {
  if (diversify.candidates != 0) return diversify.candidates;
  return std::min(5 * top_k, Limits::kMaxTopK);
}

absl::Status CheckShape(const SearchRequest& request) {
  if (absl::Status status = CheckTopK("top_k", request.top_k); !status.ok()) return status;
  if (request.min_score.has_value() && !std::isfinite(*request.min_score)) {
    return InvalidField("min_score",
                        absl::StrCat("is ", *request.min_score, "; it must be finite"));
  }
  if (request.group_by.has_value()) {
    absl::Status status = CheckGroupBy(request.top_k, *request.group_by);
    if (!status.ok()) return status;
  }
  if (request.diversify.has_value()) {
    absl::Status status = CheckDiversify(request.top_k, *request.diversify);
    if (!status.ok()) return status;
    if (std::holds_alternative<LexicalQuery>(request.query)) {
      return InvalidField("diversify",
                          "cannot be had in a search for words, whose scores do not compare with "
                          "the similarity of two documents; search by text or vector, or hybrid");
    }
    if (request.group_by.has_value()) {
      return InvalidField("diversify",
                          "cannot be had together with group_by; leave one of them out");
    }
  }
  if (request.reranking.has_value()) {
    if (absl::Status status = CheckRerank(request); !status.ok()) return status;
  }
  if (request.after.has_value()) {
    if (request.group_by.has_value() || request.diversify.has_value()) {
      return InvalidField("page_token",
                          absl::StrCat("cannot be had together with ",
                                       request.group_by.has_value() ? "group_by" : "diversify",
                                       ", whose hits have no pages; raise top_k instead"));
    }
    if (request.after->depth >= Limits::kMaxPagedHits) {
      return InvalidField(
          "page_token",
          absl::StrCat("begins a page behind ", request.after->depth, " hits; pages end at ",
                       Limits::kMaxPagedHits, "; ask a narrower question, or list the documents"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSearch(const SearchRequest& request) {
  if (absl::Status status = CheckShape(request); !status.ok()) return status;
  if (absl::Status status = CheckEffort(request); !status.ok()) return status;
  return CheckQuery(request);
}

}  // namespace vecino::engine
