#include "encoder/encoder.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "encoder/batch_queue.h"
#include "encoder/executor_pool.h"
#include "encoder/text_model.h"
#include "encoder/torch_executor.h"
#include "encoder/utf8.h"
#include "encoder/vector_cache.h"

namespace vecino::encoder {
namespace {

// Tokens in a batch of pairs: a query that comes waits for a batch under way, and the fused
// executor multiplies 128 tokens at a time anyway; on CUDA a few thousand take about as long as
// one.
constexpr int kRerankBatchTokens = 256;
constexpr int kCudaRerankBatchTokens = 4096;
// Padded tokens in a batch where options leave it open. CPU: more is no faster, and others wait
// longer. CUDA: what keeps a GPU busy for longer than it takes to give it the next
// (docs/encoder.md).
constexpr int kCpuBatchTokens = 1024;
constexpr int kCudaBatchTokens = 16384;
// More of them wait for the same device, each with memory of its own.
constexpr int kMostCudaExecutors = 2;
// Batches of pairs for each executor before the next texts are looked at, where time may run out.
constexpr int kRerankBatches = 4;

std::string_view PromptName(const EmbedOptions& options) {
  if (!options.prompt.empty()) return options.prompt;
  return options.input_type == InputType::kQuery ? kQueryPrompt : kDocumentPrompt;
}

int64_t ThreadCpuNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::vector<std::vector<ModelRunner>> MakeRunners(const std::vector<TextModel>& models,
                                                  int threads) {
  std::vector<std::vector<ModelRunner>> runners(threads);
  for (auto& of_thread : runners) {
    for (const TextModel& model : models) {
      of_thread.push_back({.for_queries = model.weights->MakeExecutor(/*urgent=*/true),
                           .for_bulk = model.weights->MakeExecutor(),
                           .dimension = model.outputs()});
    }
  }
  return runners;
}

class BatchingEncoder : public Encoder {
 public:
  // models: in order of name.
  // options: with nothing left open.
  BatchingEncoder(std::vector<TextModel> models, const EncoderOptions& options)
      : models_(std::move(models)),
        executors_(options.executors),
        cuda_(options.device != "cpu"),
        cache_(static_cast<size_t>(options.cache_bytes)),
        queue_({.capacity_tokens = options.queue_tokens, .batch_tokens = options.batch_tokens}),
        pool_(queue_, MakeRunners(models_, executors_)) {}

  ~BatchingEncoder() override { Shutdown(); }

  std::vector<ModelInfo> Models() const override {
    std::vector<ModelInfo> infos;
    for (const TextModel& model : models_) infos.push_back(model.info);
    return infos;
  }

  absl::StatusOr<ModelInfo> Model(std::string_view name) const override {
    const auto index = Find(name);
    if (!index.ok()) return index.status();
    return models_[*index].info;
  }

  absl::StatusOr<std::vector<EmbedResult>> Embed(std::string_view model,
                                                 std::span<const std::string_view> texts,
                                                 const EmbedOptions& options) override {
    if (!Enter()) return absl::UnavailableError("the encoder is shutting down");
    auto results = EmbedInside(model, texts, options);
    Leave();
    return results;
  }

  absl::StatusOr<std::vector<RerankResult>> Rerank(std::string_view model, std::string_view query,
                                                   std::span<const std::string_view> texts,
                                                   const RerankOptions& options) override {
    if (!Enter()) return absl::UnavailableError("the encoder is shutting down");
    auto results = RerankInside(model, query, texts, options);
    Leave();
    return results;
  }

  absl::StatusOr<int> CountTokens(std::string_view model, std::string_view text) const override {
    const auto index = Find(model);
    if (!index.ok()) return index.status();
    const Tokenizer& tokenizer = *models_[*index].tokenizer;
    constexpr int kNoIds = 2;  // the count is of all there are
    return tokenizer.Encode(text, kNoIds).count - tokenizer.Encode("", kNoIds).count;
  }

