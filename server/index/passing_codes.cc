#include "server/index/passing_codes.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "server/index/pq_scan.h"

namespace vecino::index {

std::shared_ptr<const PassingCodes> PassingCodes::Make(const IvfSegment& segment,
                                                       const uint64_t* allowed) {
  std::shared_ptr<PassingCodes> made(new PassingCodes);
  const int64_t rows = segment.size();
  for (int64_t begin = 0; begin < rows; begin += 64) {
    const auto word = static_cast<size_t>(begin / 64);
    uint64_t bits = allowed[word];
    if (rows - begin < 64) bits &= (uint64_t{1} << (rows - begin)) - 1;
    for (; bits != 0; bits &= bits - 1) {
      made->slots_.push_back(static_cast<uint32_t>(begin + std::countr_zero(bits)));
    }
  }
  made->slots_.shrink_to_fit();
  const std::vector<uint32_t>& slots = made->slots_;
  const int nlist = segment.generation()->nlist();
  made->list_begin_.reserve(static_cast<size_t>(nlist) + 1);
  auto at = slots.begin();
  for (int list = 0; list <= nlist; ++list) {
    at = std::lower_bound(at, slots.end(), segment.list_begin(list));
    made->list_begin_.push_back(static_cast<uint32_t>(at - slots.begin()));
  }
  made->spread_ = made->SpreadIn(segment);
  const size_t m = segment.generation()->quantizer().m();
  made->block_bytes_ = PqBlockBytes(m);
  const size_t blocks = (slots.size() + kPqBlockRows - 1) / kPqBlockRows;
  made->blocks_.resize(std::max<size_t>(1, blocks * made->block_bytes_ / sizeof(Line)));
  for (size_t place = 0; place < slots.size(); ++place) {
    const uint32_t slot = slots[place];
    PqCopyRow(segment.block(slot / kPqBlockRows), static_cast<int>(slot % kPqBlockRows), m,
              made->blocks_.front().bytes + place / kPqBlockRows * made->block_bytes_,
              static_cast<int>(place % kPqBlockRows));
  }
  return made;
}

PassingCodes::Spread PassingCodes::SpreadIn(const IvfSegment& segment) const {
  if (size() < kMinJudged) return Spread::kUnknown;
  const double share = static_cast<double>(size()) / static_cast<double>(segment.size());
  const int nlist = segment.generation()->nlist();
  double chi_square = 0, cells = 0;
  for (int first = 0, list = 0; list < nlist; ++list) {
    const double expected = share * (segment.list_begin(list + 1) - segment.list_begin(first));
    if (expected < kOfCell && list + 1 < nlist) continue;
    const double off = list_begin(list + 1) - list_begin(first) - expected;
    if (expected > 0) chi_square += off * off / expected, cells += 1;
    first = list + 1;
  }
  const double most = std::max(1.5, 1 + 5 * std::sqrt(2 / cells));
  return chi_square <= most * cells ? Spread::kEven : Spread::kUneven;
}

size_t PassingCodes::BytesOf(const IvfSegment& segment, int64_t passing) {
  const Generation& generation = *segment.generation();
  const auto rows = static_cast<size_t>(passing);
  const size_t blocks = (rows + kPqBlockRows - 1) / kPqBlockRows;
  return blocks * PqBlockBytes(generation.quantizer().m()) +
         (rows + static_cast<size_t>(generation.nlist()) + 1) * sizeof(uint32_t);
}

uint16_t PassingCodes::Live(size_t block, const Tombstones& dead) const {
  const size_t first = block * kPqBlockRows;
  const size_t end = std::min(slots_.size(), first + kPqBlockRows);
  uint32_t live = 0xFFFF;
  for (size_t place = first; place < end; ++place) {
    live &= ~(static_cast<uint32_t>(dead.IsDead(slots_[place])) << (place - first));
  }
  return static_cast<uint16_t>(live);
}

}  // namespace vecino::index
