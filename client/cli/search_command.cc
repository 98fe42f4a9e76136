// vecino search COLLECTION TEXT [--plus TEXT --minus TEXT ...] | --like ID --unlike ID |
// --vector FILE | --id DOCUMENT | --lexical TEXT | --hybrid TEXT [--vector FILE]
#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>

#include "client/cli/context.h"
#include "client/cli/explanation.h"
#include "client/cli/format.h"
#include "client/cli/json_values.h"
#include "client/cli/search_options.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection;
  std::string text;
  std::string vector_file;
  std::vector<float> vector;  // of that file
  std::string document_id;
  TermArguments terms;
  ShapeArguments shape;
  WordArguments words;
  RerankArguments rerank;
  SearchOptions options;
};

// Reads a JSON array of numbers.
Result<std::vector<float>> ReadVector(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path);
  std::istream& in = path == "-" ? std::cin : file;
  const std::string content{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) return Status(Code::kInvalidArgument, "cannot read " + path);
  const Json json = Json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) {
    return Status(Code::kInvalidArgument, path + " must hold a JSON array of numbers");
  }
  std::vector<float> vector;
  std::string error;
  if (!ToVector(json, &vector, &error)) return Status(Code::kInvalidArgument, path + ": " + error);
  return vector;
}

void Print(const SearchResponse& response, const Arguments& arguments) {
  const bool grouped = arguments.shape.grouped(), hybrid = arguments.words.hybrid;
  std::vector<Table::Column> columns = {{"SCORE", Table::Align::kRight}, {"ID"}, {"TEXT"}};
  if (grouped) columns.insert(columns.begin() + 1, {"GROUP"});
  if (hybrid) {
    columns.insert(columns.begin() + 1,
                   {{"MEANING", Table::Align::kRight}, {"WORDS", Table::Align::kRight}});
  }
  if (response.reranked.has_value()) {
    columns.insert(columns.begin(), {"RERANKED", Table::Align::kRight});
  }
  Table table(std::move(columns));
  for (const SearchHit& hit : response.hits) {
    std::vector<std::string> row = {ScoreText(hit.score), hit.document.id,
                                    hit.passage ? hit.passage->text : hit.document.text};
    if (grouped) row.insert(row.begin() + 1, GroupText(hit));
    if (hybrid) {
      row.insert(row.begin() + 1, {ScoreText(hit.dense_score), ScoreText(hit.lexical_score)});
    }
    if (response.reranked.has_value()) row.insert(row.begin(), ScoreText(hit.rerank_score));
    table.AddRow(row);
  }
  table.Print(std::cout, TableWidth());
  if (response.query_truncated) {
    std::cerr << "vecino: the query has " << WithCommas(response.query_token_count)
              << " tokens and was cut to the model's window\n";
  }
  if (!StdoutIsTerminal()) return;
  const auto total =
      response.embed_time + response.search_time + response.fetch_time + response.rerank_time;
  std::cout << '\n'
            << Duration(total) << " (embed " << Duration(response.embed_time) << ", search "
            << Duration(response.search_time) << ", fetch " << Duration(response.fetch_time)
            << (response.reranked.has_value() ? ", rerank " + Duration(response.rerank_time) : "")
            << "); "
            << (hybrid                    ? "merged"
                : arguments.words.lexical ? "BM25"
                                          : MetricName(response.metric))
            << ", " << (response.higher_is_better ? "higher" : "lower") << " is nearer\n";
}

void PrintJson(const SearchResponse& response, size_t rank) {
  for (const SearchHit& hit : response.hits) {
    Json json{{"rank", ++rank}, {"score", hit.score}};
    if (hit.dense_score.has_value()) json["dense_score"] = *hit.dense_score;
    if (hit.lexical_score.has_value()) json["lexical_score"] = *hit.lexical_score;
    if (hit.rerank_score.has_value()) json["rerank_score"] = *hit.rerank_score;
    if (!hit.group_json.empty()) json["group"] = Json::parse(hit.group_json, nullptr, false);
    if (hit.passage.has_value()) json["passage"] = PassageJson(*hit.passage);
    json.update(DocumentJson(hit.document));
    std::cout << OneLine(json) << '\n';
  }
}

// Says how to go on behind `response`.
void PrintNextPage(const Context& context, const SearchResponse& response) {
  if (context.json) {
    std::cout << OneLine(Json{{"next_page_token", response.next_page_token}}) << '\n';
  } else if (response.next_page_token.empty()) {
    std::cerr << "vecino: that was the last page\n";
  } else {
    std::cerr << "vecino: the next page: --page-token " << response.next_page_token << '\n';
  }
}

HybridQuery HybridOf(const Arguments& arguments) {
  HybridQuery query = arguments.words.query;
  query.text = arguments.text;
  query.vector = arguments.vector;
  return query;
}

int Fail(Context& context, const Arguments& arguments, const Status& status) {
  const int code = context.Fail("search " + arguments.collection, status);
  if (status.code() == Code::kFailedPrecondition && arguments.vector_file.empty() &&
      !arguments.text.empty() && status.message().find("vectors only") != std::string::npos) {
    std::cerr
        << "Search it with --vector FILE, by the words of TEXT with --lexical, or by both with "
           "--hybrid --vector FILE.\n";
  }
  return code;
}

