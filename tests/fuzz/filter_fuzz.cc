// Whatever text comes as a filter: it is refused with the column at fault, or it lets the same rows
// pass whether it looks at them one by one or at their columns. Run by fuzz_driver.cc, or by
// libFuzzer with VECINO_FUZZER.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "server/fields/columns.h"
#include "server/fields/filter.h"
#include "server/fields/row.h"

namespace vecino::fields {
namespace {

void Require(bool holds, const char* what, std::string_view detail) {
  if (holds) return;
  const std::string shown(detail.substr(0, 2000));
  std::fprintf(stderr, "%s: %s\n", what, shown.c_str());
  std::abort();
}

// Over the fields of filter.dict and corpus/filter.
constexpr const char* kRows[] = {
    "",
    "{}",
    R"({"year":2003,"lang":"de","tags":["t1","t2"],"draft":true,"price":1.5,"a":1})",
    R"({"year":2010,"lang":"en","tags":[],"draft":false,"price":-0.0,"a":2})",
    R"({"year":"2003","lang":"de","author":{"name":"a","age":7},"price":1e308,"a":"1"})",
    R"({"year":null,"lang":null,"author":{"name":null},"mixed":null,"a":null})",
    R"({"lang":"","tags":["","*","a"],"day":"2024-05-01","mixed":7,"a":true})",
    R"({"lang":["de",7,true,null,"2024-05-01"],"day":"2024-05-01T12:00:00Z","mixed":"7"})",
    R"({"lang":"de","day":"2024-05-01T14:00:00+02:00","mixed":{"a":1},"a":{"a":1}})",
    R"({"lang":"dex","day":"2024-05-02","a.b":1,"author":{"last.name":"x"},"":2})",
    R"({"lang":"de","day":"2024-02-30","na\u00efve":"\u00e9","tags":["\ud83d\ude00"]})",
    R"({"lang":"*a*","day":"9999-12-31T23:59:60Z","price":9007199254740993,"tags":{"t1":null}})",
    R"({"year":[2001,2002,2001],"day":["2024-05-01","no day","2024-05-03T00:00:00Z"],"lang":"de"})",
    R"({"lang":"\u0000","tags":"t1","draft":"true","price":"-1","author":"age","year":-7})",
};

// Of each row, so that texts are in enough rows to have a bitmap (Columns::kFrequent), and others
// are not.
constexpr uint32_t kCopies = 100;

struct Rows {
  std::vector<Row> rows;                   // one of each
  std::shared_ptr<const Columns> columns;  // row i stands in the slots i + n * rows.size()
  Rows() {
    for (const char* json : kRows) {
      auto row = ReadMetadata(json);
      Require(row.ok(), "cannot be read", json);
      rows.push_back(*std::move(row));
    }
    std::vector<Row> copies;
    for (uint32_t i = 0; i < kCopies; ++i) copies.insert(copies.end(), rows.begin(), rows.end());
    columns = Columns::Build(copies);
  }
};

// An error names its column, which is one of the text's or the one behind its end.
void CheckError(const absl::Status& status, std::string_view text) {
  Require(absl::IsInvalidArgument(status), "refused with a code that is not the caller's",
          status.ToString());
  const std::string message(status.message());
  constexpr std::string_view kBegin = "column ";
  Require(message.starts_with(kBegin), "an error without its column", message);
  const char* const end = message.data() + message.size();
  size_t column = 0;
  const auto [rest, error] = std::from_chars(message.data() + kBegin.size(), end, column);
  Require(error == std::errc() && column >= 1 && column <= text.size() + 1,
          "an error at a column that the filter does not have", message);
  Require(std::string_view(rest, end).starts_with(": ") && end - rest > 2,
          "an error without a word", message);
}

void Try(std::string_view text) {
  static const Rows& rows = *new Rows();
  const auto filter = Filter::Parse(text);
  if (!filter.ok()) {
    CheckError(filter.status(), text);
    return;
  }
  Require(text.size() <= FilterLimits::kMaxBytes, "longer than a filter may be", text);
  const Roaring passing = rows.columns->Evaluate((*filter)->root());
  const auto count = static_cast<uint32_t>(rows.rows.size());
  uint64_t expected = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const bool passes = (*filter)->Passes(rows.rows[i]);
    if (passes) expected += kCopies;
    for (uint32_t slot = i; slot < kCopies * count; slot += count) {
      Require(
          passing.contains(slot) == passes,
          passes ? "the columns refuse a row that passes" : "the columns pass a row that does not",
          std::string(text) + "\n" + kRows[i]);
    }
  }
  Require(passing.cardinality() == expected, "the columns pass rows that are not there", text);
  Require(!(*filter)->all() || expected == uint64_t{kCopies} * count, "all, but not every row",
          text);
  // What is compared with values of a type that the field never has.
  std::vector<TypeMask> types;
  for (const Condition* condition : (*filter)->typed()) {
    types.push_back(rows.columns->TypesAt(condition->path));
  }
  if (const absl::Status status = (*filter)->CheckTypes(types); !status.ok()) {
    CheckError(status, text);
  }
}

}  // namespace
}  // namespace vecino::fields

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vecino::fields::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
