#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/HNSW.h>
#include <faiss/utils/random.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/cpu.h"
#include "server/index/graph.h"
#include "server/index/graph_links.h"
#include "server/index/graph_twins.h"
#include "server/index/simd.h"

namespace vecino::index {
namespace {

constexpr int64_t kMaxRows = int64_t{1} << 30;
constexpr int kMaxM = 256;
constexpr int kRowsPerCheckpoint = 4;  // a row takes 1 ms or less

// Σ a·(b − 128) over bytes; the caller takes off 128 · Σ (b − 128). n: a multiple of 64.
using DotFn = int32_t (*)(const uint8_t* a, const uint8_t* b, size_t n);

int32_t DotPortable(const uint8_t* a, const uint8_t* b, size_t n) {
  int32_t sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * (b[i] - 128);
  return sum;
}

#if defined(__x86_64__)

VECINO_AVX2 int32_t DotAvx2(const uint8_t* a, const uint8_t* b, size_t n) {
  __m256i sum = _mm256_setzero_si256();
  const __m256i bias = _mm256_set1_epi16(128);
  for (size_t i = 0; i < n; i += 16) {
    const __m256i x =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m256i y =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_sub_epi16(y, bias)));
  }
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

VECINO_AVX512 int32_t DotAvx512(const uint8_t* a, const uint8_t* b, size_t n) {
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i even = _mm512_setzero_si512(), odd = even;
  size_t i = 0;
  for (; i + 128 <= n; i += 128) {
    even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(a + i),
                               _mm512_xor_si512(_mm512_loadu_si512(b + i), flip));
    odd = _mm512_dpbusd_epi32(odd, _mm512_loadu_si512(a + i + 64),
                              _mm512_xor_si512(_mm512_loadu_si512(b + i + 64), flip));
  }
  if (i < n) {
    even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(a + i),
                               _mm512_xor_si512(_mm512_loadu_si512(b + i), flip));
  }
  return _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd));
}

#endif  // __x86_64__

DotFn BestDot() {
#if defined(__x86_64__)
  if (BestCpuLevel() == CpuLevel::kAvx512) return DotAvx512;
  if (BestCpuLevel() == CpuLevel::kAvx2) return DotAvx2;
#endif
  return DotPortable;
}

// What FAISS asks for while it inserts a row: distances between 8-bit rows, small when near.
class RowDistances final : public faiss::DistanceComputer {
 public:
  RowDistances(const Int8Rows& rows, int64_t n, const faiss::HNSW& hnsw)
      : rows_(rows), stride_(Int8Stride(rows.d)), dot_(BestDot()), hnsw_(hnsw), biases_(n) {
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* codes = Codes(i);
      int32_t sum = 0;
      for (size_t j = 0; j < stride_; ++j) sum += codes[j];
      biases_[i] = 128 * (sum - 128 * static_cast<int32_t>(stride_));
    }
  }

  void Insert(int64_t row) { inserted_ = row, hinted_ = row; }

  void set_query(const float*) override {}  // Insert takes its place

  float operator()(idx_t i) override { return Distance(i, inserted_); }

  float symmetric_dis(idx_t i, idx_t j) override {
    // The first question about a row that gets a link to the inserted one; all of that row's
    // neighbours come next.
    if (j == inserted_ && i != hinted_) Hint(i);
    return Distance(i, j);
  }

 private:
  const uint8_t* Codes(idx_t i) const { return rows_.codes + static_cast<size_t>(i) * stride_; }

  float Distance(idx_t i, idx_t j) const {
    const int32_t dot = dot_(Codes(i), Codes(j), stride_) - biases_[j];
    const float product = static_cast<float>(dot) * (rows_.scales[i] * rows_.scales[j]);
    if (rows_.metric == Metric::kInnerProduct) return -product;
    return (rows_.norms[i] + rows_.norms[j]) - 2 * product;
  }

  void Hint(idx_t i) {
    hinted_ = i;
    size_t begin, end;
    hnsw_.neighbor_range(i, 0, &begin, &end);
    for (size_t k = begin; k < end && hnsw_.neighbors[k] >= 0; ++k) {
      const uint8_t* codes = Codes(hnsw_.neighbors[k]);
      for (size_t b = 0; b < stride_; b += 64) __builtin_prefetch(codes + b);
    }
  }

  const Int8Rows rows_;
  const size_t stride_;
  const DotFn dot_;
  const faiss::HNSW& hnsw_;
  std::vector<int32_t> biases_;  // 128 · Σ (code − 128) of each row
  int64_t inserted_ = 0, hinted_ = 0;
};

