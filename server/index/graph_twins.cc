#include "server/index/graph_twins.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

namespace vecino::index {
namespace {

uint64_t Hash(const uint8_t* codes, size_t stride, float scale) {
  uint32_t bits;
  std::memcpy(&bits, &scale, sizeof(bits));
  uint64_t hash = bits;
  for (size_t i = 0; i < stride; i += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, codes + i, sizeof(word));
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

GraphTwins::GraphTwins(const Int8Rows& rows, int64_t n) {
  const size_t stride = Int8Stride(rows.d);
  struct Row {
    uint64_t hash;
    uint32_t slot;
  };
  std::vector<Row> order(n);
  for (int64_t i = 0; i < n; ++i) {
    order[i] = {Hash(rows.codes + i * stride, stride, rows.scales[i]), static_cast<uint32_t>(i)};
  }
  std::sort(order.begin(), order.end(), [](const Row& a, const Row& b) {
    return std::tie(a.hash, a.slot) < std::tie(b.hash, b.slot);
  });
  const auto equal = [&](uint32_t a, uint32_t b) {
    return rows.scales[a] == rows.scales[b] &&
           std::memcmp(rows.codes + a * stride, rows.codes + b * stride, stride) == 0;
  };
  for (size_t i = 0; i < order.size();) {
    const Row& first = order[i];
    for (++i; i < order.size() && order[i].hash == first.hash; ++i) {
      // Different rows of the same hash are inserted as if they were alone.
      if (equal(first.slot, order[i].slot)) twins_.push_back({first.slot, order[i].slot});
    }
  }
  std::sort(twins_.begin(), twins_.end(), [](const Twin& a, const Twin& b) {
    return std::tie(a.first, a.slot) < std::tie(b.first, b.slot);
  });
}

void GraphTwins::Unlink(size_t width, const Tombstones& missing, int32_t* links) const {
  auto replaced = replaced_.begin();
  for (size_t i = 0; i < twins_.size(); ++i) {
    const auto [first, slot] = twins_[i];
    if (missing.IsDead(first)) continue;
    std::fill_n(links + slot * width, width, -1);
    if (i > 0 && twins_[i - 1].first == first) continue;
    int32_t* const row = links + first * width;
    *std::find(row, row + width, static_cast<int32_t>(slot)) = *replaced++;
  }
}

void GraphTwins::Link(size_t width, const Tombstones& missing, int32_t* links) {
  replaced_.clear();
  for (size_t begin = 0, end; begin < twins_.size(); begin = end) {
    const uint32_t first = twins_[begin].first;
    for (end = begin; end < twins_.size() && twins_[end].first == first;) ++end;
    if (missing.IsDead(first)) continue;
    int32_t* row = links + first * width;
    replaced_.push_back(std::exchange(*std::find(row, row + width - 1, -1),
                                      static_cast<int32_t>(twins_[begin].slot)));

    const size_t children = width - 1;
    for (size_t i = begin; i < end; ++i) {
      row = links + twins_[i].slot * width;
      std::fill(row, row + width, -1);
      *row++ = static_cast<int32_t>(first);
      const size_t child = begin + (i - begin) * children + 1;
      for (size_t j = child; j < std::min(child + children, end); ++j) {
        *row++ = static_cast<int32_t>(twins_[j].slot);
      }
    }
  }
}

}  // namespace vecino::index
