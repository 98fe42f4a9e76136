#include <utility>

#include "client/cli/json_values.h"
#include "client/cli/record_reader.h"
#include "client/cli/time_values.h"

namespace vecino::cli {
namespace {

// Fills `document` from one line's object; returns what is wrong, or nothing.
std::string ToDocument(const Json& json, Document* document) {
  if (!json.is_object()) return std::string("a JSON ") + json.type_name() + ", not an object";
  std::string error;
  bool has_id = false;
  for (const auto& [key, value] : json.items()) {
    if (key == "id") {
      has_id = true;
      if (value.is_string()) {
        document->id = value.get<std::string>();
      } else if (value.is_number_integer()) {
        document->id = value.dump();
      } else {
        return std::string("id is ") + value.type_name() + ", not a string or an integer";
      }
    } else if (key == "text") {
      if (value.is_null()) continue;
      if (!value.is_string()) return std::string("text is ") + value.type_name() + ", not a string";
      document->text = value.get<std::string>();
    } else if (key == "metadata") {
      if (value.is_null()) continue;
      if (!value.is_object()) {
        return std::string("metadata is ") + value.type_name() + ", not an object";
      }
      if (!CheckNumbers(value, "metadata", &error)) return error;
      document->metadata_json = OneLine(value);
    } else if (key == "vector") {
      if (value.is_null()) continue;
      if (!ToVector(value, &document->vector, &error)) return error;
    } else if (key == "expire_time") {
      if (value.is_null()) continue;
      if (!value.is_string()) {
        return std::string("expire_time is ") + value.type_name() + ", not a string";
      }
      std::chrono::system_clock::time_point time;
      if (!ParseTime(value.get<std::string>(), &time, &error)) return "expire_time: " + error;
      document->expire_time = time;
    } else if (key == "ttl") {
      if (value.is_null()) continue;
      if (!value.is_string() && !value.is_number()) {
        return std::string("ttl is ") + value.type_name() + ", not a string or a number of seconds";
      }
      const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
      std::chrono::microseconds ttl{0};
      if (!ParseDuration(text, &ttl, &error)) return "ttl: " + error;
      document->ttl = ttl;
    } else if (key != "version" && key != "create_time" && key != "update_time" && key != "etag") {
      return "unknown key '" + key +
             "'; known are id, text, metadata, vector, expire_time and ttl (put others into "
             "metadata)";
    }
  }
  if (!has_id) return "no id";
  return {};
}

class JsonlReader : public RecordReader {
 public:
  explicit JsonlReader(std::unique_ptr<Input> input) : input_(std::move(input)) {}

  bool Next(Record* record) override {
    for (;;) {
      const Input::Outcome outcome = input_->ReadLine(kLongestRecord, &line_);
      if (outcome == Input::Outcome::kEnd) return false;
      *record = Record{.line = ++number_};
      if (outcome == Input::Outcome::kTooLong) {
        record->error = "longer than " + Bytes(kLongestRecord);
        return true;
      }
      std::string_view text = line_;
      if (number_ == 1 && text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
      if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      Json json;
      if (ParseJson(text, &json, &record->error)) {
        record->error = ToDocument(json, &record->document);
      }
      return true;
    }
  }

  Status status() const override { return input_->status(); }

 private:
  const std::unique_ptr<Input> input_;
  std::string line_;
  int64_t number_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> NewJsonlReader(std::unique_ptr<Input> input) {
  return std::make_unique<JsonlReader>(std::move(input));
}

}  // namespace vecino::cli
