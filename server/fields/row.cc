#include "server/fields/row.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace vecino::fields {
namespace {

// Turns the reader's events into entries; no tree is built.
class Reader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Reader(Row* row) : row_(*row) {}

  const std::string& error() const { return error_; }

  bool null() override { return Value(ValueType::kNull) != nullptr; }
  bool boolean(bool value) override {
    FieldValue* entry = Value(ValueType::kBool);
    if (entry != nullptr) entry->boolean = value;
    return entry != nullptr;
  }
  bool number_integer(number_integer_t value) override {
    return Number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Number(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return Number(value); }
  bool string(string_t& value) override {
    FieldValue* entry = Value(ValueType::kString);
    if (entry != nullptr) entry->text = std::move(value);
    return entry != nullptr;
  }
  bool binary(binary_t&) override { return Fail("has a binary value"); }

  bool start_object(std::size_t) override {
    if (lengths_.empty()) {
      lengths_.push_back(0);
      return true;
    }
    if (Value(ValueType::kObject) == nullptr) return false;
    lengths_.push_back(path_.size());
    return true;
  }
  bool key(string_t& key) override {
    path_.resize(lengths_.back());
    if (!path_.empty()) path_.push_back('.');
    path_ += PathPart(key);
    return true;
  }
  bool end_object() override {
    path_.resize(lengths_.back());
    lengths_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    if (lengths_.empty()) return Fail("is a list");
    // So that the field is there although the list may be empty.
    return Value(ValueType::kObject) != nullptr;
  }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("is no JSON at byte ", position));
  }

 private:
  bool Fail(std::string why) {
    error_ = std::move(why);
    return false;
  }
  bool Number(double value) {
    if (!std::isfinite(value)) return Fail("has a number that is too large");
    FieldValue* entry = Value(ValueType::kNumber);
    if (entry != nullptr) entry->number = value == 0 ? 0 : value;  // -0 is 0
    return entry != nullptr;
  }
  FieldValue* Value(ValueType type) {
    if (lengths_.empty()) {
      Fail("is not an object");
      return nullptr;
    }
    FieldValue& entry = row_.values.emplace_back();
    entry.path = path_;
    entry.type = type;
    return &entry;
  }

  Row& row_;
  std::string path_;
  std::vector<size_t> lengths_;  // of the path, at each open object
  std::string error_;
};

}  // namespace

int64_t HeapBytes(const Row& row) {
  const auto of_text = [](const std::string& text) {
    // Short ones lie in the string itself.
    return text.capacity() >= sizeof(std::string) / 2 ? text.capacity() + 1 : 0;
  };
  size_t bytes = row.values.capacity() * sizeof(FieldValue) + row.words.bytes();
  for (const FieldValue& value : row.values) bytes += of_text(value.path) + of_text(value.text);
  return static_cast<int64_t>(bytes);
}

std::string PathPart(std::string_view key) {
  std::string part;
  part.reserve(key.size());
  for (const char c : key) {
    if (c == '.' || c == '\\') part.push_back('\\');
    part.push_back(c);
  }
  return part;
}

absl::StatusOr<Row> ReadMetadata(std::string_view json) {
  Row row;
  if (json.empty()) return row;
  Reader reader(&row);
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) {
    return absl::InvalidArgumentError(absl::StrCat("metadata ", reader.error()));
  }
  return row;
}

absl::StatusOr<Row> ReadRow(std::string_view metadata, std::string_view text) {
  auto row = ReadMetadata(metadata);
  if (row.ok()) row->words = DocumentTerms(text);
  return row;
}

bool ParseTime(std::string_view text, int64_t* micros) {
  // The shortest is a date; cheap to refuse all else.
  if (text.size() < 10 || text.size() > 40 || text[4] != '-' || text[7] != '-') return false;
  const absl::string_view view(text.data(), text.size());
  if (text.size() == 10) {
    absl::CivilDay day;
    if (!absl::ParseCivilTime(view, &day)) return false;
    *micros = absl::ToUnixMicros(absl::FromCivil(day, absl::UTCTimeZone()));
    return true;
  }
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, view, &time, &error)) return false;
  *micros = absl::ToUnixMicros(time);
  return true;
}

}  // namespace vecino::fields
