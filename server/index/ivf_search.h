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
  const uint64_t* allowed = nullptr;    // SlotBits::words
  const PassingCodes* codes = nullptr;  // of the same rows, or null
  int64_t passing = -1;                 // how many of these are set; -1: not known
};

// What a search did, for reports and tests.
struct IvfWork {
  int nprobe = 0;          // lists
  int64_t scanned = 0;     // rows whose codes were looked up, or that stood in a probed list
  int64_t reranked = 0;    // by 8-bit rows, after their codes or one by one out of lists
  int64_t gathered = 0;    // by 8-bit rows, all that pass
  int64_t scored = 0;      // by floats
  bool by_codes = false;   // whether codes chose among the rows of lists
  bool all_codes = false;  // and that of all lists, whatever the breadth would have been
  double recall = 1;       // expected by calibration; 1 where all that pass were compared
  int breadth = 0;         // before the probe rule
};

// What rows cost a search, in nanoseconds: of which way is the cheapest, ratios matter only.
// Measured with AVX-512 and memory that was not read lately (docs/index.md).
struct SearchCost {
  static constexpr double kCode = 2.5;    // a row's code, in a list
  static constexpr double kRow = 40;      // an 8-bit row anywhere
  static constexpr double kSkip = 0.15;   // a row of a list that the filter does not let pass
  static constexpr double kAllRows = 14;  // an 8-bit row when all that pass are compared, in order
};

// Rows that pass a filter up to which all of them are compared by their 8-bit rows, without
// thinking of lists.
inline constexpr int64_t kGather = 4'000;

// Under a filter that lets fewer than one in so many rows pass, the passing rows of the probed
// lists are scored by their 8-bit rows without a look at their codes: 20 to 60 ns each, from
// memory, where the codes of all rows take 2.3 to 4. At one in ten that is as quick for as many
// lists, and finds as much as codes do with an eighth more of them.
inline constexpr int64_t kSparse = 12;

// Breadths are measured with rows that pass at random. Where they are fewer than one in so many of
// what their share makes expect among the probed lists, the filter goes with the vectors, and the
// nearest of those that pass may stand in any list.
inline constexpr int64_t kRarer = 4;

// Ranks lists → scans the codes of the probed lists of every part, best kept in a reservoir →
// scores those by their 8-bit rows → scores the best of these by floats and pushes them. Where the
// calibration says that it takes longer, all rows that pass are scored by their 8-bit rows instead,
// which is exact but for rounding; so it is where at most kGather pass, and where those that pass
// turn out to be rare among the probed lists (kRarer), unless the caller said how many lists. All
// parts have the same generation; at least one. Thread safe; scratch memory is kept per thread.
// calibration: in place of the generation's, while that is being measured.
absl::Status SearchIvf(const std::vector<IvfPart>& parts, const float* query,
                       const SearchParams& params, TopK* top, IvfWork* work = nullptr,
                       const Calibration* calibration = nullptr);

// Rows of the lists that a search of this breadth probes, the best `keep` by their codes, best
// first: numbers of slots, those of the first part and then of the next. For calibrations.
void IvfCandidates(const std::vector<IvfPart>& parts, const float* query, int breadth, int keep,
                   const Calibration& calibration, std::vector<uint32_t>* slots);

}  // namespace vecino::index
