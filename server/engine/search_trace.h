// What a search did, kept while it does it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/recall_sampler.h"
#include "server/engine/search_effort.h"
#include "server/index/search_report.h"

namespace vecino::engine {

// Counters of one search; what is only for explanations takes no memory otherwise. Not thread safe.
class SearchTrace {
 public:
  // What explanations want besides. The task: what the last scan looked at and found.
  struct Details {
    std::vector<ShardPlan> shards;  // of the last scan
    RecallTask task;
    absl::Duration filter_time;  // of all scans
    std::vector<std::string> words;
  };

  // details: null for none; outlives it.
  explicit SearchTrace(Details* details) : details_(details) {}

  Details* details() const { return details_; }
  const index::SearchReport& report() const { return report_; }  // of the last shard

  // Begins a scan of all shards: what was expected of those before does not count, what they looked
  // at does.
  void BeginScan() {
    rows_ = found_ = 0;
    exact_ = true;
    lists_ = shards_ = ef_ = 0;
    if (details_ != nullptr) details_->shards.clear();
  }
  // For the next shard of the scan.
  index::SearchReport* BeginShard() {
    report_ = {};
    if (details_ != nullptr) {
      details_->words.clear();
      report_.words = &details_->words;
    }
    return &report_;
  }
  void EndShard(int number) {
    rows_ += static_cast<double>(report_.rows);
    found_ += std::min(report_.found, static_cast<double>(report_.rows));
    exact_ = exact_ && report_.exact;
    ef_ = std::max(ef_, report_.ef);
    if (report_.nprobe > 0) lists_ += report_.nprobe, ++shards_;
    scanned_ += report_.scanned;
    rescored_ += report_.rescored;
    if (details_ == nullptr) return;
    ShardPlan& plan = details_->shards.emplace_back();
    plan.shard = number;
    plan.nprobe = report_.nprobe;
    plan.nlist = report_.nlist;
    plan.ef = report_.ef;
    plan.rows_scanned = report_.scanned;
    plan.rows_reranked = report_.reranked;
    plan.rows_rescored = report_.rescored;
    plan.expected_recall = report_.expected_recall();
    for (const std::string& word : details_->words) {
      if (!plan.plan.empty()) plan.plan += "; ";
      plan.plan += word;
    }
  }

  SearchEffort Effort() const {
    SearchEffort effort;
    effort.nprobe =
        shards_ == 0 ? 0 : static_cast<int>(std::lround(static_cast<double>(lists_) / shards_));
    effort.ef = ef_;
    effort.rows_scanned = scanned_;
    effort.rows_rescored = rescored_;
    effort.expected_recall = rows_ == 0 ? 1 : found_ / rows_;
    effort.exact = exact_;
    return effort;
  }

 private:
  Details* const details_;
  index::SearchReport report_;
  double rows_ = 0, found_ = 0;
  bool exact_ = true;
  int lists_ = 0, shards_ = 0, ef_ = 0;  // shards that have lists
  int64_t scanned_ = 0, rescored_ = 0;
};

}  // namespace vecino::engine
