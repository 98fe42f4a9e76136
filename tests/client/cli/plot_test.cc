// The plot that `vecino bench` writes.
#include "client/cli/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace vecino::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(PlotTest, DrawsALineWithAMarkAtEachPointAndALegend) {
  const std::string svg = RecallPlotSvg(
      "my notes", {{"hnsw", {{0.99, 1000}, {0.9, 4000}, {0.95, 2000}}}, {"flat", {{1, 50}}}});
  // Axes: recall .9 to 1 over 80 to 690, 10 to 10,000 queries a second over 450 to 50.
  EXPECT_THAT(svg, HasSubstr("points=\"80.0,103.1 385.0,143.2 629.0,183.3\""));
  EXPECT_THAT(svg, HasSubstr("<circle cx=\"690.0\" cy=\"356.8\""));
  EXPECT_EQ(Count(svg, "<polyline"), 1u);     // one point makes no line
  EXPECT_EQ(Count(svg, "<circle"), 4u + 2u);  // points and legend
  EXPECT_THAT(svg, HasSubstr(">hnsw</text>"));
  EXPECT_THAT(svg, HasSubstr(">my notes</text>"));
  EXPECT_THAT(svg, HasSubstr(">0.95</text>"));
  EXPECT_THAT(svg, HasSubstr(">5000</text>"));
  EXPECT_THAT(svg, Not(HasSubstr(">20000</text>")));
}

TEST(PlotTest, TextsAreEscaped) {
  const std::string svg = RecallPlotSvg("a<b>&\x01", {{"\"<k>\"\xFF", {}}});
  EXPECT_THAT(svg, HasSubstr(">a&lt;b&gt;&amp; </text>"));
  EXPECT_THAT(svg, HasSubstr(">\"&lt;k&gt;\"\uFFFD</text>"));
}

TEST(PlotTest, LeavesOutWhatHasNoPlace) {
  EXPECT_EQ(Count(RecallPlotSvg("t", {}), "<circle"), 0u);
  const std::string svg = RecallPlotSvg("t", {{"k", {{0.5, 0}, {NAN, 10}, {0.5, INFINITY}}}});
  EXPECT_EQ(Count(svg, "<circle"), 1u);  // the legend's
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace vecino::cli
