#include "client/cli/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/client/fake_server.h"

namespace vecino::cli {
namespace {

using testing::BadField;
using testing::FakeServer;

// Records from memory.
class ListReader : public RecordReader {
 public:
  explicit ListReader(std::vector<Record> records) : records_(std::move(records)) {}
  bool Next(Record* record) override {
    if (next_ == records_.size()) return false;
    *record = records_[next_++];
    if (on_next) on_next(next_);
    return true;
  }
  Status status() const override { return {}; }

  std::function<void(size_t)> on_next;

 private:
  const std::vector<Record> records_;
  size_t next_ = 0;
};

std::vector<Record> Numbered(int count) {
  std::vector<Record> records;
  for (int i = 0; i < count; ++i) {
    records.push_back({.line = i + 1, .document = {.id = std::to_string(i), .text = "t"}});
  }
  return records;
}

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    options_.collection = "c";
    options_.batch_documents = 10;
    options_.retry_for = std::chrono::seconds(30);
  }

  LoadReport Run(std::vector<Record> records) {
    ListReader reader(std::move(records));
    return Run(reader);
  }
  LoadReport Run(ListReader& reader) {
    Progress progress("c", -1, /*quiet=*/true);
    ::testing::internal::CaptureStderr();
    LoadReport report = Load(
        client_, reader, options_, "docs.jsonl", [] { return int64_t{0}; }, interrupted_, progress);
    errors_ = ::testing::internal::GetCapturedStderr();
    return report;
  }

