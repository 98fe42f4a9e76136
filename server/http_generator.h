// A generator behind OpenAI's chat completions API over HTTP: llama.cpp's server, vLLM, Ollama,
// OpenAI.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/generator_url.h"
#include "server/metrics.h"
#include "server/rpc/generator.h"

namespace vecino {

// Times may be infinite.
struct HttpGeneratorOptions {
  GeneratorUrl url;
  std::string model;  // to ask for; empty: the server's own choice
  std::string key;    // sent as a bearer token; empty: none
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration first_token_timeout = absl::Minutes(2);  // from the call on
  absl::Duration token_timeout = absl::Seconds(30);  // from one event of the answer to the next
  absl::Duration timeout = absl::Minutes(10);        // of the whole answer
  int max_tokens = 1024;                             // of answers whose callers do not say
  int max_calls = 8;                                 // at once, a thread each
};

// Each answer is one `POST {url}/v1/chat/completions` on a connection of its own, on one of
// max_calls threads. Giving an answer up closes its connection within milliseconds, also while it
// is being made; only the resolution of a name cannot be cut short, and keeps its thread until it
// is done.
//
// How an answer ends badly (GeneratorEnd::status): UNAVAILABLE: not reached, broke off, 5xx, or an
// error in the stream; DEADLINE_EXCEEDED: one of the times is over; RESOURCE_EXHAUSTED: 429;
// PERMISSION_DENIED: 401, 403; FAILED_PRECONDITION: any other status of HTTP; UNKNOWN: what came is
// no stream of chat completions. Messages hold the URL, never the key.
//
// Thread safety: all methods are safe from any thread. Destroying it gives up what is under way and
// blocks until its threads have ended; no answer's sink is told anything after.
class HttpGenerator : public rpc::Generator {
 public:
  // Counts into `metrics`, which must outlive it; call metrics->RemoveCallbacks() before it is
  // destroyed.
  static std::unique_ptr<HttpGenerator> Create(HttpGeneratorOptions options, Metrics* metrics);
};

}  // namespace vecino