class Locks {
 public:
  explicit Locks(size_t n) : locks_(n) {
    for (omp_lock_t& lock : locks_) omp_init_lock(&lock);
  }
  ~Locks() {
    for (omp_lock_t& lock : locks_) omp_destroy_lock(&lock);
  }
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;
  std::vector<omp_lock_t>& get() { return locks_; }

 private:
  std::vector<omp_lock_t> locks_;
};

// Marks those of `asked` that have kMostTwins or fewer twins, and the twins.
void Mark(absl::Span<const uint32_t> asked, const GraphTwins& twins, Tombstones* marked) {
  std::vector<bool> is_asked(static_cast<size_t>(marked->slots()));
  for (const uint32_t row : asked) is_asked[row] = true;
  for (size_t begin = 0, end; begin < twins.size(); begin = end) {
    const uint32_t first = twins.first(begin);
    bool any = is_asked[first];
    for (end = begin; end < twins.size() && twins.first(end) == first; ++end) {
      any = any || is_asked[twins.slot(end)];
    }
    any = any && end - begin <= Graph::Rehearsal::kMostTwins;
    is_asked[first] = any;
    for (size_t i = begin; i < end; ++i) is_asked[twins.slot(i)] = any;
  }
  for (size_t i = 0; i < is_asked.size(); ++i) {
    if (is_asked[i]) marked->Kill(static_cast<int64_t>(i));
  }
}

// Draws every row's level and makes room for its links. Twins and the rows that come last stand on
// the lowest level.
void PrepareLevels(int64_t n, const GraphTwins& twins, const Tombstones& last, faiss::HNSW* hnsw) {
  hnsw->levels.resize(n);
  for (int& level : hnsw->levels) level = hnsw->random_level() + 1;
  for (size_t i = 0; i < twins.size(); ++i) hnsw->levels[twins.slot(i)] = 1;
  for (int64_t i = 0; i < n; ++i) {
    if (last.IsDead(i)) hnsw->levels[i] = 1;
  }
  size_t links = 0;
  for (const int level : hnsw->levels) links += hnsw->cum_nb_neighbors(level);
  hnsw->offsets.reserve(n + 1);
  hnsw->neighbors.reserve(links);
  hnsw->prepare_level_tab(n, /*preset_levels=*/true);
}

// Which rows are inserted, so all but the twins, and when: first those of high levels, as
// faiss::IndexHNSW adds them, within a level in random order; then, in random order too, the
// `last`.
struct InsertionOrder {
  InsertionOrder(const faiss::HNSW& hnsw, const GraphTwins& twins, const Tombstones& last_rows,
                 uint64_t seed) {
    std::vector<bool> is_twin(hnsw.levels.size());
    for (size_t i = 0; i < twins.size(); ++i) is_twin[twins.slot(i)] = true;
    for (size_t i = 0; i < hnsw.levels.size(); ++i) {
      if (is_twin[i]) continue;
      (last_rows.IsDead(static_cast<int64_t>(i)) ? last : first)
          .push_back(static_cast<uint32_t>(i));
    }
    faiss::RandomGenerator random(static_cast<int64_t>(seed ^ 789));
    for (std::vector<uint32_t>* const rows : {&first, &last}) {
      for (size_t i = 0; i + 1 < rows->size(); ++i) {
        const int step = random.rand_int(static_cast<int>(rows->size() - i));
        std::swap((*rows)[i], (*rows)[i + static_cast<size_t>(step)]);
      }
    }
    std::stable_sort(first.begin(), first.end(),
                     [&](uint32_t a, uint32_t b) { return hnsw.levels[a] > hnsw.levels[b]; });
  }

  std::vector<uint32_t> first, last;
};

// Numbers for the rows above the lowest level: by level, the highest first and the entry before
// all, then by slot.
std::vector<uint32_t> NumberUpperRows(const faiss::HNSW& hnsw) {
  std::vector<uint32_t> slots;
  for (size_t i = 0; i < hnsw.levels.size(); ++i) {
    if (hnsw.levels[i] > 1) slots.push_back(static_cast<uint32_t>(i));
  }
  const auto entry = static_cast<uint32_t>(hnsw.entry_point);
  std::stable_sort(slots.begin(), slots.end(), [&](uint32_t a, uint32_t b) {
    if (hnsw.levels[a] != hnsw.levels[b]) return hnsw.levels[a] > hnsw.levels[b];
    return a == entry && b != entry;
  });
  return slots;
}

