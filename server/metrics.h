// Counters, gauges and histograms of the whole process, in Prometheus' form.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vecino {

// A count that only rises. Thread safe, does not block.
class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Add(double amount = 1) = 0;
};

// A distribution. Thread safe; observing takes a short lock.
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
};

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// The registry. Thread safe. Families are named `vecino_…` with the unit last (`_seconds`,
// `_bytes`,
// `_total`). Returned references live as long as the registry; the same name and labels give the
// same object.
class Metrics {
 public:
  static std::unique_ptr<Metrics> Create();
  virtual ~Metrics() = default;

  virtual Counter& counter(std::string_view name, std::string_view help,
                           const MetricLabels& labels = {}) = 0;
  // Buckets for latencies: 50 µs to 30 s, about three per decade.
  virtual Histogram& latency(std::string_view name, std::string_view help,
                             const MetricLabels& labels = {}) = 0;

  // A gauge read when it is asked for. `read` is called from the thread that serves /metrics, must
  // not block for long, and must stay callable until RemoveCallbacks.
  virtual void gauge(std::string_view name, std::string_view help, const MetricLabels& labels,
                     std::function<double()> read) = 0;
  // The same for a count that only rises and is kept elsewhere, such as bytes read since start.
  virtual void counter_from(std::string_view name, std::string_view help,
                            const MetricLabels& labels, std::function<double()> read) = 0;
  // A family whose series come and go; `read` gives those there are now, each with labels of its
  // own.
  using Series = std::vector<std::pair<MetricLabels, double>>;
  virtual void gauges(std::string_view name, std::string_view help,
                      std::function<Series()> read) = 0;
  // Drops every callback; call it before what they read is destroyed. Waits for a callback under
  // way.
  virtual void RemoveCallbacks() = 0;

  // The Prometheus text exposition, version 0.0.4.
  virtual std::string Expose() const = 0;
};

}  // namespace vecino
