#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "client/cli/record_reader.h"
#include "client/cli/row_ids.h"

namespace vecino::cli {
namespace {

static_assert(std::endian::native == std::endian::little);

// What follows `'key':` in the header's Python dictionary, from its first character on.
std::string_view ValueOf(std::string_view header, std::string_view key) {
  const size_t at = header.find("'" + std::string(key) + "'");
  if (at == std::string_view::npos) return {};
  const size_t colon = header.find(':', at);
  if (colon == std::string_view::npos) return {};
  const size_t value = header.find_first_not_of(' ', colon + 1);
  return value == std::string_view::npos ? std::string_view() : header.substr(value);
}

// Reads `(rows, columns)`, where `columns` is 1 or more.
bool ParseShape(std::string_view text, int64_t* rows, int64_t* columns) {
  const char* const end = text.data() + text.size();
  const auto skip = [&](const char* at, std::string_view wanted) -> const char* {
    for (const char c : wanted) {
      while (at != end && *at == ' ') ++at;
      if (at == end || *at != c) return nullptr;
      ++at;
    }
    while (at != end && *at == ' ') ++at;
    return at;
  };
  const char* at = skip(text.data(), "(");
  if (at == nullptr) return false;
  auto parsed = std::from_chars(at, end, *rows);
  if (parsed.ec != std::errc() || (at = skip(parsed.ptr, ",")) == nullptr) return false;
  parsed = std::from_chars(at, end, *columns);
  if (parsed.ec != std::errc() || skip(parsed.ptr, ")") == nullptr) return false;
  return *rows >= 0 && *columns >= 1;
}

class NpyReader : public RecordReader {
 public:
  NpyReader(std::unique_ptr<Input> input, RowIds ids)
      : input_(std::move(input)), ids_(std::move(ids)) {}

  Status Open() {
    const Status no_npy(Code::kInvalidArgument, "not a .npy file");
    char start[8];
    if (input_->Read(start, sizeof(start)) != sizeof(start)) return no_npy;
    if (std::memcmp(start, "\x93NUMPY", 6) != 0) return no_npy;
    const int major = start[6];
    if (major < 1 || major > 3) {
      return Status(Code::kInvalidArgument,
                    ".npy format " + std::to_string(major) + " is unknown; known are 1 to 3");
    }
    uint32_t length = 0;  // 2 bytes little-endian in format 1, 4 in 2 and 3
    const size_t length_size = major == 1 ? 2 : 4;
    if (input_->Read(reinterpret_cast<char*>(&length), length_size) != length_size) return no_npy;
    constexpr uint32_t kLongestHeader = 64 * 1024;
    if (length > kLongestHeader) return no_npy;
    std::string header(length, ' ');
    if (input_->Read(header.data(), length) != length) return no_npy;
    return ParseHeader(header);
  }

  bool Next(Record* record) override {
    *record = Record{.line = row_};
    if (row_ >= rows_) return false;
    const size_t wanted = static_cast<size_t>(columns_) * value_size_;
    const size_t got = input_->Read(bytes_.data(), wanted);
    if (got != wanted) {
      if (input_->status().ok()) {
        status_ = Status(Code::kInvalidArgument, "the array ends in row " + std::to_string(row_) +
                                                     " of " + std::to_string(rows_));
      }
      return false;
    }
    if (!ids_.Next(row_, &record->document.id)) {
      status_ = Status(Code::kInvalidArgument, "no id for row " + std::to_string(row_));
      return false;
    }
    ++row_;
    std::vector<float>& vector = record->document.vector;
    vector.resize(columns_);
    if (value_size_ == sizeof(float)) {
      std::memcpy(vector.data(), bytes_.data(), wanted);
    } else {
      for (int64_t i = 0; i < columns_; ++i) {
        double value = 0;
        std::memcpy(&value, bytes_.data() + i * sizeof(value), sizeof(value));
        vector[i] = static_cast<float>(value);
      }
    }
    return true;
  }

  Status status() const override { return status_.ok() ? input_->status() : status_; }
  const char* unit() const override { return "row"; }
  int dimension() const override { return static_cast<int>(columns_); }
  Status CheckIds() const { return ids_.Check(rows_); }

 private:
  Status ParseHeader(std::string_view header) {
    const std::string_view type = ValueOf(header, "descr");
    if (type.starts_with("'<f4'")) {
      value_size_ = sizeof(float);
    } else if (type.starts_with("'<f8'")) {
      value_size_ = sizeof(double);
    } else {
      return Status(
          Code::kInvalidArgument,
          "the array's type must be little-endian float32 or float64 ('<f4', '<f8'), not " +
              std::string(type.substr(0, type.find(','))));
    }
    if (!ValueOf(header, "fortran_order").starts_with("False")) {
      return Status(Code::kInvalidArgument,
                    "the array must be in C order; save numpy.ascontiguousarray(array)");
    }
    if (!ParseShape(ValueOf(header, "shape"), &rows_, &columns_)) {
      return Status(Code::kInvalidArgument, "the array must have two dimensions, rows and floats");
    }
    constexpr int64_t kMostColumns = 1'000'000;  // far above the contract's limit, for the buffer
    if (columns_ > kMostColumns) {
      return Status(Code::kInvalidArgument, std::to_string(columns_) + " floats in a row");
    }
    bytes_.resize(columns_ * value_size_);
    return Status();
  }

  const std::unique_ptr<Input> input_;
  RowIds ids_;
  int64_t rows_ = 0, columns_ = 0, row_ = 0;
  size_t value_size_ = 0;
  std::vector<char> bytes_;  // one row
  Status status_;
};

}  // namespace

Result<std::unique_ptr<RecordReader>> NewNpyReader(std::unique_ptr<Input> input,
                                                   const std::string& ids_path,
                                                   const std::atomic<bool>* stop) {
  Result<RowIds> ids = RowIds::Open(ids_path, stop);
  if (!ids.ok()) return ids.status();
  auto reader = std::make_unique<NpyReader>(std::move(input), std::move(ids).value());
  if (Status status = reader->Open(); !status.ok()) return status;
  if (Status status = reader->CheckIds(); !status.ok()) return status;
  return std::unique_ptr<RecordReader>(std::move(reader));
}

}  // namespace vecino::cli
