// Token ids to vectors, or to logits: what runs a model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace vecino::encoder {

// The token ids of a text, or of a pair of texts for a cross-encoder, special ones included.
struct TokenRow : std::span<const int32_t> {
  TokenRow(std::span<const int32_t> ids, int second_at = 0)  // NOLINT: implicit by design
      : std::span<const int32_t>(ids), second(second_at) {}
  TokenRow(const std::vector<int32_t>& ids, int second_at = 0)  // NOLINT
      : std::span<const int32_t>(ids), second(second_at) {}

  int second;  // of a pair, the place of the first id of its second text; 0: a text alone
};

// Thread safety: none; one executor belongs to one thread.
class Executor {
 public:
  virtual ~Executor() = default;

  // Embeds a batch. rows: B >= 1 rows, each of 1 to max_tokens ids of the model's vocabulary.
  // vectors: room for B x dimension floats, row-major, in the order of `rows`. A cross-encoder's
  // rows are pairs, and it gives one float for each: the logit of their relevance.
  // Computes on the calling thread and blocks until done. Never throws.
  // RESOURCE_EXHAUSTED: no memory on its device. INTERNAL: the model failed. `vectors` then holds
  // nothing of use, and the executor stays usable.
  virtual absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) = 0;
};

// OK when an executor can run `rows`: at least one, each of 1 to max_tokens ids from 0 to
// vocab_size − 1 (one beyond would read outside of the embedding table), pairs where pairs are
// wanted, with room for rows × dimension floats. Else INTERNAL: whoever cut the batch is wrong.
struct RowLimits {
  int dimension = 0, max_tokens = 0, vocab_size = 0;
  bool pairs = false;
};
absl::Status CheckRows(std::span<const TokenRow> rows, std::span<float> vectors,
                       const RowLimits& limits);

// A model in memory, from which executors that share its weights are made.
// Thread safety: all methods are safe from any thread. It outlives its executors.
class ExecutorFactory {
 public:
  virtual ~ExecutorFactory() = default;

  // urgent: on a device that several share, what it runs goes before what others run.
  std::unique_ptr<Executor> MakeExecutor(bool urgent = false) const { return Make(urgent); }

  // Whether its executors pad the rows of a batch to the longest, which costs as much as tokens.
  virtual bool pads() const { return false; }

 private:
  virtual std::unique_ptr<Executor> Make(bool urgent) const = 0;
};

}  // namespace vecino::encoder
