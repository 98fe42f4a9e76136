#include "server/index/ivf_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "server/index/bits.h"
#include "server/index/distance.h"
#include "server/index/ivf_report.h"
#include "server/index/passing_codes.h"
#include "server/index/search_kinds.h"
#include "server/index/search_report.h"
#include "server/index/select.h"

namespace vecino::index {
namespace {

// Of generations whose calibration has no table: rows up to which all are compared for a high
// recall.
constexpr int64_t kGatherHighRecall = 10'000;

// Who asks for more than this part of the rows gets them from all rows.
constexpr int64_t kMostOfAll = 8;

// Memory that a thread keeps from one search to the next.
struct Scratch {
  Int8Query query;
  PqTables tables;
  Generation::ProbeScratch probe;
  std::vector<float> scores, sorted;
  std::vector<uint32_t> lists, slots, best;
  std::vector<uint16_t> masks;
  Reservoir reservoir;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

class IvfSearch {
 public:
  IvfSearch(const std::vector<IvfPart>& parts, const float* query, const SearchParams& params,
            TopK* top, IvfWork* work, const Calibration* calibration)
      : parts_(parts),
        query_(query),
        params_(params),
        top_(top),
        work_(*work),
        generation_(*parts.front().segment->generation()),
        calibration_(calibration != nullptr ? *calibration : generation_.calibration()),
        scratch_(ThreadScratch()) {}

  void Run();
  // See IvfCandidates.
  void Candidates(int breadth, int keep, std::vector<uint32_t>* slots);

 private:
  enum class How { kAll, kAllCodes, kRows, kCodes };
  // How the rows are found: all that pass; the best of all that pass by codes; those of lists that
  // pass; the best of lists by codes.
  struct Plan {
    How how = How::kAll;
    double breadth = 0;
    int rerank = 0;
    double recall = 1;  // expected
  };
  void CountRows();
  Plan MakePlan() const;
  Plan TablePlan(double share, bool sparse) const;
  double PointBreadth() const;  // of a calibration without a table
  // Whether stood_ rows have far fewer that pass than all rows have.
  bool PassElsewhere() const;
  // What was measured of callers' searches since the calibration, as a factor.
  double Correction(double share) const {
    return params_.corrections == nullptr ? 1 : params_.corrections->Of(params_.k, share);
  }
  int DefaultRerank() const;
  // Into scratch_.slots: every live row that passes, of the whole part or of the probed lists; or
  // the best of the probed lists by their codes.
  void Gather();
  void GatherLists(int breadth);
  void Scan(int breadth, int rerank);
  void ScanAll(int rerank);
  void TakeBest();  // of a scan, into scratch_.slots
  void Prefetch(uint32_t list) const;
  // Of a part's rows, dead ones included.
  static int64_t PassingOf(const IvfPart& part) {
    const int64_t size = part.segment->size();
    if (part.allowed == nullptr) return size;
    if (part.codes != nullptr) return part.codes->size();
    if (part.passing >= 0) return part.passing;
    return CountBits(part.allowed, static_cast<size_t>(size + 63) / 64);
  }
  // Of a part's codes or of those that pass, which are numbered by places instead of slots.
  static uint32_t Begin(const IvfPart& part, int list) {
    return part.codes != nullptr ? part.codes->list_begin(list) : part.segment->list_begin(list);
  }
  static const uint8_t* Block(const IvfPart& part, size_t i) {
    return part.codes != nullptr ? part.codes->block(i) : part.segment->block(i);
  }
  void ScanSlots(const IvfPart& part, uint32_t base, uint32_t first, uint32_t end);
  void GatherSlots(const IvfPart& part, uint32_t base, int64_t first, int64_t end);
  void Probe(int breadth);
  // Scores scratch_.slots (base + slot of each part, ascending) by 8-bit rows, then the best of
  // them by floats.
  void Rerank();
  void DropHopeless(const std::vector<size_t>& ends);
  // Which part scratch_.slots[i] is of; ends: where each part's slots end.
  static size_t PartOf(const std::vector<size_t>& ends, uint32_t i) {
    return static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), i) - ends.begin());
  }

