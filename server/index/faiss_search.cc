#include "server/index/faiss_search.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexLSH.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "server/index/bits.h"
#include "server/index/cpu.h"
#include "server/index/distance.h"
#include "server/index/faiss_hnsw.h"
#include "server/index/faiss_status.h"

namespace vecino::index {
namespace {

// With a filter, so few rows are compared faster than any index finds them.
constexpr int64_t kDirectRows = kFaissDirectRows;
constexpr int64_t kDirectShare = 100;  // one in a hundred

#define VECINO_HAMMING(a, b, bytes)                                    \
  uint32_t sum = 0;                                                    \
  size_t i = 0;                                                        \
  for (; i + 8 <= (bytes); i += 8) {                                   \
    uint64_t x, y;                                                     \
    __builtin_memcpy(&x, (a) + i, 8);                                  \
    __builtin_memcpy(&y, (b) + i, 8);                                  \
    sum += static_cast<uint32_t>(__builtin_popcountll(x ^ y));         \
  }                                                                    \
  for (; i < (bytes); ++i) {                                           \
    sum += static_cast<uint32_t>(__builtin_popcount((a)[i] ^ (b)[i])); \
  }                                                                    \
  return sum

__attribute__((target("popcnt"))) uint32_t HammingFast(const uint8_t* a, const uint8_t* b,
                                                       size_t bytes) {
  VECINO_HAMMING(a, b, bytes);
}
uint32_t HammingPortable(const uint8_t* a, const uint8_t* b, size_t bytes) {
  VECINO_HAMMING(a, b, bytes);
}
#undef VECINO_HAMMING

// Which slots may be found, as they were when the search began.
class Passing : public faiss::IDSelector {
 public:
  Passing(int64_t n, const Tombstones& dead, const uint64_t* allowed) : n_(n), count_(n) {
    const int64_t killed = dead.dead();
    if (allowed == nullptr && killed == 0) return;
    words_.resize(dead.word_count());
    for (size_t i = 0; i < words_.size(); ++i) {
      words_[i] = ~dead.word(i) & (allowed == nullptr ? ~uint64_t{0} : allowed[i]);
    }
    if (n % 64 != 0) words_.back() &= (uint64_t{1} << (n % 64)) - 1;
    count_ = allowed == nullptr ? std::max<int64_t>(0, n - killed)
                                : CountBits(words_.data(), words_.size());
  }

  bool all() const { return words_.empty(); }
  int64_t count() const { return count_; }  // without a filter, rows killed just now may be counted
  bool is_member(int64_t slot) const override {
    return words_.empty() || (words_[slot / 64] >> (slot % 64) & 1) != 0;
  }
  uint64_t word(size_t i) const {
    if (!words_.empty()) return words_[i];
    const int64_t left = n_ - static_cast<int64_t>(i) * 64;
    return left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
  }

 private:
  const int64_t n_;
  int64_t count_;
  std::vector<uint64_t> words_;  // empty: all
};

class Run {
 public:
  Run(const FaissView& view, const float* query, const FaissBreadth& breadth,
      const Tombstones& dead, const uint64_t* allowed, TopK* top, FaissWork* work)
      : view_(view),
        query_(query),
        breadth_(breadth),
        passing_(view.n, dead, allowed),
        top_(top),
        work_(*work) {}

  void operator()() {
    const int64_t live = passing_.count();
    if (live <= 0) return;
    need_ = std::min<int64_t>(breadth_.k, live);
    if (breadth_.exact || live <= breadth_.k ||
        (live < view_.n && (live <= kDirectRows || live * kDirectShare < view_.n))) {
      return Directly();
    }
    switch (view_.kind) {
      case SegmentKind::kIvfFlat:
        return IvfFlat();
      case SegmentKind::kIvfSq8:
      case SegmentKind::kIvfPq:
        return IvfCodes();
      case SegmentKind::kHnsw:
        return Hnsw();
      case SegmentKind::kLsh:
        return Lsh();
      case SegmentKind::kFlat:
      case SegmentKind::kIvf:
        return Directly();
    }
  }

 private:
  uint64_t label(int64_t slot) const {
    return view_.labels == nullptr ? static_cast<uint64_t>(slot) : view_.labels[slot];
  }

  // Scores the passing rows of slots begin to end − 1; returns how many they were.
  int64_t Range(int64_t begin, int64_t end) {
    std::array<float, 64> scores;
    int64_t found = 0;
    while (begin < end) {
      if (!passing_.is_member(begin)) {
        ++begin;
        continue;
      }
      int64_t n = 1;
      if (view_.rows.base != nullptr) {
        while (n < 64 && begin + n < end && passing_.is_member(begin + n)) ++n;
      }
      Score(view_.metric, query_, view_.rows[begin], view_.rows.d, n, scores.data());
      for (int64_t i = 0; i < n; ++i) top_->Push(label(begin + i), scores[i]);
      begin += n;
      found += n;
    }
    work_.scanned += found;
    return found;
  }

