// What several tests of the engine need.
#pragma once

#include <random>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/maintenance_policy.h"

namespace vecino::engine {

// Every build goes live: of few random rows, on a busy machine, recall, cost and time say little.
inline void OpenGate(MaintenancePolicy* policy) {
  constexpr double kAny = 1e9;
  policy->gate_target_slack = policy->gate_first_slack = 1;
  policy->gate_recall_loss = policy->gate_other_loss = 1;
  policy->gate_first_rows = policy->gate_cost = policy->gate_cost_of_more = kAny;
  policy->gate_time = kAny;
}

// Waits for what another thread is about to do; false: it did not within four minutes.
template <typename Fn>
bool Eventually(Fn fn) {
  const absl::Time end = absl::Now() + absl::Minutes(4);
  while (!fn()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

// Of the normal distribution.
inline std::vector<float> RandomVector(int dimension, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(static_cast<size_t>(dimension));
  for (float& x : vector) x = normal(*rng);
  return vector;
}

}  // namespace vecino::engine
