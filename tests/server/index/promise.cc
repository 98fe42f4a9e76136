#include "tests/server/index/promise.h"

#include <time.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <stdexcept>
#include <utility>

#include "server/index/distance.h"
#include "server/index/int8_rows.h"
#include "server/index/kmeans.h"
#include "server/index/product_quantizer.h"
#include "server/index/select.h"
#include "server/index/training.h"

namespace vecino::index {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

double CpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

constexpr int kMostWanted = 100;

}  // namespace

PromiseData PromiseData::Make(size_t rows, size_t queries, size_t d, size_t inner, size_t clusters,
                              unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](size_t n) {
    std::vector<float> numbers(n);
    for (float& x : numbers) x = normal(random);
    return numbers;
  };
  // Where inner dimensions lie, and each centre.
  const std::vector<float> axes = draw(inner * d),
                           centres = draw(std::max<size_t>(clusters, 1) * d);
  PromiseData data;
  data.d = d;
  std::vector<float> row(d);
  for (size_t i = 0; i < rows + queries; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    const auto cluster = static_cast<size_t>(u * u * static_cast<double>(clusters));
    std::fill(row.begin(), row.end(), 0.0f);
    if (clusters > 0)
      std::copy_n(centres.begin() + static_cast<ptrdiff_t>(cluster * d), d, row.begin());
    if (inner == d) {
      for (float& x : row) x += normal(random);
    } else {
      const float scale = std::sqrt(1.0f / static_cast<float>(inner));
      for (size_t a = 0; a < inner; ++a) {
        const float along = 1.2f * scale * normal(random);
        for (size_t j = 0; j < d; ++j) row[j] += along * axes[a * d + j];
      }
      for (float& x : row) x += 0.15f * normal(random);
    }
    double norm = 0;
    for (const float x : row) norm += double{x} * x;
    const auto scale = static_cast<float>(1 / std::sqrt(norm));
    for (float& x : row) x *= scale;
    std::vector<float>& to = i < rows ? data.rows : data.queries;
    to.insert(to.end(), row.begin(), row.end());
  }
  return data;
}

void PromiseData::CopyRows(size_t times, float cosine, unsigned seed) {
  std::mt19937_64 random(seed);
  // The tangent of the angle is the length of what is added.
  const float length = std::sqrt(1 / (cosine * cosine) - 1);
  std::normal_distribution<float> noise(0, length / std::sqrt(static_cast<float>(d)));
  const std::vector<float> once = std::move(rows);
  rows.clear();
  for (size_t i = 0; i < times * once.size(); i += d) {
    double norm = 0;
    for (size_t j = 0; j < d; ++j) {
      rows.push_back(once[(i + j) % once.size()] + noise(random));
      norm += double{rows.back()} * rows.back();
    }
    const auto scale = static_cast<float>(1 / std::sqrt(norm));
    for (size_t j = i; j < i + d; ++j) rows[j] *= scale;
  }
}

Promise::Promise(PromiseData data, int threads) : data_(std::move(data)), threads_(threads) {
  const size_t n = data_.row_count(), d = data_.d;
  ShardIndex index({Metric::kInnerProduct, static_cast<int>(d), static_cast<int>(n)});
  for (size_t i = 0; i < n; ++i) index.Add(i + 1, data_.rows.data() + i * d);
  index.FreezeTail();
  const auto frozen = index.FreezeForDrain(1);
  data_.rows = {};
  double start = CpuSeconds();
  const auto lap = [&] {
    const double now = CpuSeconds();
    return now - std::exchange(start, now);
  };
  auto generation =
      TrainGeneration(*frozen, Metric::kInnerProduct, true, d, {.id = 1, .threads = threads}, GoOn);
  Check(generation.status());
  train_seconds = lap();
  auto segment = IvfSegment::Build(*frozen, *generation, "", GoOn, nullptr, threads);
  Check(segment.status());
  segment_ = *segment;
  encode_seconds = lap();
  auto calibration = CalibrateIvf({{segment_.get()}}, kCalibrationQueries, 1, GoOn, threads);
  Check(calibration.status());
  calibrate_seconds = lap();
  (*generation)->SetCalibration(*std::move(calibration));
  Filter(1);
}

void Promise::Filter(double share) {
  const size_t n = static_cast<size_t>(segment_->size()), d = data_.d;
  std::mt19937_64 random(77);
  std::vector<float> rows;
  passing_ = 0;
  allowed_.clear();
  if (share < 1) allowed_.resize((n + 63) / 64);
  for (size_t slot = 0; slot < n && share < 1; ++slot) {
    if (static_cast<double>(random() >> 11) * 0x1p-53 >= share) continue;
    allowed_[slot / 64] |= uint64_t{1} << (slot % 64);
    const float* row = segment_->vector(static_cast<int64_t>(slot));
    rows.insert(rows.end(), row, row + d);
    ++passing_;
  }
  if (share >= 1) passing_ = static_cast<int64_t>(n);
  codes_ = nullptr;
  const float* const among = share < 1 ? rows.data() : segment_->vector(0);
  best_ = static_cast<int>(std::min<int64_t>(kMostWanted, passing_));
  const size_t count = queries();
  std::vector<int64_t> best(count * static_cast<size_t>(best_));
  scores_.resize(best.size());
  Check(BruteForceTopK(among, static_cast<size_t>(passing_), d, Metric::kInnerProduct,
                       data_.queries.data(), count, nullptr, best_, best.data(), scores_.data(),
                       GoOn, threads_));
}

