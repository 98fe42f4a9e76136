#include "server/engine/live_index_spec.h"

#include <algorithm>
#include <cmath>

namespace vecino::engine {
namespace {

constexpr double kMillion = 1e6;
// Bits, from the lowest: graph, ef_search up to 4,096, nprobe up to 65,536, millionths of recall.
constexpr int kEfAt = 1, kNprobeAt = 14, kRecallAt = 31;
constexpr uint64_t kEfMask = (1 << 13) - 1, kNprobeMask = (1 << 17) - 1;
static_assert(Limits::kMaxEf <= kEfMask && Limits::kMaxLists <= kNprobeMask);

}  // namespace

uint64_t LiveIndexSpec::Pack(const IndexSpec& spec) {
  const auto bits = [](int value, int most) {
    return static_cast<uint64_t>(std::clamp(value, 0, most));
  };
  const auto recall =
      static_cast<uint64_t>(std::llround(std::clamp(spec.recall_target, 0.0, 1.0) * kMillion));
  return recall << kRecallAt | bits(spec.nprobe, Limits::kMaxLists) << kNprobeAt |
         bits(spec.ef_search, Limits::kMaxEf) << kEfAt | (spec.graph ? 1 : 0);
}

IndexSpec LiveIndexSpec::Get() const {
  const uint64_t knobs = knobs_.load(std::memory_order_acquire);
  IndexSpec spec = made_;
  spec.recall_target = static_cast<double>(knobs >> kRecallAt) / kMillion;
  spec.nprobe = static_cast<int>(knobs >> kNprobeAt & kNprobeMask);
  spec.ef_search = static_cast<int>(knobs >> kEfAt & kEfMask);
  spec.graph = (knobs & 1) != 0;
  return spec;
}

}  // namespace vecino::engine