  EncoderStats Stats() const override {
    EncoderStats stats = queue_.Stats();
    stats.executors = executors_;
    stats.cache_hits = cache_.hits();
    stats.cache_misses = cache_.misses();
    stats.cache_bytes = static_cast<int64_t>(cache_.bytes());
    stats.tokenize_seconds = static_cast<double>(tokenize_nanoseconds_.load()) * 1e-9;
    return stats;
  }

  void Shutdown() override {
    {
      absl::MutexLock lock(&mu_);
      shutting_down_ = true;
      while (calls_ > 0) idle_.Wait(&mu_);
    }
    const std::lock_guard<std::mutex> lock(join_mu_);
    queue_.Close();
    pool_.Join();
  }

 private:
  bool Enter() {
    absl::MutexLock lock(&mu_);
    if (shutting_down_) return false;
    ++calls_;
    return true;
  }

  void Leave() {
    absl::MutexLock lock(&mu_);
    if (--calls_ == 0) idle_.SignalAll();
  }

  absl::StatusOr<int> Find(std::string_view name) const {
    for (size_t i = 0; i < models_.size(); ++i) {
      if (models_[i].info.name == name) return static_cast<int>(i);
    }
    return absl::NotFoundError(absl::StrCat(
        "model '", absl::Utf8SafeCEscape(std::string(name.substr(0, 128))), "' is not loaded; ",
        models_.empty()
            ? std::string("no model is")
            : absl::StrCat("loaded: ", absl::StrJoin(models_, ", ",
                                                     [](std::string* out, const TextModel& model) {
                                                       out->append(model.info.name);
                                                     }))));
  }

  absl::StatusOr<int> FindFor(Task task, std::string_view name) const {
    auto index = Find(name);
    if (!index.ok() || models_[*index].info.task == task) return index;
    return absl::InvalidArgumentError(
        absl::StrCat("model ", models_[*index].info.name,
                     task == Task::kRerank ? " is an embedding model, which makes vectors of texts"
                                           : " is a reranker, which scores pairs of texts"));
  }

  absl::StatusOr<std::vector<EmbedResult>> EmbedInside(std::string_view name,
                                                       std::span<const std::string_view> texts,
                                                       const EmbedOptions& options) {
    const auto index = FindFor(Task::kEmbed, name);
    if (!index.ok()) return index.status();
    const auto prompt = FindPrompt(models_[*index].info, PromptName(options));
    if (!prompt.ok()) return prompt.status();
    EmbedTimings timings;
    BatchQueue::Call call{.model = *index,
                          .pads = models_[*index].weights->pads(),
                          .lane = options.lane,
                          .deadline = options.deadline,
                          .stop = options.stop,
                          .rows = {},
                          .batch_tokens = BatchTokens(models_[*index]),
                          .timings = &timings};
    std::vector<EmbedResult> results(texts.size());
    std::vector<size_t> text_of_row;
    std::string room;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (options.stop.stop_requested()) return absl::CancelledError("the caller has gone");
      if (absl::Now() >= options.deadline) {
        return absl::DeadlineExceededError(
            absl::StrCat("the deadline passed with ", i, " of ", texts.size(), " texts tokenized"));
      }
      const std::string_view whole = WithPrompt(prompt->text, texts[i], &room);
      if (options.lane == Lane::kQuery && TakeFromCache(*index, whole, options, results[i])) {
        continue;
      }
      std::vector<int32_t> row =
          Tokenize(models_[*index], texts[i], whole, options, results[i], &timings.tokenize);
      if (!results[i].status.ok()) continue;
      call.rows.push_back(std::move(row));
      text_of_row.push_back(i);
    }
    auto rows = queue_.Run(std::move(call));
    if (!rows.ok()) return rows.status();
    if (options.timings != nullptr) *options.timings = timings;
    for (size_t i = 0; i < rows->size(); ++i) {
      EmbedResult& result = results[text_of_row[i]];
      result.status = std::move((*rows)[i].status);
      result.vector = std::move((*rows)[i].vector);
      if (options.lane == Lane::kQuery && result.status.ok()) {
        const std::string_view text = texts[text_of_row[i]];
        cache_.Add(*index, WithPrompt(prompt->text, text, &room),
                   {result.vector, result.token_count, result.truncated});
      }
    }
    for (EmbedResult& result : results) CutTo(options.dimensions, &result.vector);
    return results;
  }

