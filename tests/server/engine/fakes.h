// Stand-ins for the encoder and the metrics.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder/encoder.h"
#include "server/metrics.h"

namespace vecino::engine {

// Turns a text, with its prompt before it, into a vector by a hash of it: the same text, the same
// vector. The prompts of queries and documents are empty unless a test sets others. Models with
// another name than `fake` have vectors of their own.
class FakeEncoder : public encoder::Encoder {
 public:
  explicit FakeEncoder(int dimension = 8) {
    encoder::ModelInfo info;
    info.name = "fake";
    info.dimension = dimension;
    info.max_tokens = 16;
    info.precision = "fp32";
    info.hash = "hash-1";
    info.prompts = {{"document", {}}, {"query", {}}};
    models.push_back(info);
  }

  void AddModel(const std::string& name, int dimension, const std::string& hash) {
    encoder::ModelInfo info = models.front();
    info.name = name;
    info.dimension = dimension;
    info.hash = hash;
    models.push_back(info);
  }

  static std::vector<float> VectorOf(std::string_view text, int dimension) {
    std::vector<float> vector;
    uint64_t state = std::hash<std::string_view>()(text) | 1;
    for (int i = 0; i < dimension; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      vector.push_back(static_cast<float>(static_cast<int64_t>(state % 2001) - 1000) / 1000);
    }
    return vector;
  }

  std::vector<encoder::ModelInfo> Models() const override { return models; }
  absl::StatusOr<encoder::ModelInfo> Model(std::string_view name) const override {
    for (const auto& model : models) {
      if (model.name == name) return model;
    }
    return absl::NotFoundError(absl::StrCat("no model `", std::string(name), "`"));
  }
  absl::StatusOr<std::vector<encoder::EmbedResult>> Embed(
      std::string_view model, std::span<const std::string_view> texts,
      const encoder::EmbedOptions& options) override {
    const auto info = Model(model);
    if (!info.ok()) return info.status();
    if (!fail.ok()) return fail;
    const auto prompt =
        encoder::FindPrompt(*info, !options.prompt.empty() ? options.prompt
                                   : options.input_type == encoder::InputType::kQuery ? "query"
                                                                                      : "document");
    if (!prompt.ok()) return prompt.status();
    if (before_embed) before_embed();
    last_lane = options.lane;
    std::vector<encoder::EmbedResult> results;
    for (const std::string_view text : texts) {
      ++embedded;
      encoder::EmbedResult& result = results.emplace_back();
      result.token_count = static_cast<int>(text.size());
      result.truncated = result.token_count > info->max_tokens;
      if (result.truncated && options.truncate == encoder::Truncate::kError) {
        result.status = absl::InvalidArgumentError("too long");
        continue;
      }
      const std::string seed = absl::StrCat(info->name == "fake" ? "" : info->name + "/",
                                            prompt->text, std::string(text));
      result.vector = VectorOf(seed, options.dimensions > 0 ? options.dimensions : info->dimension);
    }
    return results;
  }
  // The score of a text is the share of the query's bytes that it begins with.
  absl::StatusOr<std::vector<encoder::RerankResult>> Rerank(
      std::string_view model, std::string_view query, std::span<const std::string_view> texts,
      const encoder::RerankOptions& options) override {
    const auto info = Model(model);
    if (!info.ok()) return info.status();
    if (!fail.ok()) return fail;
    last_rerank = options;
    last_query = std::string(query);
    std::vector<encoder::RerankResult> results;
    for (const std::string_view text : texts) {
      encoder::RerankResult& result = results.emplace_back();
      if (results.size() > rerank_in_time) {
        result.status = absl::DeadlineExceededError("no time");
        continue;
      }
      size_t same = 0;
      while (same < std::min(text.size(), query.size()) && text[same] == query[same]) ++same;
      result.score = static_cast<float>(same) / static_cast<float>(query.size());
      result.token_count = static_cast<int>(text.size() + query.size());
      result.truncated = result.token_count > info->max_tokens;
      if (result.truncated && options.truncate == encoder::Truncate::kError) {
        result.status = absl::InvalidArgumentError("too long");
      }
    }
    return results;
  }
  // One for each byte, as Embed.
  absl::StatusOr<int> CountTokens(std::string_view model, std::string_view text) const override {
    const auto info = Model(model);
    if (!info.ok()) return info.status();
    return static_cast<int>(text.size());
  }
  encoder::EncoderStats Stats() const override {
    return {.queued_tokens = queued_tokens.load(),
            .queue_capacity = queue_capacity.load(),
            .texts = embedded.load()};
  }
  void Shutdown() override {}