  const std::vector<IvfPart>& parts_;
  const float* const query_;
  const SearchParams& params_;
  TopK* const top_;
  IvfWork& work_;
  const Generation& generation_;
  const Calibration& calibration_;
  Scratch& scratch_;
  int64_t rows_ = 0;
  int64_t passing_ = 0;  // rows that the filter lets pass; all without one
  int64_t coded_ = 0;    // rows whose codes a scan of all looks up: those that pass, where possible
  int64_t stood_ = 0;    // rows in the probed lists
  int64_t seen_ = 0;     // of these those that live and pass, under a filter
  bool filtered_ = false;
  // Codes of rows that pass stand by themselves, and these lie in the lists as chance would have
  // it.
  bool even_ = false;
};

void IvfSearch::CountRows() {
  int64_t even = 0;     // rows that pass, of parts where they lie in the lists by chance
  bool uneven = false;  // some go with the vectors
  for (const IvfPart& part : parts_) {
    const int64_t size = part.segment->size();
    rows_ += size;
    const int64_t passing = PassingOf(part);
    passing_ += passing;
    filtered_ = filtered_ || part.allowed != nullptr;
    coded_ += part.codes != nullptr || passing == 0 ? passing : size;
    if (part.codes == nullptr) continue;
    uneven = uneven || part.codes->spread() == PassingCodes::Spread::kUneven;
    if (part.codes->spread() == PassingCodes::Spread::kEven) even += passing;
  }
  // But for a few rows, whose own are looked up then, those that do not pass as well.
  const bool packed = coded_ < rows_ && coded_ <= passing_ + rows_ / 10;
  // Too few to tell, in small parts, are as most are.
  even_ = packed && !uneven && 5 * even >= 4 * passing_;
}

void IvfSearch::Run() {
  CountRows();
  if (passing_ == 0) return;
  scratch_.query.Assign(query_, generation_.d());
  const auto k = static_cast<int64_t>(params_.k);
  const Plan plan = MakePlan();
  work_.recall = plan.recall;
  if (plan.how == How::kAll) {
    Gather();
  } else if (plan.how == How::kAllCodes) {
    ScanAll(plan.rerank);
  } else {
    // As many rows as were asked for, if that many exist, however few stand in the nearest lists.
    int breadth = static_cast<int>(std::min<double>(std::ceil(plan.breadth), generation_.nlist()));
    while (true) {
      work_.breadth = breadth;
      stood_ = seen_ = 0;
      if (plan.how == How::kRows) {
        GatherLists(breadth);
        seen_ = static_cast<int64_t>(scratch_.slots.size());
      } else {
        Scan(breadth, plan.rerank);
      }
      if (breadth >= generation_.nlist()) break;
      if (PassElsewhere()) {
        Gather();
        work_.breadth = work_.nprobe = 0;
        work_.by_codes = false;
        work_.recall = 1;
        break;
      }
      if (static_cast<int64_t>(scratch_.slots.size()) >= k) break;
      breadth = std::min(4 * breadth, generation_.nlist());
    }
  }
  Rerank();
}

bool IvfSearch::PassElsewhere() const {
  if (!filtered_ || params_.nprobe > 0 || params_.breadth > 0) return false;
  // Times rows_. With fewer than k it is chance.
  const int64_t expected = passing_ * stood_;
  return expected >= params_.k * rows_ && seen_ * kRarer * rows_ < expected;
}

void IvfSearch::Candidates(int breadth, int keep, std::vector<uint32_t>* slots) {
  scratch_.query.Assign(query_, generation_.d());
  Scan(breadth, keep);
  // As Scan leaves them, of parts without codes of their own; the reservoir has their sums.
  const PqCandidate* const found = scratch_.reservoir.data();
  std::vector<PqCandidate> sorted(found, found + scratch_.slots.size());
  std::sort(sorted.begin(), sorted.end(), [](const PqCandidate& a, const PqCandidate& b) {
    return a.sum != b.sum ? a.sum > b.sum : a.slot < b.slot;
  });
  slots->clear();
  for (const PqCandidate& candidate : sorted) slots->push_back(candidate.slot);
}

