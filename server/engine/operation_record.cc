#include "server/engine/operation_record.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "storage/codec.h"

namespace vecino::engine {
namespace {

// On disk: never renumber.
constexpr uint64_t kRetrain = 1, kCompact = 2, kPurge = 3, kPatch = 4, kMigrate = 5, kTune = 6;
constexpr uint8_t kDone = 1, kCancelRequested = 2;  // flags
// Behind the parts: of retrains and tunings, how each ended; then of a tuning, what it measured.
constexpr uint8_t kOutcomes = 1, kTuning = 2;
constexpr uint64_t kMostPoints = 1000;
constexpr double kRecallUnit = 1e-6;

uint64_t ToStored(Operation::Type type) {
  switch (type) {
    case Operation::Type::kRetrain:
      return kRetrain;
    case Operation::Type::kCompact:
      return kCompact;
    case Operation::Type::kPurge:
      return kPurge;
    case Operation::Type::kPatch:
      return kPatch;
    case Operation::Type::kMigrate:
      return kMigrate;
    case Operation::Type::kTune:
      return kTune;
    case Operation::Type::kSnapshot:  // not stored: they are of no collection
    case Operation::Type::kRestore:
      return 0;
  }
  return 0;
}

bool FromStored(uint64_t stored, Operation::Type* type) {
  using Type = Operation::Type;
  for (const Type known :
       {Type::kRetrain, Type::kCompact, Type::kPurge, Type::kPatch, Type::kMigrate, Type::kTune}) {
    if (ToStored(known) != stored) continue;
    *type = known;
    return true;
  }
  return false;
}

bool ReadString(storage::ByteReader& reader, std::string* out) {
  std::string_view bytes;
  if (!reader.ReadBytes(&bytes)) return false;
  *out = std::string(bytes);
  return true;
}

bool ReadTime(storage::ByteReader& reader, absl::Time* out) {
  int64_t micros = 0;
  if (!reader.ReadSignedVarint(&micros)) return false;
  *out = absl::FromUnixMicros(micros);
  return true;
}

bool ReadPart(storage::ByteReader& reader, Operation::Part* part) {
  uint64_t shard = 0, code = 0;
  uint8_t done = 0;
  std::string message;
  if (!reader.ReadVarint(&shard) || shard > std::numeric_limits<uint16_t>::max() ||
      !ReadString(reader, &part->stage) || !reader.ReadSignedVarint(&part->rows_done) ||
      !reader.ReadSignedVarint(&part->rows_total) || !reader.ReadByte(&done) || done > 1 ||
      !reader.ReadVarint(&code) || code > 16 || !ReadString(reader, &message)) {
    return false;
  }
  part->shard = static_cast<int>(shard);
  part->done = done == 1;
  part->status =
      absl::Status(static_cast<absl::StatusCode>(code), {message.data(), message.size()});
  return true;
}

using OutcomeKind = Operation::Outcome::Kind;
constexpr OutcomeKind kOutcomeKinds[] = {OutcomeKind::kNone, OutcomeKind::kPublished,
                                         OutcomeKind::kRejected, OutcomeKind::kNotNeeded};

void AppendOutcome(const Operation::Outcome& outcome, std::string* bytes) {
  uint64_t kind = 0;
  while (kOutcomeKinds[kind] != outcome.kind) ++kind;
  storage::AppendVarint(kind, bytes);
  storage::AppendBytes(outcome.reason, bytes);
  for (const double recall : {outcome.recall_before, outcome.recall_after}) {
    storage::AppendSignedVarint(std::llround(recall / kRecallUnit), bytes);
  }
  storage::AppendSignedVarint(outcome.rows_before, bytes);
  storage::AppendSignedVarint(outcome.rows_after, bytes);
}

bool ReadOutcome(storage::ByteReader& reader, Operation::Outcome* outcome) {
  uint64_t kind = 0;
  int64_t before = 0, after = 0;
  if (!reader.ReadVarint(&kind) || kind >= std::size(kOutcomeKinds) ||
      !ReadString(reader, &outcome->reason) || !reader.ReadSignedVarint(&before) ||
      !reader.ReadSignedVarint(&after) || !reader.ReadSignedVarint(&outcome->rows_before) ||
      !reader.ReadSignedVarint(&outcome->rows_after)) {
    return false;
  }
  outcome->kind = kOutcomeKinds[kind];
  outcome->recall_before = static_cast<double>(before) * kRecallUnit;
  outcome->recall_after = static_cast<double>(after) * kRecallUnit;
  return true;
}

// A number from 0 to about 1.
void AppendShare(double share, std::string* bytes) {
  storage::AppendVarint(static_cast<uint64_t>(std::llround(std::max(share, 0.0) / kRecallUnit)),
                        bytes);
}

bool ReadShare(storage::ByteReader& reader, double* share) {
  uint64_t millionths = 0;
  if (!reader.ReadVarint(&millionths)) return false;
  *share = static_cast<double>(millionths) / 1e6;
  return true;
}

bool ReadInt(storage::ByteReader& reader, int* number) {
  int64_t read = 0;
  if (!reader.ReadSignedVarint(&read) || read < std::numeric_limits<int>::min() ||
      read > std::numeric_limits<int>::max()) {
    return false;
  }
  *number = static_cast<int>(read);
  return true;
}

void AppendTuning(const TuningResult& tuning, std::string* bytes) {
  for (const int number : {tuning.recommended, tuning.queries, tuning.live_queries}) {
    storage::AppendSignedVarint(number, bytes);
  }
  AppendShare(tuning.target, bytes);
  AppendShare(tuning.share, bytes);
  storage::AppendVarint(tuning.points.size(), bytes);
  for (const TuningPoint& point : tuning.points) {
    storage::AppendSignedVarint(point.breadth, bytes);
    AppendShare(point.recall, bytes);
    AppendShare(point.error, bytes);
    storage::AppendSignedVarint(absl::ToInt64Nanoseconds(point.p50), bytes);
    storage::AppendSignedVarint(absl::ToInt64Nanoseconds(point.p99), bytes);
    storage::AppendSignedVarint(point.rows_scanned, bytes);
    storage::AppendByte(point.exact ? 1 : 0, bytes);
  }
}

bool ReadTuning(storage::ByteReader& reader, Operation::Info* info) {
  TuningResult tuning;
  uint64_t points = 0;
  bool good = ReadInt(reader, &tuning.recommended) && ReadInt(reader, &tuning.queries) &&
              ReadInt(reader, &tuning.live_queries) && ReadShare(reader, &tuning.target) &&
              ReadShare(reader, &tuning.share) && reader.ReadVarint(&points) &&
              points <= kMostPoints;
  for (uint64_t i = 0; good && i < points; ++i) {
    TuningPoint& point = tuning.points.emplace_back();
    int64_t p50 = 0, p99 = 0;
    uint8_t exact = 0;
    good = ReadInt(reader, &point.breadth) && ReadShare(reader, &point.recall) &&
           ReadShare(reader, &point.error) && reader.ReadSignedVarint(&p50) &&
           reader.ReadSignedVarint(&p99) && reader.ReadSignedVarint(&point.rows_scanned) &&
           reader.ReadByte(&exact) && exact <= 1;
    point.p50 = absl::Nanoseconds(p50);
    point.p99 = absl::Nanoseconds(p99);
    point.exact = exact == 1;
  }
  if (!good || tuning.recommended < -1 || tuning.recommended >= static_cast<int64_t>(points)) {
    return false;
  }
  info->tuning = std::make_shared<const TuningResult>(std::move(tuning));
  return true;
}

}  // namespace

std::string EncodeOperation(const Operation::Info& info) {
  std::string bytes;
  storage::AppendBytes(info.id, &bytes);
  storage::AppendVarint(ToStored(info.type), &bytes);
  storage::AppendByte(static_cast<uint8_t>((info.done ? kDone : 0) |
                                           (info.cancel_requested ? kCancelRequested : 0)),
                      &bytes);
  storage::AppendSignedVarint(absl::ToUnixMicros(info.create_time), &bytes);
  storage::AppendSignedVarint(info.done ? absl::ToUnixMicros(info.end_time) : 0, &bytes);
  storage::AppendVarint(info.parts.size(), &bytes);
  for (const Operation::Part& part : info.parts) {
    storage::AppendVarint(static_cast<uint64_t>(part.shard), &bytes);
    storage::AppendBytes(part.stage, &bytes);
    storage::AppendSignedVarint(part.rows_done, &bytes);
    storage::AppendSignedVarint(part.rows_total, &bytes);
    storage::AppendByte(part.done ? 1 : 0, &bytes);
    storage::AppendVarint(static_cast<uint64_t>(part.status.code()), &bytes);
    const absl::string_view message = part.status.message();
    storage::AppendBytes({message.data(), message.size()}, &bytes);
  }
  const bool outcomes = std::any_of(info.parts.begin(), info.parts.end(), [](const auto& part) {
    return part.outcome != Operation::Outcome();
  });
  if (outcomes) {
    storage::AppendByte(kOutcomes, &bytes);
    for (const Operation::Part& part : info.parts) AppendOutcome(part.outcome, &bytes);
  }
  if (info.tuning != nullptr) {
    storage::AppendByte(kTuning, &bytes);
    AppendTuning(*info.tuning, &bytes);
  }
  return bytes;
}

absl::StatusOr<Operation::Info> DecodeOperation(std::string_view collection, uint64_t number,
                                                std::string_view bytes) {
  Operation::Info info;
  info.collection = std::string(collection);
  info.number = number;
  storage::ByteReader reader(bytes);
  uint64_t type = 0, parts = 0;
  uint8_t flags = 0;
  bool good = ReadString(reader, &info.id) && reader.ReadVarint(&type) &&
              FromStored(type, &info.type) && reader.ReadByte(&flags) &&
              flags <= (kDone | kCancelRequested) && ReadTime(reader, &info.create_time) &&
              ReadTime(reader, &info.end_time) && reader.ReadVarint(&parts) &&
              parts <= Limits::kMaxShards;
  for (uint64_t i = 0; good && i < parts; ++i) {
    good = ReadPart(reader, &info.parts.emplace_back());
  }
  uint8_t behind = 0;
  if (good && !reader.done()) {
    good = reader.ReadByte(&behind) && (behind == kOutcomes || behind == kTuning);
    if (good && behind == kOutcomes) {
      for (Operation::Part& part : info.parts) good = good && ReadOutcome(reader, &part.outcome);
      if (good && !reader.done()) good = reader.ReadByte(&behind) && behind == kTuning;
    }
    if (good && behind == kTuning) good = ReadTuning(reader, &info);
  }
  if (!good || !reader.done()) {
    return absl::DataLossError(
        absl::StrCat("the record of operation ", number, " of collection `",
                     absl::string_view(collection.data(), collection.size()),
                     "` cannot be read: it is damaged or from a newer version"));
  }
  info.done = (flags & kDone) != 0;
  info.cancel_requested = (flags & kCancelRequested) != 0;
  if (!info.done) info.end_time = absl::InfiniteFuture();
  return info;
}

}  // namespace vecino::engine
