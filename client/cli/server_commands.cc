// vecino embed|rerank|models|status|health
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <numeric>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct EmbedArguments {
  std::vector<std::string> texts;
  std::string model, prompt;
  bool query = false;
  bool timings = false;
  Truncate truncate = Truncate::kAuto;
};

// `texts`, where a lone `-` stands for the lines of stdin.
std::vector<std::string> Texts(const std::vector<std::string>& texts) {
  if (texts != std::vector<std::string>{"-"}) return texts;
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  return lines;
}

void PrintEmbedding(const Context& context, const std::string& text, const Embedding& embedding) {
  if (context.json) {
    std::cout << OneLine({{"text", text},
                          {"vector", embedding.vector},
                          {"token_count", embedding.token_count},
                          {"truncated", embedding.truncated}})
              << '\n';
    return;
  }
  constexpr size_t kShown = 6;
  std::cout << embedding.vector.size() << " floats, " << embedding.token_count << " tokens"
            << (embedding.truncated ? " (cut to the window)" : "") << ": [";
  for (size_t i = 0; i < std::min(kShown, embedding.vector.size()); ++i) {
    char value[32];
    std::snprintf(value, sizeof(value), "%s%.4f", i == 0 ? "" : ", ", embedding.vector[i]);
    std::cout << value;
  }
  std::cout << (embedding.vector.size() > kShown ? ", …]" : "]") << '\n';
}

void PrintTimings(const Context& context, const EmbedTimings& timings) {
  if (!context.json) {
    std::cout << "tokenize " << Duration(timings.tokenize) << ", queue " << Duration(timings.queue)
              << ", compute " << Duration(timings.compute) << '\n';
    return;
  }
  using Milliseconds = std::chrono::duration<double, std::milli>;
  std::cout << OneLine({{"timings",
                         {{"tokenize_ms", Milliseconds(timings.tokenize).count()},
                          {"queue_ms", Milliseconds(timings.queue).count()},
                          {"compute_ms", Milliseconds(timings.compute).count()}}}})
            << '\n';
}

int Embed(Context& context, const EmbedArguments& arguments) {
  constexpr size_t kBatch = 256;
  const std::vector<std::string> texts = Texts(arguments.texts);
  EmbedTimings total;
  for (size_t begin = 0; begin < texts.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, texts.size());
    const std::vector<std::string> batch(texts.begin() + begin, texts.begin() + end);
    EmbedTimings timings;
    const auto embeddings = context.client().Embed(
        arguments.model, batch, arguments.query ? InputType::kQuery : InputType::kDocument,
        arguments.truncate, &timings, arguments.prompt);
    if (!embeddings.ok()) return context.Fail("embed", embeddings.status());
    for (size_t i = 0; i < batch.size(); ++i) PrintEmbedding(context, batch[i], (*embeddings)[i]);
    total.tokenize += timings.tokenize;
    total.queue += timings.queue;
    total.compute += timings.compute;
  }
  if (arguments.timings) PrintTimings(context, total);
  return 0;
}

struct RerankArguments {
  std::string query, model;
  std::vector<std::string> texts;
  int top_n = 0;
  Truncate truncate = Truncate::kAuto;
};

// Best first.
int Rerank(Context& context, const RerankArguments& arguments) {
  constexpr size_t kBatch = 256;
  const std::vector<std::string> texts = Texts(arguments.texts);
  std::vector<RerankedText> results;
  for (size_t begin = 0; begin < texts.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, texts.size());
    const std::vector<std::string> batch(texts.begin() + begin, texts.begin() + end);
    const auto reranked =
        context.client().Rerank(arguments.model, arguments.query, batch, arguments.truncate);
    if (!reranked.ok()) return context.Fail("rerank", reranked.status());
    results.insert(results.end(), reranked->begin(), reranked->end());
  }
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return results[a].score > results[b].score; });
  if (arguments.top_n > 0 && order.size() > static_cast<size_t>(arguments.top_n)) {
    order.resize(static_cast<size_t>(arguments.top_n));
  }
  Table table({{"SCORE", Table::Align::kRight},
               {"INDEX", Table::Align::kRight},
               {"TOKENS", Table::Align::kRight},
               {"TEXT"}});
  for (const size_t i : order) {
    const RerankedText& result = results[i];
    if (context.json) {
      std::cout << OneLine({{"index", i},
                            {"score", result.score},
                            {"text", texts[i]},
                            {"token_count", result.token_count},
                            {"truncated", result.truncated}})
                << '\n';
      continue;
    }
    char score[32];
    std::snprintf(score, sizeof(score), "%.4f", result.score);
    table.AddRow({score, std::to_string(i),
                  WithCommas(result.token_count) + (result.truncated ? " (cut)" : ""), texts[i]});
  }
  if (!context.json) table.Print(std::cout, TableWidth());
  return 0;
}

