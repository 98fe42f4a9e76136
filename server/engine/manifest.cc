#include "server/engine/manifest.h"

#include <bit>
#include <roaring/roaring.hh>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/index/crc32c.h"

namespace vecino::engine {
namespace {

constexpr char kVersion1 = 1;  // drained_through, rows
constexpr char kVersion2 = 2;  // without fields
constexpr char kVersion = 3;
constexpr size_t kSize1 = 17;

void PutFixed64(uint64_t value, std::string* out) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// Reads front to back; once something is missing, all reads give 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  uint64_t Fixed64() {
    const std::string_view field = Bytes(8);
    uint64_t value = 0;
    for (size_t i = 0; i < field.size(); ++i) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(field[i])) << (8 * i);
    }
    return value;
  }
  std::string_view Bytes(uint64_t count) {
    if (count > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view field = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return field;
  }
  void Fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// Dead rows are few among many: as a roaring bitmap in its portable format.
std::string EncodeDead(const std::vector<uint64_t>& words) {
  Roaring bitmap;
  for (size_t i = 0; i < words.size(); ++i) {
    for (uint64_t bits = words[i]; bits != 0; bits &= bits - 1) {
      bitmap.add(static_cast<uint32_t>(i * 64 + static_cast<size_t>(std::countr_zero(bits))));
    }
  }
  if (bitmap.isEmpty()) return "";
  bitmap.runOptimize();
  std::string bytes(bitmap.getSizeInBytes(), '\0');
  bitmap.write(bytes.data());
  return bytes;
}

bool DecodeDead(std::string_view bytes, uint64_t rows, std::vector<uint64_t>* words) {
  words->clear();
  if (bytes.empty()) return true;
  roaring_bitmap_t* raw = roaring_bitmap_portable_deserialize_safe(bytes.data(), bytes.size());
  if (raw == nullptr) return false;
  const Roaring bitmap(raw);  // takes it
  words->assign((rows + 63) / 64, 0);
  for (const uint32_t slot : bitmap) {
    if (slot >= rows) return false;
    (*words)[slot / 64] |= uint64_t{1} << (slot % 64);
  }
  return true;
}

bool DecodeSegment(Reader* reader, Manifest::Segment* segment) {
  const uint64_t kind = reader->Fixed64();
  segment->file = reader->Fixed64();
  segment->generation = reader->Fixed64();
  segment->graph = reader->Fixed64();
  segment->first_label = reader->Fixed64();
  segment->last_label = reader->Fixed64();
  segment->rows = reader->Fixed64();
  const std::string_view dead = reader->Bytes(reader->Fixed64());
  segment->kind = static_cast<index::SegmentKind>(kind);
  return reader->ok() && kind >= 1 && kind <= 7 && segment->rows >= 1 &&
         segment->rows <= UINT32_MAX && segment->first_label <= segment->last_label &&
         DecodeDead(dead, segment->rows, &segment->dead);
}

bool DecodeFields(Reader* reader, Manifest::Fields* fields) {
  fields->file = reader->Fixed64();
  fields->first_label = reader->Fixed64();
  fields->last_label = reader->Fixed64();
  fields->rows = reader->Fixed64();
  const std::string_view dead = reader->Bytes(reader->Fixed64());
  return reader->ok() && fields->file >= 1 && fields->rows >= 1 && fields->rows <= UINT32_MAX &&
         fields->first_label <= fields->last_label && DecodeDead(dead, fields->rows, &fields->dead);
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  std::string bytes(1, kVersion);
  PutFixed64(manifest.drained_through, &bytes);
  PutFixed64(manifest.rows, &bytes);
  PutFixed64(manifest.next_file, &bytes);
  PutFixed64(manifest.generation, &bytes);
  PutFixed64(manifest.segments.size(), &bytes);
  for (const Manifest::Segment& segment : manifest.segments) {
    PutFixed64(static_cast<uint64_t>(segment.kind), &bytes);
    PutFixed64(segment.file, &bytes);
    PutFixed64(segment.generation, &bytes);
    PutFixed64(segment.graph, &bytes);
    PutFixed64(segment.first_label, &bytes);
    PutFixed64(segment.last_label, &bytes);
    PutFixed64(segment.rows, &bytes);
    const std::string dead = EncodeDead(segment.dead);
    PutFixed64(dead.size(), &bytes);
    bytes += dead;
  }
  PutFixed64(manifest.fields_through, &bytes);
  PutFixed64(manifest.fields.size(), &bytes);
  for (const Manifest::Fields& fields : manifest.fields) {
    PutFixed64(fields.file, &bytes);
    PutFixed64(fields.first_label, &bytes);
    PutFixed64(fields.last_label, &bytes);
    PutFixed64(fields.rows, &bytes);
    const std::string dead = EncodeDead(fields.dead);
    PutFixed64(dead.size(), &bytes);
    bytes += dead;
  }
  // Roaring's reader believes what it reads, so it is given only what was written.
  PutFixed64(index::Crc32c(bytes.data(), bytes.size()), &bytes);
  return bytes;
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes, LabelScheme labels) {
  const auto damaged = [&] {
    return absl::DataLossError(absl::StrCat(
        "a shard manifest of ", bytes.size(), " bytes",
        bytes.empty() ? "" : absl::StrCat(" and version ", static_cast<unsigned char>(bytes[0])),
        " is damaged or of an unknown version"));
  };
  if (bytes.empty() || bytes[0] < kVersion1 || bytes[0] > kVersion) return damaged();
  const size_t checksum = bytes[0] == kVersion1 ? 0 : 8;
  if (bytes.size() < 1 + checksum) return damaged();
  const std::string_view checked = bytes.substr(0, bytes.size() - checksum);
  if (checksum > 0 && Reader(bytes.substr(checked.size())).Fixed64() !=
                          index::Crc32c(checked.data(), checked.size())) {
    return damaged();
  }
  Reader reader(checked.substr(1));
  Manifest manifest;
  manifest.drained_through = reader.Fixed64();
  manifest.rows = reader.Fixed64();
  if (bytes[0] == kVersion1) {
    if (bytes.size() != kSize1) return damaged();
    if (manifest.drained_through > 0) {
      manifest.segments.push_back({.first_label = 1,
                                   .last_label = manifest.drained_through,
                                   .rows = manifest.rows,
                                   .dead = {}});
    }
    return manifest;
  }
  manifest.next_file = reader.Fixed64();
  manifest.generation = reader.Fixed64();
  const uint64_t count = reader.Fixed64();
  uint64_t last = 0;
  // Of the version behind those that were drained whole some passages may have been.
  const uint64_t most = labels.Last(manifest.drained_through + (labels.chunked() ? 1 : 0));
  for (uint64_t i = 0; i < count; ++i) {
    Manifest::Segment segment;
    if (!DecodeSegment(&reader, &segment) || segment.first_label <= last ||
        segment.last_label > most) {
      return damaged();
    }
    last = segment.last_label;
    manifest.segments.push_back(std::move(segment));
  }
  if (bytes[0] == kVersion2) {
    if (!reader.done()) return damaged();
    return manifest;
  }
  manifest.fields_through = reader.Fixed64();
  const uint64_t parts = reader.Fixed64();
  last = 0;
  for (uint64_t i = 0; i < parts; ++i) {
    Manifest::Fields fields;
    if (!DecodeFields(&reader, &fields) || fields.first_label <= last ||
        fields.last_label > manifest.fields_through) {
      return damaged();
    }
    last = fields.last_label;
    manifest.fields.push_back(std::move(fields));
  }
  if (!reader.done()) return damaged();
  return manifest;
}

}  // namespace vecino::engine
