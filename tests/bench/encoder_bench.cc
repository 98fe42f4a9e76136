// encoder_bench [--executor NAME] [--device NAME] [--executors N] [--batch-tokens N] [--callers N]
// [--repeat N] [--texts FILE] [--json] MODEL_ROOT [MODEL...]: tokens a second of the encoder, and
// the latency of a lone query, of each model (NAME, NAME@bf16, NAME@int8). Prints figures and
// asserts nothing: they depend on the machine and on what else it does. Texts come from files named
// by VECINO_BENCH_GLOSSES and VECINO_BENCH_LONG (one text a line); without them, from made-up
// sentences with the token counts of WordNet glosses (mean 24.5) and of long package descriptions
// (mean 90.6). --json: one object a line, {"model", "what", "tokens_per_s" or "p50" and "p99" in
// µs}; encoder_peers.py reads them. --texts: only how fast all lines of that file are, in calls of
// 256, two at a time; load_bench.py compares a load with it.
// --callers: so many threads embed glosses and descriptions, 1,024 texts a call, and nothing else
// is measured; else they are one call. --repeat: each of them so many times, as a GPU is done with
// them in no time.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "encoder/encoder.h"

namespace vecino::encoder {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// `count` texts whose lengths spread around `mean_tokens` as those of real texts do.
std::vector<std::string> MakeTexts(int count, double mean_tokens) {
  constexpr const char* kWords[] = {"a",       "small",   "person", "of",     "library", "the",
                                    "program", "or",      "used",   "to",     "edit",    "video",
                                    "music",   "network", "with",   "spider", "chess",   "and"};
  std::mt19937 random(1);
  std::gamma_distribution<double> length(3.0, (mean_tokens - 2) / 3.0);
  std::vector<std::string> texts(count);
  for (std::string& text : texts) {
    const int words = std::max(1, static_cast<int>(length(random)));
    for (int i = 0; i < words; ++i) text.append(kWords[random() % std::size(kWords)]).append(" ");
  }
  return texts;
}

std::vector<std::string> ReadTexts(const char* variable, int count, double mean_tokens) {
  const char* path = std::getenv(variable);
  if (path == nullptr) return MakeTexts(count, mean_tokens);
  std::ifstream file(path);
  std::vector<std::string> texts;
  for (std::string line; static_cast<int>(texts.size()) < count && std::getline(file, line);) {
    texts.push_back(line);
  }
  if (texts.empty()) std::fprintf(stderr, "%s: no text in %s\n", variable, path);
  return texts;
}

// By so many callers, each with `at_once` texts a call. False, and printed: one failed.
bool EmbedAll(Encoder& encoder, const std::string& model, std::span<const std::string_view> texts,
              int callers, size_t at_once) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> good = true;
  const auto work = [&] {
    for (size_t i; good && (i = next.fetch_add(at_once)) < texts.size();) {
      const auto results =
          encoder.Embed(model, texts.subspan(i, std::min(at_once, texts.size() - i)), {});
      if (results.ok()) continue;
      std::fprintf(stderr, "%s: %s\n", model.c_str(), results.status().ToString().c_str());
      good = false;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < callers; ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  return good;
}

void MeasureThroughput(Encoder& encoder, const std::string& model, const char* what,
                       const std::vector<std::string>& texts, int callers, bool json) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const EncoderStats before = encoder.Stats();
  const double start = Seconds();
  if (!EmbedAll(encoder, model, views, callers, callers > 1 ? 1024 : views.size())) return;
  const double took = Seconds() - start;
  const EncoderStats after = encoder.Stats();
  const auto tokens = static_cast<double>(after.tokens - before.tokens);
  const auto padded = static_cast<double>(after.padded_tokens - before.padded_tokens);
  if (json) {
    std::printf("{\"model\": \"%s\", \"what\": \"%s\", \"tokens_per_s\": %.1f}\n", model.c_str(),
                what, tokens / took);
    return;
  }
  std::printf(
      "  %-18s %5zu texts  %6.0f tokens/s  %5.0f texts/s  padding %.1f%%  %.1f texts a batch  "
      "tokenizing %.2f%% of the time\n",
      what, texts.size(), tokens / took, static_cast<double>(texts.size()) / took,
      100 * (padded / tokens - 1),
      static_cast<double>(texts.size()) / static_cast<double>(after.batches - before.batches),
      100 * (after.tokenize_seconds - before.tokenize_seconds) / took);
}

std::vector<std::string> Repeated(const std::vector<std::string>& texts, int times) {
  std::vector<std::string> all;
  for (int i = 0; i < times; ++i) all.insert(all.end(), texts.begin(), texts.end());
  return all;
}

void MeasureLatency(Encoder& encoder, const std::string& model, bool json) {
  const std::string_view query[] = {"which program lets me play chess against the computer"};
  std::vector<double> milliseconds;
  for (int i = 0; i < 110; ++i) {
    const double start = Seconds();
    if (!encoder.Embed(model, query, {.input_type = InputType::kQuery, .lane = Lane::kQuery})
             .ok()) {
      return;
    }
    if (i >= 10) milliseconds.push_back(1e3 * (Seconds() - start));  // the first ones warm up
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  if (json) {
    std::printf("{\"model\": \"%s\", \"what\": \"query\", \"p50\": %.1f, \"p99\": %.1f}\n",
                model.c_str(), 1e3 * milliseconds[50], 1e3 * milliseconds[99]);
    return;
  }
  std::printf("  one query of 11 tokens: p50 %.2f ms, p99 %.2f ms\n", milliseconds[50],
              milliseconds[99]);
}

// A query every 10 ms, alone and while texts are embedded in bulk.
void MeasureQueriesBesideBulk(Encoder& encoder, const std::string& model,
                              const std::vector<std::string>& texts, bool json) {
  const std::string_view query[] = {"which program lets me play chess against the computer"};
  double p50[2], p99[2];
  for (const bool busy : {false, true}) {
    std::stop_source stop;
    std::thread bulk([&] {
      const std::vector<std::string_view> views(texts.begin(), texts.end());
      while (busy && !stop.stop_requested()) {
        static_cast<void>(encoder.Embed(model, views, {.stop = stop.get_token()}));
      }
    });
    std::vector<double> milliseconds;
    for (int i = 0; i < 420; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      const double start = Seconds();
      static_cast<void>(
          encoder.Embed(model, query, {.input_type = InputType::kQuery, .lane = Lane::kQuery}));
      if (i >= 20) milliseconds.push_back(1e3 * (Seconds() - start));
    }
    stop.request_stop();
    bulk.join();
    std::sort(milliseconds.begin(), milliseconds.end());
    p50[busy] = milliseconds[milliseconds.size() / 2];
    p99[busy] = milliseconds[milliseconds.size() * 99 / 100];
  }
  if (json) {
    std::printf(
        "{\"model\": \"%s\", \"what\": \"query beside bulk\", \"p50\": %.1f, \"p99\": %.1f, "
        "\"idle_p50\": %.1f, \"idle_p99\": %.1f}\n",
        model.c_str(), 1e3 * p50[1], 1e3 * p99[1], 1e3 * p50[0], 1e3 * p99[0]);
    return;
  }
  std::printf(
      "  a query every 10 ms: p50 %.2f ms, p99 %.2f ms; beside bulk: p50 %.2f ms, p99 %.2f ms = "
      "%.2f times\n",
      p50[0], p99[0], p50[1], p99[1], p99[1] / p99[0]);
}

// As a loader sends them: two calls at a time, 256 texts each.
void MeasureFile(Encoder& encoder, const std::string& model, const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> texts;
  for (std::string line; std::getline(file, line);) texts.push_back(line);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const int64_t before = encoder.Stats().tokens;
  const double start = Seconds();
  if (!EmbedAll(encoder, model, views, 2, 256)) return;
  const double took = Seconds() - start;
  std::printf(
      "{\"model\": \"%s\", \"what\": \"texts\", \"texts\": %zu, \"texts_per_s\": %.1f, "
      "\"tokens_per_s\": %.1f}\n",
      model.c_str(), texts.size(), static_cast<double>(texts.size()) / took,
      static_cast<double>(encoder.Stats().tokens - before) / took);
}

struct Options {
  std::string root, executor = "auto", device = "cpu", texts;
  std::vector<std::string> models;
  std::vector<int> batch_tokens = {256, 1024, 4096};
  int executors = 0, callers = 1, repeat = 1;
  bool json = false;
};

int Run(const Options& options) {
  const auto glosses = Repeated(ReadTexts("VECINO_BENCH_GLOSSES", 4000, 24.5), options.repeat);
  const auto descriptions = Repeated(ReadTexts("VECINO_BENCH_LONG", 1500, 90.6), options.repeat);
  for (const int batch_tokens : options.batch_tokens) {
    const auto encoder = OpenEncoder({.model_root = options.root,
                                      .executor = options.executor,
                                      .device = options.device,
                                      .executors = options.executors,
                                      .batch_tokens = batch_tokens,
                                      .cache_bytes = 0});
    if (!encoder.ok()) {
      std::fprintf(stderr, "%s\n", encoder.status().ToString().c_str());
      return 1;
    }
    for (const std::string& model : options.models) {
      if (!options.texts.empty()) {
        MeasureFile(**encoder, model, options.texts);
        continue;
      }
      if (!options.json) {
        std::printf("%s, batches of %d padded tokens, %d executors\n", model.c_str(), batch_tokens,
                    (*encoder)->Stats().executors);
      }
      const bool alone = options.callers == 1;
      if (alone) MeasureLatency(**encoder, model, options.json);
      MeasureThroughput(**encoder, model, "glosses", glosses, options.callers, options.json);
      MeasureThroughput(**encoder, model, "descriptions", descriptions, options.callers,
                        options.json);
      if (alone) MeasureQueriesBesideBulk(**encoder, model, descriptions, options.json);
    }
  }
  return 0;
}

}  // namespace
}  // namespace vecino::encoder

