#include "client/cli/search_options.h"

#include <cmath>
#include <cstdio>
#include <map>

#include "client/cli/format.h"

namespace vecino::cli {
namespace {

// Of all that a hit is to be unlike. At -1 the sum would be the difference of two means, which are
// often alike: then it is more noise than direction.
constexpr float kUnlikeWeight = -0.5f;

void AddList(CLI::App* command, const std::string& name, std::vector<std::string>* list,
             const std::string& help) {
  // One value each time, so that what follows is not taken for another.
  command->add_option(name, *list, help)->allow_extra_args(false);
}

}  // namespace

Query TermArguments::ToQuery(const std::string& text) const {
  std::vector<QueryTerm> terms;
  if (!text.empty()) terms.push_back(QueryTerm::Text(text));
  for (const std::string& one : plus) terms.push_back(QueryTerm::Text(one));
  for (const std::string& one : minus) terms.push_back(QueryTerm::Text(one, -1));
  for (const std::string& id : like) {
    terms.push_back(QueryTerm::DocumentId(id, 1 / static_cast<float>(like.size())));
  }
  for (const std::string& id : unlike) {
    terms.push_back(QueryTerm::DocumentId(id, kUnlikeWeight / static_cast<float>(unlike.size())));
  }
  return Query::Expression(std::move(terms), include_terms);
}

void AddTermOptions(CLI::App* command, TermArguments* terms) {
  AddList(command, "--plus", &terms->plus, "A text to add to TEXT; may be given several times");
  AddList(command, "--minus", &terms->minus, "A text to take away from TEXT");
  AddList(command, "--like", &terms->like, "Id of a document that hits are to be like");
  AddList(command, "--unlike", &terms->unlike, "Id of a document that hits are to be unlike");
  command->add_flag("--include-terms", terms->include_terms,
                    "Also documents named by --like and --unlike");
}

void AddShapeOptions(CLI::App* command, ShapeArguments* shape) {
  command->add_option("--filter", shape->filter,
                      "Only documents whose metadata it lets pass, such as \"year >= 2020\"");
  command->add_option("--min-score", shape->min_score, "Only hits with this score or a better one");
  CLI::Option* group_by = command->add_option(
      "--group-by", shape->group_by.field,
      "Groups of hits with the same value of this metadata field; -k counts groups");
  command
      ->add_option("--group-size", shape->group_by.group_size, "Most hits of a group (default 1)")
      ->needs(group_by);
  CLI::Option* diversify =
      command
          ->add_option("--diversify", shape->diversify,
                       "Hits that differ: 0 (only difference) to 1 (only the query)")
          ->expected(0, 1)
          ->default_str("0.5")
          ->type_name("[LAMBDA]")
          ->excludes(group_by);
  command
      ->add_option("--candidates", shape->candidates,
                   "Hits that --diversify chooses from (default 5 times -k)")
      ->needs(diversify);
  CLI::Option* page_token =
      command
          ->add_option(
              "--page-token", shape->page_token,
              "Begin behind the page that ended with this token, or at the first page, and "
              "say the token of the next")
          ->expected(0, 1)
          ->type_name("[TOKEN]")
          ->excludes(group_by)
          ->excludes(diversify);
  command
      ->add_flag("--all-pages", shape->all_pages,
                 "All hits, -k at a time, 10,000 and a page at most")
      ->excludes(page_token)
      ->excludes(group_by)
      ->excludes(diversify);
  shape->paged_by = page_token;
}

std::optional<Reranking> RerankArguments::Get() const {
  if (asked->count() == 0) return std::nullopt;
  Reranking made = reranking;
  if (budget_seconds.has_value()) {
    made.budget = std::chrono::milliseconds(static_cast<int64_t>(std::ceil(*budget_seconds * 1e3)));
  }
  return made;
}

void AddRerankOptions(CLI::App* command, RerankArguments* rerank) {
  CLI::Option* asked =
      command
          ->add_option("--rerank", rerank->reranking.model,
                       "Score the best hits again with a reranker (default: the server's only one)")
          ->expected(0, 1)
          ->type_name("[MODEL]");
  for (const char* other : {"--group-by", "--diversify", "--page-token", "--all-pages"}) {
    if (CLI::Option* option = command->get_option_no_throw(other); option != nullptr) {
      asked->excludes(option);
    }
  }
  command
      ->add_option("--rerank-candidates", rerank->reranking.candidates,
                   "Hits to score (default 50, or -k if that is more)")
      ->check(CLI::Range(1, 1000).description("1 to 1000"))
      ->needs(asked);
  command
      ->add_option("--rerank-budget", rerank->budget_seconds,
                   "Seconds it may take; hits not scored by then come behind the others")
      ->check(CLI::Range(0.001, 86'400.0).description("0.001 to 86400"))
      ->needs(asked);
  command
      ->add_option("--rerank-query", rerank->reranking.query,
                   "What to score against (default: the query's text)")
      ->needs(asked);
  rerank->asked = asked;
}

void AddWordOptions(CLI::App* command, WordArguments* words) {
  CLI::Option* lexical =
      command->add_flag("--lexical", words->lexical, "Rank by the words of TEXT (BM25)");
  CLI::Option* hybrid =
      command->add_flag("--hybrid", words->hybrid,
                        "Merge the rankings by meaning and by words of TEXT; with "
                        "--vector that is the meaning");
  hybrid->excludes(lexical);
  lexical->excludes(command->get_option("--vector"));
  for (const char* other : {"--id", "--plus", "--minus", "--like", "--unlike"}) {
    lexical->excludes(command->get_option(other));
    hybrid->excludes(command->get_option(other));
  }
  lexical->excludes(command->get_option("--diversify"));
  for (const char* other : {"--min-score", "--group-by", "--page-token", "--all-pages", "--recall",
                            "--exact", "--nprobe", "--ef", "--index-rerank"}) {
    hybrid->excludes(command->get_option(other));
  }
  const std::map<std::string, FusionMethod> methods = {{"rrf", FusionMethod::kRrf},
                                                       {"weighted", FusionMethod::kWeightedScores}};
  command
      ->add_option("--fusion", words->query.fusion,
                   "How --hybrid merges: by ranks (rrf, the default) or by weighted scores")
      ->transform(CLI::CheckedTransformer(methods).description("rrf|weighted"))
      ->needs(hybrid);
  command
      ->add_option("--dense-weight", words->query.dense_weight,
                   "Weight of the ranking by meaning (default 1)")
      ->needs(hybrid);
  command
      ->add_option("--lexical-weight", words->query.lexical_weight,
                   "Weight of the ranking by words (default 0.6)")
      ->needs(hybrid);
}

std::string ScoreText(std::optional<float> score) {
  if (!score.has_value()) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f", *score);
  return text;
}

void ShapeArguments::Set(SearchOptions* options) const {
  options->filter = filter;
  options->min_score = min_score;
  if (grouped()) options->group_by = group_by;
  if (diversify.has_value()) {
    options->diversify = Diversify{.lambda = *diversify, .candidates = candidates};
  }
  options->page_token = page_token;
}

std::string GroupText(const SearchHit& hit) {
  if (hit.group_json.empty()) return "-";
  const Json json = Json::parse(hit.group_json, nullptr, /*allow_exceptions=*/false);
  return json.is_string() ? json.get<std::string>() : hit.group_json;
}

}  // namespace vecino::cli
