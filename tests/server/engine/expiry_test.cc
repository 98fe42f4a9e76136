// Documents that expire, by a clock that the test moves.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <random>
#include <set>

#include "server/engine/expiries.h"
#include "server/engine/expiry_reaper.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

constexpr int64_t kSecond = 1'000'000;  // in microseconds
constexpr int64_t kStart = 1'800'000'000 * kSecond;

TEST(Expiries, DueFromTheirTimeOn) {
  Expiries expiries;
  EXPECT_TRUE(expiries.Due(kStart).empty());
  expiries.Add(0, 1);  // never
  expiries.Add(30, 2);
  expiries.Add(10, 9);
  expiries.Add(20, 4);
  EXPECT_TRUE(expiries.Due(9).empty());
  EXPECT_EQ(expiries.CountDue(9), 0);
  EXPECT_EQ(expiries.Due(10), (std::vector<uint64_t>{9}));
  EXPECT_EQ(expiries.Due(25), (std::vector<uint64_t>{4, 9}));          // by sequence
  EXPECT_EQ(expiries.FirstDue(40, 2), (std::vector<uint64_t>{9, 4}));  // by time
  EXPECT_EQ(expiries.CountDue(40), 3);
  expiries.Remove(10, 9);
  expiries.Remove(0, 1);
  expiries.Remove(20, 7);  // not there
  EXPECT_EQ(expiries.Due(40), (std::vector<uint64_t>{2, 4}));
  EXPECT_EQ(expiries.CountDue(19), 0);
}

TEST(ExpiryReaper, CallsUntilItIsStopped) {
  std::atomic<int> calls{0};
  ExpiryReaper reaper(absl::Milliseconds(1), [&](std::stop_token stop) {
    EXPECT_FALSE(stop.stop_requested());
    ++calls;
  });
  while (calls < 3) std::this_thread::yield();
  reaper.Stop();
  const int stopped = calls;
  absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(calls, stopped);
  reaper.Stop();
}

class ExpiryTest : public EngineTest {
 protected:
  void SetUp() override {
    options_.clock = [this] { return absl::FromUnixMicros(now_); };
    options_.reap_interval = absl::InfiniteDuration();
    Reopen();
  }

  DocumentWrite Ttl(const std::string& id, const std::string& text, int64_t ttl_us) {
    DocumentWrite write = Text(id, text);
    write.ttl_us = ttl_us;
    return write;
  }
  WriteResult Write(const std::string& collection, DocumentWrite write) {
    const auto results = Upsert(collection, {std::move(write)});
    return results.empty() ? WriteResult{absl::UnknownError("")} : results[0];
  }
  bool Exists(const std::string& collection, const std::string& id) {
    const auto found = engine_->Get(collection, {&id, 1}, {}, kNoLimit);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && (*found)[0].has_value();
  }
  std::set<std::string> Listed(const std::string& collection, int page_size) {
    std::set<std::string> ids;
    std::optional<IdPage::Position> at = IdPage::Position();
    while (at.has_value()) {
      auto page = engine_->List(collection, *at, page_size, kNoLimit, {});
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      // No empty page but an only one: what is next is there.
      EXPECT_TRUE(!page->documents.empty() || ids.empty());
      for (const auto& document : page->documents) {
        EXPECT_TRUE(ids.insert(document.id).second) << document.id;
      }
      at = page->next;
    }
    return ids;
  }
  int64_t LiveInStats(const std::string& collection) {
    int64_t live = 0;
    const auto stats = engine_->GetCollectionStats(collection);
    EXPECT_TRUE(stats.ok()) << stats.status();
    if (!stats.ok()) return -1;
    for (const ShardStats& shard : stats->shards) {
      live += shard.live_documents;
    }
    return live;
  }
  // Lets the reaper work until it has deleted `documents` in all.
  void Reap(double documents) {
    options_.reap_interval = absl::Milliseconds(1);
    Reopen();
    while (metrics_.Value("vecino_documents_expired_total") < documents) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    options_.reap_interval = absl::InfiniteDuration();
    Reopen();
  }

  std::atomic<int64_t> now_{kStart};
};

