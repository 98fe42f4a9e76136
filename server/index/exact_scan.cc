#include "server/index/exact_scan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

#include "server/index/distance.h"
#include "server/index/give_way.h"

namespace vecino::index {
namespace {

class Scan {
 public:
  Scan(Metric metric, size_t dimension, absl::Span<const ExactQuery> queries,
       const ExactScope& scope, absl::FunctionRef<absl::Status()> checkpoint)
      : metric_(metric), d_(dimension), queries_(queries), scope_(scope), checkpoint_(checkpoint) {}

  absl::Status OfSegment(const SegmentRows& rows) {
    const Segment& segment = *rows.segment;
    const uint64_t* const allowed =
        scope_.filter == nullptr ? nullptr : scope_.filter->OfSegment(segment).words;
    return Part(
        segment.size(), *rows.dead, allowed, segment.last_label() > scope_.last_label,
        [&](int64_t slot) { return segment.label(slot); },
        [&](int64_t slot) { return segment.vector(slot); });
  }

  absl::Status OfTail(const Tail& tail) {
    const SlotBits allowed = scope_.filter == nullptr ? SlotBits{} : scope_.filter->OfTail(tail);
    int64_t rows = tail.size();
    if (allowed.words != nullptr) rows = std::min(rows, allowed.slots);
    if (rows == 0) return absl::OkStatus();
    return Part(
        rows, tail.tombstones(), allowed.words,
        tail.label(static_cast<int>(rows) - 1) > scope_.last_label,
        [&](int64_t slot) { return tail.label(static_cast<int>(slot)); },
        [&](int64_t slot) { return tail.vector(static_cast<int>(slot)); });
  }

  const ExactCount& count() const { return count_; }

 private:
  // later: whether some of the rows may have come after the scope's last.
  template <typename Label, typename Vector>
  absl::Status Part(int64_t rows, const Tombstones& dead, const uint64_t* allowed, bool later,
                    Label label, Vector vector) {
    for (int64_t first = 0; first < rows; first += kRun) {
      if (absl::Status status = checkpoint_(); !status.ok()) return status;
      GiveWay();
      const auto word = static_cast<size_t>(first / kRun);
      uint64_t bits = ~dead.word(word);
      if (rows - first < kRun) bits &= (uint64_t{1} << (rows - first)) - 1;
      if (later || !scope_.left_out.empty()) {
        for (uint64_t left = bits; left != 0; left &= left - 1) {
          const int bit = std::countr_zero(left);
          if (!InScope(label(first + bit))) bits &= ~(uint64_t{1} << bit);
        }
      }
      count_.live += std::popcount(bits);
      if (allowed != nullptr) bits &= allowed[word];
      count_.passing += std::popcount(bits);
      while (bits != 0) {
        const int begin = std::countr_zero(bits);
        const int length = std::countr_one(bits >> begin);
        Compare(first + begin, length, label, vector);
        // What was compared are the lowest bits.
        bits &= begin + length == kRun ? 0 : ~uint64_t{0} << (begin + length);
      }
    }
    return absl::OkStatus();
  }

  // Rows of slots that follow each other.
  template <typename Label, typename Vector>
  void Compare(int64_t first, int count, Label label, Vector vector) {
    const float* const rows = vector(first);
    // Every kind of segment and tail keeps 64 rows in one stretch.
    assert(vector(first + count - 1) == rows + static_cast<size_t>(count - 1) * d_);
    std::array<float, kRun> scores;
    for (const ExactQuery& query : queries_) {
      Score(metric_, query.vector, rows, d_, static_cast<size_t>(count), scores.data());
      for (int i = 0; i < count; ++i) {
        if (query.top->MayTake(scores[i])) query.top->Push(label(first + i), scores[i]);
      }
    }
  }

  bool InScope(uint64_t label) const {
    return label <= scope_.last_label &&
           !std::binary_search(scope_.left_out.begin(), scope_.left_out.end(), label);
  }

  // Rows at a time: one word of tombstones.
  static constexpr int kRun = 64;

  const Metric metric_;
  const size_t d_;
  const absl::Span<const ExactQuery> queries_;
  const ExactScope& scope_;
  const absl::FunctionRef<absl::Status()> checkpoint_;
  ExactCount count_;
};

}  // namespace

absl::StatusOr<ExactCount> ScanExactly(const View& view, Metric metric, size_t dimension,
                                       absl::Span<const ExactQuery> queries,
                                       const ExactScope& scope,
                                       absl::FunctionRef<absl::Status()> checkpoint) {
  Scan scan(metric, dimension, queries, scope, checkpoint);
  for (const SegmentRows& rows : view.segments) {
    if (absl::Status status = scan.OfSegment(rows); !status.ok()) return status;
  }
  for (const std::shared_ptr<Tail>& tail : view.frozen) {
    if (absl::Status status = scan.OfTail(*tail); !status.ok()) return status;
  }
  if (absl::Status status = scan.OfTail(*view.tail); !status.ok()) return status;
  return scan.count();
}

}  // namespace vecino::index
