#include "server/rpc/rerank_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/types.h"
#include "server/rpc/openai_json.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;

constexpr size_t kShownBytes = 100;  // of what a caller sent, in messages
constexpr std::string_view kDocument = "a string, or an object with `text`";

// Event by event, as the body of POST /v1/embeddings is read.
class BodyReader final : public nlohmann::json_sax<json> {
 public:
  absl::Status status;
  RerankBody asked;

  bool null() override { return Value("null", nullptr); }
  bool boolean(bool value) override {
    if (place_ != Place::kObject || key_ != "return_documents") return Value("a boolean", nullptr);
    asked.return_documents = value;
    return true;
  }
  bool number_integer(int64_t value) override { return Number(value); }
  bool number_unsigned(uint64_t value) override {
    return Number(static_cast<int64_t>(std::min<uint64_t>(value, kTooMany)));
  }
  bool number_float(double, const std::string&) override { return Number(0); }
  bool string(std::string& value) override { return Value("a string", &value); }
  bool binary(json::binary_t&) override { return Value("binary", nullptr); }

  bool start_object(size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kObject;
      return true;
    }
    if (place_ != Place::kDocuments) return Value("an object", nullptr);
    place_ = Place::kDocument;
    has_text_ = false;
    return true;
  }
  bool end_object() override {
    if (place_ != Place::kDocument) return true;
    if (!has_text_) return Fail("has no `text`");
    place_ = Place::kDocuments;
    return true;
  }
  bool key(std::string& key) override {
    if (place_ == Place::kDocument) {
      if (key == "text" && !has_text_) return true;
      return Fail(
          Concat("has `", Printable(key, kShownBytes), "`; a document is ", kDocument, " alone"));
    }
    key_ = std::move(key);
    return seen_.insert(key_).second || Fail("stands twice");
  }
  bool start_array(size_t) override {
    if (place_ != Place::kObject || key_ != "documents") return Value("an array", nullptr);
    place_ = Place::kDocuments;
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
    if (!seen_.contains("query")) return engine::InvalidField("query", "is missing");
    if (!seen_.contains("documents")) {
      return engine::InvalidField("documents", "is missing; it is an array of strings");
    }
    return absl::OkStatus();
  }

 private:
  enum class Place { kOutside, kObject, kDocuments, kDocument };
  static constexpr int64_t kTooMany = std::numeric_limits<int64_t>::max();

  bool Fail(std::string_view what) {
    std::string field = Printable(key_, kShownBytes);
    if (place_ == Place::kDocuments || place_ == Place::kDocument) {
      field = Concat("documents[",
                     asked.request.texts_size() - (place_ == Place::kDocument && has_text_ ? 1 : 0),
                     "]");
    }
    status = engine::InvalidField(field, what);
    return false;
  }
  bool WrongType(std::string_view kind, std::string_view wanted) {
    return Fail(Concat("is ", kind, "; it must be ", wanted));
  }

  bool Number(int64_t value) {
    if (place_ != Place::kObject || key_ != "top_n") return Value("a number", nullptr);
    if (value < 1) return Fail("must be a whole number of 1 or more");
    asked.top_n = static_cast<int>(std::min<int64_t>(value, engine::Limits::kMaxBatch));
    return true;
  }

  // What is no object or array where one may be; value: null unless it is a string.
  bool Value(std::string_view kind, std::string* value) {
    if (place_ == Place::kOutside) {
      status = absl::InvalidArgumentError(
          Concat("the body is ", kind, "; it must be an object with `query` and `documents`"));
      return false;
    }
    if (place_ != Place::kObject) return Document(kind, value);
    if (key_ == "query") {
      if (value == nullptr) return WrongType(kind, "a string");
      asked.request.set_query(std::move(*value));
      return true;
    }
    if (key_ == "documents") return WrongType(kind, "an array of strings");
    const bool null = kind == "null";
    if (key_ == "top_n") return null || WrongType(kind, "a whole number");
    if (key_ == "return_documents") return null || WrongType(kind, "true or false");
    if (key_ == "model") {
      if (value == nullptr) return null || WrongType(kind, "a string");
      const bool bare = !value->empty() && !value->starts_with("models/");
      asked.request.set_model(bare ? "models/" + *value : *value);
      return true;
    }
    if (key_ == "truncate") {
      if (null) return true;
      const bool error = value != nullptr && *value == "error";
      if (!error && (value == nullptr || *value != "auto")) {
        return Fail("must be \"auto\" or \"error\"");
      }
      asked.request.set_truncate(error ? v1::TRUNCATE_MODE_ERROR : v1::TRUNCATE_MODE_AUTO);
      return true;
    }
    return Fail(
        "is not known; known are query, documents, model, top_n, return_documents and truncate");
  }

  bool Document(std::string_view kind, std::string* value) {
    if (value == nullptr) {
      return WrongType(kind, place_ == Place::kDocument ? "a string in `text`" : kDocument);
    }
    if (asked.request.texts_size() == engine::Limits::kMaxBatch) {
      place_ = Place::kObject;  // it is the array that is at fault
      return Fail(Concat("has more than ", engine::Limits::kMaxBatch,
                         " texts; split it into several requests"));
    }
    asked.request.add_texts(std::move(*value));
    has_text_ = place_ == Place::kDocument;
    return true;
  }

  Place place_ = Place::kOutside;
  std::string key_;
  std::set<std::string> seen_;
  bool has_text_ = false;  // of the object in `documents` that is read
};

std::string Quoted(std::string_view text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<RerankBody> ReadRerankBody(std::string_view body) {
  BodyReader reader;
  json::sax_parse(body, &reader);
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return std::move(reader.asked);
}

std::string WriteRerankReply(const RerankBody& asked, const v1::RerankTextsResponse& response) {
  const auto score = [&](int i) {
    const float x = response.results(i).score();
    return std::isfinite(x) ? x : std::numeric_limits<float>::lowest();
  };
  std::vector<int> order(static_cast<size_t>(response.results_size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return score(a) > score(b); });
  int64_t tokens = 0;
  for (const v1::RerankedText& one : response.results()) tokens += one.token_count();
  if (asked.top_n.has_value() && order.size() > static_cast<size_t>(*asked.top_n)) {
    order.resize(static_cast<size_t>(*asked.top_n));
  }
  std::string_view model = response.model();
  if (model.starts_with("models/")) model.remove_prefix(std::string_view("models/").size());
  std::string out = absl::StrCat("{\"model\":", Quoted(model), ",\"results\":[");
  char digits[32];
  for (size_t i = 0; i < order.size(); ++i) {
    const char* const end = std::to_chars(digits, digits + sizeof digits, score(order[i])).ptr;
    absl::StrAppend(&out, i == 0 ? "" : ",", "{\"index\":", order[i], ",\"relevance_score\":",
                    absl::string_view(digits, static_cast<size_t>(end - digits)));
    if (asked.return_documents) {
      absl::StrAppend(&out, ",\"document\":{\"text\":", Quoted(asked.request.texts(order[i])), "}");
    }
    out.push_back('}');
  }
  absl::StrAppend(&out, "],\"usage\":{\"prompt_tokens\":", tokens, ",\"total_tokens\":", tokens,
                  "}}");
  return out;
}

absl::Status AsRerankField(const absl::Status& status) {
  return MoveField(status, "texts", "documents");
}

}  // namespace vecino::rpc