  absl::StatusOr<std::vector<RerankResult>> RerankInside(std::string_view name,
                                                         std::string_view query,
                                                         std::span<const std::string_view> texts,
                                                         const RerankOptions& options) {
    const auto index = FindFor(Task::kRerank, name);
    if (!index.ok()) return index.status();
    if (const std::optional<size_t> offset = FindInvalidUtf8(query)) {
      return absl::InvalidArgumentError(absl::StrCat("the query is not UTF-8: ill-formed at byte ",
                                                     *offset, " of ", query.size()));
    }
    const TextModel& model = models_[*index];
    EmbedTimings timings;
    std::vector<RerankResult> results(texts.size());
    const absl::Time start = absl::Now();
    const std::vector<int32_t> query_ids = model.tokenizer->Ids(query);
    timings.tokenize = absl::Now() - start;
    const int batch_tokens = model.on_cpu ? kRerankBatchTokens : kCudaRerankBatchTokens;
    // Where time may run out, some texts at a time, so that the first ones are done first.
    const int64_t at_once = options.enough < absl::InfiniteFuture()
                                ? int64_t{kRerankBatches} * executors_ * batch_tokens
                                : std::numeric_limits<int64_t>::max();
    for (size_t next = 0; next < texts.size();) {
      EmbedTimings part;
      BatchQueue::Call call{.model = *index,
                            .pads = model.weights->pads(),
                            .lane = options.lane,
                            .deadline = options.deadline,
                            .stop = options.stop,
                            .rows = {},
                            .seconds = {},
                            .batch_tokens = batch_tokens,
                            .enough = options.enough,
                            .timings = &part};
      std::vector<size_t> text_of_row;
      for (int64_t tokens = 0; next < texts.size() && tokens < at_once; ++next) {
        if (options.stop.stop_requested()) return absl::CancelledError("the caller has gone");
        const absl::Time now = absl::Now();
        if (now >= options.deadline) {
          return absl::DeadlineExceededError(absl::StrCat("the deadline passed with ", next, " of ",
                                                          texts.size(), " texts tokenized"));
        }
        RerankResult& result = results[next];
        if (now >= options.enough) {
          result.status = absl::DeadlineExceededError("there was no time for it");
          continue;
        }
        Tokens pair =
            TokenizePair(model, query_ids, texts[next], options, result, &timings.tokenize);
        if (!result.status.ok()) continue;
        tokens += static_cast<int64_t>(pair.ids.size());
        call.rows.push_back(std::move(pair.ids));
        call.seconds.push_back(pair.second);
        text_of_row.push_back(next);
      }
      const auto rows = queue_.Run(std::move(call));
      if (!rows.ok()) return rows.status();
      timings.queue += part.queue;
      timings.compute += part.compute;
      for (size_t i = 0; i < rows->size(); ++i) {
        RerankResult& result = results[text_of_row[i]];
        result.status = (*rows)[i].status;
        if (result.status.ok()) result.score = Activated(model.info, (*rows)[i].vector.front());
      }
    }
    if (options.timings != nullptr) *options.timings = timings;
    return results;
  }

  // Of texts alone; 0: as many as the queue lets.
  int BatchTokens(const TextModel& model) const {
    return cuda_ && model.on_cpu ? kCpuBatchTokens : 0;
  }

  static float Activated(const ModelInfo& info, float logit) {
    if (info.activation != "sigmoid") return logit;
    return static_cast<float>(1 / (1 + std::exp(-double{logit})));
  }

