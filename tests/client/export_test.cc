#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;

// Remembers what it got, and refuses when told to.
class Sink final : public IndexExportSink {
 public:
  Status Begin(const IndexExportInfo& info) override {
    ++begun;
    last = info;
    return Status();
  }
  Status IndexData(std::string_view more) override {
    bytes += more;
    return refusal;
  }
  Status DocumentIds(const std::vector<std::string>& more) override {
    ids.insert(ids.end(), more.begin(), more.end());
    return Status();
  }

  bool Restart(const Status& why) override {
    breaks.push_back(why);
    bytes.clear();
    ids.clear();
    return restarts;
  }

  bool restarts = false;
  std::vector<Status> breaks;
  int begun = 0;
  IndexExportInfo last;
  std::string bytes;
  std::vector<std::string> ids;
  Status refusal;
};

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() {
    v1::ExportIndexHeader& header = *Add().mutable_header();
    header.set_shard(1);
    header.set_shard_count(2);
    header.set_rows(3);
    header.set_index_bytes(5);
    header.set_description("IndexFlat");
    header.set_kind(v1::IndexPolicy::KIND_IVF_PQ);
    header.set_dimension(8);
    header.set_metric(v1::METRIC_L2);
    Add().set_index_data("abc");
    Add().set_index_data("de");
    Add().mutable_document_ids()->add_ids("one\n");
    messages_.back().mutable_document_ids()->add_ids("two");
    Add().mutable_document_ids()->add_ids("three");
  }
  v1::ExportIndexResponse& Add() { return messages_.emplace_back(); }

  Status Export() {
    server_.SetExport(messages_, end_);
    Client client({.server = server_.address(),
                   .timeout = milliseconds(20'000),
                   .initial_backoff = milliseconds(1),
                   .max_backoff = milliseconds(4)});
    return client.ExportIndex("c", 1, /*vectors=*/false, sink_);
  }

  FakeServer server_;
  std::vector<v1::ExportIndexResponse> messages_;
  grpc::Status end_;
  Sink sink_;
};

TEST_F(ExportTest, EverythingComesInOrder) {
  const Status status = Export();
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(server_.last_export().name(), "collections/c");
  EXPECT_EQ(server_.last_export().shard(), 1);
  EXPECT_TRUE(server_.last_export().omit_vectors());
  EXPECT_EQ(sink_.begun, 1);
  EXPECT_EQ(sink_.last.shard, 1);
  EXPECT_EQ(sink_.last.shard_count, 2);
  EXPECT_EQ(sink_.last.rows, 3);
  EXPECT_EQ(sink_.last.index_bytes, 5);
  EXPECT_EQ(sink_.last.description, "IndexFlat");
  EXPECT_EQ(sink_.last.index_kind, "ivf-pq");
  EXPECT_EQ(sink_.last.dimension, 8);
  EXPECT_EQ(sink_.last.metric, Metric::kL2);
  EXPECT_EQ(sink_.bytes, "abcde");
  EXPECT_THAT(sink_.ids, ElementsAre("one\n", "two", "three"));
}

TEST_F(ExportTest, RetriesOnlyBeforeItBegan) {
  server_.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading"), 2);
  EXPECT_TRUE(Export().ok());
  EXPECT_EQ(server_.Calls("ExportIndex"), 3);

  messages_.resize(2);
  end_ = grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
  const Status status = Export();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.message(), "stopping");
  EXPECT_EQ(server_.Calls("ExportIndex"), 4);
}

TEST_F(ExportTest, ASinkThatCanBeginAnewIsGivenAllOfItOnce) {
  sink_.restarts = true;
  for (const grpc::StatusCode code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED}) {
    sink_.breaks.clear();
    sink_.begun = 0;
    server_.BreakExports(2, 2, grpc::Status(code, "stopping"));
    const Status status = Export();
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(sink_.begun, 3);
    EXPECT_EQ(sink_.breaks.size(), 2u);
    EXPECT_EQ(sink_.breaks.front().message(), "stopping");
    EXPECT_EQ(sink_.bytes, "abcde");
    EXPECT_THAT(sink_.ids, ElementsAre("one\n", "two", "three"));
    sink_.bytes.clear();
    sink_.ids.clear();
  }
  // What does not pass by itself is not tried again, nor is anything for ever.
  sink_.breaks.clear();
  server_.BreakExports(1, 2, grpc::Status(grpc::StatusCode::DATA_LOSS, "damaged"));
  EXPECT_EQ(Export().code(), Code::kDataLoss);
  EXPECT_TRUE(sink_.breaks.empty());
  server_.BreakExports(100, 2, grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping"));
  EXPECT_EQ(Export().code(), Code::kUnavailable);
  EXPECT_EQ(sink_.breaks.size(), 4u);  // max_attempts is 5
}

TEST_F(ExportTest, TheSinkCanRefuse) {
  sink_.refusal = Status(Code::kUnknown, "disk full");
  for (int i = 0; i < 100; ++i) messages_.insert(messages_.begin() + 1, messages_[1]);
  messages_[0].mutable_header()->set_index_bytes(305);
  const Status status = Export();
  EXPECT_EQ(status.code(), Code::kUnknown);
  EXPECT_EQ(status.message(), "disk full");
  EXPECT_EQ(sink_.bytes, "abc");
  EXPECT_EQ(server_.Calls("ExportIndex"), 1);
}

TEST_F(ExportTest, WhatIsMissingOrTooMuchIsDataLoss) {
  const auto broken = [&](const char* what) {
    const Status status = Export();
    EXPECT_EQ(status.code(), Code::kDataLoss) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr(what));
  };
  const std::vector<v1::ExportIndexResponse> whole = messages_;
  messages_.pop_back();
  broken("ended too soon");
  messages_.resize(2);
  broken("ended too soon");
  messages_ = whole;
  messages_.erase(messages_.begin() + 2);
  broken("ids came too soon");
  messages_ = whole;
  messages_.erase(messages_.begin());
  broken("header");
  messages_ = whole;
  messages_.push_back(whole[1]);
  broken("more of the file");
  messages_ = whole;
  messages_.push_back(whole[0]);
  broken("header");
  messages_.clear();
  broken("ended too soon");
}

}  // namespace
}  // namespace vecino
