#include "vecino/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/client/fake_server.h"

namespace vecino {
namespace {

using ::testing::HasSubstr;
using vecino::testing::BadField;
using vecino::testing::FakeServer;

class IngestTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Ingest>> Open() {
    return Ingest::Open(
        client_, options_,
        [this](const IngestResult& result) {
          const std::lock_guard lock(mutex_);
          results_.push_back(result);
        },
        [this](const Status&) { ++waits_; });
  }
  std::unique_ptr<Ingest> MustOpen() {
    auto ingest = Open();
    EXPECT_TRUE(ingest.ok()) << ingest.status().ToString();
    return ingest.ok() ? std::move(ingest).value() : nullptr;
  }
  static Document Numbered(int64_t i) {
    Document document;
    document.id = std::to_string(i);
    document.text = "t";
    return document;
  }
  std::vector<IngestResult> Results() {
    const std::lock_guard lock(mutex_);
    return results_;
  }

  FakeServer server_;
  Client client_{{.server = server_.address(), .max_attempts = 1}};
  IngestOptions options_{.collection = "c"};
  std::atomic<int> waits_{0};
  std::mutex mutex_;
  std::vector<IngestResult> results_;
};

TEST_F(IngestTest, EveryItemGetsItsResultInOrder) {
  server_.FailDocument("7", BadField("items.items[3].document.document.text",
                                     "items.items[3].document.document.text: is odd"));
  const auto ingest = MustOpen();
  EXPECT_EQ(ingest->done_through(), 0);
  for (int64_t i = 1; i <= 1'000; ++i) ASSERT_TRUE(ingest->Write(i, Numbered(i)).ok());
  ASSERT_TRUE(ingest->Delete(1'001, "5").ok());
  ASSERT_TRUE(ingest->Delete(1'005, "nobody").ok());
  EXPECT_TRUE(ingest->Finish().ok());
  const auto results = Results();
  ASSERT_EQ(results.size(), 1'002U);
  for (int64_t i = 0; i < 1'000; ++i) ASSERT_EQ(results[i].seq, i + 1);
  EXPECT_TRUE(results[0].token.has_value());
  EXPECT_EQ(results[6].status.code(), Code::kInvalidArgument);
  EXPECT_EQ(results[6].status.field(), "document.text");
  EXPECT_EQ(results[6].status.message(), "document.text: is odd");
  EXPECT_EQ(results[1'001].status.code(), Code::kNotFound);
  EXPECT_EQ(server_.Documents().size(), 998U);
  EXPECT_EQ(server_.finished(), 1);
  EXPECT_THAT(server_.last_start().resume_token(), HasSubstr("client-"));
}

TEST_F(IngestTest, WhatCannotBeSentIsRefusedAtOnceAndTheRestGoesOn) {
  const auto ingest = MustOpen();
  Document bad = Numbered(1);
  bad.text = "\xff";
  EXPECT_EQ(ingest->Write(1, bad).code(), Code::kInvalidArgument);
  bad = Numbered(1);
  bad.metadata_json = "[1]";
  EXPECT_EQ(ingest->Write(1, bad).code(), Code::kInvalidArgument);
  EXPECT_TRUE(ingest->Write(2, Numbered(2)).ok());
  EXPECT_EQ(ingest->Write(2, Numbered(3)).code(), Code::kInvalidArgument);
  EXPECT_THAT(ingest->Write(1, Numbered(3)).message(), HasSubstr("1 after 2"));
  EXPECT_TRUE(ingest->Close().ok());
  EXPECT_EQ(ingest->Write(9, Numbered(9)).code(), Code::kFailedPrecondition);
  EXPECT_EQ(Results().size(), 1U);
  EXPECT_EQ(server_.finished(), 0);
}

TEST_F(IngestTest, TheWindowHoldsTheCaller) {
  server_.SetIngestWindow(3);
  std::atomic<int> held{0};
  std::atomic<bool> go{false};
  server_.OnCall([&](const std::string& method) {
    while (method == "IngestItems" && !go) ++held, std::this_thread::yield();
  });
  const auto ingest = MustOpen();
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int64_t i = 1; i <= 50; ++i) written += ingest->Write(i, Numbered(i)).ok() ? 1 : 0;
  });
  while (held < 100) std::this_thread::yield();
  EXPECT_LE(written, 3);
  go = true;
  writer.join();
  EXPECT_TRUE(ingest->Flush().ok());
  EXPECT_EQ(Results().size(), 50U);
}

TEST_F(IngestTest, GoesOnOverNewConnectionsAndDoesEachItemOnce) {
  options_.resume_token = "t";
  const auto ingest = MustOpen();
  for (int64_t i = 1; i <= 500; ++i) {
    if (i % 100 == 50) server_.BreakIngestAfter(7);
    ASSERT_TRUE(ingest->Write(i, Numbered(i)).ok());
  }
  EXPECT_TRUE(ingest->Close().ok());
  EXPECT_GE(waits_, 1);
  EXPECT_GE(server_.Calls("IngestDocuments"), 2);
  EXPECT_EQ(server_.ingested(), 500);
  const auto results = Results();
  ASSERT_EQ(results.size(), 500U);
  for (const IngestResult& result : results) EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(MustOpen()->done_through(), 500);
}

TEST_F(IngestTest, EndsWithTheServersErrorWhenAnotherConnectionWouldNotHelp) {
  server_.FailNext(grpc::Status(grpc::StatusCode::NOT_FOUND, "no collection"));
  EXPECT_EQ(Open().status().code(), Code::kNotFound);
  const auto ingest = MustOpen();
  server_.FailNext(grpc::Status(grpc::StatusCode::ABORTED, "another took over"));
  EXPECT_TRUE(ingest->Write(1, Numbered(1)).ok());
  EXPECT_EQ(ingest->Flush().code(), Code::kAborted);
  EXPECT_EQ(ingest->Write(2, Numbered(2)).code(), Code::kAborted);
  EXPECT_EQ(ingest->Finish().code(), Code::kAborted);
}

TEST_F(IngestTest, GivesUpOnAServerThatStaysAway) {
  options_.retry_for = std::chrono::milliseconds(200);
  const auto ingest = MustOpen();
  EXPECT_TRUE(ingest->Write(1, Numbered(1)).ok());
  EXPECT_TRUE(ingest->Flush().ok());
  server_.Stop();
  (void)ingest->Write(2, Numbered(2));
  EXPECT_EQ(ingest->Flush().code(), Code::kUnavailable);
}

TEST_F(IngestTest, StopEndsWaiting) {
  std::atomic<bool> stop{false};
  options_.stop = &stop;
  const auto ingest = MustOpen();
  server_.Stop();
  (void)ingest->Write(1, Numbered(1));
  std::thread stopper([&] {
    while (waits_ == 0) std::this_thread::yield();
    stop = true;
  });
  EXPECT_FALSE(ingest->Flush().ok());
  stopper.join();
}

TEST_F(IngestTest, DestroyingItGivesUpWhatIsNotAnswered) {
  std::atomic<bool> go{false};
  server_.OnCall([&](const std::string& method) {
    while (method == "IngestItems" && !go) std::this_thread::yield();
  });
  {
    const auto ingest = MustOpen();
    EXPECT_TRUE(ingest->Write(1, Numbered(1)).ok());
  }
  go = true;
}

}  // namespace
}  // namespace vecino
