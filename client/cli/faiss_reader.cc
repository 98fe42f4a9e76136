#include <limits>
#include <utility>

#include "client/cli/faiss_file.h"
#include "client/cli/json_values.h"
#include "client/cli/record_reader.h"

namespace vecino::cli {
namespace {

// JSON escapes of the longest id that the server takes, and much more.
constexpr size_t kLongestLine = 64 * 1024;

class FaissReader final : public RecordReader {
 public:
  FaissReader(std::unique_ptr<FaissFile> file, std::unique_ptr<Input> ids,
              const std::atomic<bool>* stop)
      : file_(std::move(file)), ids_(std::move(ids)), stop_(*stop) {}

  bool Next(Record* record) override {
    *record = Record{.line = row_};
    if (row_ >= file_->rows() || stop_.load() || !status_.ok()) return false;
    if (!ReadId(record)) return false;
    status_ = file_->Read(row_, &record->document.vector);
    if (!status_.ok()) return false;
    ++row_;
    return true;
  }

  Status status() const override { return status_; }
  const char* unit() const override { return "row"; }
  int dimension() const override { return file_->dimension(); }
  int64_t position() const {
    return row_ * file_->dimension() * static_cast<int64_t>(sizeof(float));
  }

 private:
  // False when the stream ends here.
  bool ReadId(Record* record) {
    const int64_t id = file_->id(row_);
    if (ids_ == nullptr) {
      record->document.id = std::to_string(id);
      return true;
    }
    std::string line;
    Input::Outcome outcome;
    do {
      outcome = ids_->ReadLine(kLongestLine, &line);
    } while (outcome != Input::Outcome::kEnd && line_++ < id);
    if (outcome == Input::Outcome::kEnd) {
      status_ = ids_->status();
      if (status_.ok() && !stop_.load()) {
        status_ = Status(Code::kInvalidArgument, "no id for row " + std::to_string(row_));
      }
      return false;
    }
    if (line.ends_with('\r')) line.pop_back();
    if (outcome == Input::Outcome::kTooLong) {
      record->error = "the id has more than " + std::to_string(kLongestLine) + " bytes";
    } else if (line.starts_with('"')) {
      Json json;
      std::string error;
      if (!ParseJson(line, &json, &error) || !json.is_string()) {
        record->error = "the id in line " + std::to_string(line_) +
                        " begins with a quote and is no JSON string: " + error;
      } else {
        record->document.id = json.get<std::string>();
      }
    } else {
      record->document.id = std::move(line);
    }
    return true;
  }

  const std::unique_ptr<FaissFile> file_;
  const std::unique_ptr<Input> ids_;  // null: FAISS's ids
  const std::atomic<bool>& stop_;
  int64_t row_ = 0;
  int64_t line_ = 0;  // lines read of ids_
  Status status_;
};

}  // namespace

Result<FaissRecords> NewFaissReader(const std::string& path, const std::string& ids_path,
                                    const std::atomic<bool>* stop) {
  Result<std::unique_ptr<FaissFile>> opened = FaissFile::Open(path);
  if (!opened.ok()) return opened.status();
  std::unique_ptr<FaissFile> file = std::move(opened).value();
  std::unique_ptr<Input> ids;
  if (!ids_path.empty()) {
    const Result<int64_t> lines = CountLines(ids_path, stop);
    if (!lines.ok()) return lines.status();
    const int64_t first = file->rows() == 0 ? 0 : file->id(0);
    const int64_t last = file->rows() == 0 ? -1 : file->id(file->rows() - 1);
    const bool counts_up = first == 0 && last == file->rows() - 1;
    if (!stop->load() && (first < 0 || *lines <= last || (counts_up && *lines != last + 1))) {
      return Status(Code::kInvalidArgument,
                    ids_path + " has " + std::to_string(*lines) + " ids for " +
                        std::to_string(file->rows()) + " rows, whose FAISS ids are " +
                        std::to_string(first) + " to " + std::to_string(last));
    }
    Result<std::unique_ptr<Input>> input = Input::Open(ids_path, stop);
    if (!input.ok()) return input.status();
    ids = std::move(input).value();
  }
  FaissRecords records;
  records.bytes = file->rows() * file->dimension() * static_cast<int64_t>(sizeof(float));
  auto reader = std::make_unique<FaissReader>(std::move(file), std::move(ids), stop);
  records.position = [reader = reader.get()] { return reader->position(); };
  records.reader = std::move(reader);
  return records;
}

}  // namespace vecino::cli
