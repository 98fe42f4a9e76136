#include "server/index/generation.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/centroid_order.h"
#include "server/index/select.h"

namespace vecino::index {
namespace {

constexpr std::string_view kFileType = "generation";
constexpr std::string_view kRowsSection = "calibrated_rows";            // i64
constexpr std::string_view kQuantizationSection = "base_quantization";  // f32
constexpr std::string_view kThroughSection = "trained_through";         // u64
constexpr std::string_view kRuleSection = "probe_rule";                 // weight, fixed, gaps; f32
constexpr std::string_view kTableSection = "recall_table";              // RecallTable::Bytes
constexpr std::string_view kHeldOutSection = "held_out";                // u32: 1
constexpr std::string_view kTunedSection = "tuned";                     // time µs, settings; i64
constexpr std::string_view kGraphRowsSection = "graph_rows";            // i64
constexpr std::string_view kGraphTableSection = "graph_table";          // RecallTable::Bytes

// Section "meta", little-endian as every section.
struct Meta {
  uint64_t id;
  int64_t trained_rows;
  int64_t trained_at_us;
  uint32_t metric;  // 0 inner product, 1 L2
  uint32_t unit;
  uint32_t d;
  uint32_t nlist;
  float base_error;
  float base_imbalance;
  uint32_t calibration_k;
  uint32_t calibration_queries;
  uint32_t calibration_points;
  float widening;  // 0 in format version 1
};
static_assert(sizeof(Meta) == 64);

constexpr uint32_t kMaxDimension = 1 << 16;
constexpr uint32_t kMaxLists = 1 << 24;

}  // namespace

int Generation::DefaultLists(int64_t rows) {
  const double root = std::sqrt(static_cast<double>(std::max<int64_t>(rows, 1)));
  const double most = std::max(1.0, static_cast<double>(rows) / 39);
  return static_cast<int>(std::clamp(8 * root, 1.0, std::min<double>(most, kMaxLists)));
}

int64_t Generation::SampleRows(int nlist) { return std::max<int64_t>(40ll * nlist, 16'384); }

absl::StatusOr<std::shared_ptr<Generation>> Generation::Train(Metric metric, bool unit, size_t d,
                                                              const float* sample, size_t n,
                                                              const TrainOptions& options,
                                                              Checkpoint checkpoint) {
  if (n == 0 || d == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a generation cannot be trained on ", n, " rows of ", d, " dimensions"));
  }
  std::shared_ptr<Generation> generation(new Generation());
  Generation& g = *generation;
  g.id_ = options.id;
  g.metric_ = metric;
  g.unit_ = unit;
  g.d_ = d;
  g.trained_rows_ = std::max<int64_t>(options.expected_rows, static_cast<int64_t>(n));
  g.trained_at_us_ = std::chrono::duration_cast<std::chrono::microseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
  const int wanted = options.nlist > 0 ? options.nlist : DefaultLists(g.trained_rows_);
  g.nlist_ = static_cast<int>(std::clamp<size_t>(n / 39, 1, static_cast<size_t>(wanted)));

  KMeansOptions kmeans;
  kmeans.clusters = g.nlist_;
  kmeans.seed = options.seed;
  kmeans.spherical = unit;
  kmeans.threads = options.threads;
  // Two whole iterations more take 40% longer and save 3% of the rows that a search looks at.
  kmeans.iterations = kIterations;
  kmeans.coarse_iterations = kCoarseIterations;
  const auto coded = static_cast<int64_t>(n);  // once, for the product codes
  if (options.progress != nullptr) {
    kmeans.compared = &options.progress->done;
    options.progress->total = KMeansRows(static_cast<int64_t>(n), kmeans) + coded;
  }
  auto centroids = TrainKMeans(sample, n, d, kmeans, checkpoint);
  if (!centroids.ok()) return centroids.status();
  if (options.progress != nullptr) options.progress->done = options.progress->total - coded;
  try {
    auto order = CentroidOrder(centroids->data(), static_cast<size_t>(g.nlist_), d, checkpoint);
    if (!order.ok()) return order.status();
    g.centroids_.reserve(centroids->size());
    for (const uint32_t i : *order) {
      const float* centroid = centroids->data() + size_t{i} * d;
      g.centroids_.insert(g.centroids_.end(), centroid, centroid + d);
    }
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to order the ", g.nlist_, " centroids of a generation"));
  }

  absl::StatusOr<ProductQuantizer> quantizer = absl::UnknownError("");
  if (n >= ProductQuantizer::kCodewords) {
    quantizer = ProductQuantizer::Train(sample, n, d, options.seed, checkpoint, options.threads);
  } else {
    std::vector<float> repeated;
    for (int i = 0; i < ProductQuantizer::kCodewords; ++i) {
      const float* row = sample + (i % n) * d;
      repeated.insert(repeated.end(), row, row + d);
    }
    quantizer = ProductQuantizer::Train(repeated.data(), ProductQuantizer::kCodewords, d,
                                        options.seed, checkpoint);
  }
  if (!quantizer.ok()) return quantizer.status();
  if (options.progress != nullptr) options.progress->done = options.progress->total.load();
  g.quantizer_ = std::make_unique<ProductQuantizer>(*std::move(quantizer));
  if (absl::Status status = g.Finish(); !status.ok()) return status;
  return generation;
}

absl::Status Generation::Finish() {
  try {
    const size_t stride = Int8Stride(d_);
    assigner_ = std::make_unique<CentroidAssigner>(centroids_.data(), nlist_, d_);
    codes_.resize(static_cast<size_t>(nlist_) * stride + 63);
    code_start_ = (64 - reinterpret_cast<uintptr_t>(codes_.data()) % 64) % 64;
    scales_.resize(nlist_);
    if (metric_ == Metric::kL2) norms_.resize(nlist_);
    for (int i = 0; i < nlist_; ++i) {
      const float* centroid = centroids_.data() + static_cast<size_t>(i) * d_;
      scales_[i] = QuantizeRow(centroid, d_, codes_.data() + code_start_ + i * stride);
      if (metric_ != Metric::kL2) continue;
      double norm = 0;
      for (size_t j = 0; j < d_; ++j) norm += double{centroid[j]} * centroid[j];
      norms_[i] = static_cast<float>(norm);
    }
    const size_t m = quantizer_->m(), blocks = (nlist_ + kPqBlockRows - 1) / kPqBlockRows;
    blocks_.assign(blocks * PqBlockBytes(m), 0);
    live_.assign(blocks, 0xFFFF);
    if (const int rest = nlist_ % kPqBlockRows; rest != 0) {
      live_.back() = static_cast<uint16_t>((1u << rest) - 1);
    }
    std::vector<uint8_t> codes(m);
    for (int i = 0; i < nlist_; ++i) {
      quantizer_->Encode(centroids_.data() + static_cast<size_t>(i) * d_, 1, codes.data());
      PqPack(codes.data(), m, blocks_.data() + i / kPqBlockRows * PqBlockBytes(m),
             i % kPqBlockRows);
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for the ", nlist_, " centroids of a generation"));
  }
}

absl::Status Generation::Save(const std::string& path, const Calibration& calibration) const {
  SegmentFileWriter writer(path, kFileType);
  const Meta meta = {.id = id_,
                     .trained_rows = trained_rows_,
                     .trained_at_us = trained_at_us_,
                     .metric = metric_ == Metric::kL2 ? 1u : 0u,
                     .unit = unit_ ? 1u : 0u,
                     .d = static_cast<uint32_t>(d_),
                     .nlist = static_cast<uint32_t>(nlist_),
                     .base_error = base_error_,
                     .base_imbalance = base_imbalance_,
                     .calibration_k = static_cast<uint32_t>(calibration.k),
                     .calibration_queries = static_cast<uint32_t>(calibration.queries),
                     .calibration_points = static_cast<uint32_t>(calibration.points.size()),
                     .widening = static_cast<float>(calibration.widening)};
  static_assert(sizeof(Calibration::Point) == 8);
  const std::vector<float>& codebooks = quantizer_->codebooks();
  absl::Status status = writer.AddSection("meta", &meta, sizeof(meta));
  if (status.ok()) {
    status = writer.AddSection("centroids", centroids_.data(), centroids_.size() * sizeof(float));
  }
  if (status.ok()) {
    status = writer.AddSection("codebooks", codebooks.data(), codebooks.size() * sizeof(float));
  }
  if (status.ok()) {
    status = writer.AddSection("calibration", calibration.points.data(),
                               calibration.points.size() * sizeof(Calibration::Point));
  }
  if (status.ok() && calibration.rows != trained_rows_) {
    status = writer.AddSection(kRowsSection, &calibration.rows, sizeof(calibration.rows));
  }
  if (status.ok() && base_quantization_ > 0) {
    status =
        writer.AddSection(kQuantizationSection, &base_quantization_, sizeof(base_quantization_));
  }
  if (status.ok() && trained_through_ > 0) {
    status = writer.AddSection(kThroughSection, &trained_through_, sizeof(trained_through_));
  }
  if (const ProbeRule& rule = calibration.rule; status.ok() && rule.on()) {
    std::vector<float> numbers = {rule.weight(), rule.fixed()};
    numbers.insert(numbers.end(), rule.gaps().begin(), rule.gaps().end());
    status = writer.AddSection(kRuleSection, numbers.data(), numbers.size() * sizeof(float));
  }
  if (const std::vector<uint8_t> table = calibration.table.Bytes(); status.ok() && !table.empty()) {
    status = writer.AddSection(kTableSection, table.data(), table.size());
  }
  if (status.ok() && calibration.tuned_at_us > 0) {
    const int64_t tuned[] = {calibration.tuned_at_us, calibration.tuned_points};
    status = writer.AddSection(kTunedSection, tuned, sizeof(tuned));
  }
  if (const std::vector<uint8_t> table = calibration.graph_table.Bytes();
      status.ok() && !table.empty()) {
    status = writer.AddSection(kGraphRowsSection, &calibration.graph_rows,
                               sizeof(calibration.graph_rows));
    if (status.ok()) status = writer.AddSection(kGraphTableSection, table.data(), table.size());
  }
  if (const uint32_t held_out = 1; status.ok() && held_out_) {
    status = writer.AddSection(kHeldOutSection, &held_out, sizeof(held_out));
  }
  if (!status.ok()) return status;
  return writer.Commit().status();
}

absl::StatusOr<std::shared_ptr<const Generation>> Generation::Load(const std::string& path) {
  auto file = SegmentFile::Open(path, kFileType, SegmentFile::Verify::kAll);
  if (!file.ok()) return file.status();
  const auto meta = (*file)->Array<Meta>("meta", 1);
  if (!meta.ok()) return meta.status();
  const Meta& m = **meta;
  if (m.d == 0 || m.d > kMaxDimension || m.nlist == 0 || m.nlist > kMaxLists || m.metric > 1) {
    return absl::DataLossError(absl::StrCat("generation file ", path, ": dimension ", m.d, ", ",
                                            m.nlist, " lists, metric ", m.metric,
                                            " cannot be right"));
  }
  const size_t codebook_floats = (m.d + ProductQuantizer::kSubDimension - 1) /
                                 ProductQuantizer::kSubDimension * ProductQuantizer::kCodewords *
                                 ProductQuantizer::kSubDimension;
  const auto centroids = (*file)->Array<float>("centroids", size_t{m.nlist} * m.d);
  if (!centroids.ok()) return centroids.status();
  const auto codebooks = (*file)->Array<float>("codebooks", codebook_floats);
  if (!codebooks.ok()) return codebooks.status();
  const auto points = (*file)->Array<Calibration::Point>("calibration", m.calibration_points);
  if (!points.ok()) return points.status();

  std::shared_ptr<Generation> generation(new Generation());
  Generation& g = *generation;
  g.id_ = m.id;
  g.metric_ = m.metric == 1 ? Metric::kL2 : Metric::kInnerProduct;
  g.unit_ = m.unit != 0;
  g.d_ = m.d;
  g.nlist_ = static_cast<int>(m.nlist);
  g.trained_rows_ = m.trained_rows;
  g.trained_at_us_ = m.trained_at_us;
  const auto quantization = (*file)->Array<float>(kQuantizationSection, 1);
  const auto through = (*file)->Array<uint64_t>(kThroughSection, 1);
  g.SetBase(m.base_error, m.base_imbalance, quantization.ok() ? **quantization : 0,
            through.ok() ? **through : 0);
  g.centroids_.assign(*centroids, *centroids + size_t{m.nlist} * m.d);
  g.quantizer_ = std::make_unique<ProductQuantizer>(m.d, *codebooks);
  Calibration calibration;
  calibration.k = static_cast<int>(m.calibration_k);
  calibration.queries = static_cast<int>(m.calibration_queries);
  if (m.widening > 0) calibration.widening = m.widening;
  calibration.points.assign(*points, *points + m.calibration_points);
  // Without it, it was measured on the rows of training.
  const auto rows = (*file)->Array<int64_t>(kRowsSection, 1);
  calibration.rows = rows.ok() ? **rows : m.trained_rows;
  // Files from before there were rules have none, nor do those of few lists.
  if (const auto rule = (*file)->Section(kRuleSection); rule.ok() && rule->size() > 8) {
    const auto* numbers = reinterpret_cast<const float*>(rule->data());
    calibration.rule =
        ProbeRule(numbers[0], numbers[1], {numbers + 2, numbers + rule->size() / sizeof(float)});
  }
  if (const auto table = (*file)->Section(kTableSection); table.ok()) {
    auto read =
        RecallTable::FromBytes(reinterpret_cast<const uint8_t*>(table->data()), table->size());
    // One of a later program is measured again with the next calibration; the points do until then.
    if (read.ok()) calibration.table = *std::move(read);
  }
  if (const auto tuned = (*file)->Array<int64_t>(kTunedSection, 2); tuned.ok()) {
    calibration.tuned_at_us = (*tuned)[0];
    calibration.tuned_points = static_cast<int32_t>((*tuned)[1]);
  }
  const auto graph_rows = (*file)->Array<int64_t>(kGraphRowsSection, 1);
  const auto graph_table = (*file)->Section(kGraphTableSection);
  if (graph_rows.ok() && graph_table.ok()) {
    auto read = RecallTable::FromBytes(reinterpret_cast<const uint8_t*>(graph_table->data()),
                                       graph_table->size());
    if (read.ok()) {  // else its own does
      calibration.graph_table = *std::move(read);
      calibration.graph_rows = **graph_rows;
    }
  }
  g.held_out_ = (*file)->Section(kHeldOutSection).ok();
  g.SetCalibration(std::move(calibration));
  if (absl::Status status = g.Finish(); !status.ok()) return status;
  return generation;
}

void Generation::SetCalibration(Calibration calibration) const {
  absl::MutexLock lock(&calibrations_mu_);
  calibrations_.push_back(std::make_unique<const Calibration>(std::move(calibration)));
  calibration_.store(calibrations_.back().get(), std::memory_order_release);
}

int64_t Generation::bytes() const {
  return static_cast<int64_t>(centroids_.size() * sizeof(float) + codes_.size() + blocks_.size() +
                              scales_.size() * sizeof(float) + norms_.size() * sizeof(float) +
                              quantizer_->codebooks().size() * sizeof(float)) +
         assigner_->bytes();
}

int Generation::NprobeFor(double recall, int k) const {
  const double lists = std::ceil(BreadthFor(recall, k) * calibration().rule.fixed());
  return static_cast<int>(std::min<double>(lists, nlist_));
}

int Generation::BreadthFor(double recall, int k) const {
  if (const RecallTable& table = calibration().table; !table.empty()) {
    const double breadth = table.For(RecallTable::How::kCodes, recall, k, 1).breadth;
    return breadth > 0 ? static_cast<int>(std::min<double>(std::ceil(breadth), nlist_)) : nlist_;
  }
  // Uncalibrated generations are of little data: scan generously.
  const int fallback = std::max(8, nlist_ / 12);
  const double base = calibration().BreadthFor(recall, fallback);
  const int measured = std::max(calibration().k, 1);
  const double scale =
      k <= measured ? 1.0 : std::pow(static_cast<double>(k) / measured, widening());
  return static_cast<int>(std::clamp(std::ceil(base * scale), 1.0, static_cast<double>(nlist_)));
}

Int8Rows Generation::rounded() const {
  return {.metric = metric_,
          .d = d_,
          .codes = codes_.data() + code_start_,
          .scales = scales_.data(),
          .norms = norms_.empty() ? nullptr : norms_.data()};
}

void Generation::ListGaps(const Int8Query& query, std::vector<float>* gaps) const {
  gaps->resize(nlist_);
  ScoreRange(rounded(), query, 0, nlist_, gaps->data());
  ProbeRule::ToGaps(metric_, std::sqrt(query.squared_norm()), gaps->data(), nlist_);
}

namespace {

// Into scratch->best the indexes of those of scratch->scores, which are gaps, that the rule takes,
// ascending.
void TakeNear(const ProbeRule& rule, double breadth, Generation::ProbeScratch* scratch) {
  const std::vector<float>& gaps = scratch->scores;
  std::vector<uint32_t>& best = scratch->best;
  const float cut = rule.Cut(gaps.data(), gaps.size(), breadth);
  best.resize(gaps.size());
  size_t taken = 0;
  for (uint32_t i = 0; i < gaps.size(); ++i) {
    best[taken] = i;  // written over unless it is taken: no branch to be missed
    taken += gaps[i] < cut;
  }
  best.resize(taken);
  const auto most = static_cast<size_t>(ProbeRule::kMost * breadth);
  if (taken > most) SelectBest(gaps.data(), gaps.size(), most, /*best_high=*/false, &best);
}

// Different numbers below `limit` into ascending order. bits: room. Some hundred take a tenth of
// the time that std::sort does.
void Sort(int limit, std::vector<uint64_t>* bits, std::vector<uint32_t>* numbers) {
  constexpr size_t kFew = 256;  // for each of them so many numbers below the limit are looked at
  if (numbers->size() * kFew < static_cast<size_t>(limit)) {
    std::sort(numbers->begin(), numbers->end());
    return;
  }
  bits->assign((static_cast<size_t>(limit) + 63) / 64, 0);
  for (const uint32_t number : *numbers) (*bits)[number / 64] |= uint64_t{1} << (number % 64);
  size_t next = 0;
  for (size_t word = 0; word < bits->size(); ++word) {
    for (uint64_t left = (*bits)[word]; left != 0; left &= left - 1) {
      (*numbers)[next++] =
          static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(left)));
    }
  }
}

}  // namespace

int Generation::LastBreadthByCodes() const {
  // Fewer lists stay in the L2 cache; most of them are as quick to score all. Not tuned finely.
  constexpr int kManyLists = 1024, kFewOfThem = 8;
  return nlist_ < kManyLists ? 0 : nlist_ / kFewOfThem;
}

void Generation::Probe(const Int8Query& query, const PqTables& tables, int breadth,
                       const ProbeRule* rule, ProbeScratch* scratch,
                       std::vector<uint32_t>* lists) const {
  breadth = std::clamp(breadth, 1, nlist_);
  const bool best_high = metric_ == Metric::kInnerProduct;
  const float norm = std::sqrt(query.squared_norm());
  if (breadth == nlist_) rule = nullptr;
  std::vector<float>& scores = scratch->scores;
  if (breadth > LastBreadthByCodes()) {
    if (rule == nullptr) {
      scores.resize(nlist_);
      ScoreRange(rounded(), query, 0, nlist_, scores.data());
      SelectBest(scores.data(), nlist_, breadth, best_high, lists);
      return;
    }
    ListGaps(query, &scores);
    TakeNear(*rule, breadth, scratch);
    lists->assign(scratch->best.begin(), scratch->best.end());
    return;
  }
  // By codes a list may stand some ranks off, so more than are wanted are scored again: of few
  // twice as many, of many a quarter more, where it is a matter of the last ones only.
  constexpr int kSpare = 32;
  const auto wanted = static_cast<size_t>(breadth + std::min(breadth, breadth / 4 + kSpare));
  Reservoir& reservoir = scratch->reservoir;
  reservoir.Reset(rule == nullptr ? wanted : ProbeRule::kMost * wanted);
  reservoir.Scan(blocks_.data(), live_.size(), quantizer_->m(), tables.bytes.data(), live_.data(),
                 /*first_slot=*/0);
  size_t found = reservoir.Finish();
  const PqCandidate* const all = reservoir.data();
  std::vector<uint32_t>& candidates = scratch->candidates;
  candidates.resize(found);
  scores.resize(found);
  if (rule == nullptr) {
    for (size_t i = 0; i < found; ++i) candidates[i] = all[i].slot;
  } else {
    for (size_t i = 0; i < found; ++i) {
      scores[i] = tables.offset + tables.step * static_cast<float>(all[i].sum);
    }
    ProbeRule::ToGaps(metric_, norm, scores.data(), found);
    TakeNear(*rule, static_cast<double>(wanted), scratch);
    found = scratch->best.size();
    candidates.resize(found);
    scores.resize(found);
    for (size_t i = 0; i < found; ++i) candidates[i] = all[scratch->best[i]].slot;
  }
  Sort(nlist_, &scratch->bits, &candidates);
  ScoreSlots(rounded(), query, candidates.data(), found, scores.data());
  if (rule == nullptr) {
    SelectBest(scores.data(), found, breadth, best_high, &scratch->best);
  } else {
    ProbeRule::ToGaps(metric_, norm, scores.data(), found);
    TakeNear(*rule, breadth, scratch);
  }
  lists->clear();
  for (const uint32_t i : scratch->best) lists->push_back(candidates[i]);
}

}  // namespace vecino::index
