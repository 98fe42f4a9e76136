#include "server/fields/postings_cursor.h"

#include <algorithm>

namespace vecino::fields {

void UnpackBits(const uint8_t* from, uint32_t count, uint32_t bits, uint32_t* to) {
  if (bits == 0) {
    std::fill_n(to, count, 0);
    return;
  }
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (uint32_t i = 0, at = 0; i < count; ++i, at += bits) {
    uint64_t word;
    std::memcpy(&word, from + at / 8, sizeof word);
    to[i] = static_cast<uint32_t>(word >> (at % 8) & mask);
  }
}

PostingsCursor::PostingsCursor(const Postings& postings, uint32_t number) {
  const TermRecord& record = postings.records_[number];
  frequency_ = record.frequency;
  blocks_ = BlocksOf(frequency_);
  if (frequency_ == 1) {
    single_.last_slot = static_cast<uint32_t>(record.postings);
    single_frequency_ = static_cast<uint32_t>(record.postings >> 32);
    single_.max_frequency = static_cast<uint8_t>(std::min<uint32_t>(single_frequency_, 255));
    single_.min_norm = postings.norms_[single_.last_slot];
    return;
  }
  table_ = postings.postings_ + record.postings;
  bits_ = table_ + blocks_ * sizeof(PostingsBlock);
}

void PostingsCursor::LeaveBlock() {
  const PostingsBlock block = Block(block_);
  if (frequency_ > 1) {
    const uint32_t count = CountOf(block_);
    bits_ += PackedBytes(count, block.slot_bits) + PackedBytes(count, block.frequency_bits);
  }
  first_possible_ = block.last_slot + 1;
  ++block_;
  unpacked_ = false;
}

void PostingsCursor::Unpack() {
  count_ = CountOf(block_);
  at_ = 0;
  unpacked_ = true;
  if (frequency_ == 1) {
    slots_[0] = single_.last_slot;
    frequencies_[0] = single_frequency_;
    return;
  }
  const PostingsBlock block = LoadBlock(table_, block_);
  UnpackBits(bits_, count_, block.slot_bits, slots_.data());
  uint32_t next = first_possible_;
  for (uint32_t i = 0; i < count_; ++i) {
    slots_[i] += next;
    next = slots_[i] + 1;
  }
  UnpackBits(bits_ + PackedBytes(count_, block.slot_bits), count_, block.frequency_bits,
             frequencies_.data());
  for (uint32_t i = 0; i < count_; ++i) ++frequencies_[i];
}

bool PostingsCursor::NextBlock() {
  LeaveBlock();
  if (done()) return false;
  Unpack();
  return true;
}

bool PostingsCursor::Pass(uint32_t slot) {
  while (!done() && Block(block_).last_slot < slot) LeaveBlock();
  return !done();
}

bool PostingsCursor::Advance(uint32_t slot) {
  if (unpacked_ && slots_[at_] >= slot) return true;
  if (!Pass(slot)) return false;
  if (!unpacked_) Unpack();
  at_ = static_cast<uint32_t>(
      std::lower_bound(slots_.begin() + at_, slots_.begin() + count_, slot) - slots_.begin());
  return true;
}

}  // namespace vecino::fields
