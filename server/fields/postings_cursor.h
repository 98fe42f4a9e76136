// Walks over the documents that have a term.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "server/fields/postings.h"

namespace vecino::fields {

// Stands at a block, and once that is unpacked at a posting of it. Moves forward only.
//
// Thread safety: none: one for each term of each search. The postings must outlive it.
class PostingsCursor {
 public:
  static constexpr uint32_t kEnd = ~uint32_t{0};

  // number: of a term of `postings`. Stands before its first posting.
  PostingsCursor(const Postings& postings, uint32_t number);

  bool done() const { return block_ == blocks_; }

  // No posting that is still to come has a lower slot; kEnd when there is none.
  uint32_t lowest() const {
    if (done()) return kEnd;
    return unpacked_ ? slots_[at_] : first_possible_;
  }

  // Calls `fn(block)` for each block, from here on, that may have a slot below `end`.
  template <class Fn>
  void ForBlocksBelow(uint32_t end, Fn fn) const {
    uint32_t first = lowest();
    for (uint32_t b = block_; b < blocks_ && first < end; ++b) {
      const PostingsBlock block = Block(b);
      fn(block);
      first = block.last_slot + 1;
    }
  }

  // Past the blocks that have no slot from `slot` on. False when there is none behind.
  bool Pass(uint32_t slot);
  // To the first posting with this slot or a higher one, unpacked. False when there is none.
  bool Advance(uint32_t slot);

  // Where it stands, after Advance returned true.
  uint32_t slot() const { return slots_[at_]; }
  uint32_t frequency() const { return frequencies_[at_]; }
  // To the next posting, in the same sense.
  bool Next() {
    if (++at_ < count_) return true;
    return NextBlock();
  }

  // The postings of this block from where it stands: pointers valid until it moves.
  const uint32_t* slots() const { return slots_.data() + at_; }
  const uint32_t* frequencies() const { return frequencies_.data() + at_; }
  uint32_t remaining() const { return count_ - at_; }
  // Past the first `n` of those, 0 to remaining(). False when there is none behind.
  bool Skip(uint32_t n) {
    at_ += n;
    return at_ < count_ || NextBlock();
  }

 private:
  PostingsBlock Block(uint32_t b) const { return frequency_ == 1 ? single_ : LoadBlock(table_, b); }
  uint32_t CountOf(uint32_t b) const {
    return b + 1 < blocks_ ? kBlockPostings : frequency_ - b * kBlockPostings;
  }
  // To the block behind this one, not unpacked.
  void LeaveBlock();
  bool NextBlock();
  void Unpack();

  uint32_t frequency_, blocks_;
  const uint8_t* table_ = nullptr;
  const uint8_t* bits_ = nullptr;  // of this block
  PostingsBlock single_;           // of a term in one document
  uint32_t single_frequency_ = 0;

  uint32_t block_ = 0;
  uint32_t first_possible_ = 0;  // the last slot before this block, plus one
  bool unpacked_ = false;
  uint32_t at_ = 0, count_ = 0;
  std::array<uint32_t, kBlockPostings> slots_, frequencies_;
};

// Unpacks `count` numbers of `bits` bits, 0 to 32; reads up to 8 bytes behind them.
void UnpackBits(const uint8_t* from, uint32_t count, uint32_t bits, uint32_t* to);

}  // namespace vecino::fields
