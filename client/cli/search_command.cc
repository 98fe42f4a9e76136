// vecino search COLLECTION TEXT | --vector FILE | --id DOCUMENT
#include <fstream>
#include <iostream>
#include <iterator>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection;
  std::string text;
  std::string vector_file;
  std::string document_id;
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
  const Status malformed(Code::kInvalidArgument, path + " must hold a JSON array of numbers");
  if (!json.is_array()) return malformed;
  std::vector<float> vector;
  for (const Json& value : json) {
    if (!value.is_number()) return malformed;
    vector.push_back(value.get<float>());
  }
  return vector;
}

void Print(const SearchResponse& response) {
  Table table({{"SCORE", Table::Align::kRight}, {"ID"}, {"TEXT"}});
  for (const SearchHit& hit : response.hits) {
    char score[32];
    std::snprintf(score, sizeof(score), "%.3f", hit.score);
    table.AddRow({score, hit.document.id, hit.document.text});
  }
  table.Print(std::cout, TableWidth());
  if (response.query_truncated) {
    std::cerr << "vecino: the query has " << WithCommas(response.query_token_count)
              << " tokens and was cut to the model's window\n";
  }
  if (!StdoutIsTerminal()) return;
  const auto total = response.embed_time + response.search_time + response.fetch_time;
  std::cout << '\n'
            << Duration(total) << " (embed " << Duration(response.embed_time) << ", search "
            << Duration(response.search_time) << ", fetch " << Duration(response.fetch_time)
            << "); " << MetricName(response.metric) << ", "
            << (response.higher_is_better ? "higher" : "lower") << " is nearer\n";
}

int Search(Context& context, const Arguments& arguments, bool has_text, bool has_vector) {
  Query query = has_text ? Query::Text(arguments.text) : Query::DocumentId(arguments.document_id);
  if (has_vector) {
    Result<std::vector<float>> vector = ReadVector(arguments.vector_file);
    if (!vector.ok()) return UsageError(vector.status().message());
    query = Query::Vector(std::move(vector).value());
  }
  const Result<SearchResponse> response =
      context.client().Search(arguments.collection, query, arguments.options);
  if (!response.ok()) return context.Fail("search " + arguments.collection, response.status());
  if (!context.json) {
    Print(*response);
    if (response->hits.empty()) {
      std::cerr << "vecino: nothing was found; `vecino count " << Printable(arguments.collection)
                << "` says how many documents there are\n";
    }
    return 0;
  }
  int rank = 0;
  for (const SearchHit& hit : response->hits) {
    Json json{{"rank", ++rank}, {"score", hit.score}};
    json.update(DocumentJson(hit.document));
    std::cout << OneLine(json) << '\n';
  }
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
  command->add_option("-k,--top-k", arguments->options.top_k, "How many to return (default 10)");
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
  command->add_option("--rerank", options.rerank, "Candidates to score again")
      ->excludes(recall)
      ->excludes(exact);
  command->callback([&context, arguments, text, vector, id] {
    const bool has_text = text->count() > 0;
    const bool has_vector = vector->count() > 0;
    if (has_text + has_vector + (id->count() > 0) != 1) {
      throw CLI::ValidationError("search", "give exactly one of TEXT, --vector and --id");
    }
    context.command = [&context, arguments, has_text, has_vector] {
      return Search(context, *arguments, has_text, has_vector);
    };
  });
}

}  // namespace vecino::cli
