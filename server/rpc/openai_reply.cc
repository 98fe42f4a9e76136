// Writes OpenAI's replies and errors.
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/engine/types.h"
#include "server/rpc/openai_json.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = 1000;
constexpr int kRetryAfterSeconds = 1;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Without `models/`, as OpenAI's models are named.
std::string ModelId(std::string_view name) {
  constexpr std::string_view kPrefix = "models/";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  return std::string(name);
}

void AppendNumbers(std::span<const float> vector, std::string* out) {
  char separator = '[';
  char digits[32];
  for (const float x : vector) {
    out->push_back(separator);
    if (std::isfinite(x)) {
      out->append(digits, std::to_chars(digits, digits + sizeof digits, x).ptr);
    } else {
      out->append("null");  // JSON has no word for it
    }
    separator = ',';
  }
  out->append(vector.empty() ? "[]" : "]");
}

void AppendBase64(std::span<const float> vector, std::string* out) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(vector.size_bytes(), '\0');
  std::memcpy(bytes.data(), vector.data(), bytes.size());
  absl::StrAppend(out, "\"", absl::Base64Escape(bytes), "\"");
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

// param, code: null or a string.
HttpReply Error(int status, std::string_view message, const json& param, const json& code) {
  const char* type = status == 429  ? "rate_limit_error"
                     : status < 500 ? "invalid_request_error"
                                    : "server_error";
  return {.status = status,
          .body = Dump({{"error",
                         {{"message", Printable(message, kMaxMessageBytes)},
                          {"type", type},
                          {"param", param},
                          {"code", code}}}}),
          .retry_after_seconds = status == 429 || status == 503 ? kRetryAfterSeconds : 0};
}

}  // namespace

std::string WriteOpenAiEmbeddings(const v1::EmbedTextResponse& response, bool base64) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  int64_t tokens = 0;
  for (int i = 0; i < response.embeddings_size(); ++i) {
    const auto& values = response.embeddings(i).vector().values();
    const std::span<const float> vector(values.data(), static_cast<size_t>(values.size()));
    absl::StrAppend(&out, i == 0 ? "" : ",", "{\"object\":\"embedding\",\"index\":", i,
                    ",\"embedding\":");
    if (base64) {
      AppendBase64(vector, &out);
    } else {
      AppendNumbers(vector, &out);
    }
    out.push_back('}');
    tokens += response.embeddings(i).token_count();
  }
  absl::StrAppend(&out, "],\"model\":", Dump(ModelId(response.model())),
                  ",\"usage\":{\"prompt_tokens\":", tokens, ",\"total_tokens\":", tokens, "}}");
  return out;
}

std::string WriteOpenAiModels(const v1::ListModelsResponse& response) {
  json data = json::array();
  for (const v1::Model& model : response.models()) {
    // When a model was made is not known.
    data.push_back({{"id", ModelId(model.name())},
                    {"object", "model"},
                    {"created", 0},
                    {"owned_by", "vecino"}});
  }
  return Dump({{"object", "list"}, {"data", data}});
}

HttpReply OpenAiError(int status, std::string_view message) {
  return Error(status, message, nullptr,
               status == 429 ? json("rate_limit_exceeded") : json(nullptr));
}

HttpReply OpenAiError(const absl::Status& status) {
  const int http = HttpStatusOf(status.code());
  const std::string_view message = ToStd(status.message());
  // The model is all that can be missing.
  if (http == 404) return Error(http, message, "model", "model_not_found");
  if (http == 429) return OpenAiError(http, message);
  const std::string field = engine::FieldOf(status);
  return Error(http, message, field.empty() ? json(nullptr) : json(field), nullptr);
}

absl::Status AsOpenAiField(const absl::Status& status, const OpenAiEmbeddings& asked) {
  const bool of_one = asked.one && engine::FieldOf(status) == "texts[0]";
  return MoveField(status, of_one ? "texts[0]" : "texts", "input");
}

}  // namespace vecino::rpc
