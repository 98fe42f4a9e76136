#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/distance.h"
#include "server/index/graph.h"
#include "server/index/graph_links.h"
#include "server/index/search_kinds.h"
#include "server/index/search_report.h"

namespace vecino::index {
namespace {

// A walk compares about 30 rows for each entry of its list, each at twice the price of a row that
// is compared in order of slots.
constexpr double kWalkCost = 60;
constexpr int kWiden = 4;          // of the list, when a walk found too few live rows
constexpr int kMaxDeadShare = 16;  // the list holds this many times `ef`, if most rows are dead
constexpr size_t kScanBatch = 256;
constexpr size_t kFirstRows = 8;  // that ScoreSlots cannot ask for ahead
constexpr size_t kLine = 64;      // bytes that a prefetch brings

// One row that a walk saw, in order of nearness.
struct Seen {
  static constexpr uint32_t kExpanded = uint32_t{1} << 31;
  static constexpr uint32_t kLive = uint32_t{1} << 30;
  float near = 0;      // small is near
  uint32_t flags = 0;  // and the slot

  uint32_t slot() const { return flags & ~(kExpanded | kLive); }
  bool expanded() const { return (flags & kExpanded) != 0; }
  bool live() const { return (flags & kLive) != 0; }
};

// The nearest rows seen: as many as it takes to have `ef` live ones among them, up to a limit.
class SeenList {
 public:
  void Reset(size_t ef, size_t limit) {
    ef_ = ef, limit_ = limit;
    size_ = live_ = 0;
    if (entries_.size() <= limit) entries_.resize(limit + 1);
  }

  size_t size() const { return size_; }
  size_t live() const { return live_; }
  Seen& operator[](size_t i) { return entries_[i]; }

  bool MayTake(float near) const {
    return (live_ < ef_ && size_ < limit_) || near < entries_[size_ - 1].near;
  }

  // Only what MayTake says it takes. Returns its place.
  size_t Insert(float near, uint32_t slot, bool live) {
    size_t low = 0;
    for (size_t n = size_; n > 0;) {  // no branches to guess wrongly
      const size_t half = (n + 1) / 2;
      low += entries_[low + half - 1].near <= near ? half : 0;
      n -= half;
    }
    std::memmove(&entries_[low + 1], &entries_[low], (size_ - low) * sizeof(Seen));
    entries_[low] = {near, slot | (live ? Seen::kLive : 0)};
    ++size_;
    live_ += live ? 1 : 0;
    if (live_ > ef_) {
      DropLast();
      while (!entries_[size_ - 1].live()) DropLast();
    } else if (size_ > limit_) {
      DropLast();
    }
    return low;
  }

 private:
  void DropLast() { live_ -= entries_[--size_].live() ? 1 : 0; }

  std::vector<Seen> entries_;
  size_t ef_ = 0, limit_ = 0, size_ = 0, live_ = 0;
};

// Memory that a thread keeps from one search to the next.
struct Scratch {
  Int8Query query;
  SeenList list;
  std::vector<uint64_t> visited;  // bit by slot; all 0 between walks
  std::vector<uint32_t> slots;    // of which a bit is set, in order of their visit
  std::vector<uint32_t> numbers;
  std::vector<float> scores;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

class GraphSearch {
 public:
  GraphSearch(const GraphLinks& links, const GraphRows& rows, const float* query,
              const Tombstones& dead, const uint64_t* allowed, TopK* top, GraphWork* work)
      : links_(links),
        rows_(rows),
        query_(query),
        dead_(dead),
        allowed_(allowed),
        top_(top),
        work_(*work),
        scratch_(ThreadScratch()),
        list_(scratch_.list),
        sign_(rows.rounded.metric == Metric::kL2 ? 1.0f : -1.0f),
        stride_(Int8Stride(rows.rounded.d)) {}

  void Run(size_t k, size_t ef);

