// One query against all segments of one generation: centroids are ranked and tables made once.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "server/index/ivf_segment.h"
#include "server/index/search_params.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

// One segment of the generation, as a view holds it.
struct IvfPart {
  const IvfSegment* segment = nullptr;
  const Tombstones* dead = nullptr;
  const uint64_t* allowed = nullptr;  // SlotBits::words
};

// What a search did, for explanations and tests.
struct IvfWork {
  int nprobe = 0;        // lists
  int64_t scanned = 0;   // rows whose codes were looked up
  int64_t reranked = 0;  // by 8-bit rows
  int64_t scored = 0;    // by floats
};

// Ranks lists → scans the codes of the probed lists of every part, best kept in a reservoir →
// scores those by their 8-bit rows → scores the best of these by floats and pushes them. With a
// filter that lets few rows pass (at most kGather), these are scored by their 8-bit rows directly,
// which is quicker and exact but for rounding. All parts have the same generation; at least one.
// Thread safe; scratch memory is kept per thread.
// calibration: in place of the generation's, while that is being measured.
absl::Status SearchIvf(const std::vector<IvfPart>& parts, const float* query,
                       const SearchParams& params, TopK* top, IvfWork* work = nullptr,
                       const Calibration* calibration = nullptr);

}  // namespace vecino::index