  std::vector<encoder::ModelInfo> models;
  absl::Status fail;
  std::function<void()> before_embed;
  size_t rerank_in_time = static_cast<size_t>(-1);  // texts of a call that are scored
  encoder::RerankOptions last_rerank;
  std::string last_query;
  std::atomic<int64_t> embedded{0};
  std::atomic<int64_t> queued_tokens{0}, queue_capacity{0};  // as Stats tells them
  std::atomic<encoder::Lane> last_lane{encoder::Lane::kBulk};
};

// Counts, and remembers gauges.
class FakeMetrics : public Metrics {
 public:
  Counter& counter(std::string_view name, std::string_view help,
                   const MetricLabels& labels) override {
    std::lock_guard lock(mu_);
    return counters_[Key(name, labels)];
  }
  Histogram& latency(std::string_view name, std::string_view help,
                     const MetricLabels& labels) override {
    std::lock_guard lock(mu_);
    return histograms_[Key(name, labels)];
  }
  void gauge(std::string_view name, std::string_view help, const MetricLabels& labels,
             std::function<double()> read) override {
    std::lock_guard lock(mu_);
    gauges_[Key(name, labels)] = std::move(read);
  }
  void counter_from(std::string_view name, std::string_view help, const MetricLabels& labels,
                    std::function<double()> read) override {
    gauge(name, help, labels, std::move(read));
  }
  void gauges(std::string_view name, std::string_view help, std::function<Series()> read) override {
    std::lock_guard lock(mu_);
    families_[std::string(name)] = std::move(read);
  }
  void RemoveCallbacks() override {
    gauges_.clear();
    families_.clear();
  }
  std::string Expose() const override { return ""; }

  double Value(const std::string& key) {
    std::lock_guard lock(mu_);
    if (gauges_.contains(key)) return gauges_[key]();
    for (const auto& [name, read] : families_) {
      if (!key.starts_with(name + ",")) continue;
      for (const auto& [labels, value] : read()) {
        if (Key(name, labels) == key) return value;
      }
    }
    return counters_[key].value.load();
  }
  // What a histogram was given.
  std::vector<double> Observed(const std::string& key) {
    std::lock_guard lock(mu_);
    FakeHistogram& histogram = histograms_[key];
    std::lock_guard of_histogram(histogram.mu);
    return histogram.values;
  }

 private:
  struct FakeCounter : Counter {
    void Add(double amount) override { value = value.load() + amount; }
    std::atomic<double> value{0};
  };
  struct FakeHistogram : Histogram {
    void Observe(double value) override {
      std::lock_guard lock(mu);
      values.push_back(value);
    }
    std::mutex mu;
    std::vector<double> values;
  };
  static std::string Key(std::string_view name, const MetricLabels& labels) {
    std::string key(name);
    for (const auto& [label, value] : labels) key += "," + value;
    return key;
  }

  std::mutex mu_;
  std::map<std::string, FakeCounter> counters_;
  std::map<std::string, FakeHistogram> histograms_;
  std::map<std::string, std::function<double()>> gauges_;
  std::map<std::string, std::function<Series()>> families_;
};

}  // namespace vecino::engine
