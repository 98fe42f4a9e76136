// An engine on a store in memory and a fake encoder.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"

namespace vecino::engine {

class EngineTest : public testing::Test {
 protected:
  static constexpr int kDimension = 8;
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  void SetUp() override { Reopen(); }

  void Reopen() {
    engine_.reset();
    auto engine = Engine::Open(options_, &store_, &encoder_, &metrics_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  void Create(const std::string& id, int shards = 2, Metric metric = Metric::kCosine,
              const std::string& model = "fake") {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = metric;
    spec.model = model;
    spec.shard_count = shards;
    if (model.empty()) spec.dimension = kDimension;
    const auto info = engine_->CreateCollection(spec, false);
    ASSERT_TRUE(info.ok()) << info.status();
  }

  static DocumentWrite Text(const std::string& id, const std::string& text) {
    DocumentWrite write;
    write.document.id = id;
    write.document.text = text;
    return write;
  }
  static DocumentWrite Vector(const std::string& id, std::vector<float> vector) {
    DocumentWrite write;
    write.document.id = id;
    write.document.vector = std::move(vector);
    return write;
  }

  std::vector<WriteResult> Upsert(const std::string& collection,
                                  std::vector<DocumentWrite> writes) {
    auto results = engine_->Upsert(collection, std::move(writes), Truncate::kAuto, {});
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? *results : std::vector<WriteResult>();
  }
  WriteResult Put(const std::string& collection, const std::string& id, const std::string& text) {
    const auto results = Upsert(collection, {Text(id, text)});
    return results.empty() ? WriteResult{absl::UnknownError("")} : results[0];
  }
  WriteResult Delete(const std::string& collection, const std::string& id) {
    const auto results = engine_->Delete(collection, {&id, 1}, {});
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? (*results)[0] : WriteResult{absl::UnknownError("")};
  }
  std::vector<std::string> Find(const std::string& collection, SearchRequest request) {
    const auto result = engine_->Search(collection, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<std::string> ids;
    if (!result.ok()) return ids;
    for (const SearchHit& hit : result->hits) ids.push_back(hit.document.id);
    return ids;
  }
  std::vector<std::string> FindText(const std::string& collection, const std::string& text,
                                    int top_k = 10) {
    return Find(collection, {.query = TextQuery{text}, .top_k = top_k});
  }

  EngineOptions options_{.tail_capacity = 8, .maintenance_threads = 1, .load_threads = 2};
  MemoryStore store_;
  FakeEncoder encoder_{kDimension};
  FakeMetrics metrics_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace vecino::engine