IvfSearch::Plan IvfSearch::MakePlan() const {
  const auto k = static_cast<int64_t>(params_.k);
  if ((filtered_ && passing_ <= kGather) || k >= passing_ / kMostOfAll) return {};
  // Who says how many are to be reranked wants the codes to choose them.
  const bool sparse = filtered_ && passing_ * kSparse < rows_ && params_.rerank == 0;
  const double share = static_cast<double>(passing_) / static_cast<double>(rows_);
  const RecallTable& table = calibration_.table;
  if (params_.nprobe == 0 && params_.breadth == 0 && !table.empty()) {
    return TablePlan(share, sparse);
  }
  const bool high = params_.recall_target >= kHighRecall;
  if (filtered_ && high && table.empty() && passing_ <= kGatherHighRecall) return {};
  Plan plan = {.how = sparse ? How::kRows : How::kCodes, .rerank = DefaultRerank(), .recall = 0};
  plan.breadth = params_.nprobe > 0    ? params_.nprobe
                 : params_.breadth > 0 ? params_.breadth
                                       : PointBreadth() * Correction(share);
  if (passing_ < rows_) plan.breadth *= std::pow(share, -calibration_.widening);
  if (params_.nprobe == 0 && params_.breadth == 0) {
    plan.recall = params_.recall_target;
  } else if (params_.report != nullptr && !table.empty()) {
    const double breadth =
        params_.nprobe > 0 ? plan.breadth / calibration_.rule.fixed() : plan.breadth;
    const bool by_rows = sparse && table.has(RecallTable::How::kRows);
    plan.recall = table.RecallOf(by_rows ? RecallTable::How::kRows : RecallTable::How::kCodes,
                                 breadth, params_.AimedAt(), share);
  }
  return plan;
}

// The cheapest of what reaches the recall.
IvfSearch::Plan IvfSearch::TablePlan(double share, bool sparse) const {
  const RecallTable& table = calibration_.table;
  const bool by_rows = sparse && !even_ && table.has(RecallTable::How::kRows);
  const auto how = by_rows ? RecallTable::How::kRows : RecallTable::How::kCodes;
  const RecallTable::Choice choice = table.ForPart(how, params_.recall_target, params_.AimedAt(),
                                                   params_.k, share, static_cast<double>(coded_));
  if (choice.breadth == 0) return {};
  const double correction = Correction(share);
  // With more rows than were measured, as many more of them look by their codes like the best
  // (2.7 times the rows: recall .63 without this).
  const double growth = calibration_.rows > 0 ? static_cast<double>(rows_) / calibration_.rows : 1;
  const double more = std::max(1.0, correction) * std::max(1.0, growth);
  const int rerank =
      params_.rerank > 0
          ? params_.rerank
          : std::max(static_cast<int>(std::ceil(choice.rerank * more)), params_.k + 10);
  const double scanned =
      std::min(1.0, choice.scanned * correction) * static_cast<double>(by_rows ? rows_ : coded_);
  // Centroids are ranked by their codes first: of 6,000 rows that pass among 600,000 a search of
  // lists that forgets it may cost 1.18 times what comparing them takes.
  const double cost = generation_.nlist() * SearchCost::kCode +
                      (by_rows ? scanned * (SearchCost::kSkip + share * SearchCost::kRow)
                               : scanned * SearchCost::kCode + rerank * SearchCost::kRow);
  if (even_) {
    // Every list has its centroid to be scored by 8 bits, and its few rows are no long stretch.
    const double lists = cost + choice.breadth * correction * 2 * SearchCost::kRow;
    // The fewer pass, the wider the lists, and the more rows that look like the best by their
    // codes; not where all are scanned anyhow.
    const double measured = std::max<double>(share, table.shares(how).back());
    const double rerank_all =
        params_.rerank > 0
            ? params_.rerank
            : std::max(table.ForPart(how, params_.recall_target, params_.AimedAt(), params_.k,
                                     measured, static_cast<double>(coded_))
                               .rerank *
                           more,
                       static_cast<double>(params_.k + 10));
    const double all =
        static_cast<double>(coded_) * SearchCost::kCode + rerank_all * SearchCost::kRow;
    if (all < lists) return {How::kAllCodes, 0, static_cast<int>(rerank_all), choice.recall};
  }
  // Who says how many are to be reranked does not want them all to be.
  if (params_.rerank == 0 && cost > SearchCost::kAllRows * static_cast<double>(passing_)) return {};
  return {by_rows ? How::kRows : How::kCodes, choice.breadth * correction, rerank, choice.recall};
}