int main(int argc, char** argv) {
  vecino::encoder::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      options.json = true;
    } else if (word == "--executor" && i + 1 < argc) {
      options.executor = argv[++i];
    } else if (word == "--texts" && i + 1 < argc) {
      options.texts = argv[++i];
      options.batch_tokens = {1024};
    } else if (word == "--device" && i + 1 < argc) {
      options.device = argv[++i];
    } else if (word == "--executors" && i + 1 < argc) {
      options.executors = std::atoi(argv[++i]);
    } else if (word == "--callers" && i + 1 < argc) {
      options.callers = std::atoi(argv[++i]);
    } else if (word == "--repeat" && i + 1 < argc) {
      options.repeat = std::atoi(argv[++i]);
    } else if (word == "--batch-tokens" && i + 1 < argc) {
      options.batch_tokens = {std::atoi(argv[++i])};
    } else if (options.root.empty()) {
      options.root = word;
    } else {
      options.models.push_back(word);
    }
  }
  if (options.root.empty()) {
    std::fprintf(
        stderr,
        "usage: encoder_bench [--executor NAME] [--device NAME] [--executors N] [--batch-tokens N] "
        "[--callers N] [--repeat N] [--texts FILE] [--json] MODEL_ROOT [MODEL...]\n");
    return 2;
  }
  if (options.models.empty()) options.models = {"all-MiniLM-L6-v2"};
  return vecino::encoder::Run(options);
}
