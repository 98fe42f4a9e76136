// How the command line tells how a search was answered.
#include "client/cli/explanation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <string>

namespace vecino::cli {
namespace {

using std::chrono::microseconds;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

SearchResponse Response() {
  SearchResponse response;
  response.effort = {.effective_nprobe = 3,
                     .effective_ef = 40,
                     .rows_scanned = 12'345,
                     .rows_rescored = 67,
                     .expected_recall = 0.9625,
                     .exact = false,
                     .shortfall_reason = ""};
  SearchExplanation explanation;
  explanation.shards = {{.shard = 0,
                         .plan = "2 segments\x1b[2J",
                         .nprobe = 3,
                         .nlist = 70,
                         .ef = 40,
                         .rows_scanned = 12'000,
                         .rows_reranked = 110,
                         .rows_rescored = 60,
                         .passing_rows = 1'500,
                         .expected_recall = 0.9625},
                        {.shard = 1, .plan = "its tail", .rows_scanned = 345}};
  explanation.selectivity = 0.0125;
  explanation.recall_target = 0.95;
  explanation.stages = {{"filter", microseconds(200)}, {"scan", microseconds(1'500)}};
  response.explanation = explanation;
  return response;
}

std::string Printed(const SearchResponse& response, int width = 0) {
  std::ostringstream out;
  PrintExplanation(response, out, width);
  return out.str();
}

TEST(ExplanationTest, ForPeople) {
  const std::string text = Printed(Response());
  EXPECT_THAT(text, ContainsRegex("\nSHARD  MAY BE FOUND  SCANNED  EXPECTED  PLAN\n"));
  // What would move the cursor does not.
  EXPECT_THAT(text, ContainsRegex("\n +0 +1,500 +12,000 +0\\.96[23] +2 segments \\[2J\n"));
  EXPECT_THAT(text, ContainsRegex("\n +1 +0 +345 +0\\.000 +its tail\n"));
  EXPECT_THAT(text, HasSubstr("  looked at  12,345 rows, 67 of them again by full vectors; the "
                              "filter lets 1.25% pass\n"));
  EXPECT_THAT(text, ContainsRegex("\n  recall     0\\.96[23] expected for a target of 0\\.950\n"));
  EXPECT_THAT(text, HasSubstr("\n  time       filter 0.2 ms, scan 1.5 ms\n"));
  EXPECT_THAT(text, Not(HasSubstr("verified")));
  EXPECT_THAT(text, Not(HasSubstr("fewer than asked for")));
}

TEST(ExplanationTest, WhatIsExactOrVerifiedOrTooLittleIsSaid) {
  SearchResponse response = Response();
  response.explanation->verified_recall = 0.9;
  EXPECT_THAT(Printed(response), HasSubstr("for a target of 0.950; verified: 0.900\n"));
  // The caller's own parameters.
  response.explanation->recall_target = 0;
  EXPECT_THAT(Printed(response),
              ContainsRegex("recall     0\\.96[23] expected; verified: 0\\.900\n"));
  response.effort.exact = true;
  EXPECT_THAT(Printed(response), HasSubstr("recall     exact: every document that may be found was "
                                           "compared; verified: 0.900\n"));
  for (const char* reason : {"no_more_documents", "parameters", "candidates"}) {
    response.effort.shortfall_reason = reason;
    EXPECT_THAT(Printed(response),
                HasSubstr("\n  fewer than asked for: " + std::string(reason) + "\n"));
  }
  // Of words alone, without a filter.
  response.explanation->shards.clear();
  response.explanation->selectivity = 1;
  const std::string words = Printed(response);
  EXPECT_THAT(words, Not(HasSubstr("SHARD")));
  EXPECT_THAT(words, Not(HasSubstr("the filter")));
}

TEST(ExplanationTest, ForPrograms) {
  SearchResponse response = Response();
  const Json expected = Json::parse(R"({"explanation": {
    "effective_nprobe": 3, "effective_ef": 40, "rows_scanned": 12345, "rows_rescored": 67,
    "expected_recall": 0.9625, "exact": false, "selectivity": 0.0125, "recall_target": 0.95,
    "stages": {"filter": 200, "scan": 1500},
    "shards": [
      {"shard": 0, "plan": "2 segments\u001b[2J", "nprobe": 3, "nlist": 70, "ef": 40,
       "rows_scanned": 12000, "rows_reranked": 110, "rows_rescored": 60, "passing_rows": 1500,
       "expected_recall": 0.9625},
      {"shard": 1, "plan": "its tail", "nprobe": 0, "nlist": 0, "ef": 0, "rows_scanned": 345,
       "rows_reranked": 0, "rows_rescored": 0, "passing_rows": 0, "expected_recall": 0.0}]}})");
  EXPECT_EQ(ExplanationJson(response), expected);

  response.effort.exact = true;
  response.effort.shortfall_reason = "candidates";
  response.explanation->verified_recall = 0;
  const Json json = ExplanationJson(response)["explanation"];
  EXPECT_EQ(json["exact"], true);
  EXPECT_EQ(json["shortfall_reason"], "candidates");
  ASSERT_TRUE(json.contains("verified_recall"));
  EXPECT_EQ(json["verified_recall"], 0);
}

}  // namespace
}  // namespace vecino::cli