int IvfSearch::DefaultRerank() const {
  if (params_.rerank > 0) return params_.rerank;
  return std::max(10 * params_.k, params_.recall_target < kHighRecall ? 100 : 200);
}

// Bits of the live rows that pass among slots 64 · word and on.
uint64_t PassingWord(const IvfPart& part, size_t word) {
  const uint64_t live = ~part.dead->word(word);
  return part.allowed == nullptr ? live : live & part.allowed[word];
}

void IvfSearch::GatherSlots(const IvfPart& part, uint32_t base, int64_t first, int64_t end) {
  if (first == end || part.passing == 0) return;
  for (int64_t word = first / 64; word <= (end - 1) / 64; ++word) {
    uint64_t bits = PassingWord(part, static_cast<size_t>(word));
    if (word == first / 64) bits &= ~uint64_t{0} << (first % 64);
    if (end - word * 64 < 64) bits &= (uint64_t{1} << (end - word * 64)) - 1;
    for (; bits != 0; bits &= bits - 1) {
      scratch_.slots.push_back(base + static_cast<uint32_t>(word * 64 + std::countr_zero(bits)));
    }
  }
}

void IvfSearch::Gather() {
  scratch_.slots.clear();
  uint32_t base = 0;
  for (const IvfPart& part : parts_) {
    GatherSlots(part, base, 0, part.segment->size());
    base += static_cast<uint32_t>(part.segment->size());
  }
}

void IvfSearch::GatherLists(int breadth) {
  Probe(breadth);
  scratch_.slots.clear();
  uint32_t base = 0;
  for (const IvfPart& part : parts_) {
    for (const uint32_t list : scratch_.lists) {
      const uint32_t first = part.segment->list_begin(static_cast<int>(list));
      const uint32_t end = part.segment->list_begin(static_cast<int>(list) + 1);
      GatherSlots(part, base, first, end);
      work_.scanned += end - first;
      stood_ += end - first;
    }
    base += static_cast<uint32_t>(part.segment->size());
  }
}

double IvfSearch::PointBreadth() const {
  // Uncalibrated generations are of little data: scan generously.
  const int nlist = generation_.nlist(), k = std::max(calibration_.k, 1);
  const double breadth = calibration_.BreadthFor(params_.recall_target, std::max(8, nlist / 12));
  return breadth * (params_.k <= k
                        ? 1.0
                        : std::pow(static_cast<double>(params_.k) / k, calibration_.widening));
}

