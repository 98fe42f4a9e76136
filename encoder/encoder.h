// Text to vectors, and pairs of texts to scores: the one door of this folder. Owns the models, the
// batch queue and the executors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vecino::encoder {

// What a model makes: vectors of texts, or the relevance of a text to a query (a cross-encoder).
enum class Task { kEmbed, kRerank };

// Names of the prompts that every embedding model has.
inline constexpr std::string_view kQueryPrompt = "query";
inline constexpr std::string_view kDocumentPrompt = "document";

// What is put before a text, as the model was trained to have it.
struct Prompt {
  std::string text;  // often empty
  int tokens = 0;    // that a text has with it beside its own: special ones and the prompt's
};

// What a loaded model is; from its manifest.
struct ModelInfo {
  std::string name;        // folder name under the model root; with @bf16 or @int8 behind it
                           // in that precision, where it is served
  int dimension = 0;       // floats in a vector; 0 of a reranker
  int max_tokens = 0;      // window, special tokens included
  std::string pooling;     // "mean" or "cls"; empty of a reranker
  bool normalize = false;  // vectors have length 1
  std::string precision;   // "fp32", "bf16", "int8"
  // SHA-256, lower-case hex, of manifest.json; in another precision than fp32, of that and of its
  // name.
  std::string hash;
  // By name: kQueryPrompt, kDocumentPrompt and the model's others, 64 at most; none of a reranker.
  std::map<std::string, Prompt, std::less<>> prompts;
  // Fewer dimensions that its vectors may be cut to (Kusupati et al. 2022), ascending; often none.
  std::vector<int> matryoshka;
  Task task = Task::kEmbed;
  // Of a reranker: what makes a score of its logit, "sigmoid" (scores are above 0 and below 1, but
  // for rounding) or "identity".
  std::string activation;
};

enum class InputType { kDocument, kQuery };
enum class Truncate { kAuto, kError };

// Each lane has threads of its own, those of the bulk lane at a low priority.
enum class Lane { kQuery, kBulk };

// Where the time of a call went, by the wall clock. Texts found in the cache count as zero.
struct EmbedTimings {
  absl::Duration tokenize;  // on the caller's thread
  absl::Duration queue;     // from then until the last of its texts began to be embedded
  absl::Duration compute;   // of the batches its texts were in, each once and whole, summed
};

struct EmbedOptions {
  InputType input_type = InputType::kDocument;
  std::string prompt;  // name of one of the model's; empty: that of input_type
  Truncate truncate = Truncate::kAuto;
  Lane lane = Lane::kBulk;
  // Keeps so many values of each vector, the first ones, and gives it length 1 again; 0, or as many
  // as it has: all.
  int dimensions = 0;
  absl::Time deadline = absl::InfiniteFuture();
  std::stop_token stop;             // asks to give up: the caller has gone
  EmbedTimings* timings = nullptr;  // where not null, filled by an Embed that succeeds
};

// What became of one text.
struct EmbedResult {
  absl::Status status;        // INVALID_ARGUMENT: not UTF-8, or too long under Truncate::kError
  std::vector<float> vector;  // `dimension` floats, empty unless status is OK
  int token_count = 0;        // prompt and special tokens included, before any cut
  bool truncated = false;
};

struct RerankOptions {
  Truncate truncate = Truncate::kAuto;
  Lane lane = Lane::kQuery;
  absl::Time deadline = absl::InfiniteFuture();
  // When to be content with what is scored by then. Texts are scored in their order, about so that
  // those before others are done first.
  absl::Time enough = absl::InfiniteFuture();
  std::stop_token stop;
  EmbedTimings* timings = nullptr;  // as in EmbedOptions
};

// What became of one text.
struct RerankResult {
  // INVALID_ARGUMENT as in EmbedResult; DEADLINE_EXCEEDED: `enough` came before it.
  absl::Status status;
  float score = 0;      // higher is more relevant
  int token_count = 0;  // of query, text and special tokens, before any cut; 0 if not looked at
  bool truncated = false;
};

