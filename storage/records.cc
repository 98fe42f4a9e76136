#include "storage/records.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "storage/codec.h"

namespace vecino::storage {
namespace {

static_assert(std::endian::native == std::endian::little,
              "vectors are stored little-endian and copied as they are");
static_assert(sizeof(float) == 4);

enum class DocumentField : uint8_t {
  kId = 1,
  kCreateTime = 2,
  kUpdateTime = 3,
  kText = 4,
  kMetadata = 5,
  kExpireTime = 6,  // from value version 2 on
  kVectorless = 7,  // the same
  kPassages = 8,    // from value version 3 on
};

// Of documents and id entries, and of vectors, that say more than version 1 can.
constexpr uint8_t kVersion2 = 2;
// Of documents with several passages.
constexpr uint8_t kVersion3 = 3;

constexpr uint8_t kFloat32 = 1;  // element type of a stored vector
constexpr size_t kVectorHeaderBytes = 2;

absl::Status Broken(std::string_view what) { return absl::DataLossError(std::string(what)); }

// Takes the version byte off: kValueVersion to `newest`.
absl::StatusOr<uint8_t> ReadVersion(ByteReader* reader, uint8_t newest) {
  uint8_t version = 0;
  if (!reader->ReadByte(&version)) return Broken("value is empty");
  if (version < kValueVersion || version > newest) {
    return absl::DataLossError(absl::StrCat("value has version ", static_cast<int>(version),
                                            ", this program knows ", static_cast<int>(newest)));
  }
  return version;
}

absl::Status CheckVersion(ByteReader* reader) {
  return ReadVersion(reader, kValueVersion).status();
}

std::string Versioned() { return std::string(1, static_cast<char>(kValueVersion)); }

void AppendField(DocumentField field, std::string* out) {
  AppendByte(static_cast<uint8_t>(field), out);
}

// How many, then of each how far it begins behind the one before, and its length.
void AppendPassages(std::span<const Passage> passages, std::string* out) {
  AppendVarint(passages.size(), out);
  uint32_t begin = 0;
  for (const Passage& passage : passages) {
    AppendVarint(passage.begin - begin, out);
    AppendVarint(passage.end - passage.begin, out);
    begin = passage.begin;
  }
}

// out: null to check them only.
bool ReadPassages(ByteReader* reader, size_t text_bytes, std::vector<Passage>* out) {
  uint64_t count = 0;
  if (!reader->ReadVarint(&count) || count < 2 || count > kMaxPassages) return false;
  if (out != nullptr) out->reserve(count);
  uint64_t begin = 0, end = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t distance = 0, length = 0;
    if (!reader->ReadVarint(&distance) || !reader->ReadVarint(&length)) return false;
    if (distance > text_bytes || length > text_bytes) return false;
    begin += distance;
    if (begin + length > text_bytes || begin + length <= end || (i > 0 && distance == 0)) {
      return false;
    }
    end = begin + length;
    if (out != nullptr) {
      out->push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    }
  }
  return true;
}

}  // namespace

std::string EncodeDocument(std::string_view id, const Document& document) {
  std::string out;
  out.reserve(32 + id.size() + document.text.size() + document.metadata.size() +
              4 * document.passages.size());
  const bool expires = document.expire_time_us != 0;
  const bool vectorless = document.vector.empty();
  const bool several = document.passages.size() > 1 && !vectorless;
  AppendByte(several ? kVersion3 : expires || vectorless ? kVersion2 : kValueVersion, &out);
  AppendField(DocumentField::kId, &out);
  AppendBytes(id, &out);
  AppendField(DocumentField::kCreateTime, &out);
  AppendSignedVarint(document.create_time_us, &out);
  AppendField(DocumentField::kUpdateTime, &out);
  AppendSignedVarint(document.update_time_us, &out);
  if (!document.text.empty()) {
    AppendField(DocumentField::kText, &out);
    AppendBytes(document.text, &out);
  }
  if (!document.metadata.empty()) {
    AppendField(DocumentField::kMetadata, &out);
    AppendBytes(document.metadata, &out);
  }
  if (expires) {
    AppendField(DocumentField::kExpireTime, &out);
    AppendSignedVarint(document.expire_time_us, &out);
  }
  if (vectorless) {
    AppendField(DocumentField::kVectorless, &out);
    AppendVarint(1, &out);
  }
  if (several) {
    AppendField(DocumentField::kPassages, &out);
    AppendPassages(document.passages, &out);
  }
  return out;
}

