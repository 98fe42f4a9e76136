// How the command line prints: tables, widths, figures, progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <sstream>

#include "client/cli/collection_stats.h"
#include "client/cli/format.h"
#include "client/cli/json_values.h"
#include "client/cli/operation_text.h"
#include "client/cli/progress.h"
#include "client/cli/recall_text.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

using std::chrono::duration;

TEST(TerminalTest, PrintableTakesTheTeethOutOfAText) {
  EXPECT_EQ(Printable("a\x1b[2Jb\nc\td\x7f"), "a [2Jb c d ");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "é\xE2\x80\xAE"
                      "x"),
            " é x");
  EXPECT_EQ(Printable("a\xFF"
                      "b\xE2\x82"),
            "a\uFFFDb\uFFFD\uFFFD");
}

TEST(TerminalTest, WidthsFollowTheTerminal) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  EXPECT_EQ(DisplayWidth("aé日本"), 6);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  EXPECT_EQ(CutToWidth("chess", 5), "chess");
  EXPECT_EQ(CutToWidth("chess", 4), "che…");
  EXPECT_EQ(CutToWidth("日本語", 5), "日本…");
  EXPECT_EQ(CutToWidth("日本語", 4), "日…");
  EXPECT_EQ(CutToWidth("x", 0), "");
}

TEST(TableTest, CutsTheLastColumnToTheWidth) {
  Table table({{"SCORE", Table::Align::kRight}, {"ID"}, {"TEXT"}});
  table.AddRow({"0.61", "gnuchess", "plays a game of chess against the user"});
  table.AddRow({"-0.5", "x", "short\nline"});
  std::ostringstream narrow;
  table.Print(narrow, 36);
  EXPECT_EQ(narrow.str(),
            "SCORE  ID        TEXT\n"
            " 0.61  gnuchess  plays a game of ch…\n"
            " -0.5  x         short line\n");
  std::ostringstream wide;
  table.Print(wide, 0);
  EXPECT_THAT(wide.str(), ::testing::HasSubstr("chess against the user\n"));
  std::ostringstream empty;
  Table({{"A"}}).Print(empty, 80);
  EXPECT_EQ(empty.str(), "");
}

