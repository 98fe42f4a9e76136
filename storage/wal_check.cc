#include "storage/wal_check.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/codec.h"
#include "storage/crc32c.h"

namespace vecino::storage {
namespace {

// RocksDB's log format: blocks of 32 KiB; in them physical records, each {checksum u32 LE, length
// u16 LE, type u8, payload}, none of which crosses a block; up to 6 bytes of padding at a block's
// end.
constexpr size_t kBlockBytes = 32768;
constexpr size_t kHeaderBytes = 7;
enum RecordType : uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

enum class Parse {
  kGood,
  kShort,   // fewer bytes left than a header, or than the header's length asks for
  kZeroed,  // a header of zeros, as in space the file system gave and nobody wrote
  kBad,     // whole, but the checksum is wrong or the type is not one we write
};

struct PhysicalRecord {
  Parse parse = Parse::kShort;
  uint8_t type = kZero;
  size_t size = 0;  // header and payload
};

PhysicalRecord ParseRecord(std::string_view bytes) {
  PhysicalRecord record;
  if (bytes.size() < kHeaderBytes) return record;
  ByteReader reader(bytes);
  uint32_t masked = 0;
  uint8_t low = 0;
  uint8_t high = 0;
  (void)(reader.ReadLittleEndian32(&masked) && reader.ReadByte(&low) && reader.ReadByte(&high) &&
         reader.ReadByte(&record.type));
  record.size = kHeaderBytes + low + 256 * static_cast<size_t>(high);
  if (record.size > bytes.size()) return record;
  if (masked == 0 && record.size == kHeaderBytes && record.type == kZero) {
    record.parse = Parse::kZeroed;
  } else if (record.type < kFull || record.type > kLast ||
             Crc32c(bytes.substr(6, record.size - 6)) != UnmaskCrc32c(masked)) {
    record.parse = Parse::kBad;
  } else {
    record.parse = Parse::kGood;
  }
  return record;
}

class LogFile {
 public:
  explicit LogFile(std::filesystem::path path) : path_(std::move(path)) {}

  // A note when the file ends in a torn write, an empty string when it ends cleanly.
  absl::StatusOr<std::string> Check() {
    file_.open(path_, std::ios::binary);
    uint64_t good_end = 0;  // just after the last whole write
    bool in_fragments = false;
    for (uint64_t start = 0;; start += kBlockBytes) {
      const std::string_view block = ReadBlock(start);
      if (bad_) return absl::UnavailableError(absl::StrCat("cannot read ", path_.string()));
      const bool last_block = block.size() < kBlockBytes;
      size_t pos = 0;
      while (block.size() - pos >= kHeaderBytes) {
        const PhysicalRecord record = ParseRecord(block.substr(pos));
        if (record.parse != Parse::kGood) {
          return Stopped(record.parse, last_block, start + pos, good_end);
        }
        const bool starts = record.type == kFull || record.type == kFirst;
        if (starts == in_fragments) return Damaged(good_end, start + pos);
        pos += record.size;
        in_fragments = record.type == kFirst || record.type == kMiddle;
        if (!in_fragments) good_end = start + pos;
      }
      if (last_block) {
        const uint64_t end = start + block.size();
        return end == good_end ? std::string() : TornNote(good_end, end);
      }
    }
  }

 private:
  std::string_view ReadBlock(uint64_t start) {
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(start));
    block_.resize(kBlockBytes);
    file_.read(block_.data(), kBlockBytes);
    bad_ = file_.bad() || !file_.is_open();
    return std::string_view(block_).substr(0, static_cast<size_t>(file_.gcount()));
  }

  std::string TornNote(uint64_t good_end, uint64_t end) const {
    return absl::StrCat("write-ahead log ", path_.string(), " ends in ", end - good_end,
                        " bytes of a write that was never finished; they are dropped");
  }

  absl::Status Damaged(uint64_t bad_at, uint64_t good_at) const {
    return absl::DataLossError(
        absl::StrCat("write-ahead log ", path_.string(), " is damaged at byte ", bad_at,
                     ", and goes on at byte ", good_at, "; restore the data folder from a backup"));
  }

  // Parsing stopped at `bad_at`. Every write is synced before the next begins, so whatever lies
  // beyond a torn write holds no beginning of another one.
  absl::StatusOr<std::string> Stopped(Parse parse, bool last_block, uint64_t bad_at,
                                      uint64_t good_end) {
    uint64_t end = bad_at;
    bool only_zeros = true;
    for (uint64_t start = bad_at / kBlockBytes * kBlockBytes;; start += kBlockBytes) {
      const std::string_view block = ReadBlock(start);
      for (size_t pos = start < bad_at ? bad_at - start : 0; pos < block.size(); ++pos) {
        only_zeros = only_zeros && block[pos] == 0;
        if (start + pos == bad_at) continue;
        if (pos + 6 >= block.size() || block[pos + 6] < kFull || block[pos + 6] > kFirst) continue;
        if (ParseRecord(block.substr(pos)).parse == Parse::kGood) {
          return Damaged(bad_at, start + pos);
        }
      }
      end = start + block.size();
      if (block.size() < kBlockBytes) break;
    }
    if (only_zeros || (parse == Parse::kShort && last_block)) return TornNote(good_end, end);
    return absl::DataLossError(
        absl::StrCat("write-ahead log ", path_.string(), " is damaged at byte ", bad_at,
                     ", in its last write. If the machine lost power during that write, nobody was "
                     "told that it was "
                     "done, and cutting the file to ",
                     good_end, " bytes drops it; otherwise restore the data folder from a backup"));
  }

  std::filesystem::path path_;
  std::ifstream file_;
  std::string block_;
  bool bad_ = false;
};

bool IsWal(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  return path.extension() == ".log" && !stem.empty() &&
         std::all_of(stem.begin(), stem.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

absl::StatusOr<std::vector<std::string>> CheckWriteAheadLogs(const std::string& folder) {
  std::vector<std::filesystem::path> logs;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (IsWal(it->path())) logs.push_back(it->path());
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat("cannot list ", folder, ": ", error.message()));
  }
  std::sort(logs.begin(), logs.end());
  std::vector<std::string> notes;
  for (const std::filesystem::path& path : logs) {
    absl::StatusOr<std::string> note = LogFile(path).Check();
    if (!note.ok()) return note.status();
    if (!note->empty()) notes.push_back(*std::move(note));
  }
  return notes;
}

}  // namespace vecino::storage