 private:
  uint64_t LiveBits(int64_t word) const;  // of 64 slots
  size_t CountLive() const;
  bool IsLive(uint32_t slot) const {
    return !dead_.IsDead(slot) &&
           (allowed_ == nullptr || ((allowed_[slot / 64] >> (slot % 64)) & 1) != 0);
  }
  // Makes room for so many visits.
  void Reserve(size_t visits) {
    if (scratch_.slots.size() <= visits_ + visits) scratch_.slots.resize(2 * (visits_ + visits));
  }
  // Notes the visit, if it is the first. No branches to guess wrongly.
  void Visit(uint32_t slot) {
    uint64_t& word = scratch_.visited[slot / 64];
    const uint64_t bit = uint64_t{1} << (slot % 64);
    scratch_.slots[visits_] = slot;
    visits_ += (word & bit) == 0 ? 1 : 0;
    word |= bit;
  }
  // Puts the row on the list, if it is near enough. Returns its place, or the list's size.
  size_t Offer(float near, uint32_t slot) {
    return list_.MayTake(near) ? list_.Insert(near, slot, IsLive(slot)) : list_.size();
  }
  void PrefetchRow(uint32_t slot) const {
    const uint8_t* row = rows_.rounded.codes + slot * stride_;
    for (size_t i = 0; i < stride_; i += kLine) __builtin_prefetch(row + i);
    __builtin_prefetch(rows_.rounded.scales + slot);
    if (rows_.rounded.norms != nullptr) __builtin_prefetch(rows_.rounded.norms + slot);
  }
  const uint32_t* Links(uint32_t slot) const {
    return links_.base + static_cast<size_t>(slot) * 2 * links_.m;
  }
  void PrefetchLinks(uint32_t slot) const {
    const char* links = reinterpret_cast<const char*>(Links(slot));
    for (size_t i = 0; i < 2 * links_.m * sizeof(uint32_t); i += kLine) {
      __builtin_prefetch(links + i);
    }
  }

  void Walk(size_t ef);
  void BeginWalk();
  void EndWalk();
  void Descend();
  // Follows the row's links on the lowest level. Returns the first place of the list that changed.
  size_t Expand(uint32_t slot);
  // Scores the slots visited since `first`.
  const float* ScoreVisits(size_t first);
  void Scan(size_t wanted);
  void Rerank(size_t wanted);

