#include "server/fields/bm25_scan.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <utility>

#include "server/fields/postings_cursor.h"

namespace vecino::fields {
namespace {

// Whether `a` is to be kept rather than `b`.
bool Better(const LexicalHit& a, const LexicalHit& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.part != b.part ? a.part < b.part : a.slot < b.slot;
}

// Slots that are scored together, a multiple of 64: their sums fit into the nearest cache.
constexpr uint32_t kWindow = 2048;
constexpr int kWindowsToCheckpoint = 32;

// Sums of bounds are rounded; scores, being sums of a few floats, are not in practice.
constexpr double kSlack = 1 + 1e-12;

class Scan {
 public:
  Scan(const LexicalPart& part, uint32_t part_number, std::span<const SegmentTerm> terms,
       const LengthFactors& lengths, LexicalTop* top)
      : part_(part),
        part_number_(part_number),
        norms_(part.postings->norms()),
        documents_(part.document_count()),
        lengths_(lengths),
        top_(*top) {
    for (const SegmentTerm& term : terms) {
      cursors_.push_back({{*part.postings, term.number}, term.weight});
    }
    for (Cursor& cursor : cursors_) order_.push_back(&cursor);
    rest_.resize(cursors_.size() + 1);
  }

  absl::Status Run(absl::FunctionRef<absl::Status()> checkpoint) {
    for (int windows = 1; FindWindow(); ++windows) {
      Window();
      if (windows % kWindowsToCheckpoint != 0) continue;
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  struct Cursor {
    PostingsCursor postings;
    float weight;
    double highest = 0;  // that the term can score in the window
  };

  bool CannotGetIn(double bound) const {
    return static_cast<float>(bound * kSlack) <= top_.threshold();
  }

  // The next window in which a document may have a term: [begin_, end_). False when there is none.
  bool FindWindow() {
    uint32_t lowest = PostingsCursor::kEnd;
    for (Cursor& cursor : cursors_) {
      // What was left behind in the window before is passed over.
      if (cursor.postings.Pass(end_)) lowest = std::min(lowest, cursor.postings.lowest());
    }
    if (lowest == PostingsCursor::kEnd) return false;
    begin_ = std::max(end_, lowest / 64 * 64);
    end_ = documents_ - begin_ > kWindow ? begin_ + kWindow : documents_;
    return true;
  }

  void Window() {
    const size_t words = (end_ - begin_ + 63) / 64;
    uint64_t wanted = 0;
    for (size_t w = 0; w < words; ++w) wanted |= allowed_[w] = Allowed(w);
    if (wanted == 0) return;

    for (Cursor& cursor : cursors_) {
      float highest = 0;
      cursor.postings.ForBlocksBelow(end_, [&](const PostingsBlock& block) {
        highest = std::max(
            highest, block.max_frequency == 255
                         ? cursor.weight
                         : TermScore(cursor.weight, lengths_[block.min_norm], block.max_frequency));
      });
      cursor.highest = highest;
    }
    std::sort(order_.begin(), order_.end(),
              [](const Cursor* a, const Cursor* b) { return a->highest < b->highest; });
    // Documents that have only the first `optional` terms cannot get in.
    size_t optional = 0;
    for (size_t i = 0; i < order_.size(); ++i) {
      rest_[i + 1] = rest_[i] + order_[i]->highest;
      if (CannotGetIn(rest_[i + 1])) optional = i + 1;
    }
    if (optional == order_.size()) return;

    std::fill_n(found_, words, 0);
    for (size_t i = optional; i < order_.size(); ++i) Add(order_[i]);
    for (size_t w = 0; w < words; ++w) {
      // Sums are left at zero for the next window.
      for (uint64_t bits = found_[w]; bits != 0; bits &= bits - 1) {
        const auto at =
            static_cast<uint32_t>(w * 64) + static_cast<uint32_t>(std::countr_zero(bits));
        const double sum = sums_[at];
        sums_[at] = 0;
        if ((allowed_[w] & (bits & -bits)) != 0) Finish(begin_ + at, sum, optional);
      }
    }
  }

  uint64_t Allowed(size_t word) const {
    const size_t at = begin_ / 64 + word;
    uint64_t bits = part_.allowed == nullptr ? ~uint64_t{0} : part_.allowed[at];
    if (part_.dead != nullptr) bits &= ~part_.dead[at];
    return bits;
  }

  // Adds the term's scores in the window to the sums.
  void Add(Cursor* cursor) {
    PostingsCursor& postings = cursor->postings;
    if (!postings.Advance(begin_)) return;
    for (bool more = true; more;) {
      const uint32_t* const slots = postings.slots();
      const uint32_t* const frequencies = postings.frequencies();
      const uint32_t remaining = postings.remaining();
      uint32_t i = 0;
      for (; i < remaining && slots[i] < end_; ++i) {
        const uint32_t at = slots[i] - begin_;
        sums_[at] += TermScore(cursor->weight, lengths_[norms_[slots[i]]],
                               static_cast<float>(frequencies[i]));
        found_[at / 64] |= uint64_t{1} << (at % 64);
      }
      more = postings.Skip(i) && i == remaining;
    }
  }

  // Adds what the first `optional` terms give, as long as the document may get in.
  void Finish(uint32_t slot, double sum, size_t optional) {
    for (size_t i = optional; i-- > 0;) {
      if (CannotGetIn(sum + rest_[i + 1])) return;
      PostingsCursor& postings = order_[i]->postings;
      if (!postings.Advance(slot) || postings.slot() != slot) continue;
      sum += TermScore(order_[i]->weight, lengths_[norms_[slot]],
                       static_cast<float>(postings.frequency()));
    }
    const auto score = static_cast<float>(sum);
    if (score > top_.threshold()) top_.Push({part_number_, slot, score});
  }

  const LexicalPart& part_;
  const uint32_t part_number_;
  const uint8_t* const norms_;
  const uint32_t documents_;
  const LengthFactors& lengths_;
  LexicalTop& top_;

  std::deque<Cursor> cursors_;
  std::vector<Cursor*> order_;  // by `highest`
  std::vector<double> rest_;    // of the highest scores of the first i of `order_`
  uint32_t begin_ = 0, end_ = 0;
  uint64_t allowed_[kWindow / 64];
  uint64_t found_[kWindow / 64];
  double sums_[kWindow] = {};
};

}  // namespace

void LexicalTop::Push(const LexicalHit& hit) {
  if (heap_.size() == k_) {
    std::pop_heap(heap_.begin(), heap_.end(), Better);
    heap_.back() = hit;
  } else {
    heap_.push_back(hit);
  }
  std::push_heap(heap_.begin(), heap_.end(), Better);
  if (heap_.size() == k_) threshold_ = heap_.front().score;
}

std::vector<LexicalHit> LexicalTop::Take() {
  std::sort_heap(heap_.begin(), heap_.end(), Better);
  return std::move(heap_);
}

absl::Status ScanSegment(const LexicalPart& part, uint32_t part_number,
                         std::span<const SegmentTerm> terms, const LengthFactors& lengths,
                         absl::FunctionRef<absl::Status()> checkpoint, LexicalTop* top) {
  return Scan(part, part_number, terms, lengths, top).Run(checkpoint);
}

}  // namespace vecino::fields