absl::Status DecodeDocument(std::string_view bytes, const DocumentParts& parts,
                            Document* document) {
  ByteReader reader(bytes);
  const absl::StatusOr<uint8_t> version = ReadVersion(&reader, kVersion3);
  if (!version.ok()) return version.status();
  document->has_vector = true;
  document->expire_time_us = 0;
  document->passages.clear();
  const bool want_passages = parts.passages || parts.vector;
  size_t text_bytes = 0;
  bool several = false;
  uint8_t last = 0;
  uint8_t required = 0;
  while (!reader.done()) {
    uint8_t tag = 0;
    if (!reader.ReadByte(&tag) || tag <= last) return Broken("document's fields are out of order");
    last = tag;
    std::string_view view;
    bool ok = false;
    switch (static_cast<DocumentField>(tag)) {
      case DocumentField::kId:
        ok = reader.ReadBytes(&view) && !view.empty();
        document->id = std::string(view);
        ++required;
        break;
      case DocumentField::kCreateTime:
        ok = reader.ReadSignedVarint(&document->create_time_us);
        ++required;
        break;
      case DocumentField::kUpdateTime:
        ok = reader.ReadSignedVarint(&document->update_time_us);
        ++required;
        break;
      case DocumentField::kText:
        ok = reader.ReadBytes(&view);
        text_bytes = view.size();
        if (parts.text) document->text = std::string(view);
        break;
      case DocumentField::kMetadata:
        ok = reader.ReadBytes(&view);
        if (parts.metadata) document->metadata = std::string(view);
        break;
      case DocumentField::kExpireTime:
        ok = *version >= kVersion2 && reader.ReadSignedVarint(&document->expire_time_us) &&
             document->expire_time_us > 0;
        break;
      case DocumentField::kVectorless: {
        uint64_t one = 0;
        ok = *version == kVersion2 && reader.ReadVarint(&one) && one == 1;
        document->has_vector = false;
        break;
      }
      case DocumentField::kPassages:
        ok = *version == kVersion3 && document->has_vector &&
             ReadPassages(&reader, text_bytes, want_passages ? &document->passages : nullptr);
        several = true;
        break;
    }
    if (!ok) {
      return absl::DataLossError(
          absl::StrCat("document's field ", static_cast<int>(tag), " is cut short or unknown"));
    }
  }
  if (required != 3) return Broken("document lacks its id or times");
  if (*version == kVersion2 && document->has_vector && document->expire_time_us == 0) {
    return Broken("document of version 2 says no more than version 1 can");
  }
  if (*version == kVersion3 && !several) {
    return Broken("document of version 3 says no more than version 2 can");
  }
  if (parts.passages && !several && document->has_vector) {
    document->passages.push_back({0, static_cast<uint32_t>(text_bytes)});
  }
  return absl::OkStatus();
}

std::string EncodeVector(std::span<const float> vector) {
  std::string out(kVectorHeaderBytes + vector.size_bytes(), '\0');
  out[0] = static_cast<char>(kValueVersion);
  out[1] = static_cast<char>(kFloat32);
  if (!vector.empty()) {
    std::memcpy(out.data() + kVectorHeaderBytes, vector.data(), vector.size_bytes());
  }
  return out;
}

absl::Status DecodeVector(std::string_view bytes, std::span<float> out) {
  ByteReader reader(bytes);
  if (absl::Status status = CheckVersion(&reader); !status.ok()) return status;
  uint8_t type = 0;
  if (!reader.ReadByte(&type) || type != kFloat32) return Broken("vector has an unknown type");
  if (reader.rest().size() != out.size_bytes()) {
    return absl::DataLossError(absl::StrCat("vector has ", reader.rest().size(), " bytes, not ",
                                            out.size_bytes(), " (", out.size(), " floats)"));
  }
  if (!out.empty()) std::memcpy(out.data(), reader.rest().data(), out.size_bytes());
  return absl::OkStatus();
}

std::string EncodeVectors(std::span<const float> vectors, size_t rows) {
  std::string out = EncodeVector(vectors);
  if (rows > 1) out[0] = static_cast<char>(kVersion2);
  return out;
}

