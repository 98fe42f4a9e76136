#include "server/index/calibration_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/algorithm/container.h"
#include "server/index/recall_table.h"

namespace vecino::index {
namespace {

using How = RecallTable::How;

constexpr std::array<int, 3> kKs = {1, 10, 100};
// Searches that tell what codes lose, and how many of them where a search looks at most rows.
constexpr size_t kSearches = 200, kWideSearches = 60;
constexpr size_t kSearchedBreadths = 5;
// Rows scored again that searches tell of at first; more where these lose much.
constexpr size_t kFirstKeep = 1024;
constexpr double kLittleLost = 0.002;
// Queries whose probed rows are counted at every breadth.
constexpr size_t kCounted = 100;
constexpr uint8_t kNever = 255;

// Numbers at some x, between which they are joined by straight lines over ln x.
double Between(const std::vector<double>& y, double place) {
  const auto low = static_cast<size_t>(place);
  if (low + 1 >= y.size()) return y.back();
  return y[low] + (place - static_cast<double>(low)) * (y[low + 1] - y[low]);
}

class TableMaker {
 public:
  TableMaker(const AllRows& all, absl::Span<const int64_t> queries, const BestRows& best,
             const BestRows& copies, uint64_t seed, Checkpoint checkpoint, int threads,
             Calibration* calibration)
      : all_(all),
        generation_(*all.first().generation()),
        queries_(queries),
        seed_(seed),
        checkpoint_(checkpoint),
        threads_(threads),
        calibration_(*calibration),
        best_(best),
        copies_(copies) {}

  absl::Status Run();

 private:
  // The true neighbours among a share of the rows.
  struct Share {
    double share = 1;
    BestRows best;
    std::vector<std::vector<uint8_t>> first;  // the narrowest breadth that probes the list of each
  };
  // Of the true neighbours in probed lists, those whose code is not among the best `rerank`.
  struct Loss {
    std::vector<size_t> breadths;                           // of breadths_
    std::vector<int> reranks;                               // ascending
    std::vector<std::vector<std::vector<double>>> of_each;  // by k, breadth, rerank
  };
  // By breadth.
  struct Coverage {
    std::vector<double> mean, error;  // and its standard error
  };

  absl::Status MakeShares();
  absl::Status Probe();
  Coverage CoverageOf(const Share& share, int k) const;
  absl::StatusOr<Loss> MeasureLoss(const Share& share) const;
  // counts: by k, breadth and place of the first of `reranks` that finds it (the last: none does).
  absl::StatusOr<std::vector<int64_t>> CountRanks(const Share& share,
                                                  const std::vector<std::vector<uint64_t>>& allowed,
                                                  const std::vector<size_t>& breadths,
                                                  const std::vector<int>& reranks,
                                                  size_t searches) const;
  double LossAt(const Loss& loss, size_t k, size_t rerank, double place) const;
  // Whether it is the query's own row or a near copy of it.
  bool IsUnasked(size_t q, int64_t row) const {
    return row == queries_[q] || absl::c_linear_search(copies_[q], row);
  }
  RecallTable::Curve MakeCurve(const Share& share, const Coverage& coverage, const Loss* loss,
                               size_t k) const;
  void FillPoints(const Share& share, const Loss& loss);

