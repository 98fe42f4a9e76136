#include "server/chat_completion.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vecino {
namespace {

using Json = nlohmann::json;

constexpr size_t kShownBytes = 200;  // of what is no chat completion

// The member if it is a string, else empty.
std::string StringAt(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

// {"error": {"message": …}}, {"error": …}, {"message": …}, {"detail": …}; empty when it is none.
std::string MessageOf(const Json& json) {
  if (!json.is_object()) return "";
  const auto error = json.find("error");
  if (error != json.end() && error->is_string()) return error->get<std::string>();
  if (error != json.end() && error->is_object()) return StringAt(*error, "message");
  if (std::string message = StringAt(json, "message"); !message.empty()) return message;
  return StringAt(json, "detail");
}

absl::Status NoChunk(const char* what, std::string_view data) {
  return absl::UnknownError(absl::StrCat(what, ": ", std::string(data.substr(0, kShownBytes)),
                                         data.size() > kShownBytes ? "..." : ""));
}

}  // namespace

std::string ChatRequest(const std::string& model, const std::string& prompt, int max_tokens,
                        std::optional<float> temperature) {
  Json json = {{"messages", {{{"role", "user"}, {"content", prompt}}}}, {"stream", true}};
  if (!model.empty()) json["model"] = model;
  if (max_tokens > 0) json["max_tokens"] = max_tokens;
  // In the digits it was asked for with: 0.2, and not what a float of it is.
  if (temperature.has_value()) json["temperature"] = std::round(double{*temperature} * 1e6) / 1e6;
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

absl::StatusOr<ChatChunk> ParseChatChunk(std::string_view data) {
  const Json json = Json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return NoChunk("an event is not JSON", data);
  if (!json.is_object()) return NoChunk("an event is no JSON object", data);
  if (const auto error = json.find("error"); error != json.end() && !error->is_null()) {
    const std::string message = MessageOf(json);
    return absl::UnavailableError(message.empty() ? std::string("it said nothing more") : message);
  }
  const auto choices = json.find("choices");
  if (choices == json.end() || !choices->is_array()) {
    return NoChunk("an event has no array `choices`", data);
  }
  ChatChunk chunk;
  chunk.model = StringAt(json, "model");
  if (choices->empty()) return chunk;  // the count of tokens, from servers that send it
  const Json& choice = choices->front();
  if (!choice.is_object()) return NoChunk("an event's choice is no JSON object", data);
  chunk.finish_reason = StringAt(choice, "finish_reason");
  const auto delta = choice.find("delta");
  if (delta != choice.end() && delta->is_object()) {
    chunk.text = StringAt(*delta, "content");
  } else if (chunk.finish_reason.empty()) {
    return NoChunk("an event's choice has no `delta`", data);
  }
  return chunk;
}

std::string ChatErrorMessage(std::string_view body) {
  const std::string message = MessageOf(Json::parse(body, nullptr, /*allow_exceptions=*/false));
  return message.empty() ? std::string(body.substr(0, kShownBytes)) : message;
}

}  // namespace vecino
