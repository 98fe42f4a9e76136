#include "server/index/frozen_rows.h"

#include <bit>
#include <utility>

namespace vecino::index {

uint64_t FrozenRows::Source::label(int64_t slot) const {
  return tail != nullptr ? tail->label(static_cast<int>(slot)) : segment.segment->label(slot);
}

const float* FrozenRows::Source::vector(int64_t slot) const {
  return tail != nullptr ? tail->vector(static_cast<int>(slot)) : segment.segment->vector(slot);
}

void FrozenRows::AddSource(Source source) {
  source.dead = source.tombstones().Snapshot();
  int64_t dead = 0;
  for (uint64_t word : source.dead) dead += std::popcount(word);
  dead_ += dead;
  live_ += source.size() - dead;
  sources_.push_back(std::move(source));
}

absl::Status FrozenRows::ForEachLive(
    absl::FunctionRef<absl::Status(uint64_t label, const float* vector)> fn) const {
  for (const Source& source : sources_) {
    const int64_t size = source.size();
    for (int64_t i = 0; i < size; ++i) {
      const int64_t slot = source.tail != nullptr ? i : source.segment.segment->InLabelOrder(i);
      if (source.dead[slot / 64] >> (slot % 64) & 1) continue;
      if (absl::Status status = fn(source.label(slot), source.vector(slot)); !status.ok()) {
        return status;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace vecino::index