// Takes FAISS's links over into our layout; those of the lowest level stay in the same memory.
void TakeLinks(faiss::HNSW* hnsw, int m, GraphData* data) {
  const size_t rows = hnsw->levels.size();
  GraphLinks& links = data->links;
  links.rows = static_cast<int64_t>(rows);
  links.m = m;
  links.entry = static_cast<uint32_t>(hnsw->entry_point);

  data->upper_slots = NumberUpperRows(*hnsw);
  const std::vector<uint32_t>& slots = data->upper_slots;
  std::vector<uint32_t> numbers(slots.empty() ? 0 : rows, GraphLinks::kNone);
  for (size_t i = 0; i < slots.size(); ++i) numbers[slots[i]] = static_cast<uint32_t>(i);
  for (int level = 1; level <= hnsw->max_level; ++level) {
    uint32_t nodes = 0;
    while (nodes < slots.size() && hnsw->levels[slots[nodes]] > level) ++nodes;
    links.level_nodes.push_back(nodes);
  }
  data->upper.reserve(links.upper_links());
  for (size_t level = 1; level <= links.level_nodes.size(); ++level) {
    for (size_t i = 0; i < links.level_nodes[level - 1]; ++i) {
      size_t begin, end;
      hnsw->neighbor_range(slots[i], static_cast<int>(level), &begin, &end);
      for (size_t j = begin; j < end; ++j) {
        const int32_t slot = hnsw->neighbors[j];
        data->upper.push_back(slot < 0 ? GraphLinks::kNone : numbers[slot]);
      }
    }
  }

  const size_t width = 2 * static_cast<size_t>(m);
  for (size_t i = 0; i < rows; ++i) {
    const auto from = hnsw->neighbors.begin() + static_cast<int64_t>(hnsw->offsets[i]);
    std::copy_n(from, width, hnsw->neighbors.begin() + static_cast<int64_t>(i * width));
  }
  data->base = std::move(hnsw->neighbors);
  data->base.resize(rows * width);

  links.base = reinterpret_cast<const uint32_t*>(data->base.data());
  links.upper_slots = data->upper_slots.data();
  links.upper = data->upper.data();
}

// Takes our layout back into FAISS's, in the same memory, so that more rows can be inserted.
void GiveBackLinks(GraphData* data, faiss::HNSW* hnsw) {
  const size_t rows = hnsw->levels.size(), width = 2 * static_cast<size_t>(data->links.m);
  data->base.resize(hnsw->offsets[rows]);
  // Rows before the first that has links on other levels stand where they stood.
  for (size_t i = rows; i-- > 0 && hnsw->offsets[i] > i * width;) {
    const auto from = data->base.begin() + static_cast<int64_t>(i * width);
    const auto to = data->base.begin() + static_cast<int64_t>(hnsw->offsets[i] + width);
    std::copy_backward(from, from + static_cast<int64_t>(width), to);
  }
  hnsw->neighbors = std::move(data->base);
  const std::vector<uint32_t>& slots = data->upper_slots;
  const uint32_t* number = data->upper.data();
  for (size_t level = 1; level <= data->links.level_nodes.size(); ++level) {
    for (size_t i = 0; i < data->links.level_nodes[level - 1]; ++i) {
      size_t begin, end;
      hnsw->neighbor_range(slots[i], static_cast<int>(level), &begin, &end);
      for (size_t j = begin; j < end; ++j, ++number) {
        hnsw->neighbors[j] =
            *number == GraphLinks::kNone ? -1 : static_cast<int32_t>(slots[*number]);
      }
    }
  }
  *data = {};
}

