#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <sstream>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace vecino {
namespace {

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double amount) override { counter_.Increment(amount); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

prometheus::Histogram::BucketBoundaries LatencyBuckets() {
  return {50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3,
          50e-3, 100e-3, 200e-3, 500e-3, 1,    2,    5,    10,    30};
}

class PrometheusMetrics final : public Metrics {
 public:
  Counter& counter(std::string_view name, std::string_view help,
                   const MetricLabels& labels) override {
    // The registry merges families of one name and metrics of equal labels.
    prometheus::Counter& counter = prometheus::BuildCounter()
                                       .Name(std::string(name))
                                       .Help(std::string(help))
                                       .Register(registry_)
                                       .Add({labels.begin(), labels.end()});
    absl::MutexLock lock(&mutex_);
    auto& mine = counters_[&counter];
    if (mine == nullptr) mine = std::make_unique<PrometheusCounter>(counter);
    return *mine;
  }

  Histogram& latency(std::string_view name, std::string_view help,
                     const MetricLabels& labels) override {
    prometheus::Histogram& histogram = prometheus::BuildHistogram()
                                           .Name(std::string(name))
                                           .Help(std::string(help))
                                           .Register(registry_)
                                           .Add({labels.begin(), labels.end()}, LatencyBuckets());
    absl::MutexLock lock(&mutex_);
    auto& mine = histograms_[&histogram];
    if (mine == nullptr) mine = std::make_unique<PrometheusHistogram>(histogram);
    return *mine;
  }

  void gauge(std::string_view name, std::string_view help, const MetricLabels& labels,
             std::function<double()> read) override {
    AddCallback(prometheus::MetricType::Gauge, name, help, labels, std::move(read));
  }

  void counter_from(std::string_view name, std::string_view help, const MetricLabels& labels,
                    std::function<double()> read) override {
    AddCallback(prometheus::MetricType::Counter, name, help, labels, std::move(read));
  }

  void gauges(std::string_view name, std::string_view help, std::function<Series()> read) override {
    absl::MutexLock lock(&callback_mutex_);
    CallbackFamily& family = callbacks_[std::string(name)];
    family.help = std::string(help);
    family.all = std::move(read);
  }

  void RemoveCallbacks() override {
    absl::MutexLock lock(&callback_mutex_);
    callbacks_.clear();
  }

  std::string Expose() const override {
    std::vector<prometheus::MetricFamily> families = registry_.Collect();
    {
      absl::MutexLock lock(&callback_mutex_);
      for (const auto& [name, callback] : callbacks_) {
        prometheus::MetricFamily family{name, callback.help, callback.type, {}};
        const auto add = [&](const MetricLabels& labels, double value) {
          prometheus::ClientMetric& metric = family.metric.emplace_back();
          for (const auto& [key, text] : labels) metric.label.push_back({key, text});
          if (family.type == prometheus::MetricType::Counter) {
            metric.counter.value = value;
          } else {
            metric.gauge.value = value;
          }
        };
        for (const auto& [labels, read] : callback.series) add(labels, read());
        if (callback.all != nullptr) {
          for (const auto& [labels, value] : callback.all()) add(labels, value);
          if (family.metric.empty()) continue;
        }
        families.push_back(std::move(family));
      }
    }
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families);
    return std::move(out).str();
  }

 private:
  struct CallbackFamily {
    prometheus::MetricType type = prometheus::MetricType::Gauge;
    std::string help;
    std::map<MetricLabels, std::function<double()>> series;
    std::function<Series()> all;  // further ones
  };

  void AddCallback(prometheus::MetricType type, std::string_view name, std::string_view help,
                   const MetricLabels& labels, std::function<double()> read) {
    absl::MutexLock lock(&callback_mutex_);
    CallbackFamily& family = callbacks_[std::string(name)];
    family.type = type;
    family.help = std::string(help);
    family.series[labels] = std::move(read);
  }

  // Merge: asking for the same family twice is how its further series are made.
  prometheus::Registry registry_{prometheus::Registry::InsertBehavior::Merge};

  mutable absl::Mutex mutex_;
  std::map<prometheus::Counter*, std::unique_ptr<PrometheusCounter>> counters_
      ABSL_GUARDED_BY(mutex_);
  std::map<prometheus::Histogram*, std::unique_ptr<PrometheusHistogram>> histograms_
      ABSL_GUARDED_BY(mutex_);

  // Held while callbacks run, so that RemoveCallbacks returns only when none does.
  mutable absl::Mutex callback_mutex_;
  std::map<std::string, CallbackFamily> callbacks_ ABSL_GUARDED_BY(callback_mutex_);
};

}  // namespace

std::unique_ptr<Metrics> Metrics::Create() { return std::make_unique<PrometheusMetrics>(); }

}  // namespace vecino
