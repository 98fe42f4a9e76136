#include "server/engine/document_streams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/engine/shard_of.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class DocumentStreamsTest : public EngineTest {
 protected:
  struct Read {
    std::vector<std::string> ids;  // in order
    std::vector<int> shards;
    std::map<std::string, std::string> texts;
    absl::Status status;
    int shard = 0;  // where it stands
    std::string after_id;
  };
  static Read ReadAll(DocumentStream& stream, size_t max_bytes = 1000, int most = 1'000'000) {
    Read read;
    while (static_cast<int>(read.ids.size()) < most) {
      const auto next = stream.Next(max_bytes, {});
      read.status = next.status();
      if (!next.ok()) break;
      for (const StreamedDocument& one : next->documents) {
        read.ids.push_back(one.document.id);
        read.shards.push_back(one.shard);
        read.texts[one.document.id] = one.document.text;
      }
      read.shard = next->shard;
      read.after_id = next->after_id;
      if (next->end) break;
    }
    return read;
  }
  Read ReadAll(const DocumentStreamRequest& request, size_t max_bytes = 1000) {
    auto stream = engine_->OpenDocumentStream("c", request);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? ReadAll(**stream, max_bytes) : Read{};
  }
  void Fill(int documents) {
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < documents; ++i)
      writes.push_back(Text(absl::StrCat("d", i), absl::StrCat("text ", i)));
    Upsert("c", std::move(writes));
  }
};

TEST_F(DocumentStreamsTest, EveryDocumentOnceInOrderWhateverIsWrittenMeanwhile) {
  Create("c", 3);
  Fill(300);
  auto stream = engine_->OpenDocumentStream("c", {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  Read first = ReadAll(**stream, 500, 20);
  ASSERT_GE(first.ids.size(), 20u);
  ASSERT_LT(first.ids.size(), 300u);
  for (int i = 0; i < 300; i += 3) Put("c", absl::StrCat("d", i), "changed");
  for (int i = 1; i < 300; i += 3) Delete("c", absl::StrCat("d", i));
  for (int i = 0; i < 50; ++i) Put("c", absl::StrCat("new", i), "new");
  const Read rest = ReadAll(**stream);
  EXPECT_TRUE(rest.status.ok()) << rest.status;
  first.ids.insert(first.ids.end(), rest.ids.begin(), rest.ids.end());
  first.shards.insert(first.shards.end(), rest.shards.begin(), rest.shards.end());
  first.texts.insert(rest.texts.begin(), rest.texts.end());
  ASSERT_EQ(first.ids.size(), 300u);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(first.texts[absl::StrCat("d", i)], absl::StrCat("text ", i));
  }
  for (size_t i = 0; i < first.ids.size(); ++i) {
    EXPECT_EQ(first.shards[i], ShardOf(first.ids[i], 3));
    if (i == 0) continue;
    EXPECT_LT(std::pair(first.shards[i - 1], first.ids[i - 1]),
              std::pair(first.shards[i], first.ids[i]));
  }
}

TEST_F(DocumentStreamsTest, GoesOnBehindAPlace) {
  Create("c", 3);
  Fill(100);
  const Read all = ReadAll(DocumentStreamRequest{});
  ASSERT_EQ(all.ids.size(), 100u);
  for (const size_t at : {size_t{0}, size_t{33}, size_t{98}, size_t{99}}) {
    const Read rest = ReadAll({.shard = all.shards[at], .after_id = all.ids[at]});
    EXPECT_EQ(rest.ids, std::vector<std::string>(all.ids.begin() + at + 1, all.ids.end()));
  }
}

TEST_F(DocumentStreamsTest, WhereAChunkEndsAnotherStreamBegins) {
  Create("c", 3);
  Fill(300);
  const Read all = ReadAll(DocumentStreamRequest{});
  for (const int most : {1, 50, 150, 290}) {
    auto stream = engine_->OpenDocumentStream("c", {});
    Read read = ReadAll(**stream, 300, most);
    const Read rest = ReadAll({.shard = read.shard, .after_id = read.after_id});
    read.ids.insert(read.ids.end(), rest.ids.begin(), rest.ids.end());
    EXPECT_EQ(read.ids, all.ids);
  }
}

TEST_F(DocumentStreamsTest, AFilterIsOfTheMoment) {
  Create("c", 2);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 400; ++i) {
    writes.push_back(Text(absl::StrCat("d", i), "text"));
    writes.back().document.metadata = absl::StrCat("{\"n\":", i, "}");
  }
  Upsert("c", std::move(writes));
  const DocumentStreamRequest request = {
      .parts = {.text = true, .metadata = false, .vector = false}, .filter = "n < 100"};
  auto stream = engine_->OpenDocumentStream("c", request);
  ASSERT_TRUE(stream.ok()) << stream.status();
  DocumentWrite late = Text("d7", "text");
  late.document.metadata = R"({"n":700})";
  Upsert("c", {late});
  Delete("c", "d8");
  const Read read = ReadAll(**stream);
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.ids.size(), 100u);
  EXPECT_EQ(ReadAll(request).ids.size(), 98u);
  EXPECT_EQ(FieldOf(engine_->OpenDocumentStream("c", {.filter = "n <"}).status()), "filter");
  EXPECT_EQ(store_.snapshots(), 1);
}