  const GraphLinks& links_;
  const GraphRows& rows_;
  const float* const query_;
  const Tombstones& dead_;
  const uint64_t* const allowed_;
  TopK* const top_;
  GraphWork& work_;
  Scratch& scratch_;
  SeenList& list_;
  const float sign_;  // score · sign is small when near
  const size_t stride_;
  size_t visits_ = 0;
};

uint64_t GraphSearch::LiveBits(int64_t word) const {
  uint64_t bits = ~dead_.word(static_cast<size_t>(word));
  if (allowed_ != nullptr) bits &= allowed_[word];
  if (links_.rows - word * 64 < 64) bits &= (uint64_t{1} << (links_.rows - word * 64)) - 1;
  return bits;
}

size_t GraphSearch::CountLive() const {
  const int64_t rows = links_.rows;
  if (allowed_ == nullptr) {
    return static_cast<size_t>(std::max<int64_t>(rows - dead_.dead(), 0));
  }
  size_t live = 0;
  for (int64_t word = 0; word * 64 < rows; ++word) live += std::popcount(LiveBits(word));
  return live;
}

void GraphSearch::Run(size_t k, size_t ef) {
  const size_t live = CountLive();
  if (live == 0) return;
  const size_t wanted = std::min(k, live);
  const size_t rescored = k + std::max<size_t>(10, k / 4);
  scratch_.query.Assign(query_, rows_.rounded.d);
  const double rows = static_cast<double>(links_.rows);
  for (ef = std::max(ef, k);; ef *= kWiden) {
    const double walk = kWalkCost * static_cast<double>(ef) * rows / static_cast<double>(live);
    if (walk >= static_cast<double>(live)) {
      Scan(rescored);
      break;
    }
    Walk(ef);
    if (list_.live() >= wanted) break;
  }
  Rerank(rescored);
}

void GraphSearch::BeginWalk() {
  const size_t words = static_cast<size_t>(links_.rows + 63) / 64;
  if (scratch_.visited.size() < words) scratch_.visited.resize(words);
  visits_ = 0;
  Reserve(1);  // the entry
}

void GraphSearch::EndWalk() {
  for (size_t i = 0; i < visits_; ++i) scratch_.visited[scratch_.slots[i] / 64] = 0;
  work_.distances += static_cast<int64_t>(visits_);
}

const float* GraphSearch::ScoreVisits(size_t first) {
  const size_t n = visits_ - first;
  for (size_t i = 0; i < std::min(n, kFirstRows); ++i) PrefetchRow(scratch_.slots[first + i]);
  ScoreSlots(rows_.rounded, scratch_.query, scratch_.slots.data() + first, n,
             scratch_.scores.data());
  return scratch_.scores.data();
}

void GraphSearch::Walk(size_t ef) {
  const size_t rows = static_cast<size_t>(links_.rows);
  list_.Reset(ef, std::min(ef * kMaxDeadShare, std::max(rows, ef)));
  BeginWalk();
  Descend();
  for (size_t next = 0; next < list_.size();) {
    Seen& seen = list_[next];
    if (seen.expanded()) {
      ++next;
      continue;
    }
    seen.flags |= Seen::kExpanded;
    ++work_.expanded;
    next = std::min(next + 1, Expand(seen.slot()));
  }
  EndWalk();
  ++work_.walks;
  work_.ef = static_cast<int>(ef);
}

void GraphSearch::Descend() {
  const size_t m = static_cast<size_t>(links_.m);
  scratch_.numbers.resize(m);
  scratch_.scores.resize(std::max(2 * m, kScanBatch));
  Visit(links_.entry);
  float nearest = sign_ * *ScoreVisits(visits_ - 1);
  list_.Insert(nearest, links_.entry, IsLive(links_.entry));

  uint32_t number = 0;
  const uint32_t* end = links_.upper + links_.upper_links();
  for (size_t level = links_.level_nodes.size(); level > 0; --level) {
    const uint32_t* begin = end - links_.level_nodes[level - 1] * m;
    for (uint32_t from = GraphLinks::kNone; from != number;) {
      from = number;
      const size_t first = visits_;
      Reserve(m);
      for (const uint32_t* link = begin + from * m; link != begin + (from + 1) * m; ++link) {
        if (*link == GraphLinks::kNone) break;
        // A row that was seen before is not nearer than `nearest`.
        scratch_.numbers[visits_ - first] = *link;
        Visit(links_.upper_slots[*link]);
      }
      const float* scores = ScoreVisits(first);
      for (size_t i = 0; i < visits_ - first; ++i) {
        const float near = sign_ * scores[i];
        Offer(near, scratch_.slots[first + i]);
        if (near >= nearest) continue;
        nearest = near;
        number = scratch_.numbers[i];
      }
    }
    end = begin;
  }
}

size_t GraphSearch::Expand(uint32_t slot) {
  const size_t width = 2 * static_cast<size_t>(links_.m), first = visits_;
  Reserve(width);
  const uint32_t* links = Links(slot);
  for (size_t i = 0; i < width && links[i] != GraphLinks::kNone; ++i) Visit(links[i]);
  const float* scores = ScoreVisits(first);
  size_t changed = list_.size();
  for (size_t i = 0; i < visits_ - first; ++i) {
    const size_t place = Offer(sign_ * scores[i], scratch_.slots[first + i]);
    if (place >= changed) continue;
    changed = place;
    PrefetchLinks(scratch_.slots[first + i]);
  }
  return changed;
}

void GraphSearch::Scan(size_t wanted) {
  work_.scanned = true;
  list_.Reset(wanted, wanted);
  scratch_.slots.resize(std::max(scratch_.slots.size(), kScanBatch + 64));
  scratch_.scores.resize(std::max(scratch_.scores.size(), kScanBatch + 64));
  size_t n = 0;
  const auto flush = [&] {
    ScoreSlots(rows_.rounded, scratch_.query, scratch_.slots.data(), n, scratch_.scores.data());
    for (size_t i = 0; i < n; ++i) {
      const float near = sign_ * scratch_.scores[i];
      if (list_.MayTake(near)) list_.Insert(near, scratch_.slots[i], /*live=*/true);
    }
    work_.distances += static_cast<int64_t>(n);
    n = 0;
  };
  for (int64_t word = 0; word * 64 < links_.rows; ++word) {
    for (uint64_t bits = LiveBits(word); bits != 0; bits &= bits - 1) {
      scratch_.slots[n++] = static_cast<uint32_t>(word * 64 + std::countr_zero(bits));
    }
    if (n >= kScanBatch) flush();
  }
  flush();
}

void GraphSearch::Rerank(size_t wanted) {
  constexpr size_t kAhead = 2;  // rows asked for before they are needed
  const size_t d = rows_.rounded.d;
  size_t n = 0;
  if (scratch_.slots.size() < list_.live()) scratch_.slots.resize(list_.live());
  for (size_t i = 0; i < list_.size() && n < wanted; ++i) {
    if (list_[i].live()) scratch_.slots[n++] = list_[i].slot();
  }
  const auto prefetch = [&](size_t i) {
    if (i >= n) return;
    const char* row = reinterpret_cast<const char*>(rows_.vectors + scratch_.slots[i] * d);
    for (size_t byte = 0; byte < d * sizeof(float); byte += kLine) __builtin_prefetch(row + byte);
    rows_.labels.Prefetch(scratch_.slots[i]);
  };
  for (size_t i = 0; i < kAhead; ++i) prefetch(i);
  for (size_t i = 0; i < n; ++i) {
    prefetch(i + kAhead);
    const size_t slot = scratch_.slots[i];
    float score;
    Score(rows_.rounded.metric, query_, rows_.vectors + slot * d, d, 1, &score);
    top_->Push(rows_.labels[slot], score);
  }
  work_.scored += static_cast<int64_t>(n);
}

void Tell(const GraphRows& rows, const GraphWork& work, double recall, SearchReport* report) {
  report->Part(rows.rows, recall, work.scanned);
  if (!work.scanned) report->ef = std::max(report->ef, work.ef);
  report->scanned += work.distances;
  report->rescored += work.scored;
  if (report->words == nullptr) return;
  const std::string of = absl::StrCat("1 segment of ", rows.rows, " rows");
  report->words->push_back(
      work.scanned ? absl::StrCat(of, ": all that live, ", work.distances, ", by 8-bit rows, ",
                                  work.scored, " by floats")
                   : absl::StrCat(of, ": its graph with ef ", work.ef, ", ", work.distances,
                                  " rows by 8-bit rows, ", work.scored, " by floats"));
}

}  // namespace

absl::Status Graph::Search(const GraphRows& rows, const float* query, const SearchParams& params,
                           const Tombstones& dead, const uint64_t* allowed, TopK* top,
                           GraphWork* work, const RecallTable* tuned) const {
  const GraphLinks& links = impl_->data.links;
  if (rows.rows != links.rows) {
    return absl::InternalError(
        absl::StrCat("a graph over ", links.rows, " rows was searched with ", rows.rows, " rows"));
  }
  GraphWork unwanted;
  if (work == nullptr) work = &unwanted;
  *work = {};
  const int k = std::max(params.k, 1), aim_k = std::max(params.AimedAt(), 1);
  int ef = params.ef > 0 ? params.ef : EfFor(params.recall_target, k, tuned, aim_k);
  if (params.ef <= 0 && params.corrections != nullptr) {
    // Only searches without a filter come here.
    const double wide = std::ceil(ef * params.corrections->Of(k, 1));
    ef = std::max(k, static_cast<int>(std::min(wide, 1e9)));
  }
  try {
    GraphSearch(links, rows, query, dead, allowed, top, work)
        .Run(static_cast<size_t>(k), static_cast<size_t>(std::max(ef, 1)));
    if (params.report != nullptr) {
      const double recall = work->scanned ? 1 : RecallOf(work->ef, aim_k, tuned);
      Tell(rows, *work, recall > 0 ? recall : params.recall_target, params.report);
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    ThreadScratch() = Scratch();
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to search a graph of ", links.rows, " rows with ef ", ef));
  }
}

}  // namespace vecino::index
