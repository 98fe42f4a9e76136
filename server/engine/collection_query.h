// What the parts of a search hand to each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/engine/collection.h"
#include "server/engine/recall_sampler.h"
#include "server/engine/search_trace.h"
#include "server/fields/bm25.h"
#include "server/fields/filter.h"
#include "server/index/hit.h"
#include "server/index/search_params.h"

namespace vecino::engine {

// What is looked for.
struct Collection::Query {
  std::vector<float> vector;  // as it is compared
  bool by_words = false;      // whether `words` rank, alone or, with `fusion`, beside `vector`
  std::vector<fields::LexicalTerm> words;
  const Fusion* fusion = nullptr;                // of the request
  index::SearchParams params;                    // k and filter are set by each scan
  std::shared_ptr<const fields::Filter> filter;  // null: none
  std::vector<std::string> exclude;  // ids that are not to be returned: ascending, each once
  int wanted = 0;                    // documents to return
  storage::DocumentParts parts;      // to read
  storage::DocumentParts asked;      // to return; `parts` may have more, for passages
  size_t max_bytes = 0;              // that they may take
  int token_count = 0;
  bool truncated = false;
  std::optional<float> min_score;
  std::optional<SearchPosition> after;
  // Of the request, null where there is none. At most one of the two, and neither with `after`.
  const GroupBy* group_by = nullptr;
  const Diversify* diversify = nullptr;
  int top_k = 0;                                         // groups, with group_by
  index::Metric ranking = index::Metric::kInnerProduct;  // how scores of candidates compare
  SearchTrace* trace = nullptr;                          // told what scans look at, unless null
  RecallTask* sample = nullptr;  // set to what the next scan looks at and finds, unless null

  // Whether the recall of its answer says how well the index looks: a search by meaning that leaves
  // it to the index how widely to look. Neighbours of stored documents are easier to find than
  // others; probes measure them.
  bool IsMeasurable() const {
    return !by_words && !params.exact && params.nprobe == 0 && params.ef == 0 &&
           params.rerank == 0 && group_by == nullptr && diversify == nullptr &&
           !after.has_value() && exclude.empty();
  }

  // Whether ids and times are all that is returned.
  bool heads_only() const {
    return !parts.text && !parts.metadata && !parts.vector && !parts.passages;
  }
  // Where `id` stands in `exclude`, null when it is not there.
  const std::string* FindExcluded(std::string_view id) const {
    if (exclude.empty()) return nullptr;
    const auto at = std::lower_bound(exclude.begin(), exclude.end(), id);
    return at != exclude.end() && *at == id ? &*at : nullptr;
  }
  // Candidates that make sure of `hits` hits.
  int Candidates(int hits) const { return hits + static_cast<int>(exclude.size()); }
};

// A hit that is not fetched yet.
struct Collection::Candidate {
  int shard = 0;
  int group = -1;                       // place of its group's value in Fetched::groups
  index::Hit hit;                       // label: the sequence number
  std::optional<float> dense, lexical;  // as in SearchHit
  int passage = -1;                     // nearest to the query's vector; -1: found by words alone
};

struct Collection::Fetched {
  std::vector<SearchHit> hits;
  std::vector<int> passages;  // of hits that were read from the store: as Candidate::passage
  std::vector<GroupValue> groups;
  std::vector<int> stale_shards;  // where a hit's version was gone from the store
  int gone = 0;
  // Whether the candidates are all that the index has behind the position. Otherwise there may be
  // more.
  bool complete = false;
  bool left_over = false;  // whether candidates were not needed
};

}  // namespace vecino::engine
