#include "client/cli/row_ids.h"

#include <utility>

#include "client/cli/record_reader.h"

namespace vecino::cli {

Result<RowIds> RowIds::Open(const std::string& path, const std::atomic<bool>* stop) {
  RowIds ids(path, stop);
  if (path.empty()) return ids;
  const Result<int64_t> counted = CountLines(path, stop);
  if (!counted.ok()) return counted.status();
  ids.lines_ = *counted;
  Result<std::unique_ptr<Input>> opened = Input::Open(path, stop);
  if (!opened.ok()) return opened.status();
  ids.input_ = std::move(opened).value();
  return ids;
}

Status RowIds::Check(int64_t rows) const {
  if (input_ == nullptr || lines_ == rows || stop_->load()) return Status();
  return Status(Code::kInvalidArgument, path_ + " has " + std::to_string(lines_) + " ids for " +
                                            std::to_string(rows) + " rows");
}

bool RowIds::Next(int64_t row, std::string* id) {
  if (input_ == nullptr) {
    *id = std::to_string(row);
    return true;
  }
  if (input_->ReadLine(kLongestRecord, id) != Input::Outcome::kOk) return false;
  if (id->ends_with('\r')) id->pop_back();
  return true;
}

}  // namespace vecino::cli
