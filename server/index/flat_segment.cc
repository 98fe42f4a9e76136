#include "server/index/flat_segment.h"

#include <faiss/IndexFlat.h>

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/distance.h"
#include "server/index/rounded_rows.h"
#include "server/index/search_report.h"

namespace vecino::index {
namespace {

faiss::MetricType ToFaiss(Metric metric) {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

// Runs `fn` and turns what FAISS or the allocator throws into a Status.
template <typename Fn>
absl::Status Catch(const char* what, Fn fn) {
  try {
    fn();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory to ", what, " a flat segment"));
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no address space to ", what, " a flat segment"));
  } catch (const std::exception& e) {
    return absl::InternalError(
        absl::StrCat("FAISS failed to ", what, " a flat segment: ", e.what()));
  }
}

}  // namespace

// The rows are those of a faiss::IndexFlat. They are scanned with our kernels, block by block,
// rather than by IndexFlat::search, which opens an OpenMP team, scores dead rows one by one through
// a virtual selector, and on Debian uses no instruction newer than SSE2. Where it pays, the rows
// are kept as 8 bits, too, and scanned first.
class FlatSegmentBuilder::FlatSegment final : public Segment {
 public:
  FlatSegment(Metric metric, int dimension) : metric_(metric), rows_(dimension, ToFaiss(metric)) {}

  Metric metric() const override { return metric_; }
  int dimension() const override { return static_cast<int>(rows_.d); }
  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  SegmentKind kind() const override { return SegmentKind::kFlat; }
  MemoryUse memory() const override {
    return {.rounded = static_cast<int64_t>(rounded_.size() * RoundedRows::Bytes(metric_, rows_.d) +
                                            rounded_.capacity() * sizeof(rounded_[0])),
            .vectors = static_cast<int64_t>(rows_.codes.capacity()),
            .labels = static_cast<int64_t>(labels_.capacity() * sizeof(uint64_t))};
  }
  uint64_t label(int64_t slot) const override { return labels_[slot]; }
  const float* vector(int64_t slot) const override { return rows_.get_xb() + slot * rows_.d; }

  int64_t FindSlot(uint64_t label) const override {
    const auto it = std::lower_bound(labels_.begin(), labels_.end(), label);
    return it != labels_.end() && *it == label ? it - labels_.begin() : -1;
  }

  absl::Status Search(const float* query, const SearchParams& params, const Tombstones& dead,
                      const uint64_t* allowed, TopK* top) const override {
    size_t scored = 0;
    if (!rounded_.empty() && static_cast<size_t>(size()) > top->k()) {
      scored = SearchRounded(query, dead, allowed, top);
    } else {
      SearchFloats(query, dead, allowed, top);
    }
    if (SearchReport* const report = params.report; report != nullptr) {
      report->Part(size(), 1, true);
      report->scanned += size();
      report->rescored += static_cast<int64_t>(scored);
      if (report->words != nullptr) {
        report->words->push_back(absl::StrCat("a flat segment of ", size(), " rows: all"));
      }
    }
    return absl::OkStatus();
  }

 private:
  friend class FlatSegmentBuilder;

  // The rows of a word of tombstones that may be found.
  static uint64_t LiveBits(const Tombstones& dead, const uint64_t* allowed, size_t word) {
    return ~dead.word(word) & (allowed == nullptr ? ~uint64_t{0} : allowed[word]);
  }

  void SearchFloats(const float* query, const Tombstones& dead, const uint64_t* allowed,
                    TopK* top) const {
    std::array<float, 64> scores;  // a block is one word of tombstones
    for (size_t word = 0; word < dead.word_count(); ++word) {
      const int64_t first = static_cast<int64_t>(word) * 64;
      const int64_t n = std::min<int64_t>(64, size() - first);
      const uint64_t live = LiveBits(dead, allowed, word);
      if (live == 0) continue;
      Score(metric_, query, vector(first), rows_.d, n, scores.data());
      for (int64_t i = 0; i < n; ++i) {
        if ((live >> i & 1) != 0) top->Push(labels_[first + i], scores[i]);
      }
    }
  }

  // How many rows it scored by their floats, too.
  size_t SearchRounded(const float* query, const Tombstones& dead, const uint64_t* allowed,
                       TopK* top) const {
    constexpr size_t kWords = RoundedRows::kRows / 64;
    BoundedScan scan;
    scan.Start(query, rows_.d, *top);
    std::array<uint64_t, kWords> live;
    for (size_t i = 0; i < rounded_.size(); ++i) {
      const size_t first = i * RoundedRows::kRows;
      const size_t n = std::min(RoundedRows::kRows, labels_.size() - first);
      for (size_t word = 0; word * 64 < n; ++word) {
        live[word] = LiveBits(dead, allowed, i * kWords + word);
      }
      rounded_[i]->Scan(&scan, n, live.data(), first);
    }
    scan.Finish([this](uint64_t slot) { return vector(static_cast<int64_t>(slot)); },
                [this](uint64_t slot) { return labels_[slot]; }, top);
    return scan.scored_exactly();
  }

  void AddRounded(const float* vector) {
    const size_t slot = labels_.size() - 1, i = slot % RoundedRows::kRows;
    if (i == 0) rounded_.push_back(std::make_unique<RoundedRows>(metric_, rows_.d));
    rounded_.back()->Set(i, vector);
  }

  const Metric metric_;
  faiss::IndexFlat rows_;
  std::vector<uint64_t> labels_;
  std::vector<std::unique_ptr<RoundedRows>> rounded_;  // empty where it would not pay
};

FlatSegmentBuilder::FlatSegmentBuilder(Metric metric, int dimension)
    : segment_(std::make_shared<FlatSegment>(metric, dimension)) {}

FlatSegmentBuilder::~FlatSegmentBuilder() = default;

absl::Status FlatSegmentBuilder::Reserve(int64_t rows) {
  return Catch("reserve", [&] {
    segment_->rows_.codes.reserve(static_cast<size_t>(rows) * segment_->rows_.code_size);
    segment_->labels_.reserve(static_cast<size_t>(rows));
    if (BoundedScan::Pays(segment_->rows_.d)) {
      segment_->rounded_.reserve(static_cast<size_t>(rows) / RoundedRows::kRows + 1);
    }
  });
}

absl::Status FlatSegmentBuilder::Add(uint64_t label, const float* vector) {
  if (!segment_->labels_.empty() && label <= segment_->labels_.back()) {
    return absl::InternalError(absl::StrCat("label ", label, " was added to a segment after label ",
                                            segment_->labels_.back()));
  }
  return Catch("grow", [&] {
    segment_->labels_.push_back(label);
    segment_->rows_.add(1, vector);
    if (BoundedScan::Pays(segment_->rows_.d)) segment_->AddRounded(vector);
  });
}

int64_t FlatSegmentBuilder::size() const { return segment_->size(); }

absl::StatusOr<std::shared_ptr<const Segment>> FlatSegmentBuilder::Build() {
  if (segment_->size() == 0) return std::shared_ptr<const Segment>();
  return std::shared_ptr<const Segment>(std::exchange(segment_, nullptr));
}

}  // namespace vecino::index