int Search(Context& context, const Arguments& arguments, const Query& query) {
  SearchOptions options = arguments.options;
  arguments.shape.Set(&options);
  options.reranking = arguments.rerank.Get();
  SearchResponse all;
  size_t printed = 0;
  do {
    Result<SearchResponse> response =
        arguments.words.hybrid
            ? context.client().HybridSearch(arguments.collection, HybridOf(arguments), options)
            : context.client().Search(arguments.collection, query, options);
    if (!response.ok()) return Fail(context, arguments, response.status());
    if (context.json) {
      PrintJson(*response, printed);
      printed += response->hits.size();
      if (response->reranked.has_value()) {
        std::cout << OneLine(RerankedJson(*response->reranked)) << '\n';
      }
      if (response->explanation.has_value()) {
        std::cout << OneLine(ExplanationJson(*response)) << '\n';
      }
    }
    options.page_token = response->next_page_token;
    std::vector<SearchHit> hits = std::move(all.hits);
    const auto embed = all.embed_time, search = all.search_time, fetch = all.fetch_time;
    all = std::move(*response);
    all.embed_time += embed;
    all.search_time += search;
    all.fetch_time += fetch;
    if (context.json) continue;
    std::move(all.hits.begin(), all.hits.end(), std::back_inserter(hits));
    all.hits = std::move(hits);
  } while (arguments.shape.all_pages && !options.page_token.empty());
  if (!context.json) {
    Print(all, arguments);
    if (all.explanation.has_value()) PrintExplanation(all, std::cout, TableWidth());
    if (all.hits.empty()) {
      std::cerr << "vecino: nothing was found; `vecino count " << Printable(arguments.collection)
                << "` says how many documents there are\n";
    }
  }
  if (all.reranked.has_value() && !all.reranked->complete) {
    std::cerr << "vecino: the reranker's time ran out after " << all.reranked->pairs
              << " hits; the others come as the search ranked them\n";
  }
  if (arguments.shape.paged()) PrintNextPage(context, all);
  return 0;
}

}  // namespace

void AddSearchCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("search", "Find the documents nearest to a query");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("COLLECTION", arguments->collection)->required();
  CLI::Option* text = command->add_option("TEXT", arguments->text, "The query, in words");
  CLI::Option* vector =
      command->add_option("--vector", arguments->vector_file,
                          "Query by a vector: a file with a JSON array, or - for stdin");
  CLI::Option* id = command->add_option("--id", arguments->document_id,
                                        "Query by a stored document's neighbours");
  AddTermOptions(command, &arguments->terms);
  command->add_option("-k,--top-k", arguments->options.top_k, "How many to return (default 10)");
  AddShapeOptions(command, &arguments->shape);
  command->add_flag("--with-vector", arguments->options.read_mask.vector, "Also the vectors");
  AddTruncateOption(command, &arguments->options.truncate);
  SearchOptions& options = arguments->options;
  CLI::Option* recall = command->add_option(
      "--recall", options.recall_target,
      "Share of the true nearest documents to find (default: as the collection says)");
  CLI::Option* exact = command->add_flag("--exact", options.exact, "Compare every document");
  exact->excludes(recall);
  command->add_option("--nprobe", options.nprobe, "Lists to scan")
      ->excludes(recall)
      ->excludes(exact);
  command->add_option("--ef", options.ef_search, "Breadth of a graph search")
      ->excludes(recall)
      ->excludes(exact);
  command->add_option("--index-rerank", options.rerank, "Rows the index scores again")
      ->excludes(recall)
      ->excludes(exact);
  command->add_flag("--explain", options.explain, "Tell how it was answered, shard by shard");
  command->add_flag("--verify", options.verify,
                    "Also run it again exactly, and tell its true recall");
  AddRerankOptions(command, &arguments->rerank);
  AddWordOptions(command, &arguments->words);
  command->callback([&context, arguments, text, vector, id] {
    const bool has_text = text->count() > 0, has_vector = vector->count() > 0;
    const bool has_terms = arguments->terms.any();
    if (arguments->words.hybrid && !has_text) {
      throw CLI::ValidationError("search", "--hybrid needs TEXT, whose words it looks for");
    }
    const bool both = arguments->words.hybrid && has_vector && id->count() == 0;
    if (!both && (has_text || has_terms) + has_vector + (id->count() > 0) != 1) {
      throw CLI::ValidationError(
          "search",
          "give one of TEXT, --vector and --id; --plus, --minus, --like and --unlike go with TEXT "
          "or alone");
    }
    context.command = [&context, arguments, both, has_text, has_vector, has_terms] {
      if (has_terms) {
        return Search(context, *arguments, arguments->terms.ToQuery(arguments->text));
      }
      if (has_text && !both) {
        return Search(context, *arguments,
                      arguments->words.lexical ? Query::Words(arguments->text)
                                               : Query::Text(arguments->text));
      }
      if (!has_vector) {
        return Search(context, *arguments, Query::DocumentId(arguments->document_id));
      }
      Result<std::vector<float>> read = ReadVector(arguments->vector_file);
      if (!read.ok()) return UsageError(read.status().message());
      if (both) {
        arguments->vector = std::move(read).value();
        return Search(context, *arguments, Query::Text(arguments->text));
      }
      return Search(context, *arguments, Query::Vector(std::move(read).value()));
    };
  });
}

}  // namespace vecino::cli
