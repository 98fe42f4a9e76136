// An engine with two models, and the ways of a migration.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/validation.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {

inline constexpr int kNewDimension = 6;
inline constexpr storage::DocumentParts kWhole = {.text = true, .metadata = true, .vector = true};

class EngineMigrationTest : public EngineTest {
 protected:
  void SetUp() override {
    encoder_.AddModel("other", kNewDimension, "hash-2");
    options_.tail_capacity = 32;
    EngineTest::SetUp();
  }

  Operation::Info Migrate(MigrationRequest request = {}, const std::string& id = "c") {
    if (request.model.empty()) request.model = "other";
    const auto info = engine_->MigrateEmbeddings(id, request);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : Operation::Info();
  }
  // Waits until the operation is done, and returns how it ended.
  absl::Status Wait(const std::string& operation, const std::string& id = "c") {
    while (true) {
      const auto info = engine_->WaitOperation(id, operation, absl::Seconds(10), {});
      if (!info.ok()) return info.status();
      if (info->done) return info->status;
    }
  }
  absl::Status MigrateAndWait(MigrationRequest request = {}) {
    return Wait(Migrate(std::move(request)).id);
  }
  absl::Status Switch(MigrationSide to, const CallContext& context = {}) {
    return engine_->SwitchEmbeddings("c", to, context).status();
  }
  absl::Status Finish() { return engine_->FinishMigration("c", std::nullopt).status(); }
  MigrationInfo Info(const std::string& id = "c") {
    const auto info = engine_->GetCollection(id);
    EXPECT_TRUE(info.ok() && info->migration.has_value()) << info.status();
    return info.ok() && info->migration.has_value() ? *info->migration : MigrationInfo();
  }
  // Waits until the side not in use lacks nothing.
  void CatchUp() {
    while (Info().lag > 0) absl::SleepFor(absl::Milliseconds(1));
  }
  void Fill(int count, int from = 0) {
    std::vector<DocumentWrite> writes;
    for (int i = from; i < from + count; ++i) {
      writes.push_back(Text(absl::StrCat("d", i), absl::StrCat("text ", i)));
      writes.back().document.metadata = absl::StrCat("{\"n\":", i, "}");
    }
    for (const WriteResult& result : Upsert("c", std::move(writes))) {
      EXPECT_TRUE(result.status.ok()) << result.status;
    }
  }
  std::optional<storage::Document> Get(const std::string& id) {
    const auto found = engine_->Get("c", std::vector<std::string>{id}, kWhole, kNoLimit);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? found->front() : std::nullopt;
  }
  // All documents, by id.
  std::map<std::string, storage::Document> Contents(const std::string& id = "c") {
    std::map<std::string, storage::Document> contents;
    IdPage::Position from;
    while (true) {
      const auto page = engine_->List(id, from, 1000, kNoLimit, kWhole);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return contents;
      for (const storage::Document& document : page->documents) {
        EXPECT_TRUE(contents.emplace(document.id, document).second) << document.id;
      }
      if (!page->next.has_value()) return contents;
      from = *page->next;
    }
  }
  // What a collection that was made with the model has for a text.
  static std::vector<float> NewVector(const std::string& text) {
    std::vector<float> vector = FakeEncoder::VectorOf("other/" + text, kNewDimension);
    EXPECT_TRUE(PrepareVector("vector", Metric::kCosine, kNewDimension, &vector).ok());
    return vector;
  }
  // That searches of `c` find what those of a new collection with the same documents do.
  void ExpectAsFresh(const std::string& model) {
    Create("fresh", 2, Metric::kCosine, model);
    const auto contents = Contents();
    std::vector<DocumentWrite> writes;
    for (const auto& [id, document] : contents) {
      writes.push_back(Text(id, document.text));
      if (writes.size() < 500) continue;
      Upsert("fresh", std::move(writes));
      writes.clear();
    }
    if (!writes.empty()) Upsert("fresh", std::move(writes));
    const auto fresh = Contents("fresh");
    EXPECT_EQ(contents.size(), fresh.size());
    for (const auto& [id, document] : contents) {
      EXPECT_EQ(document.vector, fresh.at(id).vector) << id;
    }
    for (int i = 0; i < 20; ++i) {
      SearchRequest request{.query = TextQuery{absl::StrCat("query ", i)}, .top_k = 10};
      request.exact = true;
      EXPECT_EQ(Find("c", request), Find("fresh", request)) << i;
    }
    ASSERT_TRUE(engine_->DeleteCollection("fresh", "").ok());
  }
};

}  // namespace vecino::engine
