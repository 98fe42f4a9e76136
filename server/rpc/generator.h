// What answers prompts in words: a language model that runs elsewhere.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::rpc {

struct GeneratorRequest {
  std::string prompt;  // UTF-8
  int max_tokens = 0;  // of the answer; 0: the generator's own limit
  std::optional<float> temperature;
};

// How an answer ended.
struct GeneratorEnd {
  absl::Status status;        // why there is no answer, or only what has come
  std::string finish_reason;  // in the generator's words, such as "stop" or "length"; may be empty
  std::string model;          // that answered; may be empty
};

// Takes one answer as it is made. Called by one thread at a time, not the one that called Start.
// Neither method blocks nor throws.
class GeneratorSink {
 public:
  virtual ~GeneratorSink() = default;
  // The next piece, UTF-8, not empty. False: no more is wanted, and End says nothing either.
  virtual bool Text(std::string_view piece) = 0;
  // After the last piece, once.
  virtual void End(GeneratorEnd end) = 0;
};

// An answer under way. Destroying it gives the answer up: the generator is told at once, and nobody
// waits for it; the sink may still hear what was on its way.
class Generation {
 public:
  virtual ~Generation() = default;
};

// Thread safety: all methods are safe from any thread.
class Generator {
 public:
  virtual ~Generator() = default;
  // Has the prompt answered. RESOURCE_EXHAUSTED when as many answers are under way as may be. Does
  // not block.
  virtual absl::StatusOr<std::unique_ptr<Generation>> Start(
      GeneratorRequest request, std::shared_ptr<GeneratorSink> sink) = 0;
};

}  // namespace vecino::rpc
