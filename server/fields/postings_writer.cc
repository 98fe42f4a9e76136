#include "server/fields/postings_writer.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/fields/analyzer.h"

namespace vecino::fields {
namespace {

void PackBits(const uint32_t* from, uint32_t count, uint32_t bits, std::string* to) {
  uint64_t word = 0;
  uint32_t filled = 0;
  for (uint32_t i = 0; i < count; ++i) {
    word |= static_cast<uint64_t>(from[i]) << filled;  // filled < 8, so 40 bits at most
    for (filled += bits; filled >= 8; filled -= 8, word >>= 8) {
      to->push_back(static_cast<char>(word & 0xff));
    }
  }
  if (filled > 0) to->push_back(static_cast<char>(word));
}

uint8_t BitsFor(uint32_t highest) { return static_cast<uint8_t>(std::bit_width(highest)); }

}  // namespace

PostingsWriter::PostingsWriter(uint32_t documents) : norms_(documents) {}

void PostingsWriter::Add(uint32_t slot, uint32_t frequency) {
  assert(slot < norms_.size() && norms_[slot] != 0 && frequency > 0);
  assert(pending_ == 0 ? slot >= next_ : slot > slots_[pending_ - 1]);
  if (pending_ == kBlockPostings) FlushBlock();
  slots_[pending_] = slot;
  frequencies_[pending_++] = frequency;
  total_length_ += frequency;
}

void PostingsWriter::FlushBlock() {
  PostingsBlock block;
  block.last_slot = slots_[pending_ - 1];
  uint32_t highest_distance = 0, highest_frequency = 0;
  block.min_norm = 255;
  for (uint32_t i = 0; i < pending_; ++i) {
    block.min_norm = std::min(block.min_norm, norms_[slots_[i]]);
    highest_frequency = std::max(highest_frequency, frequencies_[i]);
    const uint32_t next = slots_[i] + 1;
    slots_[i] -= next_;
    next_ = next;
    highest_distance = std::max(highest_distance, slots_[i]);
    --frequencies_[i];
  }
  block.max_frequency = static_cast<uint8_t>(std::min<uint32_t>(highest_frequency, 255));
  block.slot_bits = BitsFor(highest_distance);
  block.frequency_bits = BitsFor(highest_frequency - 1);
  PackBits(slots_, pending_, block.slot_bits, &bits_);
  PackBits(frequencies_, pending_, block.frequency_bits, &bits_);
  blocks_.push_back(block);
  count_ += pending_;
  pending_ = 0;
}

void PostingsWriter::EndTerm() {
  if (count_ + pending_ > 0) {
    TermRecord record;
    record.name_begin = static_cast<uint32_t>(names_.size());  // Finish refuses too many
    names_.append(name_);
    if (count_ == 0 && pending_ == 1) {
      record.frequency = 1;
      record.postings = slots_[0] | static_cast<uint64_t>(frequencies_[0]) << 32;
    } else {
      if (pending_ > 0) FlushBlock();
      record.frequency = count_;
      record.postings = postings_.size();
      postings_.append(reinterpret_cast<const char*>(blocks_.data()),
                       blocks_.size() * sizeof(PostingsBlock));
      postings_.append(bits_);
    }
    records_.push_back(record);
  }
  blocks_.clear();
  bits_.clear();
  count_ = next_ = pending_ = 0;
}

absl::StatusOr<std::shared_ptr<const Postings>> PostingsWriter::Finish() {
  if (names_.size() > ~uint32_t{0}) {
    return absl::ResourceExhaustedError(absl::StrCat("the different words of a segment take ",
                                                     names_.size(),
                                                     " bytes, may take 4 GiB; use more shards"));
  }
  TermRecord end;
  end.name_begin = static_cast<uint32_t>(names_.size());
  postings_.append(kPostingsSlack, '\0');
  PostingsHeader header;
  header.analyzer = kAnalyzerVersion;
  header.documents = static_cast<uint32_t>(norms_.size());
  header.with_words = static_cast<uint32_t>(
      norms_.size() - static_cast<size_t>(std::count(norms_.begin(), norms_.end(), 0)));
  header.terms = static_cast<uint32_t>(records_.size());
  records_.push_back(end);
  header.total_length = total_length_;
  header.name_bytes = names_.size();
  header.postings_bytes = postings_.size();

  const size_t size = sizeof header + PadTo8(norms_.size()) + records_.size() * sizeof(TermRecord) +
                      PadTo8(names_.size()) + postings_.size();
  // What new[] gives is aligned for all that is in it.
  std::shared_ptr<char[]> data(new char[size]());
  char* at = data.get();
  const auto put = [&](const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(at, from, bytes);
    at += PadTo8(bytes);
  };
  put(&header, sizeof header);
  put(norms_.data(), norms_.size());
  put(records_.data(), records_.size() * sizeof(TermRecord));
  put(names_.data(), names_.size());
  std::memcpy(at, postings_.data(), postings_.size());
  const std::string_view bytes(data.get(), size);
  return Postings::Open(std::move(data), bytes);
}

}  // namespace vecino::fields