struct EncoderOptions {
  std::string model_root;  // every folder in it with a manifest.json is a model
  // "auto": BERT encoders by the fused executor, which serves them as NAME@bf16 and NAME@int8 too,
  // or on CUDA in packed batches, others by TorchScript; "torchscript"; or "fused", which refuses
  // others.
  std::string executor = "auto";
  // "cpu", or "cuda" for fp32 and bf16, where LibTorch has it (Debian's does not) and finds a
  // device; else `warn` is told and the CPU taken.
  std::string device = "cpu";
  // Batches of the bulk lane that run at once, and as many of the query lane, each on a thread of
  // its own; 0: one per core, on CUDA at most 2.
  int executors = 0;
  int batch_tokens = 0;            // padded tokens in one batch, at most; 0: 1,024, on CUDA 16,384
  int64_t queue_tokens = 4 << 20;  // tokens that may wait; beyond it RESOURCE_EXHAUSTED. 1/8 of it
                                   // is the query lane's, so that bulk work cannot shut queries out
  int64_t cache_bytes = 32 << 20;  // of texts of the query lane and their vectors; 0: none is kept
  // Called with facts worth a log line (model loaded and on what); may be null.
  std::function<void(std::string_view)> log;
  // Called once for every folder that is refused, with the reason; null: `log` is.
  std::function<void(std::string_view)> warn;
};

// Counters since start, and gauges of now. A pair that is scored counts as a text.
struct EncoderStats {
  int64_t queued_tokens = 0;   // gauge
  int64_t queue_capacity = 0;  // tokens
  int executors = 0;
  int64_t texts = 0;          // embedded
  int64_t tokens = 0;         // embedded, without padding
  int64_t padded_tokens = 0;  // embedded, with padding
  int64_t batches = 0;
  double tokenize_seconds = 0;  // CPU time of callers
  double compute_seconds = 0;   // wall time of executors, summed
  int64_t rejected = 0;         // calls refused because the queue was full
  int64_t cache_hits = 0;       // texts of the query lane whose vectors were there
  int64_t cache_misses = 0;
  int64_t cache_bytes = 0;  // gauge
};

// Thread safety: all methods are safe from any thread.
class Encoder {
 public:
  virtual ~Encoder() = default;

  // The loaded models in order of name.
  virtual std::vector<ModelInfo> Models() const = 0;

  // NOT_FOUND, listing the models there are.
  virtual absl::StatusOr<ModelInfo> Model(std::string_view name) const = 0;

  // Embeds `texts` with the model `model`; blocks until all are done. Same length and order as
  // `texts`; a text's own fault is in its result, and the others are embedded all the same.
  // The vector of a text does not depend on what else is in the call or the queue (fp32: within
  // 1e-5). NOT_FOUND: unknown model. INVALID_ARGUMENT: a reranker, or it has no such prompt.
  // RESOURCE_EXHAUSTED: the queue is full; nothing was embedded. DEADLINE_EXCEEDED, CANCELLED:
  // given up before the model ran on all of them.
  virtual absl::StatusOr<std::vector<EmbedResult>> Embed(std::string_view model,
                                                         std::span<const std::string_view> texts,
                                                         const EmbedOptions& options) = 0;

  // Scores how relevant each of `texts` is to `query` with the reranker `model`; blocks until all
  // are done, or `enough`. Same length and order as `texts`. A pair too long for the model's window
  // is cut: the longer of the two down to the other, then both. A score does not depend on the
  // other texts (fp32: logits within 1e-5). Errors as Embed; INVALID_ARGUMENT: no reranker, or
  // `query` is not UTF-8.
  virtual absl::StatusOr<std::vector<RerankResult>> Rerank(std::string_view model,
                                                           std::string_view query,
                                                           std::span<const std::string_view> texts,
                                                           const RerankOptions& options) = 0;

  // Tokens of `text` by the tokenizer of `model`, whatever the model's window, without special
  // tokens and prompt; bytes that are not UTF-8 count as U+FFFD. On the caller's thread; waits for
  // nothing. NOT_FOUND as Model.
  virtual absl::StatusOr<int> CountTokens(std::string_view model, std::string_view text) const = 0;

  virtual EncoderStats Stats() const = 0;

  // Refuses new calls with UNAVAILABLE and waits for those under way. Idempotent. Blocks.
  virtual void Shutdown() = 0;
};

// The model's prompt of that name. INVALID_ARGUMENT: it has none, with the names it has.
absl::StatusOr<Prompt> FindPrompt(const ModelInfo& model, std::string_view name);

// Loads every model folder under options.model_root: checks the SHA-256 of every file against its
// manifest and runs its golden sentences or pairs. A folder that fails is left out and `warn` told
// why; the error is returned only when the root cannot be read or options are out of range. Blocks
// for seconds.
absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const EncoderOptions& options);

}  // namespace vecino::encoder