  FakeServer server_;
  Client client_{{.server = server_.address(),
                  .timeout = std::chrono::milliseconds(20'000),
                  .max_attempts = 1}};
  LoadOptions options_;
  std::atomic<bool> interrupted_{false};
  std::string errors_;
};

TEST_F(LoaderTest, InsertOnlyReplacesNothingAndLooksForNothing) {
  Run(Numbered(5));
  EXPECT_EQ(server_.Calls("BatchGetDocuments"), 1);
  options_.insert_only = true;
  const LoadReport report = Run(Numbered(8));
  EXPECT_EQ(report.loaded, 3);
  EXPECT_EQ(report.failed, 5);
  EXPECT_EQ(report.skipped, 0);
  EXPECT_EQ(server_.Calls("BatchGetDocuments"), 1);
  EXPECT_THAT(errors_, ::testing::HasSubstr("line 5: ALREADY_EXISTS"));
}

TEST_F(LoaderTest, InsertsWhoseReplyWasLostAreNoFailures) {
  options_.insert_only = true;
  server_.BreakIngestAfter(3);
  const LoadReport report = Run(Numbered(5));
  EXPECT_EQ(report.failed, 0);
  EXPECT_EQ(report.loaded, 5);
  EXPECT_EQ(server_.ingested(), 5);
  // The same where the client itself tries again.
  Client client({.server = server_.address(), .max_attempts = 3});
  server_.LoseReplies(1);
  const auto results =
      client.UpsertBatch("c", {{.id = "new"}}, Truncate::kAuto, WriteMode::kInsert);
  ASSERT_TRUE(results.ok());
  EXPECT_EQ((*results)[0].status.code(), Code::kAlreadyExists);
  EXPECT_TRUE((*results)[0].repeated);
}

TEST_F(LoaderTest, LoadsEverythingOnceAndSkipsItTheSecondTime) {
  LoadReport report = Run(Numbered(105));
  EXPECT_TRUE(report.status.ok()) << report.status.ToString();
  EXPECT_EQ(report.loaded, 105);
  EXPECT_EQ(report.skipped, 0);
  EXPECT_EQ(report.last_line, 105);
  EXPECT_EQ(server_.Documents().size(), 105U);
  EXPECT_EQ(server_.Calls("BatchGetDocuments"), 11);
  EXPECT_EQ(server_.finished(), 1);

  report = Run(Numbered(108));
  EXPECT_EQ(report.loaded, 3);
  EXPECT_EQ(report.skipped, 105);
  EXPECT_EQ(server_.ingested(), 108);

  options_.overwrite = true;
  report = Run(Numbered(108));
  EXPECT_EQ(report.loaded, 108);
  EXPECT_EQ(report.skipped, 0);
}

TEST_F(LoaderTest, BatchesAreCutByBytesToo) {
  options_.batch_bytes = 1'000;
  std::vector<Record> records = Numbered(6);
  for (Record& record : records) record.document.text.assign(600, 'x');
  EXPECT_EQ(Run(records).loaded, 6);
  EXPECT_EQ(server_.Calls("BatchGetDocuments"), 3);
}

TEST_F(LoaderTest, BadRecordsAreToldByLineAndTheRestIsLoaded) {
  std::vector<Record> records = Numbered(30);
  records[4].error = "parse error at column 3";
  server_.FailDocument("17", BadField("items.items[7].document.document.vector",
                                      "items.items[7].document.document.vector[2] is NaN"));
  const LoadReport report = Run(records);
  EXPECT_EQ(report.loaded, 28);
  EXPECT_EQ(report.failed, 2);
  EXPECT_THAT(errors_, ::testing::HasSubstr("docs.jsonl: line 5: parse error at column 3\n"));
  EXPECT_THAT(errors_,
              ::testing::HasSubstr("docs.jsonl: line 18: INVALID_ARGUMENT: vector[2] is NaN\n"));
}

TEST_F(LoaderTest, ToldErrorsAreCappedAndCounted) {
  std::vector<Record> records = Numbered(50);
  for (Record& record : records) record.error = "bad";
  options_.max_errors = 3;
  const LoadReport report = Run(records);
  EXPECT_EQ(report.failed, 50);
  EXPECT_THAT(errors_, ::testing::HasSubstr("and 47 more"));
  EXPECT_EQ(std::count(errors_.begin(), errors_.end(), '\n'), 4);
}

TEST_F(LoaderTest, FailFastStopsAtTheFirstAndLoadsWhatStandsBefore) {
  std::vector<Record> records = Numbered(5'000);
  records[25].error = "bad";
  options_.fail_fast = true;
  const LoadReport report = Run(records);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.loaded, 25);
  EXPECT_EQ(server_.Documents().size(), 25u);
}

TEST_F(LoaderTest, AnIllegalIdDoesNotHideTheOthersOfItsBatch) {
  ASSERT_EQ(Run(Numbered(5)).loaded, 5);
  std::vector<Record> records = Numbered(8);
  records[7].document.id = "";  // the server refuses to look it up
  server_.FailDocument("", BadField("documents[2].id", "id is empty"));
  const LoadReport report = Run(records);
  EXPECT_EQ(report.skipped, 5);
  EXPECT_EQ(report.loaded, 2);
  EXPECT_EQ(report.failed, 1);
  EXPECT_THAT(errors_, ::testing::HasSubstr("line 8: INVALID_ARGUMENT: id is empty"));
}

TEST_F(LoaderTest, TheSameIdTwiceKeepsTheFirstOrWithOverwriteTheLast) {
  std::vector<Record> records = Numbered(200);
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].document.id = std::to_string(i % 7);
    records[i].document.text = std::to_string(i);
  }
  LoadReport report = Run(records);
  EXPECT_EQ(report.loaded, 7);
  EXPECT_EQ(report.skipped, 193);
  for (const auto& [id, document] : server_.Documents()) EXPECT_EQ(document.text(), id);

  options_.overwrite = true;
  report = Run(records);
  EXPECT_EQ(report.loaded, 200);
  for (const auto& [id, document] : server_.Documents()) {
    EXPECT_GE(std::stoi(document.text()), 193);
    EXPECT_EQ(std::stoi(document.text()) % 7, std::stoi(id));
  }
}

TEST_F(LoaderTest, WaitsForAServerThatIsAway) {
  server_.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away"), 4);
  const LoadReport report = Run(Numbered(40));
  EXPECT_TRUE(report.status.ok()) << report.status.ToString();
  EXPECT_EQ(report.loaded, 40);
  EXPECT_EQ(report.failed, 0);
  EXPECT_THAT(errors_, ::testing::HasSubstr("waiting for the server (UNAVAILABLE: going away)"));
}