void IvfSearch::ScanSlots(const IvfPart& part, uint32_t base, uint32_t first, uint32_t end) {
  if (first == end || part.passing == 0) return;
  const uint32_t begin = first / kPqBlockRows, last = (end - 1) / kPqBlockRows;  // blocks
  const size_t blocks = last - begin + 1;
  std::vector<uint16_t>& masks = scratch_.masks;
  if (masks.size() < blocks) masks.resize(blocks);
  if ((part.allowed == nullptr || part.codes != nullptr) && part.dead->dead() == 0) {
    std::fill_n(masks.begin(), blocks, 0xFFFF);
  } else if (part.codes != nullptr) {
    for (uint32_t b = begin; b <= last; ++b) masks[b - begin] = part.codes->Live(b, *part.dead);
  } else {
    for (uint32_t b = begin; b <= last;) {
      uint64_t bits = PassingWord(part, b / 4) >> (16 * (b % 4));
      do {
        masks[b - begin] = static_cast<uint16_t>(bits);
        bits >>= 16;
      } while (++b % 4 != 0 && b <= last);
    }
  }
  // Blocks at both ends may hold rows of the lists beside.
  masks[0] &= static_cast<uint16_t>(0xFFFFu << (first % kPqBlockRows));
  masks[blocks - 1] &=
      static_cast<uint16_t>(0xFFFFu >> (kPqBlockRows - 1 - (end - 1) % kPqBlockRows));
  for (size_t b = 0; filtered_ && b < blocks; b += 4) {
    uint64_t bits = 0;  // four at once: std::popcount is slow
    for (size_t i = b; i < std::min(b + 4, blocks); ++i) bits = bits << 16 | masks[i];
    seen_ += std::popcount(bits);
  }
  scratch_.reservoir.Scan(Block(part, begin), blocks, generation_.quantizer().m(),
                          scratch_.tables.bytes.data(), masks.data(), base + begin * kPqBlockRows);
  work_.scanned += end - first;
}

// The hardware follows a stream once it runs, but does not see the next one coming. Measured with
// caches full of other memory, as they are where searches come seldom: 127 µs a search with the
// first block alone, 123 with eight; with five small segments beside 163 and 159.
void IvfSearch::Prefetch(uint32_t list) const {
  constexpr uint32_t kBlocks = 8;
  for (const IvfPart& part : parts_) {
    const uint32_t first = Begin(part, static_cast<int>(list));
    const uint32_t end = Begin(part, static_cast<int>(list) + 1);
    if (first == end) continue;
    const uint32_t block = first / kPqBlockRows, last = (end - 1) / kPqBlockRows;
    PqPrefetch(Block(part, block), generation_.quantizer().m(),
               std::min(kBlocks, last - block + 1));
  }
}

void IvfSearch::Probe(int breadth) {
  generation_.quantizer().MakeTables(generation_.metric(), query_, &scratch_.tables);
  const ProbeRule& rule = calibration_.rule;
  generation_.Probe(scratch_.query, scratch_.tables, breadth,
                    params_.nprobe == 0 && rule.on() ? &rule : nullptr, &scratch_.probe,
                    &scratch_.lists);
  work_.nprobe = static_cast<int>(scratch_.lists.size());
}

void IvfSearch::Scan(int breadth, int rerank) {
  work_.by_codes = true;
  Probe(breadth);
  scratch_.reservoir.Reset(static_cast<size_t>(std::max(rerank, params_.k)));
  const std::vector<uint32_t>& lists = scratch_.lists;
  for (size_t i = 0, next; i < lists.size(); i = next) {
    // Lists that follow each other are one stretch of slots.
    for (next = i + 1; next < lists.size() && lists[next] == lists[next - 1] + 1;) ++next;
    const auto first_list = static_cast<int>(lists[i]);
    const auto end_list = static_cast<int>(lists[next - 1]) + 1;
    if (next < lists.size()) Prefetch(lists[next]);
    uint32_t base = 0;
    for (const IvfPart& part : parts_) {
      ScanSlots(part, base, Begin(part, first_list), Begin(part, end_list));
      stood_ += part.segment->list_begin(end_list) - part.segment->list_begin(first_list);
      base += static_cast<uint32_t>(part.segment->size());
    }
  }
  TakeBest();
}