  const AllRows& all_;
  const Generation& generation_;
  const absl::Span<const int64_t> queries_;
  const uint64_t seed_;
  const Checkpoint checkpoint_;
  const int threads_;
  Calibration& calibration_;
  const BestRows& best_;
  const BestRows& copies_;
  std::vector<int> ks_;
  std::vector<Share> shares_;    // descending
  std::vector<int> breadths_;    // ascending, to all lists
  std::vector<double> scanned_;  // share of the rows in their lists, the mean
};

absl::Status TableMaker::MakeShares() {
  const auto live = static_cast<double>(all_.live());
  for (const int k : kKs) {
    const int most = static_cast<int>(std::min<int64_t>(k, all_.live() - 1));
    if (ks_.empty() || most > ks_.back()) ks_.push_back(most);
  }
  // Under filters that let fewer rows pass than kGather no list is probed.
  std::vector<double> shares = {1};
  for (const double share : {0.5, 0.1}) {
    if (share * live > kGather) shares.push_back(share);
  }
  if (const double least = std::max(0.01, kGather / live); least < 0.07) shares.push_back(least);
  for (const double share : shares) {
    Share& made = shares_.emplace_back(Share{.share = share, .best = {}, .first = {}});
    const RandomShare some(share, seed_);
    if (share >= 0.5) {
      for (const std::vector<int64_t>& all_best : best_) {
        std::vector<int64_t>& best = made.best.emplace_back();
        for (const int64_t row : all_best) {
          if (best.size() == static_cast<size_t>(ks_.back())) break;
          if (some.Has(row)) best.push_back(row);
        }
      }
      continue;
    }
    auto best = BestOfShare(all_, some, queries_, copies_, ks_.back(), checkpoint_, threads_);
    if (!best.ok()) return best.status();
    made.best = *std::move(best);
  }
  return absl::OkStatus();
}

// Which breadths probe the lists of true neighbours, and how many rows they hold.
absl::Status TableMaker::Probe() {
  const auto d = generation_.d();
  const int nlist = generation_.nlist();
  for (int i = 0;; ++i) {
    const int breadth = static_cast<int>(std::lround(std::exp2(i / 2.0)));
    if (breadth >= nlist || i >= kNever - 1) break;
    breadths_.push_back(breadth);
  }
  breadths_.push_back(nlist);
  // A step is no slope.
  if (const int last = generation_.LastBreadthByCodes(); last > 0) {
    breadths_.insert(breadths_.end(), {last, last + 1});
  }
  std::sort(breadths_.begin(), breadths_.end());
  breadths_.erase(std::unique(breadths_.begin(), breadths_.end()), breadths_.end());
  const std::vector<uint32_t> list_of = all_.Lists();
  std::vector<uint32_t> list_rows(static_cast<size_t>(nlist));
  for (const uint32_t list : list_of) ++list_rows[list];
  for (Share& share : shares_) share.first.resize(queries_.size());
  const size_t counted = std::min(kCounted, queries_.size());
  std::vector<std::vector<int64_t>> rows(counted, std::vector<int64_t>(breadths_.size()));
  const ProbeRule* rule = calibration_.rule.on() ? &calibration_.rule : nullptr;
  absl::Status status = ParallelFor(
      threads_, queries_.size(), checkpoint_, [&](size_t q, Checkpoint) -> absl::Status {
        std::vector<uint8_t> first(static_cast<size_t>(nlist), kNever);
        std::vector<bool> wanted(static_cast<size_t>(nlist));
        size_t left = 0;
        for (const Share& share : shares_) {
          for (const int64_t row : share.best[q]) {
            const uint32_t list = list_of[static_cast<size_t>(row)];
            if (!wanted[list]) wanted[list] = true, ++left;
          }
        }
        const float* vector = all_.vector(queries_[q]);
        const Int8Query query(vector, d);
        PqTables tables;
        generation_.quantizer().MakeTables(generation_.metric(), vector, &tables);
        Generation::ProbeScratch scratch;
        std::vector<uint32_t> lists;
        for (size_t i = 0; i < breadths_.size() && (left > 0 || q < counted); ++i) {
          generation_.Probe(query, tables, breadths_[i], rule, &scratch, &lists);
          for (const uint32_t list : lists) {
            if (q < counted) rows[q][i] += list_rows[list];
            if (first[list] != kNever) continue;
            first[list] = static_cast<uint8_t>(i);
            left -= wanted[list];
          }
        }
        for (Share& share : shares_) {
          for (const int64_t row : share.best[q]) {
            share.first[q].push_back(first[list_of[static_cast<size_t>(row)]]);
          }
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  for (size_t i = 0; i < breadths_.size(); ++i) {
    int64_t sum = 0;
    for (const std::vector<int64_t>& of_query : rows) sum += of_query[i];
    scanned_.push_back(static_cast<double>(sum) / static_cast<double>(counted) /
                       static_cast<double>(all_.size()));
  }
  return absl::OkStatus();
}

TableMaker::Coverage TableMaker::CoverageOf(const Share& share, int k) const {
  std::vector<double> sum(breadths_.size()), squares(breadths_.size());
  double queries = 0;
  std::vector<int> found(breadths_.size());
  for (const std::vector<uint8_t>& first : share.first) {
    if (first.size() < static_cast<size_t>(k)) continue;
    std::fill(found.begin(), found.end(), 0);
    for (int j = 0; j < k; ++j) {
      if (first[static_cast<size_t>(j)] != kNever) ++found[first[static_cast<size_t>(j)]];
    }
    double part = 0;
    for (size_t i = 0; i < breadths_.size(); ++i) {
      part += static_cast<double>(found[i]) / k;
      sum[i] += part;
      squares[i] += part * part;
    }
    ++queries;
  }
  Coverage coverage;
  for (size_t i = 0; i < breadths_.size(); ++i) {
    const double mean = queries > 0 ? sum[i] / queries : 0;
    const double variance = queries > 0 ? std::max(0.0, squares[i] / queries - mean * mean) : 1;
    coverage.mean.push_back(mean);
    coverage.error.push_back(std::sqrt(variance / std::max(queries, 1.0)));
  }
  return coverage;
}

absl::StatusOr<std::vector<int64_t>> TableMaker::CountRanks(
    const Share& share, const std::vector<std::vector<uint64_t>>& allowed,
    const std::vector<size_t>& breadths, const std::vector<int>& reranks, size_t searches) const {
  const std::vector<IvfPart> parts = all_.Parts(allowed);
  const size_t places = reranks.size() + 1;
  std::vector<size_t> asked;  // queries of which the most is known
  for (size_t q = 0; q < queries_.size() && asked.size() < searches; q += 2) asked.push_back(q);
  std::vector<std::vector<int64_t>> counts(asked.size());
  absl::Status status = ParallelFor(
      threads_, asked.size(), checkpoint_, [&](size_t number, Checkpoint) -> absl::Status {
        const size_t q = asked[number];
        const std::vector<int64_t>& best = share.best[q];
        std::vector<int64_t>& count = counts[number];
        count.resize(ks_.size() * breadths.size() * places);
        // The true ones by row, with their place among the best.
        std::vector<std::pair<uint32_t, size_t>> by_row;
        for (size_t j = 0; j < best.size(); ++j) {
          by_row.push_back({static_cast<uint32_t>(best[j]), j});
        }
        std::sort(by_row.begin(), by_row.end());
        std::vector<uint32_t> slots;
        std::vector<size_t> ranks(best.size());
        for (size_t b = 0; b < breadths.size(); ++b) {
          IvfCandidates(parts, all_.vector(queries_[q]), breadths_[breadths[b]], reranks.back(),
                        calibration_, &slots);
          std::fill(ranks.begin(), ranks.end(), slots.size());
          size_t rank = 0;
          for (const uint32_t slot : slots) {
            const auto it = std::lower_bound(by_row.begin(), by_row.end(),
                                             std::pair<uint32_t, size_t>{slot, 0});
            if (it != by_row.end() && it->first == slot) ranks[it->second] = rank;
            rank += !IsUnasked(q, slot);
          }
          for (size_t j = 0; j < best.size(); ++j) {
            if (share.first[q][j] > breadths[b]) continue;
            const auto place = static_cast<size_t>(
                ranks[j] >= slots.size()
                    ? static_cast<ptrdiff_t>(reranks.size())
                    : std::upper_bound(reranks.begin(), reranks.end(), static_cast<int>(ranks[j])) -
                          reranks.begin());
            for (size_t k = 0; k < ks_.size(); ++k) {
              // The best row alone would tell of too few; the next two are lost a little more.
              if (j < static_cast<size_t>(std::max(ks_[k], 3))) {
                ++count[(k * breadths.size() + b) * places + place];
              }
            }
          }
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  std::vector<int64_t> sum(ks_.size() * breadths.size() * places);
  for (const std::vector<int64_t>& count : counts) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += count[i];
  }
  return sum;
}

absl::StatusOr<TableMaker::Loss> TableMaker::MeasureLoss(const Share& share) const {
  std::vector<std::vector<uint64_t>> allowed;
  if (share.share < 1) {
    const RandomShare some(share.share, seed_);
    int64_t row = 0;
    for (const IvfSegment* segment : all_.segments()) {
      std::vector<uint64_t>& words =
          allowed.emplace_back(static_cast<size_t>(segment->size() + 63) / 64);
      for (int64_t slot = 0; slot < segment->size(); ++slot, ++row) {
        if (some.Has(row)) words[static_cast<size_t>(slot / 64)] |= uint64_t{1} << (slot % 64);
      }
    }
  }
  // Narrower ones find too little, wider ones nothing more.
  const Coverage of_one = CoverageOf(share, ks_.front());
  const Coverage of_most = CoverageOf(share, ks_.back());
  size_t low = 0, high = 0;
  while (low + 1 < breadths_.size() && of_one.mean[low] < 0.6) ++low;
  while (high + 1 < breadths_.size() && of_most.mean[high] < 0.9995) ++high;
  Loss loss;
  low = std::min(low, high);
  const size_t steps = std::min(kSearchedBreadths - 1, high - low);
  for (size_t i = 0; i <= steps; ++i) {
    loss.breadths.push_back(steps == 0 ? high : low + (high - low) * i / steps);
  }
  const auto reranks_to = [](size_t most) {
    std::vector<int> reranks;
    for (double rerank = 16; rerank < static_cast<double>(most); rerank *= 1.25) {
      reranks.push_back(static_cast<int>(rerank));
    }
    reranks.push_back(static_cast<int>(most));
    return reranks;
  };
  const auto passing = static_cast<size_t>(share.share * static_cast<double>(all_.live()));
  const size_t most = std::max(kFirstKeep, passing / 8);
  size_t keep = std::min(kFirstKeep, most);
  for (; keep < most; keep = std::min(most, 4 * keep)) {
    const std::vector<int> reranks = reranks_to(keep);
    auto counts = CountRanks(share, allowed, {high}, reranks, kSearches / 8);
    if (!counts.ok()) return counts.status();
    const int64_t* of_most_rows = counts->data() + (ks_.size() - 1) * (reranks.size() + 1);
    int64_t all = 0;
    for (size_t i = 0; i <= reranks.size(); ++i) all += of_most_rows[i];
    const auto lost = static_cast<double>(of_most_rows[reranks.size()]);
    if (lost <= kLittleLost * static_cast<double>(all)) break;
  }
  loss.reranks = reranks_to(keep);
  loss.of_each.resize(ks_.size());
  for (size_t b = 0; b < loss.breadths.size(); ++b) {
    const bool wide = scanned_[loss.breadths[b]] > 0.15;
    auto counts = CountRanks(share, allowed, {loss.breadths[b]}, loss.reranks,
                             wide ? kWideSearches : kSearches);
    if (!counts.ok()) return counts.status();
    for (size_t k = 0; k < ks_.size(); ++k) {
      const int64_t* of_k = counts->data() + k * (loss.reranks.size() + 1);
      int64_t all = 0;
      for (size_t i = 0; i <= loss.reranks.size(); ++i) all += of_k[i];
      std::vector<double>& lost = loss.of_each[k].emplace_back();
      int64_t found = 0;
      for (size_t i = 0; i < loss.reranks.size(); ++i) {
        found += of_k[i];
        lost.push_back(all == 0 ? 0 : 1 - static_cast<double>(found) / static_cast<double>(all));
      }
    }
  }
  return loss;
}

// At a place between two of breadths_.
double TableMaker::LossAt(const Loss& loss, size_t k, size_t rerank, double place) const {
  const std::vector<size_t>& at = loss.breadths;
  const std::vector<std::vector<double>>& of = loss.of_each[k];
  if (place <= static_cast<double>(at.front())) return of.front()[rerank];
  for (size_t i = 1; i < at.size(); ++i) {
    if (place > static_cast<double>(at[i])) continue;
    const double low = static_cast<double>(at[i - 1]), high = static_cast<double>(at[i]);
    const double part = high > low ? (place - low) / (high - low) : 1;
    return of[i - 1][rerank] + part * (of[i][rerank] - of[i - 1][rerank]);
  }
  return of.back()[rerank];
}

// The cheapest setting that is sure to reach each aim: any of the numbers of rows to be scored
// again, with the least breadth that does. Also where comparing all rows takes less: a search
// decides that for its own share, which may lie between this one and one where it takes more.
// (Without them a filter that 49.9% passed compared all rows, for 5 times what lists take.)
RecallTable::Curve TableMaker::MakeCurve(const Share& share, const Coverage& coverage,
                                         const Loss* loss, size_t k) const {
  const auto rows = static_cast<double>(all_.size());
  RecallTable::Curve curve;
  const size_t reranks = loss == nullptr ? 1 : loss->reranks.size();
  const double part = share.share < 1 ? Calibration::kSurePartOfFilters : Calibration::kSurePart;
  for (size_t aim = 0; aim < curve.size(); ++aim) {
    double least = std::numeric_limits<double>::infinity();
    for (size_t r = 0; r < reranks; ++r) {
      // Those that are scored by floats at least.
      if (loss != nullptr && loss->reranks[r] < ks_[k] + std::max(10, ks_[k] / 4) &&
          r + 1 < reranks) {
        continue;
      }
      const auto recall_at = [&](double place) {
        return Between(coverage.mean, place) *
               (loss == nullptr ? 1 : 1 - LossAt(*loss, k, r, place));
      };
      const auto sure_at = [&](double place) {
        return Calibration::Sure(recall_at(place), Between(coverage.error, place), part);
      };
      size_t first = 0;
      while (first < breadths_.size() &&
             sure_at(static_cast<double>(first)) < RecallTable::kAims[aim]) {
        ++first;
      }
      if (first == breadths_.size()) continue;
      double low = first == 0 ? 0 : static_cast<double>(first - 1);
      double high = static_cast<double>(first);
      if (first > 0 && breadths_[first] - breadths_[first - 1] <= 1) low = high;  // no slope
      for (int i = 0; i < 12 && high > low; ++i) {
        const double middle = (low + high) / 2;
        (sure_at(middle) < RecallTable::kAims[aim] ? low : high) = middle;
      }
      const double scanned = Between(scanned_, high);
      const double cost =
          loss == nullptr
              ? rows * scanned * (SearchCost::kSkip + share.share * SearchCost::kRow)
              : rows * scanned * SearchCost::kCode + loss->reranks[r] * SearchCost::kRow;
      if (cost >= least) continue;
      least = cost;
      const auto step = static_cast<size_t>(high);
      const double narrower = std::log(breadths_[step]);
      const double wider = std::log(breadths_[std::min(step + 1, breadths_.size() - 1)]);
      const double breadth =
          std::exp(narrower + (high - static_cast<double>(step)) * (wider - narrower));
      curve[aim] = {static_cast<float>(breadth),
                    loss == nullptr ? 0.0f : static_cast<float>(loss->reranks[r]),
                    static_cast<float>(recall_at(high)), static_cast<float>(scanned)};
    }
  }
  return curve;
}

// For k = 10 and no filter, as searches by programs before there were tables go by it.
void TableMaker::FillPoints(const Share& share, const Loss& loss) {
  const size_t k = std::min<size_t>(1, ks_.size() - 1);
  const Coverage coverage = CoverageOf(share, ks_[k]);
  const auto of = [&](int rerank) {
    const auto it = std::lower_bound(loss.reranks.begin(), loss.reranks.end(), rerank);
    return std::min(static_cast<size_t>(it - loss.reranks.begin()), loss.reranks.size() - 1);
  };
  float best = 0;
  for (size_t i = 0; i < breadths_.size(); ++i) {
    const auto breadth = static_cast<unsigned>(breadths_[i]);
    const int by_codes = generation_.LastBreadthByCodes();
    const bool of_step = by_codes > 0 && (breadths_[i] == by_codes || breadths_[i] == by_codes + 1);
    if (!std::has_single_bit(breadth) && !of_step && i + 1 < breadths_.size()) continue;
    const auto place = static_cast<double>(i);
    double recall = coverage.mean[i] * (1 - LossAt(loss, k, of(100), place));
    if (recall >= kHighRecall || best >= kHighRecall) {
      recall = coverage.mean[i] * (1 - LossAt(loss, k, of(200), place));
    }
    best = std::max(best, static_cast<float>(recall));
    calibration_.points.push_back({breadths_[i], best});
    if (best >= 0.999f) break;
  }
  // How much wider for how many more rows, about .95.
  const auto breadth_of = [&](int wanted, double of_share) {
    // Of the same recall, of which a filter's target has another part to spare.
    constexpr double kAim = 0.95, kOther = Calibration::kSurePartOfFilters;
    constexpr double kRecall = (kAim + kOther) / (1 + kOther);
    const double aim = of_share < 1 ? kAim : kRecall - Calibration::kSurePart * (1 - kRecall);
    return calibration_.table.For(How::kCodes, aim, wanted, of_share).breadth;
  };
  const double narrow = breadth_of(ks_[k], 1);
  const bool by_share = calibration_.table.has(How::kRows);  // then a tenth was measured
  const double wide = by_share ? breadth_of(ks_[k], 0.1) : breadth_of(ks_.back(), 1);
  const double more = by_share ? 10 : static_cast<double>(ks_.back()) / ks_[k];
  if (narrow > 0 && wide > 0 && more > 1) {
    calibration_.widening = std::clamp(std::log(wide / narrow) / std::log(more), 0.0, 1.0);
  }
}

absl::Status TableMaker::Run() {
  absl::Status status = MakeShares();
  if (status.ok()) status = Probe();
  if (!status.ok()) return status;
  std::vector<Loss> losses;
  for (const Share& share : shares_) {
    if (share.share < 0.1) break;
    auto loss = MeasureLoss(share);
    if (!loss.ok()) return loss.status();
    losses.push_back(*std::move(loss));
  }
  for (size_t k = 0; k < ks_.size(); ++k) {
    for (size_t s = 0; s < shares_.size(); ++s) {
      const Coverage coverage = CoverageOf(shares_[s], ks_[k]);
      const auto share = static_cast<float>(shares_[s].share);
      if (s < losses.size()) {
        calibration_.table.Add(How::kCodes, ks_[k], share,
                               MakeCurve(shares_[s], coverage, &losses[s], k));
      }
      if (shares_[s].share < 0.5) {
        calibration_.table.Add(How::kRows, ks_[k], share,
                               MakeCurve(shares_[s], coverage, nullptr, k));
      }
    }
  }
  FillPoints(shares_.front(), losses.front());
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureTable(const AllRows& all, absl::Span<const int64_t> queries,
                          const BestRows& best, const BestRows& copies, uint64_t seed,
                          Checkpoint checkpoint, int threads, Calibration* calibration) {
  return TableMaker(all, queries, best, copies, seed, checkpoint, threads, calibration).Run();
}

}  // namespace vecino::index