  void Directly() {
    work_.exact = true;
    for (int64_t first = 0; first < view_.n; first += 64) {
      if (passing_.word(static_cast<size_t>(first / 64)) == 0) continue;
      Range(first, std::min(view_.n, first + 64));
    }
  }

  // Scores candidates by their floats, in order of slots.
  void Rerank(std::vector<int64_t>* slots) {
    std::sort(slots->begin(), slots->end());
    work_.rescored += static_cast<int64_t>(slots->size());
    for (const int64_t slot : *slots) {
      float score;
      Score(view_.metric, query_, view_.rows[slot], view_.rows.d, 1, &score);
      top_->Push(label(slot), score);
    }
  }

  // Calls scan(list, score of its centroid) with the lists nearest to the query: breadth_.nprobe of
  // them, more where a filter thins them out, and then on until `enough`.
  template <typename Scan, typename Enough>
  void Probe(Scan scan, Enough enough) {
    const auto& ivf = static_cast<const faiss::IndexIVF&>(*view_.index);
    const auto& coarse = static_cast<const faiss::IndexFlat&>(*ivf.quantizer);
    const size_t nlist = ivf.nlist;
    std::vector<float> scores(nlist);
    Score(view_.metric, query_, coarse.get_xb(), view_.rows.d, nlist, scores.data());
    std::vector<uint32_t> lists(nlist);
    std::iota(lists.begin(), lists.end(), 0);
    const auto before = [&](uint32_t a, uint32_t b) {
      if (scores[a] != scores[b]) {
        return view_.metric == Metric::kL2 ? scores[a] < scores[b] : scores[a] > scores[b];
      }
      return a < b;
    };
    // The k-th best of one row in ten lies farther out. The exponent fits what IVF needed at 1%
    // (2.7 times the lists, docs/index.md).
    const double thin = static_cast<double>(view_.n) / static_cast<double>(passing_.count());
    const double wanted = std::round(std::max(1, breadth_.nprobe) * std::pow(thin, 0.25));
    const auto nprobe = static_cast<size_t>(std::min<double>(wanted, static_cast<double>(nlist)));
    std::partial_sort(lists.begin(), lists.begin() + static_cast<ptrdiff_t>(nprobe), lists.end(),
                      before);
    for (size_t i = 0; i < nlist; ++i) {
      if (i >= nprobe && enough()) break;
      ++work_.nprobe;
      if (i == nprobe) std::sort(lists.begin() + static_cast<ptrdiff_t>(i), lists.end(), before);
      if (view_.list_begin[lists[i]] != view_.list_begin[lists[i] + 1]) {
        scan(lists[i], scores[lists[i]]);
      }
    }
  }

  void IvfFlat() {
    int64_t found = 0;
    Probe([&](uint32_t list,
              float) { found += Range(view_.list_begin[list], view_.list_begin[list + 1]); },
          [&] { return found >= need_; });
  }

  void IvfCodes() {
    const auto& ivf = static_cast<const faiss::IndexIVF&>(*view_.index);
    const std::unique_ptr<faiss::InvertedListScanner> scanner(ivf.get_InvertedListScanner(
        /*store_pairs=*/false, passing_.all() ? nullptr : &passing_));
    scanner->set_query(query_);
    const auto keep = static_cast<size_t>(
        std::min<int64_t>(view_.n, std::max<int64_t>(breadth_.k, breadth_.rerank)));
    std::vector<float> scores(keep);
    std::vector<faiss::Index::idx_t> best(keep), ids;
    if (view_.metric == Metric::kL2) {
      faiss::maxheap_heapify(keep, scores.data(), best.data());
    } else {
      faiss::minheap_heapify(keep, scores.data(), best.data());
    }
    Probe(
        [&](uint32_t list, float centroid_score) {
          const int64_t begin = view_.list_begin[list];
          ids.resize(static_cast<size_t>(view_.list_begin[list + 1] - begin));
          work_.scanned += static_cast<int64_t>(ids.size());
          std::iota(ids.begin(), ids.end(), begin);
          scanner->set_list(list, centroid_score);
          scanner->scan_codes(ids.size(),
                              view_.codes + static_cast<size_t>(begin) * view_.code_size,
                              ids.data(), scores.data(), best.data(), keep);
        },
        [&] {
          return std::count_if(best.begin(), best.end(), [](int64_t id) { return id >= 0; }) >=
                 need_;
        });
    std::erase_if(best, [](int64_t id) { return id < 0; });
    Rerank(&best);
  }

