// A filter over documents' fields as the index of vectors asks for it: bits by slot.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/filter_cache.h"
#include "server/engine/label_scheme.h"
#include "server/engine/slot_maps.h"
#include "server/fields/field_index.h"
#include "server/fields/filter.h"
#include "server/index/search_params.h"

namespace vecino::engine {

// For one search of one shard. Fields are written before vectors, and each part is asked for when
// the search comes to it, so a row that the search can see is known here.
class ShardFilter final : public index::RowFilter {
 public:
  // All outlive it. cache, maps: null for none. spent: the time that it takes is added to it,
  // unless null. counts: it is a search that codes of rows would be of use to (PassingRows).
  ShardFilter(const fields::FieldIndex& fields, const fields::Filter& filter, LabelScheme labels,
              FilterCache* cache, SlotMaps* maps, absl::Duration* spent = nullptr,
              bool counts = false)
      : fields_(fields),
        filter_(filter),
        labels_(labels),
        cache_(cache),
        maps_(maps),
        spent_(spent),
        counts_(counts) {}

  index::SlotBits OfSegment(const index::Segment& segment) const override;
  index::SlotBits OfTail(const index::Tail& tail) const override;

 private:
  index::SlotBits BitsOfSegment(const index::Segment& segment) const;
  index::SlotBits BitsOfTail(const index::Tail& tail) const;

  const fields::FieldIndex& fields_;
  const fields::Filter& filter_;
  const LabelScheme labels_;
  FilterCache* const cache_;
  SlotMaps* const maps_;
  absl::Duration* const spent_;
  const bool counts_;
  // Until the search ends.
  mutable std::vector<std::shared_ptr<const void>> held_;  // what was answered with
  mutable std::vector<uint64_t> counted_;  // segments; each once, however often it is asked for
};

}  // namespace vecino::engine