  // Fills all of `result` but the score, and adds what it took to `time`.
  Tokens TokenizePair(const TextModel& model, const std::vector<int32_t>& query,
                      std::string_view text, const RerankOptions& options, RerankResult& result,
                      absl::Duration* time) {
    const absl::Time begin = absl::Now();
    const int64_t start = ThreadCpuNanoseconds();
    Tokens tokens;
    if (absl::Status status = CheckUtf8(text); !status.ok()) {
      result.status = std::move(status);
    } else {
      tokens =
          model.tokenizer->EncodePair(query, model.tokenizer->Ids(text), model.info.max_tokens);
      result.token_count = tokens.count;
      result.truncated = tokens.truncated;
      if (tokens.truncated && options.truncate == Truncate::kError) {
        result.status = absl::InvalidArgumentError(absl::StrCat(
            "query and text have ", tokens.count, " tokens together; model ", model.info.name,
            " takes ", model.info.max_tokens, "; shorten them or let them be truncated"));
      }
    }
    tokenize_nanoseconds_ += ThreadCpuNanoseconds() - start;
    *time += absl::Now() - begin;
    return tokens;
  }

  static absl::Status CheckUtf8(std::string_view text) {
    const std::optional<size_t> offset = FindInvalidUtf8(text);
    if (!offset.has_value()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("the text is not UTF-8: ill-formed at byte ",
                                                   *offset, " of ", text.size(),
                                                   "; convert it to UTF-8"));
  }

  static void CutTo(int dimensions, std::vector<float>* vector) {
    if (dimensions <= 0 || static_cast<size_t>(dimensions) >= vector->size()) return;
    vector->resize(static_cast<size_t>(dimensions));
    double squares = 0;
    for (const float x : *vector) squares += double{x} * x;
    if (squares == 0) return;
    for (float& x : *vector) x = static_cast<float>(x / std::sqrt(squares));
  }

  // The text as the model gets it, in `room` where a prompt goes before it.
  static std::string_view WithPrompt(const std::string& prompt, std::string_view text,
                                     std::string* room) {
    if (prompt.empty()) return text;
    *room = prompt;
    room->append(text);
    return *room;
  }

  // Whether `result` is filled. One that was cut is not given to who wants an error instead.
  bool TakeFromCache(int index, std::string_view whole, const EmbedOptions& options,
                     EmbedResult& result) {
    auto found = cache_.Find(index, whole);
    if (!found.has_value() || (found->truncated && options.truncate == Truncate::kError)) {
      return false;
    }
    result.vector = std::move(found->vector);
    result.token_count = found->token_count;
    result.truncated = found->truncated;
    return true;
  }

  // Fills all of `result` but the vector, and adds what it took to `time`. whole: the text with its
  // prompt.
  std::vector<int32_t> Tokenize(const TextModel& model, std::string_view text,
                                std::string_view whole, const EmbedOptions& options,
                                EmbedResult& result, absl::Duration* time) {
    const absl::Time begin = absl::Now();
    const int64_t start = ThreadCpuNanoseconds();
    std::vector<int32_t> ids;
    if (absl::Status status = CheckUtf8(text); !status.ok()) {
      result.status = std::move(status);
    } else {
      Tokens tokens = model.tokenizer->Encode(whole, model.info.max_tokens);
      result.token_count = tokens.count;
      result.truncated = tokens.truncated;
      if (tokens.truncated && options.truncate == Truncate::kError) {
        result.status = absl::InvalidArgumentError(
            absl::StrCat("the text has ", tokens.count, " tokens; model ", model.info.name,
                         " takes ", model.info.max_tokens, "; shorten it or let it be truncated"));
      }
      ids = std::move(tokens.ids);
    }
    tokenize_nanoseconds_ += ThreadCpuNanoseconds() - start;
    *time += absl::Now() - begin;
    return ids;
  }

