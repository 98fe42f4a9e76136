// The formats `vecino load` reads, as one stream of records.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/input.h"
#include "vecino/client.h"

namespace vecino::cli {

// One document, or what is wrong with it.
struct Record {
  int64_t line = 0;  // where it begins, from 1; for npy and fvecs the row, from 0
  Document document;
  std::string error;  // empty when `document` is good
};

// Gives one record after another in constant memory. A bad record never ends the stream. Not
// thread-safe.
class RecordReader {
 public:
  virtual ~RecordReader() = default;

  // False at the end of the input, after `stop`, or when status() is an error.
  virtual bool Next(Record* record) = 0;
  // Why the stream ended early, if it did.
  virtual Status status() const = 0;
  // `line` or `row`, for messages.
  virtual const char* unit() const { return "line"; }
  // Floats in every record's vector, where the input says so at its beginning; else 0.
  virtual int dimension() const { return 0; }
};

// A line or a CSV record may have this many bytes: a text of 1 MiB escaped as \uXXXX, and the rest.
inline constexpr size_t kLongestRecord = size_t{8} << 20;

// JSONL: {"id": …, "text": …, "metadata": {…}, "vector": […]} on each line. The id is a string or
// an integer; `version`, `create_time` and `update_time` (what `vecino get --json` adds) are
// ignored; any other key is an error, so that nothing is lost unsaid. So is an integer a double
// cannot hold. Blank lines are skipped.
std::unique_ptr<RecordReader> NewJsonlReader(std::unique_ptr<Input> input);

struct CsvOptions {
  std::string id_column = "id";
  std::string text_column = "text";
  std::string vector_column = "vector";  // a JSON array in a cell
  std::vector<std::string>
      number_columns;  // kept as numbers in the metadata; all others as strings
};

// CSV of RFC 4180 with a header, LF or CRLF. Columns other than id, text and vector go into the
// metadata; empty cells do not. INVALID_ARGUMENT when the header lacks the id column, or names one
// twice.
Result<std::unique_ptr<RecordReader>> NewCsvReader(std::unique_ptr<Input> input,
                                                   const CsvOptions& options);

// NumPy's .npy, format 1 to 3: a 2-D array of little-endian float32 or float64 in C order, one
// vector a row. Ids come from `ids_path`, one a line and as many as rows, or without one are the
// row numbers from 0. INVALID_ARGUMENT when the array is another, or the number of ids differs.
Result<std::unique_ptr<RecordReader>> NewNpyReader(std::unique_ptr<Input> input,
                                                   const std::string& ids_path,
                                                   const std::atomic<bool>* stop);

// .fvecs, as the TEXMEX sets come (SIFT, GIST): each row is a little-endian int32, how many floats
// it has, and these; all rows have as many. Ids as of .npy. INVALID_ARGUMENT when it does not begin
// as such a file does, or the number of ids differs.
Result<std::unique_ptr<RecordReader>> NewFvecsReader(std::unique_ptr<Input> input,
                                                     const std::string& ids_path,
                                                     const std::atomic<bool>* stop);

// A FAISS index file that holds full vectors (faiss_file.h says which), one vector a row, in order
// of FAISS's ids. FAISS's id i gets the id in line i, from 0, of `ids_path`, which is a JSON string
// where it begins with `"` and plain text elsewhere; without a file it gets its number. Rows go
// into memory with 16 bytes each when they do not stand in order.
struct FaissRecords {
  std::unique_ptr<RecordReader> reader;
  int64_t bytes = 0;                  // of vectors
  std::function<int64_t()> position;  // of these, bytes given out; lives as long as `reader`
};
// INVALID_ARGUMENT when the file is damaged or does not hold full vectors, or when the ids do not
// fit: fewer lines than FAISS's ids need, or another number of them where these are 0 to rows − 1.
Result<FaissRecords> NewFaissReader(const std::string& path, const std::string& ids_path,
                                    const std::atomic<bool>* stop);

}  // namespace vecino::cli
