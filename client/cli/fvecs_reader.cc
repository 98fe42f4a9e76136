#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "client/cli/record_reader.h"
#include "client/cli/row_ids.h"

namespace vecino::cli {
namespace {

static_assert(std::endian::native == std::endian::little);

class FvecsReader : public RecordReader {
 public:
  FvecsReader(std::unique_ptr<Input> input, RowIds ids, const std::atomic<bool>* stop)
      : input_(std::move(input)), ids_(std::move(ids)), stop_(*stop) {}

  Status Open() {
    const size_t got = ReadDimension();
    if (got == 0) return Bad("the file is empty");
    constexpr int32_t kMostFloats = 1'000'000;  // far above the contract's limit, for the buffer
    if (got != sizeof next_ || next_ < 1 || next_ > kMostFloats) return Bad("not an .fvecs file");
    dimension_ = next_;
    return Status();
  }
  // OK when the number of rows is not known.
  Status CheckIds() const {
    const auto row = static_cast<int64_t>(sizeof next_ + dimension_ * sizeof(float));
    const bool known = input_->size() >= 0 && input_->size() % row == 0;
    return known ? ids_.Check(input_->size() / row) : Status();
  }

  bool Next(Record* record) override {
    *record = Record{.line = row_};
    if (row_ > 0 && status_.ok()) {
      const size_t got = ReadDimension();
      if (got == 0) return false;
      if (got != sizeof next_) return Fail("the file ends in row " + std::to_string(row_));
      if (next_ != dimension_) {
        return Fail("row " + std::to_string(row_) + " has " + std::to_string(next_) +
                    " floats, and those before have " + std::to_string(dimension_));
      }
    }
    if (!status_.ok()) return false;
    std::vector<float>& vector = record->document.vector;
    vector.resize(static_cast<size_t>(dimension_));
    const size_t wanted = vector.size() * sizeof(float);
    if (input_->Read(reinterpret_cast<char*>(vector.data()), wanted) != wanted) {
      return Fail("the file ends in row " + std::to_string(row_));
    }
    if (!ids_.Next(row_, &record->document.id)) {
      return Fail("no id for row " + std::to_string(row_));
    }
    ++row_;
    return true;
  }

  Status status() const override { return status_.ok() ? input_->status() : status_; }
  const char* unit() const override { return "row"; }
  int dimension() const override { return dimension_; }

 private:
  static Status Bad(const std::string& what) { return Status(Code::kInvalidArgument, what); }
  // Says what is wrong, unless reading was stopped or failed, which ends it for another reason.
  bool Fail(const std::string& what) {
    if (input_->status().ok() && !stop_.load()) status_ = Bad(what);
    return false;
  }
  size_t ReadDimension() { return input_->Read(reinterpret_cast<char*>(&next_), sizeof next_); }

  const std::unique_ptr<Input> input_;
  RowIds ids_;
  const std::atomic<bool>& stop_;
  int32_t dimension_ = 0, next_ = 0;  // of all rows; as the row that is read says it
  int64_t row_ = 0;
  Status status_;
};

}  // namespace

Result<std::unique_ptr<RecordReader>> NewFvecsReader(std::unique_ptr<Input> input,
                                                     const std::string& ids_path,
                                                     const std::atomic<bool>* stop) {
  Result<RowIds> ids = RowIds::Open(ids_path, stop);
  if (!ids.ok()) return ids.status();
  auto reader = std::make_unique<FvecsReader>(std::move(input), std::move(ids).value(), stop);
  if (Status status = reader->Open(); !status.ok()) return status;
  if (Status status = reader->CheckIds(); !status.ok()) return status;
  return std::unique_ptr<RecordReader>(std::move(reader));
}

}  // namespace vecino::cli
