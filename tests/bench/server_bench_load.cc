#include "tests/bench/server_bench_load.h"

#include <sys/prctl.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <thread>
#include <utility>

#include "tests/bench/server_bench_data.h"
#include "vecino/v1/search_service.grpc.pb.h"

namespace vecino::bench {
namespace {

using Stub = v1::SearchService::Stub;

constexpr int kWarmUp = 50;

double Micros(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

std::vector<int64_t> Numbers(const v1::SearchDocumentsResponse& reply) {
  std::vector<int64_t> numbers;
  for (const auto& hit : reply.hits()) numbers.push_back(NumberOf(hit.document().id()));
  return numbers;
}

}  // namespace

double Percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const auto place =
      std::min(values.size() - 1, static_cast<size_t>(part * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(place),
                   values.end());
  return values[place];
}

void InThreads(int threads, const std::function<void(int)>& work) {
  std::vector<std::exception_ptr> errors(threads);
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      try {
        work(t);
      } catch (...) {
        errors[t] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
}

ClosedLoop RunClosedLoop(const BenchServer& server, const Requests& requests, int clients,
                         double seconds) {
  std::vector<std::unique_ptr<Stub>> stubs;
  for (int c = 0; c < clients; ++c) stubs.push_back(v1::SearchService::NewStub(server.Connect()));
  const auto search = [&](int c, size_t request) {
    v1::SearchDocumentsResponse reply;
    Call(*stubs[c], &Stub::SearchDocuments, requests[request % requests.size()], &reply);
    return reply;
  };
  InThreads(clients, [&](int c) {
    for (int i = 0; i < kWarmUp; ++i) search(c, c * kWarmUp + i);
  });

  ClosedLoop result;
  result.found.resize(requests.size());
  std::vector<std::vector<double>> micros(clients);
  std::atomic<size_t> next{0};
  const double cpu = server.CpuSeconds();
  const Clock::time_point begin = Clock::now();
  const Clock::time_point end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  InThreads(clients, [&](int c) {
    for (size_t i = next++; i < requests.size() || Clock::now() < end; i = next++) {
      const Clock::time_point sent = Clock::now();
      const v1::SearchDocumentsResponse reply = search(c, i);
      micros[c].push_back(Micros(sent));
      if (i < requests.size()) result.found[i] = Numbers(reply);
    }
  });
  result.seconds = 1e-6 * Micros(begin);
  for (std::vector<double>& part : micros) {
    result.micros.insert(result.micros.end(), part.begin(), part.end());
  }
  const auto count = static_cast<double>(result.micros.size());
  result.qps = count / result.seconds;
  result.server_cpu_us = 1e6 * (server.CpuSeconds() - cpu) / count;
  return result;
}

std::vector<std::vector<int64_t>> SearchOnce(const BenchServer& server, const Requests& requests) {
  const auto stub = v1::SearchService::NewStub(server.Connect());
  std::vector<std::vector<int64_t>> found;
  for (const v1::SearchDocumentsRequest& request : requests) {
    v1::SearchDocumentsResponse reply;
    Call(*stub, &Stub::SearchDocuments, request, &reply);
    found.push_back(Numbers(reply));
  }
  return found;
}

OpenLoop RunOpenLoop(
    const BenchServer& server, const Requests& requests, double rate, int clients,
    const std::atomic<bool>& stop,
    const std::function<void(Clock::time_point sent, const v1::SearchDocumentsResponse&)>& check) {
  struct Timed {
    size_t number;
    double micros, late;
  };
  std::vector<std::vector<Timed>> timed(clients);
  std::atomic<size_t> next{0};
  std::vector<std::unique_ptr<Stub>> stubs;
  for (int c = 0; c < clients; ++c) {
    stubs.push_back(v1::SearchService::NewStub(server.Connect()));
    v1::SearchDocumentsResponse reply;  // connects
    Call(*stubs[c], &Stub::SearchDocuments, requests[0], &reply);
  }
  const Clock::time_point begin = Clock::now();
  InThreads(clients, [&](int c) {
    prctl(PR_SET_TIMERSLACK, 1UL);  // wakes up when due, not 50 µs later
    for (size_t i = next++; !stop; i = next++) {
      const Clock::time_point due =
          begin + std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double>(static_cast<double>(i) / rate));
      std::this_thread::sleep_until(due);
      const Clock::time_point sent = Clock::now();
      v1::SearchDocumentsResponse reply;
      Call(*stubs[c], &Stub::SearchDocuments, requests[i % requests.size()], &reply);
      timed[c].push_back(
          {i, Micros(due), std::chrono::duration<double, std::micro>(sent - due).count()});
      if (check) check(sent, reply);
    }
  });
  OpenLoop result;
  const double seconds = 1e-6 * Micros(begin);
  std::vector<Timed> all;
  for (const auto& part : timed) all.insert(all.end(), part.begin(), part.end());
  std::ranges::sort(all, {}, &Timed::number);
  for (const Timed& search : all) {
    result.micros.push_back(search.micros);
    result.late.push_back(search.late);
  }
  result.rate = static_cast<double>(result.micros.size()) / seconds;
  return result;
}

}  // namespace vecino::bench