TEST_F(LoaderTest, GivesUpAfterTheTimeGivenAndSaysHowFarItCame) {
  options_.retry_for = std::chrono::milliseconds(300);
  server_.OnCall([this](const std::string& method) {
    if (method != "BatchGetDocuments" || server_.Calls(method) != 3) return;
    while (server_.Documents().size() < 20) std::this_thread::yield();
    server_.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"), 1'000'000);
  });
  const LoadReport report = Run(Numbered(500));
  EXPECT_EQ(report.status.code(), Code::kUnavailable);
  EXPECT_EQ(report.loaded, 20);
  EXPECT_EQ(report.last_line, 20);
}

TEST_F(LoaderTest, StopsAtOnceWhenTheCollectionIsGone) {
  server_.FailNext(grpc::Status(grpc::StatusCode::NOT_FOUND, "no collection"), 1'000);
  const LoadReport report = Run(Numbered(5'000));
  EXPECT_EQ(report.status.code(), Code::kNotFound);
  EXPECT_EQ(report.loaded, 0);
  EXPECT_LT(server_.Calls("BatchGetDocuments"), 20);
}

TEST_F(LoaderTest, AnInterruptFinishesWhatIsInFlightAndASecondRunGoesOn) {
  ListReader reader(Numbered(5'000));
  server_.OnCall([this](const std::string& method) {
    if (method == "IngestItems") interrupted_ = true;  // while items are in flight
  });
  LoadReport report = Run(reader);
  EXPECT_TRUE(report.interrupted);
  EXPECT_TRUE(report.status.ok());
  EXPECT_GE(report.loaded, 1);
  EXPECT_LE(report.loaded, 200);
  EXPECT_EQ(server_.finished(), 0);
  EXPECT_EQ(report.loaded, report.last_line);
  EXPECT_EQ(server_.Documents().size(), static_cast<size_t>(report.loaded));

  server_.OnCall(nullptr);
  interrupted_ = false;
  const int64_t before = report.loaded;
  report = Run(Numbered(5'000));
  EXPECT_EQ(report.skipped, before);
  EXPECT_EQ(report.loaded, 5'000 - before);
}

TEST_F(LoaderTest, ARunWithTheSameTokenGoesOnWhereTheLastWasBrokenOff) {
  options_.resume_token = "my load";
  options_.overwrite = true;
  server_.OnCall([this](const std::string& method) {
    if (method == "IngestItems" && server_.ingested() >= 300) interrupted_ = true;
  });
  LoadReport report = Run(Numbered(5'000));
  EXPECT_TRUE(report.interrupted);
  const int64_t before = report.loaded;
  EXPECT_EQ(report.last_line, before);
  EXPECT_LT(before, 5'000);

  server_.OnCall(nullptr);
  interrupted_ = false;
  report = Run(Numbered(5'000));
  EXPECT_TRUE(report.status.ok()) << report.status.ToString();
  EXPECT_EQ(server_.last_start().resume_token(), "my load");
  EXPECT_EQ(report.resumed, before);
  EXPECT_EQ(report.loaded, 5'000 - before);
  EXPECT_EQ(server_.ingested(), 5'000);  // each once
  EXPECT_THAT(errors_, ::testing::HasSubstr("going on with a load of docs.jsonl"));

  // It came to its end, so the next begins anew.
  report = Run(Numbered(10));
  EXPECT_EQ(report.resumed, 0);
  EXPECT_EQ(report.loaded, 10);
}

TEST_F(LoaderTest, ABrokenConnectionLosesNothingAndRepeatsNothing) {
  for (const bool overwrite : {false, true}) {
    options_.overwrite = overwrite;
    const int before = server_.ingested();
    server_.BreakIngestAfter(25);
    const LoadReport report = Run(Numbered(400));
    EXPECT_TRUE(report.status.ok()) << report.status.ToString();
    EXPECT_EQ(report.loaded, 400);
    EXPECT_EQ(server_.ingested() - before, 400);
  }
}

}  // namespace
}  // namespace vecino::cli
