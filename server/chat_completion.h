// OpenAI's chat completions: the request, the chunks of a streamed reply, and errors.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino {

// The body of a request for a streamed answer to one message of the user. model: empty, it is left
// out; max_tokens 0, too. Never throws; a prompt that is not UTF-8 is repaired.
std::string ChatRequest(const std::string& model, const std::string& prompt, int max_tokens,
                        std::optional<float> temperature);

// What one event of the stream says; each may be empty.
struct ChatChunk {
  std::string text;
  std::string finish_reason;
  std::string model;
};

// The data of an event, other than `[DONE]`. UNKNOWN when it is no chat completion chunk;
// UNAVAILABLE with its message when it is an error. Never throws.
absl::StatusOr<ChatChunk> ParseChatChunk(std::string_view data);

// The message in the body of an error reply, in one of the forms that servers use; else its first
// characters. Never throws.
std::string ChatErrorMessage(std::string_view body);

}  // namespace vecino
