#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace vecino {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MetricsTest, CountersWithLabels) {
  const auto metrics = Metrics::Create();
  metrics->counter("vecino_x_total", "X.", {{"a", "1"}}).Add();
  metrics->counter("vecino_x_total", "X.", {{"a", "2"}}).Add(2.5);
  metrics->counter("vecino_x_total", "X.", {{"a", "1"}}).Add();
  const std::string text = metrics->Expose();
  EXPECT_THAT(text, HasSubstr("# HELP vecino_x_total X.\n# TYPE vecino_x_total counter\n"));
  EXPECT_THAT(text, HasSubstr("vecino_x_total{a=\"1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("vecino_x_total{a=\"2\"} 2.5\n"));
}

TEST(MetricsTest, SameNameAndLabelsGiveTheSameObject) {
  const auto metrics = Metrics::Create();
  EXPECT_EQ(&metrics->counter("a_total", "A."), &metrics->counter("a_total", "A."));
  EXPECT_NE(&metrics->counter("a_total", "A."), &metrics->counter("a_total", "A.", {{"l", "x"}}));
  EXPECT_EQ(&metrics->latency("b_seconds", "B."), &metrics->latency("b_seconds", "B."));
}

TEST(MetricsTest, LatencyBuckets) {
  const auto metrics = Metrics::Create();
  Histogram& histogram = metrics->latency("vecino_t_seconds", "T.");
  histogram.Observe(60e-6);
  histogram.Observe(100);
  const std::string text = metrics->Expose();
  EXPECT_THAT(text, HasSubstr("vecino_t_seconds_bucket{le=\"5e-05\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vecino_t_seconds_bucket{le=\"0.0001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("vecino_t_seconds_bucket{le=\"30\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("vecino_t_seconds_bucket{le=\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("vecino_t_seconds_count 2\n"));
}

TEST(MetricsTest, CallbacksAreReadWhenAskedAndDropped) {
  const auto metrics = Metrics::Create();
  double value = 1;
  metrics->gauge("vecino_g", "G.", {{"k", "v"}}, [&] { return value; });
  metrics->counter_from("vecino_c_total", "C.", {}, [&] { return value * 10; });
  value = 7;
  std::string text = metrics->Expose();
  EXPECT_THAT(text, HasSubstr("# TYPE vecino_g gauge\nvecino_g{k=\"v\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE vecino_c_total counter\nvecino_c_total 70\n"));
  metrics->RemoveCallbacks();
  EXPECT_THAT(metrics->Expose(), Not(HasSubstr("vecino_g")));
}

TEST(MetricsTest, AFamilyHasTheSeriesThereAreNow) {
  const auto metrics = Metrics::Create();
  Metrics::Series series;
  metrics->gauges("vecino_f", "F.", [&] { return series; });
  EXPECT_THAT(metrics->Expose(), Not(HasSubstr("vecino_f")));
  series = {{{{"c", "a"}}, 1}, {{{"c", "b\""}}, 0.5}};
  EXPECT_THAT(metrics->Expose(), HasSubstr("# HELP vecino_f F.\n# TYPE vecino_f gauge\n"
                                           "vecino_f{c=\"a\"} 1\nvecino_f{c=\"b\\\"\"} 0.5\n"));
  series.pop_back();
  EXPECT_THAT(metrics->Expose(), Not(HasSubstr("c=\"b")));
  metrics->RemoveCallbacks();
  EXPECT_THAT(metrics->Expose(), Not(HasSubstr("vecino_f")));
}

TEST(MetricsTest, ManyThreads) {
  const auto metrics = Metrics::Create();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) metrics->counter("vecino_m_total", "M.").Add();
      metrics->Expose();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics->Expose(), HasSubstr("vecino_m_total 4000\n"));
}

}  // namespace
}  // namespace vecino