TEST_F(DocumentStreamsTest, SlicesShareNothingAndMissNothing) {
  for (const int shards : {1, 3, 4}) {
    if (engine_->GetCollection("c").ok()) {
      ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
    }
    Create("c", shards);
    Fill(600);
    for (const int total : {1, 2, 3, 4, 7, 64}) {
      std::set<std::string> seen;
      size_t smallest = 600, largest = 0;
      for (int index = 0; index < total; ++index) {
        const Read part = ReadAll({.slice = {.index = index, .total = total}});
        ASSERT_TRUE(part.status.ok()) << part.status;
        for (const std::string& id : part.ids) EXPECT_TRUE(seen.insert(id).second) << id;
        smallest = std::min(smallest, part.ids.size());
        largest = std::max(largest, part.ids.size());
      }
      EXPECT_EQ(seen.size(), 600u) << shards << " shards, " << total << " slices";
      if (total <= 7) {
        EXPECT_GT(smallest * 2, largest) << shards << " shards, " << total << " slices";
      }
    }
  }
}

TEST_F(DocumentStreamsTest, ASliceTouchesFewShards) {
  for (const int shards : {1, 2, 5, 64}) {
    for (const int total : {1, 2, 5, 64, 1000}) {
      int touches = 0;
      for (int index = 0; index < total; ++index) {
        for (int shard = 0; shard < shards; ++shard) {
          touches += SliceTouches({.index = index, .total = total}, shard, shards) ? 1 : 0;
        }
      }
      EXPECT_LE(touches, total + shards) << shards << " shards, " << total << " slices";
      for (int shard = 0; shard < shards; ++shard) {
        for (int i = 0; i < 50; ++i) {
          const int slice = SliceOf(shard, shards, absl::StrCat(i), total);
          EXPECT_TRUE(SliceTouches({.index = slice, .total = total}, shard, shards));
        }
      }
    }
  }
  // In resume tokens of clients: the same in every version.
  EXPECT_EQ(SliceOf(0, 1, "a", 1000), 834);
  EXPECT_EQ(SliceOf(1, 2, "", 1000), 941);
}

TEST_F(DocumentStreamsTest, OnlyWhatWasAskedForIsRead) {
  Create("c", 2);
  Upsert("c", {Text("t", "text"), Vector("v", std::vector<float>(kDimension, 1))});
  const auto documents = [&](const storage::DocumentParts& parts) {
    std::map<std::string, storage::Document> found;
    auto stream = engine_->OpenDocumentStream("c", {.parts = parts});
    EXPECT_TRUE(stream.ok());
    while (true) {
      auto next = (*stream)->Next(1000, {});
      EXPECT_TRUE(next.ok()) << next.status();
      if (!next.ok()) break;
      for (auto& one : next->documents) found[one.document.id] = std::move(one.document);
      if (next->end) break;
    }
    return found;
  };
  auto found = documents({.text = true, .metadata = true, .vector = true});
  EXPECT_EQ(found["t"].text, "text");
  EXPECT_EQ(found["v"].text, "");
  EXPECT_EQ(found["v"].vector.size(), static_cast<size_t>(kDimension));
  found = documents({.text = false, .metadata = false, .vector = false});
  EXPECT_EQ(found["t"].text, "");
  EXPECT_TRUE(found["v"].vector.empty());
  EXPECT_GT(found["t"].sequence, 0u);
}

TEST_F(DocumentStreamsTest, WhatIsRefused) {
  Create("c", 2);
  const auto field = [&](const DocumentStreamRequest& request) {
    return FieldOf(engine_->OpenDocumentStream("c", request).status());
  };
  EXPECT_EQ(field({.slice = {.index = 0, .total = 0}}), "slice.total");
  EXPECT_EQ(field({.slice = {.index = 0, .total = 1025}}), "slice.total");
  EXPECT_EQ(field({.slice = {.index = 2, .total = 2}}), "slice.index");
  EXPECT_EQ(field({.slice = {.index = -1, .total = 2}}), "slice.index");
  EXPECT_EQ(field({.shard = 2}), "resume_token");
  EXPECT_EQ(engine_->OpenDocumentStream("none", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.snapshots(), 0);
}

TEST_F(DocumentStreamsTest, FewAtOnceAndEachGivesItsSnapshotBack) {
  options_.document_streams = 2;
  Reopen();
  Create("c");
  auto first = engine_->OpenDocumentStream("c", {});
  auto second = engine_->OpenDocumentStream("c", {});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(store_.snapshots(), 2);
  const absl::Status third = engine_->OpenDocumentStream("c", {}).status();
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.message()), HasSubstr("2 streams of documents are open"));
  first->reset();
  EXPECT_EQ(store_.snapshots(), 1);
  EXPECT_TRUE(engine_->OpenDocumentStream("c", {}).ok());
  second->reset();
  EXPECT_EQ(store_.snapshots(), 0);
}

TEST_F(DocumentStreamsTest, AnOldOneLosesItsSnapshotWithoutBeingAsked) {
  options_.document_streams = 1;
  options_.document_stream_age = absl::Milliseconds(1);
  Reopen();
  Create("c");
  Fill(10);
  auto old = engine_->OpenDocumentStream("c", {});
  ASSERT_TRUE(old.ok());
  while (store_.snapshots() > 0) std::this_thread::yield();
  const absl::Status status = (*old)->Next(1000, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("resume token"));
  EXPECT_TRUE(engine_->OpenDocumentStream("c", {}).ok());  // its place is free
}

TEST_F(DocumentStreamsTest, EndsWithItsCollectionAndItsCaller) {
  Create("c");
  Fill(100);
  auto stream = engine_->OpenDocumentStream("c", {});
  ASSERT_TRUE(stream.ok());
  EXPECT_TRUE((*stream)->Next(10, {}).ok());
  std::stop_source gone;
  gone.request_stop();
  EXPECT_EQ((*stream)->Next(10, {.stop = gone.get_token()}).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ((*stream)->Next(10, {.deadline = absl::InfinitePast()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  Create("c");
  EXPECT_EQ((*stream)->Next(10, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*stream)->info().spec.id, "c");
  stream->reset();
}

}  // namespace
}  // namespace vecino::engine