  void Hnsw() {
    const auto& hnsw = static_cast<const faiss::IndexHNSW&>(*view_.index).hnsw;
    const double thin = static_cast<double>(view_.n) / static_cast<double>(passing_.count());
    double breadth = std::max(breadth_.ef, breadth_.k) * thin;
    faiss::VisitedTable& visited = HnswVisited(view_.n);
    HnswDistance distance(view_.metric, view_.rows);
    distance.set_query(query_);
    for (;; breadth *= 4) {
      // A beam costs its links and, in FAISS, a look at all of it for each row it goes through.
      const double cost = 8 * breadth + breadth * breadth / 64;
      if (breadth >= static_cast<double>(view_.n) ||
          (!passing_.all() && cost >= static_cast<double>(passing_.count()))) {
        return Directly();
      }
      const auto ef = static_cast<size_t>(std::ceil(breadth));
      work_.ef = static_cast<int>(ef);
      // FAISS 1.7.3 sizes the beam by k and the index' own efSearch, not by the parameter.
      std::vector<float> distances(ef);
      std::vector<faiss::Index::idx_t> slots(ef);
      faiss::maxheap_heapify(ef, distances.data(), slots.data());
      faiss::SearchParametersHNSW params;
      params.efSearch = static_cast<int>(ef);
      params.sel = passing_.all() ? nullptr : &passing_;
      visited.advance();
      hnsw.search(distance, static_cast<int>(ef), slots.data(), distances.data(), visited, &params);
      work_.scanned = distance.computed();
      const int64_t found =
          std::count_if(slots.begin(), slots.end(), [](int64_t slot) { return slot >= 0; });
      if (found < need_) continue;
      for (size_t i = 0; i < ef; ++i) {
        if (slots[i] >= 0) top_->Push(label(slots[i]), distance.ToScore(distances[i]));
      }
      return;
    }
  }

  void Lsh() {
    const size_t bytes = view_.code_size;
    std::vector<uint8_t> code(bytes);
    EncodeLsh(*view_.index, query_, code.data());
    const auto hamming = BestCpuLevel() == CpuLevel::kPortable ? &HammingPortable : &HammingFast;
    std::vector<uint32_t> distances(static_cast<size_t>(view_.n));
    std::vector<uint32_t> histogram(bytes * 8 + 1);
    for (int64_t slot = 0; slot < view_.n; ++slot) {
      if (!passing_.is_member(slot)) continue;
      const uint32_t distance =
          hamming(code.data(), view_.codes + static_cast<size_t>(slot) * bytes, bytes);
      distances[static_cast<size_t>(slot)] = distance;
      ++histogram[distance];
      ++work_.scanned;
    }
    // The nearest by Hamming distance; of those at the last distance, the lowest slots.
    const uint64_t keep = std::max<uint64_t>(breadth_.k, std::max(0, breadth_.rerank));
    uint64_t below = 0;
    size_t last = 0;
    while (last + 1 < histogram.size() && below + histogram[last] < keep) {
      below += histogram[last++];
    }
    uint64_t at_last = keep - std::min(keep, below);
    std::vector<int64_t> slots;
    for (int64_t slot = 0; slot < view_.n; ++slot) {
      const uint32_t distance = distances[static_cast<size_t>(slot)];
      if (distance > last || !passing_.is_member(slot)) continue;
      if (distance == last) {
        if (at_last == 0) continue;
        --at_last;
      }
      slots.push_back(slot);
    }
    Rerank(&slots);
  }

  const FaissView& view_;
  const float* const query_;
  const FaissBreadth breadth_;
  Passing passing_;
  TopK* const top_;
  FaissWork& work_;
  int64_t need_ = 0;
};

}  // namespace

int FaissListCount(const FaissView& view) {
  return static_cast<int>(static_cast<const faiss::IndexIVF&>(*view.index).nlist);
}

int DefaultRerank(SegmentKind kind, int k) {
  const int64_t rows = k;
  const int64_t rerank = kind == SegmentKind::kIvfSq8  ? std::max<int64_t>(32, rows * 2)
                         : kind == SegmentKind::kIvfPq ? std::max<int64_t>(100, rows * 10)
                                                       : std::max<int64_t>(200, rows * 20);
  return static_cast<int>(std::min<int64_t>(rerank, INT32_MAX));
}

void EncodeLsh(const faiss::Index& index, const float* row, uint8_t* code) {
  const auto& lsh = static_cast<const faiss::IndexLSH&>(index);
  const auto bits = static_cast<size_t>(lsh.nbits);
  std::memset(code, 0, (bits + 7) / 8);
  std::array<float, 64> projections;
  const auto d = static_cast<size_t>(lsh.d);
  for (size_t first = 0; first < bits; first += projections.size()) {
    const size_t n = std::min(projections.size(), bits - first);
    Score(Metric::kInnerProduct, row, lsh.rrot.A.data() + first * d, d, n, projections.data());
    for (size_t i = 0; i < n; ++i) {
      const size_t bit = first + i;
      const float threshold = lsh.train_thresholds ? lsh.thresholds[bit] : 0;
      if (projections[i] - threshold >= 0) code[bit / 8] |= static_cast<uint8_t>(1 << bit % 8);
    }
  }
}

absl::Status SearchFaiss(const FaissView& view, const float* query, const FaissBreadth& breadth,
                         const Tombstones& dead, const uint64_t* allowed, TopK* top,
                         FaissWork* work) {
  FaissWork own;
  if (work == nullptr) work = &own;
  return CatchFaiss("search a segment", [&] {
    Run(view, query, breadth, dead, allowed, top, work)();
    return absl::OkStatus();
  });
}

}  // namespace vecino::index