TEST_F(ExpiryTest, StreamsLeaveOutWhatHadExpiredWhenTheyWereOpened) {
  Create("c", 1);
  Put("c", "stays", "text");
  ASSERT_TRUE(Write("c", Ttl("goes", "text", 10 * kSecond)).status.ok());
  ASSERT_TRUE(Write("c", Ttl("later", "text", 20 * kSecond)).status.ok());
  now_ += 10 * kSecond;
  auto stream = engine_->OpenDocumentStream("c", {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  now_ += 10 * kSecond;
  std::set<std::string> ids;
  while (true) {
    const auto chunk = (*stream)->Next(1000, {});
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    for (const StreamedDocument& one : chunk->documents) ids.insert(one.document.id);
    if (chunk->end) break;
  }
  EXPECT_EQ(ids, (std::set<std::string>{"later", "stays"}));
}

TEST_F(ExpiryTest, GoneFromItsTimeOnForEveryRead) {
  Create("c", 1);
  Put("c", "stays", "text");
  const WriteResult written = Write("c", Ttl("goes", "text", 10 * kSecond));
  ASSERT_TRUE(written.status.ok()) << written.status;
  EXPECT_EQ(written.expire_time_us, kStart + 10 * kSecond);
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    now_ = kStart + 10 * kSecond - 1;
    const std::string id = "goes";
    EXPECT_EQ((*engine_->Get("c", {&id, 1}, {}, kNoLimit))[0]->expire_time_us,
              kStart + 10 * kSecond);
    EXPECT_EQ(*engine_->Count("c"), 2);
    EXPECT_EQ(FindText("c", "text").size(), 2u);
    EXPECT_EQ(Listed("c", 1).size(), 2u);
    EXPECT_TRUE(engine_->Search("c", {.query = DocumentQuery{"goes"}}, {}).ok());
    ++now_;
    EXPECT_FALSE(Exists("c", "goes"));
    EXPECT_EQ(*engine_->Count("c"), 1);
    EXPECT_EQ(LiveInStats("c"), 1);
    EXPECT_EQ(FindText("c", "text"), std::vector<std::string>{"stays"});
    SearchRequest ids_only{.query = TextQuery{"text"}};
    ids_only.parts = {false, false, false};
    EXPECT_EQ(Find("c", ids_only), std::vector<std::string>{"stays"});
    EXPECT_EQ(Listed("c", 1), std::set<std::string>{"stays"});
    EXPECT_EQ(engine_->Search("c", {.query = DocumentQuery{"goes"}}, {}).status().code(),
              absl::StatusCode::kNotFound);
  }
}

TEST_F(ExpiryTest, WritesTakeWhatHasExpiredForGone) {
  Create("c", 1);
  for (const std::string id : {"a", "b", "c", "d", "e"}) {
    ASSERT_TRUE(Write("c", Ttl(id, id, kSecond)).status.ok());
  }
  const std::string etag = EtagOf(1, 5);  // of e
  now_ += kSecond;
  DocumentWrite insert = Text("a", "new");
  insert.mode = WriteMode::kInsert;
  const WriteResult inserted = Write("c", insert);
  ASSERT_TRUE(inserted.status.ok()) << inserted.status;
  EXPECT_EQ(inserted.create_time_us, now_);  // a new life
  EXPECT_EQ(inserted.expire_time_us, 0);
  EXPECT_EQ(Write("c", insert).status.code(), absl::StatusCode::kAlreadyExists);
  DocumentWrite replace = Text("b", "new");
  replace.mode = WriteMode::kReplace;
  EXPECT_EQ(Write("c", replace).status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Delete("c", "c").status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Put("c", "d", "new").status.ok());
  DocumentWrite conditional = Text("e", "new");
  conditional.etag = etag;
  EXPECT_EQ(Write("c", conditional).status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(engine_->DeleteVersion("c", "e", etag, {})->status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*engine_->Count("c"), 2);
  EXPECT_EQ(Listed("c", 10), (std::set<std::string>{"a", "d"}));
  Reap(3);
  EXPECT_EQ(*engine_->Count("c"), 2);
  EXPECT_EQ(store_.shard(1, 0)->ids.size(), 2u);
}

TEST_F(ExpiryTest, TimesThatMakeNoSenseAreRefused) {
  Create("c");
  DocumentWrite write = Ttl("x", "text", 1);
  write.document.expire_time_us = kStart + 1;
  EXPECT_EQ(FieldOf(Write("c", write).status), "documents[0].ttl");
  write.document.expire_time_us = 0;
  write.ttl_us = -1;
  EXPECT_EQ(FieldOf(Write("c", write).status), "documents[0].ttl");
  write.ttl_us = Limits::kMaxTimeUs;
  EXPECT_EQ(FieldOf(Write("c", write).status), "documents[0].ttl");
  write.ttl_us = 0;
  for (const int64_t time : {kStart, int64_t{1}, int64_t{-1}, Limits::kMaxTimeUs + 1}) {
    write.document.expire_time_us = time;
    EXPECT_EQ(FieldOf(Write("c", write).status), "documents[0].expire_time") << time;
  }
  write.document.expire_time_us = kStart + 1;
  EXPECT_TRUE(Write("c", write).status.ok());
}

TEST_F(ExpiryTest, ASearchFindsAsManyAsThereAreBesideManyThatExpired) {
  Create("c", 1, Metric::kL2, "");
  // All that expire are nearer to the query than all that do not.
  std::vector<float> near(kDimension), far(kDimension, 100);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 900; ++i) {
    const bool expires = i % 3 != 0;
    DocumentWrite write = Vector(std::to_string(i), expires ? near : far);
    write.document.vector[0] += static_cast<float>(i) / 1000;
    if (expires) write.ttl_us = kSecond;
    writes.push_back(std::move(write));
  }
  Upsert("c", writes);
  const auto best = [&](int k) {
    return Find("c", {.query = VectorQuery{near}, .top_k = k}).size();
  };
  EXPECT_EQ(best(1000), 900u);
  now_ += kSecond;
  for (const int k : {1, 10, 300, 1000}) {
    EXPECT_EQ(best(k), static_cast<size_t>(std::min(k, 300))) << k;
  }
  EXPECT_EQ(Find("c", {.query = VectorQuery{near}, .top_k = 2}),
            (std::vector<std::string>{"0", "3"}));
  EXPECT_EQ(*engine_->Count("c"), 300);
  Reap(600);
  EXPECT_EQ(best(1000), 300u);
  EXPECT_EQ(store_.shard(1, 0)->documents.size(), 300u);
}

TEST_F(ExpiryTest, FiltersAndFacetsLeaveOutWhatHasExpired) {
  Create("c", 2);
  for (int i = 0; i < 3000; ++i) {
    DocumentWrite write = Text(std::to_string(i), i % 4 == 3 ? "" : "text " + std::to_string(i));
    write.document.metadata = R"({"parity":")" + std::string(i % 2 == 0 ? "even" : "odd") + "\"}";
    if (i % 3 == 0) write.ttl_us = kSecond;
    ASSERT_TRUE(Write("c", std::move(write)).status.ok());
  }
  const std::string even = "parity = \"even\"";
  const auto listed = [&](const std::string& filter) {
    size_t count = 0;
    std::optional<IdPage::Position> at = IdPage::Position();
    while (at.has_value()) {
      auto page = engine_->List("c", *at, 100, kNoLimit, {}, filter);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      count += page->documents.size();
      at = page->next;
    }
    return count;
  };
  const auto found = [&](const std::string& filter) {
    return Find("c", {.query = TextQuery{"text"}, .top_k = 1000, .filter = filter}).size();
  };
  const std::string fields[] = {"parity"};
  const auto odd_facet = [&](const std::string& filter) -> int64_t {
    const auto facets = engine_->CountValues("c", fields, filter, 10);
    EXPECT_TRUE(facets.ok()) << facets.status();
    if (!facets.ok()) return -1;
    int64_t odd = 0;
    for (const Facet::Value& value : (*facets)[0].values) {
      if (value.value == FieldValue(std::string("odd"))) odd = value.count;
    }
    return odd;
  };
  EXPECT_EQ(*engine_->Count("c", even), 1500);
  EXPECT_EQ(odd_facet(""), 1500);
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    now_ = kStart + kSecond;
    EXPECT_EQ(*engine_->Count("c"), 2000);
    EXPECT_EQ(*engine_->Count("c", even), 1000);
    EXPECT_EQ(listed(even), 1000u);
    EXPECT_EQ(listed(""), 2000u);
    EXPECT_EQ(found(even), 1000u);
    EXPECT_EQ(odd_facet(""), 1000);
    EXPECT_EQ(odd_facet(even), 0);
  }
  Reap(1000);
  EXPECT_EQ(*engine_->Count("c", even), 1000);
  EXPECT_EQ(odd_facet(""), 1000);
  EXPECT_EQ(found(even), 1000u);
}

