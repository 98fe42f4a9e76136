#include "server/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace vecino {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Result = SseParser::Result;

// The events of `stream`, fed in pieces of `size` bytes after the first `offset`.
std::vector<std::string> Parse(std::string_view stream, size_t size, size_t offset = 0) {
  SseParser parser(1 << 20);
  std::vector<std::string> events;
  const auto event = [&](std::string_view data) {
    events.emplace_back(data);
    return true;
  };
  EXPECT_EQ(parser.Feed(stream.substr(0, offset), event), Result::kMore);
  for (size_t at = offset; at < stream.size(); at += size) {
    EXPECT_EQ(parser.Feed(stream.substr(at, size), event), Result::kMore);
  }
  EXPECT_EQ(parser.End(event), Result::kMore);
  return events;
}

TEST(SseParserTest, AnyCutGivesTheSame) {
  const std::string lines[] = {"data: one",
                               "",
                               ": a comment",
                               "event: message",
                               "data:two",
                               "data:  with a space",
                               "id: 7",
                               "",
                               "",
                               "retry: 100",
                               "data: é猫 data: x",
                               "dataset: no",
                               "data",
                               "",
                               "data: [DONE]",
                               ""};
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    for (const std::string start : {"", "\xEF\xBB\xBF"}) {
      std::string stream = start;
      for (const std::string& line : lines) stream += line + end;
      for (size_t offset = 0; offset <= stream.size(); ++offset) {
        ASSERT_THAT(Parse(stream, stream.size(), offset),
                    ElementsAre("one", "two\n with a space", "é猫 data: x\n", "[DONE]"))
            << offset;
      }
      for (size_t size = 1; size < 20; ++size) {
        ASSERT_THAT(Parse(stream, size),
                    ElementsAre("one", "two\n with a space", "é猫 data: x\n", "[DONE]"));
      }
    }
  }
}

TEST(SseParserTest, MixedLineEnds) {
  EXPECT_THAT(Parse("data: a\r\n\ndata: b\r\r\ndata: c\n\r", 1), ElementsAre("a", "b", "c"));
}

TEST(SseParserTest, TheEndOfTheStream) {
  EXPECT_THAT(Parse("data: a\n", 3), ElementsAre("a"));  // the empty line is missing
  EXPECT_THAT(Parse("data: a\n\ndata: half", 3), ElementsAre("a"));
  EXPECT_THAT(Parse("", 1), IsEmpty());
  EXPECT_THAT(Parse("\n\n\r\n", 1), IsEmpty());
  EXPECT_THAT(Parse("data:\n\n", 1), ElementsAre(""));
}

TEST(SseParserTest, StopsWhenNoMoreIsWanted) {
  SseParser parser(1000);
  int events = 0;
  const auto event = [&](std::string_view) { return ++events < 2; };
  EXPECT_EQ(parser.Feed("data: a\n\ndata: b\n\ndata: c\n\n", event), Result::kStopped);
  EXPECT_EQ(events, 2);
}

TEST(SseParserTest, LongLinesAndEventsAreRefusedWithoutBeingKept) {
  const auto event = [](std::string_view) { return true; };
  for (const char* front : {"data: ", ": comment ", ""}) {
    SseParser parser(1000);
    ASSERT_EQ(parser.Feed(front, event), Result::kMore);
    int fed = 0;
    Result result = Result::kMore;
    while (result == Result::kMore && fed < 100) {
      result = parser.Feed(std::string(100, 'x'), event);
      ++fed;
    }
    EXPECT_EQ(result, Result::kTooLong);
    EXPECT_LE(fed, 11);
  }
  SseParser lines(1000);  // many lines of one event
  Result result = Result::kMore;
  int fed = 0;
  while (result == Result::kMore && fed < 1000) {
    result = lines.Feed("data: 123456789\n", event);
    ++fed;
  }
  EXPECT_EQ(result, Result::kTooLong);
  EXPECT_LE(fed, 101);
  SseParser good(1000);  // an event after the other may be as long again
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(good.Feed("data: " + std::string(900, 'x') + "\n\n", event), Result::kMore);
  }
}

}  // namespace
}  // namespace vecino
