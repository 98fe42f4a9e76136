#include "server/engine/recall_window.h"

#include <algorithm>
#include <utility>

namespace vecino::engine {
namespace {

// Queries that a book keeps.
constexpr size_t kKeptQueries = 256;

}  // namespace

void RecallWindow::Add(const RecallSample& sample) {
  samples_.push_back(
      {sample.time, static_cast<float>(sample.recall), static_cast<float>(sample.target)});
  while (samples_.size() > limits_.samples) samples_.pop_front();
  const absl::Time too_old = sample.time - limits_.age;
  while (samples_.front().time < too_old) samples_.pop_front();
}

RecallEstimate RecallWindow::Estimate(absl::Time now) const {
  RecallEstimate estimate;
  RecallSums sums;
  double targets = 0;
  estimate.oldest = absl::InfiniteFuture();
  estimate.newest = absl::InfinitePast();
  for (const Sample& sample : samples_) {
    if (sample.time < now - limits_.age) continue;
    sums.Add(sample.recall);
    targets += sample.target;
    estimate.oldest = std::min(estimate.oldest, sample.time);
    estimate.newest = std::max(estimate.newest, sample.time);
  }
  SetMeasured(sums, &estimate);
  if (sums.searches == 0) return estimate;
  estimate.recall_target = targets / static_cast<double>(sums.searches);
  return estimate;
}

void RecallBook::Add(RecallSource source, const RecallSample& sample) {
  absl::MutexLock lock(&mu_);
  if (source == RecallSource::kStoredDocuments) {
    stored_.Add(sample);
    return;
  }
  live_.Add(sample);
  std::unique_ptr<RecallWindow>& kind = kinds_[index::SearchKindOf(sample.k, sample.share)];
  if (kind == nullptr) kind = std::make_unique<RecallWindow>(limits_);
  kind->Add(sample);
}

RecallEstimate RecallBook::Estimate(RecallSource source, absl::Time now) const {
  absl::MutexLock lock(&mu_);
  RecallEstimate estimate =
      (source == RecallSource::kStoredDocuments ? stored_ : live_).Estimate(now);
  estimate.source = source;
  return estimate;
}

RecallStats RecallBook::Stats(absl::Time now) const {
  RecallStats stats;
  absl::MutexLock lock(&mu_);
  stats.live = live_.Estimate(now);
  stats.stored_documents = stored_.Estimate(now);
  stats.stored_documents.source = RecallSource::kStoredDocuments;
  for (size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i] == nullptr) continue;
    RecallEstimate estimate = kinds_[i]->Estimate(now);
    if (estimate.samples == 0) continue;
    const index::SearchKind kind = index::DescribeSearchKind(i);
    estimate.min_k = kind.min_k;
    estimate.max_k = kind.max_k;
    estimate.above_share = kind.above_share;
    estimate.up_to_share = kind.up_to_share;
    stats.by_kind.push_back(estimate);
  }
  return stats;
}

void RecallBook::Clear() {
  absl::MutexLock lock(&mu_);
  live_.Clear();
  stored_.Clear();
  for (auto& kind : kinds_) kind.reset();
}

void RecallBook::AddQuery(std::vector<float> vector) {
  std::vector<float> dropped;  // freed without the lock
  absl::MutexLock lock(&mu_);
  if (queries_.size() == kKeptQueries) {
    dropped = std::move(queries_.front());
    queries_.pop_front();
  }
  queries_.push_back(std::move(vector));
}

std::vector<float> RecallBook::RecentQueries(size_t most) const {
  std::vector<float> result;
  absl::MutexLock lock(&mu_);
  for (size_t i = queries_.size() - std::min(most, queries_.size()); i < queries_.size(); ++i) {
    result.insert(result.end(), queries_[i].begin(), queries_[i].end());
  }
  return result;
}

}  // namespace vecino::engine