TEST_F(ExpiryTest, TheReaperLeavesWhatWasWrittenAnew) {
  Create("c", 2);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Write("c", Ttl(std::to_string(i), "old", kSecond)).status.ok());
  }
  // Some live on, some with a later end.
  for (int i = 0; i < 5; ++i) Put("c", std::to_string(i), "new");
  for (int i = 5; i < 10; ++i) Write("c", Ttl(std::to_string(i), "new", 5 * kSecond));
  now_ += 2 * kSecond;
  EXPECT_EQ(*engine_->Count("c"), 10);
  Reap(10);
  EXPECT_EQ(*engine_->Count("c"), 10);
  now_ += 5 * kSecond;
  EXPECT_EQ(*engine_->Count("c"), 5);
  Reap(15);
  EXPECT_EQ(Listed("c", 2), (std::set<std::string>{"0", "1", "2", "3", "4"}));
}

TEST_F(ExpiryTest, AnIndexExportHoldsNothingThatExpired) {
  Create("c", 1);
  for (int i = 0; i < 10; ++i) {
    Write("c", Ttl(std::to_string(i), "text " + std::to_string(i), i < 5 ? kSecond : 0));
  }
  now_ += kSecond;
  const auto exported = engine_->ExportIndex("c", {.shard = 0, .vectors = true}, {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ((*exported)->content.ids, (std::vector<std::string>{"5", "6", "7", "8", "9"}));
}

// Random writes of every kind against a plain map, with restarts and a clock that moves.
TEST_F(ExpiryTest, AgreesWithAPlainMap) {
  struct Entry {
    std::string text;
    bool vector = false;
    int64_t expires = 0;
  };
  std::map<std::string, Entry> map;
  const auto live = [&](const std::string& id) {
    const auto at = map.find(id);
    return at != map.end() && (at->second.expires == 0 || at->second.expires > now_);
  };
  Create("c", 3);
  std::mt19937 random(7);
  int64_t reaped = 0;
  for (int step = 0; step < 1500; ++step) {
    const std::string id = std::to_string(random() % 30);
    const bool there = live(id);
    switch (random() % 8) {
      case 0: {
        const absl::Status status = Delete("c", id).status;
        EXPECT_EQ(status.ok(), there) << status;
        if (there) map.erase(id);
        break;
      }
      case 1:
        now_ += static_cast<int64_t>(random() % 3) * kSecond;
        break;
      default: {
        DocumentWrite write = Text(id, random() % 3 == 0 ? "" : std::to_string(step));
        write.mode = static_cast<WriteMode>(random() % 3);
        if (random() % 2 == 0) write.ttl_us = static_cast<int64_t>(1 + random() % 8) * kSecond;
        const bool done = write.mode == WriteMode::kInsert    ? !there
                          : write.mode == WriteMode::kReplace ? there
                                                              : true;
        const Entry entry = {write.document.text, !write.document.text.empty(),
                             write.ttl_us == 0 ? 0 : now_ + write.ttl_us};
        const absl::Status status = Write("c", std::move(write)).status;
        EXPECT_EQ(status.ok(), done) << status;
        if (done) map[id] = entry;
      }
    }
    if (step % 10 != 0) continue;
    if (step % 100 == 0) Reopen();
    if (step % 300 == 0) {
      int64_t due = 0;
      std::erase_if(map, [&](const auto& entry) {
        const bool gone = !live(entry.first);
        due += gone;
        return gone;
      });
      // Those that were written over while they were due are not counted; the others are.
      reaped += due;
      Reap(static_cast<double>(reaped));
    }
    std::set<std::string> ids, with_vector;
    for (const auto& [key, entry] : map) {
      if (!live(key)) continue;
      ids.insert(key);
      if (entry.vector) with_vector.insert(key);
    }
    ASSERT_EQ(Listed("c", 4), ids) << step;
    ASSERT_EQ(*engine_->Count("c"), static_cast<int64_t>(ids.size())) << step;
    ASSERT_EQ(LiveInStats("c"), static_cast<int64_t>(ids.size())) << step;
    const auto found = FindText("c", "some", 100);
    ASSERT_EQ(std::set<std::string>(found.begin(), found.end()), with_vector) << step;
    ASSERT_EQ(found.size(), with_vector.size());
  }
}

}  // namespace
}  // namespace vecino::engine