void IvfSearch::ScanAll(int rerank) {
  work_.by_codes = work_.all_codes = true;
  work_.breadth = work_.nprobe = generation_.nlist();
  generation_.quantizer().MakeTables(generation_.metric(), query_, &scratch_.tables);
  scratch_.reservoir.Reset(static_cast<size_t>(std::max(rerank, params_.k)));
  uint32_t base = 0;
  for (const IvfPart& part : parts_) {
    ScanSlots(part, base, 0, Begin(part, generation_.nlist()));
    base += static_cast<uint32_t>(part.segment->size());
  }
  TakeBest();
}

void IvfSearch::TakeBest() {
  const size_t found = scratch_.reservoir.Finish();
  std::vector<uint32_t>& slots = scratch_.slots;
  slots.resize(found);
  for (size_t i = 0; i < found; ++i) slots[i] = scratch_.reservoir.data()[i].slot;
  if (parts_.size() > 1) std::sort(slots.begin(), slots.end());
  if (coded_ == rows_) return;  // no part has codes of its own
  // Places into slots, in the same order.
  size_t i = 0;
  uint32_t base = 0;
  for (const IvfPart& part : parts_) {
    const uint32_t end = base + static_cast<uint32_t>(part.segment->size());
    for (; i < found && slots[i] < end; ++i) {
      if (part.codes != nullptr) slots[i] = base + part.codes->slot(slots[i] - base);
    }
    base = end;
  }
}

// Of scratch_.best those that would need an unlikely error of their 8-bit scores to be among the k
// best. Rounding moves each of d terms on its own. So with a row of length 1 the query's roundings
// come to a standard deviation of their length over √d, and a row's, each evenly distributed over
// one step of its scale, with a query of length 1 to scale / √12. Two scores differ by √2 as much.
void IvfSearch::DropHopeless(const std::vector<size_t>& ends) {
  constexpr float kDeviations = 6;
  std::vector<uint32_t>& best = scratch_.best;
  const auto k = static_cast<size_t>(params_.k);
  if (!generation_.unit() || generation_.metric() != Metric::kInnerProduct || best.size() <= k) {
    return;
  }
  const std::vector<float>& scores = scratch_.scores;
  std::vector<float>& sorted = scratch_.sorted;
  sorted.clear();
  for (const uint32_t i : best) sorted.push_back(scores[i]);
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(k) - 1, sorted.end(),
                   std::greater<>());
  float scale = 0;
  for (const uint32_t i : best) {
    const IvfSegment& segment = *parts_[PartOf(ends, i)].segment;
    scale = std::max(scale, segment.rounded().scales[scratch_.slots[i]]);
  }
  const float of_query = scratch_.query.error() / std::sqrt(static_cast<float>(generation_.d()));
  const float deviation = std::sqrt(2 * (of_query * of_query + scale * scale / 12));
  const float least = sorted[k - 1] - kDeviations * deviation;
  std::erase_if(best, [&](uint32_t i) { return scores[i] < least; });
}

void IvfSearch::Rerank() {
  std::vector<uint32_t>& slots = scratch_.slots;
  std::vector<float>& scores = scratch_.scores;
  scores.resize(slots.size());
  (work_.breadth == 0 ? work_.gathered : work_.reranked) += static_cast<int64_t>(slots.size());
  // Part by part: slots ascend, so those of a part stand together.
  std::vector<size_t> ends;
  uint32_t base = 0;
  size_t begin = 0;
  for (const IvfPart& part : parts_) {
    const auto size = static_cast<uint32_t>(part.segment->size());
    size_t end = slots.size();
    if (parts_.size() > 1) {
      end = static_cast<size_t>(std::lower_bound(slots.begin() + static_cast<ptrdiff_t>(begin),
                                                 slots.end(), base + size) -
                                slots.begin());
    }
    for (size_t i = begin; i < end; ++i) slots[i] -= base;
    ScoreSlots(part.segment->rounded(), scratch_.query, slots.data() + begin, end - begin,
               scores.data() + begin);
    ends.push_back(end);
    begin = end;
    base += size;
  }
  const auto wanted = static_cast<size_t>(params_.k + std::max(10, params_.k / 4));
  SelectBest(scores.data(), scores.size(), wanted, generation_.metric() == Metric::kInnerProduct,
             &scratch_.best);
  DropHopeless(ends);
  const std::vector<uint32_t>& best = scratch_.best;
  work_.scored += static_cast<int64_t>(best.size());
  const size_t d = generation_.d();
  auto prefetch = [&](uint32_t i) {
    const auto* row =
        reinterpret_cast<const char*>(parts_[PartOf(ends, i)].segment->vector(slots[i]));
    for (size_t byte = 0; byte < d * sizeof(float); byte += 64) __builtin_prefetch(row + byte);
  };
  constexpr size_t kAhead = 3;
  for (size_t j = 0; j < std::min(kAhead, best.size()); ++j) prefetch(best[j]);
  for (size_t j = 0; j < best.size(); ++j) {
    if (j + kAhead < best.size()) prefetch(best[j + kAhead]);
    const uint32_t i = best[j];
    const IvfSegment& segment = *parts_[PartOf(ends, i)].segment;
    float score;
    Score(generation_.metric(), query_, segment.vector(slots[i]), d, 1, &score);
    top_->Push(segment.label(slots[i]), score);
  }
}