TEST(FormatTest, Figures) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(117'659), "117,659");
  EXPECT_EQ(WithCommas(-1'000'000), "-1,000,000");
  EXPECT_EQ(WithCommas(-100), "-100");
  EXPECT_EQ(Counted(1, "finding"), "1 finding");
  EXPECT_EQ(Counted(1'200, "finding"), "1,200 findings");
  EXPECT_EQ(Bytes(1'023), "1023 B");
  EXPECT_EQ(Bytes(3 << 19), "1.5 MiB");
  EXPECT_EQ(Duration(duration<double>(0.0031)), "3.1 ms");
  EXPECT_EQ(Duration(duration<double>(125)), "2 min 05 s");
  EXPECT_EQ(ClockTime(duration<double>(65)), "01:05");
  EXPECT_EQ(ClockTime(duration<double>(3'725)), "1:02:05");
  EXPECT_EQ(Rfc3339({}), "");
  EXPECT_EQ(Rfc3339(std::chrono::system_clock::time_point(std::chrono::seconds(86'400))),
            "1970-01-02T00:00:00Z");
}

TEST(FormatTest, DocumentsAsJson) {
  const Document document{.id = "a",
                          .text = "bad \xff byte",
                          .metadata_json = R"({"b":1,"a":[true]})",
                          .vector = {0.5, 1},
                          .version = 3};
  EXPECT_EQ(OneLine(DocumentJson(document)),
            "{\"id\":\"a\",\"text\":\"bad \uFFFD byte\",\"metadata\":{\"b\":1,\"a\":[true]},"
            "\"vector\":[0.5,1.0]}");
  EXPECT_EQ(OneLine(DocumentJson({.id = "only"})), "{\"id\":\"only\"}");
  EXPECT_THAT(OneLine(StoredDocumentJson(document)), ::testing::HasSubstr("\"version\":3"));
}

TEST(FormatTest, FloatsReadBackTheSame) {
  // Shortest digits of the float, not of the double it becomes.
  const Json json = DocumentJson({.id = "a", .vector = {0.1F, 1.0F / 3}});
  Json parsed;
  std::string error;
  ASSERT_TRUE(ParseJson(OneLine(json), &parsed, &error)) << error;
  std::vector<float> vector;
  ASSERT_TRUE(ToVector(parsed["vector"], &vector, &error));
  EXPECT_EQ(vector, (std::vector<float>{0.1F, 1.0F / 3}));
}

CollectionStats SomeStats() {
  CollectionStats stats;
  stats.live_documents = 1'500;
  stats.segments = 4;
  stats.segment_bytes = 4'096;
  stats.field_bytes = 3'072;
  stats.memory = {
      .codes = 1'024, .rounded = 1'024, .vectors = 1'024, .labels = 1'024, .mapped = 2'048};
  ShardStats& trained = stats.shards.emplace_back();
  trained.live_documents = 1'500;
  trained.segments = 4;
  trained.field_bytes = 3'072;
  trained.segment_stats = {{.kind = "IVF+GRAPH", .rows = 1'000, .generation = 3},
                           {.kind = "FLAT", .rows = 100},
                           {.kind = "FLAT", .rows = 100}};
  trained.generation = {.generation = 3,
                        .trained_rows = 1'400,
                        .calibrated_rows = 1'500,
                        .nlist = 64,
                        .nprobe = 9,
                        .imbalance = 1.333};
  trained.drift = {{.name = "growth", .value = 2.63, .limit = 2.5, .due = true},
                   {.name = "deleted_share", .value = 0, .limit = 0.2},
                   {.name = "recall", .value = 0, .limit = 0}};
  trained.last_choice = "trained 64 lists: grown\x1b";
  trained.recall.live = RecallEstimate{.recall = 0.953,
                                       .lower = 0.941,
                                       .upper = 0.962,
                                       .samples = 1'000,
                                       .enough = true,
                                       .source = "live",
                                       .recall_target = 0.95,
                                       .newest_sample_time = std::chrono::system_clock::now()};
  stats.recall.live = trained.recall.live;
  RecallEstimate few = *stats.recall.live;
  few.samples = 49;
  few.enough = false;
  stats.recall.stored_documents = few;
  few.min_k = 2;
  few.max_k = 10;
  few.above_share = 0.001;
  few.up_to_share = 0.01;
  stats.recall.by_kind = {few, *stats.recall.live};
  stats.recall.by_kind[1].min_k = stats.recall.by_kind[1].max_k = 1;
  stats.recall.by_kind[1].above_share = 0.5;
  stats.shards.emplace_back().shard = 1;
  stats.waiting_tails = stats.shards[1].waiting_tails = 3;
  stats.index_lag = stats.shards[1].index_lag = std::chrono::milliseconds(2'500);
  return stats;
}

TEST(StatsTest, RecallForPeople) {
  std::ostringstream out;
  PrintStats(out, "notes", SomeStats(), 0);
  EXPECT_THAT(out.str(),
              ::testing::ContainsRegex(
                  "  recall        0\\.953 \\(0\\.941 to 0\\.962\\), 1,000 searches, the "
                  "latest .* ago; the target is 0\\.950\n"));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("    of stored documents not enough: 49 searches "
                                              "measured of the 50 it takes\n"));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex(" 2 to 10 +0\\.1% to 1% +49  not enough"));
  EXPECT_THAT(out.str(),
              ::testing::ContainsRegex(" 1 +50% to 100% +1,000  0\\.953 \\(0\\.941 to 0\\.962\\)"));
  std::ostringstream without;
  PrintStats(without, "notes", {}, 0);
  EXPECT_THAT(without.str(), ::testing::HasSubstr("  recall        not enough: 0 searches"));
}

TEST(StatsTest, RecallForPrograms) {
  const Json json = StatsJson("notes", SomeStats())["recall"];
  EXPECT_EQ(json["live"]["recall"], 0.953);
  EXPECT_EQ(json["live"]["samples"], 1'000);
  EXPECT_EQ(json["stored_documents"]["enough"], false);
  EXPECT_EQ(json["by_kind"][0]["max_k"], 10);
  EXPECT_EQ(StatsJson("notes", {})["recall"], (Json{{"by_kind", Json::array()}}));
}

TEST(StatsTest, ForPeople) {
  std::ostringstream out;
  PrintStats(out, "notes", SomeStats(), 0);
  EXPECT_THAT(out.str(),
              ::testing::HasSubstr("  segments      4, 4.0 KiB\n    codes       1.0 KiB\n"));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("mapped files 2.0 KiB\n  fields        3.0 KiB\n"));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex(
                             " 0 +1,500 .* 3 +1,400 +64 +9 +1\\.33 +0\\.953 +2 FLAT, IVF.GRAPH\n"));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex("\n +1 +0 .* - +- +- +- +- +- *\n"));
  EXPECT_THAT(out.str(),
              ::testing::ContainsRegex("\n +0 +2\\.63 of 2\\.5! +- +- +- +0 of 0\\.2 +- *\n"));
  EXPECT_THAT(out.str(), ::testing::EndsWith("  shard 0: trained 64 lists: grown \n"));
}

TEST(StatsTest, LagForPeople) {
  std::ostringstream out;
  PrintStats(out, "notes", SomeStats(), 0);
  EXPECT_THAT(out.str(),
              ::testing::HasSubstr(" rows, 0 B; full tails waiting: 3, the oldest for 2.5 s\n"));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex("TAIL ROWS +LAG"));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex("\n +1 +0 +0 +0 +2\\.5 s +0 "));
  EXPECT_THAT(out.str(), ::testing::ContainsRegex("\n +0 +1,500 +0 +0 +- +4 "));
  std::ostringstream without;
  PrintStats(without, "notes", {}, 0);
  EXPECT_THAT(without.str(), ::testing::HasSubstr(" rows, 0 B\n"));
}

TEST(StatsTest, ForPrograms) {
  const Json json = StatsJson("notes", SomeStats());
  EXPECT_EQ(json["waiting_tails"], 3);
  EXPECT_EQ(json["index_lag_seconds"], 2.5);
  EXPECT_EQ(json["shards"][1]["waiting_tails"], 3);
  EXPECT_EQ(json["shards"][1]["index_lag_seconds"], 2.5);
  EXPECT_EQ(json["shards"][0]["index_lag_seconds"], 0);
  EXPECT_EQ(json["segment_memory"]["mapped_bytes"], 2'048);
  EXPECT_EQ(json["field_bytes"], 3'072);
  EXPECT_EQ(json["shards"][0]["field_bytes"], 3'072);
  EXPECT_EQ(json["shards"][0]["segment_stats"][0]["kind"], "IVF+GRAPH");
  EXPECT_EQ(json["shards"][0]["generation"]["nprobe"], 9);
  EXPECT_EQ(json["shards"][0]["generation"]["calibrated_rows"], 1'500);
  EXPECT_FALSE(json["shards"][1].contains("generation"));
  EXPECT_EQ(json["shards"][0]["drift"][0]["name"], "growth");
  EXPECT_EQ(json["shards"][0]["drift"][0]["due"], true);
}

TEST(OperationTextTest, StatesAndProgress) {
  Operation operation{
      .id = "7",
      .collection = "c",
      .shards = {{.shard = 0, .stage = "done", .done = true},
                 {.shard = 2, .stage = "encoding", .rows_done = 45, .rows_total = 100},
                 {.shard = 3, .stage = "waiting"}}};
  EXPECT_EQ(OperationState(operation), "running");
  EXPECT_EQ(OperationProgress(operation), "1 of 3 shards, 2 encoding 45%, 3 waiting");
  operation.cancel_requested = true;
  EXPECT_EQ(OperationState(operation), "cancelling");
  operation.done = true;
  operation.status = Status(Code::kCancelled, "stopped");
  EXPECT_EQ(OperationState(operation), "cancelled");
  EXPECT_EQ(OperationJson(operation)["error"], "CANCELLED: stopped");
  operation.status = Status(Code::kResourceExhausted, "no room");
  EXPECT_EQ(OperationState(operation), "failed");
  operation.status = Status();
  EXPECT_EQ(OperationState(operation), "done");
  EXPECT_EQ(OperationJson(operation)["shards"][1]["rows_total"], 100);
  EXPECT_FALSE(OperationJson(operation).contains("error"));
  operation.estimate = {.rows = 5, .duration = std::chrono::milliseconds(2'500)};
  EXPECT_EQ(OperationJson(operation)["estimate"]["seconds"], 2.5);
}

TEST(OperationTextTest, RetrainsTellTheirFigures) {
  Operation operation{
      .id = "7",
      .collection = "c",
      .shards = {{.shard = 0, .stage = "catching up", .rows_done = 301, .rows_total = 1'204},
                 {.shard = 1,
                  .stage = "validating",
                  .recall_before = 0.941,
                  .recall_after = 0.968,
                  .rows_scanned_before = 10'312,
                  .rows_scanned_after = 9'204}}};
  EXPECT_EQ(
      OperationProgress(operation),
      "0 of 2 shards, 0 catching up 1,204 25%, 1 validating (recall old 0.941 new 0.968, rows "
      "compared old 10,312 new 9,204)");
  EXPECT_EQ(OutcomeFigures(operation.shards[0]), "");
  operation.shards[1].outcome = "rejected";
  operation.shards[1].reason = "worse";
  const Json json = OperationJson(operation);
  EXPECT_EQ(json["shards"][1]["outcome"], "rejected");
  EXPECT_EQ(json["shards"][1]["reason"], "worse");
  EXPECT_EQ(json["shards"][1]["recall_after"], 0.968);
  EXPECT_FALSE(json["shards"][0].contains("outcome"));
}

TEST(TuningTextTest, TableAndJson) {
  IndexTuning tuning;
  tuning.points = {{.breadth = 1'003, .recall = 0.875, .p50 = std::chrono::microseconds(1'500)},
                   {.recall = 1, .exact = true}};
  tuning.recall_target = 0.95;
  std::ostringstream none;
  PrintTuning(none, tuning, 0);
  EXPECT_THAT(none.str(), ::testing::HasSubstr("no setting is sure to reach recall 0.950"));
  tuning.recommended = tuning.points[1];
  std::ostringstream out;
  PrintTuning(out, tuning, 0);
  EXPECT_THAT(out.str(), ::testing::HasSubstr("1,003"));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("1.5 ms"));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("for recall 0.950"));
  EXPECT_THAT(out.str(), ::testing::Not(::testing::HasSubstr("no setting")));
  const Operation operation{.id = "7", .type = Operation::Type::kTune, .tuning = tuning};
  const Json json = OperationJson(operation);
  EXPECT_EQ(json["type"], "tune");
  EXPECT_EQ(json["tuning"]["points"][0]["p50_us"], 1'500);
  EXPECT_EQ(json["tuning"]["recommended"]["exact"], true);
}

TEST(ProgressTest, NothingFollowsFromAPause) {
  using std::chrono::milliseconds, std::chrono::seconds;
  Progress progress("packages", 1'000'000, /*quiet=*/true);
  const Progress::Clock::time_point start = Progress::Clock::now() + seconds(1);
  for (int i = 0; i < 20; ++i) progress.Update(i * 1'000, i * 100, start + seconds(i));
  EXPECT_THAT(progress.Line(seconds(20), 0), ::testing::HasSubstr("  100 docs/s  16:21 left"));
  // A minute later answers come, those that waited all at once.
  for (int i = 0; i < 3; ++i) {
    progress.Update(20'000 + i, 2'000 + i, start + seconds(80) + milliseconds(i));
    EXPECT_THAT(progress.Line(seconds(81), 0), ::testing::EndsWith(" docs")) << i;
  }
  progress.Update(22'000, 2'200, start + seconds(82));
  EXPECT_THAT(progress.Line(seconds(83), 0), ::testing::HasSubstr("  100 docs/s  16:18 left"));
}

TEST(ProgressTest, NoTimeLeftAtHardlyAnyRate) {
  Progress progress("packages", 1'000, /*quiet=*/true);
  progress.Update(1, 1, Progress::Clock::now() + std::chrono::seconds(10));
  EXPECT_THAT(progress.Line(std::chrono::seconds(10), 0), ::testing::EndsWith("1 docs  0 docs/s"));
}

TEST(ProgressTest, BarWithPercentRateAndTimeLeft) {
  Progress progress("packages", 1'000, /*quiet=*/true);
  progress.Update(250, 5'000);
  const std::string bar = progress.Line(std::chrono::seconds(1), 100);
  EXPECT_THAT(bar, ::testing::StartsWith("packages  [======"));
  EXPECT_THAT(bar, ::testing::HasSubstr(" 25%  5,000 docs"));
  EXPECT_THAT(bar, ::testing::HasSubstr("docs/s"));
  EXPECT_THAT(bar, ::testing::EndsWith("left"));
  EXPECT_LE(DisplayWidth(bar), 100);
  EXPECT_LE(DisplayWidth(progress.Line(std::chrono::seconds(1), 30)), 30);
  EXPECT_THAT(progress.Line(std::chrono::seconds(1), 0), ::testing::Not(::testing::HasSubstr("[")));
}

TEST(ProgressTest, UnknownSizeHasNoPercent) {
  Progress progress("packages", -1, /*quiet=*/true);
  progress.Update(250, 1'234);
  const std::string line = progress.Line(std::chrono::seconds(65), 80);
  EXPECT_THAT(line, ::testing::HasSubstr("1,234 docs"));
  EXPECT_THAT(line, ::testing::EndsWith("01:05"));
  EXPECT_THAT(line, ::testing::Not(::testing::HasSubstr("%")));
}

}  // namespace
}  // namespace vecino::cli
