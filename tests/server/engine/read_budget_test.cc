// Replies that are too large are refused before they are read.
#include "server/engine/read_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <atomic>
#include <memory>

#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ReadBudgetTest, CountsCopiesUpToTheLimitExactly) {
  ReadBudget budget(100);
  EXPECT_TRUE(budget.Add(10, 3).ok());
  EXPECT_TRUE(budget.Add(1000, 0).ok());
  EXPECT_TRUE(budget.Add(70).ok());
  EXPECT_TRUE(budget.Add(0).ok());
  const absl::Status status = budget.Add(1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(IsOverBudget(status));
  EXPECT_FALSE(IsOverBudget(absl::ResourceExhaustedError("queue full")));
  EXPECT_THAT(std::string(status.message()), HasSubstr("100 bytes"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 fitted"));
  // No overflow, and those copies that fit are in the message.
  ReadBudget one(100);
  EXPECT_THAT(std::string(one.Add(30, ~size_t{0}).message()), HasSubstr("3 fitted"));
}

TEST(ReadBudgetTest, StepsFollowTheSizeOfDocuments) {
  ReadBudget budget(1000);
  EXPECT_EQ(budget.NextStep(), 16u);
  ASSERT_TRUE(budget.Add(1).ok());
  EXPECT_EQ(budget.NextStep(), 64u);
  ASSERT_TRUE(budget.Add(199).ok());  // 100 on average
  EXPECT_EQ(budget.NextStep(), 8u);
  ASSERT_TRUE(budget.Add(790).ok());
  EXPECT_EQ(budget.NextStep(), 1u);
}

class EngineBudgetTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    // The engine calls the store from its own thread too, and to the end of the base class.
    store_.fault = [reads = reads_](std::string_view operation) {
      if (operation == "GetDocuments") ++*reads;
      return absl::OkStatus();
    };
  }
  void Fill(int documents, size_t bytes, int shards) {
    Create("c", shards);
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < documents; ++i) {
      ids_.push_back(std::to_string(i));
      writes.push_back(Text(ids_.back(), std::string(bytes, 'x')));
    }
    for (const WriteResult& result : Upsert("c", std::move(writes)))
      ASSERT_TRUE(result.status.ok());
  }
  static void ExpectOverBudget(const absl::Status& status, const std::string& part) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(IsOverBudget(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }

  std::vector<std::string> ids_;
  std::shared_ptr<std::atomic<int>> reads_ = std::make_shared<std::atomic<int>>(0);
};

TEST_F(EngineBudgetTest, GetStopsReadingAtTheLimit) {
  Fill(100, 10000, 1);
  ExpectOverBudget(engine_->Get("c", ids_, {}, 55000).status(), "55000 bytes");
  EXPECT_EQ(*reads_, 1);  // 16 of 100 documents
  ExpectOverBudget(engine_->Get("c", ids_, {}, 55000).status(), "5 fitted");
  EXPECT_TRUE(engine_->Get("c", ids_, {}, 1010000).ok());
  EXPECT_TRUE(engine_->Get("c", ids_, {.text = false}, 55000).ok());
}

TEST_F(EngineBudgetTest, GetCountsOverAllShards) {
  Fill(100, 1000, 4);
  ExpectOverBudget(engine_->Get("c", ids_, {}, 90000).status(), "89 fitted");
  EXPECT_TRUE(engine_->Get("c", ids_, {}, 101000).ok());
}

TEST_F(EngineBudgetTest, GetOfSmallDocumentsTakesFewReads) {
  Fill(1000, 10, 1);
  const auto got = engine_->Get("c", ids_, {}, 4 << 20);
  ASSERT_TRUE(got.ok()) << got.status();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ((*got)[i]->id, ids_[i]);
  EXPECT_EQ(*reads_, 17);
}

TEST_F(EngineBudgetTest, GetReadsAnIdOnceAndCountsEveryCopy) {
  Fill(1, 1000, 2);
  std::vector<std::string> ids(1000, "0");
  ExpectOverBudget(engine_->Get("c", ids, {}, 10100).status(), "10 fitted");
  ids = {"0", "none", "0", "none", "0"};
  *reads_ = 0;
  const auto got = engine_->Get("c", ids, {}, 3 * 1001);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*reads_, 1);
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ((*got)[i].has_value(), i % 2 == 0);
    if (i % 2 == 0) {
      EXPECT_EQ((*got)[i]->text.size(), 1000u);
    }
  }
}

TEST_F(EngineBudgetTest, SearchStopsReadingAtTheLimit) {
  Fill(100, 10000, 1);
  SearchRequest request{.query = TextQuery{"q"}, .top_k = 100, .max_bytes = 55000};
  ExpectOverBudget(engine_->Search("c", request, {}).status(), "5 fitted");
  EXPECT_EQ(*reads_, 1);
  request.top_k = 5;
  EXPECT_EQ(Find("c", request).size(), 5u);
  // The document whose neighbours are wanted is not in the reply, so it does not count.
  request.query = DocumentQuery{"0"};
  request.top_k = 5;
  request.max_bytes = 5 * 10002;
  EXPECT_EQ(Find("c", request).size(), 5u);
}

TEST_F(EngineBudgetTest, ASearchThatMadeWritersWaitKeepsToTheLimit) {
  Create("c", 2);
  const auto replace = [&] { Upsert("c", {Text("a", "one"), Text("b", "two")}); };
  replace();
  int round = 0;
  store_.fault = [&](std::string_view operation) {
    // Both are gone when they are fetched, until writers have to wait.
    if (operation == "GetDocuments" && round < 8) {
      ++round;
      replace();
    }
    return absl::OkStatus();
  };
  SearchRequest request{.query = TextQuery{"one"}, .top_k = 2, .max_bytes = 7};
  ExpectOverBudget(engine_->Search("c", request, {}).status(), "1 fitted");
  round = 0;
  request.max_bytes = 8;
  EXPECT_THAT(Find("c", request), ElementsAre("a", "b"));
}

TEST_F(EngineBudgetTest, APageStartsWithADocumentOverTheLimitAlone) {
  Create("c", 1);
  Upsert("c", {Text("a", std::string(5000, 'x')), Text("b", "small"), Text("c", "small")});
  auto page = engine_->List("c", {}, 10, 1000, {});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->documents.size(), 1u);
  ASSERT_TRUE(page->next.has_value());
  page = engine_->List("c", *page->next, 10, 1000, {});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->documents.size(), 2u);
  EXPECT_FALSE(page->next.has_value());
}

}  // namespace
}  // namespace vecino::engine