// Every row by its floats.
void SearchExactly(const IvfPart& part, const float* query, TopK* top) {
  const IvfSegment& segment = *part.segment;
  for (int64_t slot = 0; slot < segment.size(); ++slot) {
    if (part.dead->IsDead(slot)) continue;
    if (part.allowed != nullptr && (part.allowed[slot / 64] >> (slot % 64) & 1) == 0) continue;
    float score;
    Score(segment.metric(), query, segment.vector(slot), segment.dimension(), 1, &score);
    top->Push(segment.label(slot), score);
  }
}

}  // namespace

void IvfCandidates(const std::vector<IvfPart>& parts, const float* query, int breadth, int keep,
                   const Calibration& calibration, std::vector<uint32_t>* slots) {
  TopK top(parts.front().segment->metric(), 1);
  const SearchParams params = {.k = 1, .breadth = breadth};
  IvfWork work;
  IvfSearch(parts, query, params, &top, &work, &calibration).Candidates(breadth, keep, slots);
}

absl::Status SearchIvf(const std::vector<IvfPart>& parts, const float* query,
                       const SearchParams& params, TopK* top, IvfWork* work,
                       const Calibration* calibration) {
  std::vector<IvfPart> scanned;
  for (const IvfPart& part : parts) {
    const IvfSegment& segment = *part.segment;
    if (params.exact) {
      SearchExactly(part, query, top);
      if (params.report == nullptr) continue;
      params.report->Part(segment.size(), 1, true);
      params.report->scanned += segment.size();
      if (params.report->words != nullptr) {
        params.report->words->push_back(
            absl::StrCat("a segment of ", segment.size(), " rows: all by floats"));
      }
      continue;
    }
    // Filters are answered from lists, where rows that do not pass cost next to nothing.
    if (segment.graph() != nullptr && part.allowed == nullptr && params.nprobe == 0 &&
        params.breadth == 0) {
      const GraphRows rows = segment.graph_rows();
      const Calibration& of = segment.generation()->calibration();
      absl::Status status =
          segment.graph()->Search(rows, query, params, *part.dead, nullptr, top,
                                  /*work=*/nullptr, of.GraphTable(segment.size()));
      if (!status.ok()) return status;
      continue;
    }
    scanned.push_back(part);
  }
  if (scanned.empty()) return absl::OkStatus();
  IvfWork own;
  if (work == nullptr) work = &own;
  const IvfWork before = *work;
  *work = {};
  IvfSearch(scanned, query, params, top, work, calibration).Run();
  if (params.report != nullptr) TellOfIvf(scanned, *work, params.filter != nullptr, params.report);
  work->scanned += before.scanned;
  work->reranked += before.reranked;
  work->gathered += before.gathered;
  work->scored += before.scored;
  return absl::OkStatus();
}

}  // namespace vecino::index