absl::Status CheckArguments(const GraphRows& rows, const Graph::Options& options,
                            absl::Span<const uint32_t> last) {
  if (rows.rows < 1 || rows.rows >= kMaxRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("a graph of ", rows.rows, " rows: it must be 1 to ", kMaxRows - 1));
  }
  if (options.m < 2 || options.m > kMaxM) {
    return absl::InvalidArgumentError(
        absl::StrCat("a graph with m = ", options.m, ": it must be 2 to ", kMaxM));
  }
  if (options.ef_construction < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a graph with ef_construction = ", options.ef_construction, ": it must be at least 1"));
  }
  if (static_cast<int64_t>(last.size()) >= rows.rows) {
    return absl::InvalidArgumentError(absl::StrCat("a rehearsal with ", last.size(), " of ",
                                                   rows.rows, " rows: it must leave one at least"));
  }
  for (size_t i = 0; i < last.size(); ++i) {
    if (last[i] >= rows.rows || (i > 0 && last[i] <= last[i - 1])) {
      return absl::InvalidArgumentError(absl::StrCat("a rehearsal of row ", last[i], " of ",
                                                     rows.rows,
                                                     ": rows must be ascending and be there"));
    }
  }
  return absl::OkStatus();
}

// Inserts the rows; data: the links in our layout. When all but `last` are in, measure() may search
// what data holds then.
absl::Status BuildLinks(const GraphRows& rows, const Graph::Options& options, Checkpoint checkpoint,
                        absl::Span<const uint32_t> last,
                        absl::FunctionRef<absl::Status(const Tombstones& missing)> measure,
                        GraphData* data) {
  faiss::HNSW hnsw(options.m);
  hnsw.rng = faiss::RandomGenerator(static_cast<int64_t>(options.seed));
  hnsw.efConstruction = options.ef_construction;
  GraphTwins twins(rows.rounded, rows.rows);
  Tombstones all_last(rows.rows);
  const Tombstones none(rows.rows);
  Mark(last, twins, &all_last);
  const bool rehearsed = all_last.dead() > 0 && all_last.dead() <= rows.rows / 2;
  const Tombstones& missing = rehearsed ? all_last : none;
  PrepareLevels(rows.rows, twins, missing, &hnsw);
  const InsertionOrder order(hnsw, twins, missing, options.seed);
  RowDistances distances(rows.rounded, rows.rows, hnsw);
  faiss::VisitedTable visited(static_cast<int>(rows.rows));
  Locks locks(rows.rows);  // never contended: add_with_locks wants them
  int inserted = 0;
  const auto insert = [&](const std::vector<uint32_t>& some) -> absl::Status {
    for (const uint32_t row : some) {
      if (inserted++ % kRowsPerCheckpoint == 0) {
        if (absl::Status status = checkpoint(); !status.ok()) return status;
      }
      distances.Insert(row);
      hnsw.add_with_locks(distances, hnsw.levels[row] - 1, static_cast<int>(row), locks.get(),
                          visited);
    }
    return absl::OkStatus();
  };
  const size_t width = 2 * static_cast<size_t>(options.m);
  if (absl::Status status = insert(order.first); !status.ok()) return status;
  TakeLinks(&hnsw, options.m, data);
  twins.Link(width, missing, data->base.data());
  if (!rehearsed) return absl::OkStatus();
  if (absl::Status status = measure(missing); !status.ok()) return status;
  twins.Unlink(width, missing, data->base.data());
  GiveBackLinks(data, &hnsw);
  if (absl::Status status = insert(order.last); !status.ok()) return status;
  TakeLinks(&hnsw, options.m, data);
  twins.Link(width, none, data->base.data());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Graph>> Graph::Build(const GraphRows& rows, const Options& options,
                                                    Checkpoint checkpoint,
                                                    const Rehearsal* rehearsal) {
  absl::Span<const uint32_t> last;
  if (rehearsal != nullptr) last = rehearsal->rows;
  if (absl::Status status = CheckArguments(rows, options, last); !status.ok()) return status;
  try {
    std::shared_ptr<Graph> graph(new Graph(std::make_unique<Impl>()));
    graph->impl_->options = options;
    const auto measure = [&](const Tombstones& missing) {
      auto calibration = rehearsal->measure(graph.get(), missing);
      if (calibration.ok()) graph->SetCalibration(*std::move(calibration));
      return calibration.status();
    };
    absl::Status status = BuildLinks(rows, options, checkpoint, last, measure, &graph->impl_->data);
    if (!status.ok()) return status;
    return graph;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to build a graph of ", rows.rows, " rows: its links alone take ",
                     rows.rows * 2 * options.m * int64_t{sizeof(uint32_t)}, " bytes"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("FAISS cannot build a graph: ", error.what()));
  }
}

}  // namespace vecino::index
