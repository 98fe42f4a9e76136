// Reads the body of POST /v1/embeddings, event by event: a tree of 16 MiB of `[[[[` would take a
// gigabyte before it could be refused.
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "server/engine/types.h"
#include "server/rpc/openai_json.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;

constexpr size_t kShownBytes = 100;  // of what a caller sent, in messages
constexpr std::string_view kNoTokenIds =
    "this server takes texts (a string or an array of strings), not token ids";

class RequestReader final : public nlohmann::json_sax<json> {
 public:
  absl::Status status;
  OpenAiEmbeddings asked;

  bool null() override { return Value("null", nullptr); }
  bool boolean(bool) override { return Value("a boolean", nullptr); }
  bool number_integer(int64_t value) override { return Number(value, true); }
  bool number_unsigned(uint64_t value) override {
    const bool fits = value <= std::numeric_limits<int32_t>::max();
    return Number(fits ? static_cast<int64_t>(value) : std::numeric_limits<int64_t>::max(), true);
  }
  bool number_float(double, const std::string&) override { return Number(0, false); }
  bool string(std::string& value) override { return Value("a string", &value); }
  bool binary(json::binary_t&) override { return Value("binary", nullptr); }

  bool start_object(size_t) override {
    if (place_ != Place::kOutside) return Value("an object", nullptr);
    place_ = Place::kObject;
    return true;
  }
  bool end_object() override { return true; }
  bool key(std::string& key) override {
    key_ = std::move(key);
    if (!seen_.insert(key_).second) return Fail("stands twice");
    return true;
  }
  bool start_array(size_t) override {
    if (place_ != Place::kObject || key_ != "input") return Value("an array", nullptr);
    place_ = Place::kInput;
    return true;
  }
  bool end_array() override {
    place_ = Place::kObject;
    return true;
  }
  bool parse_error(size_t at, const std::string&, const json::exception& error) override {
    status = NotJson(at, error.what());
    return false;
  }

  absl::Status Finish() const {
    if (!status.ok()) return status;
    if (!seen_.contains("input")) {
      return engine::InvalidField("input", "is missing; it is a string or an array of strings");
    }
    return absl::OkStatus();
  }

 private:
  enum class Place { kOutside, kObject, kInput };

  bool Fail(std::string_view what) {
    std::string field = Printable(key_, kShownBytes);
    if (place_ == Place::kInput) field = Concat("input[", asked.request.texts_size(), "]");
    status = engine::InvalidField(field, what);
    return false;
  }
  bool WrongType(std::string_view kind, std::string_view wanted) {
    return Fail(Concat("is ", kind, "; it must be ", wanted));
  }
  // One of two words; null stands for the first.
  bool Choose(std::string_view kind, const std::string* value, std::string_view first,
              std::string_view second, bool* is_second) {
    const std::string wanted = Concat("\"", first, "\" or \"", second, "\"");
    if (value == nullptr) return kind == "null" || WrongType(kind, wanted);
    *is_second = *value == second;
    if (*is_second || *value == first) return true;
    return WrongType(Concat("\"", Printable(*value, kShownBytes), "\""), wanted);
  }

  bool Number(int64_t value, bool whole) {
    if (place_ != Place::kObject || key_ != "dimensions") return Value("a number", nullptr);
    if (!whole || value < 0 || value > std::numeric_limits<int32_t>::max()) {
      return Fail("must be a whole number: 0 for all, or up to the dimension of the model");
    }
    asked.request.set_dimensions(static_cast<int32_t>(value));
    return true;
  }

  // Anything but an object or array where one may be; value: null unless it is a string.
  bool Value(std::string_view kind, std::string* value) {
    if (place_ == Place::kOutside) {
      status = absl::InvalidArgumentError(
          Concat("the body is ", kind, "; it must be an object with `input` and `model`"));
      return false;
    }
    if (place_ == Place::kInput) return Text(kind, value);
    if (key_ == "input") {
      asked.one = true;
      if (value == nullptr) {
        return kind == "a number" ? Fail(kNoTokenIds)
                                  : WrongType(kind, "a string or an array of strings");
      }
      asked.request.add_texts(std::move(*value));
      return true;
    }
    if (key_ == "model") {
      if (value == nullptr) return kind == "null" || WrongType(kind, "a string");
      const bool bare = !value->empty() && !value->starts_with("models/");
      asked.request.set_model(bare ? "models/" + *value : *value);
      return true;
    }
    if (key_ == "encoding_format") return Choose(kind, value, "float", "base64", &asked.base64);
    if (key_ == "dimensions") return kind == "null" || WrongType(kind, "a whole number");
    if (key_ == "user") {
      return value != nullptr || kind == "null" || WrongType(kind, "a string");
    }
    if (key_ == "input_type") {
      bool query = false;
      if (!Choose(kind, value, "document", "query", &query)) return false;
      asked.request.set_input_type(query ? v1::INPUT_TYPE_QUERY : v1::INPUT_TYPE_DOCUMENT);
      return true;
    }
    if (key_ == "truncate") {
      bool error = false;
      if (!Choose(kind, value, "auto", "error", &error)) return false;
      asked.request.set_truncate(error ? v1::TRUNCATE_MODE_ERROR : v1::TRUNCATE_MODE_AUTO);
      return true;
    }
    return Fail(
        "is not known; known are input, model, encoding_format, dimensions, user, input_type and "
        "truncate");
  }

  bool Text(std::string_view kind, std::string* value) {
    if (value == nullptr) {
      return kind == "a number" || kind == "an array" ? Fail(kNoTokenIds)
                                                      : WrongType(kind, "a string");
    }
    if (asked.request.texts_size() == engine::Limits::kMaxBatch) {
      place_ = Place::kObject;  // it is the array that is at fault
      return Fail(Concat("has more than ", engine::Limits::kMaxBatch,
                         " texts; split it into several requests"));
    }
    asked.request.add_texts(std::move(*value));
    return true;
  }

  Place place_ = Place::kOutside;
  std::string key_;
  std::set<std::string> seen_;
};

}  // namespace

absl::Status NotJson(size_t at, std::string_view why) {
  // Its own prefix is "[json.exception.parse_error.101] ".
  if (const size_t end = why.find("] "); end != why.npos) why.remove_prefix(end + 2);
  return absl::InvalidArgumentError(Concat("the body is not JSON, at byte ", at, ": ", why));
}

absl::StatusOr<OpenAiEmbeddings> ReadOpenAiEmbeddings(std::string_view body) {
  RequestReader reader;
  json::sax_parse(body, &reader);
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return std::move(reader.asked);
}

}  // namespace vecino::rpc