int Models(Context& context) {
  const Result<std::vector<Model>> models = context.client().ListModels();
  if (!models.ok()) return context.Fail("list models", models.status());
  Table table({{"NAME"},
               {"TASK"},
               {"DIMENSION", Table::Align::kRight},
               {"MAX TOKENS", Table::Align::kRight},
               {"POOLING"},
               {"PRECISION"},
               {"HASH"}});
  for (const Model& model : *models) {
    if (context.json) {
      std::cout << OneLine({{"name", model.name},
                            {"task", model.task},
                            {"dimension", model.dimension},
                            {"max_tokens", model.max_tokens},
                            {"pooling", model.pooling},
                            {"normalize", model.normalize},
                            {"precision", model.precision},
                            {"hash", model.hash},
                            {"query_prompt", model.query_prompt},
                            {"document_prompt", model.document_prompt},
                            {"prompts", model.prompts},
                            {"matryoshka", model.matryoshka},
                            {"activation", model.activation}})
                << '\n';
      continue;
    }
    const bool reranks = model.task == "rerank";
    table.AddRow({model.name, model.task, reranks ? "-" : WithCommas(model.dimension),
                  WithCommas(model.max_tokens), reranks ? "-" : model.pooling, model.precision,
                  model.hash.substr(0, 12)});
  }
  table.Print(std::cout, TableWidth());
  return 0;
}

int ShowStatus(Context& context) {
  const Result<ServerStatus> status = context.client().GetServerStatus();
  if (!status.ok()) return context.Fail("status", status.status());
  if (context.json) {
    std::cout << OneLine(
                     {{"version", status->version},
                      {"start_time", Rfc3339(status->start_time)},
                      {"load_seconds", static_cast<double>(status->load_duration.count()) / 1e6},
                      {"data_dir", status->data_dir},
                      {"collections", status->collections},
                      {"documents", status->documents},
                      {"queued_requests", status->queued_requests},
                      {"queue_capacity", status->queue_capacity},
                      {"workers", status->workers},
                      {"encoder_queued_tokens", status->encoder_queued_tokens},
                      {"encoder_queue_capacity_tokens", status->encoder_queue_capacity_tokens},
                      {"encoder_executors", status->encoder_executors},
                      {"cpu", status->cpu},
                      {"resident_bytes", status->resident_bytes}})
              << '\n';
    return 0;
  }
  std::cout << "vecinod " << status->version << " at " << context.client_options.server << '\n'
            << "  started      " << Rfc3339(status->start_time) << ", loaded in "
            << Duration(status->load_duration) << '\n'
            << "  data         " << status->data_dir << '\n'
            << "  collections  " << WithCommas(status->collections) << '\n'
            << "  documents    " << WithCommas(status->documents) << '\n'
            << "  requests     " << WithCommas(status->queued_requests) << " waiting of "
            << WithCommas(status->queue_capacity) << ", " << status->workers << " workers\n"
            << "  encoder      " << WithCommas(status->encoder_queued_tokens)
            << " tokens waiting of " << WithCommas(status->encoder_queue_capacity_tokens) << ", "
            << status->encoder_executors << " executors\n"
            << "  memory       " << Bytes(status->resident_bytes) << '\n'
            << "  cpu          " << status->cpu << '\n';
  return 0;
}

int Health(Context& context, const std::string& service) {
  const Result<std::string> health = context.client().Health(service);
  if (!health.ok()) return context.Fail("health", health.status());
  if (context.json) {
    std::cout << OneLine({{"service", service}, {"status", *health}}) << '\n';
  } else {
    std::cout << *health << '\n';
  }
  return *health == "SERVING" ? 0 : kServerSaidNo;
}

}  // namespace

void AddServerCommands(CLI::App& app, Context& context) {
  CLI::App* embed = app.add_subcommand("embed", "Turn text into vectors");
  const auto arguments = std::make_shared<EmbedArguments>();
  embed->add_option("TEXT", arguments->texts, "Texts, or - for one a line from stdin")->required();
  embed->add_option("--model", arguments->model,
                    "Model (default: the server's only one in 32 bits)");
  embed->add_flag("--query", arguments->query, "As queries; default as documents");
  embed->add_option("--prompt", arguments->prompt,
                    "Name of the model's prompt (default query or document)");
  embed->add_flag("--timings", arguments->timings, "After the last one, where the time went");
  AddTruncateOption(embed, &arguments->truncate);
  embed->callback([&context, arguments] {
    context.command = [&context, arguments] { return Embed(context, *arguments); };
  });

  CLI::App* rerank =
      app.add_subcommand("rerank", "Score texts by how relevant they are to a query");
  const auto rerank_arguments = std::make_shared<RerankArguments>();
  rerank->add_option("QUERY", rerank_arguments->query)->required();
  rerank->add_option("TEXT", rerank_arguments->texts, "Texts, or - for one a line from stdin")
      ->required();
  rerank->add_option("--model", rerank_arguments->model,
                     "Reranker (default: the server's only one)");
  rerank->add_option("-n,--top-n", rerank_arguments->top_n, "Only so many, the best (default all)")
      ->check(CLI::PositiveNumber);
  AddTruncateOption(rerank, &rerank_arguments->truncate);
  rerank->callback([&context, rerank_arguments] {
    context.command = [&context, rerank_arguments] { return Rerank(context, *rerank_arguments); };
  });

  app.add_subcommand("models", "List the models the server has loaded")->callback([&context] {
    context.command = [&context] { return Models(context); };
  });
  app.add_subcommand("status", "Show what the server is and how busy")->callback([&context] {
    context.command = [&context] { return ShowStatus(context); };
  });

  CLI::App* health = app.add_subcommand("health", "Exit 0 when the server serves");
  const auto service = std::make_shared<std::string>();
  health->add_option("--service", *service, "One service, such as vecino.write (default: all)");
  health->callback([&context, service] {
    context.command = [&context, service] { return Health(context, *service); };
  });
}

}  // namespace vecino::cli
