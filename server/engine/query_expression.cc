#include "server/engine/query_expression.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/engine/fusion.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

// Of a sum's length, by the sum of its terms' lengths. The vector of a text varies by 1e-5 with
// what is embedded beside it (encoder.h), so a text minus itself may be as long.
constexpr double kLeastLength = 1e-5;

absl::Status CheckQueryText(std::string_view field, const std::string& text) {
  if (text.empty()) return InvalidField(field, "is empty; say what to look for");
  return CheckText(field, text);
}

absl::Status CheckWords(std::string_view field, const std::string& text) {
  if (text.size() > Limits::kMaxLexicalBytes) {
    return InvalidField(field,
                        absl::StrCat("has ", text.size(), " bytes; words to look for may have ",
                                     Limits::kMaxLexicalBytes));
  }
  return CheckQueryText(field, text);
}

}  // namespace

std::string TermField(size_t i, std::string_view field) {
  return absl::StrCat("expression.terms[", i, "].", absl::string_view(field.data(), field.size()));
}

void AppendTexts(const SearchRequest& request, std::vector<const TextQuery*>* texts) {
  if (const auto* text = std::get_if<TextQuery>(&request.query)) texts->push_back(text);
  if (const auto* hybrid = std::get_if<HybridQuery>(&request.query)) {
    const auto* text = std::get_if<TextQuery>(&hybrid->dense);
    if (text != nullptr && hybrid->fusion.dense_weight != 0) texts->push_back(text);
  }
  const auto* expression = std::get_if<ExpressionQuery>(&request.query);
  if (expression == nullptr) return;
  for (const ExpressionQuery::Term& term : expression->terms) {
    if (const auto* text = std::get_if<TextQuery>(&term.term)) texts->push_back(text);
  }
}

absl::Status CheckQuery(const SearchRequest& request) {
  if (const auto* text = std::get_if<TextQuery>(&request.query)) {
    return CheckQueryText("text", text->text);
  }
  if (const auto* document = std::get_if<DocumentQuery>(&request.query)) {
    return CheckDocumentId("document_id", document->id);
  }
  if (const auto* lexical = std::get_if<LexicalQuery>(&request.query)) {
    return CheckWords("lexical.text", lexical->text);
  }
  if (const auto* hybrid = std::get_if<HybridQuery>(&request.query)) {
    const auto* text = std::get_if<TextQuery>(&hybrid->dense);
    absl::Status status;
    if (text != nullptr && hybrid->fusion.dense_weight != 0) {
      status = CheckQueryText("text", text->text);
    }
    if (status.ok() && hybrid->fusion.lexical_weight != 0) {
      // The one text may be both.
      const bool same = text != nullptr && text->text == hybrid->words;
      status = CheckWords(same ? "text" : "lexical_text", hybrid->words);
    }
    return status.ok() ? CheckFusion(request.top_k, hybrid->fusion) : status;
  }
  const auto* expression = std::get_if<ExpressionQuery>(&request.query);
  if (expression == nullptr) return absl::OkStatus();
  const size_t terms = expression->terms.size();
  if (terms < 1 || terms > static_cast<size_t>(Limits::kMaxTerms)) {
    return InvalidField(
        "expression.terms",
        absl::StrCat("holds ", terms, " terms; it must hold 1 to ", Limits::kMaxTerms));
  }
  for (size_t i = 0; i < terms; ++i) {
    const ExpressionQuery::Term& term = expression->terms[i];
    if (!(std::abs(term.weight) <= static_cast<float>(Limits::kMaxTermWeight)) ||
        term.weight == 0) {
      return InvalidField(TermField(i, "weight"),
                          absl::StrCat("is ", term.weight, "; it must not be 0, and be -",
                                       Limits::kMaxTermWeight, " to ", Limits::kMaxTermWeight));
    }
    absl::Status status;
    if (const auto* text = std::get_if<TextQuery>(&term.term)) {
      status = CheckQueryText(TermField(i, "text"), text->text);
    } else if (const auto* document = std::get_if<DocumentQuery>(&term.term)) {
      status = CheckDocumentId(TermField(i, "document_id"), document->id);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> SumTerms(Metric metric, int dimension,
                                            std::span<const float> weights,
                                            std::span<const std::vector<float>> vectors) {
  std::vector<double> sum(dimension);
  double lengths = 0;
  for (size_t i = 0; i < vectors.size(); ++i) {
    for (int j = 0; j < dimension; ++j) sum[j] += static_cast<double>(weights[i]) * vectors[i][j];
    lengths += std::abs(weights[i]);
  }
  double scale = 1;
  if (metric == Metric::kCosine) {
    double squares = 0;
    for (const double x : sum) squares += x * x;
    const double length = std::sqrt(squares);
    if (length <= kLeastLength * lengths) {
      return InvalidField("expression",
                          "has a sum of zero, which has no direction to compare under cosine; "
                          "change the terms or their weights");
    }
    scale = 1 / length;
  }
  std::vector<float> result(dimension);
  for (int j = 0; j < dimension; ++j) result[j] = static_cast<float>(sum[j] * scale);
  return result;
}

}  // namespace vecino::engine
