#include "server/engine/migration_state.h"

#include <cmath>

#include "server/engine/types.h"
#include "storage/codec.h"

namespace vecino::engine {
namespace {

constexpr uint8_t kVersion = 1;
// Flags; on disk.
constexpr uint8_t kSwitched = 1, kBuilt = 2, kAllowVectorless = 4, kAutomatic = 8, kChecked = 16;
constexpr double kMillion = 1e6;
constexpr uint64_t kMillions = 1'000'000;

void AppendShare(double share, std::string* out) {
  storage::AppendVarint(static_cast<uint64_t>(std::lround(share * kMillion)), out);
}

bool ReadShare(storage::ByteReader& reader, double* share) {
  uint64_t millionths = 0;
  if (!reader.ReadVarint(&millionths) || millionths > kMillions) return false;
  *share = static_cast<double>(millionths) / kMillion;
  return true;
}

void AppendTime(absl::Time time, std::string* out) {
  storage::AppendSignedVarint(time == absl::InfinitePast() ? 0 : absl::ToUnixMicros(time), out);
}

bool ReadTime(storage::ByteReader& reader, absl::Time* time) {
  int64_t micros = 0;
  if (!reader.ReadSignedVarint(&micros)) return false;
  *time = micros == 0 ? absl::InfinitePast() : absl::FromUnixMicros(micros);
  return true;
}

bool ReadInt(storage::ByteReader& reader, uint64_t most, int* out) {
  uint64_t value = 0;
  if (!reader.ReadVarint(&value) || value > most) return false;
  *out = static_cast<int>(value);
  return true;
}

bool ReadOverlap(storage::ByteReader& reader, std::optional<MigrationOverlap>* out) {
  uint8_t measured = 0, own = 0;
  if (!reader.ReadByte(&measured) || measured > 1) return false;
  if (measured == 0) return true;
  MigrationOverlap& overlap = out->emplace();
  if (!ReadInt(reader, MigrationRequest::kMaxQueries, &overlap.samples) ||
      !ReadInt(reader, MigrationRequest::kMaxTopK, &overlap.top_k) ||
      !ReadShare(reader, &overlap.overlap) || !ReadShare(reader, &overlap.rank_biased) ||
      !reader.ReadByte(&own) || own > 1) {
    return false;
  }
  overlap.own_texts = own == 1;
  return true;
}

}  // namespace

std::string EncodeMigrationState(const MigrationState& state) {
  std::string out;
  storage::AppendByte(kVersion, &out);
  storage::AppendByte(
      static_cast<uint8_t>((state.switched ? kSwitched : 0) | (state.built ? kBuilt : 0) |
                           (state.allow_vectorless ? kAllowVectorless : 0) |
                           (state.automatic ? kAutomatic : 0) | (state.checked ? kChecked : 0)),
      &out);
  storage::AppendBytes(state.operation, &out);
  storage::AppendVarint(static_cast<uint64_t>(state.top_k), &out);
  AppendShare(state.min_overlap, &out);
  AppendTime(state.begin_time, &out);
  AppendTime(state.switch_time, &out);
  storage::AppendVarint(state.copy_through.size(), &out);
  for (const uint64_t sequence : state.copy_through) storage::AppendVarint(sequence, &out);
  storage::AppendVarint(state.queries.size(), &out);
  for (const std::string& query : state.queries) storage::AppendBytes(query, &out);
  storage::AppendByte(state.overlap.has_value() ? 1 : 0, &out);
  if (state.overlap.has_value()) {
    storage::AppendVarint(static_cast<uint64_t>(state.overlap->samples), &out);
    storage::AppendVarint(static_cast<uint64_t>(state.overlap->top_k), &out);
    AppendShare(state.overlap->overlap, &out);
    AppendShare(state.overlap->rank_biased, &out);
    storage::AppendByte(state.overlap->own_texts ? 1 : 0, &out);
  }
  return out;
}

absl::StatusOr<MigrationState> DecodeMigrationState(std::string_view bytes) {
  MigrationState state;
  storage::ByteReader reader(bytes);
  uint8_t version = 0, flags = 0;
  uint64_t shards = 0, queries = 0;
  std::string_view text;
  bool good = reader.ReadByte(&version) && version == kVersion && reader.ReadByte(&flags) &&
              flags <= (kSwitched | kBuilt | kAllowVectorless | kAutomatic | kChecked) &&
              reader.ReadBytes(&text);
  state.operation = std::string(text);
  good = good && ReadInt(reader, MigrationRequest::kMaxTopK, &state.top_k) &&
         ReadShare(reader, &state.min_overlap) && ReadTime(reader, &state.begin_time) &&
         ReadTime(reader, &state.switch_time) && reader.ReadVarint(&shards) &&
         shards <= Limits::kMaxShards;
  for (uint64_t i = 0; good && i < shards; ++i) {
    good = reader.ReadVarint(&state.copy_through.emplace_back());
  }
  good = good && reader.ReadVarint(&queries) && queries <= MigrationRequest::kMaxQueries;
  for (uint64_t i = 0; good && i < queries; ++i) {
    good = reader.ReadBytes(&text);
    state.queries.emplace_back(text);
  }
  if (!good || !ReadOverlap(reader, &state.overlap) || !reader.done()) {
    return absl::DataLossError(
        "the record of the migration cannot be read: it is damaged or from a newer version");
  }
  state.switched = (flags & kSwitched) != 0;
  state.built = (flags & kBuilt) != 0;
  state.allow_vectorless = (flags & kAllowVectorless) != 0;
  state.checked = (flags & kChecked) != 0;
  state.automatic = (flags & kAutomatic) != 0;
  return state;
}

}  // namespace vecino::engine
