#include "server/engine/validation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
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

absl::Status CheckExpiry(std::string_view path, const DocumentWrite& write, int64_t now_us) {
  const int64_t expire_time_us = write.document.expire_time_us;
  if (write.ttl_us != 0 && expire_time_us != 0) {
    return InvalidField(Join(path, "ttl"), "is given beside expire_time; give one of them");
  }
  if (write.ttl_us < 0) {
    return InvalidField(Join(path, "ttl"),
                        absl::StrCat("is ", absl::FormatDuration(absl::Microseconds(write.ttl_us)),
                                     ", must be more than 0"));
  }
  if (write.ttl_us > Limits::kMaxTimeUs - now_us) {
    return InvalidField(Join(path, "ttl"), "ends after the year 9999; leave it out for never");
  }
  if (expire_time_us == 0 || write.expiry_as_stored) return absl::OkStatus();
  if (expire_time_us <= now_us || expire_time_us > Limits::kMaxTimeUs) {
    return InvalidField(
        Join(path, "expire_time"),
        absl::StrCat("is ",
                     absl::FormatTime(absl::FromUnixMicros(expire_time_us), absl::UTCTimeZone()),
                     ", must be after now (",
                     absl::FormatTime(absl::FromUnixMicros(now_us), absl::UTCTimeZone()),
                     ") and before the year 10000"));
  }
  return absl::OkStatus();
}

absl::Status CheckTopK(std::string_view field, int top_k) {
  if (top_k >= 1 && top_k <= Limits::kMaxTopK) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", top_k, ", must be 1 to ", Limits::kMaxTopK));
}

namespace {

// One parameter of an index: where it stands, its value, its range, and which kinds have it.
struct Parameter {
  const char* name;
  int value;
  int least, most;
  std::initializer_list<IndexKind> kinds;
};

std::string KindNames(const std::initializer_list<IndexKind>& kinds) {
  std::string names;
  for (const IndexKind kind : kinds) {
    const std::string_view name = index::IndexKindName(kind);
    absl::StrAppend(&names, names.empty() ? "" : ", ", absl::string_view(name.data(), name.size()));
  }
  return names;
}

absl::Status CheckRange(std::string_view field, int value, int least, int most) {
  if (value == 0 || (value >= least && value <= most)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, ", must be ", least, " to ", most,
                                          ", or 0 to leave it to the server"));
}

absl::Status CheckRecall(std::string_view field, double recall) {
  if (recall >= Limits::kMinRecallTarget && recall <= 1) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", recall, ", must be ", Limits::kMinRecallTarget,
                                          " to 1, such as 0.95"));
}

}  // namespace

absl::Status CheckRecallGate(double min_recall) {
  if (min_recall >= 0 && min_recall <= 1) return absl::OkStatus();
  return InvalidField("min_recall_gate",
                      absl::StrCat("is ", min_recall, ", must be 0 to 1, such as 0.9; 0: none"));
}

