// Searches that server_bench sends: as fast as they are answered, or at a given rate.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "tests/bench/server_bench_process.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::bench {

using Clock = std::chrono::steady_clock;
using Requests = std::vector<v1::SearchDocumentsRequest>;

// The value below which `part` of the values lie; 0 when there are none.
double Percentile(std::vector<double> values, double part);

struct ClosedLoop {
  double seconds = 0;
  double qps = 0;
  double server_cpu_us = 0;                 // the server's CPU time for one search
  std::vector<double> micros;               // from sending to the reply, one for each search
  std::vector<std::vector<int64_t>> found;  // for each request, the numbers of the documents
};

// `clients` connections, each of which sends its next search when the last was answered, for
// `seconds` and until every request was sent once. Warms up with `clients` × 50 searches.
ClosedLoop RunClosedLoop(const BenchServer& server, const Requests& requests, int clients,
                         double seconds);

// Each request once, by one client; the numbers of the documents found.
std::vector<std::vector<int64_t>> SearchOnce(const BenchServer& server, const Requests& requests);

struct OpenLoop {
  std::vector<double> micros;  // from the moment a search was due to its reply, as they were due
  std::vector<double> late;    // of these, until it was sent: how long this program itself waited
  double rate = 0;             // answered a second
};

// Sends `rate` searches a second at even distances from `clients` connections, whether or not
// earlier ones were answered, until `stop` is set. `check` sees every reply with the moment before
// it was sent, from several threads at once; it may be empty.
OpenLoop RunOpenLoop(
    const BenchServer& server, const Requests& requests, double rate, int clients,
    const std::atomic<bool>& stop,
    const std::function<void(Clock::time_point sent, const v1::SearchDocumentsResponse&)>& check);

// Runs `work` in `threads` threads with its number; throws what the first of them threw.
void InThreads(int threads, const std::function<void(int)>& work);

}  // namespace vecino::bench
