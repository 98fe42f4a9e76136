// Ids of the rows of a file of vectors.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "client/cli/input.h"

namespace vecino::cli {

// They are the lines of a file of their own, or else the rows' numbers from 0. Not thread-safe.
class RowIds {
 public:
  // path: of the lines; "": numbers. INVALID_ARGUMENT when it cannot be read. Blocks; `stop`, which
  // must outlive it, ends that early.
  static Result<RowIds> Open(const std::string& path, const std::atomic<bool>* stop);

  // INVALID_ARGUMENT when there are more or fewer lines than rows; nothing is known after `stop`.
  Status Check(int64_t rows) const;
  // The id of row `row`; rows are asked for in order. False when there is none.
  bool Next(int64_t row, std::string* id);

 private:
  RowIds(std::string path, const std::atomic<bool>* stop) : path_(std::move(path)), stop_(stop) {}

  std::string path_;
  const std::atomic<bool>* stop_;
  std::unique_ptr<Input> input_;  // null: numbers
  int64_t lines_ = 0;
};

}  // namespace vecino::cli