absl::Status CheckIndexSpec(const IndexSpec& spec, int dimension) {
  using enum index::IndexKind;
  const std::string policy = "collection.index_policy.";
  if (absl::Status status = CheckRecall(policy + "recall_target", spec.recall_target);
      !status.ok()) {
    return status;
  }
  const Parameter parameters[] = {
      {"nlist", spec.nlist, 1, Limits::kMaxLists, {kAuto, kIvfFlat, kIvfSq8, kIvfPq}},
      {"nprobe", spec.nprobe, 1, Limits::kMaxLists, {kIvfFlat, kIvfSq8, kIvfPq}},
      {"pq_m", spec.pq_m, 1, dimension, {kIvfPq}},
      {"pq_bits", spec.pq_bits, Limits::kMinPqBits, Limits::kMaxPqBits, {kIvfPq}},
      {"hnsw_m", spec.hnsw_m, Limits::kMinHnswM, Limits::kMaxHnswM, {kHnsw, kAuto}},
      {"ef_construction",
       spec.ef_construction,
       Limits::kMinEfConstruction,
       Limits::kMaxEf,
       {kHnsw}},
      {"ef_search", spec.ef_search, 1, Limits::kMaxEf, {kHnsw}},
      {"lsh_bits", spec.lsh_bits, 8, Limits::kMaxLshBits, {kLsh}},
  };
  for (const Parameter& parameter : parameters) {
    if (parameter.value == 0) continue;
    const std::string field = policy + "parameters." + parameter.name;
    if (std::find(parameter.kinds.begin(), parameter.kinds.end(), spec.kind) ==
        parameter.kinds.end()) {
      const std::string_view kind = index::IndexKindName(spec.kind);
      return InvalidField(
          field, absl::StrCat("is ", parameter.value, ", but an index of kind ",
                              absl::string_view(kind.data(), kind.size()),
                              " has no such parameter; it is one of ", KindNames(parameter.kinds)));
    }
    absl::Status status = CheckRange(field, parameter.value, parameter.least, parameter.most);
    if (!status.ok()) return status;
  }
  if (spec.nprobe > 0 && spec.nlist > 0 && spec.nprobe > spec.nlist) {
    return InvalidField(policy + "parameters.nprobe",
                        absl::StrCat("is ", spec.nprobe, ", more than the ", spec.nlist,
                                     " lists that nlist asks for"));
  }
  if (spec.pq_m > 0 && dimension % spec.pq_m != 0) {
    return InvalidField(policy + "parameters.pq_m",
                        absl::StrCat("is ", spec.pq_m, ", which does not divide the dimension ",
                                     dimension, "; take a divisor of it"));
  }
  if (spec.lsh_bits % 8 != 0) {
    return InvalidField(policy + "parameters.lsh_bits",
                        absl::StrCat("is ", spec.lsh_bits, ", must be a multiple of 8"));
  }
  if (!spec.graph && spec.kind != kAuto) {
    return InvalidField(policy + "parameters.graph", "is false, but only AUTO builds a graph");
  }
  return absl::OkStatus();
}

absl::Status CheckEffort(const SearchRequest& request) {
  if (request.recall_target != 0) {
    absl::Status status = CheckRecall("recall_target", request.recall_target);
    if (!status.ok()) return status;
  }
  const struct {
    const char* field;
    int value, most;
  } parameters[] = {{"parameters.nprobe", request.nprobe, Limits::kMaxLists},
                    {"parameters.ef_search", request.ef_search, Limits::kMaxEf},
                    {"parameters.rerank", request.rerank, Limits::kMaxRerank}};
  for (const auto& [field, value, most] : parameters) {
    if (absl::Status status = CheckRange(field, value, 1, most); !status.ok()) return status;
    if (value != 0 && (request.exact || request.recall_target != 0)) {
      return InvalidField(field, absl::StrCat("is ", value, ", which makes no sense with ",
                                              request.exact ? "exact" : "recall_target"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int>> CheckShards(std::string_view field, absl::Span<const int> shards,
                                             int shard_count) {
  std::vector<int> numbers(shards.begin(), shards.end());
  if (numbers.empty()) {
    numbers.resize(shard_count);
    std::iota(numbers.begin(), numbers.end(), 0);
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] >= 0 && numbers[i] < shard_count) continue;
    return InvalidField(
        absl::StrCat(absl::string_view(field.data(), field.size()), "[", i, "]"),
        absl::StrCat("is ", numbers[i], ", the collection has shards 0 to ", shard_count - 1));
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
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
    // One that was normalised before stays as it is, bit for bit, so that what is exported and
    // loaded again is the same: rounding its values to floats changed its squared length by a share
    // of 2^-23 at most.
    constexpr double kUnit = 0x1p-22;
    if (std::abs(squares - 1) > kUnit) {
      for (float& x : *vector) x = static_cast<float>(x / length);
    }
  } else if (length > kMaxLength) {
    return InvalidField(field, absl::StrCat("has length ", length, ", may have ", kMaxLength,
                                            " at most; scale the vectors down"));
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
