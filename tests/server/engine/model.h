// A plain map of what an engine should hold, filled by several threads while others search.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/engine/engine.h"

namespace vecino::engine {

// Every writer thread owns some ids, so what an id should be is known at any moment: before a call
// starts, while it runs (either side of it), and after it returned.
class Model {
 public:
  static constexpr int kDimension = 12;
  static constexpr int kWriters = 3;
  static constexpr int kIdsPerWriter = 30;

  Model(std::string collection, Metric metric, uint32_t seed)
      : collection_(std::move(collection)), metric_(metric), seed_(seed) {}

  CollectionSpec Spec() const {
    CollectionSpec spec;
    spec.id = collection_;
    spec.dimension = kDimension;
    spec.metric = metric_;
    spec.shard_count = 3;
    return spec;
  }

  // Writers do `operations` calls each, while a reader searches all the time.
  void Run(Engine* engine, int operations) {
    std::atomic<int> running{kWriters};
    std::vector<std::thread> threads;
    for (int writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        std::mt19937 rng(seed_ * 100 + static_cast<uint32_t>(writer));
        for (int i = 0; i < operations && !testing::Test::HasFatalFailure(); ++i) {
          Write(engine, writer, &rng);
        }
        --running;
      });
    }
    std::mt19937 rng(seed_);
    while (running > 0) SearchBesideWriters(engine, &rng);
    for (std::thread& thread : threads) thread.join();
    ++seed_;
  }

  // With no writer about: everything is exactly right, ranks included.
  void Verify(const Engine& engine) {
    std::mt19937 rng(seed_);
    int64_t live = 0;
    for (const auto& [id, entry] : entries_) live += entry.live;
    EXPECT_EQ(*engine.Count(collection_), live);
    for (const int top_k : {1, 10, 1000}) {
      for (int i = 0; i < 5; ++i) {
        const std::vector<float> query = RandomVector(&rng);
        std::vector<std::pair<double, std::string>> expected;
        for (const auto& [id, entry] : entries_) {
          if (entry.live) expected.emplace_back(Score(query, entry.vector), id);
        }
        std::sort(expected.begin(), expected.end(), [&](const auto& a, const auto& b) {
          return HigherIsBetter(metric_) ? a.first > b.first : a.first < b.first;
        });
        SearchRequest request{.query = VectorQuery{query}, .top_k = top_k};
        const auto result = engine.Search(collection_, request, {});
        ASSERT_TRUE(result.ok()) << result.status();
        ASSERT_EQ(result->hits.size(), std::min<size_t>(expected.size(), top_k));
        for (size_t rank = 0; rank < result->hits.size(); ++rank) {
          const SearchHit& hit = result->hits[rank];
          EXPECT_NEAR(hit.score, expected[rank].first, 1e-4);
          const Entry& entry = entries_.at(hit.document.id);
          EXPECT_TRUE(entry.live);
          EXPECT_EQ(hit.document.text, std::to_string(entry.version));
          EXPECT_NEAR(hit.score, Score(query, entry.vector), 1e-4);
        }
      }
    }
  }

  int searches() const { return searches_; }
  int refused() const { return refused_; }

 private:
  struct Entry {
    bool live = false;
    int version = 0;            // of the last put that returned OK
    int started = 0;            // version of the last put that started
    int deletes = 0;            // deletes that started
    int calls = 0;              // writes that started
    bool busy = false;          // a write is under way
    std::vector<float> vector;  // as it was given
  };

  static std::vector<float> RandomVector(std::mt19937* rng) {
    std::normal_distribution<float> normal;
    std::vector<float> v(kDimension);
    for (float& x : v) x = normal(*rng);
    return v;
  }

  double Score(const std::vector<float>& a, const std::vector<float>& b) const {
    double dot = 0, aa = 0, bb = 0, l2 = 0;
    for (int i = 0; i < kDimension; ++i) {
      const double x = a[i], y = b[i];
      dot += x * y;
      aa += x * x;
      bb += y * y;
      l2 += (x - y) * (x - y);
    }
    return metric_ == Metric::kL2 ? l2 : metric_ == Metric::kDot ? dot : dot / std::sqrt(aa * bb);
  }

  void Write(Engine* engine, int writer, std::mt19937* rng) {
    std::set<std::string> ids;
    const int count = 1 + static_cast<int>((*rng)() % 4);
    while (ids.size() < static_cast<size_t>(count)) {
      ids.insert(std::to_string(writer) + "/" + std::to_string((*rng)() % kIdsPerWriter));
    }
    const bool put = (*rng)() % 4 != 0;
    std::vector<DocumentWrite> writes;
    const std::vector<std::string> names(ids.begin(), ids.end());
    {
      std::lock_guard lock(mu_);
      for (const std::string& id : names) {
        Entry& entry = entries_[id];
        entry.busy = true;
        ++entry.calls;
        put ? ++entry.started : ++entry.deletes;
        DocumentWrite& write = writes.emplace_back();
        write.document.id = id;
        write.document.text = std::to_string(entry.started);
        if (put) write.document.vector = RandomVector(rng);
      }
    }
    const std::vector<DocumentWrite> sent = writes;
    const auto results = put ? engine->Upsert(collection_, std::move(writes), Truncate::kAuto, {})
                             : engine->Delete(collection_, names, {});
    ASSERT_TRUE(results.ok()) << results.status();
    std::lock_guard lock(mu_);
    for (size_t i = 0; i < names.size(); ++i) {
      Entry& entry = entries_[names[i]];
      entry.busy = false;
      const absl::Status& status = (*results)[i].status;
      if (absl::IsUnavailable(status)) {  // the store refused: as if nothing had been
        ++refused_;
        continue;
      }
      if (put) {
        ASSERT_TRUE(status.ok()) << status;
        entry.live = true;
        entry.version = entry.started;
        entry.vector = sent[i].document.vector;
      } else {
        ASSERT_EQ(status.ok(), entry.live) << status;
        entry.live = false;
      }
    }
  }

  void SearchBesideWriters(Engine* engine, std::mt19937* rng) {
    const std::vector<float> query = RandomVector(rng);
    const auto before = Snapshot();
    SearchRequest request{.query = VectorQuery{query}, .top_k = 1000};
    const auto result = engine->Search(collection_, request, {});
    ASSERT_TRUE(result.ok()) << result.status();
    const auto after = Snapshot();
    ++searches_;

    std::map<std::string, const SearchHit*> hits;
    for (size_t i = 0; i < result->hits.size(); ++i) {
      const SearchHit& hit = result->hits[i];
      ASSERT_TRUE(hits.emplace(hit.document.id, &hit).second) << "twice: " << hit.document.id;
      if (i == 0) continue;
      const float above = result->hits[i - 1].score;
      ASSERT_TRUE(HigherIsBetter(metric_) ? above >= hit.score : above <= hit.score);
    }
    for (const auto& [id, was] : before) {
      const Entry& is = after.at(id);
      const auto hit = hits.find(id);
      const bool found = hit != hits.end();
      if (!was.busy && was.calls == is.calls) {
        ASSERT_EQ(found, was.live) << id;
        if (!found) continue;
        ASSERT_EQ(hit->second->document.text, std::to_string(was.version)) << id;
        ASSERT_NEAR(hit->second->score, Score(query, was.vector), 1e-4) << id;
        continue;
      }
      if (was.live && was.deletes == is.deletes && !was.busy) {
        ASSERT_TRUE(found) << id << " was there all the time";
      }
      if (found) {
        const int version = std::stoi(hit->second->document.text);
        ASSERT_GE(version, was.version) << id;
        ASSERT_LE(version, is.started) << id;
      }
    }
    for (const auto& [id, hit] : hits) ASSERT_TRUE(after.contains(id)) << id;
  }

  std::map<std::string, Entry> Snapshot() const {
    std::lock_guard lock(mu_);
    return entries_;
  }

  const std::string collection_;
  const Metric metric_;
  uint32_t seed_;
  mutable std::mutex mu_;
  std::map<std::string, Entry> entries_;
  std::atomic<int> searches_{0};
  std::atomic<int> refused_{0};
};

}  // namespace vecino::engine
