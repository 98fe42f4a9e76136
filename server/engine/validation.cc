#include "server/engine/validation.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/engine/utf8.h"

namespace vecino::engine {
namespace {

constexpr double kMaxLength = 1e18;

std::string Join(std::string_view path, const char* field) {
  return absl::StrCat(absl::string_view(path.data(), path.size()), ".", field);
}

absl::Status CheckUtf8(std::string_view field, std::string_view text) {
  const std::optional<size_t> offset = FindInvalidUtf8(text);
  if (!offset.has_value()) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("is not UTF-8: byte 0x",
                          absl::Hex(static_cast<unsigned char>(text[*offset]), absl::kZeroPad2),
                          " at offset ", *offset, "; send text in UTF-8"));
}

}  // namespace

absl::Status CheckBatchSize(std::string_view field, size_t size) {
  if (size >= 1 && size <= static_cast<size_t>(Limits::kMaxBatch)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("has ", size, " entries, must have 1 to ",
                                          Limits::kMaxBatch, "; split the call"));
}

absl::Status CheckCollectionId(std::string_view field, std::string_view id) {
  bool good = !id.empty() && id.size() <= 63 && id[0] != '-' && id[0] != '_';
  for (const char c : id) {
    good = good && (absl::ascii_islower(static_cast<unsigned char>(c)) ||
                    absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-' || c == '_');
  }
  if (good) return absl::OkStatus();
  // The id may be any bytes, and messages are text.
  const std::string_view shown = FindInvalidUtf8(id).has_value() ? "not UTF-8" : id.substr(0, 80);
  return InvalidField(
      field, absl::StrCat("`", absl::string_view(shown.data(), shown.size()),
                          "` must be 1 to 63 characters of a-z, 0-9, - and _, and begin with a "
                          "letter or digit"));
}

absl::Status CheckDocumentId(std::string_view field, std::string_view id) {
  if (id.empty() || id.size() > Limits::kMaxDocumentIdBytes) {
    return InvalidField(field, absl::StrCat("has ", id.size(), " bytes, must have 1 to ",
                                            Limits::kMaxDocumentIdBytes));
  }
  if (id.find('\0') != std::string_view::npos) {
    return InvalidField(field, absl::StrCat("has a NUL byte at offset ", id.find('\0'),
                                            "; ids may hold any other character"));
  }
  return CheckUtf8(field, id);
}

absl::Status CheckText(std::string_view field, std::string_view text) {
  if (text.size() > Limits::kMaxTextBytes) {
    return InvalidField(field, absl::StrCat("has ", text.size(), " bytes, may have ",
                                            Limits::kMaxTextBytes, " at most; split the text"));
  }
  return CheckUtf8(field, text);
}

absl::Status CheckDocument(std::string_view path, const storage::Document& document) {
  if (absl::Status status = CheckDocumentId(Join(path, "id"), document.id); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckText(Join(path, "text"), document.text); !status.ok()) {
    return status;
  }
  if (document.metadata.size() > Limits::kMaxMetadataBytes) {
    return InvalidField(Join(path, "metadata"),
                        absl::StrCat("has ", document.metadata.size(), " bytes as JSON, may have ",
                                     Limits::kMaxMetadataBytes, " at most"));
  }
  return absl::OkStatus();
}

absl::Status CheckTopK(std::string_view field, int top_k) {
  if (top_k >= 1 && top_k <= Limits::kMaxTopK) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", top_k, ", must be 1 to ", Limits::kMaxTopK));
}

absl::Status PrepareVector(std::string_view field, Metric metric, int dimension,
                           std::vector<float>* vector) {
  if (vector->size() != static_cast<size_t>(dimension)) {
    return InvalidField(field, absl::StrCat("has ", vector->size(),
                                            " values, the collection's dimension is ", dimension));
  }
  double squares = 0;  // in double, so that no float's square overflows or vanishes
  for (size_t i = 0; i < vector->size(); ++i) {
    const float x = (*vector)[i];
    if (!std::isfinite(x)) {
      return InvalidField(field, absl::StrCat("value ", i, " is ", x, ", must be finite"));
    }
    squares += static_cast<double>(x) * x;
  }
  const double length = std::sqrt(squares);
  if (metric == Metric::kCosine) {
    if (length == 0) {
      return InvalidField(field, "is all zeros, which has no direction to compare under cosine");
    }
    for (float& x : *vector) x = static_cast<float>(x / length);
  } else if (length > kMaxLength) {
    return InvalidField(field, absl::StrCat("has length ", length, ", may have ", kMaxLength,
                                            " at most; scale the vectors down"));
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