void Promise::Code() { codes_ = PassingCodes::Make(*segment_, allowed_.data()); }

PromiseAnswer Promise::Mean(
    const SearchParams& params, size_t queries,
    absl::FunctionRef<void(const float* query, TopK* top, IvfWork* work)> one) const {
  const int k = params.k, known = std::min(params.AimedAt(), best_);
  PromiseAnswer answer;
  double found = 0;
  const double start = CpuSeconds();
  for (size_t q = 0; q < queries; ++q) {
    TopK top(Metric::kInnerProduct, k);
    IvfWork work;
    one(data_.queries.data() + q * data_.d, &top, &work);
    const float least =
        scores_[q * static_cast<size_t>(best_) + static_cast<size_t>(known) - 1] - 1e-6f;
    int good = 0;
    for (const Hit& hit : top.Take()) good += hit.score >= least;
    found += std::min(good, known);
    const auto scanned = static_cast<double>(work.scanned);
    const auto reranked = static_cast<double>(work.reranked);
    const auto gathered = static_cast<double>(work.gathered);
    answer.breadth += work.breadth;
    answer.scanned += scanned;
    answer.reranked += reranked;
    answer.compared += gathered;
    answer.expected += work.recall;
    answer.cost += scanned * (work.by_codes ? SearchCost::kCode : SearchCost::kSkip) +
                   reranked * SearchCost::kRow + gathered * SearchCost::kAllRows;
  }
  answer.micros = 1e6 * (CpuSeconds() - start);
  const auto n = static_cast<double>(queries);
  // Where lists are scanned, centroids were ranked, by their codes.
  if (answer.breadth > 0) answer.cost += n * generation().nlist() * SearchCost::kCode;
  answer.recall = found / (n * known);
  for (double* x : {&answer.breadth, &answer.scanned, &answer.reranked, &answer.compared,
                    &answer.cost, &answer.micros, &answer.expected}) {
    *x /= n;
  }
  return answer;
}

PromiseAnswer Promise::Ask(const SearchParams& params, size_t queries) const {
  const Tombstones none(segment_->size());
  const std::vector<IvfPart> parts = {
      {segment_.get(), &none, allowed_.empty() ? nullptr : allowed_.data(), codes_.get()}};
  return Mean(params, queries, [&](const float* query, TopK* top, IvfWork* work) {
    Check(SearchIvf(parts, query, params, top, work));
  });
}

void Promise::BuildGraph() {
  auto graph = index::BuildGraph(*segment_, {.m = 16}, kCalibrationQueries, 1, GoOn);
  Check(graph.status());
  graph_ = *std::move(graph);
}

PromiseAnswer Promise::AskGraph(const SearchParams& params, size_t queries) const {
  const Tombstones none(segment_->size());
  return Mean(params, queries, [&](const float* query, TopK* top, IvfWork* work) {
    GraphWork walk;
    Check(graph_->Search(segment_->graph_rows(), query, params, none, nullptr, top, &walk));
    work->breadth = walk.ef;
    work->recall = walk.scanned ? 1 : graph_->RecallOf(walk.ef, params.k);
  });
}

PromiseAnswer Promise::AskLists(const SearchParams& params, size_t queries) const {
  return Mean(params, queries, [&](const float* query, TopK* top, IvfWork* work) {
    SearchLists(query, params, top, work);
  });
}

