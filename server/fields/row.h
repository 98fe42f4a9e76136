// What is indexed of one document besides its vector: the values of its metadata, and its words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/document_terms.h"

namespace vecino::fields {

// What a value is. On disk and in masks: never renumber.
enum class ValueType : uint8_t { kNull = 0, kBool = 1, kNumber = 2, kString = 3, kObject = 4 };

// A set of ValueTypes: bit t stands for type t.
using TypeMask = uint8_t;
constexpr TypeMask MaskOf(ValueType type) {
  return static_cast<TypeMask>(1u << static_cast<unsigned>(type));
}

// One value and where it stands. Elements of a list stand at the list's own path, one entry each,
// so a path may come several times; an empty list is an entry of type kObject, as is each object.
struct FieldValue {
  std::string
      path;  // keys joined by dots; dots and backslashes in a key have a backslash before them
  ValueType type = ValueType::kNull;
  bool boolean = false;  // kBool
  double number = 0;     // kNumber, finite
  std::string text;      // kString
};

struct Row {
  std::vector<FieldValue> values;  // in no order
  DocumentTerms words;             // of the document's text
};

// Memory that a row takes besides itself, in bytes.
int64_t HeapBytes(const Row& row);

// What is indexed of a document. INVALID_ARGUMENT as ReadMetadata. Thread safe.
absl::StatusOr<Row> ReadRow(std::string_view metadata, std::string_view text);

// A row of metadata alone. `json`: one object, or empty for none. INVALID_ARGUMENT when it is not.
// Thread safe.
absl::StatusOr<Row> ReadMetadata(std::string_view json);

// One key as a part of a path.
std::string PathPart(std::string_view key);

// A point in time that `text` stands for, in microseconds since the Unix epoch: an RFC 3339
// date-time such as `2024-05-01T12:00:00Z`, or a date, `2024-05-01`, which is its midnight in UTC.
// False for any other text.
bool ParseTime(std::string_view text, int64_t* micros);

}  // namespace vecino::fields