  const std::vector<TextModel> models_;
  const int executors_;
  const bool cuda_;
  VectorCache cache_;
  BatchQueue queue_;
  ExecutorPool pool_;
  std::atomic<int64_t> tokenize_nanoseconds_ = 0;

  absl::Mutex mu_;
  absl::CondVar idle_;  // the last call left
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  bool shutting_down_ ABSL_GUARDED_BY(mu_) = false;
  std::mutex join_mu_;  // two threads may shut down at once
};

absl::Status CheckOptions(const EncoderOptions& options) {
  const auto check = [](const char* name, int64_t value, int64_t low, int64_t high) {
    return value >= low && value <= high ? absl::OkStatus()
                                         : absl::InvalidArgumentError(absl::StrCat(
                                               "encoder option ", name, " is ", value,
                                               "; it must be in [", low, ", ", high, "]"));
  };
  if (auto status = check("executors", options.executors, 0, 1024); !status.ok()) return status;
  if (auto status = check("batch_tokens", options.batch_tokens, 0, 1 << 20); !status.ok()) {
    return status;
  }
  if (auto status = check("queue_tokens", options.queue_tokens, 8, int64_t{1} << 40);
      !status.ok()) {
    return status;
  }
  if (auto status = check("cache_bytes", options.cache_bytes, 0, int64_t{1} << 40); !status.ok()) {
    return status;
  }
  if (options.executor != "auto" && options.executor != "torchscript" &&
      options.executor != "fused") {
    return absl::InvalidArgumentError(
        absl::StrCat("encoder option executor is '", options.executor,
                     "'; it must be 'auto', 'torchscript' or 'fused'"));
  }
  const absl::Status device = CheckDevice(options.device);
  return absl::IsInvalidArgument(device) ? device : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const EncoderOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const auto log = [&](std::string_view line) {
    if (options.log) options.log(line);
  };
  const auto warn = [&](std::string_view line) { options.warn ? options.warn(line) : log(line); };
  const auto names = ListModelFolders(options.model_root);
  if (!names.ok()) return names.status();
  EncoderOptions chosen = options;
  if (const absl::Status status = CheckDevice(options.device); !status.ok()) {
    warn(absl::StrCat("models run on the CPU: ", status.message()));
    chosen.device = "cpu";
  }
  const bool cpu = chosen.device == "cpu";
  if (chosen.batch_tokens == 0) chosen.batch_tokens = cpu ? kCpuBatchTokens : kCudaBatchTokens;
  if (chosen.executors == 0) {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    chosen.executors = cpu ? cores : std::min(cores, kMostCudaExecutors);
  }
  std::vector<TextModel> models;
  for (const std::string& name : *names) {
    const absl::Time start = absl::Now();
    auto loaded = LoadTextModels(chosen.model_root, name, chosen.device, chosen.executor, warn);
    if (!loaded.ok()) {
      warn(absl::StrCat("model ", name, " refused: ", loaded.status().ToString()));
      continue;
    }
    const ModelInfo& info = loaded->front().info;
    const bool reranks = info.task == Task::kRerank;
    log(absl::StrCat(
        "model ", name, " loaded in ",
        absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1))), ": ",
        reranks ? absl::StrCat("a reranker (", info.activation, ")")
                : absl::StrCat(info.dimension, " dimensions"),
        ", ", info.max_tokens, " tokens, golden ", reranks ? "pairs" : "sentences", " agree"));
    for (TextModel& model : *loaded) {
      log(absl::StrCat("model ", model.info.name, " runs by ", model.runs_by));
      models.push_back(std::move(model));
    }
  }
  // `@` comes after some of the characters of names.
  std::sort(models.begin(), models.end(),
            [](const TextModel& a, const TextModel& b) { return a.info.name < b.info.name; });
  if (names->empty()) log(absl::StrCat("no model in '", options.model_root, "'"));
  return std::make_unique<BatchingEncoder>(std::move(models), chosen);
}

}  // namespace vecino::encoder