absl::Status DecodeVectors(std::string_view bytes, size_t dimension, size_t max_rows,
                           std::vector<float>* out) {
  ByteReader reader(bytes);
  const absl::StatusOr<uint8_t> version = ReadVersion(&reader, max_rows > 1 ? kVersion2 : 1);
  if (!version.ok()) return version.status();
  uint8_t type = 0;
  if (!reader.ReadByte(&type) || type != kFloat32) return Broken("vector has an unknown type");
  const size_t row_bytes = dimension * sizeof(float), size = reader.rest().size();
  const size_t rows = size / row_bytes;
  if (size % row_bytes != 0 || rows > max_rows || (rows > 1) != (*version == kVersion2) ||
      rows == 0) {
    return absl::DataLossError(absl::StrCat(
        "vector of version ", static_cast<int>(*version), " has ", size, " bytes, not ", row_bytes,
        " (", dimension, " floats)", max_rows > 1 ? " for each of its passages" : ""));
  }
  out->resize(rows * dimension);
  std::memcpy(out->data(), reader.rest().data(), size);
  return absl::OkStatus();
}

std::string EncodeIdEntry(const IdEntry& entry) {
  const bool expires = entry.expire_time_us != 0;
  std::string out(1, static_cast<char>(expires ? kVersion2 : kValueVersion));
  AppendVarint(entry.sequence, &out);
  AppendSignedVarint(entry.create_time_us, &out);
  if (expires) AppendSignedVarint(entry.expire_time_us, &out);
  return out;
}

absl::StatusOr<IdEntry> DecodeIdEntry(std::string_view bytes) {
  ByteReader reader(bytes);
  const absl::StatusOr<uint8_t> version = ReadVersion(&reader, kVersion2);
  if (!version.ok()) return version.status();
  IdEntry entry;
  bool ok = reader.ReadVarint(&entry.sequence) && reader.ReadSignedVarint(&entry.create_time_us);
  if (ok && *version == kVersion2) {
    ok = reader.ReadSignedVarint(&entry.expire_time_us) && entry.expire_time_us > 0;
  }
  if (!ok || !reader.done() || entry.sequence == 0) return Broken("id entry is malformed");
  return entry;
}

std::string EncodeChange(const ChangeRecord& record) {
  std::string out = Versioned();
  AppendByte(static_cast<uint8_t>(record.kind), &out);
  AppendVarint(record.replaces, &out);
  AppendBytes(record.id, &out);
  return out;
}

absl::StatusOr<ChangeRecord> DecodeChange(std::string_view bytes) {
  ByteReader reader(bytes);
  if (absl::Status status = CheckVersion(&reader); !status.ok()) return status;
  ChangeRecord record;
  uint8_t kind = 0;
  if (!reader.ReadByte(&kind) || !reader.ReadVarint(&record.replaces) ||
      !reader.ReadBytes(&record.id) || !reader.done()) {
    return Broken("change record is malformed");
  }
  record.kind = static_cast<Mutation::Kind>(kind);
  if (record.kind != Mutation::Kind::kPut && record.kind != Mutation::Kind::kDelete) {
    return absl::DataLossError(
        absl::StrCat("change record has unknown kind ", static_cast<int>(kind)));
  }
  return record;
}

std::string EncodeNumber(uint64_t value) {
  std::string out = Versioned();
  AppendVarint(value, &out);
  return out;
}

absl::StatusOr<uint64_t> DecodeNumber(std::string_view bytes) {
  ByteReader reader(bytes);
  if (absl::Status status = CheckVersion(&reader); !status.ok()) return status;
  uint64_t value = 0;
  if (!reader.ReadVarint(&value) || !reader.done()) return Broken("number is malformed");
  return value;
}

std::string EncodeExpiry() { return Versioned(); }

absl::Status CheckExpiry(std::string_view bytes) {
  ByteReader reader(bytes);
  absl::Status status = CheckVersion(&reader);
  return status.ok() && !reader.done() ? Broken("expiry is malformed") : status;
}

std::string EncodeManifest(std::string_view bytes) { return Versioned().append(bytes); }

absl::StatusOr<std::string> DecodeManifest(std::string_view bytes) {
  ByteReader reader(bytes);
  if (absl::Status status = CheckVersion(&reader); !status.ok()) return status;
  return std::string(reader.rest());
}

std::string EncodeFormat(uint32_t version) {
  std::string out;
  AppendLittleEndian32(version, &out);
  return out;
}

absl::StatusOr<uint32_t> DecodeFormat(std::string_view bytes) {
  ByteReader reader(bytes);
  uint32_t version = 0;
  if (!reader.ReadLittleEndian32(&version) || !reader.done() || version == 0) {
    return Broken("format version is malformed");
  }
  return version;
}

absl::Status Damaged(Family family, std::string_view key, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("column family ", std::string(FamilyLabel(family)), ", key ",
                                   ToHex(key), ": ", status.message()));
}

}  // namespace vecino::storage
