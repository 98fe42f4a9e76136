#include "server/index/recall_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/index/ivf_search.h"

namespace vecino::index {
namespace {

constexpr uint32_t kVersion = 1;
constexpr float kNotReached = -std::numeric_limits<float>::infinity();

// In a file: one of each aim of each curve, behind the head.
struct Head {
  uint32_t version;
  uint32_t records;
};
struct Record {
  uint32_t how;
  uint32_t k;
  float share;
  float aim;
  float breadth, rerank, recall, scanned;  // of a Setting
};
static_assert(sizeof(Head) == 8 && sizeof(Record) == 32);

bool IsShare(float x) { return x > 0 && x <= 1; }

}  // namespace

void RecallTable::Add(How how, int k, float share, const Curve& curve) {
  Grid& grid = grids_[static_cast<size_t>(how)];
  if (grid.ks.empty() || grid.ks.back() != k) {
    grid.ks.push_back(k);
    grid.log_ks.push_back(std::log(static_cast<float>(k)));
  }
  if (grid.ks.size() == 1) {
    grid.shares.push_back(share);
    grid.log_shares.push_back(std::log(share));
  }
  for (const Setting& setting : curve) {
    const bool reached = setting.breadth > 0;
    grid.cells.push_back({reached ? std::log(setting.breadth) : kNotReached,
                          std::log(std::max(setting.rerank, 1.0f)), setting.recall,
                          std::log(std::max(setting.scanned, 1e-9f))});
  }
}

RecallTable::Place RecallTable::Find(const std::vector<float>& numbers, double x) {
  if (numbers.size() == 1) return {0, 0, 0};
  const bool ascending = numbers.front() < numbers.back();
  size_t high = 1;
  while (high + 1 < numbers.size() && (ascending ? numbers[high] < x : numbers[high] > x)) ++high;
  const double low = numbers[high - 1];
  const double beyond = (x - low) / (numbers[high] - low);
  // At a number that was measured no other matters; logarithms are kept as floats, and numbers may
  // be but a few percent apart.
  constexpr double kSame = 1e-4;
  if (beyond <= kSame) return {high - 1, high - 1, 0};
  if (std::abs(beyond - 1) < kSame) return {high, high, 0};
  return {high - 1, high, beyond};
}

RecallTable::Choice RecallTable::For(How how, double target, int k, double share) const {
  const Grid& grid = grids_[static_cast<size_t>(how)];
  if (grid.cells.empty() || target > kAims.back()) return {};
  // As precise as the aims are: at an aim no other matters, which may not be reached.
  const auto wanted = static_cast<float>(target);
  size_t aim = 1;
  while (aim + 1 < kAims.size() && kAims[aim] < wanted) ++aim;
  const float step =
      std::clamp((wanted - kAims[aim - 1]) / (kAims[aim] - kAims[aim - 1]), 0.0f, 1.0f);
  struct Logs {
    double breadth, rerank, recall, scanned;
  };
  const auto at = [&](size_t of_k, size_t of_share) -> Logs {
    const Cell* cell = &grid.cells[(of_k * grid.shares.size() + of_share) * kAims.size() + aim - 1];
    if (step == 0) return {cell[0].breadth, cell[0].rerank, cell[0].recall, cell[0].scanned};
    if (step == 1) ++cell;
    if (step == 1) return {cell[0].breadth, cell[0].rerank, cell[0].recall, cell[0].scanned};
    const auto mean = [&](float a, float b) { return a + step * (b - a); };
    return {mean(cell[0].breadth, cell[1].breadth), mean(cell[0].rerank, cell[1].rerank),
            mean(cell[0].recall, cell[1].recall), mean(cell[0].scanned, cell[1].scanned)};
  };
  // Between a and b; beyond b at most as steeply as `most` each for `far`, and not falling.
  const auto between = [](const Logs& a, const Logs& b, double beyond, double far) -> Logs {
    const auto go = [&](double x, double y) {
      if (beyond <= 1) return x + beyond * (y - x);
      return y + std::clamp((beyond - 1) * (y - x), 0.0, std::abs(far));
    };
    return {go(a.breadth, b.breadth), go(a.rerank, b.rerank), std::min(a.recall, b.recall),
            go(a.scanned, b.scanned)};
  };
  const double log_k = std::log(std::max(k, 1)), log_share = std::log(share);
  const Place of_k = Find(grid.log_ks, log_k);
  const Place of_share = Find(grid.log_shares, log_share);
  const auto of = [&](size_t one_k) {
    const Logs low = at(one_k, of_share.low);
    if (of_share.low == of_share.high) return low;
    return between(low, at(one_k, of_share.high), of_share.beyond,
                   log_share - grid.log_shares.back());
  };
  Logs logs = of(of_k.low);
  if (of_k.low != of_k.high) {
    logs = between(logs, of(of_k.high), of_k.beyond, log_k - grid.log_ks.back());
    // As many times as many rows have to be scored again.
    if (of_k.beyond > 1)
      logs.rerank = std::max(logs.rerank, of(of_k.high).rerank + log_k - grid.log_ks.back());
  }
  // Not reached by one of them, and 0 · ∞ from another.
  if (!std::isfinite(logs.breadth)) return {};
  return {std::exp(logs.breadth), std::exp(logs.rerank), logs.recall,
          std::min(1.0, std::exp(logs.scanned))};
}

RecallTable::Choice RecallTable::ForPart(How how, double target, int part, int k, double share,
                                         double rows) const {
  const Choice of_part = For(how, target, part, share);
  const std::vector<int>& ks = grids_[static_cast<size_t>(how)].ks;
  if (part >= k || std::binary_search(ks.begin(), ks.end(), part)) return of_part;
  const Choice of_all = For(how, target, k, share);
  if (of_all.breadth == 0) return of_part;
  if (of_part.breadth == 0) return of_all;
  const auto cost = [&](const Choice& choice) {
    const double compared = choice.scanned * rows * SearchCost::kCode;
    return compared + (how == How::kCodes ? choice.rerank * SearchCost::kRow : 0);
  };
  return cost(of_part) <= cost(of_all) ? of_part : of_all;
}

RecallTable::Curve RecallTable::CurveForPart(How how, int part, int k, double share,
                                             double rows) const {
  Curve curve;
  for (size_t i = 0; i < curve.size(); ++i) {
    const Choice choice = ForPart(how, kAims[i], part, k, share, rows);
    curve[i] = {static_cast<float>(choice.breadth), static_cast<float>(choice.rerank),
                static_cast<float>(choice.recall), static_cast<float>(choice.scanned)};
  }
  return curve;
}

double RecallTable::RecallOf(How how, double breadth, int k, double share) const {
  double before = 0, recall_before = 0;
  for (const float aim : kAims) {
    const Choice choice = For(how, aim, k, share);
    if (choice.breadth == 0) break;
    if (choice.breadth >= breadth) {
      // Of the narrowest it is what that reaches, or less.
      if (before == 0) return choice.recall * std::min(1.0, breadth / choice.breadth);
      if (choice.breadth <= before) return choice.recall;
      const double part = std::log(breadth / before) / std::log(choice.breadth / before);
      return recall_before + std::clamp(part, 0.0, 1.0) * (choice.recall - recall_before);
    }
    before = choice.breadth, recall_before = choice.recall;
  }
  return recall_before;
}

namespace {

// Those that every search was calibrated for: they are not given up.
bool IsCommon(int k) { return k == 1 || k == 10 || k == 100; }
bool IsCommon(float share) { return share == 1; }

// Puts x among numbers in their order, unless it is there; where they are too many in the place of
// the nearest.
template <typename T, typename Before>
void Insert(T x, Before before, absl::Span<const T> keep, std::vector<T>* numbers) {
  if (std::find(numbers->begin(), numbers->end(), x) != numbers->end()) return;
  if (numbers->size() >= RecallTable::kMost) {
    const auto far = [x, keep](T y) {
      const bool kept = IsCommon(y) || std::find(keep.begin(), keep.end(), y) != keep.end();
      return kept ? 1e9 : std::abs(std::log(static_cast<double>(y) / x));
    };
    numbers->erase(std::min_element(numbers->begin(), numbers->end(),
                                    [&](T a, T b) { return far(a) < far(b); }));
  }
  numbers->insert(std::upper_bound(numbers->begin(), numbers->end(), x, before), x);
}

}  // namespace

RecallTable RecallTable::With(How how, int k, float share, const Curve& curve,
                              absl::Span<const int> keep) const {
  const Grid& grid = grids_[static_cast<size_t>(how)];
  std::vector<int> ks = grid.ks;
  std::vector<float> shares = grid.shares;
  Insert<int>(k, std::less<>(), keep, &ks);
  Insert<float>(share, std::greater<>(), {}, &shares);
  RecallTable table = *this;
  table.grids_[static_cast<size_t>(how)] = {};
  for (const int one_k : ks) {
    for (const float one_share : shares) {
      const bool given = one_k == k && one_share == share;
      table.Add(how, one_k, one_share,
                given ? curve : CurveForPart(how, one_k, one_k, one_share, 0));
    }
  }
  return table;
}

std::vector<uint8_t> RecallTable::Bytes() const {
  std::vector<Record> records;
  for (size_t how = 0; how < grids_.size(); ++how) {
    const Grid& grid = grids_[how];
    for (size_t i = 0; i < grid.cells.size(); ++i) {
      const Cell& cell = grid.cells[i];
      const size_t curve = i / kAims.size();
      const bool reached = std::isfinite(cell.breadth);
      records.push_back({.how = static_cast<uint32_t>(how),
                         .k = static_cast<uint32_t>(grid.ks[curve / grid.shares.size()]),
                         .share = grid.shares[curve % grid.shares.size()],
                         .aim = kAims[i % kAims.size()],
                         .breadth = reached ? std::exp(cell.breadth) : 0,
                         .rerank = std::exp(cell.rerank),
                         .recall = cell.recall,
                         .scanned = std::exp(cell.scanned)});
    }
  }
  if (records.empty()) return {};
  const Head head = {kVersion, static_cast<uint32_t>(records.size())};
  std::vector<uint8_t> bytes(sizeof(head) + records.size() * sizeof(Record));
  std::memcpy(bytes.data(), &head, sizeof(head));
  std::memcpy(bytes.data() + sizeof(head), records.data(), records.size() * sizeof(Record));
  return bytes;
}

absl::StatusOr<RecallTable> RecallTable::FromBytes(const uint8_t* bytes, size_t size) {
  RecallTable table;
  if (size == 0) return table;
  Head head;
  if (size < sizeof(head)) return absl::InvalidArgumentError("a recall table has no head");
  std::memcpy(&head, bytes, sizeof(head));
  if (head.version != kVersion || head.records % kAims.size() != 0 ||
      size < sizeof(head) + size_t{head.records} * sizeof(Record)) {
    return absl::InvalidArgumentError(absl::StrCat("a recall table of version ", head.version,
                                                   " with ", head.records, " records in ", size,
                                                   " bytes"));
  }
  std::vector<Record> records(head.records);
  std::memcpy(records.data(), bytes + sizeof(head), records.size() * sizeof(Record));
  for (size_t first = 0; first < records.size(); first += kAims.size()) {
    const Record& is = records[first];
    Curve curve;
    for (size_t i = 0; i < kAims.size(); ++i) {
      const Record& of = records[first + i];
      const bool fine = of.how == is.how && of.k == is.k && of.share == is.share &&
                        of.aim == kAims[i] && of.breadth >= 0 && std::isfinite(of.breadth) &&
                        of.rerank >= 0 && std::isfinite(of.rerank) && of.recall >= 0 &&
                        of.recall <= 1 && of.scanned >= 0 && of.scanned <= 1.001f;
      if (!fine) {
        return absl::InvalidArgumentError(
            absl::StrCat("record ", first + i, " of a recall table cannot be right"));
      }
      curve[i] = {of.breadth, of.rerank, of.recall, std::min(of.scanned, 1.0f)};
    }
    if (is.how > 1 || is.k < 1 || is.k > 1'000'000 || !IsShare(is.share)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a recall table has a curve for k ", is.k, ", share ", is.share));
    }
    const Grid& grid = table.grids_[is.how];
    const auto k = static_cast<int>(is.k);
    const size_t curves = grid.cells.size() / kAims.size();
    const size_t next = grid.shares.empty() ? 0 : curves % grid.shares.size();
    const bool of_last = !grid.ks.empty() && grid.ks.back() == k;
    const bool in_order =
        grid.ks.empty() || (of_last && grid.ks.size() == 1 && is.share < grid.shares.back()) ||
        (of_last && grid.ks.size() > 1 && next > 0 && is.share == grid.shares[next]) ||
        (grid.ks.back() < k && next == 0 && is.share == grid.shares[0]);
    if (!in_order) return absl::InvalidArgumentError("a recall table is out of order");
    table.Add(static_cast<How>(is.how), k, is.share, curve);
  }
  for (const Grid& grid : table.grids_) {
    if (grid.cells.size() != grid.ks.size() * grid.shares.size() * kAims.size()) {
      return absl::InvalidArgumentError("a recall table lacks curves");
    }
  }
  return table;
}

}  // namespace vecino::index