void Promise::SearchLists(const float* query, const SearchParams& params, TopK* top,
                          IvfWork* work) const {
  // Memory that is kept, as a search keeps it.
  thread_local Int8Query rounded;
  thread_local PqTables tables;
  thread_local Generation::ProbeScratch probe;
  thread_local std::vector<uint32_t> lists, slots, best;
  thread_local std::vector<float> scores;
  const Generation& of = generation();
  const ProbeRule& rule = of.calibration().rule;
  const bool by_rule = params.nprobe == 0 && rule.on();
  work->breadth = params.nprobe > 0 ? params.nprobe : params.breadth;
  rounded.Assign(query, data_.d);
  of.quantizer().MakeTables(of.metric(), query, &tables);
  of.Probe(rounded, tables, work->breadth, by_rule ? &rule : nullptr, &probe, &lists);
  work->nprobe = static_cast<int>(lists.size());
  slots.clear();
  for (const uint32_t list : lists) {
    const uint32_t first = segment_->list_begin(static_cast<int>(list));
    const uint32_t end = segment_->list_begin(static_cast<int>(list) + 1);
    work->scanned += end - first;
    for (uint32_t begin = first; begin < end;) {  // those of one word of the filter
      const uint32_t next = std::min(end, (begin / 64 + 1) * 64);
      uint64_t bits = allowed_.empty() ? ~uint64_t{0} : allowed_[begin / 64];
      bits = bits >> (begin % 64) << (begin % 64);
      if (next % 64 != 0) bits &= (uint64_t{1} << (next % 64)) - 1;
      for (; bits != 0; bits &= bits - 1) {
        slots.push_back(begin / 64 * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
      }
      begin = next;
    }
  }
  work->reranked = static_cast<int64_t>(slots.size());
  if (slots.empty()) return;
  scores.resize(slots.size());
  ScoreSlots(segment_->rounded(), rounded, slots.data(), slots.size(), scores.data());
  const auto wanted = static_cast<size_t>(params.k + std::max(10, params.k / 4));
  SelectBest(scores.data(), scores.size(), wanted, /*best_high=*/true, &best);
  for (const uint32_t i : best) {
    float score;
    Score(of.metric(), query, segment_->vector(slots[i]), data_.d, 1, &score);
    top->Push(segment_->label(slots[i]), score);
  }
}

PromiseSweep Sweep(const Promise& promise, int k, double most_recall, double most_cost,
                   size_t queries) {
  constexpr double kMoreLists = 1.5;
  constexpr int kMoreRows = 2;
  PromiseSweep sweep;
  // No setting of lists is sure to find everything, so all rows are compared; each query's cost is
  // the same.
  sweep.all = promise.Ask({.k = k, .recall_target = 1}, std::min<size_t>(queries, 50));
  sweep.exact = promise.Ask({.k = k, .breadth = 1}, 1).breadth == 0;
  const int64_t passing = promise.passing();
  const int nlist = promise.generation().nlist();
  // Rows scored again; 0: what the index does by itself, under filters that let few pass all.
  std::vector<int> reranks;
  if (sweep.exact || passing * kSparse < promise.rows()) reranks.push_back(0);
  for (int64_t rerank = k + std::max(10, k / 4); !sweep.exact; rerank *= kMoreRows) {
    if (rerank > std::max<int64_t>(passing / 4, 1024)) break;
    if (static_cast<double>(rerank) * SearchCost::kRow > most_cost) break;
    reranks.push_back(static_cast<int>(rerank));
  }
  // Under a filter a search takes more lists than it is told.
  const Calibration& calibration = promise.generation().calibration();
  const double share = static_cast<double>(passing) / static_cast<double>(promise.rows());
  const double widened = sweep.exact ? 1 : std::pow(share, -calibration.widening);
  const bool has_rule = calibration.rule.on();
  for (const bool by_rule : {false, true}) {
    if (by_rule && !has_rule) continue;  // they are the same lists
    for (const int rerank : reranks) {
      std::vector<PromiseAnswer>& chain = sweep.chains.emplace_back();
      // In fewer lists are not half as many rows as are scored again.
      const double first = std::max(2.0, rerank * 0.5 * nlist / static_cast<double>(passing));
      for (int number = std::max(1, static_cast<int>(first / widened));;
           number = std::max(number + 1, static_cast<int>(number * kMoreLists))) {
        SearchParams params{.k = k, .rerank = rerank};
        (by_rule ? params.breadth : params.nprobe) = std::min(number, nlist);
        chain.push_back(sweep.exact ? promise.AskLists(params, queries)
                                    : promise.Ask(params, queries));
        const PromiseAnswer& last = chain.back();
        if (last.recall >= most_recall || last.cost > most_cost || last.breadth >= nlist) break;
        // Codes lose the rest.
        if (chain.size() > 3 && last.recall > 0.5 &&
            last.recall < chain[chain.size() - 4].recall + 0.0005) {
          break;
        }
      }
    }
  }
  return sweep;
}

double Cheapest(const PromiseSweep& sweep, double recall, double PromiseAnswer::*what) {
  double least = sweep.all.*what;
  for (const std::vector<PromiseAnswer>& chain : sweep.chains) {
    for (size_t i = 0; i < chain.size(); ++i) {
      if (chain[i].recall < recall) continue;
      double of_it = chain[i].*what;
      if (i > 0 && chain[i].recall > chain[i - 1].recall) {
        const double before = chain[i - 1].*what;
        const double part =
            (recall - chain[i - 1].recall) / (chain[i].recall - chain[i - 1].recall);
        of_it = before * std::pow(of_it / before, part);
      }
      least = std::min(least, of_it);
      break;
    }
  }
  return least;
}

}  // namespace vecino::index
