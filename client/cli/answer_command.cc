// vecino ask COLLECTION QUESTION
#include <fstream>
#include <iostream>
#include <iterator>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/search_options.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

// Room for a model on a small machine; --timeout says otherwise.
constexpr std::chrono::minutes kTimeout{10};

struct Arguments {
  std::string collection;
  std::string question;
  std::string template_file;
  RerankArguments rerank;
  AnswerOptions options;
};

// `text` without what plays with a terminal, its lines kept.
std::string PrintableLines(std::string_view text) {
  std::string lines;
  while (true) {
    const size_t end = text.find('\n');
    // Spaces at the ends of a piece are between words.
    lines += Printable(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    lines += '\n';
    text.remove_prefix(end + 1);
  }
}

// For people.
class Printer final : public AnswerSink {
 public:
  Status Sources(const std::vector<SearchHit>& sources, int left_out) override {
    Table table({{"", Table::Align::kRight}, {"SCORE", Table::Align::kRight}, {"ID"}, {"TEXT"}});
    for (size_t i = 0; i < sources.size(); ++i) {
      char score[32];
      std::snprintf(score, sizeof(score), "%.3f", sources[i].score);
      table.AddRow({"[" + std::to_string(i + 1) + "]", score, sources[i].document.id,
                    sources[i].passage ? sources[i].passage->text : sources[i].document.text});
    }
    table.Print(std::cout, TableWidth());
    if (sources.empty()) std::cout << "no sources\n";
    if (left_out > 0) std::cout << left_out << " more found, not in the prompt\n";
    std::cout << '\n' << std::flush;
    return Status();
  }

  Status Prompt(const std::string& prompt) override {
    std::cout << PrintableLines(prompt) << '\n' << std::flush;
    return Status();
  }

  Status Answer(const std::string& piece) override {
    std::cout << PrintableLines(piece) << std::flush;
    in_answer_ = true;
    return Status();
  }

  // Whether a line of the answer stands unfinished.
  bool in_answer() const { return in_answer_; }

 private:
  bool in_answer_ = false;
};

// One object a line.
class JsonPrinter final : public AnswerSink {
 public:
  Status Sources(const std::vector<SearchHit>& sources, int left_out) override {
    Json list = Json::array();
    for (const SearchHit& source : sources) {
      Json json{{"number", list.size() + 1}, {"score", source.score}};
      if (source.rerank_score.has_value()) json["rerank_score"] = *source.rerank_score;
      if (source.passage.has_value()) json["passage"] = PassageJson(*source.passage);
      json.update(DocumentJson(source.document));
      list.push_back(std::move(json));
    }
    return Print({{"sources", std::move(list)}, {"left_out", left_out}});
  }
  Status Reranked(const vecino::Reranked& reranked) override {
    return Print(RerankedJson(reranked));
  }
  Status Prompt(const std::string& prompt) override { return Print({{"prompt", prompt}}); }
  Status Answer(const std::string& piece) override { return Print({{"answer", piece}}); }

  Status Print(const Json& json) {
    std::cout << OneLine(json) << '\n' << std::flush;
    return Status();
  }
};

int Ask(Context& context, Arguments& arguments) {
  if (!arguments.template_file.empty()) {
    std::ifstream file(arguments.template_file);
    arguments.options.prompt_template.assign(std::istreambuf_iterator<char>(file), {});
    if (!file || arguments.options.prompt_template.empty()) {
      return UsageError("cannot read a template from " + Printable(arguments.template_file));
    }
  }
  arguments.options.reranking = arguments.rerank.Get();
  const std::string what = "ask " + arguments.collection;
  Client& client = context.client(kTimeout);
  Printer people;
  JsonPrinter json;
  AnswerSink& sink = context.json ? static_cast<AnswerSink&>(json) : people;
  const Result<AnswerEnd> end =
      client.Answer(arguments.collection, arguments.question, arguments.options, sink);
  if (people.in_answer()) std::cout << std::endl;
  if (!end.ok()) return context.Fail(what, end.status());
  const Status& status = end->generator_status;
  if (context.json) {
    Json object{{"finish_reason", end->finish_reason},
                {"model", end->generator_model},
                {"prompt_tokens", end->prompt_token_count},
                {"status", CodeName(status.code())}};
    if (!status.ok()) object["message"] = status.message();
    json.Print({{"end", std::move(object)}});
  }
  if (!status.ok()) {
    std::cerr << "vecino: " << Printable(what) << ": " << Printable(status.ToString()) << '\n';
    return kServerSaidNo;
  }
  if (end->finish_reason == "length" && !context.json) {
    std::cerr << "vecino: the answer was cut off at its limit of tokens; --max-tokens raises it\n";
  }
  return 0;
}

}  // namespace

void AddAnswerCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "ask", "Find what a question is about, and have it answered or build the prompt for it");
  const auto arguments = std::make_shared<Arguments>();
  AnswerOptions& options = arguments->options;
  command->add_option("COLLECTION", arguments->collection)->required();
  command->add_option("QUESTION", arguments->question)->required();
  command->add_option("-k,--top-k", options.top_k, "Sources to look for (default 5)");
  command->add_option("--filter", options.filter, "Only documents that it lets pass");
  command->add_flag("--hybrid", options.hybrid, "Search for words, too");
  AddRerankOptions(command, &arguments->rerank);
  command->add_flag("--prompt", options.return_prompt,
                    "Print the prompt, too; a server without a generator always sends it");
  command->add_option("--template", arguments->template_file,
                      "File with the prompt's template, holding {sources} and {question}");
  command
      ->add_option("--budget", options.prompt_token_budget,
                   "Most tokens of the prompt (default 3000)")
      ->check(CLI::Range(64, 1'000'000).description("64 to 1000000"));
  command
      ->add_option("--max-tokens", options.max_answer_tokens,
                   "Most tokens of the answer (default: as the server says)")
      ->check(CLI::Range(1, 100'000).description("1 to 100000"));
  command
      ->add_option("--temperature", options.temperature,
                   "How freely words are chosen (default: as the generator does)")
      ->check(CLI::Range(0.0, 2.0).description("0 to 2"));
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Ask(context, *arguments); };
  });
}

}  // namespace vecino::cli
