// Options of `vecino search` that make sums of queries and give the hits another shape.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "vecino/client.h"

namespace vecino::cli {

// Terms of a sum, beside the text that is searched for.
struct TermArguments {
  std::vector<std::string> plus, minus;   // texts, of weight 1 and -1
  std::vector<std::string> like, unlike;  // ids, all together of weight 1 and -0.5
  bool include_terms = false;

  bool any() const { return !plus.empty() || !minus.empty() || !like.empty() || !unlike.empty(); }
  // The sum of `text`, unless it is empty, and the terms. So likes alone find what is near their
  // mean, and unlikes turn it away from theirs.
  Query ToQuery(const std::string& text) const;
};
void AddTermOptions(CLI::App* command, TermArguments* terms);

// Searches for words, alone or beside one for meaning.
struct WordArguments {
  bool lexical = false, hybrid = false;
  HybridQuery query;  // of hybrid, but for what is looked for
};
// After the other options, some of which these exclude. `command` must outlive *words.
void AddWordOptions(CLI::App* command, WordArguments* words);

// A reranker behind a search.
struct RerankArguments {
  const CLI::Option* asked = nullptr;  // --rerank, also where it has no value
  Reranking reranking;
  std::optional<double> budget_seconds;

  std::optional<Reranking> Get() const;
};
// After the other options, of which these exclude some that `command` has. It must outlive *rerank.
void AddRerankOptions(CLI::App* command, RerankArguments* rerank);

struct ShapeArguments {
  std::string filter;
  std::optional<float> min_score;
  GroupBy group_by;
  std::optional<float> diversify;  // lambda
  int candidates = 0;              // of diversify
  std::string page_token;
  const CLI::Option* paged_by = nullptr;  // --page-token, also where it has no value
  bool all_pages = false;

  bool grouped() const { return !group_by.field.empty(); }
  bool paged() const { return paged_by->count() > 0; }
  void Set(SearchOptions* options) const;
};
// `command` must outlive *shape.
void AddShapeOptions(CLI::App* command, ShapeArguments* shape);

// A score for a table, "-" for none.
std::string ScoreText(std::optional<float> score);

// The group of a hit for a table: text as it is, other values as JSON, "-" for none.
std::string GroupText(const SearchHit& hit);

}  // namespace vecino::cli
