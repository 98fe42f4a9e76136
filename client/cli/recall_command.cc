// vecino collection recall NAME [--queries FILE | --samples N] [-k N] [--filter …] [--recall R | …]
#include <iostream>
#include <memory>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/query_file.h"
#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection;
  std::string query_file;
  RecallQueries queries;
  RecallOptions options;
};

void Print(const RecallEvaluation& evaluation, const Arguments& arguments) {
  const RecallEstimate& all = evaluation.recall;
  std::cout << Printable(arguments.collection) << '\n'
            << "  recall        " << RecallText(all) << '\n';
  if (all.samples > 0 && !all.enough) {
    std::cout << "    of these    " << Share(all.recall) << " (" << Share(all.lower) << " to "
              << Share(all.upper) << ")\n";
  }
  if (all.recall_target > 0) std::cout << "  target        " << all.recall_target << '\n';
  std::cout << "  a search      " << Duration(evaluation.search_time) << '\n'
            << "  an exact one  " << Duration(evaluation.exact_time) << "\n\n";
  Table table({{"SHARD", Table::Align::kRight},
               {"SEARCHES", Table::Align::kRight},
               {"RECALL", Table::Align::kRight},
               {"LOWER", Table::Align::kRight},
               {"UPPER", Table::Align::kRight}});
  for (size_t i = 0; i < evaluation.shards.size(); ++i) {
    const RecallEstimate& shard = evaluation.shards[i];
    const auto cell = [&](double value) { return shard.samples > 0 ? Share(value) : "-"; };
    table.AddRow({std::to_string(i), WithCommas(shard.samples), cell(shard.recall),
                  cell(shard.lower), cell(shard.upper)});
  }
  table.Print(std::cout, TableWidth());
}

int Run(Context& context, Arguments& arguments) {
  if (!arguments.query_file.empty()) {
    const std::string error = ReadQueryFile(arguments.query_file, &arguments.queries);
    if (!error.empty()) return UsageError(error);
  }
  const Result<RecallEvaluation> evaluation =
      context.client(std::chrono::minutes(10))
          .EvaluateRecall(arguments.collection, arguments.queries, arguments.options);
  if (!evaluation.ok()) {
    return context.Fail("measure the recall of " + arguments.collection, evaluation.status());
  }
  if (!context.json) {
    Print(*evaluation, arguments);
    return 0;
  }
  Json json{{"id", arguments.collection},
            {"recall", RecallJson(evaluation->recall)},
            {"shards", Json::array()},
            {"search_us", evaluation->search_time.count()},
            {"exact_us", evaluation->exact_time.count()}};
  for (const RecallEstimate& shard : evaluation->shards) {
    json["shards"].push_back(RecallJson(shard));
  }
  std::cout << OneLine(json) << '\n';
  return 0;
}

}  // namespace

void AddRecallCommand(CLI::App* group, Context& context) {
  CLI::App* command = group->add_subcommand(
      "recall", "Measure how much of the true nearest documents searches find");
  const auto arguments = std::make_shared<Arguments>();
  RecallOptions& options = arguments->options;
  command->add_option("NAME", arguments->collection)->required();
  CLI::Option* file =
      command->add_option("--queries", arguments->query_file,
                          "File with a text or a JSON array on each line, - for stdin; without it "
                          "stored documents are the queries");
  command
      ->add_option("--samples", arguments->queries.samples,
                   "Stored documents to search for (default 200)")
      ->check(CLI::Range(1, 2'000))
      ->excludes(file);
  command->add_option("-k,--top-k", options.top_k, "Documents to look for (default 10)");
  command->add_option("--filter", options.filter, "Only documents whose metadata it lets pass");
  CLI::Option* recall =
      command->add_option("--recall", options.recall_target,
                          "Recall target of the searches (default: as the collection says)");
  command->add_option("--nprobe", options.nprobe, "Lists to scan")->excludes(recall);
  command->add_option("--ef", options.ef_search, "Breadth of a graph search")->excludes(recall);
  command->add_option("--rerank", options.rerank, "Candidates to score again")->excludes(recall);
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
